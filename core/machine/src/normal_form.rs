//! The normal form of a definition and its checksum, byte for byte those of the existing server.
//!
//! The checksum is the CRC-32C of the compact JSON text with members in the order `states, initial,
//! transitions, final, meta, merge`, each transition in the order `from, event, to, guard, always, merge,
//! actions`, each state that is an object in the order `name, entry, exit, meta`; what is empty is left
//! out, so a definition that uses nothing new has the checksum it always had.

use rstmdb_types::json::unescape;
use rstmdb_types::{Json, JsonRef, Text};

use crate::definition::{Definition, StateBody, WrittenTransition};

/// The normal form as canonical JSON (members sorted by name).
pub(crate) fn normal_form(definition: &Definition) -> Json {
    let mut out = String::with_capacity(256);
    out.push('{');
    if !definition.final_states.is_empty() {
        out.push_str("\"final\":");
        write_names(&definition.final_states, &mut out);
        out.push(',');
    }
    out.push_str("\"initial\":");
    write_string(&definition.initial, &mut out);
    if let Some(merge) = &definition.merge {
        write_member("merge", merge.json().as_str(), &mut out);
    }
    if let Some(meta) = &definition.meta {
        out.push_str(",\"meta\":");
        out.push_str(meta);
    }
    out.push_str(",\"states\":");
    let order = ["entry", "exit", "meta", "name"];
    write_states(definition, order, |text, out| out.push_str(text), &mut out);
    out.push_str(",\"transitions\":");
    write_list(&definition.transitions, &mut out, |transition, out| {
        let WrittenTransition { from, event, to, merge, written, .. } = transition;
        out.push('{');
        if let Some(actions) = written {
            write_member("actions", actions, out);
        }
        match event {
            Some(event) => write_member("event", &quoted(event), out),
            None => write_member("always", "true", out),
        }
        out.push_str(",\"from\":");
        write_names(from, out);
        write_guard(transition, out);
        if let Some(merge) = merge {
            write_member("merge", merge.json().as_str(), out);
        }
        if let Some(to) = to {
            write_member("to", &quoted(to), out);
        }
        out.push('}');
    });
    out.push('}');
    Json::from_canonical(&out)
}

/// The checksum: 8 lower-case hex digits.
pub(crate) fn checksum(definition: &Definition) -> String {
    format!("{:08x}", crc32c::crc32c(checksum_text(definition).as_bytes()))
}

/// The text the checksum is taken of.
fn checksum_text(definition: &Definition) -> String {
    let mut out = String::with_capacity(256);
    out.push_str("{\"states\":");
    write_states(definition, ["name", "entry", "exit", "meta"], write_by_keys, &mut out);
    out.push_str(",\"initial\":");
    write_string(&definition.initial, &mut out);
    out.push_str(",\"transitions\":");
    write_list(&definition.transitions, &mut out, |transition, out| {
        let WrittenTransition { from, event, to, merge, written, .. } = transition;
        out.push_str("{\"from\":");
        write_names(from, out);
        if let Some(event) = event {
            write_member("event", &quoted(event), out);
        }
        if let Some(to) = to {
            write_member("to", &quoted(to), out);
        }
        write_guard(transition, out);
        if event.is_none() {
            write_member("always", "true", out);
        }
        if let Some(merge) = merge {
            write_member("merge", merge.json().as_str(), out);
        }
        if let Some(actions) = written {
            out.push_str(",\"actions\":");
            write_by_keys(actions, out);
        }
        out.push('}');
    });
    if !definition.final_states.is_empty() {
        out.push_str(",\"final\":");
        write_names(&definition.final_states, &mut out);
    }
    if let Some(meta) = &definition.meta {
        out.push_str(",\"meta\":");
        write_by_keys(meta, &mut out);
    }
    if let Some(merge) = &definition.merge {
        write_member("merge", merge.json().as_str(), &mut out);
    }
    out.push('}');
    out
}

/// Writes canonical text with its members sorted by the keys themselves.
fn write_by_keys(text: &str, out: &mut String) {
    // Canonical text is sorted by escaped keys: the two orders can differ only when there is an escape.
    if text.contains('\\') {
        write_sorted(Json::from_canonical(text).root(), out);
    } else {
        out.push_str(text);
    }
}

/// Writes the states: those that have more than a name as objects, with their members in this order.
fn write_states(
    definition: &Definition,
    order: [&str; 4],
    write: fn(&str, &mut String),
    out: &mut String,
) {
    let nothing = StateBody::default();
    let bodies = definition.bodies.iter().chain(std::iter::repeat(&nothing));
    let states: Vec<_> = definition.states.iter().zip(bodies).collect();
    write_list(&states, out, |(name, body), out| {
        if body.is_empty() {
            return write_string(name, out);
        }
        let [entry, exit, meta] = &body.written;
        out.push('{');
        for key in order {
            let value = match key {
                "entry" => entry.clone(),
                "exit" => exit.clone(),
                "meta" => meta.clone(),
                _ => Some(quoted(name)),
            };
            let Some(value) = value else { continue };
            let mut text = String::new();
            write(&value, &mut text);
            write_member(key, &text, out);
        }
        out.push('}');
    });
}

/// Writes a member, behind a comma where it is not the first.
fn write_member(key: &str, value: &str, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(key);
    out.push_str("\":");
    out.push_str(value);
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

fn write_guard(transition: &WrittenTransition, out: &mut String) {
    if let Some(guard) = &transition.guard {
        out.push_str(",\"guard\":");
        write_string(guard.text(), out);
    }
}

fn write_names(names: &[Text], out: &mut String) {
    write_list(names, out, |name, out| write_string(name, out));
}

fn write_list<T>(items: &[T], out: &mut String, write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

fn write_string(text: &str, out: &mut String) {
    // Serialising a string to JSON text can't fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Writes a value with the members of its objects in the byte order of the unescaped keys.
///
/// Recursion is bounded: JSON nests at most `JSON_DEPTH_MAX` deep.
fn write_sorted(value: JsonRef<'_>, out: &mut String) {
    match value {
        JsonRef::Array(_) => {
            out.push('[');
            for (i, item) in value.elements().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        JsonRef::Object(_) => {
            let mut members: Vec<_> =
                value.members().map(|member| (unescape(member.raw_key), member)).collect();
            members.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push('{');
            for (i, (_, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push('"');
                out.push_str(member.raw_key);
                out.push_str("\":");
                write_sorted(member.value(), out);
            }
            out.push('}');
        }
        other => out.push_str(&other.text()),
    }
}
