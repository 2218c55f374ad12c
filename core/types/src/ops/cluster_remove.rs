//! Removes a member from the group.

use serde::{Deserialize, Serialize};

/// Names the member to remove. Its number is never given again; one that leads hands over first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRemoveRequest {
    /// Its number.
    pub node: u64,
    /// Whether that is done also where it leaves an even number of voters, or some that do not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The group without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRemoveResult {
    /// The number of the one that was removed.
    pub node: u64,
    /// How many vote now.
    pub voters: u64,
}
