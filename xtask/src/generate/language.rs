//! The reference pages of definitions and guards: tables that their readers work by, rules from their comments.

use rstmdb_machine::language::{
    ACTION_KEYS, ActionKey, Binding, DEFINITION_KEYS, DefinitionDoubt, DefinitionKey, Function,
    GuardWord, OPERATORS, STATE_KEYS, TRANSITION_KEYS,
};
use rstmdb_machine::{GUARD_DEPTH_MAX, GUARD_NODES_MAX};

use super::reference::{self, yes_no};
use super::region;
use crate::tree;

/// What holds for definitions as a whole; `guard_bytes_max` stands with the guards.
const DEFINITION_LIMITS: [&str; 8] = [
    "definition_bytes_max",
    "states_max",
    "transitions_max",
    "name_bytes_max",
    "machine_versions_max",
    "machine_bytes_max",
    "actions_max",
    "steps_max",
];

/// What holds for expressions.
const EXPRESSION_LIMITS: [&str; 3] =
    ["guard_bytes_max", "evaluation_steps_max", "evaluation_bytes_max"];

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
            ("keys of a state", keys(&STATE_KEYS)),
            ("actions", actions()),
            ("rules", list(&doc, "core/machine/src/lib.rs")?),
            ("warnings", table(&["reason", "when"], &doubts)),
            ("limits", limits(&DEFINITION_LIMITS, &[])?),
        ],
    )
}

/// `docs/reference/guards.md`, with the tables of words, operators and functions, the grammar and the rules.
pub fn guards() -> Result<String, String> {
    const SOURCE: &str = "core/machine/src/expression/mod.rs";
    let doc = module_doc(SOURCE)?;
    let words: Vec<_> =
        GuardWord::ALL.iter().map(|word| vec![code(word.name()), word.doc().into()]).collect();
    let functions: Vec<_> = Function::ALL
        .iter()
        .map(|function| {
            let mut parameters = function.parameters().join(", ");
            if let Some(further) = function.further() {
                parameters += &format!(", {further} …");
            }
            let call = format!("{}({parameters})", function.name());
            vec![code(&call), function.doc().into()]
        })
        .collect();
    let own = [
        ("operands and operators", "The most operands and operators of a guard.", GUARD_NODES_MAX),
        (
            "depth",
            "How deeply parentheses, `!`, `-`, `? :`, lists and calls may nest.",
            GUARD_DEPTH_MAX,
        ),
    ];
    region::fill(
        "docs/reference/guards.md",
        &[
            ("words", table(&["word", "what it stands for"], &words)),
            ("operators", operators()),
            ("functions", table(&["function", "what it gives"], &functions)),
            ("rules", list(&doc, SOURCE)?),
            ("grammar", grammar(&doc, SOURCE)?),
            ("limits", limits(&EXPRESSION_LIMITS, &own)?),
        ],
    )
}

fn actions() -> String {
    let row = |key: &ActionKey| {
        let parts: Vec<_> = key.parts.iter().map(|part| code(part)).collect();
        vec![code(key.name), key.value.into(), parts.join(", "), key.doc.into()]
    };
    let rows: Vec<_> = ACTION_KEYS.iter().map(row).collect();
    table(&["action", "value", "beside it", "what it does"], &rows)
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
