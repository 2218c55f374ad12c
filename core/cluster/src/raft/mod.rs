//! Consensus: the engine's log, agreed on by the members of a group.
//!
//! The library decides who leads, which entries the log has, and what is committed. All of that is kept by the engine,
//! through its [`Replication`](rstmdb_engine::replication::Replication): [`RaftLog`] and [`RaftMachine`] say the same
//! in the library's words. What the engine shows does not rest on the library's order: frames that do not go on from
//! the log are void, and one that somebody else evaluated ends a run.
//!
//! ```text
//! requests -> engine evaluates -> Proposer -> library: index, quorum -> RaftLog::append -> every engine
//!    ^                                                                                        |
//!    +------------- answered <- engine: commit mark <- RaftMachine::apply <-------------------+
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, abortable};
use openraft::RaftNetworkFactory;
use openraft::async_runtime::WatchReceiver;
use openraft::network::{NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::WatchReceiverOf;
use rstmdb_engine::Engine;
use rstmdb_engine::replication::LogFrame;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

pub use lead::RaftOfGroup;
pub use log::RaftLog;
pub use machine::{RaftMachine, RaftSnapshot};
pub use members::{
    GroupState, JoinOutcome, MemberState, RELAY_LEVEL, first_member, group_level, too_old_or_new,
};
pub use report::MemberReport;
pub use slot::EngineSlot;
#[cfg(feature = "simulation")]
pub use slot::SlotPace;
pub use snapshot::{SnapshotFile, SnapshotSource};
pub use types::{
    Entry, LogId, MemberNode, Membership, Payload, Proposal, Runtime, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};

use lead::Driver;
use report::StateAge;
use types::{names_members, vote_bytes, words};

pub(crate) use types::{said_members, snapshot_meta};

mod lead;
mod log;
mod machine;
mod members;
mod report;
mod slot;
mod snapshot;
mod types;
mod worker;

/// How members tell that one of them is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTimes {
    /// A leader says so this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// A follower wants to lead when it heard nothing for so long, at least and at most.
    pub election_min_ms: u64,
    /// See `election_min_ms`.
    pub election_max_ms: u64,
}

impl Default for RaftTimes {
    fn default() -> RaftTimes {
        RaftTimes { heartbeat_ms: 60, election_min_ms: 250, election_max_ms: 500 }
    }
}

/// Which engine is open, by a number that rises.
pub struct EngineChanges(WatchReceiverOf<TypeConfig, u64>);

impl std::fmt::Debug for EngineChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineChanges")
    }
}

impl EngineChanges {
    /// The number of the engine that is open now.
    pub fn number(&mut self) -> u64 {
        *self.0.borrow_and_update()
    }

    /// Waits for another one than was asked for last; or for the end of the node.
    pub async fn changed(&mut self) {
        let _ = self.0.changed().await;
    }
}

/// A member of a group.
pub struct RaftNode {
    raft: RaftOfGroup,
    slot: Arc<EngineSlot>,
    tasks: Vec<AbortHandle>,
    /// One change of the members at a time.
    changes: tokio::sync::Mutex<()>,
    /// Who was not heard of for so long does not answer.
    patience: Duration,
    begun: Instant,
    /// Of what this node shows.
    age: parking_lot::Mutex<StateAge>,
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftNode({:?})", self.slot)
    }
}

/// Does this beside the caller, until it is told to end.
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let (task, handle) = abortable(task);
    let _detached = TypeConfig::spawn(async move {
        let _aborted = task.await;
    });
    handle
}

/// What the library reported.
fn raft_failed(error: impl std::fmt::Display) -> Error {
    let what = format!("the group's node stopped: {error}");
    Error::new(ErrorCode::ReplicationError, what)
}

