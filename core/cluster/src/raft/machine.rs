//! The library's state machine is the engine, which applies its own log; its snapshots are checkpoints.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use rstmdb_engine::replication::{CheckpointFile, Installed, LogFrame};
use rstmdb_types::{Error, ErrorCode, Result};

use super::slot::{EngineSlot, failed};
use super::snapshot::{SnapshotFile, SnapshotSource};
use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig, log_id, stored};
use super::worker::Worker;

/// A checkpoint, and what the library wants to know of it.
pub type RaftSnapshot = openraft::Snapshot<
    openraft::vote::leader_id_std::CommittedLeaderId<u64>,
    u64,
    super::types::MemberNode,
    SnapshotFile,
>;

/// Frames are read in pieces of about so many bytes.
const PIECE_BYTES: usize = 4 << 20;

/// A checkpoint of this node.
struct OwnCheckpoint {
    file: CheckpointFile,
    slot: Arc<EngineSlot>,
}

impl SnapshotSource for OwnCheckpoint {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn frames(&self, from: u64, to: u64) -> Result<Vec<LogFrame>> {
        self.slot.engine().replication().frames(from, to, PIECE_BYTES)
    }
}

/// In place of a checkpoint that there is none of: then what the log has is all there is.
struct NoCheckpoint;

impl SnapshotSource for NoCheckpoint {
    fn read_at(&self, _: &mut [u8], _: u64) -> Result<usize> {
        let what =
            "there is no checkpoint yet that a node could begin with; ask the leader to compact";
        Err(Error::new(ErrorCode::ReplicationError, what))
    }

    fn frames(&self, _: u64, _: u64) -> Result<Vec<LogFrame>> {
        Ok(Vec::new())
    }
}

/// The engine as the library's state machine.
#[derive(Clone)]
pub struct RaftMachine {
    slot: Arc<EngineSlot>,
    worker: Worker,
}

impl std::fmt::Debug for RaftMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftMachine({:?})", self.slot)
    }
}

impl RaftMachine {
    /// The engine in a slot; a thread of its own applies.
    pub fn new(slot: Arc<EngineSlot>) -> io::Result<RaftMachine> {
        Ok(RaftMachine { slot, worker: Worker::start("rstmdb-apply")? })
    }

    /// The newest checkpoint, if a node can begin with it.
    fn snapshot(&self) -> Result<Option<RaftSnapshot>> {
        let engine = self.slot.engine();
        let replication = engine.replication();
        loop {
            let members = replication.members();
            let Some(file) = replication.checkpoint()? else { return Ok(None) };
            let at = file.at;
            let last = match replication.frame_at(at.until)? {
                Some(frame) => frame.term(),
                None if at.until == at.index => at.term,
                None => return Ok(None),
            };
            // Somebody else may have come in between.
            if replication.members() != members {
                continue;
            }
            let meta = SnapshotMeta {
                last_log_id: Some(log_id(at.until, last)),
                last_membership: stored(members)?,
            };
            let bytes = file.bytes;
            let source = Arc::new(OwnCheckpoint { file, slot: self.slot.clone() });
            let snapshot = SnapshotFile { at, bytes, source };
            return Ok(Some(RaftSnapshot { meta, snapshot }));
        }
    }
}

impl RaftStateMachine<TypeConfig> for RaftMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = RaftMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let engine = self.slot.engine();
        let replication = engine.replication();
        let tip = replication.tip();
        let members = stored(replication.members()).map_err(failed)?;
        let term = match tip.committed {
            0 => return Ok((None, members)),
            index if index == tip.index => tip.term,
            index => match replication.frame_at(index).map_err(failed)? {
                Some(frame) => frame.term(),
                None => return Err(io::Error::other("the last frame that is committed is gone")),
            },
        };
        Ok((Some(log_id(tip.committed, term)), members))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        // What is there at once is committed together.
        while let Some(first) = entries.next().await {
            let (entry, responder) = first?;
            let mut last = entry.log_id();
            let mut responders = vec![responder];
            while let Some(Some(next)) = futures_util::FutureExt::now_or_never(entries.next()) {
                let (entry, responder) = next?;
                last = entry.log_id();
                responders.push(responder);
            }
            let slot = self.slot.clone();
            let index = last.index + 1;
            slot.pause().await;
            let commit = move || slot.engine().replication().commit(index);
            // Who leads has applied it already, and those that wait for it need no further thread.
            let reached = match self.slot.leads() {
                true => commit().map_err(failed)?,
                false => self.worker.run(commit).await?,
            };
            if reached < index {
                let what = format!("entry {} is to be applied and is not in the log", last.index);
                return Err(io::Error::other(what));
            }
            responders.into_iter().flatten().for_each(|responder| responder.send(()));
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> RaftMachine {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> io::Result<()> {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index + 1);
        if index != snapshot.at.until {
            let what =
                format!("a checkpoint up to {} was announced up to {index}", snapshot.at.until);
            return Err(io::Error::other(what));
        }
        let slot = self.slot.clone();
        self.worker.run(move || slot.install(&snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshot().map_err(failed)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for RaftMachine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        if let Some(snapshot) = self.snapshot().map_err(failed)? {
            return Ok(snapshot);
        }
        // The library wants one, if only to know how far it would reach. It is never a reason to give up entries.
        let (last_log_id, last_membership) = self.applied_state().await?;
        let tip = self.slot.engine().replication().tip();
        let at = Installed {
            database: self.slot.engine().replication().database(),
            offset: tip.committed_offset,
            index: tip.committed,
            term: tip.term,
            chain: tip.chain,
            next: tip.committed_offset + 1,
            boundary: tip.committed_offset,
            at_ms: 0,
            until: last_log_id.as_ref().map_or(0, |id| id.index + 1),
        };
        let meta = SnapshotMeta { last_log_id, last_membership };
        let snapshot = SnapshotFile { at, bytes: 0, source: Arc::new(NoCheckpoint) };
        Ok(RaftSnapshot { meta, snapshot })
    }
}
