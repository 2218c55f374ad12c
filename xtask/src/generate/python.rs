//! The Python package's share of the table: rows for the native module, its stubs, the methods of both
//! `Database` classes, the names of errors, and `rstmdb.sync`, which is the async code without waiting.

mod members;
mod options;
mod stubs;
mod sync;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, ErrorKind, Operation};

use super::source::{Member, Shape, Shapes};
use crate::tidy::GENERATED_MARK;
use crate::tree;

pub use members::members;
pub use options::database;
pub use stubs::stubs;
pub use sync::{sync, sync_watch};

/// Optional arguments that may be given without their name, because it would only repeat the obvious.
const POSITIONAL: &[&str] = &["instance_id", "initial_ctx", "payload"];

/// Arguments that name states, events or machines, for which people have enums.
const NAMES: &[&str] = &[
    "event",
    "expected_state",
    "initial_state",
    "state",
    "machines",
    "from_states",
    "to_states",
    "events",
];

/// `bindings/python/src/generated.rs`: one row for each operation and each class.
pub fn native() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = format!("//! {GENERATED_MARK}\n//!\n");
    text.push_str(concat!(
        "//! Rows for the macros of `handle.rs` and `results.rs`.\n\n",
        "use pyo3::prelude::*;\nuse pyo3::types::PyTuple;\n",
        "use rstmdb_bridge::types::{self as t, BatchElement, BatchOperation, WalEntry, *};\n\n",
        "use crate::calls::NotAwaited;\n",
        "use crate::from_python::FromPython;\n",
        "use crate::handle::{AsyncHandle, BlockingHandle, handles, next_argument};\n",
        "use crate::results::{batch_class, entry_class, result_class};\n",
        "use crate::to_python::ToPython;\n\n",
        "handles! {\n    operations: {\n",
    ));
    for operation in operations(false) {
        push_handle_row(&mut text, operation, &shapes)?;
    }
    text.push_str("    }\n    watches: {\n");
    for operation in operations(true) {
        push_handle_row(&mut text, operation, &shapes)?;
    }
    text.push_str("    }\n}\n");
    let mut names = Vec::new();
    for (name, shape) in result_classes(&shapes)? {
        push_result_row(&mut text, &name, shape, &shapes);
        names.push(name);
    }
    let entries = entry_classes(&shapes)?;
    for (name, shape) in &entries {
        push_entry_row(&mut text, name, shape, &shapes);
        names.push(name.clone());
    }
    push_entry_match(&mut text, &entries);
    let batch = batch_classes(&shapes)?;
    for (name, shape) in &batch {
        let (required, positional, keyword) = arguments(shape);
        let mut signature: Vec<String> = required.iter().map(|m| m.name.clone()).collect();
        signature.extend(positional.iter().map(|m| format!("{}=None", m.name)));
        if !keyword.is_empty() {
            signature.push("*".to_owned());
        }
        signature.extend(keyword.iter().map(|m| format!("{}=None", m.name)));
        let all = required.iter().chain(&positional).chain(&keyword);
        let members: Vec<&str> = all.map(|m| m.name.as_str()).collect();
        let _ = write!(
            text,
            "\nbatch_class! {{\n    {name}({name}Request), {:?},\n    signature: ({}),\n    members: [{}],\n}}\n",
            shape.doc,
            signature.join(", "),
            members.join(", ")
        );
        names.push(name.clone());
    }
    push_batch_match(&mut text, &batch);
    text.push_str("\n/// Adds the classes to the module.\npub fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {\n");
    for name in names {
        let _ = writeln!(text, "    module.add_class::<{name}>()?;");
    }
    text.push_str("    Ok(())\n}\n");
    Ok(text)
}

fn push_handle_row(text: &mut String, operation: Operation, shapes: &Shapes) -> Result<(), String> {
    let (request, _) = operation.type_names();
    let (required, positional, keyword) = arguments(shapes.get(request)?);
    let all = required.iter().chain(&positional).chain(&keyword);
    let names: Vec<&str> = all.map(|member| member.name.as_str()).collect();
    let signature = if operation.name().starts_with("watch_") {
        String::new()
    } else {
        // What `inspect` reads, as the stubs say it.
        let all: String = names.iter().map(|name| format!(", {name}")).collect();
        format!(" {:?}", format!("($self{all}{})", if all.is_empty() { "" } else { ", /" }))
    };
    let (name, all) = (operation.name(), names.join(", "));
    let _ = writeln!(text, "        {name}({all}){signature} => {request};");
    Ok(())
}

