//! The ways between the nodes.

use std::future::Future;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use rstmdb_cluster::net::travel;
use rstmdb_cluster::raft::{
    MemberNode, RaftOfGroup, RaftSnapshot, SnapshotFile, StoredMembership, TypeConfig, Vote,
};
use rstmdb_testkit::faulty::Rng;

use super::{Plan, World};

/// What is between the nodes.
pub struct Wires {
    nodes: Vec<Option<RaftOfGroup>>,
    /// From whom to whom nothing gets through.
    cut: Vec<Vec<bool>>,
    /// Out of a thousand messages so many are lost, and so many come again later.
    lost: u32,
    doubled: u32,
    late: Duration,
    keeps_members: bool,
}

impl Wires {
    pub fn new(plan: Plan) -> Wires {
        let size = usize::from(plan.size);
        let late = Duration::from_millis(2);
        let cut = vec![vec![false; size]; size];
        let nodes = vec![None; size];
        Wires { nodes, cut, lost: 0, doubled: 0, late, keeps_members: plan.keeps_members }
    }

    pub fn join(&mut self, id: u16, raft: RaftOfGroup) {
        self.nodes[usize::from(id) - 1] = Some(raft);
    }

    pub fn leave(&mut self, id: u16) {
        self.nodes[usize::from(id) - 1] = None;
    }

    /// Cuts a node off from some, in both directions or in one.
    pub fn cut(&mut self, alone: usize, rng: &mut Rng) {
        let size = self.cut.len();
        let (is_there, is_back) = [(true, true), (true, false), (false, true)][rng.index(3)];
        for other in (0..size).filter(|other| *other != alone) {
            if rng.chance(800) {
                self.cut[alone][other] |= is_there;
                self.cut[other][alone] |= is_back;
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// Another weather.
    pub fn disturb(&mut self, rng: &mut Rng) {
        self.lost = rng.below(150) as u32;
        self.doubled = rng.below(100) as u32;
        self.late = Duration::from_millis(1 + rng.below(60));
    }

    pub fn calm(&mut self) {
        self.heal();
        (self.lost, self.doubled, self.late) = (0, 0, Duration::from_millis(2));
    }
}

/// One node's way to another, as long as it lives.
pub struct Wire {
    world: World,
    from: u16,
    life: u64,
    to: u16,
}

fn gone(what: &'static str) -> Unreachable<TypeConfig> {
    Unreachable::new(&std::io::Error::other(what))
}

fn stopped(error: impl std::error::Error + 'static) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl World {
    pub(super) fn wire(&self, from: u16, life: u64) -> Wire {
        Wire { world: self.clone(), from, life, to: from }
    }
}

impl Wire {
    /// A message goes from one to another, or is lost; gives who receives it.
    async fn pass(&self, from: u16, to: u16) -> Result<RaftOfGroup, Unreachable<TypeConfig>> {
        let (from, to) = (usize::from(from) - 1, usize::from(to) - 1);
        let late = {
            let state = &mut *self.world.state();
            state.figures.messages += 1;
            let wires = &state.wires;
            if !state.members[from].disk.is_on() || wires.cut[from][to] {
                return Err(gone("cut off"));
            }
            if state.rng.chance(wires.lost) {
                return Err(gone("lost"));
            }
            wires.late.mul_f64(state.rng.below(1000) as f64 / 1000.0)
        };
        SimRuntime::sleep(late).await;
        let state = self.world.state();
        let sender = &state.members[usize::from(self.from) - 1];
        if sender.life != self.life || !state.members[to].disk.is_on() {
            return Err(gone("no power"));
        }
        state.wires.nodes[to].clone().ok_or_else(|| gone("not there"))
    }

    async fn there(&self) -> Result<RaftOfGroup, Unreachable<TypeConfig>> {
        self.pass(self.from, self.to).await
    }

    async fn back(&self) -> Result<(), Unreachable<TypeConfig>> {
        self.pass(self.to, self.from).await.map(drop)
    }

    /// Some messages come again later.
    fn again<F: Future + Send + 'static>(
        &self,
        node: &RaftOfGroup,
        deliver: impl FnOnce(RaftOfGroup) -> F + Send + 'static,
    ) where
        F::Output: Send + 'static,
    {
        let state = &mut *self.world.state();
        if state.rng.chance(state.wires.doubled) {
            let (node, late) = (node.clone(), Duration::from_millis(state.rng.below(400)));
            let _detached = SimRuntime::spawn(async move {
                SimRuntime::sleep(late).await;
                let _ = deliver(node).await;
            });
        }
    }

    /// Whether the one who answers still has power: else nobody hears it.
    fn answers(&self) -> Result<(), Unreachable<TypeConfig>> {
        match self.world.state().members[usize::from(self.to) - 1].disk.is_on() {
            true => Ok(()),
            false => Err(gone("no power")),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Wire {
    type Network = Wire;

    async fn new_client(&mut self, to: u64, _: &MemberNode) -> Wire {
        Wire { world: self.world.clone(), to: to as u16, ..*self }
    }
}

impl RaftNetworkV2<TypeConfig> for Wire {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = travel::append(request).unwrap();
        let node = self.there().await?;
        let doubled = request.clone();
        self.again(&node, |node| async move { node.append_entries(doubled).await });
        let entries = request.entries.last().map(openraft::entry::RaftEntry::log_id);
        let (leader, last) = (request.vote, entries.or(request.prev_log_id));
        let answer = node.append_entries(request).await.map_err(stopped)?;
        self.answers()?;
        if let (AppendEntriesResponse::Success, Some(last)) = (&answer, last) {
            self.world.state().promises.acknowledged(self.to, leader, last);
        }
        self.back().await?;
        Ok(travel::appended(&answer).unwrap())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = travel::candidacy(&request, false).unwrap();
        let node = self.there().await?;
        let doubled = request.clone();
        self.again(&node, |node| async move { node.vote(doubled).await });
        let (term, candidate) = (request.vote.leader_id.term, request.vote.leader_id.voted_for);
        let answer = node.vote(request).await.map_err(stopped)?;
        self.answers()?;
        if answer.vote_granted {
            self.world.state().promises.voted(self.to, term, candidate);
        }
        self.back().await?;
        Ok(travel::verdict(&answer).unwrap())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = travel::candidacy(&request, true).unwrap();
        let node = self.there().await?;
        let answer = node.pre_vote(request).await.map_err(stopped)?;
        self.answers()?;
        self.back().await?;
        Ok(travel::verdict(&answer).unwrap())
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let node = self.there().await?;
        node.handle_transfer_leader(request).await.map_err(stopped)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        mut snapshot: RaftSnapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let node = self.there().await?;
        if self.world.state().wires.keeps_members {
            let known = node.metrics().borrow_watched().membership_config.clone();
            let last = &mut snapshot.meta.last_membership;
            if known.log_id().as_ref().map(|id| id.index)
                > last.log_id().as_ref().map(|id| id.index)
            {
                *last = StoredMembership::clone(&known);
            }
        }
        let answer = node.install_full_snapshot(vote, snapshot).await;
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        self.answers()?;
        self.back().await?;
        Ok(answer)
    }
}
