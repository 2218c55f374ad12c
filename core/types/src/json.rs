//! JSON kept as compact canonical text.
//!
//! Contexts and payloads are stored, merged, compared and logged as text, and only the members that
//! are asked for are ever parsed. The canonical form is: no blanks, object members sorted by key
//! (by the bytes of the escaped key) without repeats, integers in the `i64`/`u64` range exact, other
//! numbers as the shortest text of their 64-bit float. Equal values therefore have equal text.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::canonical::{canonical, needs_escape, write_string, write_value};
use crate::checked::check;
use crate::error::Error;
pub use crate::fault::JsonError;
use crate::fault::{RAW_VALUE, TOO_LARGE_INTEGER, too_large_integer};
use crate::quoted::skip_string;
pub use crate::quoted::{string_end, unescape};

/// How deeply arrays and objects may nest.
pub const JSON_DEPTH_MAX: usize = 127;

/// An immutable JSON value in canonical text form; cloning shares the text.
///
/// ```
/// use rstmdb_types::Json;
/// let context = Json::parse(r#"{ "paid": true, "items": [1, 2] }"#)?;
/// assert_eq!(context.as_str(), r#"{"items":[1,2],"paid":true}"#);
/// let merged = context.merge(&Json::parse(r#"{"paid":false}"#)?);
/// assert_eq!(merged.as_str(), r#"{"items":[1,2],"paid":false}"#);
/// # Ok::<(), rstmdb_types::JsonError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// The value `null`.
    pub fn null() -> Json {
        Json(Arc::from("null"))
    }

    /// The value `{}`.
    pub fn empty_object() -> Json {
        Json(Arc::from("{}"))
    }

    /// Parses any JSON text and brings it into canonical form. An integer that does not fit 64 bits is refused.
    pub fn parse(text: &str) -> std::result::Result<Json, JsonError> {
        // The parser takes an object with this member for something else than an object.
        if text.as_bytes().contains(&b'$') && text.contains("$serde_json::private") {
            return Err(JsonError::new("a member may not be called $serde_json::private…"));
        }
        if is_canonical(text) {
            return Ok(Json(Arc::from(text)));
        }
        let (written, has_large_float) =
            canonical(text).map_err(|error| JsonError::of(text, &error))?;
        // The parser makes a float of an integer that does not fit.
        if has_large_float && let Some(range) = too_large_integer(text, 0) {
            return Err(JsonError::at(text, range.start, TOO_LARGE_INTEGER));
        }
        Ok(Json(Arc::from(written)))
    }

    /// Takes text that is known to be canonical, such as text that came out of a [`Json`] before.
    ///
    /// Text that is not canonical gives wrong answers later, never undefined behaviour.
    pub fn from_canonical(text: &str) -> Json {
        Json(Arc::from(text))
    }

    /// Converts a parsed value.
    pub fn from_value(value: &Value) -> Json {
        let mut out = String::with_capacity(64);
        write_value(value, &mut out);
        Json(Arc::from(out))
    }

    /// Converts anything that serialises to JSON. NaN, infinities and integers that do not fit 64 bits are refused.
    pub fn from_serialize<T: Serialize + ?Sized>(
        value: &T,
    ) -> std::result::Result<Json, JsonError> {
        check(value)?;
        let value = serde_json::to_value(value).map_err(JsonError::new)?;
        Ok(Json::from_value(&value))
    }

    /// Reads the value into a Rust type.
    pub fn decode<T: DeserializeOwned>(&self) -> std::result::Result<T, JsonError> {
        serde_json::from_str(&self.0).map_err(JsonError::new)
    }

    /// The value as a tree.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// How deeply arrays and objects nest; 0 for other values.
    pub fn depth(&self) -> usize {
        let bytes = self.0.as_bytes();
        let (mut depth, mut deepest, mut at) = (0usize, 0, 0);
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at = string_end(bytes, at).unwrap_or(bytes.len()),
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A cursor on the value, for looking members up without parsing the rest.
    pub fn root(&self) -> JsonRef<'_> {
        JsonRef::new(&self.0)
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// The object with these members, no two of which have the same name.
    pub fn object<'n>(members: impl IntoIterator<Item = (&'n str, Json)>) -> Json {
        let quoted = |(name, value): (&str, Json)| {
            let mut quoted = String::new();
            write_string(name, &mut quoted);
            (quoted, value)
        };
        let mut members: Vec<_> = members.into_iter().map(quoted).collect();
        // Without the closing quote, which is not a part of the key.
        let raw = |name: &str| name.strip_suffix('"').unwrap_or_default().to_owned();
        members.sort_by_cached_key(|(name, _)| raw(name));
        Json::of_members(members.iter().map(|(name, value)| format!("{name}:{value}")))
    }

    /// The object without the members with these names; other values as they are.
    pub fn without(&self, names: &[impl AsRef<str>]) -> Json {
        let names: HashSet<&str> = names.iter().map(AsRef::as_ref).collect();
        let goes = |raw_key| names.contains(unescape(raw_key).as_ref());
        if !self.root().members().any(|member| goes(member.raw_key)) {
            return self.clone();
        }
        let left = self.root().members().filter(|member| !goes(member.raw_key));
        Json::of_members(left.map(|member| member.text))
    }

    /// Of the object, the members with these names; nothing of other values.
    pub fn only(&self, names: &BTreeSet<impl Borrow<str> + Ord>) -> Json {
        let members = self.root().members();
        let wanted = members.filter(|member| names.contains(unescape(member.raw_key).as_ref()));
        Json::of_members(wanted.map(|member| member.text))
    }

    /// The object with these members, which are canonical and in order.
    fn of_members(members: impl Iterator<Item = impl AsRef<str>>) -> Json {
        let mut out = String::from("{");
        for member in members {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(member.as_ref());
        }
        out.push('}');
        Json(Arc::from(out))
    }

    /// The context after an event: members of `payload` replace members of `self`, one level deep.
    ///
    /// When either side is not an object the result is `self`, unchanged.
    pub fn merge(&self, payload: &Json) -> Json {
        if !self.is_object() || !payload.is_object() || payload.0.len() == 2 {
            return self.clone();
        }
        if self.0.len() == 2 {
            return payload.clone();
        }
        let mut out = String::with_capacity(self.0.len() + payload.0.len());
        out.push('{');
        let mut put = |members: &str| {
            if out.len() > 1 && !members.is_empty() {
                out.push(',');
            }
            out.push_str(members);
        };
        // Members of `self` between two of the payload are copied in one piece, and those behind the
        // last one without being looked at. A piece ends with the comma or brace after it.
        let text = &*self.0;
        let mut left = self.root().members();
        let mut piece = 1;
        for new in payload.root().members() {
            let new_key = new.raw_key.as_bytes();
            while left.peek_key().is_some_and(|key| key.as_bytes() < new_key) {
                left.next();
            }
            let end = text.len() - left.rest.len();
            put(text.get(piece..end - 1).unwrap_or_default());
            put(new.text);
            if left.peek_key() == Some(new.raw_key) {
                left.next();
            }
            piece = text.len() - left.rest.len();
        }
        put(text.get(piece..text.len() - 1).unwrap_or_default());
        out.push('}');
        Json(Arc::from(out))
    }
}

