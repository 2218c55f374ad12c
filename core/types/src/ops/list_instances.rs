//! Lists instances by id, a page at a time.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text, TimestampMs};

/// Which instances to list. An absent filter restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInstancesRequest {
    /// Only instances of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Text>,
    /// Only instances of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Only instances in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Text>,
    /// The most instances to return; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How many matching instances to skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// Continue after a page: its `next_cursor`. Stays exact while others write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Text>,
}

/// One page of instances, ordered by id (byte order).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInstancesResult {
    /// The instances.
    pub instances: Vec<InstanceSummary>,
    /// How many instances match in all.
    pub total: u64,
    /// Whether there are more after this page.
    pub has_more: bool,
    /// The cursor of the next page, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Text>,
}

/// An instance without its context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSummary {
    /// The instance's id.
    pub id: Text,
    /// The machine's name.
    pub machine: Text,
    /// The machine's version.
    pub version: u32,
    /// The current state.
    pub state: Text,
    /// When the instance was created, in milliseconds since 1970.
    pub created_at: TimestampMs,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: TimestampMs,
    /// The log offset of the last change.
    pub last_wal_offset: Offset,
}
