//! One change of one instance, as watches and histories show it.

use serde::{Deserialize, Serialize};

use crate::{Json, Offset, Text, TimestampMs};

/// What kind of change it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceEventKind {
    /// The instance was created.
    Created,
    /// An event was applied.
    #[default]
    Applied,
    /// The instance was deleted.
    Deleted,
}

/// One change of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceEvent {
    /// What kind of change it was.
    #[serde(default)]
    pub kind: InstanceEventKind,
    /// The instance's id.
    pub instance_id: Text,
    /// The machine's name.
    pub machine: Text,
    /// The machine's version.
    pub version: u32,
    /// The log offset of the change.
    pub wal_offset: Offset,
    /// When it happened, in milliseconds since 1970.
    pub timestamp: TimestampMs,
    /// The state before; absent for a creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_state: Option<Text>,
    /// The state after; absent for a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_state: Option<Text>,
    /// The event's name; absent for creation and deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Text>,
    /// The event's payload, `null` when it had none.
    pub payload: Json,
    /// The context after the change, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Json>,
    /// The event's `event_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Text>,
}
