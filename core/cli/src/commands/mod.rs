//! One command for each operation of the database, and the tools around them.

mod backup;
mod cluster;
mod instances;
pub(crate) mod list;
mod log;
pub(crate) mod machines;
mod maintenance;
mod manual;
mod ping;
mod replica;
mod snapshots;
mod stats;
mod target;
mod token;
pub(crate) mod watch;

use clap::Subcommand;

use crate::bench::Bench;
use crate::demo::Demo;
use crate::diagram::Diagram;
use crate::error::CommandResult;
use crate::help_markdown::HelpMarkdown;
use crate::import::ImportLog;
use crate::import_peer::ImportPeer;
use crate::session::CliSession;
use crate::shell::Shell;

macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($type:ty),)*) => {
        /// What to do.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$attribute])* $name($type),)*
        }

        impl Command {
            /// Does it.
            pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
                match self { $(Command::$name(command) => command.run(session),)* }
            }
        }
    };
}

// In the order of the help: machines, instances, events, the log, the database, tools.
commands! {
    PutMachine(machines::PutMachine),
    ValidateMachine(machines::ValidateMachine),
    GetMachine(machines::GetMachine),
    ListMachines(machines::ListMachines),
    Diagram(Diagram),
    CreateInstance(instances::CreateInstance),
    GetInstance(instances::GetInstance),
    DeleteInstance(instances::DeleteInstance),
    ListInstances(list::ListInstances),
    CountInstances(list::CountInstances),
    ApplyEvent(instances::ApplyEvent),
    Permitted(instances::Permitted),
    Batch(instances::Batch),
    History(list::History),
    WatchInstance(watch::WatchInstance),
    WatchAll(watch::WatchAll),
    Tail(watch::Tail),
    Unwatch(watch::Unwatch),
    WalRead(log::WalRead),
    WalStats(log::WalStats),
    Compact(log::Compact),
    SnapshotInstance(snapshots::SnapshotInstance),
    ListSnapshots(snapshots::ListSnapshots),
    DropSnapshot(snapshots::DropSnapshot),
    FlushAll(log::FlushAll),
    Info(stats::Info),
    Ping(ping::Ping),
    Stats(stats::Stats),
    ReplicationStatus(stats::ReplicationStatus),
    Replica(replica::ReplicaTools),
    Cluster(cluster::ClusterTools),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Verify(maintenance::Verify),
    Repair(maintenance::Repair),
    ImportLog(ImportLog),
    ImportPeer(ImportPeer),
    HashToken(token::HashToken),
    Shell(Shell),
    Bench(Bench),
    Demo(Demo),
    Completions(manual::Completions),
    ManPages(manual::ManPages),
    #[command(hide = true)]
    HelpMarkdown(HelpMarkdown),
}
