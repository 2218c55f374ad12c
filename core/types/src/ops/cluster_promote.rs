//! Gives a learner a vote.

use serde::{Deserialize, Serialize};

/// Names the learner that is to vote. One that wants a vote gets it by itself, when the number of voters becomes odd by that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPromoteRequest {
    /// Its number.
    pub node: u64,
    /// Whether that is done also where the number of voters becomes even.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The group with its vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPromoteResult {
    /// The number of the one that votes.
    pub node: u64,
    /// How many vote now.
    pub voters: u64,
}
