//! Commands on machine definitions.

use clap::Args;
use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    DefinitionWarning, GetMachineRequest, GetMachineResult, ListMachinesRequest, PutMachineRequest,
    PutMachineResult, ValidateMachineRequest, ValidateMachineResult,
};
use rstmdb::{Result, Text};
use serde::{Deserialize, Deserializer};

use super::list::total;
use crate::error::{self, CommandResult};
use crate::output::yes_no;
use crate::screen::{Screen, fields, table};
use crate::session::{CliSession, json_argument, warn_if_blank};

/// The most definitions that are read to find names.
const DEFINITIONS_MAX: usize = 50;

/// Store a machine definition under a name and version.
///
/// Definitions never change: a change is a new version. A definition with warnings (an unknown
/// key, an unreachable state) is refused unless --lenient is given.
///
/// What a definition and its guards may say is in `docs/reference/definitions.md` and `docs/reference/guards.md`.
#[derive(Debug, Args)]
#[command(
    visible_alias = "pm",
    after_help = "\
Examples:
  rstmdb-cli put-machine -n order -v 1 @order.json
  rstmdb-cli put-machine --name turnstile --version 1 '{\"states\":[\"locked\",\"open\"],\"initial\":\"locked\",\"transitions\":[{\"from\":\"locked\",\"event\":\"COIN\",\"to\":\"open\"},{\"from\":\"open\",\"event\":\"PUSH\",\"to\":\"locked\"}]}'
  rstmdb-cli put-machine -n order -v 2 --lenient - --output json"
)]
pub(crate) struct PutMachine {
    /// The machine's name.
    #[arg(short, long, visible_alias = "machine", short_alias = 'm', value_name = "MACHINE")]
    name: String,
    /// The version to store the definition under.
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: u32,
    /// Accept a definition with warnings, and print them.
    #[arg(long)]
    lenient: bool,
    /// The definition: JSON, @FILE, or - for standard input.
    #[arg(value_name = "DEFINITION|@FILE")]
    definition: String,
}

impl PutMachine {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let definition = json_argument("definition", &self.definition)?;
        let mut request = PutMachineRequest::new(self.name, self.version, definition);
        request.strict = !self.lenient;
        let database = session.open_or_create_for(&request)?;
        let result = match database.put_machine(request.clone()) {
            Err(error) if request.strict && error.reason() == Some(reason::UNSUPPORTED) => {
                session.output.note("an older server does not look for warnings in definitions");
                database.put_machine(PutMachineRequest { strict: false, ..request.clone() })?
            }
            other => other?,
        };
        warn_if_blank(session.output, "the machine's name", &request.machine);
        note_warnings(session, &result.warnings);
        session.output.show(&result, stored)
    }
}

fn note_warnings(session: &mut CliSession, warnings: &[DefinitionWarning]) {
    for warning in warnings {
        let suggestion = warning.suggestion.as_deref();
        let suggestion = suggestion.map(|name| format!(" (did you mean {name:?}?)"));
        let (path, message) = (&warning.path, &warning.message);
        let suggestion = suggestion.unwrap_or_default();
        session.output.note(&format!("warning: {path}: {message}{suggestion}"));
    }
}

fn stored(result: &PutMachineResult) -> Screen {
    fields([
        ("machine", result.machine.to_string()),
        ("version", result.version.to_string()),
        ("checksum", result.stored_checksum.to_string()),
        ("created", yes_no(result.created).to_owned()),
    ])
}

/// Check a machine definition without storing it.
///
/// A definition with warnings (an unknown key, an unreachable state) is refused unless --lenient is
/// given.
///
/// What a definition and its guards may say is in `docs/reference/definitions.md` and `docs/reference/guards.md`.
#[derive(Debug, Args)]
#[command(
    visible_alias = "vm",
    after_help = "\
Examples:
  rstmdb-cli validate-machine @order.json
  rstmdb-cli validate-machine --lenient - --output json"
)]
pub(crate) struct ValidateMachine {
    /// Accept a definition with warnings, and print them.
    #[arg(long)]
    lenient: bool,
    /// The definition: JSON, @FILE, or - for standard input.
    #[arg(value_name = "DEFINITION|@FILE")]
    definition: String,
}

impl ValidateMachine {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let definition = json_argument("definition", &self.definition)?;
        let request = ValidateMachineRequest { definition, strict: !self.lenient };
        let result = session.open_existing()?.validate_machine(request)?;
        note_warnings(session, &result.warnings);
        session.output.show(&result, |result: &ValidateMachineResult| {
            fields([("valid", "yes".to_owned()), ("checksum", result.checksum.to_string())])
        })
    }
}

/// Show a machine definition.
#[derive(Debug, Args)]
#[command(
    visible_alias = "gm",
    after_help = "\
Examples:
  rstmdb-cli get-machine -n order
  rstmdb-cli get-machine -n order -v 1 --output json | jq .definition"
)]
pub(crate) struct GetMachine {
    /// The machine's name.
    #[arg(short, long, visible_alias = "machine", short_alias = 'm', value_name = "MACHINE")]
    name: String,
    /// The version; the latest when absent.
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: Option<u32>,
}

impl GetMachine {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let version = CliSession::version(&database, &self.name, self.version)?;
        let request = GetMachineRequest { machine: self.name.as_str().into(), version };
        let result = database.get_machine(request)?;
        let definition: StoredDefinition = result.definition.decode().map_err(error::internal)?;
        session.output.show(&result, |result| describe(&self.name, version, result, &definition))
    }
}

