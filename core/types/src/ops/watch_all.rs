//! Follows the events of all instances, filtered.

use serde::{Deserialize, Serialize};

use super::watch_instance::yes;
use crate::{Offset, Text};

/// What to follow. An empty list restricts nothing; the lists must all match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAllRequest {
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
    /// Only these machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<Text>,
    /// Only transitions out of these states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_states: Vec<Text>,
    /// Only transitions into these states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_states: Vec<Text>,
    /// Only these events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Text>,
    /// Whether creation and deletion are reported too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_lifecycle: bool,
}

impl Default for WatchAllRequest {
    fn default() -> Self {
        WatchAllRequest {
            include_ctx: true,
            from_offset: None,
            history_id: None,
            machines: Vec::new(),
            from_states: Vec::new(),
            to_states: Vec::new(),
            events: Vec::new(),
            include_lifecycle: false,
        }
    }
}

/// Where the log was when the watch began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAllResult {
    /// The subscription's id.
    pub subscription_id: Text,
    /// The offset of the next change; a live watch begins here.
    pub wal_offset: Offset,
    /// The history that the change before the watch's beginning belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}
