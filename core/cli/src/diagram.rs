//! `diagram`: a machine as Mermaid or Graphviz text, with the instances in each state on request.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Args, ValueEnum};
use rstmdb::{CountInstancesRequest, GetMachineRequest};
use serde::Serialize;

use crate::commands::machines::{StoredDefinition, StoredTransition};
use crate::error::{self, CommandResult, internal};
use crate::output::number;
use crate::session::CliSession;

/// The source that stands for every state without a transition of its own for the event.
const WILDCARD: &str = "*";

/// Draw a machine as Mermaid or DOT text.
///
/// The text goes to standard output: paste Mermaid into Markdown, pipe DOT into Graphviz. With
/// --counts every state shows how many instances it has now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli diagram order
  rstmdb-cli diagram order --counts
  rstmdb-cli diagram order -v 1 --format dot | dot -Tsvg > order.svg")]
pub(crate) struct Diagram {
    /// The machine's name.
    machine: String,
    /// The version; the latest when absent.
    #[arg(short = 'V', long, short_alias = 'v', value_name = "NUMBER")]
    version: Option<u32>,
    /// mermaid or dot.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "mermaid",
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    format: Language,
    /// Show how many instances are in each state.
    #[arg(short, long)]
    counts: bool,
}

/// The language of a diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Language {
    Mermaid,
    Dot,
}

#[derive(Debug, Serialize)]
struct Drawn {
    machine: String,
    version: u32,
    format: Language,
    diagram: String,
}

impl Diagram {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let version = CliSession::version(&database, &self.machine, self.version)?;
        let machine = self.machine.as_str();
        let stored =
            database.get_machine(GetMachineRequest { machine: machine.into(), version })?;
        let definition: StoredDefinition = stored.definition.decode().map_err(error::internal)?;
        let counts = if self.counts {
            let request = CountInstancesRequest {
                machine: Some(machine.into()),
                version: Some(version),
                state: None,
            };
            let counts = database.count_instances(request)?.counts;
            Some(counts.into_iter().map(|entry| (entry.state.to_string(), entry.count)).collect())
        } else {
            None
        };
        let diagram = draw(self.format, &self.machine, &definition, counts).map_err(internal)?;
        let drawn = Drawn { machine: self.machine, version, format: self.format, diagram };
        session.output.show(&drawn, |drawn| drawn.diagram.clone())
    }
}

/// The number of instances in each state that has some.
pub(crate) type StateCounts = BTreeMap<String, u64>;

/// The text of a diagram.
pub(crate) fn draw(
    language: Language,
    name: &str,
    definition: &StoredDefinition,
    counts: Option<StateCounts>,
) -> Result<String, std::fmt::Error> {
    let picture = Picture { name, definition, counts };
    match language {
        Language::Mermaid => picture.mermaid(),
        Language::Dot => picture.dot(),
    }
}

struct Picture<'a> {
    name: &'a str,
    definition: &'a StoredDefinition,
    counts: Option<StateCounts>,
}

