//! The shell: the same commands over and over on one open database.
//!
//! A lost connection ends no shell: the next command finds the server again, or says why not.
//! On a terminal there are history and completion; from a pipe the lines are a script, which goes
//! on after an error and ends with the exit code of the first one.

mod complete;
mod grammar;
mod lookup;
mod secret;
pub(crate) mod words;

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use clap::parser::ValueSource;
use rstmdb::text::{NotText, decode};
use rstmdb::{Error, ErrorCode, ErrorKind};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use lookup::Lookup;
use words::Unfinished;

use crate::clean::clean;
use crate::commands::watch::report as report_watches;
use crate::error::{self, CommandResult, Failure};
use crate::interrupt;
use crate::output::{Format, Output};
use crate::session::CliSession;

/// Enter commands one after another, with history and completion.
///
/// The commands are those of rstmdb-cli without the program's name. JSON needs no quotes and may
/// span lines. A line that begins with a blank, or that gives a token, goes into no history. On a server a watch goes on until Ctrl-C, which does not end the shell; with
/// --background, in a directory and in a script it stays and reports after every command what happened up to its answer. A script
/// can come from standard input: it goes on after an error, which names its line, and ends with the exit code of the
/// first. A line that begins with # is a comment.
#[derive(Debug, Args)]
#[command(
    visible_alias = "repl",
    after_help = "\
Examples:
  rstmdb-cli shell
  rstmdb-cli -s db:7401 shell
  rstmdb-cli --path mem: shell
  rstmdb-cli --path ./data shell --output json < script.txt"
)]
pub(crate) struct Shell {}

impl Shell {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        run(session)
    }
}

/// Runs the shell until its input ends.
pub(crate) fn run(session: &mut CliSession) -> CommandResult {
    if session.watches.is_some() {
        return Err(error::usage("this is the shell already").into());
    }
    session.watches = Some(Vec::new());
    session.output.program = "";
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        interactive(session)
    } else {
        script(session)
    }
}

/// What becomes of the shell after a line.
enum Next {
    GoOn,
    Quit,
}

/// Runs lines from a pipe. Errors name the line that their command begins on.
fn script(session: &mut CliSession) -> CommandResult {
    let mut first_failure = 0;
    let (mut pending, mut number, mut begin) = (String::new(), 0, 0);
    loop {
        number += 1;
        let line = match script_line(number) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            // Half a script is better than one that goes on with what was guessed.
            Err(error) => {
                report(session.output, error.into(), Some(number), &mut first_failure)?;
                return Err(Failure::Reported(first_failure));
            }
        };
        if pending.is_empty() {
            // A quote in a comment opens nothing.
            if words::is_comment(&line) {
                continue;
            }
            begin = number;
        }
        pending.push_str(&line);
        pending.push('\n');
        if let Ok(words) = words::split(&pending) {
            pending.clear();
            if let Next::Quit = step(session, &words, Some(begin), &mut first_failure)? {
                break;
            }
        }
    }
    if let Err(lacks) = words::split(&pending) {
        let failure = error::usage(format!("the script ends too early: {lacks}"));
        report(session.output, failure.into(), Some(begin), &mut first_failure)?;
    }
    if first_failure == 0 { Ok(()) } else { Err(Failure::Reported(first_failure)) }
}

