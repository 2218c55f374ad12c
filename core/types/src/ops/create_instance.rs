//! Creates an instance of a machine.

use serde::{Deserialize, Serialize};

use crate::{Json, Offset, Text};

/// Asks for a new instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateInstanceRequest {
    /// The id; a random UUID when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Text>,
    /// The machine's name.
    pub machine: Text,
    /// The machine's version.
    pub version: u32,
    /// The context to start with; `{}` when absent or null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_ctx: Option<Json>,
    /// The state to start in, for instances that come from elsewhere; the machine's initial state
    /// when absent. No guard is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<Text>,
    /// A retry with the same key gets the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text>,
}

impl CreateInstanceRequest {
    /// An instance with the given id and an empty context.
    pub fn new(instance_id: impl Into<Text>, machine: impl Into<Text>, version: u32) -> Self {
        CreateInstanceRequest {
            instance_id: Some(instance_id.into()),
            machine: machine.into(),
            version,
            initial_ctx: None,
            initial_state: None,
            idempotency_key: None,
        }
    }

    /// An instance with a random id, which the result tells, and an empty context.
    pub fn unnamed(machine: impl Into<Text>, version: u32) -> Self {
        CreateInstanceRequest {
            instance_id: None,
            ..CreateInstanceRequest::new("", machine, version)
        }
    }

    /// Sets the context to start with.
    #[must_use]
    pub fn with_ctx(mut self, context: impl Into<Json>) -> Self {
        self.initial_ctx = Some(context.into());
        self
    }

    /// Sets the state to start in.
    #[must_use]
    pub fn with_state(mut self, state: impl Into<Text>) -> Self {
        self.initial_state = Some(state.into());
        self
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Text>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// The instance that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInstanceResult {
    /// The id, generated when the request had none.
    pub instance_id: Text,
    /// The state it is in: the machine's initial state, or the one that was asked for.
    pub state: Text,
    /// The log offset of the creation.
    pub wal_offset: Offset,
}
