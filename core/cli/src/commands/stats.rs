//! Commands that say what the database is and how it is.

use clap::Args;
use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    CountInstancesRequest, CountInstancesResult, InfoRequest, InfoResult, ListInstancesRequest,
    ListMachinesRequest, ReplicationStatusRequest, ReplicationStatusResult, Text, WalStatsRequest,
    WalStatsResult,
};
use serde::Serialize;

use super::list::count_table;
use super::log::figures;
use crate::error::CommandResult;
use crate::output::{number, yes_no};
use crate::screen::{Screen, fields, table};
use crate::session::CliSession;

/// Say what this database is: version, backend, health, limits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli info
  rstmdb-cli info --output json | jq .limits")]
pub(crate) struct Info {}

impl Info {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let result = session.open_existing()?.info(InfoRequest {})?;
        let limits = serde_json::to_value(&result.limits).map_err(crate::error::internal)?;
        session.output.show(&result, |result| {
            let mut lines = about(result);
            let features: Vec<_> = result.features.iter().map(ToString::to_string).collect();
            lines.push(("features", features.join(", ")));
            for (name, value) in limits.as_object().into_iter().flatten() {
                lines.push((name, number(value.as_u64().unwrap_or_default())));
            }
            fields(lines)
        })
    }
}

/// What is known: an older server tells little.
fn about(result: &InfoResult) -> Vec<(&'static str, String)> {
    let told = [
        ("rstmdb", Some(result.server_version.to_string())),
        ("backend", Some(result.backend.to_string())),
        ("database", result.database_id.as_ref().map(ToString::to_string)),
        ("writable", result.writable.map(|writable| yes_no(writable).to_owned())),
        ("health", result.health.as_ref().map(ToString::to_string)),
        ("machine versions", result.machines.map(number)),
        ("instances", result.instances.map(number)),
        ("latest offset", result.latest_offset.map(number)),
    ];
    told.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Show the database at a glance: its health, its log, its instances by state.
///
/// The JSON output is {"info", "wal", "counts"}: the results of info and wal-stats, and the counts
/// of count-instances. An older server has no counts; then there is what its lists tell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli stats
  rstmdb-cli stats --output json | jq .counts")]
pub(crate) struct Stats {}

#[derive(Debug, Serialize)]
struct Figures {
    info: InfoResult,
    wal: WalStatsResult,
    #[serde(flatten)]
    counts: Option<CountInstancesResult>,
}

impl Stats {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let mut info = database.info(InfoRequest {})?;
        let wal = database.wal_stats(WalStatsRequest {})?;
        let counts = match database.count_instances(CountInstancesRequest::default()) {
            Err(error) if error.reason() == Some(reason::UNSUPPORTED) => {
                fill_in(&database, &mut info)?;
                None
            }
            counts => Some(counts?),
        };
        info.latest_offset.get_or_insert(wal.latest_offset);
        session.output.show(&Figures { info, wal, counts }, |result| {
            let mut lines = about(&result.info);
            lines.extend(figures(&result.wal).into_iter().skip(1));
            let screen = fields(lines);
            match &result.counts {
                Some(counts) => screen.then(count_table(counts)),
                None => screen,
            }
        })
    }
}

/// What an older server does not say of itself, and its lists tell.
fn fill_in(database: &Database, info: &mut InfoResult) -> rstmdb::Result<()> {
    if info.instances.is_none() {
        let one = ListInstancesRequest { limit: Some(1), ..ListInstancesRequest::default() };
        info.instances = Some(database.list_instances(one)?.total);
    }
    if info.machines.is_none() {
        let machines = database.list_machines(ListMachinesRequest {})?.items;
        info.machines = Some(machines.iter().map(|item| item.versions.len() as u64).sum());
    }
    Ok(())
}

/// Tell the part a database has in replication: `standalone` when there is none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli replication-status
  rstmdb-cli replication-status --output json | jq -r .role")]
pub(crate) struct ReplicationStatus {}

impl ReplicationStatus {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let status = database.replication_status(ReplicationStatusRequest {})?;
        session.output.show(&status, part)
    }
}

/// The part, and those that follow.
fn part(status: &ReplicationStatusResult) -> Screen {
    let text = |text: &Option<Text>| text.as_ref().map(Text::to_string);
    let plain = |number: Option<u64>| number.map(|number| number.to_string());
    let lag = status.lag_ms.map(|age| format!("{age} ms"));
    let told = [
        ("role", Some(status.role.to_string())),
        ("name", text(&status.name)),
        ("mode", text(&status.mode)),
        ("epoch", plain(status.epoch)),
        ("follows", text(&status.upstream)),
        ("writes at", text(&status.writes_at)),
        ("last change", plain(status.primary_sequence)),
        ("applied", plain(status.last_applied_sequence)),
        ("behind", plain(status.lag_entries).map(|count| format!("{count} changes"))),
        ("behind, in time", lag),
        ("replicas", plain(status.connected_replicas)),
        ("problem", text(&status.problem)),
    ];
    let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let screen = fields(told);
    match &status.replicas {
        Some(replicas) if !replicas.is_empty() => {
            let rows = replicas.iter().map(|replica| {
                vec![
                    replica.replica_id.to_string(),
                    replica.last_acked_sequence.to_string(),
                    replica.lag_entries.to_string(),
                ]
            });
            screen.then(table(&["replica", "applied#", "behind#"], rows))
        }
        _ => screen,
    }
}
