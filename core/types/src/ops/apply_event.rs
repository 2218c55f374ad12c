//! Applies an event to an instance.

use serde::{Deserialize, Serialize};

use crate::{Json, Offset, Text};

/// Asks for a transition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyEventRequest {
    /// The instance's id.
    pub instance_id: Text,
    /// The event's name.
    pub event: Text,
    /// Merged into the context after the guard passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// Refuse with `CONFLICT` unless the instance is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_state: Option<Text>,
    /// Refuse with `CONFLICT` unless this is the offset of the instance's last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_wal_offset: Option<Offset>,
    /// The history that `expected_wal_offset` was told in. Refuse with `CONFLICT` when it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
    /// Kept with the event and returned by `get_instance` as `last_event_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Text>,
    /// A retry with the same key gets the first result, with `applied` false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text>,
}

impl ApplyEventRequest {
    /// An event without payload.
    pub fn new(instance_id: impl Into<Text>, event: impl Into<Text>) -> Self {
        ApplyEventRequest {
            instance_id: instance_id.into(),
            event: event.into(),
            payload: None,
            expected_state: None,
            expected_wal_offset: None,
            history_id: None,
            event_id: None,
            idempotency_key: None,
        }
    }

    /// Sets the payload.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Json>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Text>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Refuses the event unless the instance is in `state`.
    #[must_use]
    pub fn expecting_state(mut self, state: impl Into<Text>) -> Self {
        self.expected_state = Some(state.into());
        self
    }
}

/// The transition that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyEventResult {
    /// The state before.
    pub from_state: Text,
    /// The state after.
    pub to_state: Text,
    /// The context after the payload was merged; its members are sorted by name, at every depth.
    pub ctx: Json,
    /// The log offset of the event.
    pub wal_offset: Offset,
    /// False when this is the remembered result of an earlier request with the same key.
    pub applied: bool,
    /// The request's `event_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Text>,
}
