//! Why a text is not the request it should be, for people: the member that does not fit, and what it should be.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::reason;
use crate::{Error, Result};

/// So much of a text is repeated.
const SHOWN_CHARS: usize = 40;

/// What serde calls a type, and what people do.
const TYPES: &[(&str, &str)] = &[
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number from 0 to 18446744073709551615"),
    ("usize", "a whole number from 0 to 18446744073709551615"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "an object"),
];

/// Reads a value from its JSON text.
///
/// Errors: `BAD_REQUEST`, reason `invalid_request`; where a member does not fit, or is not there, the message begins
/// with its name, and `field` has it.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| explain::<T>(text, &error))
}

/// The error of a text that could not be read for `error`: it is read again to find the member.
pub fn explain<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> Error {
    let plain = || Error::invalid(reason::INVALID_REQUEST, error.to_string());
    // What is no JSON has no members.
    if !error.is_data() {
        return plain();
    }
    // Sorted, so that `op` of an element of a batch comes before the members that it decides on.
    let Ok(sorted) = serde_json::from_slice::<Value>(text).map(|value| value.to_string()) else {
        return plain();
    };
    let from = &mut serde_json::Deserializer::from_str(&sorted);
    let Err(found) = serde_path_to_error::deserialize::<_, T>(from) else { return plain() };
    let place = Some(found.path().to_string()).filter(|place| place != ".");
    let said = found.inner().to_string();
    // The column is one of a text that the caller may never have seen.
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    let (field, message) = told(place, said);
    let error = Error::invalid(reason::INVALID_REQUEST, message);
    match field {
        Some(field) => error.with("field", field),
        None => error,
    }
}

/// The member and the message of what serde says about what stands in `place`.
fn told(place: Option<String>, said: &str) -> (Option<String>, String) {
    let inside = |name: &str| match &place {
        Some(place) => format!("{place}.{name}"),
        None => name.to_owned(),
    };
    if let Some(name) = said.strip_prefix("missing field `").and_then(|name| name.strip_suffix('`'))
    {
        let field = inside(name);
        let message = format!("{field} is missing");
        return (Some(field), message);
    }
    let Some(field) = place else { return (None, said.to_owned()) };
    let misfit =
        said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    let message = match misfit.and_then(|misfit| misfit.rsplit_once(", expected ")) {
        Some((found, wanted)) => {
            format!("{field} must be {}, not {}", wanted_of(wanted), found_of(found))
        }
        // It names itself.
        None if said.starts_with(field.rsplit('.').next().unwrap_or_default()) => said.to_owned(),
        None => format!("{field}: {said}"),
    };
    (Some(field), message)
}

fn wanted_of(wanted: &str) -> &str {
    match TYPES.iter().find(|(name, _)| *name == wanted) {
        Some((_, called)) => called,
        None if wanted.starts_with("struct ") => "an object",
        None => wanted,
    }
}

