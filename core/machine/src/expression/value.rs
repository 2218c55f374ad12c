//! The values expressions compute with: truth, equality, order and arithmetic.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use rstmdb_types::json::{Elements, unescape};
use rstmdb_types::{Json, JsonRef};

use super::syntax::{Arithmetic, Literal};

/// Integers outside this range do not exist in JSON here, nor as results.
const INTEGER_MIN: i128 = i64::MIN as i128;
const INTEGER_MAX: i128 = u64::MAX as i128;

/// A value, borrowed from the context, the payload or the guard wherever possible.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Always within the `i64`/`u64` range.
    Integer(i128),
    /// Always finite.
    Float(f64),
    /// A string as canonical JSON writes it between the quotes. Equal strings have equal text.
    Raw(&'a str),
    /// A string without escapes.
    Text(Cow<'a, str>),
    /// A list; the cursor is a `JsonRef::Array`.
    Array(JsonRef<'a>),
    /// An object; the cursor is a `JsonRef::Object`.
    Object(JsonRef<'a>),
    /// A list that an expression made.
    List(Rc<MadeList<'a>>),
}

/// A list that an expression made.
#[derive(Debug)]
pub(super) struct MadeList<'a> {
    pub(super) values: Vec<Value<'a>>,
    weight: usize,
}

/// What a value in a list takes beside its text.
pub(super) const ELEMENT_BYTES: usize = size_of::<Value<'_>>();

/// The elements of a list of either kind.
#[derive(Debug)]
pub(super) enum Items<'v, 'a> {
    Stored(Elements<'a>),
    Made(std::slice::Iter<'v, Value<'a>>),
}

impl<'a> Iterator for Items<'_, 'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Items::Stored(elements) => elements.next().map(Value::from),
            Items::Made(values) => values.next().cloned(),
        }
    }
}

impl<'a> From<JsonRef<'a>> for Value<'a> {
    fn from(value: JsonRef<'a>) -> Value<'a> {
        match value {
            JsonRef::Null => Value::Null,
            JsonRef::Bool(value) => Value::Bool(value),
            JsonRef::Number(text) => number(text),
            JsonRef::String(raw) => Value::Raw(raw),
            JsonRef::Array(_) => Value::Array(value),
            JsonRef::Object(_) => Value::Object(value),
        }
    }
}

impl<'a> From<&'a Literal> for Value<'a> {
    fn from(literal: &'a Literal) -> Value<'a> {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Integer(value) => Value::Integer(*value),
            Literal::Float(value) => Value::Float(*value),
            Literal::String(raw) => Value::Raw(raw),
        }
    }
}

impl<'a> Value<'a> {
    /// The value of canonical JSON text.
    pub(super) fn parse(text: &'a str) -> Value<'a> {
        match text.as_bytes() {
            [b'{', ..] => Value::Object(JsonRef::Object(text)),
            [b'[', ..] => Value::Array(JsonRef::Array(text)),
            [b'"', .., b'"'] => Value::Raw(text.get(1..text.len() - 1).unwrap_or("")),
            [b't', ..] => Value::Bool(true),
            [b'f', ..] => Value::Bool(false),
            [b'-' | b'0'..=b'9', ..] => number(text),
            _ => Value::Null,
        }
    }

    /// Whether the value counts as true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Integer(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Raw(text) => !text.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Array(list) => list.elements().next().is_some(),
            Value::Object(object) => object.members().next().is_some(),
            Value::List(list) => !list.values.is_empty(),
        }
    }

    /// A list of these values.
    pub(super) fn list(values: Vec<Value<'a>>) -> Value<'a> {
        let weights = values.iter().map(|value| value.weight().saturating_add(ELEMENT_BYTES));
        let weight = weights.fold(0, usize::saturating_add);
        Value::List(Rc::new(MadeList { values, weight }))
    }

    /// A string that was made.
    pub(super) fn made(text: impl Into<String>) -> Value<'a> {
        Value::Text(Cow::Owned(text.into()))
    }

    /// How many bytes the value takes, what lists share counted each time.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::Raw(text) => text.len(),
            Value::Text(text) => text.len(),
            Value::Array(JsonRef::Array(text)) | Value::Object(JsonRef::Object(text)) => text.len(),
            Value::List(list) => list.weight,
            _ => 0,
        }
    }

    /// The elements of a list; None for other values.
    pub(super) fn items(&self) -> Option<Items<'_, 'a>> {
        match self {
            Value::Array(list) => Some(Items::Stored(list.elements())),
            Value::List(list) => Some(Items::Made(list.values.iter())),
            _ => None,
        }
    }

    /// The integer; None for other values.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Appends the value as canonical JSON.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Integer(value) => out.push_str(&value.to_string()),
            Value::Float(value) => {
                out.push_str(Json::from_value(&serde_json::Value::from(*value)).as_str());
            }
            Value::Raw(raw) => {
                out.push('"');
                out.push_str(raw);
                out.push('"');
            }
            Value::Text(text) => {
                // Serialising a string to JSON text can't fail.
                out.push_str(&serde_json::to_string(text).unwrap_or_default());
            }
            Value::Array(value) | Value::Object(value) => out.push_str(&value.text()),
            Value::List(list) => {
                out.push('[');
                for (i, value) in list.values.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
        }
    }

    /// The string without escapes; None for other values.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Raw(raw) => Some(unescape(raw)),
            Value::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }
}

