//! JSON strings as they stand in a text, between their quotes.

use std::borrow::Cow;

/// Undoes the escapes in the text of a JSON string (the part between the quotes).
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).map_or(raw.into(), Into::into)
}

/// The index after the string that starts at `start`.
pub(crate) fn skip_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    loop {
        match *bytes.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}
