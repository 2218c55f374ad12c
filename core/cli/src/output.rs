//! Standard output is data, as tables or JSON; standard error is talk.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use rstmdb::{Error, TimestampMs};
use serde::Serialize;

use crate::clean::{clean, clean_json, clean_lines};
use crate::error::{self, CommandResult};
use crate::screen::{Layout, Screen};

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one line of JSON for each result.
    Json,
}

/// Where results and talk go.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Whether nothing is shortened.
    pub(crate) wide: bool,
    /// Whether rows of tables are shown as records.
    pub(crate) record: bool,
    /// What stands before a command to run it here once more: this program and the place, with a
    /// blank behind; nothing in the shell.
    pub(crate) program: &'static str,
}

impl Output {
    /// The same, with hints that call the program so. The text stays for as long as the process.
    pub(crate) fn of_program(self, program: String) -> Output {
        Output { program: program.leak(), ..self }
    }

    /// Prints a result as it serialises, or as the screen that people get.
    pub(crate) fn show<T: Serialize, S: Into<Screen>>(
        self,
        result: &T,
        screen: impl FnOnce(&T) -> S,
    ) -> CommandResult {
        match self.format {
            Format::Json => self.json(result),
            Format::Table => self.screen(screen(result)),
        }
    }

    /// Prints a screen in the width there is.
    pub(crate) fn screen(self, screen: impl Into<Screen>) -> CommandResult {
        let width = if self.wide { None } else { width() };
        let layout = Layout { width, wide: self.wide, record: self.record };
        write_out(screen.into().draw(layout).as_bytes())
    }

    /// Prints one line of JSON.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> CommandResult {
        let line = serde_json::to_string(value).map_err(error::internal)?;
        write_out(format!("{}\n", clean_json(&line)).as_bytes())
    }

    /// Prints text as it stands, with a line end if it has none.
    pub(crate) fn text(self, text: &str) -> CommandResult {
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        write_out(format!("{}{end}", clean_lines(text)).as_bytes())
    }

    /// Prints the content of a file, to the byte.
    pub(crate) fn file(self, content: &[u8]) -> CommandResult {
        write_out(content)
    }

    /// Says something that is not a result.
    pub(crate) fn note(self, text: &str) {
        match self.format {
            Format::Table => say(text),
            Format::Json => say_json(&serde_json::json!({ "note": text })),
        }
    }

    /// Says what went wrong.
    pub(crate) fn error(self, error: &Error) {
        match self.format {
            Format::Table => error::lines(error, self.program).iter().for_each(|line| say(line)),
            Format::Json => say_json(&error::json(error, self.program)),
        }
    }
}

fn write_out(bytes: &[u8]) -> CommandResult {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// One line on standard error, whatever is in it. Nobody can be told when that fails.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", clean(line));
}

/// One line of JSON on standard error.
pub(crate) fn say_json(value: &serde_json::Value) {
    say(&clean_json(&value.to_string()));
}

/// Whether a person watches standard error, on what can take a line back.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// The columns of the terminal that standard output is, or of whoever reads on behind a pipe and says so.
fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let terminal = || {
        let size = terminal_size::terminal_size_of(io::stdout());
        let width = size.map_or(COLUMNS, |(width, _)| width.0.into());
        io::stdout().is_terminal().then_some(width)
    };
    said.filter(|width| *width > 0).or_else(terminal)
}

/// What stands in a table where a server does not tell something.
pub(crate) const UNKNOWN: &str = "-";

/// A point in time as people write it, in UTC; unknown where a server does not tell.
pub(crate) fn time(timestamp: impl Into<Option<TimestampMs>>) -> String {
    let Some(timestamp) = timestamp.into() else { return UNKNOWN.to_owned() };
    match jiff::Timestamp::from_millisecond(timestamp) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => timestamp.to_string(),
    }
}

/// A count with commas between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in bytes with a unit.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = None;
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None => format!("{size} B"),
        Some(unit) => format!("{value:.1} {unit}"),
    }
}

/// A rate of `count` things in `seconds`.
pub(crate) fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 }
}

/// `yes` or `no`.
pub(crate) fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_readable() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_000), "1,000");
        assert_eq!(number(65_533_000), "65,533,000");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rate(10, 0.0), 0);
    }
}
