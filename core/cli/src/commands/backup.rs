//! Backups: `backup create`, `backup verify`, `restore`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rstmdb::backup::{self, BackupOptions, BackupReport, RestoreReport, RestoreTo, WrittenBackup};
use rstmdb::error::reason;
use rstmdb::units::two_sizes;
use rstmdb::{Error, Offset, TimestampMs};

use crate::error::{self, CommandResult, Failure};
use crate::interrupt;
use crate::output::{bytes, number, time};
use crate::place::Target;
use crate::progress;
use crate::quote::argument;
use crate::screen::{Screen, fields};
use crate::session::CliSession;

/// Back up a database while it is used, and check such a backup.
///
/// A backup is one file: the newest checkpoint and every change since. `restore` makes a database of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s localhost:7401 backup create -o monday.rstmbak
  rstmdb-cli backup verify monday.rstmbak")]
pub(crate) struct Backup {
    #[command(subcommand)]
    what: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    Create(Create),
    Verify(VerifyBackup),
}

impl Backup {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        match self.what {
            BackupCommand::Create(create) => create.run(session),
            BackupCommand::Verify(verify) => verify.run(session),
        }
    }
}

/// Write everything up to now into one file, while changes go on.
///
/// The database is on a server, or in a directory (--path) that may be open elsewhere. Until the file
/// is whole it is named FILE.partial; the same command goes on with what an interruption left there,
/// and says when it had to begin anew. Nobody who writes waits for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s localhost:7401 backup create -o monday.rstmbak
  rstmdb-cli -s localhost:7401 backup create -o monday.rstmbak --rate 50MB/s
  rstmdb-cli -s db.example.com:7401 --tls backup create -o - | ssh vault 'cat > monday.rstmbak'
  rstmdb-cli --path ./data backup create -o monday.rstmbak --output json | jq -r .digest")]
pub(crate) struct Create {
    /// The file to write; `-` is standard output.
    #[arg(short = 'o', long = "out", value_name = "FILE|-")]
    out: PathBuf,
    /// The most bytes a second, such as 50MB/s or 20MiB/s.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,
    /// Replace FILE if it is there, and begin anew where another backup was interrupted.
    #[arg(long)]
    force: bool,
}

impl Create {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let interrupt = interrupt::listen();
        let options = BackupOptions {
            bytes_per_second: self.rate.unwrap_or(0),
            replace: self.force,
            progress: progress::of_recovery(),
            is_cancelled: Some(Arc::new(move || interrupt.pressed())),
        };
        let is_stream = self.out == Path::new("-");
        if is_stream && io::stdout().is_terminal() {
            let message =
                "a backup is no text for a terminal; name a file, or a program behind a pipe";
            return Err(error::usage(message).into());
        }
        let mut out = io::stdout().lock();
        let written = match (&session.place, is_stream) {
            (Target::Here(path), false) => backup::of_directory(path, &self.out, &options),
            (Target::Here(path), true) => backup::of_directory_into(path, &mut out, &options),
            (Target::There(_), false) => {
                session.open_existing()?.backup_to_with(&self.out, &options)
            }
            (Target::There(_), true) => session.open_existing()?.backup_into(&mut out, &options),
        };
        drop(out);
        let written = written.map_err(|error| interrupted(error, session, is_stream))?;
        if let Some(why) = &written.begun_anew {
            let note = format!(
                "what an interrupted backup left was of no use, so this one began anew: {why}"
            );
            session.output.note(&note);
        }
        if is_stream {
            let (last, size) = (written.last_offset, bytes(written.size_bytes));
            session.output.note(&format!("backed up to offset {last}, {size}"));
            return Ok(());
        }
        session.output.show(&written, described)
    }
}

/// Ctrl-C is no fault of anybody.
fn interrupted(error: Error, session: &CliSession, is_stream: bool) -> Failure {
    if error.reason() != Some(reason::CANCELLED) {
        return error.into();
    }
    if !is_stream {
        session.output.note("interrupted; the same command goes on from here");
    }
    Failure::Interrupted
}

fn described(written: &WrittenBackup) -> Screen {
    let mut lines = vec![
        ("database", written.database_id.clone()),
        ("last offset", number(written.last_offset)),
        ("last change", time(written.last_at)),
        ("begun", time(written.begun_at)),
        ("size", bytes(written.size_bytes)),
        ("digest", written.digest.clone()),
    ];
    if written.resumed_bytes > 0 {
        lines.push(("resumed at", bytes(written.resumed_bytes)));
    }
    fields(lines)
}

/// A rate such as `50MB/s`, in bytes a second.
fn rate(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("kB", 1_000),
        ("B", 1),
        ("", 1),
    ];
    let size = text.strip_suffix("/s").unwrap_or(text).trim_end();
    if let Some(two) = two_sizes(size) {
        return Err(format!("{text:?} {two}, as in 50MB/s"));
    }
    let end = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
    let (count, unit) = size.split_at(end);
    let unit = unit.trim_start();
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let rate = unit.and_then(|unit| Some(count.parse::<f64>().ok()? * unit as f64));
    match rate {
        Some(rate) if rate >= 1.0 && rate < u64::MAX as f64 => Ok(rate as u64),
        _ => Err(format!("{text:?} is no rate; write a number of bytes a second, as in 50MB/s")),
    }
}

