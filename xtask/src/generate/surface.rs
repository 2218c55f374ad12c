//! `surface.json`: the public interface as data, for tests that compare a language with it.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, ErrorKind, Operation};
use serde_json::{Value, json};

use super::options;
use super::source::{Member, Shapes};
use crate::tidy::GENERATED_MARK;

/// One row to a line, so that a change shows as one line in a diff.
pub fn json() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = format!("{{ \"$comment\": \"{GENERATED_MARK}\",\n");
    let operations: Vec<Value> = Operation::ALL
        .iter()
        .map(|operation| row(*operation, &shapes))
        .collect::<Result<_, _>>()?;
    let codes: Vec<Value> = ErrorCode::ALL
        .iter()
        .map(|code| {
            json!({
                "code": code.as_str(),
                "number": *code as i32,
                "kind": code.kind().as_str(),
                "retryable": code.retryable(),
            })
        })
        .collect();
    let kinds: Vec<Value> = ErrorKind::ALL
        .iter()
        .map(|kind| json!({ "kind": kind.as_str(), "exit_code": kind.exit_code() }))
        .collect();
    let reasons: Vec<Value> = reason::ALL
        .iter()
        .map(|(name, code)| {
            let error = Error::new(*code, "").with_reason(name);
            json!({
                "reason": name,
                "code": code.as_str(),
                "kind": error.kind().as_str(),
                "retryable": error.retryable(),
            })
        })
        .collect();
    let mut top = Vec::new();
    for operation in Operation::ALL {
        let (request, result) = operation.type_names();
        top.extend([request, result]);
    }
    let types: Vec<Value> = shapes
        .0
        .iter()
        .filter(|(name, _)| !top.contains(&name.as_str()))
        .map(|(name, shape)| {
            let kind = match (shape.is_enum, shape.is_untagged) {
                (true, false) => "enum",
                (true, true) => "untagged enum",
                (false, _) => "struct",
            };
            let mut row = json!({ "name": name, "kind": kind, "members": members(&shape.members) });
            if shape.is_open {
                row["open"] = true.into();
            }
            row
        })
        .collect();
    let sections = [
        ("operations", operations),
        ("types", types),
        ("options", options::surface()),
        ("error_codes", codes),
        ("error_kinds", kinds),
        ("error_reasons", reasons),
    ];
    let sections: Vec<String> = sections
        .iter()
        .map(|(name, rows)| {
            let rows: Vec<String> = rows.iter().map(|row| format!("    {row}")).collect();
            format!("  \"{name}\": [\n{}\n  ]", rows.join(",\n"))
        })
        .collect();
    text.push_str(&sections.join(",\n"));
    text.push_str("\n}\n");
    Ok(text)
}

fn row(operation: Operation, shapes: &Shapes) -> Result<Value, String> {
    let (request, result) = operation.type_names();
    Ok(json!({
        "name": operation.name(),
        "wire_name": operation.wire_name(),
        "number": operation as i32,
        "access": operation.access().name(),
        "can_fail": operation.can_fail(),
        "request": members(&shapes.get(request)?.members),
        "result": members(&shapes.get(result)?.members),
        "doc": operation.doc(),
    }))
}

fn members(members: &[Member]) -> Vec<Value> {
    let member = |m: &Member| json!({ "name": m.name, "type": m.kind, "required": m.required });
    members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use rstmdb_types::options::{EMBEDDED, REMOTE};

    use super::*;

    #[test]
    fn lists_every_operation_and_error() {
        let surface: Value = serde_json::from_str(&json().unwrap()).unwrap();
        let count = |name: &str| surface[name].as_array().unwrap().len();
        assert_eq!(count("operations"), Operation::ALL.len());
        assert_eq!(count("options"), EMBEDDED.len() + REMOTE.len());
        assert_eq!(count("error_codes"), ErrorCode::ALL.len());
        assert_eq!(count("error_kinds"), ErrorKind::ALL.len());
        assert_eq!(count("error_reasons"), reason::ALL.len());
        let types = surface["types"].as_array().unwrap();
        let has = |name: &str| types.iter().any(|shape| shape["name"] == name);
        assert!(has("InstanceEvent") && has("BatchOperation") && has("WalEntry"));
        assert!(!has("PingRequest"), "those of operations stand with them");
        let apply = &surface["operations"][8];
        assert_eq!(apply["name"], "apply_event");
        assert_eq!(apply["request"][0]["name"], "instance_id");
        assert_eq!(apply["request"][0]["required"], true);
    }
}
