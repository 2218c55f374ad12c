//! `help-markdown`: the reference of all commands, from the same texts as `--help`.

use std::fmt::Write;

use clap::{Arg, Args, Command};

use crate::error::{CommandResult, internal};
use crate::session::CliSession;

/// Print the reference of all commands as Markdown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli help-markdown > cli.md")]
pub(crate) struct HelpMarkdown {}

impl HelpMarkdown {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        session.output.text(&reference((session.grammar.commands)()).map_err(internal)?)
    }
}

fn reference(mut root: Command) -> Result<String, std::fmt::Error> {
    root.build();
    let mut out = String::from("# rstmdb-cli\n\n");
    describe(&root, &mut out)?;
    out.push_str("## Options of every command\n\n");
    options(root.get_arguments(), &mut out)?;
    commands(&root, "", &mut out)?;
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

/// The commands of a command, and theirs.
fn commands(of: &Command, before: &str, out: &mut String) -> std::fmt::Result {
    for command in of.get_subcommands().filter(|command| !command.is_hide_set()) {
        if command.get_name() == "help" {
            continue;
        }
        let name = format!("{before}{}", command.get_name());
        writeln!(out, "## {name}\n")?;
        describe(command, out)?;
        let own = command.get_arguments().filter(|argument| !argument.is_global_set());
        options(own, out)?;
        commands(command, &format!("{name} "), out)?;
    }
    Ok(())
}

/// What a command does, its usage and its examples.
fn describe(command: &Command, out: &mut String) -> std::fmt::Result {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let about = about.trim();
    let end = if about.ends_with('.') { "" } else { "." };
    writeln!(out, "{about}{end}\n")?;
    let aliases: Vec<_> = command.get_visible_aliases().map(|name| format!("`{name}`")).collect();
    if !aliases.is_empty() {
        writeln!(out, "Also called {}.\n", aliases.join(", "))?;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    writeln!(out, "```text\n{usage}\n```\n")?;
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for part in after.split("\n\n").filter(|part| !part.is_empty()) {
        let (title, lines) = part.split_once('\n').unwrap_or((part, ""));
        let lines: Vec<_> =
            lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        let language = if title.starts_with("Examples") { "sh" } else { "text" };
        writeln!(out, "{title}\n\n```{language}\n{}\n```\n", lines.join("\n"))?;
    }
    Ok(())
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>, out: &mut String) -> std::fmt::Result {
    let hidden = |argument: &Arg| {
        argument.is_hide_set() || ["help", "version_flag"].contains(&argument.get_id().as_str())
    };
    let rows: Vec<String> =
        arguments.filter(|argument| !hidden(argument)).map(option_row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "| option | meaning |\n|---|---|\n{}\n", rows.join("\n"))
}

fn option_row(argument: &Arg) -> String {
    let escape = |text: &str| text.replace('|', "\\|");
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    names.extend(
        argument.get_visible_aliases().into_iter().flatten().map(|alias| format!("--{alias}")),
    );
    let takes_value = argument.get_action().takes_values();
    let values: Vec<_> = argument.get_value_names().unwrap_or_default().iter().collect();
    let value = values.first().map(|name| name.to_string()).unwrap_or_default();
    let head = match (names.is_empty(), takes_value) {
        (true, _) => value,
        (false, true) => format!("{} {value}", names.join(", ")),
        (false, false) => names.join(", "),
    };
    let help = argument.get_long_help().or(argument.get_help());
    let mut meaning = help.map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    if !meaning.is_empty() && !meaning.ends_with('.') {
        meaning.push('.');
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        meaning.push_str(&format!(" Default: `{}`.", defaults.join(",")));
    }
    if let Some(variable) = argument.get_env() {
        meaning.push_str(&format!(" Environment: `{}`.", variable.to_string_lossy()));
    }
    format!("| `{}` | {} |", escape(&head), escape(&meaning))
}
