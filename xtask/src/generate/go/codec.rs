//! `codec.gen.go`: how the structs become JSON and come from it, without reflection.

use super::{Field, Kind, Struct, start, structs};
use crate::generate::source::Shapes;

/// The text of the file.
pub fn codec() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut out = start("How requests and results become JSON and come from it.");
    out.push_str("\nimport \"strconv\"\n");
    for structure in structs(&shapes)? {
        out.push_str(&append(&structure));
        out.push_str(&decode(&structure));
        out.push_str(&interfaces(&structure.name));
    }
    Ok(out)
}

/// What encoding/json asks for.
fn interfaces(name: &str) -> String {
    format!(
        "\n// MarshalJSON implements json.Marshaler.\n\
         func (r {name}) MarshalJSON() ([]byte, error) {{ return r.appendJSON(nil) }}\n\
         \n// UnmarshalJSON implements json.Unmarshaler; integers stay exact.\n\
         func (r *{name}) UnmarshalJSON(text []byte) error {{\n\
         \td := decoder{{text: string(text)}}\n\tr.decode(&d)\n\treturn d.finish()\n}}\n"
    )
}

fn append(structure: &Struct) -> String {
    let Struct { name, fields, .. } = structure;
    let mut out = format!("\nfunc (r *{name}) appendJSON(b []byte) ([]byte, error) {{\n");
    if fields.is_empty() {
        return out + "\treturn append(b, \"{}\"...), nil\n}\n";
    }
    // Only values of any JSON and the sums can fail to be written.
    if fields.iter().any(can_fail) {
        out.push_str("\tvar err error\n");
    }
    if !structure.tagged.is_empty() {
        out.push_str("\tif r.raw != \"\" {\n\t\treturn append(b, r.raw...), nil\n\t}\n");
    }
    out.push_str("\tb = append(b, '{')\n");
    if !structure.tagged.is_empty() {
        return out + &append_tagged(structure) + "\treturn append(trimComma(b), '}'), nil\n}\n";
    }
    for field in fields {
        out.push_str(&append_field(structure, field, "\t"));
    }
    out + "\treturn append(trimComma(b), '}'), nil\n}\n"
}

/// An entry of the log has the members of its type and no others.
fn append_tagged(structure: &Struct) -> String {
    let mut out = String::new();
    let tag = structure.fields.iter().find(|field| field.json == "type");
    if let Some(field) = tag {
        out.push_str(&append_field(structure, field, "\t"));
    }
    out.push_str("\tswitch r.Type {\n");
    for (entry, members) in structure.tagged.iter().filter(|(_, members)| !members.is_empty()) {
        out.push_str(&format!("\tcase {entry:?}:\n"));
        for member in members {
            for field in structure.fields.iter().filter(|field| field.json == *member) {
                out.push_str(&append_field(structure, field, "\t\t"));
            }
        }
    }
    out + "\t}\n"
}

fn append_field(structure: &Struct, field: &Field, indent: &str) -> String {
    let json = &field.json;
    let write = append_value(structure, field, &format!("{indent}\t"));
    let key = format!("b = append(b, `\"{json}\":`...)");
    match condition(structure, field) {
        None => {
            let write = append_value(structure, field, indent);
            format!("{indent}{key}\n{write}{indent}b = append(b, ',')\n")
        }
        Some(condition) => format!(
            "{indent}if {condition} {{\n{indent}\t{key}\n{write}{indent}\tb = append(b, ',')\n{indent}}}\n"
        ),
    }
}

/// When an optional field is written; None for always.
fn condition(structure: &Struct, field: &Field) -> Option<String> {
    let go = &field.go;
    if field.always_sent() {
        return None;
    }
    let set = match &field.kind {
        _ if field.has_presence(structure.is_request) => return Some(format!("r.Has({go:?})")),
        _ if field.has_raw(structure.is_request) => {
            return Some(format!("r.raw{go} != \"\" || r.{go} != nil"));
        }
        Kind::Text | Kind::Named(_) => format!("r.{go} != \"\""),
        Kind::Bool => format!("r.{go}"),
        Kind::Integer(_) => format!("r.{go} != 0"),
        Kind::Time => format!("!r.{go}.IsZero()"),
        Kind::Json | Kind::Definition => format!("r.{go} != nil"),
        Kind::Struct(_) => format!("r.{go} != nil"),
        Kind::List(_) => format!("len(r.{go}) > 0"),
    };
    match structure.can_force() {
        true => Some(format!("{set} || forced(r.ForceSendFields, {go:?})")),
        false => Some(set),
    }
}

