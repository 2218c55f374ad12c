//! How a command ends when it does not end well, and what the user reads about it.
//!
//! Every error is an [`rstmdb::Error`], so the exit code, the JSON form and the hint come from its
//! kind, code and reason, whether the database or the command line made it.

use std::io;

use rstmdb::error::reason;
use rstmdb::text::{NotText, is_misnamed};
use rstmdb::{Error, ErrorCode};
use serde_json::Value;

use crate::quote::{argument, option};

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something the user should read.
    Error(Error),
    /// The reader of standard output has gone: nobody is left to tell.
    BrokenPipe,
    /// Ctrl-C, after everything was put away.
    Interrupted,
    /// Reported already; this is the exit code.
    Reported(u8),
}

/// What every command returns.
pub(crate) type CommandResult<T = ()> = Result<T, Failure>;

impl Failure {
    /// The exit code of a command that fails so.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Error(error) => error.kind().exit_code(),
            Failure::BrokenPipe => 0,
            // What a shell reports for a program that Ctrl-C ended.
            Failure::Interrupted => 130,
            Failure::Reported(code) => *code,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

/// Only writes to standard output are converted implicitly; files name themselves with [`file`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::BrokenPipe;
        }
        let message = format!("can't write to standard output: {error}");
        Failure::Error(Error::new(ErrorCode::InternalError, message).with_reason(reason::IO))
    }
}

/// The error of a file the user named; `-` is standard input.
pub(crate) fn file(path: &str, error: &io::Error) -> Error {
    let named = match path {
        "-" => "standard input".to_owned(),
        path => format!("file {path:?}"),
    };
    let not_text = error.get_ref().and_then(|inner| inner.downcast_ref::<NotText>());
    let made = match error.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorCode::NotFound, format!("there is no {named}")),
        io::ErrorKind::IsADirectory => {
            Error::invalid(reason::INVALID_REQUEST, format!("{path:?} is a directory, not a file"))
        }
        _ if is_misnamed(error) => {
            let message = match not_text {
                Some(problem) => format!("{named} {problem}"),
                None => format!("can't use {named}: {error}"),
            };
            Error::invalid(reason::INVALID_REQUEST, message)
        }
        _ => Error::new(ErrorCode::InternalError, format!("can't use {named}: {error}"))
            .with_reason(reason::IO),
    };
    made.with("file", path)
}

/// An error of a command line that parses but makes no sense.
pub(crate) fn usage(message: impl Into<String>) -> Error {
    Error::invalid(reason::INVALID_OPTION, message)
}

/// A text without the tokens of those words that look like URLs; what is wrong with a command line is said with them.
pub(crate) fn without_tokens<W: AsRef<str>>(mut text: String, words: &[W]) -> String {
    for word in words.iter().map(AsRef::as_ref) {
        let value = word.split_once('=').map_or("", |(_, value)| value);
        for given in [word, value].into_iter().filter(|given| {
            // `@FILE` is a file.
            given.contains(['@', '?']) && !given.starts_with('@')
        }) {
            text = text.replace(given, &rstmdb::shown_url(given));
        }
    }
    text
}

/// The error of a command line of these words that does not parse, in one line and without the usage.
pub(crate) fn misused<W: AsRef<str>>(problem: &clap::Error, words: &[W]) -> Error {
    let text = without_tokens(problem.render().to_string(), words);
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let message = message.split("\n\nFor more information").next().unwrap_or_default();
    let words: Vec<_> = message.trim_start_matches("error: ").split_whitespace().collect();
    usage(words.join(" "))
}

/// A result that does not hold what it must: a bug.
pub(crate) fn internal(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::InternalError, message.to_string())
}

