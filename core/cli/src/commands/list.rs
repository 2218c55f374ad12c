//! Commands that list and count instances and show their histories.

use clap::Args;
use rstmdb::{
    CountInstancesRequest, CountInstancesResult, HistoryOrder, HistoryRequest, HistoryResult,
    InstanceEvent, InstanceEventKind, ListInstancesRequest, ListInstancesResult,
};

use super::target::InstanceArg;
use crate::error::CommandResult;
use crate::output::{number, time};
use crate::quote::option;
use crate::screen::{Screen, table};
use crate::session::{CliSession, optional_text};

/// Which instances a list or a count is about.
#[derive(Debug, Args)]
pub(crate) struct InstanceFilter {
    /// Only instances of this machine.
    #[arg(short, long, value_name = "MACHINE")]
    machine: Option<String>,
    /// Only instances of this version.
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: Option<u32>,
    /// Only instances in this state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

/// List instances by id, a page at a time.
#[derive(Debug, Args)]
#[command(
    visible_alias = "li",
    after_help = "\
Examples:
  rstmdb-cli list-instances
  rstmdb-cli list-instances -m order --state paid --limit 20
  rstmdb-cli list-instances -m order --output json | jq -r '.instances[].id'"
)]
pub(crate) struct ListInstances {
    #[command(flatten)]
    filter: InstanceFilter,
    /// The most instances to show.
    #[arg(short, long, default_value_t = 100, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How many matching instances to skip.
    #[arg(long, value_name = "COUNT")]
    offset: Option<u32>,
    /// Continue after a page: its next_cursor.
    #[arg(long, value_name = "CURSOR", conflicts_with = "offset")]
    cursor: Option<String>,
}

impl ListInstances {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.list_instances(ListInstancesRequest {
            machine: optional_text(self.filter.machine),
            version: self.filter.version,
            state: optional_text(self.filter.state),
            limit: Some(self.limit),
            offset: self.offset,
            cursor: optional_text(self.cursor),
        })?;
        session.output.show(&result, page)?;
        if result.has_more {
            let place = self.offset.unwrap_or(0) as usize + result.instances.len();
            let next = match &result.next_cursor {
                Some(cursor) => option("--cursor", cursor),
                // An older server knows no cursors.
                None => format!("--offset {place}"),
            };
            let (shown, total) = (number(result.instances.len() as u64), number(result.total));
            session.output.note(&format!("{shown} of {total} shown; go on with {next}"));
        }
        Ok(())
    }
}

fn page(result: &ListInstancesResult) -> Screen {
    let rows = result.instances.iter().map(|item| {
        vec![
            item.id.to_string(),
            item.machine.to_string(),
            item.version.to_string(),
            item.state.to_string(),
            time(item.updated_at),
            item.last_wal_offset.to_string(),
        ]
    });
    let header = ["instance", "machine", "version#", "state", "updated", "offset#"];
    table(&header, rows).then(total("instance", result.instances.len(), result.total))
}

/// How many things a list shows, and how many there are.
pub(crate) fn total(thing: &str, shown: usize, total: u64) -> String {
    let shown = number(shown as u64);
    let things = format!("{} {thing}{}", number(total), if total == 1 { "" } else { "s" });
    if shown == number(total) { things } else { format!("{shown} of {things}") }
}

/// Count instances by machine, version and state.
///
/// The counts are exact, and cost the same however many instances there are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli count-instances
  rstmdb-cli count-instances --machine order --output json
  rstmdb-cli count-instances -m order --state paid --output json | jq '[.counts[].count] | add'")]
pub(crate) struct CountInstances {
    #[command(flatten)]
    filter: InstanceFilter,
}

impl CountInstances {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.count_instances(CountInstancesRequest {
            machine: optional_text(self.filter.machine),
            version: self.filter.version,
            state: optional_text(self.filter.state),
        })?;
        session.output.show(&result, count_table)
    }
}

/// The counts with their sum.
pub(crate) fn count_table(result: &CountInstancesResult) -> Screen {
    let mut rows: Vec<_> = result
        .counts
        .iter()
        .map(|entry| {
            let version = entry.version.to_string();
            vec![entry.machine.to_string(), version, entry.state.to_string(), number(entry.count)]
        })
        .collect();
    let empty = String::new;
    rows.push(vec!["total".to_owned(), empty(), empty(), number(result.total())]);
    table(&["machine", "version#", "state", "count#"], rows)
}

/// Show the events of one instance, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli history o-1
  rstmdb-cli history o-1 --order oldest --limit 1000
  rstmdb-cli history o-1 --output json | jq -r '.events[].to_state'")]
pub(crate) struct History {
    #[command(flatten)]
    target: InstanceArg,
    /// Which end comes first: newest or oldest.
    #[arg(
        long,
        default_value = "newest",
        value_parser = ["newest", "oldest"],
        hide_possible_values = true
    )]
    order: String,
    /// The most events to show.
    #[arg(short, long, default_value_t = 100, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue after a page: its next_cursor.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<u64>,
}

impl History {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let oldest = self.order == "oldest";
        let database = session.open_existing()?;
        let result = database.history(HistoryRequest {
            instance_id: self.target.into(),
            order: if oldest { HistoryOrder::Oldest } else { HistoryOrder::Newest },
            limit: Some(self.limit),
            cursor: self.cursor,
        })?;
        session.output.show(&result, history_table)?;
        if let Some(cursor) = result.next_cursor {
            session.output.note(&format!("there are more; go on with --cursor {cursor}"));
        }
        if result.truncated {
            let first = result.first_offset;
            session
                .output
                .note(&format!("older events are gone: the log now begins at offset {first}"));
        }
        Ok(())
    }
}

/// The events of a history in the order they come.
pub(crate) fn history_table(result: &HistoryResult) -> Screen {
    let header = ["offset#", "time", "event", "from", "to", "payload"];
    table(&header, result.events.iter().map(event_row))
}

fn event_row(event: &InstanceEvent) -> Vec<String> {
    let name = match &event.kind {
        InstanceEventKind::Applied => event.event.as_deref().unwrap_or_default().to_owned(),
        other => format!("({})", other.as_str()),
    };
    let payload = if event.payload.is_null() { "" } else { event.payload.as_str() };
    vec![
        event.wal_offset.to_string(),
        time(event.timestamp),
        name,
        event.from_state.as_deref().unwrap_or_default().to_owned(),
        event.to_state.as_deref().unwrap_or_default().to_owned(),
        payload.to_owned(),
    ]
}
