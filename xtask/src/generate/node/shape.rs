//! What TypeScript calls the types of `core/types`, and which of them a known machine narrows.

use rstmdb_types::Operation;

use super::{item, title};
use crate::generate::source::{Member, Shapes};

/// Members that hold a state, an event and so on of one machine; a machine that is known to the
/// compiler narrows them.
pub(super) const NARROWED: &[(&str, &str, &str)] = &[
    // member, in a request, in a result
    ("state", "StateOf<M>", "StateOf<M>"),
    ("from_state", "StateOf<M>", "StateOf<M>"),
    ("to_state", "StateOf<M>", "StateOf<M>"),
    ("current_state", "StateOf<M>", "StateOf<M>"),
    ("initial_state", "StateOf<M>", "StateOf<M>"),
    ("expected_state", "StateOf<M>", "StateOf<M>"),
    ("from_states", "readonly StateOf<M>[]", "readonly StateOf<M>[]"),
    ("to_states", "readonly StateOf<M>[]", "readonly StateOf<M>[]"),
    ("event", "EventOf<M>", "EventOf<M>"),
    ("ctx", "ContextInput<M>", "ContextOf<M>"),
    ("initial_ctx", "ContextInput<M>", "ContextOf<M>"),
    ("payload", "PayloadInput<M>", "PayloadOf<M>"),
    ("definition", "MachineDefinition", "MachineDefinition"),
];

/// Which side of a call a type stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Result,
}

/// Every type that requests and results mention, in the order they are met.
pub(super) fn reachable(shapes: &Shapes) -> Result<Vec<(String, Side)>, String> {
    let mut found: Vec<(String, Side)> = Vec::new();
    for operation in Operation::ALL {
        let (request, result) = operation.type_names();
        found.push((request.to_owned(), Side::Request));
        found.push((result.to_owned(), Side::Result));
    }
    let mut next = 0;
    while let Some((name, side)) = found.get(next).cloned() {
        next += 1;
        for member in &shapes.get(&name)?.members {
            let inner = item(&member.kind).unwrap_or(&member.kind).to_owned();
            let known = found.iter().any(|(name, _)| *name == inner);
            if shapes.0.contains_key(&inner) && !known {
                found.push((inner, side));
            }
        }
    }
    Ok(found)
}

/// The TypeScript type of a member.
pub(super) fn kind(shapes: &Shapes, owner: &str, member: &Member, side: Side) -> String {
    let narrowed = NARROWED.iter().find(|(name, ..)| *name == member.name);
    if let Some((_, request, result)) = narrowed
        && ["Text", "Json", "Vec<Text>"].contains(&member.kind.as_str())
    {
        let text = if side == Side::Request { request } else { result };
        // The log and a batch are of many machines.
        return if owner.contains(':') {
            text.replace("<M>", "<AnyMachine>")
        } else {
            (*text).into()
        };
    }
    if (owner, member.name.as_str()) == ("WatchAllRequest", "events") {
        return "readonly EventOf<M>[]".into();
    }
    match item(&member.kind) {
        Some(inner) => format!("readonly {}[]", plain(shapes, inner, owner)),
        None => plain(shapes, &member.kind, owner),
    }
}

pub(super) fn plain(shapes: &Shapes, kind: &str, owner: &str) -> String {
    match kind {
        "Text" | "String" => "string".into(),
        "bool" => "boolean".into(),
        // Limits may be set to anything.
        "u64" | "usize" if owner == "Limits" => "number | bigint".into(),
        "u32" | "u64" | "usize" => "number".into(),
        "TimestampMs" => "Date".into(),
        "Error" => "RstmdbError".into(),
        other if is_generic(shapes, other) => format!("{}<M>", title(other)),
        other => title(other),
    }
}

pub(super) fn generics(shapes: &Shapes, name: &str) -> &'static str {
    if is_generic(shapes, name) { "<M extends MachineTypes = AnyMachine>" } else { "" }
}

/// Whether a machine that is known to the compiler narrows the type.
pub(super) fn is_generic(shapes: &Shapes, name: &str) -> bool {
    let Some(shape) = shapes.0.get(name).filter(|shape| !shape.is_enum) else { return false };
    if name.contains(':') || ["BatchOutcome", "BatchRequest"].contains(&name) {
        return false;
    }
    shape.members.iter().any(|member| {
        let narrowed = NARROWED
            .iter()
            .any(|(narrowed, request, _)| *narrowed == member.name && request.contains("<M>"));
        let inner = item(&member.kind).unwrap_or(&member.kind);
        (narrowed && inner != name && ["Text", "Json"].contains(&inner))
            || (name, member.name.as_str()) == ("WatchAllRequest", "events")
            || is_generic(shapes, inner)
    })
}

/// Whether the member is always there.
pub(super) fn is_present(member: &Member, side: Side) -> bool {
    match side {
        Side::Request => member.required,
        // An empty list may be left out on the wire; readers get the empty list.
        Side::Result => {
            member.required || item(&member.kind).is_some() || member.kind == "InstanceEventKind"
        }
    }
}
