//! Reads the public structs and enums of `core/types`, with their documentation.
//!
//! This is a reader of our own files as rustfmt leaves them, not of Rust: what it does not
//! understand it skips, and `Shapes::get` then names the type that is missing.

use std::collections::{BTreeMap, BTreeSet};

use rstmdb_types::Operation;

use crate::tree;

/// A struct or an enum.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub doc: String,
    pub members: Vec<Member>,
    pub is_enum: bool,
    /// An enum whose variants are told apart by what they hold.
    pub is_untagged: bool,
}

/// A field of a struct or a variant of an enum.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// As it stands in JSON.
    pub name: String,
    pub doc: String,
    /// The Rust type, without `Option`; of a variant, what it holds.
    pub kind: String,
    pub required: bool,
}

/// Everything that was found, by name.
#[derive(Debug, Default)]
pub struct Shapes(pub BTreeMap<String, Shape>);

impl Shapes {
    /// Reads the files of `core/types`.
    pub fn read() -> Result<Shapes, String> {
        let mut shapes = Shapes::default();
        let files = tree::text_files();
        let sources = files.iter().filter(|file| {
            file.path.starts_with("core/types/src/ops/") || file.path == "core/types/src/limits.rs"
        });
        for file in sources {
            shapes.add(&file.text);
        }
        shapes.add_batch();
        Ok(shapes)
    }

    /// The shape of a type that must be there.
    pub fn get(&self, name: &str) -> Result<&Shape, String> {
        self.0.get(name).ok_or_else(|| format!("core/types has no public struct or enum {name}"))
    }

    /// A member that this variant always has and no other one of its enum.
    pub fn own_member(&self, all: &Shape, variant: &Member) -> Result<Option<&str>, String> {
        let mut others = BTreeSet::new();
        for other in all.members.iter().filter(|other| other.name != variant.name) {
            others.extend(self.get(&other.kind)?.members.iter().map(|member| &member.name));
        }
        let own = self.get(&variant.kind)?.members.iter().filter(|member| member.required);
        Ok(own.map(|member| &member.name).rfind(|name| !others.contains(name)).map(String::as_str))
    }

    /// What a batch may hold, and what becomes of it: both follow from the table of operations.
    fn add_batch(&mut self) {
        let mut operations = Shape {
            doc: "One operation of a batch, `{\"op\": \"APPLY_EVENT\", \"params\": {…}}`."
                .to_owned(),
            is_enum: true,
            ..Shape::default()
        };
        let mut results = Shape {
            doc: "The result of one operation of a batch.".to_owned(),
            is_enum: true,
            is_untagged: true,
            ..Shape::default()
        };
        for operation in Operation::ALL.iter().filter(|operation| operation.is_batchable()) {
            let (request, result) = operation.type_names();
            let member = |name: &str, kind: &str, doc: &str| Member {
                name: name.to_owned(),
                kind: kind.to_owned(),
                doc: doc.to_owned(),
                required: true,
            };
            operations.members.push(member(operation.wire_name(), request, operation.doc()));
            let doc = format!("Of `{}`.", operation.name());
            results.members.push(member(result.trim_end_matches("Result"), result, &doc));
        }
        self.0.insert("BatchOperation".to_owned(), operations);
        self.0.insert("BatchOperationResult".to_owned(), results);
    }

    fn add(&mut self, text: &str) {
        let mut doc = String::new();
        let mut attributes = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(words) = line.strip_prefix("///") {
                push_words(&mut doc, words);
            } else if line.starts_with("#[") {
                attributes.push_str(line);
            } else if let Some((name, is_enum)) = declaration(line) {
                let mut shape = Shape {
                    doc: std::mem::take(&mut doc),
                    is_enum,
                    is_untagged: attributes.contains("serde(untagged)"),
                    members: Vec::new(),
                };
                if line.ends_with('{') {
                    let body: Vec<&str> =
                        std::iter::from_fn(|| lines.next_if(|line| *line != "}")).collect();
                    shape.members = members(&body, is_enum, rename_rule(&attributes));
                }
                self.0.insert(name.to_owned(), shape);
                attributes.clear();
            } else {
                doc.clear();
                attributes.clear();
            }
        }
        self.add_entries(text);
    }

    /// The entries of the log: `Name, "tag" { field: Type; }` rows of a macro call, each kept as
    /// the shape `WalEntry:tag`, and `WalEntry` as their enum.
    fn add_entries(&mut self, text: &str) {
        let Some((_, rows)) = text.split_once("\nentries! {\n") else { return };
        let mut all = Shape {
            doc: "What one log entry says, tagged by `type`.".to_owned(),
            is_enum: true,
            ..Shape::default()
        };
        let mut doc = String::new();
        let mut lines = rows.lines();
        while let Some(line) = lines.next().filter(|line| *line != "}") {
            if let Some(words) = line.trim().strip_prefix("///") {
                push_words(&mut doc, words);
            } else if let Some(tag) = line.split('"').nth(1) {
                let body: Vec<&str> =
                    lines.by_ref().take_while(|line| line.trim() != "}").collect();
                let doc = std::mem::take(&mut doc);
                let shape = Shape {
                    doc: doc.clone(),
                    members: members(&body, false, None),
                    ..Shape::default()
                };
                self.0.insert(format!("WalEntry:{tag}"), shape);
                all.members.push(Member {
                    name: tag.to_owned(),
                    doc,
                    kind: format!("WalEntry:{tag}"),
                    required: true,
                });
            }
        }
        self.0.insert("WalEntry".to_owned(), all);
    }
}

