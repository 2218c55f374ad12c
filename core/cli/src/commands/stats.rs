//! Commands that say what the database is and how it is.

use clap::Args;
use rstmdb::{
    CountInstancesRequest, CountInstancesResult, InfoRequest, InfoResult, ReplicationStatusRequest,
    WalStatsRequest, WalStatsResult,
};
use serde::Serialize;

use super::list::count_table;
use super::log::figures;
use crate::error::CommandResult;
use crate::output::{number, yes_no};
use crate::screen::fields;
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

fn about(result: &InfoResult) -> Vec<(&'static str, String)> {
    vec![
        ("rstmdb", result.server_version.to_string()),
        ("backend", result.backend.to_string()),
        ("database", result.database_id.to_string()),
        ("writable", yes_no(result.writable).to_owned()),
        ("health", result.health.to_string()),
        ("machine versions", number(result.machines)),
        ("instances", number(result.instances)),
        ("latest offset", number(result.latest_offset)),
    ]
}

/// Show the database at a glance: its health, its log, its instances by state.
///
/// The JSON output is {"info", "wal", "counts"}: the results of info and wal-stats, and the counts
/// of count-instances.
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
    counts: CountInstancesResult,
}

impl Stats {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = Figures {
            info: database.info(InfoRequest {})?,
            wal: database.wal_stats(WalStatsRequest {})?,
            counts: database.count_instances(CountInstancesRequest::default())?,
        };
        session.output.show(&result, |result| {
            let mut lines = about(&result.info);
            lines.extend(figures(&result.wal).into_iter().skip(1));
            fields(lines).then(count_table(&result.counts))
        })
    }
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
        session.output.show(&status, |status| fields([("role", status.role.to_string())]))
    }
}
