//! What is asked and ordered about the group: the operations `cluster_*`, at any member.
//!
//! Orders are for who leads: another member refuses with that one's address, and clients go there by themselves. The status is told by every member,
//! also where no node leads.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rstmdb_cluster::net::Inquiries;
use rstmdb_cluster::raft::{MemberNode, RaftNode};
use rstmdb_types::error::reason;
use rstmdb_types::{
    ClusterAddRequest, ClusterAddResult, ClusterDrainResult, ClusterInitResult,
    ClusterPromoteResult, ClusterRemoveResult, ClusterTransferResult, ClusterUpgradeResult, Error,
    ErrorCode, Outcome, Request, Result,
};
use tokio::sync::{mpsc, oneshot};

use super::join::belongs_already;
use super::{FoundingAnswer, status, verify};
use crate::calls::{Calls, Later, NodeDriver, NodeStream};
use crate::config::Address;

/// A server that was invited asks to join within this time, or its log says why not.
const COMING: Duration = Duration::from_secs(10);

/// Who was elected takes writes within this time, as a rule.
const LEADING: Duration = Duration::from_secs(2);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_millis(10);

/// Answers what is asked about the group.
#[derive(Clone)]
pub(super) struct GroupOrders {
    pub calls: Arc<Calls>,
    /// The name of the group.
    pub cluster: String,
    /// What others are told of this node.
    pub own: MemberNode,
    pub raft: Arc<OnceLock<Arc<RaftNode>>>,
    pub inquiries: Inquiries,
    pub founding: mpsc::Sender<FoundingAnswer>,
}

impl NodeDriver for GroupOrders {
    fn may_be_followed(&self) -> Result<()> {
        let what = "a member of a group can't be followed by replication.upstream; start a member with cluster.role learner instead";
        Err(Error::invalid(reason::UNSUPPORTED, what))
    }

    fn serve(&self, _: Box<dyn NodeStream>, _: SocketAddr) -> Later<()> {
        Box::pin(std::future::ready(()))
    }

    fn operate(&self, request: Request) -> Option<Later<Result<Outcome>>> {
        let orders = self.clone();
        Some(Box::pin(async move { orders.carry_out(request).await }))
    }
}

impl GroupOrders {
    async fn carry_out(&self, request: Request) -> Result<Outcome> {
        Ok(match request {
            Request::ClusterStatus(_) => {
                let raft = self.raft.get().map(Arc::as_ref);
                let status = status::of(&self.calls, &self.cluster, raft, &self.inquiries).await;
                Outcome::ClusterStatus(Box::new(status))
            }
            Request::ClusterInit(_) => Outcome::ClusterInit(self.init().await?),
            Request::ClusterAdd(request) => Outcome::ClusterAdd(self.add(request).await?),
            Request::ClusterRemove(request) => {
                let voters =
                    self.raft()?.remove(number(request.node)?, request.force).await? as u64;
                Outcome::ClusterRemove(ClusterRemoveResult { node: request.node, voters })
            }
            Request::ClusterPromote(request) => {
                let voters =
                    self.raft()?.promote(number(request.node)?, request.force).await? as u64;
                Outcome::ClusterPromote(ClusterPromoteResult { node: request.node, voters })
            }
            Request::ClusterTransfer(request) => {
                let leader = self.raft()?.transfer(request.to.map(number).transpose()?).await?;
                self.await_leader(leader.node).await;
                let (leader, address) = (leader.node.into(), leader.address.into());
                Outcome::ClusterTransfer(ClusterTransferResult { leader, address })
            }
            Request::ClusterDrain(request) => {
                let is_drained = !request.undo;
                let leader = self.raft()?.drain(number(request.node)?, is_drained).await?;
                if let Some(leader) = leader {
                    self.await_leader(leader).await;
                }
                let leader = leader.map(u64::from);
                Outcome::ClusterDrain(ClusterDrainResult { node: request.node, is_drained, leader })
            }
            Request::ClusterVerify(_) => {
                Outcome::ClusterVerify(verify::members(self.raft()?, &self.inquiries).await?)
            }
            Request::ClusterUpgrade(_) => {
                let raft = self.raft()?;
                let (_, before) = raft.levels();
                let level = raft.upgrade(None).await?;
                let (is_raised, level) = (level > before, level.into());
                let result = ClusterUpgradeResult { level, possible: level, is_raised };
                Outcome::ClusterUpgrade(result)
            }
            Request::ReplicaPromote(_) | Request::ReplicaFollow(_) => {
                let what = "this server is a member of a group, which elects who takes the writes: use cluster_transfer and cluster_drain";
                return Err(Error::invalid(reason::UNSUPPORTED, what));
            }
            _ => return Err(Error::invalid(reason::UNSUPPORTED, "this is no order")),
        })
    }

