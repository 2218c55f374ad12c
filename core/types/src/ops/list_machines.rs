//! Lists machines and their versions.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks for all machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMachinesRequest {}

/// All machines, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMachinesResult {
    /// One entry for each machine.
    pub items: Vec<MachineVersions>,
}

/// A machine and the versions it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineVersions {
    /// The machine's name.
    pub machine: Text,
    /// Its versions, ascending.
    pub versions: Vec<u32>,
}
