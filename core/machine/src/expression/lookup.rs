//! Follows a path through canonical JSON text.
//!
//! This is where evaluation spends its time, so members are found in one pass over the bytes that
//! stops at the first larger key, and values on the way are skipped without being looked at.

use std::borrow::Cow;

use rstmdb_types::JsonRef;
use rstmdb_types::json::string_end;

use super::Scope;
use super::syntax::{Path, PathStep, Root};
use super::value::Value;

/// The value at a path; None where there is nothing.
pub(super) fn find<'a>(path: &Path, scope: &Scope<'a>) -> Option<Value<'a>> {
    match path.steps.is_empty() {
        true => root(path, scope).map(Value::from),
        false => find_text(path, scope).map(Value::parse),
    }
}

/// The value at a path, and how many bytes were looked at to find it or that it is not there.
pub(super) fn find_counted<'a>(path: &Path, scope: &Scope<'a>) -> (Option<Value<'a>>, usize) {
    let Some(JsonRef::Object(text) | JsonRef::Array(text)) = root(path, scope) else {
        return (find(path, scope), 0);
    };
    match find_text(path, scope) {
        _ if path.steps.is_empty() => (find(path, scope), 0),
        Some(found) => {
            let before = found.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
            (Some(Value::parse(found)), before.saturating_add(found.len()))
        }
        None => (None, text.len()),
    }
}

/// The JSON text of the value at a path; None where there is nothing.
pub(super) fn find_json<'a>(path: &Path, scope: &Scope<'a>) -> Option<Cow<'a, str>> {
    match path.steps.is_empty() {
        true => root(path, scope).map(JsonRef::text),
        false => find_text(path, scope).map(Cow::Borrowed),
    }
}

/// Whether the value at a path counts as true.
pub(super) fn is_true(path: &Path, scope: &Scope<'_>) -> bool {
    match find_text(path, scope) {
        Some("true") => true,
        Some("false" | "null") => false,
        _ => find(path, scope).is_some_and(|value| value.is_true()),
    }
}

fn root<'a>(path: &Path, scope: &Scope<'a>) -> Option<JsonRef<'a>> {
    match path.root {
        Root::Ctx => Some(scope.ctx),
        Root::Payload => scope.payload,
    }
}

/// The text behind the steps of a path; None where there are none.
///
/// This passes texts around instead of cursors: moving the latter costs more than the search.
fn find_text<'a>(path: &Path, scope: &Scope<'a>) -> Option<&'a str> {
    let (JsonRef::Object(mut text) | JsonRef::Array(mut text)) = root(path, scope)? else {
        return None;
    };
    let (last, steps) = path.steps.split_last()?;
    for step in steps {
        text = follow(text, step)?;
    }
    follow(text, last)
}

/// The value that the steps lead to from another one; None where there are none.
pub(super) fn find_in<'a>(value: &Value<'a>, steps: &[PathStep]) -> Option<Value<'a>> {
    let Some((first, rest)) = steps.split_first() else { return Some(value.clone()) };
    match value {
        Value::Array(JsonRef::Array(text)) | Value::Object(JsonRef::Object(text)) => {
            let found = steps.iter().try_fold(*text, |text, step| follow(text, step))?;
            Some(Value::parse(found))
        }
        Value::List(list) => match first {
            PathStep::Index(index) => find_in(list.values.get(*index)?, rest),
            PathStep::Member(_) => None,
        },
        _ => None,
    }
}

fn follow<'a>(text: &'a str, step: &PathStep) -> Option<&'a str> {
    match (step, text.as_bytes().first()?) {
        (PathStep::Member(key), b'{') => member(text, key),
        (PathStep::Index(index), b'[') => element(text, *index),
        _ => None,
    }
}

/// The element with this index.
fn element(list: &str, index: usize) -> Option<&str> {
    let bytes = list.as_bytes();
    let mut position = 1;
    for _ in 0..index {
        position = value_end(bytes, position)? + 1;
    }
    // Behind the last element there is nothing; an empty list has an end where one would be.
    let end = value_end(bytes, position)?;
    list.get(position..end).filter(|text| !text.is_empty())
}

/// The value of the member with this key, which is as canonical text has it, closing quote included.
fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let (bytes, key) = (object.as_bytes(), key.as_bytes());
    let first = *key.first()?;
    let mut position = 1;
    loop {
        // Behind the last member, and in an empty object, there is no quote.
        if *bytes.get(position)? != b'"' {
            return None;
        }
        let name = position + 1;
        let found = *bytes.get(name)?;
        if found == first && matches_at(bytes, name, key) {
            let value = name + key.len() + 1;
            return object.get(value..value_end(bytes, value)?);
        }
        // Keys are sorted. The empty one is first, though its quote is not the smallest byte.
        if found > first && found != b'"' {
            return None;
        }
        position = value_end(bytes, string_end(bytes, name)? + 1)? + 1;
    }
}

/// Whether the bytes from `start` on begin with `key`; keys are too short for a library call.
fn matches_at(bytes: &[u8], start: usize, key: &[u8]) -> bool {
    bytes
        .get(start..start + key.len())
        .is_some_and(|found| found.iter().zip(key).all(|(found, wanted)| found == wanted))
}

/// The index behind the value that starts at `start`.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start + 1),
        b'{' | b'[' => container_end(bytes, start + 1),
        _ => {
            let mut position = start;
            while !matches!(*bytes.get(position)?, b',' | b'}' | b']') {
                position += 1;
            }
            Some(position)
        }
    }
}

/// The index behind the object or list whose opening brace stands before `start`.
fn container_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut position = start;
    let mut depth = 1usize;
    loop {
        let byte = *bytes.get(position)?;
        position += 1;
        match byte {
            b'"' => position = string_end(bytes, position)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
}
