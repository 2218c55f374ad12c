//! One change of one instance, as watches and histories show it.

use serde::{Deserialize, Serialize, Serializer};

use crate::{Json, Offset, Text, TimestampMs};

/// What kind of change it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Text", rename_all = "snake_case")]
pub enum InstanceEventKind {
    /// The instance was created.
    Created,
    /// An event was applied.
    #[default]
    Applied,
    /// The instance was deleted.
    Deleted,
    /// Something that only newer versions know, by its name.
    Other(Text),
}

impl InstanceEventKind {
    /// The name, such as `created`.
    pub fn as_str(&self) -> &str {
        match self {
            InstanceEventKind::Created => "created",
            InstanceEventKind::Applied => "applied",
            InstanceEventKind::Deleted => "deleted",
            InstanceEventKind::Other(name) => name,
        }
    }
}

impl From<Text> for InstanceEventKind {
    fn from(name: Text) -> InstanceEventKind {
        match name.as_str() {
            "created" => InstanceEventKind::Created,
            "applied" => InstanceEventKind::Applied,
            "deleted" => InstanceEventKind::Deleted,
            _ => InstanceEventKind::Other(name),
        }
    }
}

impl Serialize for InstanceEventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    /// The history that it belongs to; absent in a `history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
    /// When it happened, in milliseconds since 1970; absent where an older server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampMs>,
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
    /// What actions emitted: a list of objects with `type` and `data`; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitted: Option<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_known_are_passed_on() {
        for (name, kind) in [
            ("created", InstanceEventKind::Created),
            ("applied", InstanceEventKind::Applied),
            ("deleted", InstanceEventKind::Deleted),
            ("re\"placed", InstanceEventKind::Other("re\"placed".into())),
        ] {
            let text = serde_json::to_string(name).unwrap();
            assert_eq!(serde_json::from_str::<InstanceEventKind>(&text).unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), text);
        }
    }
}
