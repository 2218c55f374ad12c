//! What this server is to the others that hold its database, as whoever runs that part says it.
//!
//! A driver ([`replication`](crate::config::ReplicationConfig), or the one of a cluster) writes a [`NodeStanding`] whenever it
//! changes; health, metrics, `REPLICATION_STATUS`, the hello and the door itself read it here and nowhere else.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb_protocol::{ClusterNode, ReadWish};
use rstmdb_types::error::reason;
use rstmdb_types::{
    ConnectedReplica, Error, ErrorCode, LogPosition, Offset, ReplicationStatusResult, Text,
};
use tokio::sync::watch;

/// What a node is in its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeRole {
    /// It knows no others.
    #[default]
    Standalone,
    /// It takes the writes, and others follow it.
    Primary,
    /// It follows another one.
    Replica,
    /// It was elected.
    Leader,
    /// It votes, and follows who was elected.
    Follower,
    /// It follows who was elected, and has no vote.
    Learner,
}

impl NodeRole {
    /// All of them.
    pub const ALL: [NodeRole; 6] = [
        NodeRole::Standalone,
        NodeRole::Primary,
        NodeRole::Replica,
        NodeRole::Leader,
        NodeRole::Follower,
        NodeRole::Learner,
    ];

    /// The word for it, on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            NodeRole::Standalone => "standalone",
            NodeRole::Primary => "primary",
            NodeRole::Replica => "replica",
            NodeRole::Leader => "leader",
            NodeRole::Follower => "follower",
            NodeRole::Learner => "learner",
        }
    }

    /// Whether writes are taken in this role.
    pub const fn takes_writes(self) -> bool {
        matches!(self, NodeRole::Standalone | NodeRole::Primary | NodeRole::Leader)
    }
}

/// How far a node is behind who takes the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeLag {
    /// Changes that are committed there and not applied here, as far as was heard.
    pub entries: u64,
    /// The age of the oldest of them, or how long nothing was heard, when that was looked at last. None: nothing was ever heard.
    pub age: Option<Duration>,
    /// When what is shown here was all that was acknowledged, where that is known for certain: it is as old as that.
    pub as_of: Option<Instant>,
    /// The last change that is known to be committed there.
    pub committed: Offset,
}

impl NodeLag {
    /// How old what is shown here may be.
    pub fn age(&self) -> Option<Duration> {
        self.as_of.map(|at| at.elapsed()).or(self.age)
    }
}

/// One that follows this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFollower {
    /// Its number.
    pub node: u16,
    /// What people call it.
    pub name: String,
    /// The last change that it has applied.
    pub applied: Offset,
    /// How many changes it is behind.
    pub lag_entries: u64,
}

/// Connections of other nodes that were turned away since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeersTurnedAway {
    /// For a reason that they were told.
    pub refused: u64,
    /// For lack of room.
    pub dropped: u64,
}

/// Why this node serves nobody now, or not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// A stable word for programs.
    pub status: &'static str,
    /// A sentence for people.
    pub reason: String,
}

/// What this node is, as far as it knows.
#[derive(Debug, Clone, Default)]
pub struct NodeStanding {
    /// What it is to the others.
    pub role: NodeRole,
    /// Its number; 0 when it is alone.
    pub node: u16,
    /// What people call it.
    pub name: String,
    /// Grows whenever who takes writes may have changed.
    pub epoch: u64,
    /// The level that its group works at; 0 where it belongs to none.
    pub level: u32,
    /// The number of who takes the writes, when it is known.
    pub leader: Option<u16>,
    /// Where clients reach that one, when it is known.
    pub leader_address: Option<String>,
    /// All nodes that clients may talk to, this one among them; empty when it is alone.
    pub nodes: Vec<ClusterNode>,
    /// The last change that is committed here.
    pub committed: Offset,
    /// Where it gets the log from.
    pub upstream: Option<String>,
    /// How far it is behind; none where it takes the writes.
    pub lag: Option<NodeLag>,
    /// Those that follow it.
    pub followers: Vec<NodeFollower>,
    /// Changes that were sent to those that follow, since the start; one that went to two counts twice.
    pub changes_sent: u64,
    /// `async` or `sync`, where it is a primary.
    pub mode: Option<&'static str>,
    /// Why it is not ready; nothing when it is.
    pub not_ready: Option<NotReady>,
    /// What requests get that may change something; nothing when the database itself says so.
    pub writes: Option<Error>,
    /// What reads of the database get; nothing when they are answered.
    pub reads: Option<Error>,
    /// Connections at the address for other members that were turned away.
    pub peers: PeersTurnedAway,
    /// It goes on without replicas that it should wait for.
    pub is_degraded: bool,
    /// A change that is not committed after this time is answered with `REPLICATION_TIMEOUT`.
    pub commit_timeout: Option<Duration>,
}

