//! The reference pages: errors, operations, limits.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, ErrorKind, Limits, Operation};

use super::source::{Member, Shape, Shapes};
use crate::tidy::GENERATED_MARK;

/// The rows of one table; cells hold no line breaks.
pub(super) fn table(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let rule = vec!["---"; head.len()].join(" | ");
    let _ = writeln!(text, "| {} |\n| {rule} |", head.join(" | "));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
}

pub(super) fn page(title: &str, source: &str) -> String {
    format!("<!-- {GENERATED_MARK} from {source} -->\n\n# {title}\n\n")
}

pub(super) fn finish(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

pub(super) fn yes_no(yes: bool) -> String {
    if yes { "yes".into() } else { "no".into() }
}

/// `docs/reference/errors.md`.
pub fn errors() -> String {
    let mut text = page("Errors", "core/types/src/error.rs");
    text.push_str(
        "Every error has a `code`, a `kind`, a message and, where the code alone is too coarse, a \
         `reason`. The\n`context` names what was involved. Codes, kinds and reasons are stable; \
         messages are not. As JSON:\n\n```json\n",
    );
    let example = Error::new(ErrorCode::Conflict, "instance \"o-1\" is in state \"paid\"")
        .with_reason(reason::EXPECTED_STATE)
        .with_operation(Operation::ApplyEvent.wire_name())
        .with("instance_id", "o-1")
        .with("state", "paid");
    text.push_str(&serde_json::to_string_pretty(&example).unwrap());
    text.push_str("\n```\n\n## Kinds: what to do\n\nThe exit code is that of `rstmdb-cli`.\n\n");
    let rows: Vec<_> = ErrorKind::ALL
        .iter()
        .map(|kind| {
            vec![format!("`{}`", kind.as_str()), kind.doc().into(), kind.exit_code().to_string()]
        })
        .collect();
    table(&mut text, &["kind", "what to do", "exit code"], &rows);

    text.push_str(
        "## Codes: what went wrong\n\nRetryable means that the same request may succeed later \
         without a change.\n\n",
    );
    let rows: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            vec![
                (*code as i32).to_string(),
                format!("`{}`", code.as_str()),
                code.doc().into(),
                format!("`{}`", code.kind().as_str()),
                yes_no(code.retryable()),
            ]
        })
        .collect();
    table(&mut text, &["number", "code", "meaning", "kind", "retryable"], &rows);

    text.push_str(
        "## Reasons: which case of a code\n\nA reason can have another kind than its code.\n\n",
    );
    let rows: Vec<_> = reason::ALL
        .iter()
        .map(|(name, code)| {
            let error = Error::new(*code, "").with_reason(name);
            vec![
                format!("`{name}`"),
                format!("`{}`", code.as_str()),
                reason::doc(name).unwrap_or_default().into(),
                format!("`{}`", error.kind().as_str()),
                yes_no(error.retryable()),
            ]
        })
        .collect();
    table(&mut text, &["reason", "code", "meaning", "kind", "retryable"], &rows);
    finish(text)
}

/// The text, where the name of another page of the reference is a link to it.
pub(super) fn with_links(text: &str) -> String {
    const FOLDER: &str = "`docs/reference/";
    let mut parts = text.split(FOLDER);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(".md`") {
            Some((page, rest)) => out.push_str(&format!("[{page}]({page}.md){rest}")),
            None => out.push_str(&format!("{FOLDER}{part}")),
        }
    }
    out
}

/// `docs/reference/limits.md`.
pub fn limits() -> Result<String, String> {
    let mut text = page("Limits", "core/types/src/limits.rs");
    let shapes = Shapes::read()?;
    let _ = writeln!(
        text,
        "{} All can be set when a database is opened, with the \
         [option](options.md) `limits`.\nA request above one is refused with `BAD_REQUEST` and the reason `limit_exceeded`; \
         `context` names the limit.\n",
        shapes.get("Limits")?.doc
    );
    table(&mut text, &["limit", "meaning", "default"], &limit_rows(|_| true)?);
    Ok(finish(text))
}

/// Limits by their names: name, meaning, default.
pub(super) fn limit_rows(wanted: impl Fn(&str) -> bool) -> Result<Vec<Vec<String>>, String> {
    let shapes = Shapes::read()?;
    let defaults = serde_json::to_value(Limits::default()).map_err(|e| e.to_string())?;
    let members = shapes.get("Limits")?.members.iter().filter(|member| wanted(&member.name));
    members
        .map(|member| {
            let default = defaults.get(&member.name).ok_or(format!("no limit {}", member.name))?;
            Ok(vec![format!("`{}`", member.name), member.doc.clone(), default.to_string()])
        })
        .collect()
}

