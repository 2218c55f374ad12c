//! Removes a snapshot.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Names the snapshot to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropSnapshotRequest {
    /// The snapshot's id.
    pub snapshot_id: Text,
}

/// The snapshot that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropSnapshotResult {
    /// The snapshot's id.
    pub snapshot_id: Text,
    /// Always true: a snapshot that is not there is an error.
    pub dropped: bool,
}
