//! Values as JSON text, byte for byte as `serde_json` writes them, in fewer steps: texts are looked through in
//! words, and names of members while the program is compiled.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Result};

use crate::canonical::{needs_escape, write_string};
use crate::fault::RAW_VALUE;

/// The JSON text of a value, in a place with so much room.
pub fn json_text<T: Serialize + ?Sized>(value: &T, room: usize) -> Result<String> {
    let mut text = String::with_capacity(room);
    value.serialize(TextWriter { text: &mut text, is_json: false })?;
    Ok(text)
}

/// Appends one value.
struct TextWriter<'a> {
    text: &'a mut String,
    /// What comes is JSON text already, to go out as it is.
    is_json: bool,
}

/// Appends elements or members, and what ends them.
struct ItemWriter<'a> {
    text: &'a mut String,
    is_first: bool,
    is_json: bool,
    end: &'static str,
}

impl<'a> TextWriter<'a> {
    fn items(self, begin: char, end: &'static str) -> ItemWriter<'a> {
        self.text.push(begin);
        ItemWriter { text: self.text, is_first: true, is_json: false, end }
    }

    /// The object with one member that a variant with values is.
    fn variant(self, name: &'static str, begin: &str, end: &'static str) -> ItemWriter<'a> {
        self.text.push('{');
        write_name(name, self.text);
        self.text.push_str(begin);
        ItemWriter { text: self.text, is_first: true, is_json: false, end }
    }

    fn float(self, value: impl Serialize) -> Result<()> {
        self.text.push_str(&serde_json::to_string(&value)?);
        Ok(())
    }
}

impl ItemWriter<'_> {
    #[inline]
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.separate();
        value.serialize(TextWriter { text: self.text, is_json: false })
    }

    #[inline(always)]
    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        if !self.is_json {
            self.separate();
            write_name(name, self.text);
        }
        value.serialize(TextWriter { text: self.text, is_json: self.is_json })
    }

    fn finish(self) -> Result<()> {
        self.text.push_str(self.end);
        Ok(())
    }
}

/// Appends the name of a member. It is put where the name is known, so that what is looked for in it is found when the
/// program is compiled.
#[inline(always)]
fn write_name(name: &'static str, text: &mut String) {
    if needs_escape(name) {
        write_string(name, text);
        text.push(':');
    } else {
        text.reserve(name.len() + 3);
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<()> {
            self.text.push_str(itoa::Buffer::new().format(value));
            Ok(())
        }
    )*};
}

