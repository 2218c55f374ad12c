//! `addon.ts`: the functions of the addon, read from the crate that makes them.

use std::fmt::Write as _;

use super::{camel, doc, finish, head};
use crate::tree;

/// `node/src/addon.ts`: the functions of the addon, read from the crate that makes them.
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

pub(super) fn native_function(signature: &str, is_constructor: bool) -> Result<String, String> {
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
        "String" | "&str" | "&'static str" | "JsString<'env>" => "string".into(),
        "bool" => "boolean".into(),
        "u32" | "i32" | "f64" | "i64" => "number".into(),
        "TextOrTicket" | "Given<'env>" => "string | number".into(),
        "GivenOrKept<'env>" => "NativeResults | string | number".into(),
        "Complete<'_>" => "(tickets: number[], answers: string[]) => void".into(),
        "Logger<'_>" => "(lines: string[]) => void".into(),
        "Self" => "this".into(),
        other => match other.strip_prefix('&') {
            Some(class) if class.chars().all(char::is_alphanumeric) => class.into(),
            _ => return Err(format!("no TypeScript type is known for {other}")),
        },
    })
}
