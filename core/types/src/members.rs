//! The members that requests have. What people write by hand is held to them: a mistyped name is refused, where
//! a server passes over it, since it may be of a newer client.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use crate::error::reason;
use crate::names::nearest;
use crate::{Error, Operation, Request, Result};

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
    check_in("", operation, request)
}

/// As [`check`], of one operation of a batch: `{"op": "APPLY_EVENT", "params": {…}}`.
pub fn check_element(element: &[u8]) -> Result<()> {
    check_element_in("", element)
}

fn check_in(path: &str, operation: Operation, request: &[u8]) -> Result<()> {
    let known = of(operation);
    let Some(Object(members)) = read(request) else { return Ok(()) };
    for (name, value) in &members {
        if !known.contains(&&**name) {
            return Err(unknown(path, name, known));
        }
        if operation == Operation::Batch && name == "ops" {
            let elements: Vec<&RawValue> = read(value.get().as_bytes()).unwrap_or_default();
            for (index, element) in elements.iter().enumerate() {
                check_element_in(&format!("ops[{index}]."), element.get().as_bytes())?;
            }
        }
    }
    Ok(())
}

fn check_element_in(path: &str, element: &[u8]) -> Result<()> {
    let Some(Object(members)) = read(element) else { return Ok(()) };
    if let Some((name, _)) = members.iter().find(|(name, _)| !ELEMENT.contains(&&**name)) {
        return Err(unknown(path, name, ELEMENT));
    }
    let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted);
    let op = member("op").and_then(|(_, op)| serde_json::from_str::<String>(op.get()).ok());
    match (op.and_then(|op| Operation::from_name(&op)), member("params")) {
        (Some(operation), Some((_, params))) => {
            check_in(&format!("{path}params."), operation, params.get().as_bytes())
        }
        _ => Ok(()),
    }
}

fn unknown(path: &str, name: &str, known: &[&str]) -> Error {
    let field = format!("{path}{name}");
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

/// Text that is not what is read here is refused by who reads it next, with the place of the fault.
fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

/// The members of an object, as they stand.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }

        from.deserialize_map(Members)
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
        ] {
            assert_eq!(refused(operation, text), (field.to_owned(), suggestion), "{text}");
        }
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