    fn raft(&self) -> Result<&RaftNode> {
        self.raft.get().map(Arc::as_ref).ok_or_else(|| {
            let why = self.calls.node().standing().not_ready.clone();
            let why = why.map_or_else(String::new, |not_ready| format!(": {}", not_ready.reason));
            let what = format!("this server belongs to no group yet{why}");
            Error::new(ErrorCode::Conflict, what)
        })
    }

    /// Begins a group with this node, unless there is one.
    async fn init(&self) -> Result<ClusterInitResult> {
        let (answer, answered) = oneshot::channel();
        if self.founding.send(answer).await.is_ok()
            && let Ok(result) = answered.await
        {
            return result;
        }
        Err(belongs_already(self.calls.node().standing().node))
    }

    /// Gives who was just elected the time to take writes. It does that by itself, also when this is over before.
    async fn await_leader(&self, leader: u16) {
        let Ok(raft) = self.raft() else { return };
        let takes_writes = async {
            loop {
                let state = raft.state();
                let Some(member) = state.member(leader) else { return };
                let report = status::ask(raft, &self.inquiries, state.id, member).await;
                if report.is_some_and(|report| report.is_leading) {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(LEADING, takes_writes).await;
    }

    /// Invites a node, and waits for it to be a member.
    async fn add(&self, request: ClusterAddRequest) -> Result<ClusterAddResult> {
        let address: Address = request.peer_address.parse().map_err(|what| {
            Error::invalid(reason::INVALID_REQUEST, format!("peer_address: {what}"))
                .with("field", "peer_address")
        })?;
        let address = address.as_str();
        let raft = self.raft()?;
        raft.check_decides()?;
        let invited = self.inquiries.invite(address, &self.own.peer).await.map_err(|error| {
            let what = format!(
                "the server at {address} can't be invited: {error}; start it with cluster.enabled, the group's cluster.name, and this \
                 cluster.bind_addr"
            );
            Error::new(ErrorCode::ReplicationError, what).with("address", address)
        })?;
        let member = || {
            let state = raft.state();
            let found = state.members.iter().find(|of| of.member.uuid == invited.uuid);
            found.map(|of| ClusterAddResult {
                node: of.id.into(),
                name: of.member.name.as_str().into(),
            })
        };
        if let (Some(node), None) = (invited.node, member()) {
            let what = format!(
                "the server at {address} was node {node} and is no member now: start it with an empty directory"
            );
            return Err(Error::new(ErrorCode::Conflict, what).with("node", node));
        }
        let joins = async {
            loop {
                if let Some(member) = member() {
                    return member;
                }
                // Where it leads, each heartbeat is news.
                raft.changed().await;
            }
        };
        tokio::time::timeout(COMING, joins).await.map_err(|_| {
            let what = format!(
                "the server at {address} was invited and did not join in time; its log says why"
            );
            Error::new(ErrorCode::ReplicationError, what).with("address", address)
        })
    }
}

/// The number of a node as members have it. Nobody has one that they can't.
fn number(node: u64) -> Result<u16> {
    u16::try_from(node).map_err(|_| {
        let what =
            format!("the group has no node {node}; `rstmdb-cli cluster status` lists those it has");
        Error::new(ErrorCode::NotFound, what).with("node", node)
    })
}