/// Check every byte of a backup, and that it can be restored.
///
/// The exit code is 9 when it is damaged; then it says at which byte. It is loaded as a restore would, so
/// there must be memory for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli backup verify monday.rstmbak
  rstmdb-cli backup verify monday.rstmbak --output json | jq .last_offset")]
pub(crate) struct VerifyBackup {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl VerifyBackup {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let report = backup::verify(&self.file, progress::of_recovery().as_ref())?;
        session.output.show(&report, whole)
    }
}

fn whole(report: &BackupReport) -> Screen {
    fields([
        ("database", report.database_id.clone()),
        ("healthy", "yes".to_owned()),
        ("begun", time(report.begun_at)),
        ("from offset", number(report.earliest_offset)),
        ("from", time(report.earliest_at)),
        ("to offset", number(report.last_offset)),
        ("to", time(report.last_at)),
        ("instances", number(report.instances)),
        ("machines", number(report.machines)),
        ("size", bytes(report.size_bytes)),
        ("digest", report.digest.clone()),
    ])
}

/// Make a new database of a backup, as it was at its end or earlier.
///
/// DIR must be empty or not be there. The new database has an id of its own, and whoever follows the old
/// one is refused by it instead of being told other things. It begins with the state at that moment;
/// the history before stays in the backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli restore monday.rstmbak ./restored
  rstmdb-cli restore monday.rstmbak ./restored --at-offset 1041
  rstmdb-cli restore monday.rstmbak ./restored --at-time 2026-11-30T09:15:00Z")]
pub(crate) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory of the new database.
    #[arg(value_name = "DIR")]
    directory: String,
    /// The last change to restore; a request that happened as a whole is restored whole or not.
    #[arg(long, value_name = "OFFSET", conflicts_with = "at_time")]
    at_offset: Option<Offset>,
    /// Restore what had happened by then: a time with its offset from UTC, such as
    /// 2026-11-30T09:15:00Z or 2026-11-30T10:15:00+01:00.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at_time: Option<TimestampMs>,
}

impl Restore {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let to = match (self.at_offset, self.at_time) {
            (Some(offset), _) => RestoreTo::Offset(offset),
            (None, Some(time)) => RestoreTo::Time(time),
            (None, None) => RestoreTo::End,
        };
        let progress = progress::of_recovery();
        let report = backup::restore(&self.file, &self.directory, to, progress.as_ref())
            .map_err(with_times)?;
        session.output.show(&report, |report| restored(report, &self.directory))?;
        if let Some(end) = report.inside_request_to {
            let (wanted, offset) = (self.at_offset.unwrap_or(end), report.offset);
            session.output.note(&format!(
                "offset {wanted} is inside a request that happened as a whole, up to offset {end}; restored \
                 is what was before it, up to offset {offset}"
            ));
        }
        Ok(())
    }
}

/// Says the ends of a backup as times, to who asked for one.
fn with_times(error: Error) -> Error {
    let at = |name: &str| error.context().get(name).and_then(|value| value.as_i64());
    let (Some(_), Some(latest)) = (at("time"), at("latest_at")) else { return error };
    let first = time(at("first_at"));
    error.clone().at(&format!("from {first} to {}", time(latest)))
}

fn restored(report: &RestoreReport, directory: &str) -> Screen {
    let mut lines = vec![
        ("directory", directory.to_owned()),
        ("database", report.database_id.clone()),
        ("last offset", number(report.offset)),
        ("last change", time(report.at)),
        ("changes left out", number(report.changes_left_out)),
        ("instances", number(report.instances)),
        ("machines", number(report.machines)),
    ];
    let from = report.lineage.iter().map(|old| format!("{} up to {}", old.database_id, old.offset));
    lines.push(("restored from", from.collect::<Vec<_>>().join(", ")));
    fields(lines).then(format!("serve it with `rstmdb --data {}`", argument(directory)))
}

/// A point in time as people write it, in milliseconds; between two of them the earlier.
fn moment(text: &str) -> std::result::Result<TimestampMs, String> {
    let time: std::result::Result<Timestamp, _> = text.trim().parse();
    time.map(|time| time.as_millisecond()).map_err(|_| {
        format!(
            "{text:?} is no time; write date, time and offset from UTC, as in 2026-11-30T09:15:00Z or \
             2026-11-30T10:15:00+01:00"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_have_one_reading() {
        for (text, expected) in
            [("50MB/s", 50_000_000), ("1.5MiB/s", 1_572_864), ("2048", 2048), ("10 kB/s", 10_000)]
        {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for text in ["50M", "50m/s", "", "MB/s", "0", "-1MB/s", "1e9", "50MB/min", "50Mbit/s"] {
            assert!(rate(text).is_err_and(|error| error.contains("50MB/s")), "{text}");
        }
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(0));
        for text in
            ["", "yesterday", "2026-11-30", "2026-11-30T09:15:00", "2026-13-01T00:00:00Z", "12"]
        {
            assert!(moment(text).is_err_and(|error| error.contains("09:15:00Z")), "{text}");
        }
    }
}
