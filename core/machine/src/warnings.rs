//! Collects what is suspicious about a definition.

use std::borrow::Cow;

use rstmdb_types::error::reason;
use rstmdb_types::{DefinitionWarning, Error, Result, Text};
use serde_json::json;

/// How many warnings are listed; one more says how many there are besides.
const LISTED_MAX: usize = 100;

/// The warnings so far.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    listed: Vec<DefinitionWarning>,
    unlisted: usize,
}

/// One warning; `path` and the rest are only worked out when it is listed.
pub(crate) struct Warning<'a> {
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<&'a str>,
}

impl Warnings {
    /// Adds a warning without a suggestion.
    pub(crate) fn add(&mut self, reason: &str, warning: impl FnOnce() -> (String, String)) {
        self.add_with(reason, || {
            let (path, message) = warning();
            Warning { path, message, suggestion: None }
        });
    }

    /// Adds a warning.
    pub(crate) fn add_with<'a>(&mut self, reason: &str, warning: impl FnOnce() -> Warning<'a>) {
        if self.listed.len() >= LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        let Warning { path, message, suggestion } = warning();
        let suggestion = suggestion.map(Text::from);
        self.listed.push(DefinitionWarning { path, reason: reason.into(), message, suggestion });
    }

    /// The warnings, or an error made of the first one when `strict`.
    pub(crate) fn finish(mut self, strict: bool) -> Result<Vec<DefinitionWarning>> {
        if let Some(first) = self.listed.first()
            && strict
        {
            return Err(self.error(first));
        }
        if self.unlisted > 0 {
            self.listed.push(DefinitionWarning {
                path: String::new(),
                reason: "more_warnings".into(),
                message: format!("there are {} more warnings", self.unlisted),
                suggestion: None,
            });
        }
        Ok(self.listed)
    }

    fn error(&self, first: &DefinitionWarning) -> Error {
        let others = match self.listed.len() - 1 + self.unlisted {
            0 => String::new(),
            1 => " (and 1 more warning)".to_owned(),
            count => format!(" (and {count} more warnings)"),
        };
        let message = format!("strict definition: {}: {}{others}", first.path, first.message);
        let listed = self.listed.iter().map(|warning| {
            json!({
                "path": warning.path,
                "reason": warning.reason.as_str(),
                "message": warning.message,
            })
        });
        Error::invalid(reason::INVALID_DEFINITION, message)
            .with("path", first.path.as_str())
            .with("warnings", listed.collect::<Vec<_>>())
    }
}

/// How many characters of a text are shown in a message.
const SHOWN_CHARACTERS_MAX: usize = 80;

/// The text, or its beginning when it is too long for a message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")).into(),
        None => text.into(),
    }
}
