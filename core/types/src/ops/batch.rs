//! Runs several operations, all or nothing or each on its own.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, Json, Operation, Outcome, Request, Text};

/// Asks to run several operations in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// What happens when one fails.
    #[serde(default)]
    pub mode: BatchMode,
    /// The operations.
    #[serde(with = "elements")]
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

/// One operation of a batch, of those that the table of operations allows there.
pub type BatchOperation = Request;

/// The result of one operation of a batch.
pub type BatchOperationResult = Outcome;

/// An operation as it stands in a batch, `{"op": "APPLY_EVENT", "params": {…}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchElement(pub BatchOperation);

impl BatchElement {
    /// The operations that may be one, as a sentence names them: `A, B or C`.
    pub fn choices() -> String {
        let batchable = Operation::ALL.iter().filter(|operation| operation.is_batchable());
        let mut names: Vec<&str> = batchable.map(|operation| operation.wire_name()).collect();
        names.sort_unstable();
        let last = names.pop().unwrap_or_default();
        format!("{} or {last}", names.join(", "))
    }
}

impl Serialize for BatchElement {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Element::of(&self.0).serialize(to)
    }
}

#[derive(Serialize)]
struct Element<'a> {
    op: &'static str,
    params: &'a BatchOperation,
}

impl<'a> Element<'a> {
    fn of(operation: &'a BatchOperation) -> Element<'a> {
        Element { op: operation.operation().wire_name(), params: operation }
    }
}

/// The operations of a batch are elements in JSON.
mod elements {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        ops: &[BatchOperation],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(ops.iter().map(Element::of))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<BatchOperation>, D::Error> {
        from.deserialize_seq(Elements)
    }

    /// Reads the elements into their place, without another list of them in between.
    struct Elements;

    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<BatchOperation>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut ops = Vec::new();
            while let Some(BatchElement(operation)) = list.next_element()? {
                ops.push(operation);
            }
            Ok(ops)
        }
    }
}

impl<'de> Deserialize<'de> for BatchElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Envelope)
    }
}

/// The name that [`SetAside`] goes by.
pub(crate) const SET_ASIDE: &str = "SetAside";

/// Parameters that came before the operation that they are of.
#[derive(Deserialize)]
struct SetAside(Box<RawValue>);

/// Reads `{"op": …, "params": …}`: the parameters directly where `op` comes first.
struct Envelope;

impl<'de> Visitor<'de> for Envelope {
    type Value = BatchElement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with op and params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchElement, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Field {
            Op,
            Params,
            #[serde(other)]
            Other,
        }
        let (mut op, mut operation, mut early) = (None, None, None::<SetAside>);
        while let Some(field) = map.next_key()? {
            match (field, op) {
                (Field::Other, _) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Field::Op, Some(_)) => return Err(A::Error::duplicate_field("op")),
                (Field::Op, None) => {
                    let unknown = |name| {
                        let choices = BatchElement::choices();
                        A::Error::custom(format!("op is {name:?}, expected {choices}"))
                    };
                    op = Some(map.next_value_seed(Named)?.map_err(unknown)?);
                }
                (Field::Params, _) if operation.is_some() || early.is_some() => {
                    return Err(A::Error::duplicate_field("params"));
                }
                (Field::Params, Some(op)) => operation = Some(map.next_value_seed(op)?),
                (Field::Params, None) => early = Some(map.next_value()?),
            }
        }
        let op = op.ok_or_else(|| A::Error::missing_field("op"))?;
        if let Some(operation) = operation {
            return Ok(BatchElement(operation));
        }
        let params = early.as_ref().map_or("{}", |early| early.0.get());
        let mut deserializer = serde_json::Deserializer::from_str(params);
        op.deserialize(&mut deserializer).map(BatchElement).map_err(A::Error::custom)
    }
}

/// Reads the parameters of this operation.
#[derive(Clone, Copy)]
struct Parameters(Operation);

impl Parameters {
    fn named(name: &str) -> Option<Parameters> {
        Operation::from_name(name)
            .filter(|found| found.is_batchable() && found.wire_name() == name)
            .map(Parameters)
    }
}

/// Reads which operation it is; a name of none is given back.
struct Named;

impl<'de> DeserializeSeed<'de> for Named {
    type Value = Result<Parameters, String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Named {
    type Value = Result<Parameters, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Parameters::named(name).ok_or_else(|| name.to_owned()))
    }
}

impl<'de> DeserializeSeed<'de> for Parameters {
    type Value = BatchOperation;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<BatchOperation, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// An object; a list of its members' values is not one, though a struct would be read from it.
impl<'de> Visitor<'de> for Parameters {
    type Value = BatchOperation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params to be an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BatchOperation, A::Error> {
        Request::deserialize(self.0, MapAccessDeserializer::new(map))
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
    #[serde(default, deserialize_with = "any_result")]
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

/// Reads a result where what was asked for is not known: each has a member that no other one has.
fn any_result<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BatchOperationResult>, D::Error> {
    let Some(json) = Option::<Json>::deserialize(deserializer)? else { return Ok(None) };
    let batchable = Operation::ALL.iter().filter(|operation| operation.is_batchable());
    let read = |operation: &Operation| {
        Outcome::deserialize(*operation, &mut serde_json::Deserializer::from_str(json.as_str()))
            .ok()
    };
    let found = batchable.filter_map(read).next();
    found.map(Some).ok_or_else(|| D::Error::custom("the result is of no operation of a batch"))
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
