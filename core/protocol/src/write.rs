//! JSON objects written member by member, for messages that are sent hundreds of thousands of times
//! a second: contexts and payloads are JSON text already and are copied as they are.

use rstmdb_types::Json;

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Object<'a> {
        Object { out, separator: b'{' }
    }

    /// Behind the members of one that was begun and not ended.
    pub(crate) fn go_on(out: &'a mut Vec<u8>) -> Object<'a> {
        Object { out, separator: b',' }
    }

    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        put_text(self.key(key), value);
    }

    pub(crate) fn optional_text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(crate) fn unsigned(&mut self, key: &'static str, value: u64) {
        self.signed(key, value);
    }

    pub(crate) fn signed(&mut self, key: &'static str, value: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value);
        self.key(key).extend_from_slice(digits.as_bytes());
    }

    pub(crate) fn boolean(&mut self, key: &'static str, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.key(key).extend_from_slice(text);
    }

    pub(crate) fn json(&mut self, key: &'static str, value: &Json) {
        self.key(key).extend_from_slice(value.as_str().as_bytes());
    }

    /// A member whose value `write` appends.
    pub(crate) fn with<T>(
        &mut self,
        key: &'static str,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> T {
        write(self.key(key))
    }

    pub(crate) fn end(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// Appends a string with its quotes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    // Without an early end, which would keep many bytes from being looked at in one step.
    let is_special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        // A string always serialises.
        let _ = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_are_escaped_like_everywhere() {
        for text in
            ["", "plain", "quote\"", "back\\slash", "line\nbreak", "\u{1}", "grün ✓", "\u{7f}"]
        {
            let mut out = Vec::new();
            put_text(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn objects_are_json() {
        let mut out = Vec::new();
        Object::begin(&mut out).end();
        assert_eq!(out, b"{}");
        out.clear();
        let mut object = Object::begin(&mut out);
        object.text("a", "x");
        object.signed("b", -1i64);
        object.boolean("c", true);
        object.json("d", &Json::parse("[1]").unwrap());
        object.end();
        assert_eq!(out, br#"{"a":"x","b":-1,"c":true,"d":[1]}"#);
    }
}
