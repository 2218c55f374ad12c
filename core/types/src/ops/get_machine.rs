//! Returns a machine definition.

use serde::{Deserialize, Serialize};

use crate::{Json, Text};

/// Names the definition to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetMachineRequest {
    /// The machine's name.
    pub machine: Text,
    /// The version.
    pub version: u32,
}

/// A stored definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetMachineResult {
    /// The definition in normal form.
    pub definition: Json,
    /// CRC-32C of the normal form, 8 lower-case hex digits.
    pub checksum: Text,
}
