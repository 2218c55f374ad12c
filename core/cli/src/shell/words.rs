//! Splits a line into words: blanks separate, quotes keep together, JSON needs no quotes.
//!
//! `'…'` is taken as it is, `$'…'` has the escapes of C, `"…"` and bare words know the backslash, and a word that begins with
//! `{` or `[` goes to the matching bracket, so that JSON can be typed over several lines.

/// What a line lacks at its end; more lines may bring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Quote,
    Bracket,
    Escape,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unfinished::Quote => "a quote is not closed",
            Unfinished::Bracket => "a JSON bracket is not closed",
            Unfinished::Escape => "a backslash is the last character",
        })
    }
}

/// Whether a line is a comment. It is asked before the line is split: what looks like a quote in it is none.
pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The words of a line, or what it lacks.
pub(crate) fn split(line: &str) -> Result<Vec<String>, Unfinished> {
    let (words, last, lacks) = scan(line);
    match lacks {
        Some(lacks) => Err(lacks),
        None => Ok(words.into_iter().chain(last.map(|word| word.text)).collect()),
    }
}

/// The finished words of a line and the one at its end that is being typed.
pub(crate) fn split_at_cursor(line: &str) -> (Vec<String>, Word) {
    let (words, last, _) = scan(line);
    (words, last.unwrap_or(Word { start: line.len(), text: String::new() }))
}

/// A word and the byte where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) start: usize,
    pub(crate) text: String,
}

type Scan = (Vec<String>, Option<Word>, Option<Unfinished>);

fn scan(line: &str) -> Scan {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() {
            words.extend(word.take().map(|word| word.text));
            continue;
        }
        let rest = line.get(at..).unwrap_or_default();
        // A backslash at the end of a line joins it with the next one, and is no word.
        if let Some(behind) = rest.strip_prefix("\\\n") {
            if behind.is_empty() {
                return (words, word, Some(Unfinished::Escape));
            }
            chars.next();
            continue;
        }
        let fresh = word.is_none();
        let current = word.get_or_insert(Word { start: at, text: String::new() });
        let taken = match c {
            '{' | '[' if fresh => json(rest),
            '\'' => single_quoted(rest),
            '$' if rest.starts_with("$'") => c_quoted(rest),
            '"' => double_quoted(rest),
            '\\' => escaped(rest),
            other => Ok((other.to_string(), other.len_utf8())),
        };
        match taken {
            Ok((text, length)) => {
                current.text.push_str(&text);
                while chars.peek().is_some_and(|(next, _)| *next < at + length) {
                    chars.next();
                }
            }
            Err((lacks, text)) => {
                current.text.push_str(&text);
                return (words, word, Some(lacks));
            }
        }
    }
    (words, word, None)
}

/// A piece of a word with its length in the line, or what it lacks and what there is of it.
type Piece = Result<(String, usize), (Unfinished, String)>;

fn single_quoted(rest: &str) -> Piece {
    let inner = rest.get(1..).unwrap_or_default();
    match inner.find('\'') {
        Some(end) => Ok((inner.get(..end).unwrap_or_default().to_owned(), end + 2)),
        None => Err((Unfinished::Quote, inner.to_owned())),
    }
}

/// `$'…'`: bytes may be written as octal or hex digits, as shells do.
fn c_quoted(rest: &str) -> Piece {
    let mut bytes = Vec::new();
    let mut left = rest.get(2..).unwrap_or_default();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    loop {
        let mut chars = left.chars();
        let length = match chars.next() {
            None => return Err((Unfinished::Quote, text(bytes))),
            Some('\'') => return Ok((text(bytes), rest.len() - left.len() + 1)),
            Some('\\') => match c_escape(chars.as_str(), &mut bytes) {
                0 => return Err((Unfinished::Escape, text(bytes))),
                length => 1 + length,
            },
            Some(c) => {
                bytes.extend(c.to_string().bytes());
                c.len_utf8()
            }
        };
        left = left.get(length..).unwrap_or_default();
    }
}