impl Picture<'_> {
    /// The states, each once, in the definition's order.
    fn states(&self) -> Vec<&str> {
        let mut states: Vec<&str> = Vec::new();
        for state in &self.definition.states {
            if !states.contains(&state.as_str()) {
                states.push(state);
            }
        }
        states
    }

    /// Whether transitions from every state are drawn from a node of their own.
    fn has_wildcard(&self) -> bool {
        let is_wild =
            |transition: &StoredTransition| transition.from.iter().any(|from| from == WILDCARD);
        self.definition.transitions.iter().any(is_wild)
    }

    fn instances(&self, state: &str) -> Option<String> {
        let count = self.counts.as_ref()?.get(state).copied().unwrap_or(0);
        Some(number(count))
    }

    fn mermaid(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::from("stateDiagram-v2\n");
        let ids: BTreeMap<&str, String> = self
            .states()
            .into_iter()
            .enumerate()
            .map(|(index, state)| (state, mermaid_id(state, index)))
            .collect();
        let id = |state: &str| ids.get(state).cloned().unwrap_or_else(|| "any_state".to_owned());
        for state in self.states() {
            let label = mermaid_text(state);
            match self.instances(state) {
                Some(count) => writeln!(out, "    state \"{label} ({count})\" as {}", id(state))?,
                None if id(state) != state => {
                    writeln!(out, "    state \"{label}\" as {}", id(state))?;
                }
                None => {}
            }
        }
        if self.has_wildcard() {
            writeln!(out, "    state \"any other state\" as any_state")?;
        }
        writeln!(out, "    [*] --> {}", id(&self.definition.initial))?;
        for transition in &self.definition.transitions {
            let guard = transition.guard.as_ref().map(|guard| format!(" [{guard}]"));
            let label = format!("{}{}", transition.event, guard.unwrap_or_default());
            for from in &transition.from {
                let (from, to) = (id(from), id(&transition.to));
                writeln!(out, "    {from} --> {to} : {}", mermaid_text(&label))?;
            }
        }
        for state in &self.definition.r#final {
            writeln!(out, "    {} --> [*]", id(state))?;
        }
        Ok(out)
    }

    fn dot(&self) -> Result<String, std::fmt::Error> {
        let mut out = format!("digraph {} {{\n", dot_text(self.name));
        out.push_str("    rankdir=LR;\n    node [shape=box, style=rounded];\n");
        out.push_str("    \"\" [shape=point];\n");
        for state in self.states() {
            let mut attributes = Vec::new();
            if let Some(count) = self.instances(state) {
                attributes.push(format!("label={}", dot_text(&format!("{state}\n{count}"))));
            }
            if self.definition.r#final.iter().any(|name| name == state) {
                attributes.push("peripheries=2".to_owned());
            }
            let attributes = match attributes.is_empty() {
                true => String::new(),
                false => format!(" [{}]", attributes.join(", ")),
            };
            writeln!(out, "    {}{attributes};", dot_text(state))?;
        }
        if self.has_wildcard() {
            writeln!(out, "    \"*\" [label=\"any other state\", style=dashed];")?;
        }
        writeln!(out, "    \"\" -> {};", dot_text(&self.definition.initial))?;
        for transition in &self.definition.transitions {
            let guard = transition.guard.as_ref().map(|guard| format!("\n[{guard}]"));
            let label = format!("{}{}", transition.event, guard.unwrap_or_default());
            for from in &transition.from {
                let (from, to) = (dot_text(from), dot_text(&transition.to));
                writeln!(out, "    {from} -> {to} [label={}];", dot_text(&label))?;
            }
        }
        out.push_str("}\n");
        Ok(out)
    }
}

/// The state's own name when Mermaid takes it for one, else a made one.
fn mermaid_id(state: &str, index: usize) -> String {
    const RESERVED: [&str; 12] = [
        "as",
        "class",
        "classDef",
        "click",
        "direction",
        "end",
        "hide",
        "note",
        "scale",
        "state",
        "style",
        "any_state",
    ];
    let mut chars = state.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain && !RESERVED.contains(&state) { state.to_owned() } else { format!("_{index}") }
}

/// Text in which nothing means anything to Mermaid.
fn mermaid_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // `<` alone is a sign, before a letter or a slash it would begin a tag.
        let begins_tag = |next: &char| next.is_ascii_alphabetic() || *next == '/' || *next == '!';
        match c {
            '"' | '#' | ';' | ':' => out.push_str(&format!("#{};", u32::from(c))),
            '<' if chars.peek().is_some_and(begins_tag) => out.push_str("#60;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A quoted DOT string.
fn dot_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> StoredDefinition {
        serde_json::from_str(
            r#"{"states": ["new", "end", "in \"work\"", "new"], "initial": "new", "final": ["end"],
                "transitions": [
                    {"from": ["new"], "event": "GO", "to": "in \"work\"", "guard": "ctx.a >= 1 && ctx.a<ctx.b"},
                    {"from": ["*"], "event": "STOP; now", "to": "end"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn mermaid_names_are_made_safe() {
        let text = draw(Language::Mermaid, "m", &definition(), None).unwrap();
        assert_eq!(
            text,
            "stateDiagram-v2\n    state \"end\" as _1\n    state \"in #34;work#34;\" as _2\n    \
             state \"any other state\" as any_state\n    [*] --> new\n    new --> _2 : GO [ctx.a \
             >= 1 && ctx.a#60;ctx.b]\n    any_state --> _1 : STOP#59; now\n    _1 --> [*]\n"
        );
    }

    #[test]
    fn counts_are_part_of_the_labels() {
        let counts = StateCounts::from([("new".to_owned(), 1200)]);
        let text = draw(Language::Mermaid, "m", &definition(), Some(counts.clone())).unwrap();
        assert!(text.contains("state \"new (1,200)\" as new\n"), "{text}");
        assert!(text.contains("state \"end (0)\" as _1\n"), "{text}");
        let text = draw(Language::Dot, "m", &definition(), Some(counts)).unwrap();
        assert!(text.contains("\"new\" [label=\"new\\n1,200\"];"), "{text}");
        assert!(text.contains("\"end\" [label=\"end\\n0\", peripheries=2];"), "{text}");
        assert!(text.contains(
            "\"new\" -> \"in \\\"work\\\"\" [label=\"GO\\n[ctx.a >= 1 && ctx.a<ctx.b]\"];"
        ));
    }
}
