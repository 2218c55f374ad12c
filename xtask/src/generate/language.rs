//! The reference pages of definitions and guards: tables that their readers work by, rules from their comments.

use rstmdb_machine::language::{
    Binding, DEFINITION_KEYS, DefinitionDoubt, DefinitionKey, Function, GuardWord, OPERATORS,
    TRANSITION_KEYS,
};
use rstmdb_machine::{GUARD_DEPTH_MAX, GUARD_NODES_MAX};

use super::reference::{self, yes_no};
use super::region;
use crate::tree;

/// What holds for definitions as a whole; `guard_bytes_max` stands with the guards.
const DEFINITION_LIMITS: [&str; 6] = [
    "definition_bytes_max",
    "states_max",
    "transitions_max",
    "name_bytes_max",
    "machine_versions_max",
    "machine_bytes_max",
];

/// `docs/reference/definitions.md`, with the tables of keys, warnings and limits and the rules.
pub fn definitions() -> Result<String, String> {
    let doc = module_doc("core/machine/src/lib.rs")?;
    let doubts: Vec<_> = DefinitionDoubt::ALL
        .iter()
        .map(|doubt| vec![code(doubt.reason()), doubt.doc().into()])
        .collect();
    region::fill(
        "docs/reference/definitions.md",
        &[
            ("keys of a definition", keys(&DEFINITION_KEYS)),
            ("keys of a transition", keys(&TRANSITION_KEYS)),
            ("rules", list(&doc, "core/machine/src/lib.rs")?),
            ("warnings", table(&["reason", "when"], &doubts)),
            ("limits", limits(&DEFINITION_LIMITS, &[])?),
        ],
    )
}

/// `docs/reference/guards.md`, with the tables of words, operators and functions, the grammar and the rules.
pub fn guards() -> Result<String, String> {
    const SOURCE: &str = "core/machine/src/guard/mod.rs";
    let doc = module_doc(SOURCE)?;
    let words: Vec<_> =
        GuardWord::ALL.iter().map(|word| vec![code(word.name()), word.doc().into()]).collect();
    let functions: Vec<_> = Function::ALL
        .iter()
        .map(|function| {
            let call = format!("{}({})", function.name(), function.parameters().join(", "));
            vec![code(&call), function.doc().into()]
        })
        .collect();
    let own = [
        ("operands and operators", "The most operands and operators of a guard.", GUARD_NODES_MAX),
        ("depth", "How deeply parentheses, `!`, `-` and calls may nest.", GUARD_DEPTH_MAX),
    ];
    region::fill(
        "docs/reference/guards.md",
        &[
            ("words", table(&["word", "what it stands for"], &words)),
            ("operators", operators()),
            ("functions", table(&["function", "what it gives"], &functions)),
            ("rules", list(&doc, SOURCE)?),
            ("grammar", grammar(&doc, SOURCE)?),
            ("limits", limits(&["guard_bytes_max"], &own)?),
        ],
    )
}

fn keys(keys: &[DefinitionKey]) -> String {
    let row = |key: &DefinitionKey| {
        vec![code(key.name), key.value.into(), yes_no(key.required), key.doc.into()]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    table(&["key", "value", "required", "meaning"], &rows)
}

/// One table, the loosest operators first; how a level is read stands with its first operator.
fn operators() -> String {
    let mut rows = Vec::new();
    for (level, binding) in (1..).zip(Binding::ALL) {
        for (i, operator) in OPERATORS.iter().filter(|o| o.binding == *binding).enumerate() {
            let (level, how) = match i {
                0 => (level.to_string(), binding.doc()),
                _ => (String::new(), ""),
            };
            rows.push(vec![level, code(operator.symbol), operator.doc.into(), how.into()]);
        }
    }
    table(&["level", "operator", "what it gives", "how the level is read"], &rows)
}

fn limits(names: &[&str], own: &[(&str, &str, usize)]) -> Result<String, String> {
    let mut rows = reference::limit_rows(|name| names.contains(&name))?;
    if rows.len() != names.len() {
        return Err(format!("some of the limits {} are not there", names.join(", ")));
    }
    rows.extend(
        own.iter().map(|(name, doc, most)| vec![(*name).into(), (*doc).into(), most.to_string()]),
    );
    Ok(table(&["limit", "meaning", "default"], &rows))
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::from("\n");
    reference::table(&mut text, head, rows);
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// The documentation at the head of a file, as text.
fn module_doc(path: &str) -> Result<String, String> {
    let text =
        std::fs::read_to_string(tree::root().join(path)).map_err(|e| format!("{path}: {e}"))?;
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    Ok(lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect())
}

/// The one list in a text.
fn list(text: &str, path: &str) -> Result<String, String> {
    let lines = text.lines().skip_while(|line| !line.starts_with("- "));
    let list: Vec<_> =
        lines.take_while(|line| line.starts_with("- ") || line.starts_with("  ")).collect();
    if list.is_empty() {
        return Err(format!("{path}: its documentation has no list"));
    }
    Ok(format!("\n{}\n\n", list.join("\n")))
}

/// The block of text that is the grammar.
fn grammar(text: &str, path: &str) -> Result<String, String> {
    let (_, rest) = text.split_once("```text\n").ok_or(format!("{path}: no ```text block"))?;
    let (block, _) = rest.split_once("```").ok_or(format!("{path}: the block has no end"))?;
    Ok(format!("\n```text\n{block}```\n\n"))
}
