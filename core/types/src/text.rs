//! Text that comes from people, in files and on standard input: one way to find out how it is encoded.
//!
//! UTF-8 is read, with or without a byte order mark. Anything else is refused by its name, so that nobody has to guess
//! why a file that looks right can't be used.

use std::fmt;
use std::io;

/// Marks at the beginning of a text, longest first: UTF-32 begins as UTF-16 does.
const OTHER_MARKS: [(&[u8], &str); 4] = [
    (b"\xff\xfe\0\0", "UTF-32 (little-endian)"),
    (b"\0\0\xfe\xff", "UTF-32 (big-endian)"),
    (b"\xff\xfe", "UTF-16 (little-endian)"),
    (b"\xfe\xff", "UTF-16 (big-endian)"),
];

/// Why bytes are not text that can be read. It says what they are, after the name of whatever holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotText {
    /// Another encoding, known by its first bytes.
    Encoding(&'static str),
    /// Not UTF-8.
    NotUtf8 {
        /// The line, counted from 1.
        line: usize,
        /// The first byte that can't be part of UTF-8.
        byte: u8,
    },
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotText::Encoding(name) => write!(f, "is {name}, not UTF-8; save it as UTF-8"),
            NotText::NotUtf8 { line, byte } => write!(
                f,
                "is not UTF-8: line {line} has the byte 0x{byte:02x}, as texts in Latin-1 have; \
                 save it as UTF-8"
            ),
        }
    }
}

impl std::error::Error for NotText {}

impl From<NotText> for io::Error {
    fn from(problem: NotText) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, problem)
    }
}

/// The bytes behind a byte order mark of UTF-8, if there is one; those of other encodings are refused.
///
/// For what is text in its greater part, such as PEM, whose comments may be in any encoding.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], NotText> {
    if let Some((_, name)) = OTHER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(NotText::Encoding(name));
    }
    Ok(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

/// The text that bytes are, without a byte order mark.
pub fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    let bytes = without_mark(bytes)?;
    // Without a mark the zeros beside ASCII tell.
    match bytes {
        [0, second, ..] if *second != 0 => return Err(NotText::Encoding("UTF-16 (big-endian)")),
        [first, 0, third, ..] if *first != 0 && *third != 0 => {
            return Err(NotText::Encoding("UTF-16 (little-endian)"));
        }
        _ => {}
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, rest) = bytes.split_at(error.valid_up_to());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        NotText::NotUtf8 { line, byte: rest.first().copied().unwrap_or_default() }
    })
}

/// Whether a file can't be read because of which file was named or what is in it: trying again does not help.
pub fn is_misnamed(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, PermissionDenied,
    };
    matches!(
        error.kind(),
        InvalidData
            | InvalidFilename
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_utf_8_is_no_part_of_the_text() {
        assert_eq!(decode(b"\xef\xbb\xbfa\xc3\xa9").unwrap(), "a\u{e9}");
        assert_eq!(decode(b"a\xef\xbb\xbf").unwrap(), "a\u{feff}");
        assert_eq!(decode(b"").unwrap(), "");
        assert_eq!(decode(b"\0\0").unwrap(), "\0\0");
    }

    #[test]
    fn other_encodings_are_named() {
        for (bytes, name) in [
            (&b"\xff\xfea\0"[..], "UTF-16 (little-endian)"),
            (b"\xfe\xff\0a", "UTF-16 (big-endian)"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32 (little-endian)"),
            (b"\0\0\xfe\xff\0\0\0a", "UTF-32 (big-endian)"),
            (b"{\0}\0", "UTF-16 (little-endian)"),
            (b"\0{\0}", "UTF-16 (big-endian)"),
        ] {
            assert_eq!(decode(bytes), Err(NotText::Encoding(name)), "{bytes:?}");
        }
        let error = decode(b"a\nb\xe9\n").unwrap_err();
        assert_eq!(error, NotText::NotUtf8 { line: 2, byte: 0xe9 });
        assert!(error.to_string().contains("line 2 has the byte 0xe9"), "{error}");
    }
}