impl JsonError {
    /// The error of who was given a request as this text, which its reader refused: it says which member is wrong.
    pub fn of_request(what: &str, text: &[u8], refused: &serde_json::Error) -> Error {
        let text = String::from_utf8_lossy(text);
        // Values that nobody takes are read apart from the rest, where their place in it is not known.
        let of_value = match &text {
            Cow::Borrowed(text) => Json::parse(text).err(),
            Cow::Owned(_) => None,
        };
        of_value.unwrap_or_else(|| JsonError::of(&text, refused)).into_error(what)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json::from_value(&value)
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Json {
        Json::from_value(value)
    }
}

impl std::str::FromStr for Json {
    type Err = JsonError;
    fn from_str(text: &str) -> std::result::Result<Json, JsonError> {
        Json::parse(text)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        // As `RawValue` does it, without looking at the text once more.
        let mut raw = serializer.serialize_struct(RAW_VALUE, 1)?;
        raw.serialize_field(RAW_VALUE, &*self.0)?;
        raw.end()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        deserializer.deserialize_newtype_struct(RAW_VALUE, FromRaw)
    }
}

/// Takes the text of a value as `RawValue` does, and makes no copy of it in between.
struct FromRaw;

impl<'de> Visitor<'de> for FromRaw {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
        if map.next_key_seed(RawKey)?.is_none() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        map.next_value_seed(self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Json, E> {
        Json::parse(text).map_err(|error| E::custom(error.without_place()))
    }
}

impl<'de> DeserializeSeed<'de> for FromRaw {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Json, D::Error> {
        from.deserialize_str(self)
    }
}

/// The member that the text of a value comes as.
struct RawKey;

impl<'de> DeserializeSeed<'de> for RawKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for RawKey {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a value")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<(), E> {
        if name == RAW_VALUE { Ok(()) } else { Err(E::custom("unexpected raw value")) }
    }
}

/// A cursor on one value inside canonical JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonRef<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The text of a number.
    Number(&'a str),
    /// The text between the quotes, escapes untouched.
    String(&'a str),
    /// The text of an array, brackets included.
    Array(&'a str),
    /// The text of an object, braces included.
    Object(&'a str),
}

impl<'a> JsonRef<'a> {
    fn new(text: &'a str) -> JsonRef<'a> {
        match text.as_bytes().first() {
            Some(b'{') => JsonRef::Object(text),
            Some(b'[') => JsonRef::Array(text),
            Some(b'"') => JsonRef::String(text.get(1..text.len() - 1).unwrap_or("")),
            Some(b't') => JsonRef::Bool(true),
            Some(b'f') => JsonRef::Bool(false),
            Some(b'-' | b'0'..=b'9') => JsonRef::Number(text),
            _ => JsonRef::Null,
        }
    }

    /// The member `key` of an object.
    pub fn get(self, key: &str) -> Option<JsonRef<'a>> {
        let escaped;
        let raw_key = if needs_escape(key) {
            let mut text = String::new();
            write_string(key, &mut text);
            escaped = text;
            escaped.get(1..escaped.len() - 1)?
        } else {
            key
        };
        // Members are sorted, so the search ends at the first larger key.
        for member in self.members() {
            match member.raw_key.as_bytes().cmp(raw_key.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(member.value()),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The element at `index` of an array.
    pub fn at(self, index: usize) -> Option<JsonRef<'a>> {
        self.elements().nth(index)
    }

    /// The members of an object in key order; nothing for other values.
    pub fn members(self) -> Members<'a> {
        let rest = match self {
            JsonRef::Object(text) => text.get(1..).unwrap_or(""),
            _ => "",
        };
        Members { rest }
    }

    /// The elements of an array; nothing for other values.
    pub fn elements(self) -> Elements<'a> {
        let rest = match self {
            JsonRef::Array(text) => text.get(1..).unwrap_or(""),
            _ => "",
        };
        Elements { rest }
    }

    /// The text of the value as it stands in the document.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            JsonRef::Null => "null".into(),
            JsonRef::Bool(true) => "true".into(),
            JsonRef::Bool(false) => "false".into(),
            JsonRef::Number(text) | JsonRef::Array(text) | JsonRef::Object(text) => text.into(),
            JsonRef::String(raw) => format!("\"{raw}\"").into(),
        }
    }
}

/// One member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The whole member, `"key":value`.
    text: &'a str,
    /// The key, escapes untouched.
    pub raw_key: &'a str,
}

impl<'a> Member<'a> {
    /// The member's value.
    pub fn value(&self) -> JsonRef<'a> {
        JsonRef::new(self.text.get(self.raw_key.len() + 3..).unwrap_or("null"))
    }
}

