//! Splits an expression into tokens.

use super::error::SyntaxError;
use super::operators::{self, Operator};
use super::syntax::Literal;
use super::value::literal;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// A run of letters, digits, `_` and `.` that starts with a letter or `_`.
    Word(&'a str),
    Number(Literal),
    /// A string, without its escapes.
    Text(String),
    Operator(&'static Operator),
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    Comma,
    Colon,
    End,
}

/// Whether the character may be part of a name.
pub(super) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Reads tokens from the front of a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, position: 0 }
    }

    /// The byte where the next character stands.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Skips blanks.
    pub(super) fn skip_blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the next character if it is `wanted`.
    pub(super) fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    /// Takes the characters up to the first that does not fit.
    pub(super) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.position += end;
        rest.get(..end).unwrap_or("")
    }

    /// The next token and the byte it starts at.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), SyntaxError> {
        self.skip_blanks();
        let start = self.position;
        let token = match self.peek() {
            None => Token::End,
            Some('"') => Token::Text(self.string()?),
            Some(c) if c.is_ascii_digit() || c == '.' => Token::Number(self.number()?),
            Some(c) if is_name(c) => {
                let word = self.take_while(is_name);
                operators::named(word).map_or(Token::Word(word), Token::Operator)
            }
            Some(c) => self.symbol(c)?,
        };
        Ok((token, start))
    }

    /// Whether a call's parenthesis comes next.
    pub(super) fn rest_is_call(&self) -> bool {
        self.rest().trim_start().starts_with('(')
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn symbol(&mut self, first: char) -> Result<Token<'a>, SyntaxError> {
        if let Some(operator) = operators::leading(self.rest()) {
            self.position += operator.symbol.len();
            return Ok(Token::Operator(operator));
        }
        let start = self.position;
        self.position += first.len_utf8();
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            '[' => Token::OpenIndex,
            ']' => Token::CloseIndex,
            ',' => Token::Comma,
            ':' => Token::Colon,
            other => {
                let message = match other {
                    '=' => "a single `=` is no operator; write `==` to compare".to_owned(),
                    '&' => "a single `&` is no operator; write `&&`".to_owned(),
                    '|' => "a single `|` is no operator; write `||`".to_owned(),
                    '\'' | '`' | '“' | '”' => {
                        "strings are written in double quotes, like \"paid\"".to_owned()
                    }
                    other => format!("character {other:?} has no meaning here"),
                };
                return Err(SyntaxError::new(start, message));
            }
        };
        Ok(token)
    }

    /// A number: digits may be missing on one side of the dot.
    fn number(&mut self) -> Result<Literal, SyntaxError> {
        let start = self.position;
        let digits = |c: char| c.is_ascii_digit();
        let whole = self.take_while(digits);
        let fraction = if self.take('.') { Some(self.take_while(digits)) } else { None };
        if whole.is_empty() && fraction == Some("") {
            return Err(SyntaxError::new(start, "a dot alone is no number"));
        }
        let mut exact = fraction.is_none();
        if self.take('e') || self.take('E') {
            exact = false;
            let _ = self.take('-') || self.take('+');
            if self.take_while(digits).is_empty() {
                let message = "the exponent has no digits; write for example 1e3";
                return Err(SyntaxError::new(self.position, message));
            }
        }
        let text = self.text.get(start..self.position).unwrap_or("");
        if self.peek().is_some_and(is_name) {
            let message = format!("number {text} runs into what follows; separate the two");
            return Err(SyntaxError::new(self.position, message));
        }
        if exact && let Ok(value) = text.parse::<i128>() {
            return Ok(literal(value));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Literal::Float(value)),
            _ => Err(SyntaxError::new(start, "the number is too large for a 64-bit float")),
        }
    }

    /// A string, from its opening quote on.
    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.position;
        self.take('"');
        let mut out = String::new();
        loop {
            out.push_str(self.take_while(|c| c != '"' && c != '\\'));
            if self.take('"') {
                return Ok(out);
            }
            let escape = self.position;
            if !self.take('\\') {
                return Err(SyntaxError::new(start, "the string has no closing quote"));
            }
            out.push(self.escape(start, escape)?);
        }
    }

    /// The character of an escape, after its backslash at byte `escape`.
    fn escape(&mut self, start: usize, escape: usize) -> Result<char, SyntaxError> {
        let Some(letter) = self.peek() else {
            return Err(SyntaxError::new(start, "the string has no closing quote"));
        };
        self.position += letter.len_utf8();
        Ok(match letter {
            '"' | '\\' | '/' => letter,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => return self.unicode_escape(escape),
            other => {
                let message = format!(
                    "\\{other} is no escape; a backslash itself is written \\\\, and the escapes \
                     are \\\" \\\\ \\/ \\n \\t \\r \\b \\f \\u"
                );
                return Err(SyntaxError::new(escape, message));
            }
        })
    }

    fn unicode_escape(&mut self, escape: usize) -> Result<char, SyntaxError> {
        let no_digits = || SyntaxError::new(escape, "\\u needs four hex digits, like \\u00e9");
        let no_pair = || {
            let message =
                "\\u with half of a surrogate pair; write both halves, like \\ud83d\\ude00";
            SyntaxError::new(escape, message)
        };
        let first = self.hex().ok_or_else(no_digits)?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !(self.take('\\') && self.take('u')) {
                    return Err(no_pair());
                }
                match self.hex().ok_or_else(no_digits)? {
                    low @ 0xDC00..=0xDFFF => 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(no_pair()),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(no_pair)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.position += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
