//! Runs several operations, all or nothing or each on its own.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::*;
use crate::{Error, Json, Text};

/// Asks to run several operations in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// What happens when one fails.
    #[serde(default)]
    pub mode: BatchMode,
    /// The operations.
    pub ops: Vec<BatchOperation>,
    /// A retry with the same key gets the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Text>,
}

/// What happens when an operation of a batch fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// Nothing of the batch happens; one log record holds all of it.
    Atomic,
    /// The others go on.
    #[default]
    BestEffort,
}

impl<'de> Deserialize<'de> for BatchMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "atomic" => Ok(BatchMode::Atomic),
            "best_effort" => Ok(BatchMode::BestEffort),
            other => Err(D::Error::custom(format!(
                "mode is {other:?}, expected \"atomic\" or \"best_effort\""
            ))),
        }
    }
}

/// One operation of a batch, `{"op": "APPLY_EVENT", "params": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", content = "params", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchOperation {
    /// Creates an instance.
    CreateInstance(CreateInstanceRequest),
    /// Applies an event.
    ApplyEvent(ApplyEventRequest),
    /// Deletes an instance.
    DeleteInstance(DeleteInstanceRequest),
    /// Reads an instance, as the operations before it left it.
    GetInstance(GetInstanceRequest),
}

impl<'de> Deserialize<'de> for BatchOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Envelope {
            op: String,
            #[serde(default)]
            params: Option<Box<RawValue>>,
        }
        let envelope = Envelope::deserialize(deserializer)?;
        let params = envelope.params.as_deref().map_or("{}", RawValue::get);
        if !params.starts_with('{') {
            return Err(D::Error::custom(format!("params of {} is not an object", envelope.op)));
        }
        let operation = match envelope.op.as_str() {
            "CREATE_INSTANCE" => serde_json::from_str(params).map(BatchOperation::CreateInstance),
            "APPLY_EVENT" => serde_json::from_str(params).map(BatchOperation::ApplyEvent),
            "DELETE_INSTANCE" => serde_json::from_str(params).map(BatchOperation::DeleteInstance),
            "GET_INSTANCE" => serde_json::from_str(params).map(BatchOperation::GetInstance),
            other => {
                return Err(D::Error::custom(format!(
                    "op is {other:?}, expected CREATE_INSTANCE, APPLY_EVENT, DELETE_INSTANCE or \
                     GET_INSTANCE"
                )));
            }
        };
        operation.map_err(D::Error::custom)
    }
}

/// The outcomes, in the order of the operations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchResult {
    /// One outcome for each operation.
    pub results: Vec<BatchOutcome>,
}

/// What became of one operation of a batch. All members are always present.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchOutcome {
    /// Whether it succeeded.
    pub status: BatchStatus,
    /// The result of a success.
    pub result: Option<BatchOperationResult>,
    /// The error of a failure.
    pub error: Option<Error>,
}

impl From<crate::Result<BatchOperationResult>> for BatchOutcome {
    fn from(outcome: crate::Result<BatchOperationResult>) -> Self {
        match outcome {
            Ok(result) => {
                BatchOutcome { status: BatchStatus::Ok, result: Some(result), error: None }
            }
            Err(error) => {
                BatchOutcome { status: BatchStatus::Error, result: None, error: Some(error) }
            }
        }
    }
}

/// Whether an operation of a batch succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// It did.
    Ok,
    /// It did not.
    Error,
}

/// The result of one operation of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BatchOperationResult {
    /// Of a create.
    CreateInstance(CreateInstanceResult),
    /// Of an event.
    ApplyEvent(ApplyEventResult),
    /// Of a delete.
    DeleteInstance(DeleteInstanceResult),
    /// Of a read.
    GetInstance(GetInstanceResult),
}

impl<'de> Deserialize<'de> for BatchOperationResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        // Each result has a member that no other one has.
        let root = json.root();
        let decoded = if root.get("applied").is_some() {
            json.decode().map(BatchOperationResult::ApplyEvent)
        } else if root.get("deleted").is_some() {
            json.decode().map(BatchOperationResult::DeleteInstance)
        } else if root.get("last_wal_offset").is_some() {
            json.decode().map(BatchOperationResult::GetInstance)
        } else {
            json.decode().map(BatchOperationResult::CreateInstance)
        };
        decoded.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_come_in_any_order() {
        let text = r#"{"ops":[{"params":{"event":"E","instance_id":"a","payload":{"b":1}},
            "op":"APPLY_EVENT"}],"mode":"atomic"}"#;
        let request: BatchRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.mode, BatchMode::Atomic);
        let back: BatchRequest =
            serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(back, request);
        assert!(serde_json::from_str::<BatchRequest>(r#"{"ops":[],"mode":"atmic"}"#).is_err());
        for ops in [r#"[{"op":"NOPE"}]"#, r#"[{"op":"GET_INSTANCE","params":["a"]}]"#] {
            let text = format!("{{\"ops\":{ops}}}");
            assert!(serde_json::from_str::<BatchRequest>(&text).is_err(), "{text}");
        }
    }
}