fn push_result_row(text: &mut String, name: &str, shape: &Shape, shapes: &Shapes) {
    let (mut plain, mut times, mut cached, mut shown) = (vec![], vec![], vec![], vec![]);
    for member in &shape.members {
        let row = format!("{}: {:?}", member.name, member.doc);
        shown.push(format!("{:?}", member.name));
        if member.kind == "TimestampMs" {
            times.push(format!("{} {}_ms: {:?}", member.name, member.name, member.doc));
        } else if is_cached(&member.kind, shapes) {
            cached.push(row);
        } else {
            plain.push(row);
        }
    }
    let page = page(shape, shapes).map_or(String::new(), |page| format!("    page: {page},\n"));
    let _ = write!(
        text,
        "\nresult_class! {{\n    {name}(t::{}), {:?},\n    plain: [{}],\n    times: [{}],\n    \
         cached: [{}],\n    shown: [{}],\n{page}}}\n",
        // What is told of the limits.
        if name == "Limits" { "KnownLimits" } else { name },
        shape.doc,
        plain.join(", "),
        times.join(", "),
        cached.join(", "),
        shown.join(", "),
    );
}

fn push_entry_row(text: &mut String, name: &str, shape: &Shape, shapes: &Shapes) {
    let row = |member: &Member| {
        let name = if member.name == "type" { "r#type" } else { &member.name };
        format!("{name}: {:?}", member.doc)
    };
    let (cached, plain): (Vec<_>, Vec<_>) =
        shape.members.iter().partition(|member| is_cached(&member.kind, shapes));
    let join = |members: &[&Member]| -> String {
        members.iter().map(|member| row(member)).collect::<Vec<_>>().join(", ")
    };
    let shown: Vec<String> = shape.members.iter().map(|m| format!("{:?}", m.name)).collect();
    let variant = name.trim_end_matches("Entry");
    let _ = write!(
        text,
        "\nentry_class! {{\n    {name}, {variant}, {:?},\n    plain: [{}],\n    cached: [{}],\n    \
         shown: [{}],\n}}\n",
        shape.doc,
        join(&plain),
        join(&cached),
        shown.join(", "),
    );
}

fn push_entry_match(text: &mut String, entries: &[(String, Shape)]) {
    text.push_str(concat!(
        "\nimpl ToPython for WalEntry {\n",
        "    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {\n",
        "        let entry = self.clone();\n        Ok(match self {\n",
    ));
    for (name, _) in entries {
        let variant = name.trim_end_matches("Entry");
        let _ = writeln!(
            text,
            "            WalEntry::{variant} {{ .. }} => Py::new(py, {name}::new(entry))?.into_any(),"
        );
    }
    text.push_str("        })\n    }\n}\n");
}

fn push_batch_match(text: &mut String, batch: &[(String, &Shape)]) {
    let mut names: Vec<&str> = batch.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let last = names.pop().unwrap_or_default();
    let _ = write!(
        text,
        "\n/// The classes of the operations of a batch, as a sentence names them.\n\
         pub const BATCH_CLASSES: &str = \"{} or {last}\";\n",
        names.join(", ")
    );
    text.push_str(concat!(
        "\n/// The operation that an object of one of these classes stands for.\n",
        "pub fn batch_operation(value: &Bound<'_, PyAny>) -> Option<BatchOperation> {\n",
    ));
    for (name, _) in batch {
        let _ = write!(
            text,
            "    if let Ok(operation) = value.cast::<{name}>() {{\n        \
             return Some(BatchOperation::{name}(operation.get().inner.clone()));\n    }}\n"
        );
    }
    text.push_str("    None\n}\n");
}

/// The operations but the watches, or the watches.
fn operations(watches: bool) -> impl Iterator<Item = Operation> {
    let is_watch = |operation: Operation| operation.name().starts_with("watch_");
    Operation::ALL.iter().copied().filter(move |operation| is_watch(*operation) == watches)
}