/// Iterator over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a str,
}

impl<'a> Members<'a> {
    /// The next member's key, escapes untouched.
    fn peek_key(&self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let end = skip_string(bytes, 0)?;
        self.rest.get(1..end - 1)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;
    fn next(&mut self) -> Option<Member<'a>> {
        let bytes = self.rest.as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let key_end = skip_string(bytes, 0)?;
        let value_end = skip_value(bytes, key_end + 1)?;
        let member =
            Member { text: self.rest.get(..value_end)?, raw_key: self.rest.get(1..key_end - 1)? };
        self.rest = self.rest.get(value_end + 1..).unwrap_or("");
        Some(member)
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Elements<'a> {
    type Item = JsonRef<'a>;
    fn next(&mut self) -> Option<JsonRef<'a>> {
        if self.rest.is_empty() || self.rest.starts_with(']') {
            return None;
        }
        let end = skip_value(self.rest.as_bytes(), 0)?;
        let element = JsonRef::new(self.rest.get(..end)?);
        self.rest = self.rest.get(end + 1..).unwrap_or("");
        Some(element)
    }
}

/// The index after the value that starts at `start`, in canonical text.
fn skip_value(bytes: &[u8], start: usize) -> Option<usize> {
    match *bytes.get(start)? {
        b'"' => skip_string(bytes, start),
        b'{' | b'[' => skip_container(bytes, start),
        _ => {
            let tail = bytes.get(start..)?.iter();
            let length = tail.take_while(|byte| !matches!(byte, b',' | b'}' | b']')).count();
            Some(start + length)
        }
    }
}