fn can_fail(field: &Field) -> bool {
    fn kind_can_fail(kind: &Kind) -> bool {
        match kind {
            Kind::Json | Kind::Definition | Kind::Struct(_) => true,
            Kind::List(item) => kind_can_fail(item),
            _ => false,
        }
    }
    kind_can_fail(&field.kind)
}

/// What follows a call that may fail: the error names the member, a Go expression.
fn failed(indent: &str, member: &str) -> String {
    format!("err != nil {{\n{indent}\treturn b, inMember(err, {member})\n{indent}}}\n")
}

fn append_value(structure: &Struct, field: &Field, indent: &str) -> String {
    let go = &field.go;
    let path = format!("r.{go}");
    let member = format!("{:?}", field.json);
    let checked = |call: String| format!("{indent}if b, err = {call}; {}", failed(indent, &member));
    match &field.kind {
        _ if field.has_raw(structure.is_request) => {
            checked(format!("appendRaw(b, r.raw{go}, {path})"))
        }
        Kind::Struct(_) if field.pointer => {
            let inner = format!("{indent}\t");
            format!(
                "{indent}if {path} == nil {{\n{inner}b = append(b, \"null\"...)\n\
                 {indent}}} else if b, err = {path}.appendJSON(b); {}",
                failed(indent, &member)
            )
        }
        Kind::List(item) => {
            let inner = format!("{indent}\t");
            let each =
                append_one(item, &format!("{path}[i]"), &format!("place({member}, i)"), &inner);
            format!(
                "{indent}b = append(b, '[')\n{indent}for i := range {path} {{\n\
                 {inner}if i > 0 {{\n{inner}\tb = append(b, ',')\n{inner}}}\n{each}{indent}}}\n\
                 {indent}b = append(b, ']')\n"
            )
        }
        kind => append_one(kind, &path, &member, indent),
    }
}

fn append_one(kind: &Kind, path: &str, member: &str, indent: &str) -> String {
    let checked = |call: String| format!("{indent}if b, err = {call}; {}", failed(indent, member));
    match kind {
        Kind::Text => format!("{indent}b = appendText(b, {path})\n"),
        Kind::Named(_) => format!("{indent}b = appendText(b, string({path}))\n"),
        Kind::Bool => format!("{indent}b = strconv.AppendBool(b, {path})\n"),
        Kind::Integer("int64") => format!("{indent}b = strconv.AppendInt(b, {path}, 10)\n"),
        Kind::Integer("uint64") => format!("{indent}b = strconv.AppendUint(b, {path}, 10)\n"),
        Kind::Integer(_) => format!("{indent}b = strconv.AppendUint(b, uint64({path}), 10)\n"),
        Kind::Time => format!("{indent}b = strconv.AppendInt(b, {path}.UnixMilli(), 10)\n"),
        Kind::Json | Kind::Definition => checked(format!("appendValue(b, {path}, 0)")),
        Kind::Struct(_) => checked(format!("{path}.appendJSON(b)")),
        Kind::List(item) => append_one(item, path, member, indent),
    }
}

