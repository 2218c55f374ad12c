//! Writes a snapshot of one instance.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Names the instance to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInstanceRequest {
    /// The instance's id.
    pub instance_id: Text,
}

/// The snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInstanceResult {
    /// The instance's id.
    pub instance_id: Text,
    /// The snapshot's id; its file in the data directory is `snapshots/ID.json`.
    pub snapshot_id: Text,
    /// The log offset of the instance's last change.
    pub wal_offset: Offset,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// CRC-32C of the file, 8 lower-case hex digits.
    pub checksum: Text,
}
