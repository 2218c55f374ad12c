//! Calls functions: each takes values and gives one, null where it has none.

use std::cmp::Ordering;

use super::budget::Meter;
use super::functions::Function;
use super::value::{Value, contains};
use super::{lists, numbers, texts, times};

impl Function {
    /// Applies a function of level 1.
    pub(super) fn first_level<'a>(self, first: Value<'a>, second: Value<'a>) -> Value<'a> {
        let both = || Some((first.text()?, second.text()?));
        match self {
            Function::Size => size(&first),
            Function::StartsWith => {
                Value::Bool(both().is_some_and(|(text, part)| text.starts_with(part.as_ref())))
            }
            Function::EndsWith => {
                Value::Bool(both().is_some_and(|(text, part)| text.ends_with(part.as_ref())))
            }
            Function::Contains => Value::Bool(contains(&first, &second)),
            Function::Lower => {
                first.text().map_or(Value::Null, |text| Value::made(text.to_lowercase()))
            }
            Function::Upper => {
                first.text().map_or(Value::Null, |text| Value::made(text.to_uppercase()))
            }
            _ => Value::Bool(false),
        }
    }

    /// Applies a function of a later level to its arguments, of which there are as many as the parser asks for.
    pub(super) fn later_level<'a>(self, values: &[Value<'a>], meter: &impl Meter) -> Value<'a> {
        match (self, values) {
            (Function::Concat, values) => texts::concat(values, meter),
            (Function::Replace, values) => texts::replace(values, meter),
            (Function::Substring, values) => texts::substring(values, meter),
            (Function::Min, values) => extreme(values, Ordering::Less),
            (Function::Max, values) => extreme(values, Ordering::Greater),
            (function, [value]) => function.of_one(value, meter),
            (Function::At, [list, index]) => lists::at(list, index),
            (Function::Append, [list, value]) => lists::append(list, value.clone(), meter),
            (Function::Without, [list, value]) => lists::without(list, value, meter),
            (Function::Get, [value, key]) => lists::get(value, key),
            (Function::Join, [list, separator]) => texts::join(list, separator, meter),
            (Function::Split, [text, separator]) => texts::split(text, separator, meter),
            _ => Value::Null,
        }
    }

    fn of_one<'a>(self, value: &Value<'a>, meter: &impl Meter) -> Value<'a> {
        match self {
            Function::Sum => lists::sum(value),
            Function::First => lists::at(value, &Value::Integer(0)),
            Function::Last => lists::last(value),
            Function::Sort => lists::sort(value, meter),
            Function::Keys => lists::keys(value, meter),
            Function::Trim => texts::trim(value, meter),
            Function::Abs => numbers::absolute(value),
            Function::Floor => numbers::rounded(value, f64::floor),
            Function::Ceil => numbers::rounded(value, f64::ceil),
            Function::Round => numbers::rounded(value, f64::round),
            Function::Int => numbers::to_integer(value),
            Function::Float => numbers::to_float(value),
            Function::String => texts::string(value, meter),
            Function::Bool => Value::Bool(value.is_true()),
            Function::Type => Value::Text(kind(value).into()),
            Function::Time => ms(value, times::time),
            Function::Duration => ms(value, times::duration),
            Function::Iso => {
                let ms = value.integer().and_then(|ms| i64::try_from(ms).ok());
                ms.and_then(times::iso).map_or(Value::Null, Value::made)
            }
            _ => Value::Null,
        }
    }
}

fn size<'a>(value: &Value<'_>) -> Value<'a> {
    let count = match value {
        Value::Object(object) => object.members().count(),
        other => match (other.items(), other.text()) {
            (Some(items), _) => items.count(),
            (None, Some(text)) => text.chars().count(),
            (None, None) => return Value::Null,
        },
    };
    Value::Integer(count as i128)
}

fn extreme<'a>(values: &[Value<'a>], wanted: Ordering) -> Value<'a> {
    match values {
        [list] if list.items().is_some() => {
            list.items().map_or(Value::Null, |items| numbers::extreme(items, wanted))
        }
        values => numbers::extreme(values.iter().cloned(), wanted),
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Integer(_) | Value::Float(_) => "number",
        Value::Raw(_) | Value::Text(_) => "string",
        Value::Array(_) | Value::List(_) => "list",
        Value::Object(_) => "object",
    }
}

/// What a text that is a time or a duration is in milliseconds.
fn ms<'a>(value: &Value<'_>, read: fn(&str) -> Option<i64>) -> Value<'a> {
    let ms = value.text().and_then(|text| read(&text));
    ms.map_or(Value::Null, |ms| Value::Integer(ms.into()))
}
