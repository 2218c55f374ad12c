//! What the shell understands: the commands of rstmdb-cli, without what was decided when it began.

use clap::Command;

use super::words;
use crate::place;
use crate::screen::{Screen, fields};
use crate::session::Grammar;

/// The options that say where and how the shell works: fixed once it runs.
pub(super) const FIXED: [&str; place::OPTIONS.len() + 1] = {
    let mut fixed = ["fsync"; place::OPTIONS.len() + 1];
    let (_, places) = fixed.split_at_mut(1);
    places.copy_from_slice(&place::OPTIONS);
    fixed
};

/// The commands that are of no use here.
const OUTSIDE: [&str; 3] = ["shell", "completions", "man-pages"];

/// What stands before a command outside.
const PROGRAM: &str = "rstmdb-cli ";

/// The commands as the shell helps with them: options that are fixed are known, and shown nowhere.
pub(super) fn of_shell(grammar: &Grammar) -> Command {
    let mut root = (grammar.commands)();
    for fixed in FIXED {
        root = root.mut_arg(fixed, |argument| argument.hide(true));
    }
    let names: Vec<String> =
        root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        root = root.mut_subcommand(&name, |command| {
            match command.get_after_help().map(|help| examples(&help.to_string())) {
                Some(examples) => command.after_help(examples),
                None => command,
            }
        });
    }
    root
}

/// The help of a command without the program's name, which is nothing to type here.
pub(super) fn of_command(help: &str) -> String {
    help.replacen(&format!("Usage: {PROGRAM}"), "Usage: ", 1)
}

/// The examples that can be typed here, without the program's name; nothing when there is none.
fn examples(help: &str) -> String {
    let mut lines = Vec::new();
    for line in help.lines() {
        match line.trim_start().strip_prefix(PROGRAM) {
            None => lines.push(line.to_owned()),
            Some(command) if is_typed_here(command) => lines.push(format!("  {command}")),
            Some(_) => {}
        }
    }
    match lines.iter().any(|line| line.starts_with("  ")) {
        true => lines.join("\n"),
        false => String::new(),
    }
}

/// Whether nothing in a line is for the shell of the system, or was decided already.
fn is_typed_here(command: &str) -> bool {
    let Ok(words) = words::split(command) else { return false };
    let is_outside = |word: &String| matches!(word.as_str(), "|" | "<" | ">" | "-");
    let is_place = words.first().is_some_and(|word| word.starts_with('-'));
    !is_place && !words.iter().any(is_outside)
}

/// All commands in a line each.
pub(super) fn overview(grammar: &Grammar) -> Screen {
    let root = (grammar.commands)();
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = commands.filter(|command| !OUTSIDE.contains(&command.get_name()));
    let lines: Vec<(String, String)> = commands
        .map(|command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let aliases: Vec<_> = command.get_visible_aliases().collect();
            let aliases = match aliases.is_empty() {
                true => String::new(),
                false => format!(" ({})", aliases.join(", ")),
            };
            (format!("  {}{aliases}", command.get_name()), about)
        })
        .collect();
    let own = [
        ("  output table|json", "Choose how results are printed".to_owned()),
        ("  reconnect (rc)", "Leave the database and open it again".to_owned()),
        ("  quit (exit, q)", "Leave; Ctrl-D does too".to_owned()),
    ];
    Screen::from("Commands (NAME --help shows the options of one):".to_owned())
        .then(fields(lines.iter().map(|(name, about)| (name.as_str(), about.clone()))))
        .then("Of the shell itself:".to_owned())
        .then(fields(own))
}