impl NodeStanding {
    /// Whether it does its part no longer.
    pub fn is_stopped(&self) -> bool {
        self.not_ready.as_ref().is_some_and(|why| why.status == "stopped")
    }

    /// What `REPLICATION_STATUS` tells; nothing of a node that is alone.
    pub fn status(&self) -> Option<ReplicationStatusResult> {
        let text = |text: &String| Some(Text::from(text.as_str()));
        let mut status = ReplicationStatusResult {
            role: self.role.name().into(),
            name: text(&self.name),
            epoch: Some(self.epoch),
            writes_at: self.leader_address.as_ref().and_then(text),
            problem: self.not_ready.as_ref().and_then(|not_ready| text(&not_ready.reason)),
            ..ReplicationStatusResult::default()
        };
        if self.role == NodeRole::Standalone {
            return None;
        }
        status.primary_sequence = Some(self.committed);
        if let Some(lag) = self.lag {
            status.upstream = self.upstream.as_ref().and_then(text);
            status.last_applied_sequence = Some(self.committed);
            status.primary_sequence = Some(lag.committed.max(self.committed));
            status.lag_entries = Some(lag.entries);
            let age = lag.age();
            status.lag_seconds = age.map(|age| age.as_secs());
            let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            status.lag_ms = age.map(age_ms);
        } else {
            status.mode = self.mode.map(Text::from);
        }
        if self.lag.is_none() || !self.followers.is_empty() {
            let replicas = self.followers.iter().map(|follower| ConnectedReplica {
                replica_id: follower.name.as_str().into(),
                last_acked_sequence: follower.applied,
                lag_entries: follower.lag_entries,
            });
            status.connected_replicas = Some(self.followers.len() as u64);
            status.replicas = Some(replicas.collect());
        }
        Some(status)
    }

    /// Why this node is too far behind for what a read wants; nothing when it is not. Who takes the writes is not behind,
    /// and who must not be behind at all is refused by the database itself where it does not lead.
    pub fn stale_for(
        &self,
        wish: Option<ReadWish>,
        position: Option<LogPosition>,
    ) -> Option<Error> {
        let (lag, wish) = (self.lag?, wish?);
        if let (Some(wanted), Some(position)) = (wish.min_offset, position)
            && position.next <= wanted
        {
            let here = position.next - 1;
            let what = format!(
                "offset {wanted} is to be seen, and {here} is the last here; ask another node"
            );
            return Some(lag_exceeded(what).with("min_offset", wanted).with("latest_offset", here));
        }
        let most = Duration::from_millis(wish.max_lag_ms?);
        let behind = match lag.age() {
            Some(age) if age <= most => return None,
            Some(age) => format!("{} ms", age.as_millis()),
            None => "nobody knows how far".to_owned(),
        };
        let what = format!(
            "this node is {behind} behind, more than {} ms; ask another node",
            most.as_millis()
        );
        Some(lag_exceeded(what).with("max_lag_ms", most.as_millis() as u64))
    }

    /// What clients are told of the nodes, and nothing that changes all the time.
    fn is_same_topology(&self, other: &NodeStanding) -> bool {
        let plain = |node: &ClusterNode| ClusterNode { lag_ms: None, ..node.clone() };
        (self.role, self.node, self.epoch, self.leader)
            == (other.role, other.node, other.epoch, other.leader)
            && self.nodes.iter().map(plain).eq(other.nodes.iter().map(plain))
    }
}

