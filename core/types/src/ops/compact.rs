//! Writes a checkpoint and deletes log segments that are no longer needed.

use serde::{Deserialize, Serialize};

/// Asks for a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactRequest {
    /// Write a checkpoint even if nothing changed since the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_snapshot: bool,
}

/// What compaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactResult {
    /// Instances written to a new checkpoint.
    pub snapshots_created: u64,
    /// Segment files deleted.
    pub segments_deleted: u64,
    /// Bytes won back.
    pub bytes_reclaimed: u64,
    /// Instances in the newest checkpoint.
    pub total_snapshots: u64,
    /// Segment files left.
    pub wal_segments: u64,
}
