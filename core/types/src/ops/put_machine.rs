//! Stores a machine definition under a name and version.

use serde::{Deserialize, Serialize};

use crate::{Json, Text};

/// Asks to store a definition. Definitions are immutable: a change is a new version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutMachineRequest {
    /// The machine's name.
    pub machine: Text,
    /// The version to store the definition under.
    pub version: u32,
    /// The definition, a JSON object: `docs/reference/definitions.md` has its keys.
    pub definition: Json,
    /// Accepted for compatibility and ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Text>,
    /// Refuse the definition when there is a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

impl PutMachineRequest {
    /// A request that accepts a definition with warnings.
    pub fn new(machine: impl Into<Text>, version: u32, definition: impl Into<Json>) -> Self {
        PutMachineRequest {
            machine: machine.into(),
            version,
            definition: definition.into(),
            checksum: None,
            strict: false,
        }
    }
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutMachineResult {
    /// The machine's name.
    pub machine: Text,
    /// The version.
    pub version: u32,
    /// CRC-32C of the definition's normal form, 8 lower-case hex digits.
    pub stored_checksum: Text,
    /// False when this very definition was there already.
    pub created: bool,
    /// What is suspicious about the definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<DefinitionWarning>,
}

/// Something in a definition that is allowed but probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionWarning {
    /// Where, as a path such as `transitions[2].gaurd`.
    pub path: String,
    /// A stable name of the problem, such as `unknown_key`.
    pub reason: Text,
    /// What is wrong and what to do.
    pub message: String,
    /// The nearest known name, for an unknown key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Text>,
}