/// The index after the array or object that starts at `start`.
fn skip_container(bytes: &[u8], start: usize) -> Option<usize> {
    let mut i = start;
    let mut depth = 0usize;
    loop {
        match *bytes.get(i)? {
            b'"' => {
                i = skip_string(bytes, i)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
        i += 1;
    }
}

/// Whether the text is canonical beyond doubt; false sends it through the full parser.
fn is_canonical(text: &str) -> bool {
    scan(text.as_bytes(), 0, JSON_DEPTH_MAX) == Some(text.len())
}

/// The index after the canonical value at `i`; None when it is not canonical or has an escape, a
/// fraction or a long number, whose canonical form only the full parser can tell.
fn scan(bytes: &[u8], i: usize, depth: usize) -> Option<usize> {
    match *bytes.get(i)? {
        b'"' => scan_string(bytes, i),
        b'n' => bytes.get(i..)?.starts_with(b"null").then_some(i + 4),
        b't' => bytes.get(i..)?.starts_with(b"true").then_some(i + 4),
        b'f' => bytes.get(i..)?.starts_with(b"false").then_some(i + 5),
        b'-' | b'0'..=b'9' => scan_integer(bytes, i),
        b'[' => {
            let depth = depth.checked_sub(1)?;
            let mut i = i + 1;
            if *bytes.get(i)? == b']' {
                return Some(i + 1);
            }
            loop {
                i = scan(bytes, i, depth)?;
                match *bytes.get(i)? {
                    b',' => i += 1,
                    b']' => return Some(i + 1),
                    _ => return None,
                }
            }
        }
        b'{' => {
            let depth = depth.checked_sub(1)?;
            let mut i = i + 1;
            if *bytes.get(i)? == b'}' {
                return Some(i + 1);
            }
            let mut previous: Option<&[u8]> = None;
            loop {
                if *bytes.get(i)? != b'"' {
                    return None;
                }
                let end = scan_string(bytes, i)?;
                let key = bytes.get(i + 1..end - 1)?;
                if previous.is_some_and(|previous| previous >= key) || *bytes.get(end)? != b':' {
                    return None;
                }
                previous = Some(key);
                i = scan(bytes, end + 1, depth)?;
                match *bytes.get(i)? {
                    b',' => i += 1,
                    b'}' => return Some(i + 1),
                    _ => return None,
                }
            }
        }
        _ => None,
    }
}

fn scan_string(bytes: &[u8], start: usize) -> Option<usize> {
    let tail = bytes.get(start + 1..)?;
    let length = tail.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
    (*tail.get(length)? == b'"').then_some(start + length + 2)
}

fn scan_integer(bytes: &[u8], start: usize) -> Option<usize> {
    let negative = *bytes.get(start)? == b'-';
    let first = start + usize::from(negative);
    let mut i = first;
    while matches!(bytes.get(i), Some(b'0'..=b'9')) {
        i += 1;
    }
    let digits = i - first;
    let leading_zero = bytes.get(first) == Some(&b'0') && (digits > 1 || negative);
    let fraction = matches!(bytes.get(i), Some(b'.' | b'e' | b'E'));
    (digits > 0 && digits <= 18 && !leading_zero && !fraction).then_some(i)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    #[test]
    fn goes_out_as_raw_values_do() {
        for text in ["null", "18446744073709551615", r#"{"a":[1,2.5,{"b":"\"\n"}]}"#] {
            let (ours, raw) = (json(text), RawValue::from_string(text.to_owned()).unwrap());
            assert_eq!(serde_json::to_string(&[&ours]).unwrap(), format!("[{text}]"));
            assert_eq!(serde_json::to_value(&ours).unwrap(), serde_json::to_value(&raw).unwrap());
        }
    }

    #[test]
    fn canonical_form_is_compact_sorted_and_stable() {
        for (input, expected) in [
            (" { \"b\" : 1 , \"a\" : [ 1 , 2.50 ] } ", r#"{"a":[1,2.5],"b":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""é\n""#, r#""é\n""#),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616.0", "1.8446744073709552e+19"),
            ("99111119912222222211e0", "9.911111991222223e+19"),
            ("-0", "0.0"),
            ("1e3", "1000.0"),
            ("{}", "{}"),
            ("[[],{}]", "[[],{}]"),
        ] {
            let parsed = json(input);
            assert_eq!(parsed.as_str(), expected);
            assert_eq!(json(parsed.as_str()), parsed, "stable: {input}");
        }
    }

    #[test]
    fn what_is_written_while_reading_is_what_a_tree_gives() {
        for text in [
            r#" {"b":{"z":[1.0,-0.0,1e-7,{"d":1,"c":"\u0041\u20ac\ud83d\ude00\/"}],"a":null},"a":true} "#,
            r#"{"a":1,"b":2,"a":{"x":[]},"\u0061":[],"":0,"\"":3,"A":4,"é":5,"\n":6}"#,
            r#"[{"k":[ ],"j":{ }},-9223372036854775808,18446744073709551615,1E400e0]"#,
            r#"{"x":0.1e1,"y":[[[{"b":1,"a":2}]]],"w":"\u0000\b\f"}"#,
        ] {
            let tree = serde_json::from_str::<Value>(text).map(|tree| Json::from_value(&tree));
            let (parsed, tree) = (Json::parse(text).ok(), tree.ok());
            assert_eq!(parsed, tree, "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (text, depth) in [("1", 0), ("[]", 1), (r#"{"a[{":[{"b":"]}\\\"{"}]}"#, 3)] {
            assert_eq!(json(text).depth(), depth, "{text}");
        }
    }

    #[test]
    fn rejects_what_is_not_json() {
        for input in ["", "{", "{\"a\":}", "01", "tru", "\"a", "[1,]", "nul", "1 2", "1e999"] {
            assert!(Json::parse(input).is_err(), "{input}");
        }
        assert!(Json::parse(&"[".repeat(200_000)).is_err());
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        assert!(Json::parse(&deep).is_err());
    }

    #[test]
    fn merge_replaces_members_one_level_deep() {
        let merged = json(r#"{"a":{"x":1},"b":1,"d":4}"#)
            .merge(&json(r#"{"a":{"y":2},"c":null,"d":[",}"]}"#));
        assert_eq!(merged.as_str(), r#"{"a":{"y":2},"b":1,"c":null,"d":[",}"]}"#);
        for (context, payload, expected) in [
            (r#"{"b":1}"#, r#"{"a":0,"c":2}"#, r#"{"a":0,"b":1,"c":2}"#),
            (r#"{"a":0,"c":2}"#, r#"{"b":1}"#, r#"{"a":0,"b":1,"c":2}"#),
            (r#"{"a":0,"b":",","c":2}"#, r#"{"a":9,"c":9}"#, r#"{"a":9,"b":",","c":9}"#),
            (r#"{"a":0,"b":1}"#, r#"{"a":8,"b":9}"#, r#"{"a":8,"b":9}"#),
            (r#"{"a":{"b":[1,{}]}}"#, r#"{"b":[]}"#, r#"{"a":{"b":[1,{}]},"b":[]}"#),
        ] {
            assert_eq!(json(context).merge(&json(payload)).as_str(), expected);
        }
        assert_eq!(json("[1]").merge(&json(r#"{"a":1}"#)).as_str(), "[1]");
        assert_eq!(json(r#"{"a":1}"#).merge(&json("5")).as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn cursor_finds_members_and_elements() {
        let value = json(r#"{"a":{"b":[10,{"c":"x\"y"}]},"k\"":2,"z":null}"#);
        let list = value.root().get("a").unwrap().get("b").unwrap();
        assert_eq!(list.at(0), Some(JsonRef::Number("10")));
        assert_eq!(list.at(1).unwrap().get("c"), Some(JsonRef::String(r#"x\"y"#)));
        assert_eq!(list.at(2), None);
        assert_eq!(value.root().get("k\""), Some(JsonRef::Number("2")));
        assert_eq!(value.root().get("z"), Some(JsonRef::Null));
        assert_eq!(value.root().get("nope"), None);
        assert_eq!(unescape(r#"x\"y"#), "x\"y");
    }

    #[test]
    fn serde_round_trip_keeps_the_text() {
        let value = json(r#"{"big":9007199254740993,"list":[1,"a"]}"#);
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(text, value.as_str());
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), value);
        let tree = serde_json::to_value(&value).unwrap();
        assert_eq!(serde_json::from_value::<Json>(tree).unwrap(), value);
    }
}
