//! A network in memory: messages can be late and lost, and nodes cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use rstmdb_cluster::raft::{
    Entry, MemberNode, RaftOfGroup, RaftSnapshot, SnapshotFile, TypeConfig, Vote,
};
use rstmdb_testkit::faulty::Rng;

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<u64, RaftOfGroup>,
    cut: BTreeSet<u64>,
    /// Out of a thousand messages so many are lost.
    lost: u32,
    delay: Duration,
    rng: Option<Rng>,
}

/// All that is between the nodes.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Wires>>);

impl MemoryNetwork {
    pub fn of(&self, from: u64) -> Wire {
        Wire { network: self.clone(), from, to: from }
    }

    pub fn join(&self, id: u64, raft: RaftOfGroup) {
        self.0.lock().nodes.insert(id, raft);
    }

    pub fn leave(&self, id: u64) {
        self.0.lock().nodes.remove(&id);
    }

    /// Nothing comes to this node or from it.
    pub fn cut(&self, id: u64) {
        self.0.lock().cut.insert(id);
    }

    pub fn heal(&self) {
        self.0.lock().cut.clear();
    }

    pub fn disturb(&self, seed: u64, lost: u32, delay: Duration) {
        let mut wires = self.0.lock();
        (wires.lost, wires.delay, wires.rng) = (lost, delay, Some(Rng::new(seed)));
    }
}

/// One node's way to another.
pub struct Wire {
    network: MemoryNetwork,
    from: u64,
    to: u64,
}

fn gone(what: &'static str) -> Unreachable<TypeConfig> {
    Unreachable::new(&std::io::Error::other(what))
}

impl Wire {
    /// A message gets there, or not; the answer takes the same way.
    async fn pass(&self) -> Result<RaftOfGroup, Unreachable<TypeConfig>> {
        let delay = {
            let mut wires = self.network.0.lock();
            if wires.cut.contains(&self.from) || wires.cut.contains(&self.to) {
                return Err(gone("cut off"));
            }
            let (lost, delay) = (wires.lost, wires.delay);
            let (is_lost, part) = match &mut wires.rng {
                Some(rng) => (rng.chance(lost), rng.below(1000) as f64 / 1000.0),
                None => (false, 0.0),
            };
            if is_lost {
                return Err(gone("lost"));
            }
            delay.mul_f64(part)
        };
        if delay > Duration::ZERO {
            let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
        }
        let node = self.network.0.lock().nodes.get(&self.to).cloned();
        node.ok_or_else(|| gone("not there"))
    }
}

fn stopped(error: impl std::error::Error + 'static) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkFactory<TypeConfig> for Wire {
    type Network = Wire;

    async fn new_client(&mut self, to: u64, _: &MemberNode) -> Wire {
        Wire { network: self.network.clone(), from: self.from, to }
    }
}

impl RaftNetworkV2<TypeConfig> for Wire {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let node = self.pass().await?;
        // What travels is bytes.
        for entry in &mut request.entries {
            *entry = Entry::decode(&entry.encode()).unwrap();
        }
        let answer = node.append_entries(request).await.map_err(stopped)?;
        self.pass().await?;
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.pass().await?.vote(request).await.map_err(stopped)?;
        self.pass().await?;
        Ok(answer)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.pass().await?.pre_vote(request).await.map_err(stopped)?;
        self.pass().await?;
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let node = self.pass().await?;
        let answer = node.install_full_snapshot(vote, snapshot).await;
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        self.pass().await?;
        Ok(answer)
    }
}
