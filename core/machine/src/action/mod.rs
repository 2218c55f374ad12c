//! Actions: what a transition does to the context, and what it says to the machine itself and to the outside.
//!
//! They are read once, with the definition, and run on canonical JSON text. An action that can't be done
//! refuses the event; nothing of it is kept then.

mod paths;
mod read;
mod run;
mod template;

use rstmdb_types::{Json, Text};

use crate::expression::Expression;
pub(crate) use paths::ContextPath;
pub(crate) use read::{ActionReader, Reading};
pub(crate) use run::{ActionFailure, ActionRun};
pub(crate) use template::Template;

/// What an action does.
#[derive(Debug)]
pub(crate) struct Action {
    /// Where it stands in the definition.
    path: Box<str>,
    verb: Verb,
}

#[derive(Debug)]
enum Verb {
    Assign(Vec<(ContextPath, Template)>),
    Unset(Vec<ContextPath>),
    If { condition: Expression, then: Vec<Action>, otherwise: Vec<Action> },
    Raise { event: Text, payload: Template },
    Emit { kind: Text, data: Template },
}

/// Something that an action said to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emission {
    /// Its type, as `emit` names it.
    pub kind: Text,
    /// Its data, null when there are none.
    pub data: Json,
}

impl Emission {
    /// All of them as one JSON list.
    pub fn list(emitted: &[Emission]) -> Json {
        let mut out = String::from("[");
        for (i, Emission { kind, data }) in emitted.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            // Serialising a string to JSON text can't fail.
            let kind = serde_json::to_string(kind).unwrap_or_default();
            out.push_str(&format!("{{\"data\":{data},\"type\":{kind}}}"));
        }
        out.push(']');
        Json::from_canonical(&out)
    }
}