impl RaftNode {
    /// Takes part in a group, on the current runtime. The engine must have been opened with the same id.
    pub async fn start<N>(
        id: u16,
        slot: Arc<EngineSlot>,
        times: RaftTimes,
        network: N,
    ) -> Result<RaftNode>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetBackoff<TypeConfig>
            + NetStreamAppend<TypeConfig>
            + NetVote<TypeConfig>
            + NetSnapshot<TypeConfig, SnapshotData = SnapshotFile>
            + NetTransferLeader<TypeConfig>,
    {
        let config = openraft::Config {
            cluster_name: "rstmdb".to_owned(),
            heartbeat_interval: times.heartbeat_ms,
            election_timeout_min: times.election_min_ms,
            election_timeout_max: times.election_max_ms,
            enable_pre_vote: Some(true),
            broadcast_submitted_on_append: Some(true),
            // Others may have entries that this disk lost: going on in the same term would give their numbers twice.
            enable_leader_restore: Some(false),
            // The engine decides when it writes a checkpoint.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(raft_failed)?);
        let log = RaftLog::new(slot.clone()).map_err(raft_failed)?;
        let machine = RaftMachine::new(slot.clone()).map_err(raft_failed)?;
        let raft = RaftOfGroup::new(u64::from(id), config, network, log, machine);
        let raft = raft.await.map_err(raft_failed)?;
        let patience = Duration::from_millis(2 * times.election_max_ms);
        let (run, told) = (0, None);
        let driver = Driver { raft: raft.clone(), slot: slot.clone(), run, told, patience };
        let tasks =
            vec![spawn(driver.drive()), spawn(lead::confirm_rounds(raft.clone(), slot.clone()))];
        let (changes, age) = (tokio::sync::Mutex::default(), parking_lot::Mutex::default());
        Ok(RaftNode { raft, slot, tasks, changes, patience, begun: Instant::now(), age })
    }

    /// The library's node, for the network and for changes of the membership.
    pub fn raft(&self) -> &RaftOfGroup {
        &self.raft
    }

    /// Who was not heard of for so long does not answer.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The engine that is open now.
    pub fn engine(&self) -> Arc<Engine> {
        self.slot.engine()
    }

    /// Tells when another engine took the place of the one that is open.
    pub fn engines(&self) -> EngineChanges {
        EngineChanges(self.slot.changes())
    }

    /// There is a newer checkpoint: nodes that are far behind get that one, and the log before it may go when the
    /// engine's retention says so.
    pub async fn note_checkpoint(&self) -> Result<()> {
        let Some(checkpoint) = self.slot.engine().replication().checkpoint()? else {
            return Ok(());
        };
        let last = checkpoint.at.index.saturating_sub(1);
        self.raft.trigger().snapshot().await.map_err(raft_failed)?;
        let mut metrics = self.raft.metrics();
        let is_there = |seen: &openraft::RaftMetrics<TypeConfig>| {
            seen.running_state.is_err() || seen.snapshot.as_ref().is_some_and(|id| id.index >= last)
        };
        metrics.wait_until(is_there).await.map_err(raft_failed)?;
        self.raft.trigger().purge_log(last).await.map_err(raft_failed)
    }

    /// Takes part no more. The engine follows, and is closed by whoever opened it.
    pub async fn stop(&self) -> Result<()> {
        let stopped = self.raft.shutdown().await;
        self.tasks.iter().for_each(AbortHandle::abort);
        self.slot.engine().replication().follow("the node stopped", None);
        stopped.map_err(raft_failed)
    }
}

/// Begins a group with these members, on one of them alone: the others begin with nothing, or with what this one has.
/// What it holds already is the group's from then on. Doing it twice changes nothing.
///
/// Errors: when the node takes part in a group already.
pub fn begin_group(engine: &Engine, id: u16, members: &Membership) -> Result<()> {
    let replication = engine.replication();
    let tip = replication.tip();
    let is_begun = match replication.frame_at(tip.index) {
        Ok(Some(last)) => names_members(&last),
        _ => false,
    };
    if replication.members().is_some() || (replication.read_vote().is_some() && !is_begun) {
        let what = "the node takes part in a group already; use an empty directory for another one";
        return Err(Error::invalid(reason::INVALID_OPTION, what).with("option", "node"));
    }
    let mut term = tip.term;
    if !is_begun {
        term += 1;
        let (told, heard) = std::sync::mpsc::channel();
        let frame = LogFrame::members(tip.index + 1, term, &words(members));
        replication.append([frame], move |synced| drop(told.send(synced)));
        heard.recv().map_err(raft_failed)??;
    }
    replication.save_vote(&vote_bytes(&Vote::new(term, u64::from(id))))
}
