//! What the Tab key offers: commands, options, machines, states, events, instance ids, files.

use clap::{Arg, Command};

use super::lookup::{CANDIDATES_MAX, Lookup, Question};
use super::words::{self, Word};
use crate::names;
use crate::quote::quote;

/// Commands that only the shell has.
pub(super) const SHELL_COMMANDS: [&str; 4] = ["help", "output", "quit", "reconnect"];

/// Where the candidates go in the line, and the candidates.
pub(super) fn complete(
    before_cursor: &str,
    root: &Command,
    lookup: &Lookup,
) -> (usize, Vec<String>) {
    let (before, word) = words::split_at_cursor(before_cursor);
    let Some((first, rest)) = before.split_first() else {
        return (word.start, commands(root, &word.text));
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
    values(argument, &before, &word, lookup)
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
fn values(argument: &Arg, before: &[String], word: &Word, lookup: &Lookup) -> (usize, Vec<String>) {
    let name = argument.get_id().as_str();
    // The names of values tell lists, as the help does.
    let is_list = argument.get_value_names().unwrap_or_default().iter().any(|n| n.ends_with(",…"));
    // In a list the last element is completed.
    let (kept, prefix) = match is_list {
        true => names::last_element(&word.text),
        false => ("", word.text.clone()),
    };
    let prefix = prefix.as_str();
    let fixed: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let found = match name {
        _ if !fixed.is_empty() => matching(fixed, prefix),
        "file" | "ca_cert" | "client_cert" | "client_key" => files(prefix),
        _ => stored(name, before, prefix, lookup),
    };
    let quoted = found.into_iter().take(CANDIDATES_MAX);
    let whole = |value: String| match is_list {
        true => quote(&format!("{kept}{}", names::element(&value))),
        false => quote(&value),
    };
    (word.start, quoted.map(whole).collect())
}

/// Names from the database.
fn stored(name: &str, before: &[String], prefix: &str, lookup: &Lookup) -> Vec<String> {
    let question = match name {
        "machine" | "machines" | "name" => Question::Machines,
        "state" | "expected_state" | "from_states" | "to_states" => Question::States,
        "event" | "events" => {
            Question::Events(value_of(before, &["-i", "--instance", "--id"]).cloned())
        }
        "id" | "instance" => Question::Instances(prefix.to_owned()),
        "version" => match value_of(before, &["-n", "--name", "-m", "--machine"]) {
            Some(machine) => Question::Versions(machine.clone()),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    matching(lookup.ask(&question), prefix)
}

/// The word behind one of these options.
fn value_of<'a>(before: &'a [String], options: &[&str]) -> Option<&'a String> {
    let pairs = before.iter().zip(before.iter().skip(1));
    pairs.filter(|(option, _)| options.contains(&option.as_str())).map(|(_, value)| value).next()
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
    use rstmdb::blocking::Database;
    use rstmdb::{CreateInstanceRequest, Json, PutMachineRequest};

    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

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
        complete(line, &Cli::command(), &Lookup::patient(database)).1
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
        assert_eq!(complete("get-instance 'fr", &Cli::command(), &Lookup::default()).0, 13);
        assert_eq!(complete("wal", &Cli::command(), &Lookup::default()).0, 0);
    }
}
