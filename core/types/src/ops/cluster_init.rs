//! Has a server that waits for its group begin one.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks a server that belongs to no group yet to begin one; the others join it. As the setting `cluster.bootstrap`, without a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInitRequest {}

/// The group that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInitResult {
    /// The name of the group.
    pub cluster: Text,
    /// The number of its first member.
    pub node: u64,
}
