//! Has the group work at the newest level that all members know.

use serde::{Deserialize, Serialize};

/// Asks for the newest level that all members know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterUpgradeRequest {}

/// The level of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterUpgradeResult {
    /// What the group works at now.
    pub level: u64,
    /// The newest level that all members know.
    pub possible: u64,
    /// Whether it worked at an older one before.
    pub is_raised: bool,
}
