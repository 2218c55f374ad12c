//! The Go module's generated files: request and result structs, their JSON, tables of operations
//! and errors, and its copy of the C header.

mod batch;
mod codec;
mod options;
mod tables;
mod types;

pub use batch::batch;
pub use codec::codec;
pub use options::options;
pub use tables::{errors, operations, surface};
pub use types::types;

use std::collections::BTreeMap;

use rstmdb_types::Operation;

use super::source::{Member, Shape, Shapes};
use crate::tidy::GENERATED_MARK;
use crate::tree;

/// The fields whose documented name in Go is another than the one they have on the wire.
const FIELD_NAMES: &[(&str, &str, &str)] =
    &[("InstanceEvent", "event", "EventName"), ("WalStatsResult", "total_size_bytes", "TotalSize")];

/// What the constants of an enum begin with.
const ENUM_PREFIXES: &[(&str, &str)] = &[
    ("BatchMode", "Batch"),
    ("BatchStatus", "Status"),
    ("HistoryOrder", "History"),
    ("InstanceEventKind", "Event"),
];

/// A bool that is on unless it is switched off must always be sent, and an outcome has all its
/// members, `null` where they don't apply.
const ALWAYS_SENT: &[&str] = &["include_ctx", "result", "error"];

/// The C header, copied into the module: a Go module can't reach outside its folder.
pub fn header() -> Result<String, String> {
    let path = "include/rstmdb.h";
    std::fs::read_to_string(tree::root().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// The beginning of every generated Go file. Without cgo `nocgo.go` stands alone and says what is missing.
fn start(what: &str) -> String {
    format!(
        "// Code {GENERATED_MARK}. DO NOT EDIT.\n\n//go:build cgo\n\n// {what}\n\npackage rstmdb\n"
    )
}

/// What a member is in Go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    /// An integer with the name of its Go type.
    Integer(&'static str),
    Time,
    Json,
    /// A machine definition in a result.
    Definition,
    /// A string with named values.
    Named(String),
    Struct(String),
    List(Box<Kind>),
}

impl Kind {
    fn of(member: &Member, shapes: &Shapes, is_request: bool) -> Result<Kind, String> {
        if member.kind == "Json" && member.name == "definition" && !is_request {
            return Ok(Kind::Definition);
        }
        Kind::read(&member.kind, shapes)
    }

    fn read(rust: &str, shapes: &Shapes) -> Result<Kind, String> {
        Ok(match rust {
            "Text" | "String" => Kind::Text,
            "bool" => Kind::Bool,
            "u32" => Kind::Integer("uint32"),
            "u64" | "usize" | "Offset" => Kind::Integer("uint64"),
            "i64" => Kind::Integer("int64"),
            "TimestampMs" => Kind::Time,
            "Json" => Kind::Json,
            "ErrorCode" => Kind::Named("ErrorCode".to_owned()),
            "Error" => Kind::Struct("Error".to_owned()),
            _ => match rust.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
                Some(item) => Kind::List(Box::new(Kind::read(item, shapes)?)),
                None if is_plain_enum(shapes.get(rust)?) => Kind::Named(type_name(rust)),
                None => Kind::Struct(type_name(rust)),
            },
        })
    }

    fn go(&self) -> String {
        match self {
            Kind::Text => "string".to_owned(),
            Kind::Bool => "bool".to_owned(),
            Kind::Integer(name) => (*name).to_owned(),
            Kind::Time => "time.Time".to_owned(),
            Kind::Json => "any".to_owned(),
            Kind::Definition => "MachineDefinition".to_owned(),
            Kind::Named(name) | Kind::Struct(name) => name.clone(),
            Kind::List(item) => format!("[]{}", item.go()),
        }
    }
}

/// A struct of the Go module with its fields.
#[derive(Debug)]
struct Struct {
    name: String,
    doc: String,
    is_request: bool,
    fields: Vec<Field>,
    /// A log entry: the member `type` says which others there are. One of another type is its text.
    tagged: Vec<(String, Vec<String>)>,
}

#[derive(Debug)]
struct Field {
    json: String,
    go: String,
    doc: String,
    kind: Kind,
    required: bool,
    /// A struct that may be absent.
    pointer: bool,
}

impl Field {
    fn go_type(&self, is_request: bool) -> String {
        match &self.kind {
            Kind::Json if !is_request => "map[string]any".to_owned(),
            kind if self.pointer => format!("*{}", kind.go()),
            kind => kind.go(),
        }
    }

    /// Kept as text too, for those who want the exact JSON.
    fn has_raw(&self, is_request: bool) -> bool {
        !is_request && matches!(self.kind, Kind::Json | Kind::Definition)
    }

    /// What may be absent or zero, which its value can't tell.
    fn has_presence(&self, is_request: bool) -> bool {
        !is_request && !self.required && self.zero().is_some()
    }

    /// How it is asked whether a value is another one than its type's zero.
    fn zero(&self) -> Option<String> {
        let path = format!("r.{}", self.go);
        Some(match &self.kind {
            Kind::Text => format!("{path} != \"\""),
            Kind::Bool => path,
            Kind::Integer(_) => format!("{path} != 0"),
            Kind::Time => format!("!{path}.IsZero()"),
            _ => return None,
        })
    }

    fn always_sent(&self) -> bool {
        self.required || ALWAYS_SENT.contains(&self.json.as_str())
    }
}

impl Struct {
    fn presence(&self) -> Vec<&Field> {
        self.fields.iter().filter(|field| field.has_presence(self.is_request)).collect()
    }

    /// Whether a value that equals its type's zero can be meant.
    fn can_force(&self) -> bool {
        self.is_request && self.fields.iter().any(|field| !field.always_sent())
    }
}

/// Every struct of the module, sorted by name, without those written by hand.
fn structs(shapes: &Shapes) -> Result<Vec<Struct>, String> {
    let mut structs = Vec::new();
    for (name, shape) in &shapes.0 {
        if shape.is_enum || name.contains(':') {
            continue;
        }
        structs.push(structure(name, shape, shapes)?);
    }
    structs.push(log_entry(shapes)?);
    structs.sort_by(|a, b| a.name.cmp(&b.name));
    let words = words(&structs);
    for structure in &mut structs {
        structure.doc = in_go(&structure.doc, &words);
        for field in &mut structure.fields {
            field.doc = in_go(&field.doc, &words);
        }
    }
    Ok(structs)
}

/// The names of fields and operations as they stand in documentation, and what they are in Go.
fn words(structs: &[Struct]) -> BTreeMap<String, String> {
    let fields = structs.iter().flat_map(|structure| &structure.fields);
    let fields = fields.map(|field| (field.json.clone(), field.go.clone()));
    let operations = Operation::ALL.iter().map(|op| (op.name().to_owned(), go_name(op.name())));
    fields.chain(operations).collect()
}

/// Documentation that speaks of `last_event_id` speaks of LastEventID in Go.
fn in_go(doc: &str, words: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (index, part) in doc.split('`').enumerate() {
        match words.get(part) {
            Some(name) if index % 2 == 1 => out.push_str(name),
            _ if index % 2 == 1 => out.push_str(&format!("`{part}`")),
            _ => out.push_str(part),
        }
    }
    out
}

fn structure(name: &str, shape: &Shape, shapes: &Shapes) -> Result<Struct, String> {
    let is_request = name.ends_with("Request");
    let fields = shape.members.iter().map(|member| field(name, member, shapes, is_request));
    Ok(Struct {
        name: type_name(name),
        doc: shape.doc.clone(),
        is_request,
        fields: fields.collect::<Result<_, _>>()?,
        tagged: Vec::new(),
    })
}

fn field(owner: &str, member: &Member, shapes: &Shapes, is_request: bool) -> Result<Field, String> {
    let kind = Kind::of(member, shapes, is_request)?;
    let renamed = FIELD_NAMES.iter().find(|(name, json, _)| *name == owner && *json == member.name);
    Ok(Field {
        json: member.name.clone(),
        go: renamed.map_or_else(|| go_name(&member.name), |(_, _, go)| (*go).to_owned()),
        doc: member.doc.clone(),
        pointer: matches!(kind, Kind::Struct(_)) && !member.required
            || ["BatchOperationResult", "Error"].contains(&member.kind.as_str()),
        kind,
        required: member.required,
    })
}

/// The entries of the log as one struct with the members of all of them.
fn log_entry(shapes: &Shapes) -> Result<Struct, String> {
    let all = shapes.get("WalEntry")?;
    let mut fields: Vec<Field> = vec![Field {
        json: "type".to_owned(),
        go: "Type".to_owned(),
        doc: "What happened; it says which of the other fields are set.".to_owned(),
        kind: Kind::Named("WALEntryType".to_owned()),
        required: true,
        pointer: false,
    }];
    let mut tagged = Vec::new();
    for entry in &all.members {
        let shape = shapes.get(&entry.kind)?;
        for member in &shape.members {
            if fields.iter().all(|field| field.json != member.name) {
                fields.push(field("WalEntry", member, shapes, false)?);
            } else if !member.required {
                // Optional in one entry is optional in the struct.
                fields
                    .iter_mut()
                    .filter(|f| f.json == member.name)
                    .for_each(|f| f.required = false);
            }
        }
        let members = shape.members.iter().map(|member| member.name.clone()).collect();
        tagged.push((entry.name.clone(), members));
    }
    Ok(Struct {
        name: "WALEntry".to_owned(),
        doc: "What one log entry says.".to_owned(),
        is_request: false,
        fields,
        tagged,
    })
}

fn is_plain_enum(shape: &Shape) -> bool {
    shape.is_enum && shape.members.iter().all(|member| member.kind.is_empty())
}

fn type_name(rust: &str) -> String {
    rust.replace("Wal", "WAL").replace("IoStats", "IOStats")
}

/// `wal_offset` as `WALOffset`.
fn go_name(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| match word {
            "id" | "wal" | "io" | "json" | "url" | "ok" => word.to_uppercase(),
            _ => {
                let mut letters = word.chars();
                letters
                    .next()
                    .map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
            }
        })
        .collect()
}

