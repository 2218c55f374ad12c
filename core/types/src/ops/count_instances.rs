//! Counts instances by machine, version and state.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Which instances to count. An absent filter restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountInstancesRequest {
    /// Only instances of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Text>,
    /// Only instances of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Only instances in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Text>,
}

/// Exact counts, sorted by machine, version and the definition's order of states; no zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountInstancesResult {
    /// One entry for each machine, version and state that has instances.
    pub counts: Vec<InstanceCount>,
}

impl CountInstancesResult {
    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|entry| entry.count).sum()
    }
}

/// How many instances of one machine and version are in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceCount {
    /// The machine's name.
    pub machine: Text,
    /// The machine's version.
    pub version: u32,
    /// The state.
    pub state: Text,
    /// The number of instances.
    pub count: u64,
}
