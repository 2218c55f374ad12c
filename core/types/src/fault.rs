//! What is refused as JSON, and where it stands: the one place that says which numbers there are.
//!
//! An integer is one of 64 bits, signed or not; a number with a fraction or an exponent is a 64-bit float.
//! An integer that does not fit is refused: as a float it would be another number, and nobody was told.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde_json::error::Category;

use crate::error::{Error, reason};
use crate::quoted::{skip_string, unescape};

/// What is said of an integer that is none of 64 bits.
pub const TOO_LARGE_INTEGER: &str = "the integer does not fit 64 bits; write it as a string, which is exact, \
     or as a float such as 1e20";

/// What is said of a float that JSON has no number for.
pub const NOT_FINITE: &str = "JSON has no NaN and no infinities; write null or a string";

/// What is said of text that is no Unicode.
pub const LONE_SURROGATE: &str = "text has a lone surrogate, which UTF-8 can't hold";

/// What is said of a text with more lists and objects inside of each other than the parser follows.
pub(crate) const TOO_DEEP: &str = "nested too deep: JSON is read to 127 levels";

/// What `serde_json` calls text that goes out as it is; a test compares the two.
pub(crate) const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Why a text is not acceptable JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    problem: String,
    path: String,
    line: usize,
    column: usize,
}

impl JsonError {
    /// An error that is at no place of a text.
    pub(crate) fn new(problem: impl fmt::Display) -> JsonError {
        JsonError { problem: problem.to_string(), path: String::new(), line: 0, column: 0 }
    }

    /// An error at a byte of a text that is JSON up to there.
    pub(crate) fn at(text: &str, byte: usize, problem: impl Into<String>) -> JsonError {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        JsonError {
            problem: problem.into(),
            path: path_at(text, byte),
            line: before.matches('\n').count() + 1,
            column: before.len() - line_start + 1,
        }
    }

    /// What the parser says of a text.
    pub(crate) fn of(text: &str, error: &serde_json::Error) -> JsonError {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let place = format!(" at line {line} column {column}");
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        let mut starts = std::iter::once(0).chain(ends);
        let end = starts.nth(line.saturating_sub(1)).unwrap_or(0) + column;
        let problem = match said.strip_suffix(&place) {
            Some("number out of range") => match is_integer(number_before(text, end)) {
                true => TOO_LARGE_INTEGER,
                false => "the number is too large for a 64-bit float",
            },
            Some("lone leading surrogate in hex escape" | "unexpected end of hex escape") => {
                LONE_SURROGATE
            }
            Some("recursion limit exceeded") => TOO_DEEP,
            Some("expected value" | "invalid number") if is_not_finite(text, end) => NOT_FINITE,
            Some(problem) => problem,
            None => &said,
        };
        let path = match error.classify() {
            // What is missing at the end is of no member.
            Category::Eof => String::new(),
            // The last character is the one that can't stand there.
            Category::Syntax => path_at(text, end.saturating_sub(1)),
            _ => path_at(text, end),
        };
        JsonError { problem: problem.to_owned(), path, line, column }
    }

    /// What is wrong and what to do, without the place.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The member it is about, such as `payload.items[2]`; empty for the whole text.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The member as its holder calls it: `payload` and `items[2]` are `payload.items[2]`.
    pub fn path_below(&self, holder: &str) -> String {
        match self.path.as_bytes().first() {
            None => holder.to_owned(),
            Some(b'[') => format!("{holder}{}", self.path),
            Some(_) => format!("{holder}.{}", self.path),
        }
    }

    /// The same error of a list that has the value as an element.
    pub(crate) fn below_element(self, index: usize) -> JsonError {
        let path = self.path_below(&format!("[{index}]"));
        JsonError { path, ..self }
    }

    /// The same error of an object that has the value as a member.
    pub(crate) fn below_member(self, key: &str) -> JsonError {
        let path = self.path_below(&member_path("", key));
        JsonError { path, ..self }
    }

    /// The error of who was given the text as `what`.
    ///
    /// `BAD_REQUEST`, reason `invalid_request`, with `path`, and `line` and `column` of the text, in bytes.
    pub fn into_error(self, what: &str) -> Error {
        let error = Error::invalid(reason::INVALID_REQUEST, format!("{what}: {self}"));
        let error = if self.path.is_empty() { error } else { error.with("path", self.path) };
        match self.line {
            0 => error,
            line => error.with("line", line).with("column", self.column),
        }
    }