/// A read that would be too old.
pub fn lag_exceeded(message: String) -> Error {
    Error::new(ErrorCode::ReplicationError, message).with_reason(reason::LAG_EXCEEDED)
}

/// Who is told when a node is something else than it was.
pub(crate) trait NodeListener: std::fmt::Debug + Send + Sync {
    /// Is called before clients are told.
    fn noticed(&self, before: &NodeStanding, now: &NodeStanding);
}

/// The place where it stands.
#[derive(Debug)]
pub struct NodePlace {
    standing: watch::Sender<Arc<NodeStanding>>,
    /// Clients have something to hear, or to look at again.
    news: watch::Sender<u64>,
    listener: OnceLock<Arc<dyn NodeListener>>,
    /// When the lease of a primary ends that needs one.
    lease: OnceLock<Mutex<Instant>>,
}

impl Default for NodePlace {
    fn default() -> NodePlace {
        NodePlace {
            standing: watch::Sender::default(),
            news: watch::Sender::new(0),
            listener: OnceLock::new(),
            lease: OnceLock::new(),
        }
    }
}

impl NodePlace {
    /// What it is now.
    pub fn standing(&self) -> Arc<NodeStanding> {
        self.standing.borrow().clone()
    }

    /// Each change of it.
    pub fn watch(&self) -> watch::Receiver<Arc<NodeStanding>> {
        self.standing.subscribe()
    }

    /// From now on somebody is told of each change.
    pub(crate) fn tell(&self, listener: Arc<dyn NodeListener>) {
        let _ = self.listener.set(listener);
    }

    /// From now on a primary needs a lease, and has none.
    pub(crate) fn needs_lease(&self) {
        let _ = self.lease.set(Mutex::new(Instant::now()));
    }

    /// It has one until then.
    pub(crate) fn may_write_until(&self, end: Instant) {
        if let Some(lease) = self.lease.get() {
            *lease.lock() = end;
        }
    }

    /// What writes get while a primary needs a lease that it does not hold.
    pub(crate) fn lacks_lease(&self, role: NodeRole) -> Option<Error> {
        let end = *self.lease.get()?.lock();
        (role == NodeRole::Primary && Instant::now() >= end).then(|| {
            let what = "this server does not hold the lease of fence.*, and takes no writes without it; the request changed nothing, repeat it";
            Error::new(ErrorCode::ReadOnlyMode, what).with_reason(reason::NOT_LEADER)
        })
    }

    /// It is something else from now on. Clients are told of other nodes, or another leader.
    pub fn set(&self, mut standing: NodeStanding) {
        if let Some(fenced) = self.lacks_lease(standing.role) {
            let reason = fenced.message().to_owned();
            standing.not_ready.get_or_insert(NotReady { status: "fenced", reason });
            standing.writes.get_or_insert(fenced);
        }
        let before = self.standing.send_replace(Arc::new(standing));
        if let Some(listener) = self.listener.get() {
            listener.noticed(&before, &self.standing());
        }
        if !before.is_same_topology(&self.standing.borrow()) {
            self.news.send_modify(|number| *number += 1);
        }
    }

    /// Changes part of it.
    pub fn update(&self, change: impl FnOnce(&mut NodeStanding)) {
        let mut standing = NodeStanding::clone(&self.standing.borrow());
        change(&mut standing);
        self.set(standing);
    }

    /// Tells when clients are to be told of the nodes again, from now on; the number grows each time.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_of_another_leader_and_not_of_each_lag() {
        let node = NodePlace::default();
        let news = node.news();
        node.update(|standing| standing.lag = Some(NodeLag::default()));
        node.update(|standing| standing.nodes.push(ClusterNode::default()));
        assert_eq!(*news.borrow(), 1);
        node.update(|standing| standing.nodes.iter_mut().for_each(|node| node.lag_ms = Some(7)));
        assert_eq!(*news.borrow(), 1);
        node.update(|standing| (standing.epoch, standing.leader) = (9, Some(2)));
        assert_eq!(*news.borrow(), 2);
    }
}
