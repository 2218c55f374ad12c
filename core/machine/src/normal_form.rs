//! The normal form of a definition and its checksum, byte for byte those of the existing server.
//!
//! The checksum is the CRC-32C of the compact JSON text with members in the order `states, initial,
//! transitions, final, meta`, each transition in the order `from, event, to, guard`; `guard`,
//! `final` and `meta` are left out when empty, so a definition without `final` has the checksum it
//! always had.

use rstmdb_types::json::unescape;
use rstmdb_types::{Json, JsonRef, Text};

use crate::definition::{Definition, WrittenTransition};

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
    if let Some(meta) = &definition.meta {
        out.push_str(",\"meta\":");
        out.push_str(meta);
    }
    out.push_str(",\"states\":");
    write_names(&definition.states, &mut out);
    out.push_str(",\"transitions\":");
    write_list(&definition.transitions, &mut out, |transition, out| {
        out.push_str("{\"event\":");
        write_string(&transition.event, out);
        out.push_str(",\"from\":");
        write_names(&transition.from, out);
        write_guard(transition, out);
        out.push_str(",\"to\":");
        write_string(&transition.to, out);
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
    write_names(&definition.states, &mut out);
    out.push_str(",\"initial\":");
    write_string(&definition.initial, &mut out);
    out.push_str(",\"transitions\":");
    write_list(&definition.transitions, &mut out, |transition, out| {
        out.push_str("{\"from\":");
        write_names(&transition.from, out);
        out.push_str(",\"event\":");
        write_string(&transition.event, out);
        out.push_str(",\"to\":");
        write_string(&transition.to, out);
        write_guard(transition, out);
        out.push('}');
    });
    if !definition.final_states.is_empty() {
        out.push_str(",\"final\":");
        write_names(&definition.final_states, &mut out);
    }
    if let Some(meta) = &definition.meta {
        out.push_str(",\"meta\":");
        // Canonical text is sorted by escaped keys, the checksum's by the keys themselves: the
        // two orders can differ only when there is an escape.
        if meta.contains('\\') {
            write_sorted(Json::from_canonical(meta).root(), &mut out);
        } else {
            out.push_str(meta);
        }
    }
    out.push('}');
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
