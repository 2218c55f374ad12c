//! Collects what is suspicious about a definition.

use std::borrow::Cow;

use rstmdb_types::error::reason;
use rstmdb_types::{DefinitionWarning, Error, Result, Text};
use serde_json::json;

/// How many warnings are listed; one more says how many there are besides.
const LISTED_MAX: usize = 100;

macro_rules! doubts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)*) => {
        /// What a definition is allowed to contain but hardly means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum DefinitionDoubt {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl DefinitionDoubt {
            /// Every case.
            pub const ALL: &'static [DefinitionDoubt] = &[$(DefinitionDoubt::$variant,)*];

            /// The reason of the warning, stable: scripts may match on it.
            pub const fn reason(self) -> &'static str {
                match self { $(DefinitionDoubt::$variant => $name,)* }
            }

            /// When there is one: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(DefinitionDoubt::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

doubts! {
    /// A member that is not known and has no effect, such as `gaurd`.
    UnknownKey = "unknown_key";
    /// A state stands twice in `states`.
    DuplicateState = "duplicate_state";
    /// A state stands twice in `final`.
    DuplicateFinal = "duplicate_final";
    /// A state stands twice in one `from`.
    DuplicateSource = "duplicate_source";
    /// The name of a state or an event is the empty string.
    EmptyName = "empty_name";
    /// A `from` is an empty list, so the transition has no effect.
    NoSource = "no_source";
    /// The initial state is final: every instance is complete at once.
    InitialIsFinal = "initial_is_final";
    /// A transition stands behind one without a guard for the same state and event, which is always taken first.
    UnreachableChoice = "unreachable_choice";
    /// A `"*"` stands for no state: each has a transition of its own for the event, or is final.
    UnusedWildcard = "unused_wildcard";
    /// No transitions lead from the initial state to it, whatever the guards say.
    UnreachableState = "unreachable_state";
    /// No event leaves the state, and it is not final. Only where the definition has `final`.
    DeadEndState = "dead_end_state";
    /// There are more than a hundred warnings; the message says how many more.
    MoreWarnings = "more_warnings";
}

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
    pub(crate) fn add(
        &mut self,
        doubt: DefinitionDoubt,
        warning: impl FnOnce() -> (String, String),
    ) {
        self.add_with(doubt, || {
            let (path, message) = warning();
            Warning { path, message, suggestion: None }
        });
    }

    /// Adds a warning.
    pub(crate) fn add_with<'a>(
        &mut self,
        doubt: DefinitionDoubt,
        warning: impl FnOnce() -> Warning<'a>,
    ) {
        if self.listed.len() >= LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        let Warning { path, message, suggestion } = warning();
        let suggestion = suggestion.map(Text::from);
        let reason = doubt.reason().into();
        self.listed.push(DefinitionWarning { path, reason, message, suggestion });
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
                reason: DefinitionDoubt::MoreWarnings.reason().into(),
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
