//! `errors.gen.go` and `operations.gen.go`: the tables, and the methods that need no hand.

use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, ErrorKind, Operation};

use super::options::function_name;
use super::{comment, go_name, start, type_name};
use crate::generate::options::rows;
use crate::generate::source::Shapes;

/// Operations whose methods take or give something shorter than request and result, written by hand
/// in `bindings/go/operations.go` and `watch.go`. All others are generated.
const BY_HAND: &[Operation] = &[
    Operation::GetMachine,
    Operation::ListMachines,
    Operation::GetInstance,
    Operation::ListInstances,
    Operation::CountInstances,
    Operation::DeleteInstance,
    Operation::Batch,
    Operation::History,
    Operation::WatchInstance,
    Operation::WatchAll,
    Operation::WalRead,
    Operation::Compact,
    Operation::SnapshotInstance,
    Operation::ListSnapshots,
    Operation::DropSnapshot,
    Operation::Ping,
];

/// The codes, kinds and reasons of errors.
pub fn errors() -> Result<String, String> {
    let mut out = start("The codes, kinds and reasons of errors.");
    out.push_str(
        "\n// ErrorCode is what went wrong, as it travels on the wire.\ntype ErrorCode string\n",
    );
    let codes = ErrorCode::ALL.iter().map(|code| {
        let name = format!("Code{}", go_name(&code.as_str().to_lowercase()));
        (name, "ErrorCode", code.as_str(), code.doc())
    });
    out.push_str(&constants(codes));
    out.push_str("\n// ErrorKind is what to do about an error.\ntype ErrorKind string\n");
    let kinds = ErrorKind::ALL.iter().map(|kind| {
        (format!("Kind{}", go_name(kind.as_str())), "ErrorKind", kind.as_str(), kind.doc())
    });
    out.push_str(&constants(kinds));
    out.push_str("\n// One for each kind, for errors.Is.\nvar (\n");
    for (index, kind) in ErrorKind::ALL.iter().enumerate() {
        let name = go_name(kind.as_str());
        let blank = if index > 0 { "\n" } else { "" };
        let text = format!("Err{name} is any error of Kind{name}.");
        out.push_str(&format!("{blank}{}", comment("\t", &text)));
        out.push_str(&format!("\tErr{name} error = kindError(Kind{name})\n"));
    }
    out.push_str(")\n");
    let reasons = reason::ALL.iter().map(|(name, _)| {
        (format!("Reason{}", go_name(name)), "", *name, reason::doc(name).unwrap_or_default())
    });
    out.push_str(
        "\n// The finer distinctions within a code. Stable: programs may compare with them.",
    );
    out.push_str(
        constants(reasons).trim_start_matches('\n').replacen("const", "\nconst", 1).as_str(),
    );
    Ok(out)
}

fn constants<'a>(rows: impl Iterator<Item = (String, &'a str, &'a str, &'a str)>) -> String {
    let mut out = "\nconst (\n".to_owned();
    for (index, (name, kind, value, doc)) in rows.enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let kind = if kind.is_empty() { String::new() } else { format!(" {kind}") };
        out.push_str(&comment("\t", &format!("{name}: {doc}")));
        out.push_str(&format!("\t{name}{kind} = {value:?}\n"));
    }
    out + ")\n"
}

/// The request and the result of every operation and the function of every option, for the test that compares them with
/// `surface.json`.
pub fn surface() -> Result<String, String> {
    let mut out = start(
        "The types of every operation and the functions of the options, for the test of the surface.",
    );
    out.push_str("\nvar operationTypes = []operationType{\n");
    for operation in Operation::ALL {
        let (request, result) = operation.type_names();
        out.push_str(&format!(
            "\t{{{:?}, {}{{}}, {}{{}}}},\n",
            go_name(operation.name()),
            type_name(request),
            type_name(result),
        ));
    }
    out.push_str("}\n\nvar optionFunctions = []optionFunction{\n");
    for row in rows() {
        out.push_str(&format!("\t{{{:?}, {}}},\n", row.name, function_name(row)));
    }
    Ok(out + "}\n")
}

/// The numbers and names of operations, and a method for each that is not written by hand.
pub fn operations() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut out = start("The table of operations, and the methods that follow from it.");
    out.push_str("\nimport \"context\"\n");
    out.push_str("\n// Operation is one operation of a database. The numbers never change.\n");
    out.push_str("type Operation int32\n\nconst (\n");
    for (index, operation) in Operation::ALL.iter().enumerate() {
        let name = go_name(operation.name());
        let blank = if index > 0 { "\n" } else { "" };
        let text = format!("Op{name}: {}", operation.doc());
        out.push_str(&format!("{blank}{}", comment("\t", &text)));
        out.push_str(&format!("\tOp{name} Operation = {}\n", *operation as i32));
    }
    out.push_str(")\n\nvar operationNames = [...]string{\n\t\"\",\n");
    for operation in Operation::ALL {
        out.push_str(&format!("\t{:?},\n", operation.wire_name()));
    }
    out.push_str("}\n\n// Operations that change the database, by number.\nvar operationWrites = [...]bool{\n\tfalse,\n");
    for operation in Operation::ALL {
        out.push_str(&format!("\t{},\n", operation.is_write()));
    }
    out.push_str("}\n");
    for operation in Operation::ALL.iter().filter(|operation| !BY_HAND.contains(operation)) {
        out.push_str(&method(*operation, &shapes)?);
    }
    Ok(out)
}

fn method(operation: Operation, shapes: &Shapes) -> Result<String, String> {
    let (request, result) = operation.type_names();
    let name = go_name(operation.name());
    let mut letters = operation.doc().chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    let text = format!("{name} {first}{}", letters.as_str());
    let no_members = shapes.get(request)?.members.is_empty();
    let (request, result) = (type_name(request), type_name(result));
    let (parameter, argument) = match no_members {
        true => (String::new(), format!("{request}{{}}")),
        false => (format!(", request {request}"), "request".to_owned()),
    };
    Ok(format!(
        "\n{}func (db *Database) {name}(ctx context.Context{parameter}) (*{result}, error) {{\n\
         \treturn invoke[{result}](ctx, db, Op{name}, &{argument})\n}}\n",
        comment("", &text)
    ))
}
