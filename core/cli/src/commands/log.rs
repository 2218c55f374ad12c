//! Commands on the log and what is kept beside it.

use clap::Args;
use rstmdb::{
    CompactRequest, FlushAllRequest, WalReadRequest, WalReadResult, WalStatsRequest, WalStatsResult,
};
use serde_json::Value;

use crate::error::{self, CommandResult};
use crate::output::{bytes, number, time};
use crate::screen::{fields, table};
use crate::session::{CliSession, optional_text};

/// Show the log's entries in order.
#[derive(Debug, Args)]
#[command(
    visible_alias = "wal",
    after_help = "\
Examples:
  rstmdb-cli wal-read
  rstmdb-cli wal-read --from 1000 --limit 20
  rstmdb-cli wal-read -f 1 --output json | jq '.records[].entry.type'"
)]
pub(crate) struct WalRead {
    /// The first offset to show; when it is gone, the first one left.
    #[arg(short, long, default_value_t = 0, value_name = "OFFSET")]
    from: u64,
    /// The most entries to show.
    #[arg(short, long, default_value_t = 100, value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// The history that the first offset belongs to; refuse when the log is another one.
    #[arg(long, value_name = "ID", requires = "from")]
    history_id: Option<String>,
}

impl WalRead {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = WalReadRequest {
            limit: Some(self.limit),
            history_id: optional_text(self.history_id),
            ..WalReadRequest::new(self.from)
        };
        let result = database.wal_read(request)?;
        let rows = entry_rows(&result)?;
        session.output.show(&result, |_| table(&["offset#", "time", "type", "entry"], rows))?;
        if result.records.len() as u64 == self.limit {
            session.output.note(&format!("go on with --from {}", result.next_offset));
        }
        Ok(())
    }
}

fn entry_rows(result: &WalReadResult) -> CommandResult<Vec<Vec<String>>> {
    let mut rows = Vec::with_capacity(result.records.len());
    for record in &result.records {
        let mut entry = serde_json::to_value(&record.entry).map_err(error::internal)?;
        let kind = entry.as_object_mut().and_then(|members| members.remove("type"));
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let time = time(record.timestamp);
        rows.push(vec![record.offset.to_string(), time, kind, entry.to_string()]);
    }
    Ok(rows)
}

/// Show figures of the log.
#[derive(Debug, Args)]
#[command(
    visible_alias = "ws",
    after_help = "\
Examples:
  rstmdb-cli wal-stats
  rstmdb-cli wal-stats --output json | jq .latest_offset"
)]
pub(crate) struct WalStats {}

impl WalStats {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.wal_stats(WalStatsRequest {})?;
        session.output.show(&result, |result| fields(figures(result)))
    }
}

/// The figures of the log that do not count calls.
pub(crate) fn figures(result: &WalStatsResult) -> Vec<(&'static str, String)> {
    let mut lines = vec![("latest offset", number(result.latest_offset))];
    lines.extend(result.first_offset.map(|first| ("first offset", number(first))));
    lines.extend([
        ("segments", number(result.segment_count)),
        ("log size", bytes(result.total_size_bytes)),
    ]);
    lines
}

/// Write a checkpoint and delete log segments that are no longer needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli compact
  rstmdb-cli compact --force --output json")]
pub(crate) struct Compact {
    /// Write a checkpoint even if nothing changed since the last one.
    // As rstmdb-cli 0.3.0 has it; `-f` is an offset to begin at.
    #[arg(long, short_alias = 'f')]
    force: bool,
}

impl Compact {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.compact(CompactRequest { force_snapshot: self.force })?;
        session.output.show(&result, |result| {
            fields([
                ("instances written", number(result.snapshots_created)),
                ("instances in the checkpoint", number(result.total_snapshots)),
                ("segments deleted", number(result.segments_deleted)),
                ("segments left", number(result.wal_segments)),
                ("won back", bytes(result.bytes_reclaimed)),
            ])
        })
    }
}

/// Remove all machines and instances.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli flush-all --yes
  rstmdb-cli --path ./scratch flush-all --yes --output json")]
pub(crate) struct FlushAll {
    /// Really remove everything.
    #[arg(long)]
    yes: bool,
}

impl FlushAll {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        if !self.yes {
            let message = format!(
                "flush-all removes every machine and instance of {}; add --yes if that is meant",
                session.place
            );
            return Err(error::usage(message).into());
        }
        let result = session.open_existing()?.flush_all(FlushAllRequest {})?;
        session.output.show(&result, |result| {
            fields([
                ("instances removed", number(result.instances_removed)),
                ("machine versions removed", number(result.machines_removed)),
            ])
        })
    }
}
