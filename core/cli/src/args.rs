//! The command line: what every command shares, and the way from words to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use rstmdb::{FsyncPolicy, Result};

use crate::clean::is_hidden;
use crate::commands::Command;
use crate::error::{self, CommandResult, Failure};
use crate::output::{Format, Output, say};
use crate::place::ConnectionArgs;
use crate::session::{CliSession, Grammar};
use crate::shell;

/// Work with an rstmdb database: define machines, create instances, apply events, watch, import.
///
/// The database is on a server, or in a directory (--path) that no server has open. A missing
/// database is created by put-machine, the imports and the demo; for other commands it is an error.
/// Results go to standard output, everything else to standard error. Without a command the shell
/// starts.
#[derive(Debug, Parser)]
#[command(name = "rstmdb-cli", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What stands before a command in hints.
const PROGRAM: &str = "rstmdb-cli ";

const EXAMPLES: &str = "\
Examples:
  rstmdb-cli ping
  rstmdb-cli put-machine -n order -v 1 @order.json
  rstmdb-cli create-instance -m order -i o-1 -c '{\"total\":10}'
  rstmdb-cli apply-event -i o-1 -e PAY -p '{\"amount\":10}'
  rstmdb-cli count-instances --machine order --output json
  rstmdb-cli list-instances --state paid --wide
  rstmdb-cli -s db.example.com:7401 --tls list-machines
  rstmdb-cli --path ./demo-data shell

Exit codes:
  0  success                     6  conflict: read again, decide again
  1  a fault inside rstmdb       7  the server wants (other) credentials
  2  the request is invalid      8  unavailable: no server, locked, full disk
  3  not found                   9  stored data is damaged
  4  already exists             10  the database was closed
  5  rejected by the rules      130  ended by Ctrl-C";

/// The options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// How results are printed: tables for people, one line of JSON for programs.
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        env = "RSTMDB_OUTPUT",
        hide_env_values = true,
        value_enum,
        default_value = "table",
        hide_possible_values = true,
        value_name = "table|json"
    )]
    pub(crate) output: Format,
    /// Show everything whole, however wide. Tables shorten long texts where they would not fit otherwise.
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) wide: bool,
    /// Show rows of tables as records, a name and a value to a line.
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) record: bool,
    /// When the log of a directory is synced: every_write, every_n:COUNT, every_ms:MILLISECONDS or
    /// never. A server has a setting of its own.
    #[arg(
        long,
        global = true,
        help_heading = "Options of every command",
        env = "RSTMDB_FSYNC",
        hide_env_values = true,
        default_value = "every_write",
        value_name = "POLICY"
    )]
    pub(crate) fsync: FsyncPolicy,
}

impl Global {
    /// How results are printed, and what stands before commands in hints.
    fn output(&self, program: &'static str) -> Output {
        Output { format: self.output, wide: self.wide, record: self.record, program }
    }
}

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = match Cli::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(problem) => return refuse(&problem, &arguments),
    };
    let mut cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(problem) => return refuse(&problem, &arguments),
    };
    let output = cli.global.output(PROGRAM);
    let to = match &mut cli.command {
        Some(Command::ImportPeer(import)) => import.to.take(),
        _ => None,
    };
    let mut session = match session(&matches, cli.global, to, output) {
        Ok(session) => session,
        Err(error) => {
            output.error(&error);
            return ExitCode::from(error.kind().exit_code());
        }
    };
    let outcome = match cli.command {
        Some(command) => command.run(&mut session),
        None => shell::run(&mut session),
    };
    finish(&mut session, outcome)
}

/// Where and how to work, by the options and the environment.
fn session(
    matches: &ArgMatches,
    mut global: Global,
    to: Option<String>,
    output: Output,
) -> Result<CliSession> {
    let said = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if to.is_some() && (said("server") || said("path")) {
        return Err(error::usage("--to is the same as --server; give one place to copy to"));
    }
    let is_to = to.is_some();
    let given = |name: &str| said(name) || (is_to && name == "server");
    if is_to {
        global.connection.use_server(to);
    }
    let place = global.connection.place(given)?;
    let output = output.of_program(format!("{PROGRAM}{}", global.connection.repeated(given)));
    if place.is_server() && given("fsync") {
        let message = "--fsync is for directories; a server syncs as storage.fsync_policy says";
        return Err(error::usage(message));
    }
    let place_given = given("path") || given("server");
    let grammar = Grammar { commands: Cli::command, run: line };
    Ok(CliSession::new(place, place_given, global.fsync, output, grammar))
}