    /// The path and the problem, for who says the place.
    pub(crate) fn without_place(&self) -> String {
        match &*self.path {
            "" => self.problem.clone(),
            path => format!("{path}: {}", self.problem),
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_place())?;
        match self.line {
            0 => Ok(()),
            line => write!(f, " at line {line} column {}", self.column),
        }
    }
}

impl std::error::Error for JsonError {}

impl serde::ser::Error for JsonError {
    fn custom<T: fmt::Display>(problem: T) -> JsonError {
        JsonError::new(problem)
    }
}

/// The path of the member `key` of what `base` names.
pub fn member_path(base: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-$*".contains(c));
    match (plain, base) {
        (true, "") => key.to_owned(),
        (true, base) => format!("{base}.{key}"),
        (false, base) => format!("{base}[{key:?}]"),
    }
}

/// A longer key is cut short: a path is to be read.
const KEY_CHARACTERS_MAX: usize = 64;

/// The path of what stands at a byte of a text that is JSON up to there.
fn path_at(text: &str, end: usize) -> String {
    enum Step<'a> {
        Member(Option<&'a str>),
        Element(usize),
    }
    let bytes = text.as_bytes();
    let (mut steps, mut i) = (Vec::new(), 0);
    while i < end {
        match (bytes.get(i), steps.last_mut()) {
            (None, _) => break,
            (Some(b'"'), last) => {
                let close = skip_string(bytes, i).unwrap_or(bytes.len());
                if close > end {
                    break;
                }
                if let Some(Step::Member(key @ None)) = last {
                    *key = text.get(i + 1..close - 1);
                }
                i = close;
                continue;
            }
            (Some(b'{'), _) => steps.push(Step::Member(None)),
            (Some(b'['), _) => steps.push(Step::Element(0)),
            (Some(b'}' | b']'), _) => drop(steps.pop()),
            (Some(b','), Some(Step::Element(index))) => *index += 1,
            (Some(b','), Some(Step::Member(key))) => *key = None,
            _ => {}
        }
        i += 1;
    }
    steps.iter().fold(String::new(), |mut path, step| match step {
        Step::Member(None) => path,
        Step::Member(Some(key)) => {
            let key = unescape(key);
            match key.char_indices().nth(KEY_CHARACTERS_MAX) {
                None => member_path(&path, &key),
                Some((end, _)) => member_path(&path, &format!("{}…", key.get(..end).unwrap_or(""))),
            }
        }
        Step::Element(index) => {
            let _ = write!(path, "[{index}]");
            path
        }
    })
}

/// Where the first integer of a JSON text is that is none of 64 bits.
pub(crate) fn too_large_integer(text: &str, from: usize) -> Option<Range<usize>> {
    /// No shorter one is too large.
    const DIGITS_MIN: usize = 19;
    let bytes = text.as_bytes();
    let mut i = from;
    loop {
        match *bytes.get(i)? {
            b'"' => i = skip_string(bytes, i)?,
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &&u8| matches!(**byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = i + bytes.get(i..)?.iter().take_while(is_part).count();
                let number = text.get(i..end)?;
                if number.len() >= DIGITS_MIN && is_integer(number) && !fits(number) {
                    return Some(i..end);
                }
                i = end;
            }
            _ => i += 1,
        }
    }
}

/// Whether what was expected to be a value is how programs write the numbers that JSON does not have.
fn is_not_finite(text: &str, end: usize) -> bool {
    let begins = |at| {
        text.get(at..).is_some_and(|rest: &str| {
            ["NaN", "Infinity", "-Infinity"].iter().any(|name| rest.starts_with(name))
        })
    };
    begins(end.saturating_sub(1)) || begins(end)
}

/// The number that ends at a byte of a text.
fn number_before(text: &str, end: usize) -> &str {
    let before = text.get(..end).unwrap_or(text);
    let start = before.trim_end_matches(|c: char| c.is_ascii_digit() || "+-.eE".contains(c)).len();
    before.get(start..).unwrap_or("")
}

fn is_integer(number: &str) -> bool {
    number.strip_prefix('-').unwrap_or(number).bytes().all(|byte| byte.is_ascii_digit())
}

fn fits(integer: &str) -> bool {
    integer.parse::<i64>().is_ok() || integer.parse::<u64>().is_ok()
}

