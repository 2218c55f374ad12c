//! Says which events an instance would accept now.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{ErrorCode, Json, Text};

/// Names the instance to ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermittedRequest {
    /// The instance's id.
    pub instance_id: Text,
    /// The payload the guards would see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
}

/// What each event of the machine would do now. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermittedResult {
    /// The instance's id.
    pub instance_id: Text,
    /// The current state.
    pub state: Text,
    /// Whether the state is final.
    pub completed: bool,
    /// Every event of the machine, in the definition's order.
    pub events: Vec<PermittedEvent>,
}

/// What one event would do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermittedEvent {
    /// The event's name.
    pub event: Text,
    /// Whether it would be accepted.
    pub permitted: bool,
    /// Where it would lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_state: Option<Text>,
    /// The code it would be refused with.
    #[serde(default, deserialize_with = "code", skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// Why it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A code that only newer servers know is an internal error, as in the errors of operations.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ErrorCode>, D::Error> {
    let name = Option::<Text>::deserialize(deserializer)?;
    Ok(name.map(|name| ErrorCode::from_name(&name).unwrap_or(ErrorCode::InternalError)))
}