/// Adds what a backslash before `behind` means; the length of what belongs to it.
fn c_escape(behind: &str, bytes: &mut Vec<u8>) -> usize {
    let number = |at: usize, radix: u32, most: usize| {
        let digits = behind.get(at..).unwrap_or_default();
        let length = digits.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        let value = u32::from_str_radix(digits.get(..length).unwrap_or_default(), radix);
        // As in C, what does not fit into a byte loses its upper bits.
        value.ok().map(|value| ((value & 0xff) as u8, at + length))
    };
    let Some(c) = behind.chars().next() else { return 0 };
    let (byte, length) = match c {
        'n' => (b'\n', 1),
        'r' => (b'\r', 1),
        't' => (b'\t', 1),
        'e' | 'E' => (0x1b, 1),
        'x' => number(1, 16, 2).unwrap_or((b'x', 1)),
        '0'..='7' => number(0, 8, 3).unwrap_or_default(),
        _ => {
            bytes.extend(c.to_string().bytes());
            return c.len_utf8();
        }
    };
    bytes.push(byte);
    length
}

fn double_quoted(rest: &str) -> Piece {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, at + 1)),
            '\\' => match chars.next() {
                Some((_, next @ ('"' | '\\'))) => text.push(next),
                Some((_, next)) => text.extend(['\\', next]),
                None => return Err((Unfinished::Escape, text)),
            },
            other => text.push(other),
        }
    }
    Err((Unfinished::Quote, text))
}

fn escaped(rest: &str) -> Piece {
    match rest.chars().nth(1) {
        Some(c) => Ok((c.to_string(), 1 + c.len_utf8())),
        None => Err((Unfinished::Escape, String::new())),
    }
}

fn json(rest: &str) -> Piece {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if in_string => drop(chars.next()),
            '"' => in_string = !in_string,
            '{' | '[' if !in_string => depth += 1,
            '}' | ']' if !in_string => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok((rest.get(..=at).unwrap_or_default().to_owned(), at + 1));
                }
            }
            _ => {}
        }
    }
    Err((Unfinished::Bracket, rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        let words = split(r#"a 'b c' "d \"e\" \n" f\ g ü"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \"e\" \\n", "f g", "ü"]);
        assert_eq!(split("  ").unwrap(), Vec::<String>::new());
        assert_eq!(split("a '' b").unwrap(), ["a", "", "b"]);
    }

    #[test]
    fn escapes_of_c_are_read_between_dollar_quotes() {
        let words = split(r"a $'\033[1m\x41\'\\\n\1010' $HOME $'").unwrap_err();
        assert_eq!(words, Unfinished::Quote);
        let words = split(r"a $'\033[1m\x41\'\\\n\1010' $HOME x$'\342\200\256'").unwrap();
        assert_eq!(words, ["a", "\u{1b}[1mA'\\\nA0", "$HOME", "x\u{202e}"]);
    }

    #[test]
    fn json_needs_no_quotes_and_may_span_lines() {
        let words = split("x -p {\"a\": [1, 2],\n \"b\": \"}\\\"\"} --y").unwrap();
        assert_eq!(words, ["x", "-p", "{\"a\": [1, 2],\n \"b\": \"}\\\"\"}", "--y"]);
    }

    #[test]
    fn what_is_open_at_the_end_is_named() {
        assert_eq!(split("a {\"b\": ").unwrap_err(), Unfinished::Bracket);
        assert_eq!(split("a 'b").unwrap_err(), Unfinished::Quote);
        assert_eq!(split("a \"b").unwrap_err(), Unfinished::Quote);
        assert_eq!(split("a \\").unwrap_err(), Unfinished::Escape);
        assert_eq!(split("a \\\nb").unwrap(), ["a", "b"]);
        assert_eq!(split("a \\\n").unwrap_err(), Unfinished::Escape);
        assert_eq!(split("a \\\n\n").unwrap(), ["a"]);
        assert_eq!(split("a \\\n  b\\\nc").unwrap(), ["a", "bc"]);
    }

    #[test]
    fn the_word_at_the_cursor_is_known() {
        let (words, last) = split_at_cursor("get-instance 'o 1");
        assert_eq!(words, ["get-instance"]);
        assert_eq!(last, Word { start: 13, text: "o 1".into() });
        let (words, last) = split_at_cursor("get-instance ");
        assert_eq!((words.len(), last.start, last.text.as_str()), (1, 13, ""));
    }
}
