//! Standard output is data, as tables or JSON; standard error is talk.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table, presets};
use rstmdb::{Error, TimestampMs};
use serde::Serialize;

use crate::clean::{clean, clean_json, clean_lines};
use crate::error::{self, CommandResult};

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
    /// What stands before a command to run it here once more: this program and the place, with a
    /// blank behind; nothing in the shell.
    pub(crate) program: &'static str,
}

impl Output {
    /// The same, with hints that call the program so. The text stays for as long as the process.
    pub(crate) fn of_program(self, program: String) -> Output {
        Output { program: program.leak(), ..self }
    }

    /// Prints a result as it serialises, or by `table` for people.
    pub(crate) fn show<T: Serialize>(
        self,
        result: &T,
        table: impl FnOnce(&T) -> String,
    ) -> CommandResult {
        match self.format {
            Format::Json => self.json(result),
            Format::Table => self.text(&table(result)),
        }
    }

    /// Prints one line of JSON.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> CommandResult {
        let line = serde_json::to_string(value).map_err(error::internal)?;
        write_out(format!("{}\n", clean_json(&line)).as_bytes())
    }

    /// Prints text, with a line end if it has none.
    pub(crate) fn text(self, text: &str) -> CommandResult {
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        write_out(format!("{}{end}", clean_lines(text)).as_bytes())
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

/// Whether a person watches standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// A table with a header; columns whose header ends with `#` are numbers (the mark is not shown).
pub(crate) fn table<R, C>(header: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = Vec<C>>,
    C: AsRef<str>,
{
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.iter().map(|name| Cell::new(name.trim_end_matches('#'))));
    for row in rows {
        table.add_row(row.iter().map(|cell| Cell::new(clean(cell.as_ref()))));
    }
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| name.ends_with('#')) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Names and values in two columns.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {}\n", clean(value));
    fields.iter().map(line).collect()
}

/// The first characters of a long text.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// A point in time as people write it, in UTC.
pub(crate) fn time(timestamp: TimestampMs) -> String {
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

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shorten("abcdef", 4), "abc…");
    }

    #[test]
    fn number_columns_are_aligned_to_the_right() {
        let text = table(&["state", "count#"], [vec!["paid", "1"], vec!["new", "1,000"]]);
        assert!(text.contains("│ paid  ┆     1 │"), "{text}");
    }
}
