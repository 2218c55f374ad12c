//! `diagram`: a machine as Mermaid or Graphviz text, with the instances in each state on request.
//!
//! Names never are identifiers of those languages: states have made ids, names are labels in which
//! nothing means anything.

mod dot;
mod mermaid;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use rstmdb::{CountInstancesRequest, GetMachineRequest};
use serde::Serialize;

use crate::clean::clean;
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
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: Option<u32>,
    /// mermaid or dot.
    #[arg(
        long,
        value_enum,
        default_value = "mermaid",
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    format: Language,
    /// Show how many instances are in each state.
    #[arg(long)]
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
    let picture = Picture::of(name, definition, counts);
    match language {
        Language::Mermaid => mermaid::text(&picture),
        Language::Dot => dot::text(&picture),
    }
}

/// What is drawn, in the definition's order.
struct Picture {
    name: String,
    states: Vec<DrawnState>,
    /// Whether transitions from every state are drawn from a node of their own.
    has_wildcard: bool,
    initial: String,
    arrows: Vec<Arrow>,
}

struct DrawnState {
    id: String,
    name: String,
    count: Option<String>,
    is_final: bool,
    /// What it does when it is entered and left, a line each.
    doings: Vec<String>,
}

struct Arrow {
    from: String,
    to: String,
    event: String,
    guard: Option<String>,
    /// What its actions do, as a list.
    actions: Option<String>,
}

/// The id of the node that stands for all states without a transition of their own.
const ANY: &str = "any";
const ANY_LABEL: &str = "any other state";

impl Picture {
    fn of(name: &str, definition: &StoredDefinition, counts: Option<StateCounts>) -> Picture {
        let mut ids: BTreeMap<&str, String> = BTreeMap::new();
        let mut states = Vec::new();
        for state in &definition.states {
            // A definition may name a state twice.
            let name = &state.name;
            if ids.contains_key(name.as_str()) {
                continue;
            }
            let id = format!("s{}", states.len());
            let count = counts.as_ref().map(|counts| counts.get(name).copied().unwrap_or(0));
            states.push(DrawnState {
                id: id.clone(),
                name: name.clone(),
                count: count.map(number),
                is_final: definition.r#final.contains(name),
                doings: state.doings(),
            });
            ids.insert(name, id);
        }
        let id = |state: &str| ids.get(state).cloned().unwrap_or_else(|| ANY.to_owned());
        let arrow = |transition: &StoredTransition, from: &str| Arrow {
            from: if from == WILDCARD { ANY.to_owned() } else { id(from) },
            to: match &transition.to {
                Some(to) => id(to),
                None if from == WILDCARD => ANY.to_owned(),
                None => id(from),
            },
            event: transition.trigger().to_owned(),
            guard: transition.guard.clone(),
            actions: (!transition.actions.is_empty()).then(|| transition.actions.join(", ")),
        };
        let arrows: Vec<Arrow> = definition
            .transitions
            .iter()
            .flat_map(|transition| transition.from.iter().map(move |from| arrow(transition, from)))
            .collect();
        Picture {
            name: name.to_owned(),
            has_wildcard: arrows.iter().any(|arrow| arrow.from == ANY),
            initial: id(&definition.initial),
            arrows,
            states,
        }
    }
}

/// A name with nothing in it that is obeyed or hidden; an empty one as two quotes.
fn visible(name: &str) -> String {
    if name.is_empty() { "\"\"".to_owned() } else { clean(name) }
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
    fn names_are_labels_of_made_ids() {
        let text = draw(Language::Mermaid, "m", &definition(), None).unwrap();
        assert_eq!(
            text,
            "stateDiagram-v2\n    state \"new\" as s0\n    state \"end\" as s1\n    state \"in \
             #34;work#34;\" as s2\n    state \"any other state\" as any\n    [*] --> s0\n    s0 --> s2 : \
             GO #91;ctx.a #62;= 1 #38;#38; ctx.a#60;ctx.b#93;\n    any --> s1 : STOP#59; now\n    s1 --> \
             [*]\n"
        );
        let text = draw(Language::Dot, "m", &definition(), None).unwrap();
        assert_eq!(
            text,
            "digraph machine {\n    label=\"m\"; labelloc=t;\n    rankdir=LR;\n    node [shape=box, \
             style=rounded];\n    start [shape=point, label=\"\"];\n    s0 [label=\"new\"];\n    s1 \
             [label=\"end\", peripheries=2];\n    s2 [label=\"in \\\"work\\\"\"];\n    any [label=\"any \
             other state\", style=dashed];\n    start -> s0;\n    s0 -> s2 [label=\"GO\\n[ctx.a >= 1 \
             &amp;&amp; ctx.a<ctx.b]\"];\n    any -> s1 [label=\"STOP; now\"];\n}\n"
        );
    }

    #[test]
    fn what_states_and_transitions_do_is_drawn() {
        let definition = serde_json::from_str(
            r#"{"states": ["a", {"name": "b", "entry": [{"emit": "x", "data": 1}, {"unset": ["n"]}], "exit": [{"raise": "E"}]}],
                "initial": "a", "transitions": [
                    {"from": ["a"], "event": "GO", "to": "b", "actions": [{"assign": {"n": 1}}]},
                    {"from": ["b"], "event": "NOTE", "actions": [{"if": "ctx.n", "then": []}]},
                    {"from": ["b"], "always": true, "to": "a", "guard": "ctx.n"}]}"#,
        )
        .unwrap();
        let text = draw(Language::Mermaid, "m", &definition, None).unwrap();
        let (_, drawn) = text.split_once("    state \"b\" as s1\n").unwrap();
        assert_eq!(
            drawn,
            "    s1 : entry / emit, unset\n    s1 : exit / raise\n    [*] --> s0\n    s0 --> s1 : GO / \
             assign\n    s1 --> s1 : NOTE / if\n    s1 --> s0 : (always) #91;ctx.n#93;\n"
        );
        let text = draw(Language::Dot, "m", &definition, None).unwrap();
        let line = "    s1 [label=\"b\\nentry / emit, unset\\nexit / raise\"];\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("s1 -> s0 [label=\"(always)\\n[ctx.n]\"];"), "{text}");
    }

    #[test]
    fn counts_are_part_of_the_labels() {
        let counts = StateCounts::from([("new".to_owned(), 1200)]);
        let text = draw(Language::Mermaid, "m", &definition(), Some(counts.clone())).unwrap();
        assert!(text.contains("state \"new (1,200)\" as s0\n"), "{text}");
        assert!(text.contains("state \"end (0)\" as s1\n"), "{text}");
        let text = draw(Language::Dot, "m", &definition(), Some(counts)).unwrap();
        assert!(text.contains("s0 [label=\"new\\n1,200\"];"), "{text}");
        assert!(text.contains("s1 [label=\"end\\n0\", peripheries=2];"), "{text}");
    }
}
