//! The members that requests have. What people write by hand is held to them: a mistyped name is refused, where
//! a server passes over it, since it may be of a newer client.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use crate::error::reason;
use crate::names::nearest;
use crate::{Error, Operation, Request, Result};

mod misfit;
mod noted;

pub use misfit::{explain, read};
pub use noted::deserialize;

/// The members of an operation of a batch.
const ELEMENT: &[&str] = &["op", "params"];

/// The names of the members that a request of this operation may have.
pub fn of(operation: Operation) -> &'static [&'static str] {
    match Request::deserialize(operation, NamesOnly) {
        Err(Names(names)) => names,
        Ok(_) => &[],
    }
}

/// Refuses a member that a request of this operation does not have, in operations of a batch too.
///
/// What is no object is left to who reads it.
///
/// Errors: `BAD_REQUEST`, reason `invalid_request`, naming the member in `field`, and in `suggestion` the one that was
/// probably meant.
pub fn check(operation: Operation, request: &[u8]) -> Result<()> {
    let mut found = None;
    let is_json = look(request, OfRequest { operation, at: At::default(), found: &mut found });
    found.filter(|_| is_json).map_or(Ok(()), Err)
}

/// As [`check`], of one operation of a batch: `{"op": "APPLY_EVENT", "params": {…}}`.
pub fn check_element(element: &[u8]) -> Result<()> {
    let mut found = None;
    let is_json = look(element, OfElement { at: At::default(), found: &mut found });
    found.filter(|_| is_json).map_or(Ok(()), Err)
}

/// Looks at the members of a text. What is no JSON is refused by who reads it next, with the place of the fault.
fn look<'de>(text: &'de [u8], members: impl DeserializeSeed<'de>) -> bool {
    let looked = members.deserialize(&mut serde_json::Deserializer::from_slice(text));
    looked.err().is_none_or(|error| error.is_data())
}

/// Where an object stands, for the name of its members.
#[derive(Clone, Copy, Default)]
struct At {
    index: Option<usize>,
    in_params: bool,
}

/// Looks at the members of a request, in one pass.
struct OfRequest<'a> {
    operation: Operation,
    at: At,
    found: &'a mut Option<Error>,
}

/// Looks at the operations of a batch.
struct OfElements<'a>(&'a mut Option<Error>);

/// Looks at one of them.
struct OfElement<'a> {
    at: At,
    found: &'a mut Option<Error>,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

macro_rules! seed {
    ($name:ident, $deserialize:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(
                self,
                from: D,
            ) -> std::result::Result<(), D::Error> {
                from.$deserialize(self)
            }
        }
    };
}

seed!(OfRequest, deserialize_map);
seed!(OfElements, deserialize_seq);
seed!(OfElement, deserialize_map);

