//! What the Tab key offers: commands, options, machines, states, events, instance ids, files.

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};
use rstmdb::blocking::Database;
use rstmdb::{
    GetMachineRequest, ListInstancesRequest, ListMachinesRequest, PermittedRequest, Result,
};

use super::words::{self, Word};
use crate::args::Cli;
use crate::commands::Definition;
use crate::error::quote;
use crate::session::versions;

/// The most candidates offered.
const CANDIDATES_MAX: usize = 100;

/// The most pages of ids that are looked through for a prefix.
const PAGES_MAX: usize = 20;

/// Commands that only the shell has.
pub(super) const SHELL_COMMANDS: [&str; 4] = ["help", "output", "quit", "unwatch"];

/// Where the candidates go in the line, and the candidates.
pub(super) fn complete(before_cursor: &str, database: Option<&Database>) -> (usize, Vec<String>) {
    let (before, word) = words::split_at_cursor(before_cursor);
    let root = Cli::command();
    let Some((first, rest)) = before.split_first() else {
        return (word.start, commands(&root, &word.text));
    };
    let Some(command) = root.find_subcommand(first) else {
        let formats = ["table", "json"].map(str::to_owned).to_vec();
        let found = if first == "output" { formats } else { Vec::new() };
        return (word.start, matching(found, &word.text));
    };
    let arguments: Vec<&Arg> = command.get_arguments().chain(root.get_arguments()).collect();
    let option = rest.last().and_then(|word| option_with_value(&arguments, word));
    if option.is_none() && word.text.starts_with('-') {
        return (word.start, matching(options(&arguments), &word.text));
    }
    let positional = || command.get_positionals().next();
    let Some(argument) = option.or_else(positional) else {
        return (word.start, Vec::new());
    };
    values(argument, &before, &word, database)
}

fn commands(root: &Command, prefix: &str) -> Vec<String> {
    let known = root.get_subcommands().filter(|command| !command.is_hide_set());
    let names = known.map(|command| command.get_name().to_owned());
    matching(names.chain(SHELL_COMMANDS.map(str::to_owned)), prefix)
}

fn options(arguments: &[&Arg]) -> Vec<String> {
    let shown = arguments.iter().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| argument.get_long()).map(|name| format!("--{name}")).collect()
}

/// The option that `word` is, when it waits for a value.
fn option_with_value<'a>(arguments: &[&'a Arg], word: &str) -> Option<&'a Arg> {
    let is_meant = |argument: &&&Arg| match word.strip_prefix("--") {
        Some(name) => {
            argument.get_long() == Some(name)
                || argument.get_all_aliases().is_some_and(|all| all.contains(&name))
        }
        None => word.strip_prefix('-').is_some_and(|name| {
            let mut chars = name.chars();
            let short = chars.next().filter(|_| chars.next().is_none());
            short.is_some()
                && (argument.get_short() == short
                    || argument
                        .get_all_short_aliases()
                        .is_some_and(|all| all.iter().any(|alias| Some(*alias) == short)))
        }),
    };
    arguments.iter().find(is_meant).copied().filter(|argument| argument.get_action().takes_values())
}

/// The values an argument may take.
fn values(
    argument: &Arg,
    before: &[String],
    word: &Word,
    database: Option<&Database>,
) -> (usize, Vec<String>) {
    let name = argument.get_id().as_str();
    let is_list = argument.get_value_delimiter().is_some();
    // In a list the last element is completed.
    let (kept, prefix) = match word.text.rsplit_once(',') {
        Some((kept, prefix)) if is_list => (format!("{kept},"), prefix),
        _ => (String::new(), word.text.as_str()),
    };
    let fixed: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let found = match name {
        _ if !fixed.is_empty() => Ok(matching(fixed, prefix)),
        "file" => Ok(files(prefix)),
        "fsync" => {
            let policies = ["every_write", "every_n:100", "every_ms:100", "never"];
            Ok(matching(policies.map(str::to_owned), prefix))
        }
        _ => database.map_or(Ok(Vec::new()), |database| stored(name, before, prefix, database)),
    };
    // A database that fails has nothing to offer; the command itself will say why.
    let found = found.unwrap_or_default();
    let quoted = found.into_iter().take(CANDIDATES_MAX);
    (word.start, quoted.map(|value| quote(&format!("{kept}{value}"))).collect())
}

