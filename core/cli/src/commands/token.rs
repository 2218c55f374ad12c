//! `hash-token`: what a server's configuration holds instead of a token.

use std::io::{IsTerminal, stdin};

use clap::Args;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{self, CommandResult};
use crate::session::{CliSession, read_stdin};

/// Print the SHA-256 of a token, for auth.token_hashes or the secrets file of a server.
///
/// Nothing is sent anywhere. A token on the command line is seen by other users of the machine and
/// kept in the shell's history: better give it on standard input.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli hash-token s3cret
  rstmdb-cli hash-token --name ci < token.txt
  rstmdb-cli hash-token - --output json")]
pub(crate) struct HashToken {
    /// The token; standard input when absent or `-`, without the line end.
    #[arg(value_name = "TOKEN")]
    token_text: Option<String>,
    /// The name that logs and metrics of the server show for this token; printed before the hash.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hashed {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    hash: String,
}

impl HashToken {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        if let Some(name) = &self.name {
            let plain = !name.trim().is_empty() && name.trim() == name;
            if !plain || name.chars().any(char::is_control) {
                let message = "--name must be printable, without blanks at its ends";
                return Err(error::usage(message).into());
            }
        }
        let token = match self.token_text.as_deref() {
            None | Some("-") => read_token(session)?,
            Some(token) => token.to_owned(),
        };
        if token.is_empty() {
            return Err(error::usage("the token is empty; give one").into());
        }
        let digest = Sha256::digest(token.as_bytes());
        let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        session.output.show(&Hashed { name: self.name, hash }, |hashed| match &hashed.name {
            Some(name) => format!("{name}:{}", hashed.hash),
            None => hashed.hash.clone(),
        })
    }
}

fn read_token(session: &CliSession) -> CommandResult<String> {
    if stdin().is_terminal() {
        session.output.note("type the token and end with Enter and Ctrl-D (it is shown)");
    }
    let text = read_stdin()?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return Err(error::usage("standard input has several lines; a token is one").into());
    }
    Ok(line.to_owned())
}