/// `docs/reference/operations.md`.
pub fn operations() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = page("Operations", "core/types/src/operation.rs and core/types/src/ops");
    text.push_str(
        "An operation has one name, spelled the way of each language: `apply_event` in Rust, \
         `APPLY_EVENT` on the\nwire. Its number is for interfaces that have no names. The columns \
         *type* below are JSON types. A member that\nis not required may be left out of a request, \
         and may be absent from a result.\n\n",
    );
    let rows: Vec<_> = Operation::ALL
        .iter()
        .map(|operation| {
            let name = operation.name();
            vec![
                (*operation as i32).to_string(),
                format!("[`{name}`](#{name})"),
                operation.access().name().into(),
                operation.doc().into(),
            ]
        })
        .collect();
    table(&mut text, &["number", "operation", "access", "what it does"], &rows);

    let mut types = Types { shapes: &shapes, mentioned: Vec::new(), seen: BTreeSet::new() };
    for operation in Operation::ALL {
        let (request, result) = operation.type_names();
        let _ = writeln!(text, "## {}\n\n{}", operation.name(), operation.doc());
        if !operation.can_fail() {
            text.push_str("A well-formed request is never refused.\n");
        }
        text.push('\n');
        types.section(&mut text, "Request", shapes.get(request)?);
        types.section(&mut text, "Result", shapes.get(result)?);
    }

    text.push_str("## Types\n\n");
    let mut next = 0;
    while let Some(name) = types.mentioned.get(next).cloned() {
        next += 1;
        let shape = shapes.get(&name)?;
        let _ = writeln!(text, "### {}\n", heading(&name));
        types.section(&mut text, "", shape);
    }
    Ok(finish(text))
}

/// Collects the types that members mention, in the order they are met.
struct Types<'a> {
    shapes: &'a Shapes,
    mentioned: Vec<String>,
    seen: BTreeSet<String>,
}

impl Types<'_> {
    fn section(&mut self, text: &mut String, role: &str, shape: &Shape) {
        let lead = if role.is_empty() { String::new() } else { format!("**{role}.** ") };
        let _ = writeln!(text, "{lead}{}\n", shape.doc);
        if shape.members.is_empty() {
            text.push_str("No members.\n\n");
            return;
        }
        let rows: Vec<_> = shape.members.iter().map(|member| self.row(member, shape)).collect();
        let head: &[&str] = match (shape.is_enum, shape.is_untagged) {
            (true, true) => &["type", "meaning"],
            (true, false) => &["value", "type", "meaning"],
            _ => &["member", "type", "required", "meaning"],
        };
        table(text, head, &rows);
        if shape.is_open {
            text.push_str("A newer server may have others; they are passed on as they come.\n\n");
        }
    }

    fn row(&mut self, member: &Member, shape: &Shape) -> Vec<String> {
        let mut row = Vec::new();
        if !shape.is_untagged {
            row.push(format!("`{}`", member.name));
        }
        row.push(if member.kind.is_empty() { "string".into() } else { self.kind(&member.kind) });
        if !shape.is_enum {
            row.push(yes_no(member.required));
        }
        row.push(with_links(&member.doc));
        row
    }

    /// The JSON type of a Rust type, with a link where there is more to say.
    fn kind(&mut self, kind: &str) -> String {
        if let Some(inner) = kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>')) {
            return format!("list of {}", self.kind(inner));
        }
        let takes_part = |operation: &&Operation| {
            let (request, result) = operation.type_names();
            kind == request || kind == result
        };
        if let Some(operation) = Operation::ALL.iter().find(takes_part) {
            return format!("[{kind}](#{})", operation.name());
        }
        match kind {
            "Text" | "String" => "string".into(),
            "bool" => "boolean".into(),
            "u32" | "u64" | "usize" | "Offset" | "TimestampMs" => "integer".into(),
            "Json" => "any JSON".into(),
            "Error" | "ErrorCode" => format!("[{kind}](errors.md)"),
            "Limits" => format!("[{kind}](limits.md)"),
            other if self.shapes.0.contains_key(other) => {
                if self.seen.insert(other.to_owned()) {
                    self.mentioned.push(other.to_owned());
                }
                let title = heading(other);
                format!("[{title}](#{})", title.to_lowercase().replace(' ', "-"))
            }
            other => format!("`{other}`"),
        }
    }
}

/// `WalEntry:apply_event` is an entry of that `type`.
fn heading(name: &str) -> String {
    name.replace(':', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_the_tables() {
        let errors = errors();
        for code in ErrorCode::ALL {
            assert!(errors.contains(&format!("`{}`", code.as_str())), "{code}");
        }
        let operations = operations().unwrap();
        for operation in Operation::ALL {
            assert!(operations.contains(&format!("\n## {}\n", operation.name())));
        }
        assert!(limits().unwrap().contains("| `name_bytes_max` |"));
    }

    #[test]
    fn cells_escape_bars() {
        let mut text = String::new();
        table(&mut text, &["a"], &[vec!["x|y".into()]]);
        assert_eq!(text, "| a |\n| --- |\n| x\\|y |\n\n");
    }
}