fn decode(structure: &Struct) -> String {
    let Struct { name, fields, .. } = structure;
    let mut out = format!("\nfunc (r *{name}) decode(d *decoder) {{\n\t*r = {name}{{}}\n");
    if !structure.tagged.is_empty() {
        out.push_str(&decode_unknown(structure));
    }
    out.push_str("\td.openObject()\n\tfor d.more('}') {\n\t\tkey := d.key()\n");
    if fields.is_empty() {
        return out + "\t\td.skip(key)\n\t}\n}\n";
    }
    // A payload that is null is there, and says so.
    let keep_null = fields.iter().filter(|f| f.has_raw(structure.is_request) && f.required);
    let others: String = keep_null.map(|field| format!("key != {:?} && ", field.json)).collect();
    out.push_str(&format!("\t\tif {others}d.null() {{\n\t\t\tcontinue\n\t\t}}\n"));
    out.push_str("\t\tswitch key {\n");
    for field in fields {
        out.push_str(&format!("\t\tcase {:?}:\n{}", field.json, decode_field(structure, field)));
    }
    out + "\t\tdefault:\n\t\t\td.skip(key)\n\t\t}\n\t}\n}\n"
}

/// An entry of a type that is not known may have any members: none of them is looked at.
fn decode_unknown(structure: &Struct) -> String {
    let known: Vec<String> = structure.tagged.iter().map(|(name, _)| format!("{name:?}")).collect();
    format!(
        "\td.blanks()\n\tfrom := d.at\n\tswitch r.Type = WALEntryType(d.tag()); r.Type {{\n\tcase {}:\n\t\
         default:\n\t\td.pass()\n\t\tr.raw = d.share(from)\n\t\treturn\n\t}}\n",
        known.join(", ")
    )
}

fn decode_field(structure: &Struct, field: &Field) -> String {
    let go = &field.go;
    let presence = structure.presence();
    let mut out = match &field.kind {
        Kind::Definition => format!("\t\t\tr.raw{go} = d.definition(&r.{go})\n"),
        Kind::Json if !structure.is_request => {
            format!("\t\t\tr.raw{go}, r.{go} = d.document()\n")
        }
        Kind::Struct(name) if field.pointer => {
            format!("\t\t\tr.{go} = new({name})\n\t\t\tr.{go}.decode(d)\n")
        }
        Kind::Struct(_) => format!("\t\t\tr.{go}.decode(d)\n"),
        Kind::List(item) => decode_list(item, go),
        kind => format!("\t\t\tr.{go} = {}\n", decode_one(kind)),
    };
    if let Some(bit) = presence.iter().position(|present| present.go == *go) {
        out.push_str(&format!("\t\t\tr.present |= 1 << {bit}\n"));
    }
    if structure.can_force()
        && let Some(condition) = condition(structure, field)
        && let Some((set, _)) = condition.split_once(" || ")
    {
        // What is there with its zero value was meant: it is sent on like that.
        let unset = match set.replace(" != ", " == ").replace(" > 0", " == 0") {
            unchanged if unchanged == set => format!("!{set}"),
            unset => unset,
        };
        out.push_str(&format!(
            "\t\t\tif {unset} {{\n\t\t\t\tr.ForceSendFields = append(r.ForceSendFields, {go:?})\n\t\t\t}}\n"
        ));
    }
    out
}

fn decode_list(item: &Kind, go: &str) -> String {
    let item_type = item.go();
    let one = match item {
        Kind::Struct(_) => format!(
            "\t\t\t\tr.{go} = append(r.{go}, {item_type}{{}})\n\t\t\t\tr.{go}[len(r.{go})-1].decode(d)\n"
        ),
        kind => format!("\t\t\t\tr.{go} = append(r.{go}, {})\n", decode_one(kind)),
    };
    format!(
        "\t\t\td.openArray()\n\t\t\tr.{go} = []{item_type}{{}}\n\t\t\tfor d.more(']') {{\n{one}\t\t\t}}\n"
    )
}

fn decode_one(kind: &Kind) -> String {
    match kind {
        Kind::Text => "d.string()".to_owned(),
        Kind::Named(name) => format!("{name}(d.string())"),
        Kind::Bool => "d.bool()".to_owned(),
        Kind::Integer("int64") => "d.int64()".to_owned(),
        Kind::Integer("uint32") => "d.uint32()".to_owned(),
        Kind::Integer(_) => "d.uint64()".to_owned(),
        Kind::Time => "d.time()".to_owned(),
        _ => "d.value()".to_owned(),
    }
}