/// Required arguments, optional ones without a name, and the others.
fn arguments(shape: &Shape) -> (Vec<&Member>, Vec<&Member>, Vec<&Member>) {
    let (required, optional): (Vec<_>, Vec<_>) =
        shape.members.iter().partition(|member| member.required);
    let is_positional = |member: &&Member| POSITIONAL.contains(&member.name.as_str());
    let (positional, keyword) = optional.into_iter().partition(is_positional);
    (required, positional, keyword)
}

/// The structs that results consist of, each once, with those inside them.
fn result_classes(shapes: &Shapes) -> Result<BTreeMap<String, &Shape>, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<String> =
        Operation::ALL.iter().map(|operation| operation.type_names().1.to_owned()).collect();
    open.push("InstanceEvent".to_owned());
    while let Some(name) = open.pop() {
        let shape = shapes.get(&name)?;
        open.extend(
            shape
                .members
                .iter()
                .map(|member| element(&member.kind).to_owned())
                .filter(|kind| shapes.0.get(kind).is_some_and(|shape| !shape.is_enum))
                .filter(|kind| !found.contains_key(kind)),
        );
        found.insert(name, shape);
    }
    Ok(found)
}

fn entry_classes(shapes: &Shapes) -> Result<Vec<(String, Shape)>, String> {
    let all = shapes.get("WalEntry")?;
    let mut classes: Vec<(String, Shape)> = Vec::new();
    for entry in &all.members {
        classes.push((format!("{}Entry", camel(&entry.name)), shapes.get(&entry.kind)?.clone()));
    }
    let of_itself = Member {
        name: "type".to_owned(),
        doc: "What it calls itself.".to_owned(),
        kind: "Text".to_owned(),
        required: true,
    };
    let other = Shape {
        doc: "An entry that only newer versions know: `to_dict()` has all of it.".to_owned(),
        members: vec![of_itself],
        ..Shape::default()
    };
    classes.push(("OtherEntry".to_owned(), other));
    Ok(classes)
}

fn batch_classes(shapes: &Shapes) -> Result<Vec<(String, &Shape)>, String> {
    let all = shapes.get("BatchOperation")?;
    all.members
        .iter()
        .map(|row| Ok((row.kind.trim_end_matches("Request").to_owned(), shapes.get(&row.kind)?)))
        .collect()
}

/// The one list of rows that a result is about; with several lists it is about none.
fn page<'a>(shape: &'a Shape, shapes: &Shapes) -> Option<&'a str> {
    let is_list = |member: &&Member| {
        member.required
            && member.kind.starts_with("Vec<")
            && shapes.0.contains_key(element(&member.kind))
    };
    let mut lists = shape.members.iter().filter(is_list);
    let (list, more) = (lists.next()?, lists.next());
    more.is_none().then_some(list.name.as_str())
}

fn element(kind: &str) -> &str {
    kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind)
}

/// Whether converting the member is worth remembering, or must give the same object each time.
fn is_cached(kind: &str, shapes: &Shapes) -> bool {
    let is_plain_enum =
        shapes.0.get(kind).is_some_and(|shape| shape.members.iter().all(|m| m.kind.is_empty()));
    let is_shape = shapes.0.get(kind).is_some_and(|shape| !shape.is_enum || !is_plain_enum);
    kind == "Json" || kind == "Error" || kind.starts_with("Vec<") || is_shape
}

/// The Python type of a member of a result.
fn result_type(kind: &str, shapes: &Shapes) -> String {
    if kind.starts_with("Vec<") {
        return format!("tuple[{}, ...]", result_type(element(kind), shapes));
    }
    match kind {
        "Text" | "String" | "ErrorCode" => "str".to_owned(),
        "bool" => "bool".to_owned(),
        "u32" | "u64" | "usize" | "Offset" => "int".to_owned(),
        "TimestampMs" => "datetime".to_owned(),
        "Json" => "Any".to_owned(),
        "Error" => "RstmdbError".to_owned(),
        _ => match shapes.0.get(kind) {
            Some(shape) if shape.is_enum && shape.members.iter().all(|m| m.kind.is_empty()) => {
                // What is not known is not refused, and editors still complete what is.
                let open = if shape.is_open { " | str" } else { "" };
                literal(shape) + open
            }
            _ => kind.to_owned(),
        },
    }
}

fn literal(shape: &Shape) -> String {
    let names: Vec<String> = shape.members.iter().map(|m| format!("{:?}", m.name)).collect();
    format!("Literal[{}]", names.join(", "))
}