/// The next line of standard input, without its end. It is not locked meanwhile: a command may read on from it.
fn script_line(number: usize) -> rstmdb::Result<Option<String>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut bytes).map_err(|e| error::file("-", &e))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = decode(&bytes).map_err(|problem| match problem {
        NotText::NotUtf8 { byte, .. } => NotText::NotUtf8 { line: number, byte },
        other => other,
    });
    let text = text.map_err(|problem| error::usage(format!("the script {problem}")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// Runs one line, of a script the one with this number, and reports its failure; only a closed pipe ends the shell.
fn step(
    session: &mut CliSession,
    words: &[String],
    number: Option<usize>,
    first_failure: &mut u8,
) -> CommandResult<Next> {
    match line(session, words) {
        Ok(next) => Ok(next),
        Err(failure) => {
            report(session.output, failure, number, first_failure)?;
            Ok(Next::GoOn)
        }
    }
}

fn report(
    output: Output,
    failure: Failure,
    number: Option<usize>,
    first_failure: &mut u8,
) -> CommandResult {
    let code = failure.exit_code();
    match failure {
        Failure::BrokenPipe => return Err(failure),
        Failure::Error(error) => output.error(&match number {
            Some(number) => error.at(&format!("line {number}")).with("script_line", number),
            None => error,
        }),
        Failure::Interrupted | Failure::Reported(_) => {}
    }
    if *first_failure == 0 {
        *first_failure = code;
    }
    Ok(())
}

/// Runs the words of one line, and shows what the watches saw meanwhile: what the command did, before
/// the next one is read.
fn line(session: &mut CliSession, words: &[String]) -> CommandResult<Next> {
    let outcome = run_words(session, words);
    let reported = report_watches(session);
    // An error is an answer too.
    let next = outcome?;
    reported?;
    Ok(next)
}

fn run_words(session: &mut CliSession, words: &[String]) -> CommandResult<Next> {
    let Some(first) = words.first() else { return Ok(Next::GoOn) };
    let second = words.get(1).map(String::as_str);
    match (first.as_str(), second) {
        ("quit" | "exit" | "q", None) => return Ok(Next::Quit),
        ("help" | "?", None) => session.output.screen(grammar::overview(&session.grammar))?,
        ("help", Some(name)) => command(session, &[name.to_owned(), "--help".to_owned()])?,
        ("output", Some("json")) => session.output.format = Format::Json,
        ("output", Some("table")) => session.output.format = Format::Table,
        ("output", _) => return Err(error::usage("say `output table` or `output json`").into()),
        ("reconnect" | "rc", None) => reconnect(session)?,
        _ => command(session, words)?,
    }
    Ok(Next::GoOn)
}

/// Leaves the database and opens it again.
fn reconnect(session: &mut CliSession) -> CommandResult {
    let reported = report_watches(session);
    let watches = session.watches.as_ref().map_or(0, Vec::len);
    // Whatever became of the old one, there is a new one.
    let closed = session.close();
    session.open_existing()?;
    if watches > 0 {
        session.output.note(&format!("{watches} watches ended"));
    }
    session.output.note(&format!("connected to {}", session.place));
    reported?;
    Ok(closed?)
}

/// Runs one command of rstmdb-cli.
fn command(session: &mut CliSession, words: &[String]) -> CommandResult {
    let arguments = ["rstmdb-cli"].into_iter().chain(words.iter().map(String::as_str));
    let matches = match grammar::of_shell(&session.grammar).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(problem) if problem.use_stderr() => {
            return Err(error::misused(&problem, words).into());
        }
        Err(problem) => {
            // Empty lines of the help have blanks.
            let help = grammar::of_command(&problem.render().to_string());
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            return session.output.text(&lines.join("\n"));
        }
    };
    for fixed in grammar::FIXED {
        if matches.value_source(fixed) == Some(ValueSource::CommandLine) {
            let fixed = fixed.replace('_', "-");
            let message = format!("--{fixed} is fixed in the shell; give it when starting one");
            return Err(error::usage(message).into());
        }
    }
    (session.grammar.run)(&matches, session)
}

/// Runs lines from a person.
fn interactive(session: &mut CliSession) -> CommandResult {
    session.interactive = true;
    greet(session)?;
    let config =
        Config::builder().history_ignore_space(true).completion_type(CompletionType::List).build();
    let mut editor = Editor::<Assistant, _>::with_config(config).map_err(terminal)?;
    let commands = grammar::of_shell(&session.grammar);
    editor.set_helper(Some(Assistant { commands, lookup: Lookup::new(session.database()) }));
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    loop {
        match editor.readline(&clean(&prompt(session))) {
            Ok(text) => {
                // From now on Ctrl-C ends what the command does, not the shell.
                interrupt::listen();
                let is_comment = words::is_comment(&text);
                let words =
                    if is_comment { Vec::new() } else { words::split(&text).unwrap_or_default() };
                if !secret::is_secret(&words) {
                    // A history that takes no line is no reason to end.
                    let _ = editor.add_history_entry(text.as_str());
                }
                if let Next::Quit = step(session, &words, None, &mut 0)? {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(problem) => return Err(terminal(problem).into()),
        }
        if let Some(assistant) = editor.helper_mut() {
            // What was known may have changed by this command.
            assistant.lookup = Lookup::new(session.database());
        }
    }
    if let Some(path) = &history
        && let Err(problem) = editor.save_history(path)
    {
        session.output.note(&format!("can't save the history in {}: {problem}", path.display()));
    }
    Ok(())
}

/// The place, and who was elected to take writes there.
fn prompt(session: &CliSession) -> String {
    let place = session.place.to_string();
    let leader = match session.database().and_then(|database| database.elected()) {
        Some(leader) if leader == place => " (leader)".to_owned(),
        Some(leader) => format!(" (leader {leader})"),
        None => String::new(),
    };
    format!("rstmdb {place}{leader}> ")
}

/// Opens the database, so that completion knows it; one that is missing may still be created, and a
/// server that does not answer may still be started.
fn greet(session: &mut CliSession) -> CommandResult {
    let version = env!("CARGO_PKG_VERSION");
    let is_server = session.place.is_server();
    match session.open_existing() {
        Ok(_) => session.output.note(&format!("rstmdb-cli {version} on {}", session.place)),
        Err(error) if error.kind() == ErrorKind::NotFound => session.output.note(&format!(
            "rstmdb-cli {version}; no database at {} yet, put-machine creates it",
            session.place
        )),
        Err(error) if is_server && error.kind() == ErrorKind::Unavailable => {
            session.output.error(&error);
        }
        Err(error) => return Err(error.into()),
    }
    session.output.note("`help` shows the commands, Tab completes, Ctrl-D leaves");
    Ok(())
}

fn terminal(problem: ReadlineError) -> Error {
    Error::new(ErrorCode::InternalError, format!("the terminal failed: {problem}"))
}

/// `RSTMDB_HISTORY`, or `.rstmdb_history` in the home directory; an empty value keeps none.
fn history_file() -> Option<PathBuf> {
    match std::env::var_os("RSTMDB_HISTORY") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::home_dir().map(|home| home.join(".rstmdb_history")),
    }
}

/// Completes and tells whether a line is complete.
struct Assistant {
    commands: clap::Command,
    lookup: Lookup,
}

impl Helper for Assistant {}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..cursor).unwrap_or(line);
        let (start, found) = complete::complete(before, &self.commands, &self.lookup);
        let pair = |name: String| {
            let end = if name.ends_with('/') { "" } else { " " };
            Pair { replacement: format!("{name}{end}"), display: name }
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if words::is_comment(context.input()) {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(match words::split(context.input()) {
            Err(Unfinished::Quote | Unfinished::Bracket | Unfinished::Escape) => {
                ValidationResult::Incomplete
            }
            Ok(_) => ValidationResult::Valid(None),
        })
    }
}