impl<'de> Visitor<'de> for OfRequest<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let known = of(self.operation);
        while let Some(Name(name)) = map.next_key()? {
            if !known.contains(&&*name) {
                self.found.get_or_insert_with(|| unknown(self.at, &name, known));
            }
            if self.operation == Operation::Batch && name == "ops" {
                map.next_value_seed(OfElements(self.found))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for OfElements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        for index in 0.. {
            let at = At { index: Some(index), in_params: false };
            if list.next_element_seed(OfElement { at, found: self.0 })?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for OfElement<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let OfElement { at, found } = self;
        let at_params = At { in_params: true, ..at };
        let (mut operation, mut early) = (None, None::<&RawValue>);
        while let Some(Name(name)) = map.next_key()? {
            match (&*name, operation) {
                ("op", _) => operation = Operation::from_name(&map.next_value::<Name<'_>>()?.0),
                ("params", Some(operation)) => {
                    map.next_value_seed(OfRequest { operation, at: at_params, found })?;
                }
                ("params", None) => early = Some(map.next_value()?),
                _ => {
                    found.get_or_insert_with(|| unknown(at, &name, ELEMENT));
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if let (Some(operation), Some(params)) = (operation, early) {
            look(params.get().as_bytes(), OfRequest { operation, at: at_params, found });
        }
        Ok(())
    }
}

fn unknown(at: At, name: &str, known: &[&str]) -> Error {
    let element = at.index.map(|index| format!("ops[{index}].")).unwrap_or_default();
    let field = format!("{element}{}{name}", if at.in_params { "params." } else { "" });
    let like = nearest(name, known.iter().copied());
    let way_out = match like {
        Some(like) => format!("did you mean {like:?}?"),
        None if known.is_empty() => "it takes none".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    let message = format!("there is no member {field:?}; {way_out}");
    let error = Error::invalid(reason::INVALID_REQUEST, message).with("field", field);
    match like {
        Some(like) => error.with("suggestion", like),
        None => error,
    }
}

/// Reads nothing: a request says which members it looks for, and that is all.
struct NamesOnly;

/// The names that came with the asking.
#[derive(Debug)]
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Names {}

impl serde::de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Names {
        Names(&[])
    }
}

impl<'de> Deserializer<'de> for NamesOnly {
    type Error = Names;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        _visitor: V,
    ) -> std::result::Result<V::Value, Names> {
        Err(Names(names))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Names> {
        Err(Names(&[]))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_tells_its_members() {
        for operation in Operation::ALL {
            let bare = matches!(
                operation,
                Operation::Ping
                    | Operation::Info
                    | Operation::ListMachines
                    | Operation::WalStats
                    | Operation::FlushAll
                    | Operation::ReplicationStatus
                    | Operation::ClusterStatus
                    | Operation::ClusterInit
                    | Operation::ClusterVerify
                    | Operation::ClusterUpgrade
            );
            assert_eq!(of(*operation).is_empty(), bare, "{operation:?}");
            assert_eq!(of(*operation).contains(&"idempotency_key"), operation.takes_key());
        }
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused_by_name_with_the_nearest() {
        let refused = |operation, text: &str| {
            let error = check(operation, text.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Some(reason::INVALID_REQUEST));
            let member = |name| error.context()[name].as_str().map(str::to_owned);
            (member("field").unwrap(), error.context().get("suggestion").cloned())
        };
        let like = |name: &str| Some(serde_json::Value::from(name));
        for (operation, text, field, suggestion) in [
            (Operation::ApplyEvent, r#"{"payloads":1}"#, "payloads", like("payload")),
            (
                Operation::ApplyEvent,
                r#"{"instance_id":"a","idempotancy_key":"k"}"#,
                "idempotancy_key",
                like("idempotency_key"),
            ),
            (Operation::CreateInstance, r#"{"instanceId":"a"}"#, "instanceId", like("instance_id")),
            (Operation::Ping, r#"{"x":1}"#, "x", None),
            (Operation::Batch, r#"{"ops":[],"Mode":"atomic"}"#, "Mode", like("mode")),
            (
                Operation::Batch,
                r#"{"ops":[{"op":"PING"},{"op":"APPLY_EVENT","parms":{}}]}"#,
                "ops[1].parms",
                like("params"),
            ),
            (
                Operation::Batch,
                r#"{"ops":[{"params":{"instance_id":"a","pay\u006coads":1},"op":"APPLY_EVENT"}]}"#,
                "ops[0].params.payloads",
                like("payload"),
            ),
            (
                Operation::Batch,
                r#"{"ops":[{"op":"GET_INSTANCE","params":{"instance_id":"a"}},{"op":"APPLY_EVENT","params":{"keyy":1}}]}"#,
                "ops[1].params.keyy",
                None,
            ),
        ] {
            assert_eq!(refused(operation, text), (field.to_owned(), suggestion), "{text}");
        }
    }

    #[test]
    fn a_member_that_nobody_knows_is_noticed_while_reading() {
        let passed_over = |operation, text: &str| {
            let mut passed_over = false;
            let mut from = serde_json::Deserializer::from_str(text);
            match operation {
                Operation::Batch => {
                    deserialize::<crate::BatchRequest, _>(&mut from, &mut passed_over).map(drop)
                }
                _ => deserialize::<crate::ApplyEventRequest, _>(&mut from, &mut passed_over)
                    .map(drop),
            }
            .unwrap();
            passed_over
        };
        let event = r#""instance_id":"a","event":"E""#;
        for (members, expected) in [
            ("", false),
            (r#","payload":{"payloads":1,"ops":[{"x":1}]}"#, false),
            (r#","payloads":{}"#, true),
            (r#","pay\u006coads":[1,{"a":2}]"#, true),
            (r#","pay\u006coad":1"#, false),
        ] {
            let text = format!("{{{event}{members}}}");
            assert_eq!(passed_over(Operation::ApplyEvent, &text), expected, "{text}");
            let first = r#"{"op":"GET_INSTANCE","params":{"instance_id":"a"}}"#;
            let batch = format!(
                r#"{{"ops":[{first},{{"op":"APPLY_EVENT","params":{text}}}],"mode":"atomic"}}"#
            );
            assert_eq!(passed_over(Operation::Batch, &batch), expected, "{batch}");
        }
        for (element, expected) in [
            (r#"{"op":"GET_INSTANCE","params":{"instance_id":"a"}}"#, false),
            (r#"{"op":"GET_INSTANCE","parms":1,"params":{"instance_id":"a"}}"#, true),
            // Who set it aside looks again.
            (r#"{"params":{"instance_id":"a"},"op":"GET_INSTANCE"}"#, true),
        ] {
            let batch = format!(r#"{{"ops":[{element}]}}"#);
            assert_eq!(passed_over(Operation::Batch, &batch), expected, "{batch}");
        }
        assert!(passed_over(Operation::Batch, r#"{"ops":[],"Mode":"atomic"}"#));
    }

    #[test]
    fn known_members_and_what_is_no_object_pass() {
        for (operation, text) in [
            (Operation::ApplyEvent, r#"{"instance_id":1,"payload":{"payloads":1}}"#),
            (Operation::PutMachine, r#"{"definition":{"nothing":1}}"#),
            (Operation::Batch, r#"{"ops":[1,{"op":"NOPE","params":{"x":1}},{"op":"PING"}]}"#),
            (Operation::Batch, r#"{"ops":7}"#),
            (Operation::ApplyEvent, "[]"),
            (Operation::ApplyEvent, r#"{"x":"#),
        ] {
            check(operation, text.as_bytes()).unwrap();
        }
    }
}
