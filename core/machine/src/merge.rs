//! How the payload of an event is merged into the context.

use std::collections::BTreeSet;

use rstmdb_types::{Json, Text};

/// Which members of a payload are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadMerge {
    /// All.
    All,
    /// None.
    Nothing,
    /// Those with these names.
    Names(BTreeSet<Text>),
}

impl PayloadMerge {
    /// What of the payload is merged; None where it is nothing.
    pub fn pick(&self, payload: &Json) -> Option<Json> {
        match self {
            _ if !payload.is_object() => None,
            PayloadMerge::All => Some(payload.clone()),
            PayloadMerge::Nothing => None,
            PayloadMerge::Names(names) => Some(payload.only(names)),
        }
    }

    /// As a definition has it.
    pub fn json(&self) -> Json {
        match self {
            PayloadMerge::All => Json::from_canonical("true"),
            PayloadMerge::Nothing => Json::from_canonical("false"),
            // Serialising names to JSON can't fail.
            PayloadMerge::Names(names) => {
                Json::from_serialize(names).unwrap_or_else(|_| Json::null())
            }
        }
    }
}