/// The lines people read on standard error; `program` stands before commands in hints.
pub(crate) fn lines(error: &Error, program: &str) -> Vec<String> {
    let mut lines = message_lines("error: ", error.message());
    let reason = error.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    lines.push(format!("  code: {}{reason}", error.code()));
    for (key, value) in error.context() {
        match value {
            Value::String(text) => lines.push(format!("  {key}: {text}")),
            Value::Array(items) if items.iter().all(Value::is_object) => {
                lines.extend(items.iter().map(|item| format!("  {}", member_list(item))));
            }
            other => lines.push(format!("  {key}: {other}")),
        }
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        lines.extend(message_lines("  caused by: ", &cause.to_string()));
        source = cause.source();
    }
    lines.extend(hint(error, program).map(|hint| format!("  hint: {hint}")));
    lines
}

/// A message behind what it begins with. Lines below the first are set in, as those that show where a
/// guard is wrong are already: nothing in a message looks like a line of its own.
pub(crate) fn message_lines(begin: &str, message: &str) -> Vec<String> {
    let mut lines = message.lines();
    let mut out = vec![format!("{begin}{}", lines.next().unwrap_or_default())];
    out.extend(lines.map(|line| match line.starts_with("  ") {
        true => line.to_owned(),
        false => format!("  {line}"),
    }));
    out
}

/// The path and the message of a warning, or whatever an object has, in one line.
fn member_list(item: &Value) -> String {
    let member = |key: &str| item.get(key).and_then(Value::as_str);
    match (member("path"), member("message")) {
        (Some(path), Some(message)) => format!("warning: {path}: {message}"),
        _ => item.to_string(),
    }
}

/// The object scripts read on standard error: the error as it serialises, with the hint.
pub(crate) fn json(error: &Error, program: &str) -> Value {
    let mut value = serde_json::to_value(error).unwrap_or_default();
    if let (Value::Object(members), Some(hint)) = (&mut value, hint(error, program)) {
        members.insert("hint".to_owned(), Value::String(hint));
    }
    value
}

/// What to try next.
fn hint(error: &Error, program: &str) -> Option<String> {
    if let Some(hint) = error.reason().and_then(|reason| reason_hint(error, reason)) {
        return Some(hint);
    }
    let named = |key: &str| error.context().get(key).and_then(Value::as_str);
    let hint = match error.code() {
        ErrorCode::Unauthorized => {
            "give the server a token: --token, or the variable RSTMDB_TOKEN".into()
        }
        ErrorCode::AuthFailed if error.message().contains("certificate") => {
            "give --client-cert and --client-key (or RSTMDB_CLIENT_CERT and RSTMDB_CLIENT_KEY)"
                .into()
        }
        ErrorCode::AuthFailed => {
            "check --token (or RSTMDB_TOKEN); the server must have what `rstmdb-cli hash-token` \
             prints for it"
                .into()
        }
        ErrorCode::RateLimited => "the server limits the rate of requests; try again".into(),
        ErrorCode::InstanceNotFound => {
            format!("`{program}list-instances` shows the ids there are")
        }
        ErrorCode::MachineNotFound => {
            format!("`{program}list-machines` shows the machines and versions there are")
        }
        ErrorCode::MachineVersionExists => {
            "a stored definition never changes: store this one under the next version".into()
        }
        ErrorCode::InstanceExists => "choose another id, or delete the instance first".into(),
        ErrorCode::InvalidTransition | ErrorCode::GuardFailed => {
            let id = named("instance_id").unwrap_or("ID");
            format!("`{program}permitted {}` shows what the instance accepts now", argument(id))
        }
        ErrorCode::Conflict => {
            // Others say themselves what has to be done first.
            let id = named("instance_id")?;
            format!("read it again with `{program}get-instance {}` and decide", argument(id))
        }
        ErrorCode::NotFound if named("path").is_some() => {
            "check --path (or RSTMDB_PATH); put-machine creates a missing database".into()
        }
        _ => return None,
    };
    Some(hint)
}

