//! Returns the state and context of an instance.

use serde::{Deserialize, Serialize};

use crate::{Json, Offset, Text, TimestampMs};

/// Names the instance to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInstanceRequest {
    /// The instance's id.
    pub instance_id: Text,
}

/// An instance as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetInstanceResult {
    /// The instance's id.
    pub instance_id: Text,
    /// The machine's name.
    pub machine: Text,
    /// The machine's version.
    pub version: u32,
    /// The current state.
    pub state: Text,
    /// The context; its members are sorted by name, at every depth.
    pub ctx: Json,
    /// The log offset of the last change.
    pub last_wal_offset: Offset,
    /// The `event_id` of the last applied event, when it carried one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<Text>,
    /// When the instance was created, in milliseconds since 1970; absent where an older server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<TimestampMs>,
    /// When it last changed, in milliseconds since 1970; absent where an older server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<TimestampMs>,
}
