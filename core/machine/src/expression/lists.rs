//! Functions on lists and objects.

use std::borrow::Cow;
use std::cmp::Ordering;

use rstmdb_types::JsonRef;
use rstmdb_types::json::unescape;

use super::budget::Meter;
use super::numbers::exact_order;
use super::syntax::Arithmetic;
use super::value::{ELEMENT_BYTES, Value, compute, equal};

/// A list of these values, if there is room for it; else null.
pub(super) fn made<'a>(values: impl Iterator<Item = Value<'a>>, meter: &impl Meter) -> Value<'a> {
    let mut list = Vec::new();
    for value in values {
        if !meter.make(ELEMENT_BYTES.saturating_add(value.weight())) {
            return Value::Null;
        }
        list.push(value);
    }
    Value::list(list)
}

pub(super) fn sum<'a>(list: &Value<'a>) -> Value<'a> {
    let Some(items) = list.items() else { return Value::Null };
    items.fold(Value::Integer(0), |sum, value| compute(Arithmetic::Add, &sum, &value))
}

/// The element with this index, from the end when it is negative.
pub(super) fn at<'a>(list: &Value<'a>, index: &Value<'a>) -> Value<'a> {
    let (Some(mut items), Some(index)) = (list.items(), index.integer()) else {
        return Value::Null;
    };
    let index = match index {
        0.. => Some(index),
        _ => list.items().map(|items| items.count() as i128 + index),
    };
    let index = index.and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| items.nth(index)).unwrap_or(Value::Null)
}

pub(super) fn last<'a>(list: &Value<'a>) -> Value<'a> {
    list.items().and_then(Iterator::last).unwrap_or(Value::Null)
}

pub(super) fn append<'a>(list: &Value<'a>, value: Value<'a>, meter: &impl Meter) -> Value<'a> {
    let Some(items) = list.items() else { return Value::Null };
    made(items.chain([value]), meter)
}

pub(super) fn without<'a>(list: &Value<'a>, value: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    let Some(items) = list.items() else { return Value::Null };
    made(items.filter(|item| !equal(item, value)), meter)
}

/// The numbers or strings in ascending order.
pub(super) fn sort<'a>(list: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    let Some(items) = list.items() else { return Value::Null };
    let mut values: Vec<_> = items.collect();
    let depth = values.len().checked_ilog2().unwrap_or(0) as usize;
    if !meter.steps(values.len().saturating_mul(depth)) {
        return Value::Null;
    }
    if values.iter().all(|value| value.float().is_some()) {
        values.sort_by(|left, right| exact_order(left, right).unwrap_or(Ordering::Equal));
    } else if values.iter().all(|value| value.text().is_some()) {
        values.sort_by_cached_key(|value| value.text().map(Cow::into_owned));
    } else {
        return Value::Null;
    }
    made(values.into_iter(), meter)
}

pub(super) fn keys<'a>(object: &Value<'a>, meter: &impl Meter) -> Value<'a> {
    let Value::Object(object) = object else { return Value::Null };
    let mut keys: Vec<_> = object.members().map(|member| member.raw_key).collect();
    // Members stand in the order of their keys with escapes.
    keys.sort_by_cached_key(|raw| unescape(raw).into_owned());
    made(keys.into_iter().map(Value::Raw), meter)
}

/// The member or element with this name or index.
pub(super) fn get<'a>(value: &Value<'a>, key: &Value<'a>) -> Value<'a> {
    let found = match value {
        Value::Object(object @ JsonRef::Object(_)) => {
            key.text().and_then(|key| object.get(&key)).map(Value::from)
        }
        list => key.integer().filter(|index| *index >= 0).map(|_| at(list, key)),
    };
    found.unwrap_or(Value::Null)
}
