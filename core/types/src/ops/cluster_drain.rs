//! Keeps a member from leading.

use serde::{Deserialize, Serialize};

/// Asks for a member not to lead as long as another one can, and for its server not to be ready: before its machine is looked after. It
/// goes on to vote and to have the log, and stays so over restarts until that is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDrainRequest {
    /// Its number.
    pub node: u64,
    /// Whether it may lead again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDrainResult {
    /// Its number.
    pub node: u64,
    /// Whether it is kept from leading now.
    pub is_drained: bool,
    /// The number of who leads, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
}
