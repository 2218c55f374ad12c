//! Commands on the snapshots of single instances.

use clap::Args;
use rstmdb::{DropSnapshotRequest, ListSnapshotsRequest, SnapshotInstanceRequest};

use super::list::total;
use super::target::InstanceArg;
use crate::error::CommandResult;
use crate::output::bytes;
use crate::screen::{fields, table};
use crate::session::CliSession;

/// Write a snapshot of one instance to a file in the data directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli snapshot-instance o-1
  rstmdb-cli snapshot-instance o-1 --output json | jq -r .snapshot_id")]
pub(crate) struct SnapshotInstance {
    #[command(flatten)]
    target: InstanceArg,
}

impl SnapshotInstance {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = SnapshotInstanceRequest { instance_id: self.target.into() };
        let result = database.snapshot_instance(request)?;
        session.output.show(&result, |result| {
            fields([
                ("instance", result.instance_id.to_string()),
                ("snapshot", result.snapshot_id.to_string()),
                ("offset", result.wal_offset.to_string()),
                ("size", bytes(result.size_bytes)),
                ("checksum", result.checksum.to_string()),
            ])
        })
    }
}

/// List the snapshots of one instance.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli list-snapshots o-1
  rstmdb-cli list-snapshots o-1 --output json | jq -r '.snapshots[].snapshot_id'")]
pub(crate) struct ListSnapshots {
    #[command(flatten)]
    target: InstanceArg,
}

impl ListSnapshots {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = ListSnapshotsRequest { instance_id: self.target.into() };
        let result = database.list_snapshots(request)?;
        session.output.show(&result, |result| {
            let rows = result.snapshots.iter().map(|snapshot| {
                vec![
                    snapshot.snapshot_id.to_string(),
                    snapshot.wal_offset.to_string(),
                    bytes(snapshot.size_bytes),
                    snapshot.checksum.to_string(),
                ]
            });
            let count = result.snapshots.len();
            table(&["snapshot", "offset#", "size#", "checksum"], rows).then(total(
                "snapshot",
                count,
                count as u64,
            ))
        })
    }
}

/// Remove a snapshot.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli drop-snapshot snap-4cde9a9f-0b3f-4d63-a9a2-2d5a3f0f3b1e
  rstmdb-cli list-snapshots o-1 --output json | jq -r '.snapshots[0].snapshot_id' | xargs -r rstmdb-cli drop-snapshot")]
pub(crate) struct DropSnapshot {
    /// The snapshot's id.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

impl DropSnapshot {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = DropSnapshotRequest { snapshot_id: self.snapshot.into() };
        let result = database.drop_snapshot(request)?;
        session.output.show(&result, |result| fields([("dropped", result.snapshot_id.to_string())]))
    }
}