fn found_of(found: &str) -> String {
    if let Some(text) = found.strip_prefix("string ") {
        let short: String = text.chars().take(SHOWN_CHARS).collect();
        let rest = if short.len() < text.len() { "…\"" } else { "" };
        return format!("the string {short}{rest}");
    }
    let number = ["integer ", "floating point ", "boolean "]
        .iter()
        .find_map(|kind| found.strip_prefix(kind))
        .map(|number| number.trim_matches('`'));
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        _ => number.unwrap_or(found).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Visitor;
    use crate::{
        ApplyEventRequest, BatchRequest, CreateInstanceRequest, Operation, OperationRequest,
        members,
    };

    fn refused<T: DeserializeOwned>(text: &str) -> (String, Option<String>) {
        let error = read::<T>(text.as_bytes()).err().unwrap();
        assert_eq!(error.reason(), Some(reason::INVALID_REQUEST));
        let field = error.context().get("field").and_then(Value::as_str).map(str::to_owned);
        (error.message().to_owned(), field)
    }

    #[test]
    fn a_member_that_does_not_fit_is_named_with_what_it_should_be() {
        let long = "x".repeat(100);
        for (text, field, message) in [
            (
                r#"{"machine":"m","version":"1"}"#,
                "version",
                "version must be a whole number from 0 to 4294967295, not the string \"1\"",
            ),
            (
                r#"{"machine":"m","version":-1}"#,
                "version",
                "version must be a whole number from 0 to 4294967295, not -1",
            ),
            (
                r#"{"machine":"m","version":1.5}"#,
                "version",
                "version must be a whole number from 0 to 4294967295, not 1.5",
            ),
            (
                r#"{"machine":"m","version":4294967296}"#,
                "version",
                "version must be a whole number from 0 to 4294967295, not 4294967296",
            ),
            (r#"{"machine":["m"],"version":1}"#, "machine", "machine must be a string, not a list"),
            (r#"{"machine":null,"version":1}"#, "machine", "machine must be a string, not null"),
            (r#"{"version":1}"#, "machine", "machine is missing"),
            (
                r#"{"machine":"m","version":1,"instance_id":{"a":1}}"#,
                "instance_id",
                "instance_id must be a string, not an object",
            ),
        ] {
            assert_eq!(
                refused::<CreateInstanceRequest>(text),
                (message.to_owned(), Some(field.to_owned())),
                "{text}"
            );
        }
        let (message, _) =
            refused::<CreateInstanceRequest>(&format!(r#"{{"machine":"m","version":"{long}"}}"#));
        assert!(message.len() < 150, "{message}");
    }

    #[test]
    fn members_in_batches_are_named_by_their_place() {
        for (text, field, message) in [
            (r#"{"ops":{}}"#, "ops", "ops must be a list, not an object"),
            (
                r#"{"ops":[],"mode":"all"}"#,
                "mode",
                "mode is \"all\", expected \"atomic\" or \"best_effort\"",
            ),
            (r#"{"ops":[],"mode":1}"#, "mode", "mode must be a string, not 1"),
            (
                r#"{"ops":[{"op":"GET_INSTANCE","params":{"instance_id":1}}]}"#,
                "ops[0].params.instance_id",
                "ops[0].params.instance_id must be a string, not 1",
            ),
            (
                r#"{"ops":[{"params":{"instance_id":1},"op":"GET_INSTANCE"}]}"#,
                "ops[0].params.instance_id",
                "ops[0].params.instance_id must be a string, not 1",
            ),
            (
                r#"{"ops":[{"op":"APPLY_EVENT","params":{"instance_id":"a"}}]}"#,
                "ops[0].params.event",
                "ops[0].params.event is missing",
            ),
            (r#"{"ops":[7]}"#, "ops[0]", "ops[0] must be an object with op and params, not 7"),
            (r#"{"ops":[{"op":7}]}"#, "ops[0].op", "ops[0].op must be a string, not 7"),
        ] {
            assert_eq!(
                refused::<BatchRequest>(text),
                (message.to_owned(), Some(field.to_owned())),
                "{text}"
            );
        }
        for text in [r#"{"ops":[{"op":"PING"}]}"#, r#"{"ops":[{"params":{},"op":"PING"}]}"#] {
            let (message, field) = refused::<BatchRequest>(text);
            assert!(message.starts_with("ops[0]: op is \"PING\", expected"), "{message}");
            assert_eq!(field.as_deref(), Some("ops[0]"));
        }
    }

    #[test]
    fn what_is_no_json_tells_its_column() {
        let (message, field) = refused::<ApplyEventRequest>(r#"{"instance_id":"a","event":"#);
        assert!(field.is_none() && message.contains("column"), "{message}");
    }

    /// Each member of each operation, with values of all kinds.
    struct AllMembers;

    impl Visitor for AllMembers {
        type Output = usize;

        fn visit<R: OperationRequest>(self) -> usize {
            let mut refusals = 0;
            for member in members::of(R::OPERATION) {
                let mut refused = 0;
                for value in ["1", "-1", "1.5", "true", "\"x\"", "[]", "[1]", "{}"] {
                    // Of members that are required, the last word is about the first that is missing.
                    let text = format!("{{\"{member}\":{value}}}");
                    let Err(error) = read::<R>(text.as_bytes()) else { continue };
                    let field = error.context()["field"].as_str().unwrap_or_default();
                    assert!(error.message().contains(field), "{text}: {error}");
                    if field.split(['[', '.']).next() == Some(*member) {
                        assert!(
                            error.message().contains("must be")
                                || error.message().contains("expected"),
                            "{error}"
                        );
                        refused += 1;
                    }
                }
                // A value of JSON may be any of them.
                let is_any = ["definition", "payload", "initial_ctx"].contains(member);
                assert_eq!(refused == 0, is_any, "{:?} {member}", R::OPERATION);
                refusals += refused;
            }
            refusals
        }
    }

    #[test]
    fn every_member_of_every_operation_is_named() {
        let refusals: usize =
            Operation::ALL.iter().map(|operation| operation.visit(AllMembers)).sum();
        assert!(refusals > 200, "{refusals}");
    }
}
