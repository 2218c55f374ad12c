//! The generated part of the TypeScript package: its types, how they travel, one method for each
//! operation, and the types of the native addon.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, ErrorKind, Operation};

use super::source::{Member, Shape, Shapes};
use crate::tidy::GENERATED_MARK;
use crate::tree;

/// Members that hold a state, an event and so on of one machine; a machine that is known to the
/// compiler narrows them.
const NARROWED: &[(&str, &str, &str)] = &[
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
enum Side {
    Request,
    Result,
}

/// `node/src/types.ts`.
pub fn types() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("What goes in and what comes out of every operation.");
    text.push_str(
        "import type { RstmdbError } from './errors.js';\n\
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
    for (constant, name, doc, rows) in [
        ("ERROR_KINDS", "ErrorKind", "What the caller should do about an error.", rows(&kinds)),
        ("ERROR_CODES", "ErrorCode", "What went wrong, as it travels on the wire.", rows(&codes)),
        ("ERROR_REASONS", "ErrorReason", "The finer distinctions within a code.", rows(&reasons)),
    ] {
        let _ = writeln!(
            text,
            "/** {doc} */\nexport const {constant} = Object.freeze([{rows}\n] as const);\n\n\
             /** {doc} */\nexport type {name} = (typeof {constant})[number];\n"
        );
    }
}

/// Every type that requests and results mention, in the order they are met.
fn reachable(shapes: &Shapes) -> Result<Vec<(String, Side)>, String> {
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
        text.push_str(";\n\n");
        return Ok(());
    }
    if let Some(member) = transparent(shape) {
        let kind = kind(shapes, name, member, side);
        let generic = generics(shapes, name);
        let _ = writeln!(text, "export type {title}{generic} = {kind};\n");
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

/// The TypeScript type of a member.
fn kind(shapes: &Shapes, owner: &str, member: &Member, side: Side) -> String {
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

fn plain(shapes: &Shapes, kind: &str, owner: &str) -> String {
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

/// The one member that stands for the whole on the wire.
fn transparent(shape: &Shape) -> Option<&Member> {
    shape.members.first().filter(|_| shape.is_transparent)
}

fn generics(shapes: &Shapes, name: &str) -> &'static str {
    if is_generic(shapes, name) { "<M extends MachineTypes = AnyMachine>" } else { "" }
}

/// Whether a machine that is known to the compiler narrows the type.
fn is_generic(shapes: &Shapes, name: &str) -> bool {
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
fn is_present(member: &Member, side: Side) -> bool {
    match side {
        Side::Request => member.required,
        // An empty list may be left out on the wire; readers get the empty list.
        Side::Result => {
            member.required || item(&member.kind).is_some() || member.kind == "InstanceEventKind"
        }
    }
}

/// `node/src/codec.ts`.
pub fn codec() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("How requests and results are written on the wire, and every operation.");
    text.push_str(
        "import { decodeError } from './errors.js';\n\
         import { type Members, type Spec, encodeTagged } from './spec.js';\n\
         import type * as types from './types.js';\n\n\
         /** Parsed JSON of a known shape. */\n\
         type Wire = any;\n\n",
    );
    let mut all = reachable(&shapes)?;
    // What another one needs stands before it.
    all.reverse();
    all.sort_by_key(|(name, _)| name == "BatchRequest");
    for (name, side) in &all {
        let shape = shapes.get(name)?;
        match side {
            Side::Request if !shape.is_enum => members(&mut text, &shapes, name, shape),
            Side::Result if name == "BatchOutcome" => text.push_str(
                "function decodeBatchOutcome(w: Wire): types.BatchOutcome {\n  return w.status === \
                 'ok'\n    ? { status: 'ok', result: decodeBatchOperationResult(w.result) }\n    : \
                 { status: 'error', error: decodeError(w.error) };\n}\n\n",
            ),
            Side::Result if shape.is_enum => decode_enum(&mut text, &shapes, name, shape)?,
            Side::Result => decode_struct(&mut text, &shapes, name, shape),
            Side::Request => {}
        }
    }
    text.push_str("/** How an event of a watch is read. */\nexport { decodeInstanceEvent };\n\n");
    text.push_str("/** Every operation. */\nexport const OPERATIONS = {\n");
    for operation in Operation::ALL {
        let (request, result) = operation.type_names();
        let required: Vec<String> = shapes
            .get(request)?
            .members
            .iter()
            .filter(|member| member.required)
            .map(|member| format!("'{}'", camel(&member.name)))
            .collect();
        let _ = writeln!(
            text,
            "  {}: {{\n    name: '{}',\n    number: {},\n    required: [{}],\n    members: \
             {request},\n    decode: decode{result},\n  }} satisfies Spec<types.{result}>,",
            camel(operation.name()),
            operation.wire_name(),
            *operation as i32,
            required.join(", "),
        );
    }
    text.push_str("} as const;\n");
    Ok(finish(text))
}

/// The members of a request, by their names here.
fn members(text: &mut String, shapes: &Shapes, name: &str, shape: &Shape) {
    let _ = writeln!(text, "const {name}: Members = {{\n  __proto__: null,");
    for member in &shape.members {
        let inner = item(&member.kind).and_then(|inner| shapes.0.get_key_value(inner));
        let wire = &member.name;
        let value = match inner {
            Some((inner, shape)) if shape.is_enum => {
                let rows: Vec<String> = shape
                    .members
                    .iter()
                    .map(|m| {
                        let name = camel(&m.name.to_lowercase());
                        format!("{name}: ['{}', {}]", m.name, m.kind)
                    })
                    .collect();
                let _ = inner;
                format!("['{wire}', encodeTagged({{ {} }})]", rows.join(", "))
            }
            _ => format!("'{wire}'"),
        };
        let _ = writeln!(text, "  {}: {value},", camel(wire));
    }
    text.push_str("};\n\n");
}

fn decode_struct(text: &mut String, shapes: &Shapes, name: &str, shape: &Shape) {
    let title = title(name);
    if let Some(member) = transparent(shape) {
        let value = read(shapes, member).replace(&format!("w.{}", member.name), "w");
        let _ = writeln!(
            text,
            "function decode{title}(w: Wire): types.{title} {{\n  return {value};\n}}\n"
        );
        return;
    }
    let arg = if shape.members.is_empty() { "_w" } else { "w" };
    let _ = writeln!(text, "function decode{title}({arg}: Wire): types.{title} {{");
    text.push_str("  const r: Wire = {\n");
    if let Some((_, tag)) = name.split_once(':') {
        let _ = writeln!(text, "    type: '{tag}',");
    }
    for member in shape.members.iter().filter(|member| is_present(member, Side::Result)) {
        let value = read(shapes, member);
        let _ = writeln!(text, "    {}: {value},", camel(&member.name));
    }
    text.push_str("  };\n");
    for member in shape.members.iter().filter(|member| !is_present(member, Side::Result)) {
        let (value, key) = (read(shapes, member), &member.name);
        let _ = writeln!(text, "  if (w.{key} !== undefined) r.{} = {value};", camel(key));
    }
    text.push_str("  return r;\n}\n\n");
}

/// The expression that reads a member of `w`.
fn read(shapes: &Shapes, member: &Member) -> String {
    let key = &member.name;
    match item(&member.kind) {
        Some(inner) if shapes.0.contains_key(inner) => {
            let list =
                if member.required { format!("w.{key}") } else { format!("(w.{key} ?? [])") };
            format!("{list}.map(decode{})", title(inner))
        }
        Some(_) if !member.required => format!("w.{key} ?? []"),
        Some(_) => format!("w.{key}"),
        None => match member.kind.as_str() {
            "TimestampMs" => format!("new Date(Number(w.{key}))"),
            kind if shapes.0.get(kind).is_some_and(|shape| {
                !shape.is_enum
                    || shape.is_untagged
                    || !shape.members.iter().all(|m| m.kind.is_empty())
            }) =>
            {
                format!("decode{}(w.{key})", title(kind))
            }
            _ => format!("w.{key}"),
        },
    }
}

fn decode_enum(
    text: &mut String,
    shapes: &Shapes,
    name: &str,
    shape: &Shape,
) -> Result<(), String> {
    if shape.members.iter().all(|member| member.kind.is_empty()) {
        return Ok(());
    }
    let title = title(name);
    let _ = writeln!(text, "function decode{title}(w: Wire): types.{title} {{");
    if shape.is_untagged {
        let mut fallback = None;
        for member in &shape.members {
            let decode = format!("return decode{}(w);", self::title(&member.kind));
            match unique_member(shapes, shape, member)? {
                Some(own) => {
                    let _ = writeln!(text, "  if (w.{own} !== undefined) {decode}");
                }
                None if fallback.is_none() => fallback = Some(decode),
                None => return Err(format!("{name} has two variants that nothing tells apart")),
            }
        }
        let fallback = fallback.ok_or_else(|| format!("{name} has no variant for the rest"))?;
        let _ = writeln!(text, "  {fallback}");
    } else {
        text.push_str("  switch (w.type) {\n");
        for member in &shape.members {
            let decode = self::title(&member.kind);
            let _ = writeln!(text, "    case '{}':\n      return decode{decode}(w);", member.name);
        }
        // A newer server may have more.
        text.push_str("    default:\n      return w;\n  }\n");
    }
    text.push_str("}\n\n");
    Ok(())
}

/// A member that this variant always has and no other one.
fn unique_member(
    shapes: &Shapes,
    shape: &Shape,
    variant: &Member,
) -> Result<Option<String>, String> {
    let mut others = BTreeSet::new();
    for other in shape.members.iter().filter(|other| other.name != variant.name) {
        others.extend(shapes.get(&other.kind)?.members.iter().map(|member| member.name.as_str()));
    }
    let own = shapes.get(&variant.kind)?.members.iter();
    Ok(own
        .filter(|member| member.required)
        .map(|member| member.name.clone())
        .rfind(|name| !others.contains(name.as_str())))
}

/// `node/src/operations.ts`.
pub fn operations() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("One method for each operation.");
    text.push_str(
        "import { OPERATIONS } from './codec.js';\n\
         import type { EventOf, MachineDefinition, MachineTypes, AnyMachine } from \
         './machine.js';\n\
         import type { CallOptions, Rest, Spec } from './spec.js';\n\
         import type * as types from './types.js';\n\
         import type { Watch } from './watch.js';\n\n\
         /** The operations of a database. `Database` extends it. */\n\
         export abstract class Operations {\n\
         \x20 /** @internal */\n  protected abstract invoke<R>(spec: Spec<R>, args: readonly \
         unknown[]): Promise<R>;\n\n\
         \x20 /** @internal */\n  protected abstract follow<R>(spec: Spec<R>, args: readonly \
         unknown[]): Promise<Watch<R>>;\n",
    );
    for operation in Operation::ALL {
        method(&mut text, &shapes, *operation)?;
    }
    text.push_str("}\n");
    Ok(finish(text))
}

fn method(text: &mut String, shapes: &Shapes, operation: Operation) -> Result<(), String> {
    let (request, result) = operation.type_names();
    let shape = shapes.get(request)?;
    let name = camel(operation.name());
    let is_watch = operation.name().starts_with("watch_");
    let generic = is_generic(shapes, request) || is_generic(shapes, result);
    let generics = if generic { "<M extends MachineTypes = AnyMachine>" } else { "" };
    let with =
        |name: &str| format!("types.{name}{}", if is_generic(shapes, name) { "<M>" } else { "" });
    let outcome = match (is_watch, generic) {
        (true, true) => format!("Watch<{}, M>", with(result)),
        (true, false) => format!("Watch<{}>", with(result)),
        (false, _) => with(result),
    };
    let required: Vec<&Member> = shape.members.iter().filter(|member| member.required).collect();
    let mut forms = Vec::new();
    if shape.members.is_empty() {
        forms.push("options?: CallOptions".to_owned());
    } else if required.is_empty() {
        forms.push(format!("request?: {}, options?: CallOptions", with(request)));
    } else {
        let mut form: String = required
            .iter()
            .map(|member| {
                let kind = kind(shapes, request, member, Side::Request);
                let kind = kind.replace("BatchOperation", "types.BatchOperation");
                let kind = if kind == "Offset" { "types.Offset".to_owned() } else { kind };
                format!("{}: {kind}, ", camel(&member.name))
            })
            .collect();
        let names: Vec<String> =
            required.iter().map(|member| format!("'{}'", camel(&member.name))).collect();
        let rest = if required.len() == shape.members.len() {
            "CallOptions".to_owned()
        } else {
            format!("Rest<{}, {}>", with(request), names.join(" | "))
        };
        let _ = write!(form, "options?: {rest}");
        forms.push(form);
        forms.push(format!("request: {}, options?: CallOptions", with(request)));
    }
    for form in forms {
        text.push('\n');
        doc(text, "  ", &method_doc(shapes, operation)?);
        let _ = writeln!(text, "  {name}{generics}({form}): Promise<{outcome}>;");
    }
    let (call, kind) = match is_watch {
        true => ("follow", format!("Promise<Watch<types.{result}>>")),
        false => ("invoke", format!("Promise<types.{result}>")),
    };
    let _ = writeln!(
        text,
        "  {name}(...args: unknown[]): {kind} {{\n    return this.{call}(OPERATIONS.{name}, \
         args);\n  }}"
    );
    Ok(())
}

fn method_doc(shapes: &Shapes, operation: Operation) -> Result<String, String> {
    let (_, result) = operation.type_names();
    let returns = &shapes.get(result)?.doc;
    let refused =
        if operation.can_fail() { "" } else { " A well-formed request is never refused." };
    Ok(format!("{}{refused}\n\n@returns {returns}", operation.doc()))
}

/// `node/src/native.d.ts`: the functions of the addon, read from the crate that makes them.
pub fn native() -> Result<String, String> {
    let mut text = head("The native addon, `bindings/node`.");
    for file in tree::text_files() {
        if !file.path.starts_with("bindings/node/src/") || !file.path.ends_with(".rs") {
            continue;
        }
        native_file(&mut text, &file.text)?;
    }
    Ok(finish(text))
}

fn native_file(text: &mut String, source: &str) -> Result<(), String> {
    let mut docs = String::new();
    let mut lines = source.lines();
    let mut marked = "";
    let mut open = false;
    let mut structs: Vec<(String, String)> = Vec::new();
    while let Some(raw) = lines.next() {
        let line = raw.trim();
        if let Some(words) = line.strip_prefix("///") {
            let _ = write!(docs, "{}{}", if docs.is_empty() { "" } else { " " }, words.trim());
            continue;
        }
        if line.starts_with("#[napi") {
            marked = line;
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        if !marked.is_empty() {
            let indent = if open { "  " } else { "" };
            if let Some(name) = line.strip_prefix("pub struct ") {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                structs.push((name.to_owned(), std::mem::take(&mut docs)));
            } else if let Some(name) = line.strip_prefix("impl ") {
                let name = name.trim_end_matches([' ', '{']);
                let about = structs.iter().find(|(known, _)| known == name);
                doc(text, "", about.map_or("", |(_, doc)| doc));
                let _ = writeln!(text, "export declare class {name} {{");
                open = true;
            } else if let Some(start) = line.strip_prefix("pub fn ") {
                let mut signature = start.to_owned();
                while !signature.ends_with('{') {
                    let Some(next) = lines.next() else { break };
                    signature.push_str(next.trim());
                }
                doc(text, indent, &docs);
                let made = native_function(&signature, marked.contains("constructor"))?;
                let _ = writeln!(
                    text,
                    "{}{made};",
                    if open { "  " } else { "export declare function " }
                );
            }
            docs.clear();
            marked = "";
            continue;
        }
        docs.clear();
        if open && raw == "}" {
            text.push_str("}\n\n");
            open = false;
        }
    }
    Ok(())
}

fn native_function(signature: &str, is_constructor: bool) -> Result<String, String> {
    let wrong = || format!("can't read the native function {signature}");
    let (name, rest) = signature.split_once('(').ok_or_else(wrong)?;
    let name = name.split('<').next().unwrap_or(name);
    let (args, result) = match rest.split_once(") -> ") {
        Some((args, result)) => (args, result.trim_end_matches([' ', '{'])),
        None => (rest.split(')').next().unwrap_or_default(), "()"),
    };
    let args: Vec<String> = split_args(args)
        .iter()
        .map(|arg| arg.trim())
        .filter(|arg| !arg.is_empty() && *arg != "&self" && !arg.starts_with("env: "))
        .map(|arg| {
            let (name, kind) = arg.split_once(": ").ok_or_else(wrong)?;
            Ok(format!("{}: {}", camel(name), native_kind(kind)?))
        })
        .collect::<Result<_, String>>()?;
    let args = args.join(", ");
    if is_constructor {
        return Ok(format!("constructor({args})"));
    }
    Ok(format!("{}({args}): {}", camel(name), native_kind(result)?))
}

/// Arguments apart, where a comma within `<…>` parts nothing.
fn split_args(args: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&args[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&args[start..]);
    parts
}

fn native_kind(kind: &str) -> Result<String, String> {
    let kind = kind.trim();
    let result = kind.strip_prefix("napi::Result<").or_else(|| kind.strip_prefix("Result<"));
    let kind = result.and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind);
    Ok(match kind {
        "()" => "void".into(),
        "String" | "&str" | "&'static str" => "string".into(),
        "bool" => "boolean".into(),
        "u32" | "i32" | "f64" | "i64" => "number".into(),
        "Outcome" => "string | number".into(),
        "Complete<'_>" => "(tickets: number[], answers: string[]) => void".into(),
        "Logger<'_>" => "(lines: string[]) => void".into(),
        "Self" => "this".into(),
        other => match other.strip_prefix('&') {
            Some(class) if class.chars().all(char::is_alphanumeric) => class.into(),
            _ => return Err(format!("no TypeScript type is known for {other}")),
        },
    })
}

fn head(what: &str) -> String {
    format!("// {GENERATED_MARK}\n\n/**\n * {what}\n *\n * @module\n */\n\n")
}

/// A doc comment; a line of its own for each tag.
fn doc(text: &mut String, indent: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    if !words.contains('\n') && words.len() + indent.len() < 90 {
        let _ = writeln!(text, "{indent}/** {words} */");
        return;
    }
    let _ = writeln!(text, "{indent}/**");
    for line in words.split('\n') {
        let mut width = 0;
        let _ = write!(text, "{indent} *");
        for word in line.split_whitespace() {
            if width + word.len() + indent.len() > 92 {
                let _ = write!(text, "\n{indent} *");
                width = 0;
            }
            let _ = write!(text, " {word}");
            width += word.len() + 1;
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{indent} */");
}

/// What a list holds.
fn item(kind: &str) -> Option<&str> {
    kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>'))
}

/// `WalEntry:put_machine` is `WalEntryPutMachine`.
fn title(name: &str) -> String {
    let Some((name, tag)) = name.split_once(':') else { return name.to_owned() };
    let words = tag.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_uppercase())
    });
    std::iter::once(name.to_owned()).chain(words).collect()
}

/// `instance_id` is `instanceId`.
fn camel(name: &str) -> String {
    let mut text = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            text.extend(c.to_uppercase());
        } else {
            text.push(c);
        }
    }
    text
}

fn finish(mut text: String) -> String {
    while text.ends_with("\n\n") {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_in_typescript() {
        assert_eq!(camel("last_wal_offset"), "lastWalOffset");
        assert_eq!(title("WalEntry:put_machine"), "WalEntryPutMachine");
        assert_eq!(title("IoStats"), "IoStats");
    }

    #[test]
    fn every_operation_has_types_a_codec_and_a_method() {
        let (types, codec, operations) =
            (types().unwrap(), codec().unwrap(), operations().unwrap());
        for operation in Operation::ALL {
            let (request, result) = operation.type_names();
            assert!(types.contains(&format!("export interface {request}")), "{request}");
            assert!(types.contains(&format!("export interface {result}")), "{result}");
            let name = camel(operation.name());
            assert!(codec.contains(&format!("\n  {name}: {{\n")), "{name}");
            assert!(operations.contains(&format!("\n  {name}(...args")), "{name}");
        }
    }

    #[test]
    fn reads_native_functions() {
        let signature = "start(&self, operation: u32, request: String) -> Outcome {";
        let made = native_function(signature, false).unwrap();
        assert_eq!(made, "start(operation: number, request: string): string | number");
        assert!(native_function("odd(x: Vec<Vec<u8>>) {", false).is_err());
    }
}
