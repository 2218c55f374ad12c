//! Canonical text, written while JSON is read: no tree is built, so what a text takes in memory is
//! about its own size, whatever it holds. The same for what is a tree already.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::quoted::{has_special, is_special};

/// The canonical text of any JSON text, and whether it has a float as large as an integer that does not
/// fit 64 bits.
pub(crate) fn canonical(text: &str) -> serde_json::Result<(String, bool)> {
    let mut out = Written { text: String::with_capacity(text.len()), has_large_float: false };
    let mut from = serde_json::Deserializer::from_str(text);
    Writer(&mut out).deserialize(&mut from)?;
    from.end()?;
    Ok((out.text, out.has_large_float))
}

/// What was read so far.
struct Written {
    text: String,
    has_large_float: bool,
}

/// Appends the value that is read.
struct Writer<'a>(&'a mut Written);

/// The integer next below the least of 64 bits is this one as a float.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.text.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        write_number(&value.into(), &mut self.0.text);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        write_number(&value.into(), &mut self.0.text);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.has_large_float |= value.abs() >= LARGE;
        match Number::from_f64(value) {
            Some(number) => write_number(&number, &mut self.0.text),
            // As a tree has it; the parser lets none through.
            None => self.0.text.push_str("null"),
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        write_string(text, &mut self.0.text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.text.push('[');
        let begin = self.0.text.len();
        while list.next_element_seed(Writer(self.0))?.is_some() {
            self.0.text.push(',');
        }
        close(&mut self.0.text, begin, ']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let out = self.0;
        out.text.push('{');
        let begin = out.text.len();
        let mut members = Vec::new();
        loop {
            let start = out.text.len();
            if object.next_key_seed(Writer(&mut *out))?.is_none() {
                break;
            }
            let key_end = out.text.len();
            out.text.push(':');
            object.next_value_seed(Writer(&mut *out))?;
            out.text.push(',');
            members.push(Member { start, key_end, end: out.text.len() });
        }
        sort(&mut out.text, begin, members);
        close(&mut out.text, begin, '}');
        Ok(())
    }
}

/// A member in the text, with the comma behind it.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Member {
    /// The key between its quotes.
    fn key(self, text: &str) -> &[u8] {
        text.as_bytes().get(self.start + 1..self.key_end - 1).unwrap_or_default()
    }
}

/// Brings the members behind `begin` in order; of those with the same key the last stays.
fn sort(out: &mut String, begin: usize, mut members: Vec<Member>) {
    if members.is_sorted_by(|a, b| a.key(out) < b.key(out)) {
        return;
    }
    members.sort_by(|a, b| a.key(out).cmp(b.key(out)));
    let mut sorted = String::with_capacity(out.len() - begin);
    for (place, member) in members.iter().enumerate() {
        let next = members.get(place + 1);
        if next.is_none_or(|next| next.key(out) != member.key(out)) {
            sorted.push_str(out.get(member.start..member.end).unwrap_or_default());
        }
    }
    out.truncate(begin);
    out.push_str(&sorted);
}

/// Ends a list or an object: its last comma goes.
fn close(out: &mut String, begin: usize, end: char) {
    if out.len() > begin {
        out.pop();
    }
    out.push(end);
}

#[inline(always)]
pub(crate) fn needs_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks();
    if words.iter().any(|word| has_special(*word)) {
        return true;
    }
    match (bytes.last_chunk(), rest) {
        // The last word once more, with what is behind it.
        (Some(last), [_, ..]) => has_special(*last),
        (None, rest) => rest.iter().any(|byte| is_special(*byte)),
        (Some(_), []) => false,
    }
}

#[inline]
pub(crate) fn write_string(text: &str, out: &mut String) {
    if needs_escape(text) {
        // Serialising a string to JSON text can't fail.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.reserve(text.len() + 2);
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

fn write_number(number: &Number, out: &mut String) {
    let text = number.to_string();
    // Zero has no sign.
    out.push_str(if number.is_f64() && text == "-0.0" { "0.0" } else { &text });
}

pub(crate) fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(String, &Value)> = members
                .iter()
                .map(|(key, value)| {
                    let mut text = String::new();
                    write_string(key, &mut text);
                    (text, value)
                })
                .collect();
            let inner = |key: &str| key.get(1..key.len() - 1).unwrap_or("").to_owned();
            sorted.sort_by(|a, b| inner(&a.0).as_bytes().cmp(inner(&b.0).as_bytes()));
            out.push('{');
            for (i, (key, value)) in sorted.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(key);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}
