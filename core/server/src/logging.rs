//! The server's messages, on standard error: JSON for programs, pretty for people, with a filter
//! that can change while the server runs. The journal of systemd is told how grave each line is.

use std::io::{IsTerminal, Stderr, Write};
use std::sync::LazyLock;

use rstmdb_types::{Error, ErrorCode, Result};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat, log_filter};

/// The filter of the messages; a clone sets the same one.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on this filter decides what is logged.
    pub fn set(&self, text: &str) -> std::result::Result<(), String> {
        self.0.reload(log_filter::parse(text)?).map_err(|error| error.to_string())
    }
}

/// Whether lines have colours: on a terminal that can show them, unless its user said no
/// (<https://no-color.org>), or where they are asked for (<https://bixense.com/clicolors>).
fn wants_colours(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is_zero = |name: &str| variable(name).is_some_and(|value| value == "0");
    if is_set("NO_COLOR") {
        return false;
    }
    if is_set("CLICOLOR_FORCE") && !is_zero("CLICOLOR_FORCE") {
        return true;
    }
    terminal && !is_zero("CLICOLOR") && variable("TERM").is_none_or(|name| name != "dumb")
}

/// Begins to log. Once per process.
pub fn start(config: &LogConfig) -> Result<LogFilter> {
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    };
    let failed = |error: String| {
        Error::new(ErrorCode::InternalError, format!("can't begin to log: {error}"))
    };
    let (filter, handle) = reload::Layer::new(log_filter::parse(&config.level).map_err(failed)?);
    let lines = fmt::layer().with_writer(Lines);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(wants_colours(terminal, |name| std::env::var(name).ok())).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().map_err(|error| failed(error.to_string()))?;
    Ok(LogFilter(handle))
}

/// What a line on standard error begins with, so that the journal knows how grave it is; nothing when it goes
/// elsewhere.
pub fn priority(level: &Level) -> &'static str {
    static IS_JOURNAL: LazyLock<bool> = LazyLock::new(goes_to_the_journal);
    match *level {
        _ if !*IS_JOURNAL => "",
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Whether standard error is the stream that systemd says is its journal's: `JOURNAL_STREAM` has the device and
/// the number of its file.
#[cfg(target_os = "linux")]
fn goes_to_the_journal() -> bool {
    use std::os::linux::fs::MetadataExt;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/dev/stderr")
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev(), file.st_ino()))
}

#[cfg(not(target_os = "linux"))]
fn goes_to_the_journal() -> bool {
    false
}

/// Standard error, with the priority before each line.
struct Lines;

/// The lines of one message.
struct Message(Stderr, &'static str);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Message;

    fn make_writer(&'a self) -> Message {
        Message(std::io::stderr(), priority(&Level::INFO))
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Message {
        Message(std::io::stderr(), priority(metadata.level()))
    }
}

impl Write for Message {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Message(stderr, priority) = self;
        if priority.is_empty() {
            return stderr.write(bytes);
        }
        // At once: lines of other threads must not come between.
        let mut lines = Vec::with_capacity(bytes.len() + priority.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            lines.extend_from_slice(priority.as_bytes());
            lines.extend_from_slice(line);
        }
        stderr.write_all(&lines).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_user_has_nothing_against_them() {
        let wants = |terminal: bool, variables: &[(&str, &str)]| {
            wants_colours(terminal, |name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(wants(true, &[]) && !wants(false, &[]));
        assert!(wants(true, &[("TERM", "xterm"), ("NO_COLOR", ""), ("CLICOLOR", "1")]));
        for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
            assert!(!wants(true, &[(name, value)]), "{name}={value}");
        }
        assert!(wants(false, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }
}