/// The Python type of an argument.
fn argument_type(member: &Member, shapes: &Shapes) -> String {
    let name = if NAMES.contains(&member.name.as_str()) { "Name" } else { "str" };
    match member.kind.as_str() {
        "Text" => name.to_owned(),
        "Vec<Text>" => format!("Iterable[{name}]"),
        "Vec<BatchOperation>" => "Iterable[BatchOperation]".to_owned(),
        other => result_type(other, shapes),
    }
}

/// What an argument is when it is absent.
fn default(member: &Member, shapes: &Shapes) -> String {
    match member.kind.as_str() {
        "bool" if member.name == "include_ctx" => "True".to_owned(),
        "bool" => "False".to_owned(),
        "BatchMode" => "\"best_effort\"".to_owned(),
        "HistoryOrder" => "\"newest\"".to_owned(),
        kind if kind.starts_with("Vec<") && shapes.0.is_empty() => "None".to_owned(),
        kind if kind.starts_with("Vec<") => "()".to_owned(),
        _ => "None".to_owned(),
    }
}

/// `name: type` or `name: type = default`.
fn parameter(member: &Member, shapes: &Shapes, with_default: bool) -> String {
    let kind = argument_type(member, shapes);
    if member.required {
        return format!("{}: {kind}", member.name);
    }
    let default = default(member, shapes);
    let kind = if default == "None" && kind != "Any" { format!("{kind} | None") } else { kind };
    if with_default {
        format!("{}: {kind} = {default}", member.name)
    } else {
        format!("{}: {kind}", member.name)
    }
}

const FUTURE: &str = "from __future__ import annotations\n";

/// A signature as the formatter leaves it: on one line when that fits.
fn push_signature(
    text: &mut String,
    word: &str,
    name: &str,
    parameters: &[String],
    result: &str,
    body: &str,
) {
    let line = format!("    {word} {name}({}) -> {result}:{body}", parameters.join(", "));
    if line.chars().count() <= 100 {
        let _ = writeln!(text, "{line}");
        return;
    }
    let _ = writeln!(text, "    {word} {name}(");
    let inner = format!("        {}", parameters.join(", "));
    for parameter in parameters {
        let _ = writeln!(text, "        {parameter},");
    }
    let _ = inner;
    let _ = writeln!(text, "    ) -> {result}:{body}");
}

/// Words in lines of at most `width` characters behind `indent`.
fn wrapped(words: &str, indent: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{indent}"))
}

/// `python/rstmdb/_operations.py`: the operations as coroutines.
pub fn async_operations() -> Result<String, String> {
    methods(true)
}

/// `python/rstmdb/_sync_operations.py`: the operations as plain methods.
pub fn sync_operations() -> Result<String, String> {
    methods(false)
}

fn methods(is_async: bool) -> Result<String, String> {
    let shapes = Shapes::read()?;
    let (title, handle) = if is_async {
        ("The operations as coroutines: what `rstmdb.Database` is made of.", "AsyncHandle")
    } else {
        (
            "The operations as plain methods: what `rstmdb.sync.Database` is made of.",
            "BlockingHandle",
        )
    };
    let mut used: Vec<&str> = Operation::ALL.iter().map(|o| o.type_names().1).collect();
    used.extend([handle, "BatchOperation"]);
    used.sort_unstable();
    used.dedup();
    let native: Vec<&str> = used.iter().copied().filter(|name| *name != "BatchOperation").collect();
    let mut text = format!("# {GENERATED_MARK}\n\"\"\"{title}\"\"\"\n\n{FUTURE}\n");
    text.push_str("from collections.abc import Iterable\nfrom typing import Any, Literal\n\n");
    // At run time too: frameworks look at what signatures say.
    text.push_str("from ._native import (\n");
    for name in &native {
        let _ = writeln!(text, "    {name},");
    }
    text.push_str(")\nfrom ._values import BatchOperation, Name\n");
    text.push_str(if is_async {
        "from ._waiting import begun_by_the_handle\nfrom ._watch import Watch, WatchOpening\n"
    } else {
        "from ._sync_watch import Watch\n"
    });
    text.push_str("\n\n");
    if is_async {
        text.push_str("@begun_by_the_handle\n");
    }
    text.push_str("class Operations:\n");
    text.push_str("    \"\"\"One method for each operation.\"\"\"\n\n    __slots__ = ()\n\n");
    let _ = writeln!(text, "    _handle: {handle}");
    for operation in Operation::ALL {
        push_method(&mut text, *operation, is_async, &shapes)?;
    }
    Ok(text)
}