fn reason_hint(error: &Error, reason: &str) -> Option<String> {
    let hint = match reason {
        reason::INVALID_DEFINITION if error.context().contains_key("warnings") => {
            "correct the definition, or store it as it is with --lenient"
        }
        reason::LOCKED => {
            "one process at a time opens a directory: end the other one, or work in its shell"
        }
        reason::CORRUPT if error.context().contains_key("backup") => {
            "use an older backup, or take another: the database itself is not concerned"
        }
        reason::CORRUPT => {
            let path = error.context().get("path").and_then(Value::as_str).unwrap_or("DIR");
            let path = option("--path", path);
            return Some(match error.context().get("advice").and_then(Value::as_str) {
                Some("") => "restore the directory from a backup".to_owned(),
                Some(advice) => format!("`rstmdb-cli {path} {advice}` says what that gives up"),
                None => format!("`rstmdb-cli {path} verify` shows what is damaged and what helps"),
            });
        }
        reason::NEWER_FORMAT => "use the rstmdb-cli that wrote it, or a newer one",
        reason::OFFSET_COMPACTED => {
            return error
                .context()
                .get("first_offset")
                .map(|first| format!("the oldest change the log still has is at offset {first}"));
        }
        reason::INSTANCE_COMPLETED => "the instance is in a final state; nothing changes it",
        reason::DISK_FULL => "free space on the disk and try again",
        reason::OUTCOME_UNKNOWN | reason::WRITES_STOPPED => {
            "open the database again and read what it holds before writing more"
        }
        reason::CONNECTION_LOST | reason::TIMEOUT => return unreachable(error),
        reason::INVALID_OPTION => return tls_hint(error),
        reason::DISABLED if error.operation() == Some("FLUSH_ALL") => {
            "the server must be started with storage.allow_flush_all = true"
        }
        reason::INVALID_CURSOR => "pass the next_cursor of the same list, with the same filters",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What helps when a server does not answer.
fn unreachable(error: &Error) -> Option<String> {
    let message = error.message();
    let hint = if message.contains("speak no TLS") {
        "try again if the server may be full; else leave --tls and the options of certificates away, or check \
         the port"
    } else if message.contains("does not speak TLS") || message.contains("handshake eof") {
        "leave --tls and the options of certificates away, or check the port"
    } else if message.contains("without TLS") || message.contains("want TLS") {
        "if the server wants TLS: --tls, or --ca-cert FILE for an authority of your own"
    } else if message.contains("can't connect") {
        "start a server with `rstmdb --data ./data`, name another one with --server HOST:PORT, or \
         work on a directory without a server: --path DIR"
    } else {
        "the server is slow, gone or restarting; try again"
    };
    Some(hint.to_owned())
}

/// The options of this program for what the client calls otherwise.
fn tls_hint(error: &Error) -> Option<String> {
    let option = error.context().get("option").and_then(Value::as_str);
    let hint = match option {
        _ if error.message().contains("certificate is not accepted") => {
            "name the authority with --ca-cert FILE, the name in the certificate with --server-name; \
             --insecure accepts any, for experiments"
        }
        _ if error.context().contains_key("url") && error.message().contains("a server") => {
            "name a server with --server HOST:PORT"
        }
        Some("ca") => "check --ca-cert (or RSTMDB_CA_CERT)",
        Some("cert" | "key") => "check --client-cert and --client-key",
        Some("server_name") => "check --server-name",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_code_context_and_hint() {
        let error = Error::new(ErrorCode::GuardFailed, "no")
            .with("instance_id", "o 1")
            .with("state", "paid");
        assert_eq!(
            lines(&error, "rstmdb-cli "),
            [
                "error: no",
                "  code: GUARD_FAILED",
                "  instance_id: o 1",
                "  state: paid",
                "  hint: `rstmdb-cli permitted 'o 1'` shows what the instance accepts now",
            ]
        );
        assert_eq!(json(&error, "")["code"], "GUARD_FAILED");
        assert_eq!(Failure::from(error).exit_code(), 5);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit_code(), 0);
    }
}
