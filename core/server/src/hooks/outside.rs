//! A call of something outside of the server: a command for the shell, or an address.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::answer::OutsideAnswer;
use super::{Facts, post};
use crate::config::Outside;

/// The exit code by which a command forbids what it was asked about.
const FORBIDS: i32 = 75;
/// So much is kept of what a command says.
const SAID_BYTES_MAX: u64 = 4096;

/// Calls it, for so long at most. A command is killed then.
pub(crate) async fn call(outside: &Outside, facts: &Facts, patience: Duration) -> OutsideAnswer {
    let called = async {
        match outside {
            Outside::Command(line) => run(line, facts).await,
            Outside::Url(url) => post::send(url, facts).await,
        }
    };
    match tokio::time::timeout(patience, called).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => OutsideAnswer::Failed(error.to_string()),
        Err(_) => {
            OutsideAnswer::Failed(format!("it took longer than {} s", patience.as_secs_f64()))
        }
    }
}

async fn run(line: &str, facts: &Facts) -> std::io::Result<OutsideAnswer> {
    let mut command = match cfg!(windows) {
        true => Command::new("cmd"),
        false => Command::new("sh"),
    };
    command.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(line);
    command.envs(facts.iter().map(|(name, value)| (format!("RSTMDB_{name}"), value)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut errors = child.stderr.take();
    let (status, said) = tokio::join!(child.wait(), heard(&mut errors));
    let (status, said) = (status?, said?);
    let told = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
    Ok(match status.code() {
        Some(0) => OutsideAnswer::Done,
        Some(FORBIDS) => OutsideAnswer::Forbidden(told(format!("exit code {FORBIDS}"))),
        _ => OutsideAnswer::Failed(told(status.to_string())),
    })
}

/// The beginning of what it says; the rest is read, so that it is not held up.
async fn heard(errors: &mut Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(errors) = errors else { return Ok(String::new()) };
    let mut said = Vec::new();
    (&mut *errors).take(SAID_BYTES_MAX).read_to_end(&mut said).await?;
    tokio::io::copy(errors, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}
