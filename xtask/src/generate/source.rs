//! Reads the public structs and enums of `core/types`, with their documentation.
//!
//! What serde is told about them is part of what they are in JSON: an attribute that is not
//! understood here is an error, not skipped.

use std::collections::{BTreeMap, BTreeSet};

use rstmdb_types::Operation;
use rstmdb_types::options::{EMBEDDED, OptionForm, OptionRow};
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, Fields, GenericArgument, Ident, Item, Lit, LitStr, Meta, PathArguments, Token,
    Type, Visibility,
};

use crate::tree;

/// A struct or an enum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    pub doc: String,
    pub members: Vec<Member>,
    pub is_enum: bool,
    /// An enum whose variants are told apart by what they hold.
    pub is_untagged: bool,
    /// An enum that also takes what only newer versions know.
    pub is_open: bool,
}

/// A field of a struct or a variant of an enum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Reads the files of `core/types`. The limits are rows of a table, and no text to read.
    pub fn read() -> Result<Shapes, String> {
        let mut shapes = Shapes::default();
        let files = tree::text_files();
        for file in files.iter().filter(|file| file.path.starts_with("core/types/src/ops/")) {
            shapes.add(&file.text).map_err(|problem| format!("{}: {problem}", file.path))?;
        }
        for row in EMBEDDED {
            // Results tell the limits too, those that are known.
            if let OptionForm::Object { name, rows } = row.form {
                shapes.0.insert(name.to_owned(), of_rows(row.doc, rows));
            }
        }
        shapes.add_batch();
        Ok(shapes)
    }

    /// The shape of a type that must be there.
    pub fn get(&self, name: &str) -> Result<&Shape, String> {
        self.0.get(name).ok_or_else(|| format!("core/types has no public struct or enum {name}"))
    }

    /// The last member that this variant always has and no other one of its enum.
    pub fn own_member(&self, all: &Shape, variant: &Member) -> Result<Option<&str>, String> {
        Ok(self.own_members(all, variant)?.pop())
    }

    /// The members that this variant always has and no other one of its enum.
    pub fn own_members(&self, all: &Shape, variant: &Member) -> Result<Vec<&str>, String> {
        let mut others = BTreeSet::new();
        for other in all.members.iter().filter(|other| other.name != variant.name) {
            others.extend(self.get(&other.kind)?.members.iter().map(|member| &member.name));
        }
        let own = self.get(&variant.kind)?.members.iter().filter(|member| member.required);
        let own = own.map(|member| &member.name).filter(|name| !others.contains(name));
        Ok(own.map(String::as_str).collect())
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

    fn add(&mut self, text: &str) -> Result<(), String> {
        let file = syn::parse_file(text).map_err(|error| error.to_string())?;
        for item in file.items {
            match item {
                // A struct without names wraps another shape for Rust alone.
                Item::Struct(item)
                    if matches!(
                        (&item.vis, &item.fields),
                        (Visibility::Public(_), Fields::Named(_))
                    ) =>
                {
                    let shape = structure(&item).map_err(|e| format!("{}: {e}", item.ident))?;
                    self.0.insert(item.ident.to_string(), shape);
                }
                Item::Enum(item) if matches!(item.vis, Visibility::Public(_)) => {
                    let shape = enumeration(&item).map_err(|e| format!("{}: {e}", item.ident))?;
                    self.0.insert(item.ident.to_string(), shape);
                }
                Item::Macro(item) if item.mac.path.is_ident("entries") => {
                    let entries = entries.parse2(item.mac.tokens);
                    self.add_entries(entries.map_err(|error| format!("entries!: {error}"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The entries of the log, each kept as the shape `WalEntry:tag`, and `WalEntry` as their enum.
    fn add_entries(&mut self, entries: Vec<(String, Shape)>) {
        let doc = "What one log entry says, tagged by `type`.".to_owned();
        let mut all = Shape { doc, is_enum: true, is_open: true, ..Shape::default() };
        for (tag, shape) in entries {
            let kind = format!("WalEntry:{tag}");
            let doc = shape.doc.clone();
            self.0.insert(kind.clone(), shape);
            all.members.push(Member { name: tag, doc, kind, required: true });
        }
        self.0.insert("WalEntry".to_owned(), all);
    }
}

/// The shape of an object whose members are options; a database tells all of them.
fn of_rows(doc: &str, rows: &[OptionRow]) -> Shape {
    let members = rows.iter().map(|row| Member {
        name: row.name.to_owned(),
        doc: row.doc.to_owned(),
        kind: row.rust.to_owned(),
        required: false,
    });
    Shape { doc: doc.to_owned(), members: members.collect(), ..Shape::default() }
}

fn structure(item: &syn::ItemStruct) -> Result<Shape, String> {
    Serde::read(&item.attrs, &["default", "deny_unknown_fields"])?;
    let fields = item.fields.iter().map(|field| {
        let name = field.ident.as_ref().map(plain).unwrap_or_default();
        // How a value is read changes nothing of what it is.
        let known = ["default", "skip_serializing_if", "deserialize_with", "with"];
        let serde = Serde::read(&field.attrs, &known).map_err(|e| format!("{name}: {e}"))?;
        let (kind, is_optional) = kind_of(&field.ty)?;
        let required = !is_optional && !serde.has("default");
        Ok(Member { name, doc: doc(&field.attrs), kind, required })
    });
    Ok(Shape {
        doc: doc(&item.attrs),
        members: fields.collect::<Result<_, String>>()?,
        ..Shape::default()
    })
}

fn enumeration(item: &syn::ItemEnum) -> Result<Shape, String> {
    let serde = Serde::read(&item.attrs, &["rename_all", "untagged", "tag", "content", "from"])?;
    let mut members = Vec::new();
    let mut is_open = false;
    for variant in &item.variants {
        let known = ["rename", "skip", "other", "untagged"];
        let own = Serde::read(&variant.attrs, &known);
        let own = own.map_err(|problem| format!("{}: {problem}", variant.ident))?;
        // What takes in the names that are not known has none itself.
        if ["skip", "other", "untagged"].iter().any(|name| own.has(name)) {
            continue;
        }
        let kind = match &variant.fields {
            Fields::Unit => String::new(),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                kind_of(&fields.unnamed[0].ty)?.0
            }
            _ => return Err(format!("{} holds more than one type", variant.ident)),
        };
        if variant.ident == "Other" && kind == "Text" {
            // It stands for no value of its own.
            is_open = true;
            continue;
        }
        let name = match (own.get("rename"), serde.get("rename_all")) {
            (Some(name), _) => name.to_owned(),
            (None, None) => variant.ident.to_string(),
            (None, Some("snake_case")) => snake(&variant.ident.to_string()),
            (None, Some("SCREAMING_SNAKE_CASE")) => {
                snake(&variant.ident.to_string()).to_uppercase()
            }
            (None, Some(rule)) => return Err(format!("rename_all = {rule:?} is not understood")),
        };
        members.push(Member { name, doc: doc(&variant.attrs), kind, required: true });
    }
    Ok(Shape {
        doc: doc(&item.attrs),
        members,
        is_enum: true,
        is_open,
        is_untagged: serde.has("untagged"),
    })
}

/// The rows of `entries!`: `Name, "tag" { field: Type; … }`, with ` , optional` behind some types.
fn entries(input: ParseStream) -> syn::Result<Vec<(String, Shape)>> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let attributes = input.call(Attribute::parse_outer)?;
        input.parse::<Ident>()?;
        input.parse::<Token![,]>()?;
        let tag = input.parse::<LitStr>()?.value();
        let body;
        syn::braced!(body in input);
        let mut members = Vec::new();
        while !body.is_empty() {
            members.push(entry_member(&body)?);
        }
        found.push((tag, Shape { doc: doc(&attributes), members, ..Shape::default() }));
    }
    Ok(found)
}

fn entry_member(body: ParseStream) -> syn::Result<Member> {
    let attributes = body.call(Attribute::parse_outer)?;
    let name = body.parse::<Ident>()?;
    body.parse::<Token![:]>()?;
    let (kind, is_optional) =
        kind_of(&body.parse()?).map_err(|e| syn::Error::new(name.span(), e))?;
    if body.parse::<Option<Token![,]>>()?.is_some() {
        body.parse::<Ident>()?;
    }
    body.parse::<Token![;]>()?;
    Ok(Member { name: plain(&name), doc: doc(&attributes), kind, required: !is_optional })
}

/// What serde is told, by name; flags have no value.
struct Serde(Vec<(String, String)>);

impl Serde {
    fn read(attributes: &[Attribute], known: &[&str]) -> Result<Serde, String> {
        let mut found = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let parse = Punctuated::<Meta, Token![,]>::parse_terminated;
            for meta in attribute.parse_args_with(parse).map_err(|error| error.to_string())? {
                let name = meta.path().get_ident().map(Ident::to_string).unwrap_or_default();
                if !known.contains(&name.as_str()) {
                    return Err(format!(
                        "serde attribute {name:?} is not understood; teach it to \
                         xtask/src/generate/source.rs, or do without"
                    ));
                }
                found.push((name, text_of(&meta).unwrap_or_default()));
            }
        }
        Ok(Serde(found))
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The text in `name = "text"`.
fn text_of(meta: &Meta) -> Option<String> {
    match &meta.require_name_value().ok()?.value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The lines of a documentation as one.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = lines.filter_map(|line| text_of(&line.meta));
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    lines.join(" ").trim().to_owned()
}

/// A type without its path, and whether it was an `Option`, which is taken off.
fn kind_of(kind: &Type) -> Result<(String, bool), String> {
    let segment = match kind {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let segment = segment.ok_or("a type is not understood: it is no name")?;
    let name = segment.ident.to_string();
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        // Limits have the same names whether they are set or told.
        return Ok((name.replace("KnownLimits", "Limits"), false));
    };
    let mut inner = Vec::new();
    for argument in &arguments.args {
        match argument {
            GenericArgument::Type(kind) => inner.push(kind_of(kind)?.0),
            _ => return Err(format!("the arguments of {name} are not understood")),
        }
    }
    let inner = inner.join(", ");
    Ok(if name == "Option" { (inner, true) } else { (format!("{name}<{inner}>"), false) })
}

fn plain(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
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
        let text = concat!(
            "/// A thing\n/// in two lines.\n#[derive(Debug)]\npub struct Thing {\n",
            "    /// Its id.\n    pub id: Text,\n",
            "    /// Perhaps.\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n",
            "    pub limit: Option<u32>,\n    #[serde(default)]\n    pub r#type: bool,\n}\n\n",
            "impl Thing {\n    pub fn id(&self) {}\n}\n\n/// Nothing.\npub struct Empty {}\n\n",
            "/// Which.\n#[serde(rename_all = \"snake_case\")]\npub enum Which {\n",
            "    /// One.\n    BestEffort,\n    /// Other.\n    Other(Thing),\n}\n",
            "\nentries! {\n    /// It was.\n    Made, \"made\" {\n        /// Its id.\n",
            "        id: Option<Text>, optional;\n    }\n}\n",
        );
        shapes.add(text).unwrap();
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
    #[test]
    fn what_serde_is_told_and_nobody_understands_is_an_error() {
        for (text, words) in [
            ("pub struct A { #[serde(flatten)] pub b: B }", "A: b: serde attribute \"flatten\""),
            ("pub struct A { #[serde(rename = \"c\")] pub b: B }", "\"rename\""),
            ("#[serde(rename_all = \"camelCase\")] pub enum A { B }", "camelCase"),
            ("pub enum A { B { c: u32 } }", "B holds more than one type"),
            ("pub struct A { pub b: [u8; 4] }", "a type is not understood"),
            ("entries! { Made \"made\" {} }", "entries!"),
        ] {
            let problem = Shapes::default().add(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
        let mut shapes = Shapes::default();
        shapes.add("pub enum A { #[serde(rename = \"x\")] B, #[serde(other)] C }").unwrap();
        assert_eq!(shapes.get("A").unwrap().members.len(), 1);
        assert_eq!(shapes.get("A").unwrap().members[0].name, "x");
        assert!(Shapes::read().unwrap().get("Limits").unwrap().members.len() > 10);
    }
}
