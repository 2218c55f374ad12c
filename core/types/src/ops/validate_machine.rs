//! Checks a machine definition without storing it.

use serde::{Deserialize, Serialize};

use crate::{DefinitionWarning, Json, Text};

/// Asks whether a definition could be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidateMachineRequest {
    /// The definition, a JSON object: `docs/reference/definitions.md` has its keys.
    pub definition: Json,
    /// Refuse the definition when there is a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

impl ValidateMachineRequest {
    /// A request that accepts a definition with warnings.
    pub fn new(definition: impl Into<Json>) -> Self {
        ValidateMachineRequest { definition: definition.into(), strict: false }
    }
}

/// What would be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidateMachineResult {
    /// The definition in normal form.
    pub definition: Json,
    /// CRC-32C of the normal form, 8 lower-case hex digits.
    pub checksum: Text,
    /// What is suspicious about the definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<DefinitionWarning>,
}
