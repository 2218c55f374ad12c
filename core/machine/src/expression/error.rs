//! Errors of the parser, and how a person sees them: line, column and a caret.

use rstmdb_types::Error;

/// How many characters of a long line are shown before and after the caret.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 40;

/// What reading comes to.
pub(super) type ParseResult<T> = Result<T, SyntaxError>;

/// What is wrong with an expression's text and at which byte.
#[derive(Debug)]
pub(super) struct SyntaxError {
    offset: usize,
    message: String,
}

impl SyntaxError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { offset, message: message.into() }
    }

    /// The public error; `what` names the expression.
    pub(super) fn into_error(self, text: &str, what: &str, reason: &'static str) -> Error {
        let before = text.get(..self.offset).unwrap_or(text);
        let after = text.get(self.offset..).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let line_before = before.rsplit('\n').next().unwrap_or("");
        let line_after = after.split('\n').next().unwrap_or("");
        let column = line_before.chars().count() + 1;

        // Blanks of any kind become one space each, so that the caret stands under its character.
        let shown = |c: char| if c.is_whitespace() || c.is_control() { ' ' } else { c };
        let skipped = (column - 1).saturating_sub(SHOWN_BEFORE);
        let mut excerpt = String::from(if skipped > 0 { "…" } else { "" });
        excerpt.extend(line_before.chars().skip(skipped).map(shown));
        let indent = excerpt.chars().count();
        excerpt.extend(line_after.chars().take(SHOWN_AFTER).map(shown));
        if line_after.chars().nth(SHOWN_AFTER).is_some() {
            excerpt.push('…');
        }
        let message = format!(
            "{what} does not parse at line {line}, column {column}: {}\n  {}\n  {}^",
            self.message,
            excerpt.trim_end(),
            " ".repeat(indent),
        );
        Error::invalid(reason, message).with("line", line).with("column", column)
    }
}
