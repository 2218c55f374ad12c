//! `types.gen.go`: the requests and results as structs with tags, and the named values.

use super::{
    ENUM_PREFIXES, Field, Kind, Struct, comment, go_name, is_plain_enum, start, structs, type_name,
};
use crate::generate::source::Shapes;

/// The text of the file.
pub fn types() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut out = start("Requests, results and what they are made of.");
    out.push_str("\nimport (\n\t\"encoding/json\"\n\t\"time\"\n)\n");
    for (name, shape) in &shapes.0 {
        if is_plain_enum(shape) {
            let values: Vec<(&str, &str)> =
                shape.members.iter().map(|m| (m.name.as_str(), m.doc.as_str())).collect();
            out.push_str(&named(&type_name(name), prefix(name), &shape.doc, &values));
        }
    }
    let entries: Vec<(&str, &str)> =
        shapes.get("WalEntry")?.members.iter().map(|m| (m.name.as_str(), m.doc.as_str())).collect();
    out.push_str(&named("WALEntryType", "Entry", "What a log entry is about.", &entries));
    for structure in structs(&shapes)? {
        out.push_str(&declaration(&structure));
    }
    Ok(out)
}

fn prefix(name: &str) -> &str {
    ENUM_PREFIXES.iter().find(|(of, _)| *of == name).map_or(name, |(_, prefix)| prefix)
}

/// A string type and its values.
fn named(name: &str, prefix: &str, doc: &str, values: &[(&str, &str)]) -> String {
    let mut out = format!("\n{}type {name} string\n\nconst (\n", comment("", &about(name, doc)));
    for (index, (value, doc)) in values.iter().enumerate() {
        let constant = format!("{prefix}{}", go_name(value));
        if index > 0 {
            out.push('\n');
        }
        out.push_str(&comment("\t", &format!("{constant}: {}", lower(doc))));
        out.push_str(&format!("\t{constant} {name} = {value:?}\n"));
    }
    out + ")\n"
}

fn declaration(structure: &Struct) -> String {
    let Struct { name, doc, is_request, fields, .. } = structure;
    let mut out = format!("\n{}", comment("", &about(name, doc)));
    if fields.is_empty() {
        return out + &format!("type {name} struct{{}}\n");
    }
    out.push_str(&format!("type {name} struct {{\n"));
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        out.push_str(&comment("\t", &field_doc(field, *is_request)));
        let tag = if field.always_sent() { "" } else { ",omitempty" };
        let kind = field.go_type(*is_request);
        out.push_str(&format!("\t{} {kind} `json:\"{}{tag}\"`\n", field.go, field.json));
    }
    if structure.can_force() {
        let text = "ForceSendFields names fields that are sent although they have their zero value, such as \
                    \"InstanceID\" for the empty id. By default those that are optional are left out.";
        out.push_str(&format!(
            "\n{}\tForceSendFields []string `json:\"-\"`\n",
            comment("\t", text)
        ));
    }
    for field in fields.iter().filter(|field| field.has_raw(*is_request)) {
        out.push_str(&format!("\n\t// The text of {}.\n\traw{} string\n", field.go, field.go));
    }
    if !structure.tagged.is_empty() {
        out.push_str(
            "\n\t// The text of an entry whose Type is none of the constants.\n\traw string\n",
        );
    }
    if !structure.presence().is_empty() {
        out.push_str("\n\t// Which optional fields were there.\n\tpresent uint32\n");
    }
    out.push_str("}\n");
    out + &accessors(structure)
}

/// The methods that say what a field can't.
fn accessors(structure: &Struct) -> String {
    let Struct { name, is_request, fields, .. } = structure;
    let mut out = String::new();
    for field in fields.iter().filter(|field| field.has_raw(*is_request)) {
        let go = &field.go;
        let absent = if field.required { "" } else { "; nil when it is absent" };
        let text = format!(
            "Raw{go} is {go} as exact JSON text, also when it is not an object{absent}. See [Decode]."
        );
        out.push_str(&format!(
            "\n{}func (r *{name}) Raw{go}() json.RawMessage {{\n\treturn rawMessage(r.raw{go}, r.{go})\n}}\n",
            comment("", &text)
        ));
    }
    if !structure.tagged.is_empty() {
        let text = "Raw is the whole entry as exact JSON text when its Type is none of the constants: one that \
                    only newer versions know. Otherwise it is nil.";
        out.push_str(&format!(
            "\n{}func (r *{name}) Raw() json.RawMessage {{\n\tif r.raw == \"\" {{\n\t\treturn nil\n\t}}\n\t\
             return json.RawMessage(r.raw)\n}}\n",
            comment("", text)
        ));
    }
    let presence = structure.presence();
    if presence.is_empty() {
        return out;
    }
    let text = "Has reports whether an optional field was there, by its name: an empty string or a zero \
                alone does not tell.";
    out.push_str(&format!("\n{}func (r *{name}) Has(field string) bool {{\n", comment("", text)));
    out.push_str("\tswitch field {\n");
    for (bit, field) in presence.iter().enumerate() {
        let (go, is_set) = (&field.go, field.zero().unwrap_or_default());
        out.push_str(&format!(
            "\tcase {go:?}:\n\t\treturn {is_set} || r.present&(1<<{bit}) != 0\n"
        ));
    }
    out + "\t}\n\treturn false\n}\n"
}

fn field_doc(field: &Field, is_request: bool) -> String {
    let mut text = field.doc.clone();
    match field.kind {
        Kind::Json if is_request => {
            text.push_str(" Anything that encodes to JSON; json.RawMessage is taken as it is.");
        }
        Kind::Json => text.push_str(&format!(
            " Nil when it is not an object: see Raw{}. Integers are int64, or uint64 above its \
             range; other numbers are float64.",
            field.go
        )),
        Kind::Time => text = text.replace(", in milliseconds since 1970", ""),
        _ => {}
    }
    text
}

/// `ApplyEventResult is the transition that happened.`
fn about(name: &str, doc: &str) -> String {
    let joint = match doc.split(' ').next().unwrap_or_default() {
        "A" | "An" | "The" | "One" => " is",
        "What" | "Where" | "Which" | "Whether" => " says",
        "Asks" | "Names" => "",
        _ => ":",
    };
    format!("{name}{joint} {}", lower(doc))
}

/// A sentence as the rest of one.
pub(super) fn lower(doc: &str) -> String {
    let mut letters = doc.chars();
    let first = letters.next();
    let second = letters.clone().next();
    match first {
        Some(first) if second.is_none_or(|second| !second.is_uppercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => doc.to_owned(),
    }
}
