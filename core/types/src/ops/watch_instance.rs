//! Follows the events of one instance.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

pub(crate) fn yes() -> bool {
    true
}

/// Which instance to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchInstanceRequest {
    /// The instance's id.
    pub instance_id: Text,
    /// Whether events carry the context after them.
    #[serde(default = "yes")]
    pub include_ctx: bool,
    /// Replay from this offset (inclusive) before going on live; absent or 0: live only. Creations and
    /// deletions are among what is replayed with `include_lifecycle` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_offset: Option<Offset>,
    /// The history that `from_offset` was told with. `CONFLICT`, reason `history_diverged`, when the log does not
    /// go on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
    /// Whether creation and deletion are reported too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_lifecycle: bool,
}

impl WatchInstanceRequest {
    /// Live events with their contexts.
    pub fn new(instance_id: impl Into<Text>) -> Self {
        WatchInstanceRequest {
            instance_id: instance_id.into(),
            include_ctx: true,
            from_offset: None,
            history_id: None,
            include_lifecycle: false,
        }
    }
}

/// Where the watched instance was when the watch began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchInstanceResult {
    /// The subscription's id.
    pub subscription_id: Text,
    /// The instance's id.
    pub instance_id: Text,
    /// Its state.
    pub current_state: Text,
    /// The log offset of its last change.
    pub current_wal_offset: Offset,
    /// The history that the change before the watch's beginning belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}