/// The text with integers that do not fit 64 bits as floats, as servers before took them.
pub fn with_large_integers_as_floats(text: &str) -> Cow<'_, str> {
    let (mut out, mut done) = (String::new(), 0);
    while let Some(range) = too_large_integer(text, done) {
        out.push_str(text.get(done..range.start).unwrap_or_default());
        let number = text.get(range.clone()).unwrap_or_default();
        match number.parse().ok().and_then(serde_json::Number::from_f64) {
            Some(float) => out.push_str(&float.to_string()),
            // No float is as large; the parser says so.
            None => out.push_str(number),
        }
        done = range.end;
    }
    if done == 0 {
        return text.into();
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Json;

    #[test]
    fn an_integer_beyond_64_bits_is_refused_where_it_stands() {
        for (text, path, line, column) in [
            ("18446744073709551616", "", 1, 1),
            ("-9223372036854775809", "", 1, 1),
            (r#"{"a":[1,{"b c":18446744073709551616}]}"#, r#"a[1]["b c"]"#, 1, 16),
            ("{\"x\":1.5,\n \"y\": 99999999999999999999999}", "y", 2, 7),
            (
                r#"{"18446744073709551616":"18446744073709551616","z":{"q\"":[ -18446744073709551616 ]}}"#,
                r#"z["q\""][0]"#,
                1,
                61,
            ),
            (r#"[[0,0],{"a":{"b":1},"c":0},18446744073709551616]"#, "[2]", 1, 28),
        ] {
            let error = Json::parse(text).unwrap_err();
            assert_eq!((error.path(), error.line, error.column), (path, line, column), "{text}");
            assert_eq!(error.problem(), TOO_LARGE_INTEGER);
        }
    }

    #[test]
    fn what_fits_or_is_a_float_is_no_such_integer() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e20",
            "18446744073709551616.0",
            "-1E+20",
            r#""18446744073709551616""#,
            r#"{"18446744073709551616":0.5}"#,
            "1.00000000000000000000001",
        ] {
            assert!(Json::parse(text).is_ok(), "{text}");
            assert_eq!(with_large_integers_as_floats(text), text);
        }
        assert_eq!(
            with_large_integers_as_floats(
                r#"{"a":18446744073709551616,"18446744073709551616":[-9223372036854775809,1]}"#
            ),
            r#"{"a":1.8446744073709552e+19,"18446744073709551616":[-9.223372036854776e+18,1]}"#
        );
    }

    #[test]
    fn whatever_is_refused_says_where() {
        for (text, path, said) in [
            (
                r#"{"a":[0,1e400]}"#,
                "a[1]",
                "a[1]: the number is too large for a 64-bit float at line 1 column 13",
            ),
            (r#"{"a":{"b":"\ud800"}}"#, "a.b", "a.b: text has a lone surrogate"),
            (r#"{"a":{"b":"\ude00\ud83d"}}"#, "a.b", "a.b: text has a lone surrogate"),
            (r#"{"a":{"\ud800":1}}"#, "a", "a: text has a lone surrogate"),
            (r#"{"a":}"#, "a", "a: expected value"),
            (r#"{"a":1 2}"#, "a", "a: expected `,` or `}` at line 1 column 8"),
            (r#"{"a":NaN}"#, "a", "a: JSON has no NaN and no infinities; write null or a string"),
            (r#"{"a":[1,Infinity]}"#, "a[1]", "a[1]: JSON has no NaN and no infinities"),
            (r#"{"a":-Infinity}"#, "a", "a: JSON has no NaN and no infinities"),
            ("[nan]", "[0]", "[0]: expected ident"),
            (r#"{"a":1"#, "", "EOF while parsing an object at line 1 column 6"),
            ("nope", "", "expected ident at line 1 column 2"),
        ] {
            let error = Json::parse(text).unwrap_err();
            assert_eq!(error.path(), path, "{error}");
            assert!(error.to_string().starts_with(said), "{error}");
        }
        let error = Json::parse(&"[".repeat(200)).unwrap_err();
        assert_eq!((error.problem(), error.path()), (TOO_DEEP, &*"[0]".repeat(127)));
    }

    #[test]
    fn errors_of_requests_name_the_member() {
        let error = Json::parse(r#"{"a":18446744073709551616}"#).unwrap_err().into_error("payload");
        assert_eq!(error.reason(), Some(reason::INVALID_REQUEST));
        assert_eq!(error.context()["path"], "a");
        assert_eq!((&error.context()["line"], &error.context()["column"]), (&1.into(), &6.into()));
        let error = Json::parse("[18446744073709551616]").unwrap_err();
        assert_eq!(error.path_below("payload"), "payload[0]");
        let error = Json::parse("18446744073709551616").unwrap_err();
        assert_eq!(error.path_below("payload"), "payload");
    }
}
