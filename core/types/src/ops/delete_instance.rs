//! Deletes an instance; its id may be used again.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Names the instance to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteInstanceRequest {
    /// The instance's id.
    pub instance_id: Text,
    /// A retry with the same key gets the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text>,
}

/// The instance that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteInstanceResult {
    /// The instance's id.
    pub instance_id: Text,
    /// Always true; deleting again succeeds with the first delete's offset, until a compaction forgets
    /// the instance.
    pub deleted: bool,
    /// The log offset of the delete.
    pub wal_offset: Offset,
}