/// The value of a JSON number.
pub(super) fn number<'a>(text: &str) -> Value<'a> {
    if let Ok(value) = text.parse::<i64>() {
        return Value::Integer(value.into());
    }
    if let Ok(value) = text.parse::<u64>() {
        return Value::Integer(value.into());
    }
    finite(text.parse::<f64>().unwrap_or(f64::NAN))
}

/// A float, or null for what JSON can't hold.
pub(super) fn finite<'a>(value: f64) -> Value<'a> {
    if value.is_finite() { Value::Float(value) } else { Value::Null }
}

/// An integer, or null when it is out of range.
pub(super) fn integer<'a>(value: Option<i128>) -> Value<'a> {
    match value {
        Some(value) if (INTEGER_MIN..=INTEGER_MAX).contains(&value) => Value::Integer(value),
        _ => Value::Null,
    }
}

/// The literal a number in a guard stands for: exact when it is an integer in range, else a float.
pub(super) fn literal(value: i128) -> Literal {
    match integer(Some(value)) {
        Value::Integer(value) => Literal::Integer(value),
        _ => Literal::Float(value as f64),
    }
}

/// `==`.
pub(super) fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Integer(left), Value::Integer(right)) => left == right,
        (Value::Raw(left), Value::Raw(right)) => left == right,
        (Value::Raw(_) | Value::Text(_), Value::Raw(_) | Value::Text(_)) => {
            left.text() == right.text()
        }
        _ => match (left.float(), right.float()) {
            // The tolerance of the existing server, which holds all numbers as floats.
            (Some(left), Some(right)) => (left - right).abs() < f64::EPSILON,
            _ => false,
        },
    }
}

/// The order of two numbers or two strings; None for anything else.
pub(super) fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        (Value::Raw(_) | Value::Text(_), Value::Raw(_) | Value::Text(_)) => {
            Some(left.text()?.as_bytes().cmp(right.text()?.as_bytes()))
        }
        _ => left.float()?.partial_cmp(&right.float()?),
    }
}

/// `part in whole`.
pub(super) fn contains(whole: &Value<'_>, part: &Value<'_>) -> bool {
    match whole {
        Value::Array(list) => list.elements().any(|element| equal(&element.into(), part)),
        Value::List(list) => list.values.iter().any(|element| equal(element, part)),
        Value::Object(object) => part.text().is_some_and(|key| object.get(&key).is_some()),
        _ => match (whole.text(), part.text()) {
            (Some(whole), Some(part)) => whole.contains(part.as_ref()),
            _ => false,
        },
    }
}

/// `-value`.
pub(super) fn negate<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Integer(value) => integer(value.checked_neg()),
        Value::Float(value) => Value::Float(-value),
        _ => Value::Null,
    }
}

/// One arithmetic operation. Integers stay exact; what has no result is null.
pub(super) fn compute<'a>(operator: Arithmetic, left: &Value<'_>, right: &Value<'_>) -> Value<'a> {
    if let (Value::Integer(left), Value::Integer(right)) = (left, right) {
        return compute_integers(operator, *left, *right);
    }
    let (Some(left), Some(right)) = (left.float(), right.float()) else { return Value::Null };
    // Division by zero gives an infinity or NaN, which `finite` turns into null.
    finite(match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder => left % right,
    })
}

fn compute_integers<'a>(operator: Arithmetic, left: i128, right: i128) -> Value<'a> {
    // Both sides are within 64 bits, so only the product could leave 128 bits.
    integer(match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Remainder => left.checked_rem(right),
        Arithmetic::Divide => match left.checked_rem(right) {
            None => None,
            Some(0) => left.checked_div(right),
            Some(_) => return finite(left as f64 / right as f64),
        },
    })
}
