//! What a system installs beside the program: completion for its shells, pages for `man`. Both come from
//! the table that parses the command line.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::{self, CommandResult};
use crate::session::CliSession;

/// Print what makes a shell of the system complete the words of this program.
///
/// Packages install it. By hand: `source` it in bash and zsh, put it in ~/.config/fish/completions for
/// fish, and into $PROFILE for PowerShell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli completions bash > ~/.local/share/bash-completion/completions/rstmdb-cli
  rstmdb-cli completions zsh > _rstmdb-cli
  rstmdb-cli completions fish > ~/.config/fish/completions/rstmdb-cli.fish
  rstmdb-cli completions powershell >> profile.ps1")]
pub(crate) struct Completions {
    /// bash, zsh, fish, powershell or elvish.
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let mut root = shown(&(session.grammar.commands)());
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, "rstmdb-cli", &mut script);
        let script = String::from_utf8(script).map_err(error::internal)?;
        // For bash the generator names a program with a dash in two ways, and finds no command.
        let script = script.replace("rstmdb__subcmd__cli", "rstmdb__cli");
        session.output.file(script.as_bytes())
    }
}

/// Write the manual pages, one of the program and one of each command.
///
/// Packages install them. `man -l FILE` shows one that is not installed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli man-pages ~/.local/share/man/man1")]
pub(crate) struct ManPages {
    /// The folder they are written into; it is made when it is missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManPages {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let root = (session.grammar.commands)();
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(root, &self.folder));
        written.map_err(|problem| error::file(&self.folder.display().to_string(), &problem))?;
        Ok(())
    }
}

/// The commands and options without those that only this project needs.
fn shown(root: &Command) -> Command {
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("rstmdb-cli")
        .version(env!("CARGO_PKG_VERSION"))
        .args(root.get_arguments().cloned())
        .subcommands(commands.cloned())
}