/// Does what a line of the shell asks for; it may choose another form of output.
fn line(matches: &ArgMatches, session: &mut CliSession) -> CommandResult {
    let cli =
        Cli::from_arg_matches(matches).map_err(|problem| error::misused::<&str>(&problem, &[]))?;
    let before = session.output;
    let said = cli.global.output(before.program);
    if matches.value_source("output") == Some(ValueSource::CommandLine) {
        session.output.format = said.format;
    }
    session.output.wide |= said.wide;
    session.output.record |= said.record;
    let outcome = cli.command.map_or(Ok(()), |command| command.run(session));
    session.output = before;
    outcome
}

/// Closes the database and turns the outcome into messages and an exit code.
fn finish(session: &mut CliSession, outcome: CommandResult) -> ExitCode {
    let closed = session.close().map_err(Failure::from);
    match outcome.and(closed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Failure::Error(error) = &failure {
                session.output.error(error);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Answers a command line that does not parse, or that asks for help.
fn refuse(problem: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    if wants_json(arguments) && problem.use_stderr() {
        Output { format: Format::Json, program: PROGRAM, ..Output::default() }
            .error(&error::misused(problem, &words));
        return ExitCode::from(2);
    }
    let said = problem.render().to_string();
    let text = error::without_tokens(said.clone(), &words);
    let is_meant = |line: &str| !line.chars().any(is_hidden);
    if text == said && text.lines().all(is_meant) {
        // A closed pipe while printing help is nobody's problem.
        let _ = problem.print();
    } else {
        text.lines().for_each(say);
    }
    ExitCode::from(if problem.use_stderr() { 2 } else { 0 })
}

/// Whether the arguments ask for JSON, for errors found before they are understood.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let pair = words.windows(2).any(|pair| pair == ["--output", "json"]);
    let variable = std::env::var("RSTMDB_OUTPUT").is_ok_and(|value| value == "json");
    pair || words.contains(&"--output=json") || variable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_and_examples_that_parse() {
        let root = Cli::command();
        let nested = root.get_subcommands().flat_map(|command| command.get_subcommands());
        for command in root.get_subcommands().chain(nested).chain([&root]) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> =
                help.lines().filter(|line| line.starts_with("  rstmdb-cli ")).collect();
            assert!(!examples.is_empty(), "{name} has no examples");
            for example in examples {
                let mine = name == "rstmdb-cli" || example.contains(name);
                assert!(mine, "{name}: {example} shows another command");
                let line = example.split(['|', '<', '>']).next().unwrap_or_default();
                let words = shell::words::split(line.trim()).unwrap();
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    /// What each letter stands for, by the names of the options that have it.
    const LETTERS: &[(char, &[&str])] = &[
        ('c', &["ctx"]),
        ('e', &["event"]),
        ('f', &["from", "from_offset"]),
        ('h', &["help"]),
        ('i', &["id", "instance"]),
        ('k', &["insecure"]),
        ('l', &["limit", "lines"]),
        ('m', &["machine", "machines"]),
        ('n', &["name"]),
        ('o', &["out"]),
        ('p', &["payload"]),
        ('s', &["server"]),
        ('t', &["token"]),
        ('v', &["version"]),
    ];

    /// Letters that are taken beside these and shown nowhere: habits of 0.3.0 and of tail(1).
    const HABITS: &[(&str, char)] =
        &[("compact", 'f'), ("get-machine", 'm'), ("put-machine", 'm'), ("tail", 'n')];

    #[test]
    fn a_letter_means_one_thing() {
        let mut root = Cli::command();
        root.build();
        let own = root.get_arguments().filter(|argument| argument.get_short() == Some('V'));
        assert_eq!(own.count(), 1, "the version of the program");
        let nested = root.get_subcommands().flat_map(|command| command.get_subcommands());
        for command in root.get_subcommands().chain(nested) {
            for argument in command.get_arguments() {
                let (name, id) = (command.get_name(), argument.get_id().as_str());
                if let Some(letter) = argument.get_short() {
                    let meaning = LETTERS.iter().find(|(known, _)| *known == letter);
                    let fits = meaning.is_some_and(|(_, ids)| ids.contains(&id));
                    assert!(fits, "{name}: -{letter} is --{id}");
                }
                for letter in argument.get_all_short_aliases().unwrap_or_default() {
                    let is_version = (letter, id) == ('V', "version");
                    let is_habit = HABITS.contains(&(name, letter));
                    assert!(is_version || is_habit, "{name}: -{letter} is --{id}");
                }
            }
        }
    }

    #[test]
    fn every_operation_has_a_command_of_its_name() {
        let root = Cli::command();
        for operation in rstmdb::Operation::ALL {
            let name = operation.name().replace('_', "-");
            // Or one of a group: `replica promote`.
            let grouped = name.split_once('-');
            let grouped = grouped
                .and_then(|(group, rest)| root.find_subcommand(group)?.find_subcommand(rest));
            let found = root.find_subcommand(&name).or(grouped);
            assert!(found.is_some(), "no command {name}");
        }
    }
}
