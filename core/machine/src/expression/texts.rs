//! Functions on strings.

use std::borrow::Cow;

use super::budget::Meter;
use super::lists;
use super::value::{ELEMENT_BYTES, Value};

/// The text that a string, a number or a boolean is put together as; None for anything else.
fn piece<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
            let mut text = String::new();
            value.write(&mut text);
            Some(text.into())
        }
        other => other.text(),
    }
}

/// One string of all, with the separator between them.
fn joined<'a>(values: &[Value<'_>], separator: &str, meter: &impl Meter) -> Value<'a> {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let Some(piece) = piece(value) else { return Value::Null };
        let separator = if i > 0 { separator } else { "" };
        if !meter.make(separator.len() + piece.len()) {
            return Value::Null;
        }
        out.push_str(separator);
        out.push_str(&piece);
    }
    Value::made(out)
}

pub(super) fn concat<'a>(values: &[Value<'a>], meter: &impl Meter) -> Value<'a> {
    if values.iter().all(|value| value.items().is_some()) {
        return lists::made(values.iter().filter_map(Value::items).flatten(), meter);
    }
    joined(values, "", meter)
}

pub(super) fn join<'a>(list: &Value<'a>, separator: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    let (Some(items), Some(separator)) = (list.items(), separator.text()) else {
        return Value::Null;
    };
    let values: Vec<_> = items.collect();
    if !meter.make(values.len().saturating_mul(ELEMENT_BYTES)) {
        return Value::Null;
    }
    joined(&values, &separator, meter)
}

pub(super) fn split<'a>(text: &Value<'a>, separator: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    let (Some(text), Some(separator)) = (text.text(), separator.text()) else {
        return Value::Null;
    };
    if separator.is_empty() {
        return lists::made(text.chars().map(Value::made), meter);
    }
    lists::made(text.split(separator.as_ref()).map(Value::made), meter)
}

pub(super) fn replace<'a>(values: &[Value<'a>], meter: &impl Meter) -> Value<'a> {
    let texts: Option<Vec<_>> = values.iter().map(Value::text).collect();
    let Some([text, part, by]) = texts.as_deref() else { return Value::Null };
    if part.is_empty() {
        return values.first().cloned().unwrap_or(Value::Null);
    }
    let found = text.matches(part.as_ref()).count();
    let size = text.len().saturating_add(found.saturating_mul(by.len()));
    match meter.make(size) {
        true => Value::made(text.replace(part.as_ref(), by)),
        false => Value::Null,
    }
}

pub(super) fn trim<'a>(value: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    match value.text() {
        Some(text) if meter.make(text.len()) => Value::made(text.trim()),
        _ => Value::Null,
    }
}

pub(super) fn substring<'a>(values: &[Value<'a>], meter: &impl Meter) -> Value<'a> {
    let [text, start, end] = values else { return Value::Null };
    let place = |value: &Value<'_>| {
        let place = value.integer().filter(|place| *place >= 0)?;
        Some(usize::try_from(place).unwrap_or(usize::MAX))
    };
    let (Some(text), Some(start), Some(end)) = (text.text(), place(start), place(end)) else {
        return Value::Null;
    };
    if !meter.make(text.len()) {
        return Value::Null;
    }
    let found: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
    Value::made(found)
}

/// A string as it is, null of null, everything else as JSON.
pub(super) fn string<'a>(value: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    match value {
        Value::Null | Value::Raw(_) | Value::Text(_) => value.clone(),
        // A number takes less than this.
        _ if !meter.make(value.weight().saturating_mul(2).saturating_add(32)) => Value::Null,
        _ => {
            let mut text = String::new();
            value.write(&mut text);
            Value::made(text)
        }
    }
}