/// The name in `pub struct Name {` or `pub enum Name {`, and whether it is an enum.
fn declaration(line: &str) -> Option<(&str, bool)> {
    let (rest, is_enum) = match line.strip_prefix("pub struct ") {
        Some(rest) => (rest, false),
        None => (line.strip_prefix("pub enum ")?, true),
    };
    // A tuple is no object in JSON.
    let end =
        rest.find(|c: char| !c.is_alphanumeric()).filter(|end| !rest[*end..].starts_with('('))?;
    Some((&rest[..end], is_enum))
}

fn members(body: &[&str], is_enum: bool, rename: Option<&str>) -> Vec<Member> {
    let mut found = Vec::new();
    let mut doc = String::new();
    let mut attributes = String::new();
    for line in body.iter().map(|line| line.trim()) {
        if let Some(words) = line.strip_prefix("///") {
            push_words(&mut doc, words);
        } else if line.starts_with("#[") {
            attributes.push_str(line);
        } else {
            let line = line.trim_end_matches([',', ';']);
            let member = if is_enum { variant(line, rename) } else { field(line, &attributes) };
            if let Some(member) = member {
                found.push(Member { doc: std::mem::take(&mut doc), ..member });
            }
            doc.clear();
            attributes.clear();
        }
    }
    found
}

fn variant(line: &str, rename: Option<&str>) -> Option<Member> {
    let (name, kind) = match line.split_once('(') {
        Some((name, kind)) => (name, kind.strip_suffix(')')?),
        None => (line, ""),
    };
    let plain = !name.is_empty() && name.chars().all(char::is_alphanumeric);
    plain.then(|| Member {
        name: match rename {
            Some("snake_case") => snake(name),
            Some("SCREAMING_SNAKE_CASE") => snake(name).to_uppercase(),
            _ => name.to_owned(),
        },
        kind: kind.to_owned(),
        required: true,
        doc: String::new(),
    })
}

fn field(line: &str, attributes: &str) -> Option<Member> {
    let (name, kind) = line.strip_prefix("pub ").unwrap_or(line).split_once(": ")?;
    // A row of the log entries says `Option<Text>, optional`.
    let kind = kind.strip_suffix(", optional").unwrap_or(kind);
    let optional = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>'));
    Some(Member {
        name: name.trim_start_matches("r#").to_owned(),
        kind: optional.unwrap_or(kind).to_owned(),
        required: optional.is_none() && !attributes.contains("serde(default"),
        doc: String::new(),
    })
}

fn rename_rule(attributes: &str) -> Option<&str> {
    attributes.split_once("rename_all = \"")?.1.split('"').next()
}

fn push_words(doc: &mut String, words: &str) {
    if !doc.is_empty() {
        doc.push(' ');
    }
    doc.push_str(words.trim());
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_structs_enums_and_entries() {
        let mut shapes = Shapes::default();
        shapes.add(concat!(
            "/// A thing\n/// in two lines.\n#[derive(Debug)]\npub struct Thing {\n",
            "    /// Its id.\n    pub id: Text,\n",
            "    /// Perhaps.\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n",
            "    pub limit: Option<u32>,\n    #[serde(default)]\n    pub r#type: bool,\n}\n\n",
            "impl Thing {\n    pub fn id(&self) {}\n}\n\n/// Nothing.\npub struct Empty {}\n\n",
            "/// Which.\n#[serde(rename_all = \"snake_case\")]\npub enum Which {\n",
            "    /// One.\n    BestEffort,\n    /// Other.\n    Other(Thing),\n}\n",
            "\nentries! {\n    /// It was.\n    Made, \"made\" {\n        /// Its id.\n",
            "        id: Option<Text>, optional;\n    }\n}\n",
        ));
        let thing = shapes.get("Thing").unwrap();
        assert_eq!(thing.doc, "A thing in two lines.");
        let fields: Vec<_> = thing
            .members
            .iter()
            .map(|m| (m.name.as_str(), m.kind.as_str(), m.required, m.doc.as_str()))
            .collect();
        assert_eq!(
            fields,
            [
                ("id", "Text", true, "Its id."),
                ("limit", "u32", false, "Perhaps."),
                ("type", "bool", false, ""),
            ]
        );
        assert!(shapes.get("Empty").unwrap().members.is_empty());
        let which = shapes.get("Which").unwrap();
        assert_eq!(which.members[0].name, "best_effort");
        assert_eq!(which.members[1].kind, "Thing");
        assert_eq!(shapes.get("WalEntry").unwrap().members[0].name, "made");
        assert!(!shapes.get("WalEntry:made").unwrap().members[0].required);
        assert!(shapes.get("Nope").is_err());
    }
}
