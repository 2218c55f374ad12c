//! Lists the snapshots of one instance.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Names the instance whose snapshots to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshotsRequest {
    /// The instance's id.
    pub instance_id: Text,
}

/// The snapshots of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshotsResult {
    /// The snapshots, by offset; those of one offset by id.
    pub snapshots: Vec<SnapshotSummary>,
}

/// A snapshot without what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSummary {
    /// The snapshot's id; its file in the data directory is `snapshots/ID.json`.
    pub snapshot_id: Text,
    /// The log offset of the last change of the instance that is in it.
    pub wal_offset: Offset,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// CRC-32C of the file, 8 lower-case hex digits.
    pub checksum: Text,
}
