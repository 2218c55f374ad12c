//! `_members.py`: what members of results are, for tables and for other frameworks.

use std::fmt::Write as _;

use super::super::source::{Member, Shapes};
use super::{batch_classes, element, entry_classes, page, result_classes};
use crate::tidy::GENERATED_MARK;

/// `python/rstmdb/_members.py`.
pub fn members() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let results = result_classes(&shapes)?;
    let mut text = format!("# {GENERATED_MARK}\n");
    text.push_str(concat!(
        "\"\"\"What the members of results are, and what rows the pages have.\"\"\"\n\n",
        "from __future__ import annotations\n\n",
        "# The members of each class: what they are, and whether they are always there.\n",
        "MEMBERS: dict[str, dict[str, tuple[str, bool]]] = {\n",
    ));
    for (name, shape) in &results {
        push_class(&mut text, name, &shape.members, &shapes);
    }
    for (name, shape) in entry_classes(&shapes)? {
        push_class(&mut text, &name, &shape.members, &shapes);
    }
    for (name, _) in batch_classes(&shapes)? {
        let of = |name: &str, form: &str| (name.to_owned(), form.to_owned());
        push_rows(&mut text, &name, [(of("op", "text"), true), (of("params", "json"), true)]);
    }
    text.push_str("}\n\n# The class of the rows of each page.\nROWS = {\n");
    for (name, shape) in &results {
        let list =
            page(shape, &shapes).and_then(|page| shape.members.iter().find(|m| m.name == page));
        if let Some(list) = list {
            let _ = writeln!(text, "    \"{name}\": \"{}\",", element(&list.kind));
        }
    }
    text.push_str("}\n");
    Ok(text)
}

fn push_class(text: &mut String, name: &str, members: &[Member], shapes: &Shapes) {
    let rows = members.iter().map(|member| {
        ((member.name.clone(), form(&member.kind, shapes).to_owned()), member.required)
    });
    push_rows(text, name, rows);
}

fn push_rows(
    text: &mut String,
    name: &str,
    rows: impl IntoIterator<Item = ((String, String), bool)>,
) {
    let _ = writeln!(text, "    \"{name}\": {{");
    for ((member, form), required) in rows {
        let required = if required { "True" } else { "False" };
        let _ = writeln!(text, "        \"{member}\": (\"{form}\", {required}),");
    }
    text.push_str("    },\n");
}

/// What a member is, in few words.
fn form(kind: &str, shapes: &Shapes) -> &'static str {
    match kind {
        "Text" | "String" | "ErrorCode" => "text",
        "bool" => "bool",
        "u32" | "u64" | "usize" | "Offset" => "int",
        "TimestampMs" => "time",
        "Vec<u32>" | "Vec<u64>" => "ints",
        "Vec<Text>" | "Vec<String>" => "texts",
        _ => match shapes.0.get(kind) {
            Some(shape) if shape.is_enum && shape.members.iter().all(|m| m.kind.is_empty()) => {
                "text"
            }
            _ => "json",
        },
    }
}