fn push_method(
    text: &mut String,
    operation: Operation,
    is_async: bool,
    shapes: &Shapes,
) -> Result<(), String> {
    let (request, result) = operation.type_names();
    let (required, positional, keyword) = arguments(shapes.get(request)?);
    let all: Vec<&Member> = required.iter().chain(&positional).chain(&keyword).copied().collect();
    let mut parameters = vec!["self".to_owned()];
    parameters.extend(required.iter().chain(&positional).map(|m| parameter(m, shapes, true)));
    if !keyword.is_empty() {
        parameters.push("*".to_owned());
    }
    parameters.extend(keyword.iter().map(|m| parameter(m, shapes, true)));
    let is_watch = operation.name().starts_with("watch_");
    let kind = match (is_watch, is_async) {
        (true, true) => format!("WatchOpening[{result}]"),
        (true, false) => format!("Watch[{result}]"),
        (false, _) => result.to_owned(),
    };
    let word = if is_async && !is_watch { "async def" } else { "def" };
    text.push('\n');
    push_signature(text, word, operation.name(), &parameters, &kind, "");
    push_method_doc(text, operation, &all, shapes.get(result)?);
    let names: Vec<&str> = all.iter().map(|member| member.name.as_str()).collect();
    let call = |indent: usize| {
        let space = " ".repeat(indent);
        let line = format!("self._handle.{}({})", operation.name(), names.join(", "));
        if space.len() + line.len() + 20 <= 100 {
            return line;
        }
        let one = format!("{space}    {}", names.join(", "));
        let arguments = if one.len() <= 100 {
            format!("{one}\n")
        } else {
            names.iter().map(|name| format!("{space}    {name},\n")).collect()
        };
        format!("self._handle.{}(\n{arguments}{space})", operation.name())
    };
    match (is_watch, is_async) {
        (false, true) => {
            let _ = writeln!(text, "        return await {}", call(8));
        }
        (false, false) => {
            let _ = writeln!(text, "        return {}", call(8));
        }
        (true, true) => {
            let _ = write!(
                text,
                "        return WatchOpening(\n            self,\n            lambda: {},\n        )\n",
                call(12)
            );
        }
        (true, false) => {
            let _ = write!(
                text,
                "        return Watch(\n            self,\n            {},\n        )\n",
                call(12)
            );
        }
    }
    Ok(())
}

fn push_method_doc(text: &mut String, operation: Operation, all: &[&Member], result: &Shape) {
    let space = "        ";
    let _ = writeln!(text, "{space}\"\"\"{}", wrapped(operation.doc(), space, 86));
    if !all.is_empty() {
        let _ = writeln!(text, "\n{space}Args:");
        for member in all {
            let line = format!("{}: {}", member.name, member.doc);
            let _ = writeln!(text, "{space}    {}", wrapped(&line, &" ".repeat(16), 82));
        }
    }
    let _ = writeln!(text, "\n{space}Returns:");
    let _ = writeln!(text, "{space}    {}", wrapped(&result.doc, &" ".repeat(12), 82));
    let _ = writeln!(text, "{space}\"\"\"");
}

/// `python/rstmdb/_names.py`: the names of errors and operations.
pub fn names() -> Result<String, String> {
    let mut text = format!("# {GENERATED_MARK}\n");
    text.push_str("\"\"\"The names of error codes, kinds, reasons and operations.\"\"\"\n\n");
    text.push_str(FUTURE);
    let _ = write!(text, "\nfrom enum import Enum\n\n__version__ = \"{}\"\n", version()?);
    text.push_str("\n\nclass ErrorCode(str, Enum):\n    \"\"\"What went wrong, as it travels on the wire.\"\"\"\n\n");
    for code in ErrorCode::ALL {
        let _ = writeln!(text, "    {0} = \"{0}\"", code.as_str());
    }
    text.push_str("\n\nclass Operation(str, Enum):\n    \"\"\"What can be asked of a database, by its name on the wire.\"\"\"\n\n");
    let protocol = ["HELLO", "AUTH", "BYE", "UNWATCH"];
    for name in Operation::ALL.iter().map(|operation| operation.wire_name()).chain(protocol) {
        let _ = writeln!(text, "    {name} = \"{name}\"");
    }
    text.push_str("\n\nKINDS = (\n");
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "    \"{}\",", kind.as_str());
    }
    text.push_str(")\n\nREASONS = (\n");
    for (name, _) in reason::ALL {
        let _ = writeln!(text, "    \"{name}\",");
    }
    text.push_str(")\n\nOPERATIONS = (\n");
    for operation in Operation::ALL {
        let _ = writeln!(text, "    \"{}\",", operation.name());
    }
    text.push_str(")\n");
    Ok(text)
}