impl<'a> Serializer for TextWriter<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = ItemWriter<'a>;
    type SerializeTuple = ItemWriter<'a>;
    type SerializeTupleStruct = ItemWriter<'a>;
    type SerializeTupleVariant = ItemWriter<'a>;
    type SerializeMap = ItemWriter<'a>;
    type SerializeStruct = ItemWriter<'a>;
    type SerializeStructVariant = ItemWriter<'a>;

    integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.float(value)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        if self.is_json {
            self.text.push_str(value);
        } else {
            write_string(value, self.text);
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.text.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<()> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        let mut variant = self.variant(name, "", "}");
        variant.element(value)?;
        variant.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ItemWriter<'a>> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<ItemWriter<'a>> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<ItemWriter<'a>> {
        Ok(self.items('[', "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<ItemWriter<'a>> {
        Ok(self.variant(name, "[", "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<ItemWriter<'a>> {
        Ok(self.items('{', "}"))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<ItemWriter<'a>> {
        if name == RAW_VALUE {
            return Ok(ItemWriter { text: self.text, is_first: true, is_json: true, end: "" });
        }
        Ok(self.items('{', "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<ItemWriter<'a>> {
        Ok(self.variant(name, "{", "}}"))
    }
}

macro_rules! elements {
    ($($name:ident $method:ident),*) => {$(
        impl $name for ItemWriter<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

elements!(
    SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! members {
    ($($name:ident),*) => {$(
        impl $name for ItemWriter<'_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.member(name, value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for ItemWriter<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.separate();
        let start = self.text.len();
        key.serialize(TextWriter { text: self.text, is_json: false })?;
        match self.text.as_bytes().get(start) {
            Some(b'"') => Ok(()),
            Some(b'{' | b'[' | b'n') | None => Err(Error::custom("key must be a string")),
            // Numbers and the like are names when they are between quotes.
            Some(_) => {
                self.text.insert(start, '"');
                self.text.push('"');
                Ok(())
            }
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.text.push(':');
        value.serialize(TextWriter { text: self.text, is_json: false })
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;
    use crate::{
        ApplyEventRequest, ApplyEventResult, BatchMode, BatchOutcome, BatchRequest, BatchResult,
        Error, Json, Outcome, WalEntry,
    };

    fn same<T: Serialize + ?Sized>(value: &T) {
        assert_eq!(json_text(value, 0).unwrap(), serde_json::to_string(value).unwrap());
    }

    #[derive(Serialize)]
    enum Kinds {
        Bare,
        One(Option<u8>),
        Two(i8, f32),
        Named { a: (), b: &'static str },
    }

    #[derive(Serialize)]
    struct Marker;

    #[derive(Serialize)]
    struct Pair(u128, char);

    #[derive(Serialize)]
    struct Whole {
        #[serde(rename = "q\"uoted")]
        kinds: Vec<Kinds>,
        by_number: BTreeMap<i64, bool>,
        by_flag: BTreeMap<bool, Marker>,
        by_letter: BTreeMap<char, Pair>,
        #[serde(flatten)]
        more: BTreeMap<String, serde_json::Value>,
        raw: Json,
        floats: [f64; 5],
        bytes: &'static [u8],
        nothing: Option<Box<Whole>>,
    }

    #[test]
    fn values_of_all_kinds_are_written_as_serde_json_writes_them() {
        same(&Whole {
            kinds: vec![
                Kinds::Bare,
                Kinds::One(None),
                Kinds::One(Some(7)),
                Kinds::Two(-1, 0.1),
                Kinds::Named { a: (), b: "\u{7f}é\u{1}\n" },
            ],
            by_number: BTreeMap::from([(-3, true), (4, false)]),
            by_flag: BTreeMap::from([(true, Marker)]),
            by_letter: BTreeMap::from([('"', Pair(u128::MAX, '€'))]),
            more: BTreeMap::from([
                ("a\\b".to_owned(), serde_json::json!({"x": [1.0, null, "\""], "é": {}})),
                (String::new(), serde_json::json!([])),
            ]),
            raw: Json::parse(r#"{"b":[1.50,"\n"],"a":18446744073709551615}"#).unwrap(),
            floats: [0.1, -0.0, f64::NAN, f64::INFINITY, 1e300],
            bytes: b"ab",
            nothing: None,
        });
        for empty in ["", "a"] {
            same(empty);
        }
        same(&(i64::MIN, u64::MAX, true, 'x'));
        let keys = BTreeMap::from([(Some(vec![1]), 1)]);
        assert!(json_text(&keys, 0).is_err() && serde_json::to_string(&keys).is_err());
    }

    #[test]
    fn texts_of_all_lengths_are_looked_through_to_the_end() {
        for length in 0..40 {
            for at in 0..length {
                for special in ['"', '\\', '\u{1f}', '\u{0}', ' ', '\u{7f}', 'ÿ', '!', '#', '['] {
                    let mut text = "-".repeat(length);
                    text.replace_range(at..=at, special.encode_utf8(&mut [0; 4]));
                    same(&text);
                }
            }
        }
    }

    #[test]
    fn requests_and_results_are_written_as_serde_json_writes_them() {
        let ctx = Json::parse(r#"{"n":1}"#).unwrap();
        let applied = ApplyEventResult {
            from_state: "A".into(),
            to_state: "\"B\"".into(),
            ctx: ctx.clone(),
            wal_offset: 3,
            applied: true,
            event_id: None,
        };
        let error = Error::new(crate::ErrorCode::Conflict, "no").with("state", "A");
        let results = [Ok(Outcome::ApplyEvent(applied)), Err(error)];
        same(&BatchResult { results: results.into_iter().map(BatchOutcome::from).collect() });
        let event = ApplyEventRequest::new("i", "E").with_payload(ctx);
        let ops = vec![event.clone().into()];
        same(&BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: Some("k".into()) });
        same(&event);
        same(&WalEntry::FlushAll {});
        same(&WalEntry::Other {
            r#type: "new".into(),
            raw: r#"{"z": 1e999, "type":"new"}"#.into(),
        });
    }
}
