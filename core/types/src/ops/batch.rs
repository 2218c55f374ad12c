//! Runs several operations, all or nothing or each on its own.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
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

impl From<BatchOperation> for crate::Request {
    fn from(operation: BatchOperation) -> crate::Request {
        match operation {
            BatchOperation::CreateInstance(request) => request.into(),
            BatchOperation::ApplyEvent(request) => request.into(),
            BatchOperation::DeleteInstance(request) => request.into(),
            BatchOperation::GetInstance(request) => request.into(),
        }
    }
}

impl TryFrom<crate::Request> for BatchOperation {
    type Error = crate::Request;

    fn try_from(request: crate::Request) -> Result<BatchOperation, crate::Request> {
        match request {
            crate::Request::CreateInstance(request) => Ok(BatchOperation::CreateInstance(request)),
            crate::Request::ApplyEvent(request) => Ok(BatchOperation::ApplyEvent(request)),
            crate::Request::DeleteInstance(request) => Ok(BatchOperation::DeleteInstance(request)),
            crate::Request::GetInstance(request) => Ok(BatchOperation::GetInstance(request)),
            other => Err(other),
        }
    }
}

impl BatchOperation {
    /// The operation it is.
    pub const fn operation(&self) -> crate::Operation {
        match self {
            BatchOperation::CreateInstance(_) => crate::Operation::CreateInstance,
            BatchOperation::ApplyEvent(_) => crate::Operation::ApplyEvent,
            BatchOperation::DeleteInstance(_) => crate::Operation::DeleteInstance,
            BatchOperation::GetInstance(_) => crate::Operation::GetInstance,
        }
    }

    /// Whether carrying it out makes a new id.
    pub fn needs_id(&self) -> bool {
        matches!(self, BatchOperation::CreateInstance(create) if create.instance_id.is_none())
    }
}

impl<'de> Deserialize<'de> for BatchOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Envelope)
    }
}

/// Reads `{"op": …, "params": …}`: the parameters directly where `op` comes first.
struct Envelope;

impl<'de> Visitor<'de> for Envelope {
    type Value = BatchOperation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with op and params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchOperation, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Field {
            Op,
            Params,
            #[serde(other)]
            Other,
        }
        let (mut op, mut operation, mut early) = (None, None, None::<Box<RawValue>>);
        while let Some(field) = map.next_key()? {
            match (field, op) {
                (Field::Other, _) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Field::Op, Some(_)) => return Err(A::Error::duplicate_field("op")),
                (Field::Op, None) => op = Some(Op::named(&map.next_value::<String>()?)?),
                (Field::Params, _) if operation.is_some() || early.is_some() => {
                    return Err(A::Error::duplicate_field("params"));
                }
                (Field::Params, Some(op)) => operation = Some(map.next_value_seed(op)?),
                (Field::Params, None) => early = Some(map.next_value()?),
            }
        }
        let op = op.ok_or_else(|| A::Error::missing_field("op"))?;
        if let Some(operation) = operation {
            return Ok(operation);
        }
        let params = early.as_deref().map_or("{}", RawValue::get);
        let mut deserializer = serde_json::Deserializer::from_str(params);
        op.deserialize(&mut deserializer).map_err(A::Error::custom)
    }
}

/// Which operation the parameters are of.
#[derive(Clone, Copy)]
enum Op {
    CreateInstance,
    ApplyEvent,
    DeleteInstance,
    GetInstance,
}

impl Op {
    fn named<E: serde::de::Error>(name: &str) -> Result<Op, E> {
        Ok(match name {
            "CREATE_INSTANCE" => Op::CreateInstance,
            "APPLY_EVENT" => Op::ApplyEvent,
            "DELETE_INSTANCE" => Op::DeleteInstance,
            "GET_INSTANCE" => Op::GetInstance,
            other => {
                return Err(E::custom(format!(
                    "op is {other:?}, expected CREATE_INSTANCE, APPLY_EVENT, DELETE_INSTANCE or \
                     GET_INSTANCE"
                )));
            }
        })
    }

    fn of_map<'de, A: MapAccess<'de>>(self, map: A) -> Result<BatchOperation, A::Error> {
        let params = MapAccessDeserializer::new(map);
        match self {
            Op::CreateInstance => {
                Deserialize::deserialize(params).map(BatchOperation::CreateInstance)
            }
            Op::ApplyEvent => Deserialize::deserialize(params).map(BatchOperation::ApplyEvent),
            Op::DeleteInstance => {
                Deserialize::deserialize(params).map(BatchOperation::DeleteInstance)
            }
            Op::GetInstance => Deserialize::deserialize(params).map(BatchOperation::GetInstance),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Op {
    type Value = BatchOperation;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<BatchOperation, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// An object; a list of its members' values is not one, though a struct would be read from it.
impl<'de> Visitor<'de> for Op {
    type Value = BatchOperation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params to be an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BatchOperation, A::Error> {
        self.of_map(map)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<BatchOperation, E> {
        let mut nothing = serde_json::Deserializer::from_str("{}");
        Deserializer::deserialize_map(&mut nothing, self).map_err(E::custom)
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
        let same = r#"{"ops":[{"op":"APPLY_EVENT","x":[1],"params":{"event":"E","instance_id":"a",
            "payload":{"b":1}}}],"mode":"atomic"}"#;
        assert_eq!(serde_json::from_str::<BatchRequest>(same).unwrap(), request);
        for ops in [
            r#"[{"op":"NOPE"}]"#,
            r#"[{"op":"GET_INSTANCE","params":["a"]}]"#,
            r#"[{"params":["a"],"op":"GET_INSTANCE"}]"#,
            r#"[{"op":"GET_INSTANCE"}]"#,
            r#"[{"op":"GET_INSTANCE","params":null}]"#,
            r#"[{"params":{"instance_id":"a"}}]"#,
            r#"[{"op":"GET_INSTANCE","op":"GET_INSTANCE","params":{"instance_id":"a"}}]"#,
            r#"["GET_INSTANCE"]"#,
        ] {
            let text = format!("{{\"ops\":{ops}}}");
            assert!(serde_json::from_str::<BatchRequest>(&text).is_err(), "{text}");
        }
    }
}
