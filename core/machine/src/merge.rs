//! How the payload of an event is merged into the context.

use rstmdb_types::{Json, Text};

/// Which members of a payload are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadMerge {
    /// All.
    All,
    /// None.
    Nothing,
    /// Those with these names.
    Names(Vec<Text>),
}

impl PayloadMerge {
    /// What of the payload is merged; None where it is nothing.
    pub fn pick(&self, payload: &Json) -> Option<Json> {
        match self {
            _ if !payload.is_object() => None,
            PayloadMerge::All => Some(payload.clone()),
            PayloadMerge::Nothing => None,
            PayloadMerge::Names(names) => {
                let found = names.iter().filter_map(|name| {
                    let value = payload.root().get(name)?;
                    Some(one_member(name, &Json::from_canonical(&value.text())))
                });
                Some(found.fold(Json::empty_object(), |picked, member| picked.merge(&member)))
            }
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

/// The object with this one member.
pub(crate) fn one_member(name: &str, value: &Json) -> Json {
    // Serialising a string to JSON text can't fail.
    let key = serde_json::to_string(name).unwrap_or_default();
    Json::from_canonical(&format!("{{{key}:{value}}}"))
}