/// The members of a stored definition.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredDefinition {
    pub(crate) states: Vec<StoredState>,
    pub(crate) initial: String,
    #[serde(default)]
    pub(crate) r#final: Vec<String>,
    pub(crate) transitions: Vec<StoredTransition>,
}

/// One transition of a stored definition.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredTransition {
    pub(crate) from: Vec<String>,
    /// None for one that answers no event.
    #[serde(default)]
    pub(crate) event: Option<String>,
    /// None where the state stays.
    #[serde(default)]
    pub(crate) to: Option<String>,
    #[serde(default)]
    pub(crate) guard: Option<String>,
    /// What each action does.
    #[serde(default, deserialize_with = "action_names")]
    pub(crate) actions: Vec<String>,
}

impl StoredTransition {
    /// The event, or what stands for none.
    pub(crate) fn trigger(&self) -> &str {
        self.event.as_deref().unwrap_or("(always)")
    }
}

/// A state: a name, or an object where it does something.
#[derive(Debug, Deserialize)]
#[serde(from = "WrittenState")]
pub(crate) struct StoredState {
    pub(crate) name: String,
    /// What each action does that is done when it is entered.
    pub(crate) entry: Vec<String>,
    /// The same of those done when it is left.
    pub(crate) exit: Vec<String>,
}

impl StoredState {
    /// What it does, in a line for each of entering and leaving it.
    pub(crate) fn doings(&self) -> Vec<String> {
        [("entry", &self.entry), ("exit", &self.exit)]
            .into_iter()
            .filter(|(_, actions)| !actions.is_empty())
            .map(|(when, actions)| format!("{when} / {}", actions.join(", ")))
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenState {
    Name(String),
    Object {
        name: String,
        #[serde(default, deserialize_with = "action_names")]
        entry: Vec<String>,
        #[serde(default, deserialize_with = "action_names")]
        exit: Vec<String>,
    },
}

impl From<WrittenState> for StoredState {
    fn from(written: WrittenState) -> StoredState {
        match written {
            WrittenState::Name(name) => StoredState { name, entry: Vec::new(), exit: Vec::new() },
            WrittenState::Object { name, entry, exit } => StoredState { name, entry, exit },
        }
    }
}

/// What each action does: the one of its members that is no part of it.
fn action_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<String>, D::Error> {
    let actions = Vec::<serde_json::Map<String, serde_json::Value>>::deserialize(deserializer)?;
    let is_part = |name: &str| ["then", "else", "payload", "data"].contains(&name);
    let verb = |action: &serde_json::Map<String, serde_json::Value>| {
        action.keys().find(|name| !is_part(name)).cloned().unwrap_or_default()
    };
    Ok(actions.iter().map(verb).collect())
}

/// The machines with their latest definitions; of very many machines only the first ones, since each
/// costs a request.
pub(crate) fn latest_definitions(database: &Database) -> Result<Vec<(Text, StoredDefinition)>> {
    let mut found = Vec::new();
    let items = database.list_machines(ListMachinesRequest {})?.items;
    for item in items.into_iter().take(DEFINITIONS_MAX) {
        let Some(version) = item.versions.last().copied() else { continue };
        let request = GetMachineRequest { machine: item.machine.clone(), version };
        let definition = database.get_machine(request)?.definition;
        if let Ok(definition) = definition.decode() {
            found.push((item.machine, definition));
        }
    }
    Ok(found)
}

fn describe(
    name: &str,
    version: u32,
    result: &GetMachineResult,
    definition: &StoredDefinition,
) -> Screen {
    let states: Vec<&str> = definition.states.iter().map(|state| state.name.as_str()).collect();
    let mut lines = vec![
        ("machine", name.to_owned()),
        ("version", version.to_string()),
        ("checksum", result.checksum.to_string()),
        ("states", states.join(", ")),
        ("initial", definition.initial.clone()),
    ];
    if !definition.r#final.is_empty() {
        lines.push(("final", definition.r#final.join(", ")));
    }
    let has_actions =
        definition.transitions.iter().any(|transition| !transition.actions.is_empty());
    let rows = definition.transitions.iter().map(|transition| {
        let guard = transition.guard.clone().unwrap_or_default();
        let to = transition.to.clone().unwrap_or_else(|| "(stays)".to_owned());
        let mut row = vec![transition.from.join(", "), transition.trigger().to_owned(), to, guard];
        if has_actions {
            row.push(transition.actions.join(", "));
        }
        row
    });
    let head = ["from", "event", "to", "guard", "actions"];
    let columns = if has_actions { head.as_slice() } else { &head[..4] };
    let screen = fields(lines).then(table(columns, rows));
    let doings = definition
        .states
        .iter()
        .flat_map(|state| state.doings().into_iter().map(|doing| vec![state.name.clone(), doing]));
    let doings: Vec<_> = doings.collect();
    match doings.is_empty() {
        true => screen,
        false => screen.then(table(&["state", "does"], doings)),
    }
}

/// List machines and their versions.
#[derive(Debug, Args)]
#[command(
    visible_alias = "lm",
    after_help = "\
Examples:
  rstmdb-cli list-machines
  rstmdb-cli list-machines --output json | jq -r '.items[].machine'"
)]
pub(crate) struct ListMachines {}

impl ListMachines {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.list_machines(ListMachinesRequest {})?;
        session.output.show(&result, |result| {
            let rows = result.items.iter().map(|item| {
                let versions: Vec<_> = item.versions.iter().map(u32::to_string).collect();
                vec![item.machine.to_string(), versions.join(", ")]
            });
            let count = result.items.len();
            table(&["machine", "versions"], rows).then(total("machine", count, count as u64))
        })
    }
}
