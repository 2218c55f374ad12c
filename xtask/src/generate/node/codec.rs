//! `codec.ts`: how requests and results are written on the wire.

use std::fmt::Write as _;

use rstmdb_types::Operation;

use super::shape::{Side, is_present, reachable};
use super::{camel, finish, head, item, title};
use crate::generate::source::{Member, Shape, Shapes};

/// `node/src/codec.ts`.
pub fn codec() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("How requests and results are written on the wire, and every operation.");
    text.push_str(
        "import { decodeError } from './errors.js';\n\
         import type { Members, Spec } from './spec.js';\n\
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
                format!("['{wire}', {{ __proto__: null, {} }}]", rows.join(", "))
            }
            _ => format!("'{wire}'"),
        };
        let _ = writeln!(text, "  {}: {value},", camel(wire));
    }
    text.push_str("};\n\n");
}

fn decode_struct(text: &mut String, shapes: &Shapes, name: &str, shape: &Shape) {
    let title = title(name);
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
            let decode = format!("return decode{}(w);", super::title(&member.kind));
            match shapes.own_member(shape, member)? {
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
            let decode = super::title(&member.kind);
            let _ = writeln!(text, "    case '{}':\n      return decode{decode}(w);", member.name);
        }
        text.push_str("    default:\n      return { type: 'other', raw: w };\n  }\n");
    }
    text.push_str("}\n\n");
    Ok(())
}
