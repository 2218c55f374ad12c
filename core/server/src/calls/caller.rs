//! A session as the door knows it: who it is, the database it works with, and what it has asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use rstmdb_protocol::{Cluster, WireCommand};
use rstmdb_types::{ErrorCode, Limits, LogPosition, Operation};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::CountedError;
use super::hold::{Hold, News};
use super::place::Calls;
use crate::auth::{Identity, RequestLimiter, request_limiter};
use crate::metrics::Recorder;
use crate::node::NodeStanding;

/// What is known about a caller.
#[derive(Debug, Clone, Default)]
pub(super) struct Who {
    pub identity: Option<Identity>,
    /// The name of the identity. A copy of this caller's own: commands carry it.
    pub name: Option<Arc<str>>,
    /// A token was accepted.
    pub authenticated: bool,
    /// The name of a token by which replicas may follow.
    pub follows_as: Option<Arc<str>>,
    pub limiter: Option<Arc<RequestLimiter>>,
    /// Counts the requests of whoever presented a token.
    pub requests: Option<IntCounter>,
}

impl Who {
    fn new(limiter: Option<RequestLimiter>) -> Who {
        Who { limiter: limiter.map(Arc::new), ..Who::default() }
    }
}

/// Whoever is at the other end of a session.
#[derive(Debug)]
pub struct Caller {
    calls: Arc<Calls>,
    pub(super) who: Who,
    news: News,
    /// Tells when other settings are in force.
    changes: watch::Receiver<()>,
    hold: Option<Hold>,
    counts: Recorder,
    /// What this server is to others, and tells of changes.
    node: watch::Receiver<Arc<NodeStanding>>,
    pub(super) standing: Arc<NodeStanding>,
    topology: watch::Receiver<u64>,
    /// The nodes are others than the session was told.
    is_topology_new: bool,
}

impl Caller {
    /// Somebody new, of whom nothing is known.
    pub fn new(calls: &Arc<Calls>) -> Caller {
        let live = calls.settings().load();
        let network = &live.network;
        let limiter = request_limiter(network.requests_per_second, network.request_burst);
        Caller::of(calls.clone(), Who::new(limiter))
    }

    fn of(calls: Arc<Calls>, who: Who) -> Caller {
        let counts = Recorder::new(calls.metrics().clone());
        let mut news = calls.news();
        let hold = news.borrow_and_update().clone().map(Hold::new);
        let changes = calls.settings().changes();
        let mut node = calls.node().watch();
        let standing = node.borrow_and_update().clone();
        let topology = calls.node().news();
        Caller {
            calls,
            who,
            news,
            changes,
            hold,
            counts,
            node,
            standing,
            topology,
            is_topology_new: false,
        }
    }

    /// What all transports share.
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// What requests are held to.
    pub(crate) fn limits(&mut self) -> Option<&Limits> {
        self.hold().map(|engine| engine.limits())
    }

    /// Where the next change comes.
    pub(crate) fn position(&mut self) -> Option<LogPosition> {
        self.hold().map(|engine| engine.position())
    }

    /// The nodes of the database: this one alone, where it knows no others.
    pub(crate) fn cluster(&mut self) -> Option<Cluster> {
        let id = self.hold().map(|engine| engine.database_id())?;
        let standing = &self.standing;
        if standing.nodes.is_empty() {
            return Some(Cluster::alone(id));
        }
        Some(Cluster {
            id,
            epoch: standing.epoch,
            node: Some(standing.node.into()),
            leader: standing.leader.map(u64::from),
            nodes: standing.nodes.clone(),
        })
    }

    /// The nodes, when they are not those that were told last.
    pub(crate) fn other_cluster(&mut self) -> Option<Cluster> {
        if std::mem::take(&mut self.is_topology_new) { self.cluster() } else { None }
    }

    /// What this server is to others.
    pub(crate) fn standing(&mut self) -> &NodeStanding {
        self.refresh();
        &self.standing
    }

    /// The same caller, for work that goes on beside this one.
    pub(crate) fn another(&self) -> Caller {
        Caller::of(self.calls.clone(), self.who.clone())
    }

    /// Does `work` on a thread that may wait, for the same caller.
    pub(crate) fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Caller) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let mut caller = self.another();
        tokio::task::spawn_blocking(move || work(&mut caller))
    }

    /// The database in service.
    pub(super) fn hold(&mut self) -> Option<&Hold> {
        self.refresh();
        self.hold.as_ref()
    }

    /// Lets go of a database that was withdrawn.
    pub(crate) fn refresh(&mut self) {
        // The sender is in `calls`.
        if self.news.has_changed().unwrap_or(false) {
            self.hold = self.news.borrow_and_update().clone().map(Hold::new);
        }
        if self.node.has_changed().unwrap_or(false) {
            self.standing = self.node.borrow_and_update().clone();
        }
    }

    /// Waits until a database is withdrawn or installed, beginning at the last look.
    pub(crate) fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut news = self.news.clone();
        async move {
            // The sender lives as long as anybody who waits.
            let _ = news.changed().await;
        }
    }

    /// Waits until a session has something to look at: its database is replaced, or other settings are in
    /// force. Beginning at the last [`Caller::look`].
    pub(crate) fn told(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut news, mut changes) = (self.news.clone(), self.changes.clone());
        let mut topology = self.topology.clone();
        async move {
            // The senders live as long as anybody who waits.
            tokio::select! {
                _ = news.changed() => {}
                _ = changes.changed() => {}
                _ = topology.changed() => {}
            }
        }
    }

    /// Looks at all of it.
    pub(crate) fn look(&mut self) {
        self.changes.mark_unchanged();
        if self.topology.has_changed().unwrap_or(false) {
            self.topology.mark_unchanged();
            self.is_topology_new = true;
        }
        self.refresh();
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &mut self,
        command: WireCommand,
        began: Instant,
        error: Option<CountedError>,
        now: Instant,
    ) {
        self.counts.request(command.index(), Some(now - began));
        if let Some(failure) = error {
            self.count_error(failure);
            if command == WireCommand::Database(Operation::Backup)
                && let Some(hooks) = self.calls.hooks()
            {
                hooks.backup_failed(&self.standing, failure.code.as_str());
            }
        }
    }

    /// Counts an element of a batch, beside the batch itself.
    pub(super) fn count_element(&mut self, command: WireCommand) {
        self.counts.request(command.index(), None);
    }

    /// Counts an error that answers no request of a known name.
    pub(crate) fn count_error(&self, failure: CountedError) {
        let metrics = self.calls.metrics();
        metrics.error(failure.code).inc();
        if failure.code == ErrorCode::ReplicationTimeout {
            metrics.unconfirmed().inc();
        }
        if let Some(reason) = failure.refused_write {
            metrics.refused_write(reason).inc();
        }
    }

    /// Counts how long an answer waited for its commit.
    pub(crate) fn count_wait(&mut self, duration: Duration) {
        self.counts.commit_wait(duration);
    }

    /// Adds what was counted to what all see.
    pub(crate) fn publish_counts(&mut self) {
        self.counts.flush();
    }
}