/// A comment of whole words in lines that fit, each beginning with `indent//`.
fn comment(indent: &str, text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() * 4 + line.len() + word.len() > 94 {
            out.push_str(&format!("{indent}//{line}\n"));
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &format!("{indent}//{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_go() {
        assert_eq!(go_name("wal_offset"), "WALOffset");
        assert_eq!(go_name("instance_id"), "InstanceID");
        assert_eq!(go_name("initial_ctx"), "InitialCtx");
        assert_eq!(type_name("WalReadRequest"), "WALReadRequest");
    }

    #[test]
    fn documentation_uses_the_names_of_go() {
        let words = words(&structs(&Shapes::read().unwrap()).unwrap());
        let doc = "Kept and returned by `get_instance` as `last_event_id`, or `null`.";
        assert_eq!(
            in_go(doc, &words),
            "Kept and returned by GetInstance as LastEventID, or `null`."
        );
    }

    #[test]
    fn comments_are_wrapped_between_words() {
        let text = comment("\t", &"word ".repeat(40));
        assert!(text.lines().all(|line| line.starts_with("\t// word") && line.len() < 100));
    }

    #[test]
    fn an_optional_text_of_a_result_knows_whether_it_was_there() {
        let shapes = Shapes::read().unwrap();
        let structs = structs(&shapes).unwrap();
        let event = structs.iter().find(|found| found.name == "InstanceEvent").unwrap();
        let names: Vec<&str> = event.presence().iter().map(|f| f.go.as_str()).collect();
        assert_eq!(
            names,
            ["HistoryID", "Timestamp", "FromState", "ToState", "EventName", "EventID"]
        );
        assert!(structs.iter().any(|found| found.name == "ApplyEventRequest" && found.can_force()));
    }
}
