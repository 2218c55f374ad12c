//! Functions on numbers.

use std::cmp::Ordering;

use super::value::{Value, finite, integer, number};

/// The bounds of the integers there are, as floats; the upper one is one too many.
const WHOLE: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;

/// The order of two numbers, exact: an integer and a float are not rounded to be compared. None for anything else.
pub(super) fn exact_order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Integer(left), Value::Float(right)) => Some(against(*left, *right)),
        (Value::Float(left), Value::Integer(right)) => Some(against(*right, *left).reverse()),
        _ => None,
    }
}

fn against(left: i128, right: f64) -> Ordering {
    if right >= WHOLE.end {
        return Ordering::Less;
    }
    if right < WHOLE.start {
        return Ordering::Greater;
    }
    let whole = right.floor();
    left.cmp(&(whole as i128)).then(if right > whole { Ordering::Less } else { Ordering::Equal })
}

/// The first of the values that is least, or greatest; null unless all are numbers and there is one.
pub(super) fn extreme<'a>(
    mut values: impl Iterator<Item = Value<'a>>,
    wanted: Ordering,
) -> Value<'a> {
    let Some(mut found) = values.next().filter(|value| value.float().is_some()) else {
        return Value::Null;
    };
    for value in values {
        match exact_order(&value, &found) {
            Some(order) if order == wanted => found = value,
            Some(_) => {}
            None => return Value::Null,
        }
    }
    found
}

/// The number after its fraction was taken by `round`; null unless it is a number.
pub(super) fn rounded<'a>(value: &Value<'a>, round: fn(f64) -> f64) -> Value<'a> {
    match value {
        Value::Integer(value) => Value::Integer(*value),
        Value::Float(value) => whole(round(*value)),
        _ => Value::Null,
    }
}

/// The integer that a float is; the float where it is out of range.
fn whole<'a>(value: f64) -> Value<'a> {
    if WHOLE.contains(&value) { Value::Integer(value as i128) } else { Value::Float(value) }
}

/// The number without its sign.
pub(super) fn absolute<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Value::Integer(value) => integer(value.checked_abs()),
        Value::Float(value) => Value::Float(value.abs()),
        _ => Value::Null,
    }
}

/// The integer that a value stands for.
pub(super) fn to_integer<'a>(value: &Value<'_>) -> Value<'a> {
    match to_number(value) {
        Value::Float(value) => match whole(value.trunc()) {
            Value::Integer(value) => Value::Integer(value),
            _ => Value::Null,
        },
        other => other,
    }
}

/// The float that a value stands for.
pub(super) fn to_float<'a>(value: &Value<'_>) -> Value<'a> {
    to_number(value).float().map_or(Value::Null, finite)
}

fn to_number<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Integer(value) => Value::Integer(*value),
        Value::Float(value) => Value::Float(*value),
        Value::Bool(value) => Value::Integer(i128::from(*value)),
        other => match other.text() {
            // Only what JSON takes for a number is one.
            Some(text) if serde_json::from_str::<serde_json::Number>(&text).is_ok() => {
                number(text.trim())
            }
            _ => Value::Null,
        },
    }
}
