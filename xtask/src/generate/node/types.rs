//! `types.ts`: what goes in and what comes out of every operation.

use std::fmt::Write as _;

use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, ErrorKind};

use super::shape::{Side, generics, is_present, kind, reachable};
use super::{camel, doc, finish, head, title};
use crate::generate::source::{Member, Shape, Shapes};

/// The end of a union of strings that takes others too, and still completes those that are known.
const OTHER_VALUE: &str = "
  /** One that only newer versions know. */
  | (string & Record<never, never>);\n\n";

/// The end of the union of log entries. Its tag is not that of the wire, which would be any string,
/// and no other tag would tell an entry apart.
const OTHER_ENTRY: &str = "
  /** One that only newer versions know. */
  | WalEntryOther;

/** A log entry that only newer versions know. */
export interface WalEntryOther {
  readonly type: 'other';
  /** The whole entry, with its `type` and the names of the wire. */
  readonly raw: { readonly type: string; readonly [member: string]: unknown };
}\n\n";

/// `node/src/types.ts`.
pub fn types() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("What goes in and what comes out of every operation.");
    text.push_str(
        "import type { RstmdbError } from './errors.js';\n\
         import type { Json } from './json.js';\n\
         import type {\n  AnyMachine,\n  ContextInput,\n  ContextOf,\n  EventOf,\n  \
         MachineDefinition,\n  MachineTypes,\n  PayloadInput,\n  PayloadOf,\n  StateOf,\n} from \
         './machine.js';\n\n\
         /**\n * A place in the log: a number up to 2^53, and a bigint beyond, so that it is never \
         rounded.\n * Both can be compared and handed back.\n */\n\
         export type Offset = number | bigint;\n\n",
    );
    errors(&mut text);
    for (name, side) in reachable(&shapes)? {
        declare(&mut text, &shapes, &name, side)?;
    }
    Ok(finish(text))
}

fn errors(text: &mut String) {
    let rows = |rows: &[(&str, &str)]| -> String {
        rows.iter().map(|(name, doc)| format!("\n  /** {doc} */\n  '{name}',")).collect()
    };
    let kinds: Vec<_> = ErrorKind::ALL.iter().map(|k| (k.as_str(), k.doc())).collect();
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|c| (c.as_str(), c.doc())).collect();
    let reasons: Vec<_> = reason::ALL
        .iter()
        .map(|(name, _)| (*name, reason::doc(name).unwrap_or_default()))
        .collect();
    // There will be no further kinds and codes.
    let others = " | (string & Record<never, never>)";
    for (constant, name, doc, rows, others) in [
        ("ERROR_KINDS", "ErrorKind", "What the caller should do about an error.", rows(&kinds), ""),
        (
            "ERROR_CODES",
            "ErrorCode",
            "What went wrong, as it travels on the wire.",
            rows(&codes),
            "",
        ),
        (
            "ERROR_REASONS",
            "ErrorReason",
            "The finer distinctions within a code. A newer server may have others.",
            rows(&reasons),
            others,
        ),
    ] {
        let _ = writeln!(
            text,
            "/** {doc} */\nexport const {constant} = Object.freeze([{rows}\n] as const);\n\n\
             /** {doc} */\nexport type {name} = (typeof {constant})[number]{others};\n"
        );
    }
}

fn declare(text: &mut String, shapes: &Shapes, name: &str, side: Side) -> Result<(), String> {
    let shape = shapes.get(name)?;
    doc(text, "", &shape.doc);
    let title = title(name);
    if name == "BatchOutcome" {
        // A union, so that `status` tells the compiler which of the two is there.
        text.push_str(
            "export type BatchOutcome =\n  | { readonly status: 'ok'; readonly result: \
             BatchOperationResult }\n  | { readonly status: 'error'; readonly error: RstmdbError \
             };\n\n",
        );
        return Ok(());
    }
    if shape.is_enum {
        let _ = write!(text, "export type {title} =");
        for member in &shape.members {
            let what = variant(name, shape, member);
            let _ = write!(text, "\n  /** {} */\n  | {what}", member.doc);
        }
        text.push_str(match (shape.is_open, name) {
            (false, _) => ";\n\n",
            (true, "WalEntry") => OTHER_ENTRY,
            (true, _) => OTHER_VALUE,
        });
        return Ok(());
    }
    let generic = generics(shapes, name);
    let _ = writeln!(text, "export interface {title}{generic} {{");
    if let Some((_, tag)) = name.split_once(':') {
        let _ = writeln!(text, "  readonly type: '{tag}';");
    }
    for member in &shape.members {
        doc(text, "  ", &remark(member, side));
        let optional = if is_present(member, side) { "" } else { "?" };
        let kind = kind(shapes, name, member, side);
        let more = if side == Side::Request && !member.required { " | undefined" } else { "" };
        let _ = writeln!(text, "  readonly {}{optional}: {kind}{more};", camel(&member.name));
    }
    text.push_str("}\n\n");
    Ok(())
}

/// The doc of a member, where TypeScript differs from what it says.
fn remark(member: &Member, side: Side) -> String {
    if member.kind == "TimestampMs" && side == Side::Result {
        return member.doc.replace(", in milliseconds since 1970", "");
    }
    member.doc.clone()
}

/// One alternative of an enum.
fn variant(name: &str, shape: &Shape, member: &Member) -> String {
    match (name, shape.is_untagged, member.kind.as_str()) {
        (_, false, "") => format!("'{}'", member.name),
        ("BatchOperation", ..) => {
            let op = camel(&member.name.to_lowercase());
            format!("{{ readonly op: '{op}'; readonly params: {} }}", member.kind)
        }
        (_, _, kind) => title(kind),
    }
}