/// Names from the database.
fn stored(name: &str, before: &[String], prefix: &str, database: &Database) -> Result<Vec<String>> {
    let found = match name {
        "machine" | "machines" | "name" => machines(database)?,
        "state" | "expected_state" | "from_states" | "to_states" => {
            names(database, |definition| definition.states.clone())?
        }
        "event" | "events" => events(before, database)?,
        "id" | "instance" => return instances(database, prefix),
        "version" => {
            let machine = before
                .iter()
                .zip(before.iter().skip(1))
                .find(|(option, _)| ["-n", "--name", "-m", "--machine"].contains(&option.as_str()));
            match machine {
                Some((_, machine)) => {
                    versions(database, machine)?.iter().map(u32::to_string).collect()
                }
                None => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    Ok(matching(found, prefix))
}

fn machines(database: &Database) -> Result<Vec<String>> {
    let items = database.list_machines(ListMachinesRequest {})?.items;
    Ok(items.into_iter().map(|item| item.machine.to_string()).collect())
}

/// What `take` finds in the latest definitions of all machines, each name once.
fn names(database: &Database, take: impl Fn(&Definition) -> Vec<String>) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for item in database.list_machines(ListMachinesRequest {})?.items {
        let Some(version) = item.versions.last().copied() else { continue };
        let request = GetMachineRequest { machine: item.machine, version };
        let definition = database.get_machine(request)?.definition;
        found.extend(definition.decode::<Definition>().iter().flat_map(&take));
    }
    Ok(found.into_iter().collect())
}

/// The events the named instance accepts now, or those of all machines.
fn events(before: &[String], database: &Database) -> Result<Vec<String>> {
    let named = before
        .iter()
        .zip(before.iter().skip(1))
        .find(|(option, _)| ["-i", "--instance", "--id"].contains(&option.as_str()));
    if let Some((_, id)) = named {
        let request = PermittedRequest { instance_id: id.as_str().into(), payload: None };
        if let Ok(answer) = database.permitted(request) {
            let (now, not_now): (Vec<_>, Vec<_>) =
                answer.events.into_iter().partition(|event| event.permitted);
            // A guard may want a payload that is not typed yet.
            let offered = if now.is_empty() { not_now } else { now };
            return Ok(offered.into_iter().map(|event| event.event.to_string()).collect());
        }
    }
    names(database, |definition| {
        definition.transitions.iter().map(|transition| transition.event.clone()).collect()
    })
}

fn instances(database: &Database, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut request = ListInstancesRequest { limit: Some(10_000), ..Default::default() };
    for _ in 0..PAGES_MAX {
        let page = database.list_instances(request.clone())?;
        let ids = page.instances.into_iter().map(|item| item.id.to_string());
        found.extend(ids.filter(|id| id.starts_with(prefix)).take(CANDIDATES_MAX));
        if found.len() >= CANDIDATES_MAX || page.next_cursor.is_none() {
            break;
        }
        request.cursor = page.next_cursor;
    }
    Ok(found)
}

fn files(prefix: &str) -> Vec<String> {
    let (folder, start) = match prefix.rfind('/') {
        Some(slash) => prefix.split_at(slash + 1),
        None => ("", prefix),
    };
    let Ok(entries) = std::fs::read_dir(if folder.is_empty() { "." } else { folder }) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let end = if entry.path().is_dir() { "/" } else { "" };
            name.starts_with(start).then(|| format!("{folder}{name}{end}"))
        })
        .collect();
    found.sort();
    found
}

fn matching(names: impl IntoIterator<Item = String>, prefix: &str) -> Vec<String> {
    let mut found: Vec<String> =
        names.into_iter().filter(|name| name.starts_with(prefix)).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use rstmdb::{CreateInstanceRequest, Json, PutMachineRequest};

    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let database = Database::open("mem:").unwrap();
        let definition = Json::parse(
            r#"{"states": ["open", "shut", "slammed shut"], "initial": "open", "transitions": [
                {"from": "open", "event": "SHUT", "to": "shut"},
                {"from": "open", "event": "SLAM", "to": "slammed shut"},
                {"from": ["shut", "slammed shut"], "event": "OPEN", "to": "open"}]}"#,
        );
        let definition = definition.unwrap();
        for version in [1, 2] {
            let meta = definition.as_str().replacen('{', &format!("{{\"meta\":{version},"), 1);
            let definition = Json::parse(&meta).unwrap();
            database.put_machine(PutMachineRequest::new("door", version, definition)).unwrap();
        }
        for id in ["front door", "garage"] {
            database.create_instance(CreateInstanceRequest::new(id, "door", 1)).unwrap();
        }
        complete(line, Some(&database)).1
    }

    #[test]
    fn every_kind_of_word_is_completed() {
        let cases: &[(&str, &[&str])] = &[
            ("wal", &["wal-read", "wal-stats"]),
            ("out", &["output"]),
            ("output ", &["json", "table"]),
            ("get-instance ", &["'front door'", "garage"]),
            ("history 'fr", &["'front door'"]),
            ("create-instance -m ", &["door"]),
            ("diagram d", &["door"]),
            ("get-machine --name door -v ", &["1", "2"]),
            ("list-instances --state s", &["shut", "'slammed shut'"]),
            ("apply-event -i garage -e ", &["SHUT", "SLAM"]),
            ("apply-event -e ", &["OPEN", "SHUT", "SLAM"]),
            ("watch-all --to-states open,sh", &["open,shut"]),
            ("ping --out", &["--output"]),
            ("ping --output ", &["json", "table"]),
            ("c --idem", &["--idempotency-key"]),
            ("history garage --order o", &["oldest"]),
            ("nonsense ", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(offered(line), *expected, "{line}");
        }
    }

    #[test]
    fn the_start_is_that_of_the_word() {
        assert_eq!(complete("get-instance 'fr", None).0, 13);
        assert_eq!(complete("wal", None).0, 0);
    }
}