/// `python/rstmdb/types.py`: the classes of results and of operations of a batch.
pub fn types() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut names: Vec<String> = result_classes(&shapes)?.into_keys().collect();
    names.extend(entry_classes(&shapes)?.into_iter().map(|(name, _)| name));
    names.extend(batch_classes(&shapes)?.into_iter().map(|(name, _)| name));
    names.sort_unstable();
    let mut text = format!("# {GENERATED_MARK}\n");
    text.push_str(concat!(
        "\"\"\"The types of results, and of the operations of a batch.\n\n",
        "They are frozen. Each has `to_dict()` and `to_json()`, compares by value, can be pickled and used in\n",
        "`match`. Lists of rows can be looped over, indexed, and turned into a table with `to_arrow()` or\n",
        "`to_pandas()`. Contexts, payloads and definitions are plain Python values, converted when they are\n",
        "asked for first.\n\"\"\"\n\n",
        "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING, Union\n\nfrom ._native import (\n",
    ));
    for name in &names {
        let _ = writeln!(text, "    {name},");
    }
    text.push_str(concat!(
        ")\nfrom ._values import BatchOperation, Name\n\nif TYPE_CHECKING:\n",
        "    from ._native import BatchOperationResult as BatchOperationResult\n",
        "    from ._native import WalEntry as WalEntry\nelse:\n",
    ));
    let entries: Vec<_> = entry_classes(&shapes)?.into_iter().map(|(name, _)| name).collect();
    let members = &shapes.get("BatchOperationResult")?.members;
    let results: Vec<_> = members.iter().map(|member| member.kind.clone()).collect();
    for (alias, members) in [("BatchOperationResult", results), ("WalEntry", entries)] {
        let _ = writeln!(text, "    {alias} = Union[{}]", members.join(", "));
    }
    text.push_str("\n__all__ = [\n");
    names.extend(["BatchOperation".to_owned(), "Name".to_owned()]);
    names.sort_unstable();
    for name in &names {
        let _ = writeln!(text, "    \"{name}\",");
    }
    text.push_str("]\n");
    Ok(text)
}

fn version() -> Result<String, String> {
    let path = tree::root().join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).map_err(|e| format!("Cargo.toml: {e}"))?;
    let (_, package) = manifest.split_once("[workspace.package]").unwrap_or_default();
    let version = package.lines().find_map(|line| line.strip_prefix("version = "));
    version
        .map(|version| version.trim_matches('"').to_owned())
        .ok_or_else(|| "Cargo.toml: [workspace.package] has no version".to_owned())
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_row_a_stub_and_two_methods() {
        let (native, stubs) = (native().unwrap(), stubs().unwrap());
        let methods = [async_operations().unwrap(), sync_operations().unwrap()];
        for operation in Operation::ALL {
            let name = operation.name();
            assert!(native.contains(&format!("        {name}(")), "{name}");
            // A member of a result may have the name too.
            let methods_and_members = stubs.matches(&format!("    def {name}(")).count();
            let members = stubs.matches(&format!("    @property\n    def {name}(")).count();
            assert_eq!(methods_and_members - members, 2, "{name}");
            assert!(methods.iter().all(|text| text.contains(&format!("def {name}("))), "{name}");
        }
        assert!(methods[0].contains("    async def ping(self) -> PingResult:\n"));
        assert!(methods[1].contains("    def ping(self) -> PingResult:\n"));
    }

    #[test]
    fn waiting_is_left_out() {
        assert!(!sync().unwrap().contains("await"));
        assert!(!sync_watch().unwrap().contains("async"));
    }

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrapped("one two three", "  ", 7), "one two\n  three");
        assert_eq!(camel("put_machine"), "PutMachine");
    }
}
