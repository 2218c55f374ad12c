//! JSON strings as they stand in a text, between their quotes.

use std::borrow::Cow;

/// Undoes the escapes in the text of a JSON string (the part between the quotes).
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).map_or(raw.into(), Into::into)
}

/// The index behind the string whose opening quote stands before `start`.
pub fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        // Texts are mostly plain: they are looked at in words, as far as there are whole ones.
        while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let ends = marks(*word, b'"') | marks(*word, b'\\');
            at += ends.trailing_zeros() as usize / 8;
            if ends != 0 {
                break;
            }
        }
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A one in each byte.
const ONES: u64 = u64::MAX / 0xff;

/// Has the highest bit set in the first byte that is `wanted`; in those before it none, and behind it perhaps.
fn marks(word: [u8; 8], wanted: u8) -> u64 {
    let differences = u64::from_le_bytes(word) ^ (ONES * u64::from(wanted));
    differences.wrapping_sub(ONES) & !differences & (ONES << 7)
}

/// Whether a byte does not stand for itself in a string: a quote, a backslash or a control character.
#[inline]
pub(crate) const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether one of these bytes is a quote, a backslash or a control character.
#[inline]
pub(crate) fn has_special(word: [u8; 8]) -> bool {
    let is_control = u64::from_le_bytes(word);
    let is_control = is_control.wrapping_sub(ONES * 0x20) & !is_control & (ONES << 7);
    (marks(word, b'"') | marks(word, b'\\') | is_control) != 0
}

/// The index after the string that starts at `start`.
pub(crate) fn skip_string(bytes: &[u8], start: usize) -> Option<usize> {
    string_end(bytes, start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_the_first_quote_that_is_not_escaped() {
        // Every length and place in a word, with what is next to the bytes that are looked for.
        for length in 0..40 {
            for at in 0..length {
                for (piece, ends) in [
                    ("\"", true),
                    ("\\\"", false),
                    ("\\\\", false),
                    ("!#[]", false),
                    ("\u{a2}\u{dc}", false),
                ] {
                    let text =
                        format!("{}{piece}{}\" , \"", "-".repeat(at), "a".repeat(length - at));
                    let end = if ends { at } else { length + piece.len() };
                    assert_eq!(string_end(text.as_bytes(), 0), Some(end + 1), "{text}");
                    let open = text.get(..end).unwrap_or_default();
                    assert_eq!(string_end(open.as_bytes(), 0), None, "{open}");
                }
            }
        }
        assert_eq!(string_end(b"\\", 0), None);
        assert_eq!(string_end(b"", 3), None);
    }
}
