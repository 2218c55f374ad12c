//! Sessions of clients that speak the plain dialect, at a member that does not lead: they are carried to the one that does.
//!
//! Clients of release 0.3 know one address and no leader. A session of theirs is passed on whole, from its first request
//! that only the leader can answer; when another node leads, it ends, and the client connects again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_cluster::net::{PassedOn, PeerNode, pass_on};
use rstmdb_cluster::peer::PassedSession;
use rstmdb_cluster::raft::RELAY_LEVEL;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, copy, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::calls::{Calls, NodeStream};
use crate::node::{NodeRole, NodeStanding};

/// An election is waited for as long.
const ELECTION: Duration = Duration::from_secs(3);
/// Before the leader is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// So long the answers may take that are on their way when a session ends.
const LINGER: Duration = Duration::from_secs(2);
/// Sessions that were passed on and are not begun.
const WAITING_MAX: usize = 64;

/// The way to the leader.
pub(crate) struct Relay {
    calls: Arc<Calls>,
    local: Arc<PeerNode>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({:?})", self.local)
    }
}

/// A session's way to who leads.
pub(crate) struct SessionWay {
    leader: Box<dyn NodeStream>,
    /// It ends with this.
    epoch: u64,
}

/// Sessions of other members' clients, on their way to the door.
pub(crate) type Passed = mpsc::Receiver<PassedOn>;

/// A way for so many.
pub(crate) fn passage() -> (mpsc::Sender<PassedOn>, Passed) {
    mpsc::channel(WAITING_MAX)
}

/// Whether a request that needs the leader is carried to it: another one leads, or will, and all know how, unless that is not known yet.
pub(crate) fn is_for_another(standing: &NodeStanding) -> bool {
    let follows = matches!(standing.role, NodeRole::Follower | NodeRole::Learner);
    follows && (standing.nodes.is_empty() || standing.level >= RELAY_LEVEL)
}

impl Relay {
    pub(super) fn new(calls: Arc<Calls>, local: Arc<PeerNode>) -> Relay {
        Relay { calls, local }
    }

    /// Passes a session on to who leads, and waits for a while for somebody to lead. Nothing: it is answered here, as well as that goes.
    pub(crate) async fn begin(&self, session: PassedSession) -> Option<SessionWay> {
        timeout(ELECTION, self.find(session)).await.ok().flatten()
    }

    async fn find(&self, session: PassedSession) -> Option<SessionWay> {
        let mut standing = self.calls.node().watch();
        loop {
            let now = standing.borrow_and_update().clone();
            if !is_for_another(&now) {
                return None;
            }
            if let Some(leader) = now.leader.filter(|_| !now.nodes.is_empty()) {
                match pass_on(&self.local, leader, session.clone()).await {
                    Ok(stream) => {
                        return Some(SessionWay { leader: Box::new(stream), epoch: now.epoch });
                    }
                    Err(error) => {
                        tracing::debug!("node {leader} does not take a session over: {error}");
                    }
                }
            }
            // Who leads may know it a moment later than the others.
            let _ = timeout(AGAIN, standing.changed()).await;
        }
    }

    /// Done when a session that was passed on in this epoch has to end.
    async fn over(&self, epoch: u64) {
        let mut standing = self.calls.node().watch();
        let moved = |now: &Arc<NodeStanding>| now.epoch != epoch || !is_for_another(now);
        // The sender lives as long as anybody who waits.
        let _ = standing.wait_for(moved).await;
    }

    /// Carries a session, until either side ends it, another node leads, or `end` is done. Returns the client's side.
    pub(crate) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: S,
        rest: &[u8],
        SessionWay { leader, epoch }: SessionWay,
        end: impl Future<Output = ()>,
    ) -> S {
        let (mut asks, mut hears) = split(client);
        let (mut answers, mut asked) = split(leader);
        let over = async {
            tokio::select! {
                () = self.over(epoch) => {}
                () = end => {}
            }
        };
        let carried = async {
            let there = async {
                tokio::pin!(over);
                let is_over = tokio::select! {
                    sent = forward(rest, &mut asks, &mut asked) => sent.map(|()| false)?,
                    () = &mut over => true,
                };
                // What was asked is answered, and then the leader ends it, if it is there.
                asked.shutdown().await?;
                if !is_over {
                    over.await;
                }
                tokio::time::sleep(LINGER).await;
                io::Result::Ok(())
            };
            let back = copy(&mut answers, &mut hears);
            tokio::select! {
                there = there => there,
                back = back => back.map(drop),
            }
        };
        if let Err(error) = carried.await {
            tracing::debug!("a session that was passed on ends: {error}");
        }
        asks.unsplit(hears)
    }
}

/// Waits until this node says of itself that it leads, as it said to who passed a session on.
pub(crate) async fn leads(calls: &Calls) -> bool {
    let mut standing = calls.node().watch();
    let leads = standing.wait_for(|standing| standing.role == NodeRole::Leader);
    matches!(timeout(ELECTION, leads).await, Ok(Ok(_)))
}

async fn forward<C, L>(
    rest: &[u8],
    client: &mut ReadHalf<C>,
    leader: &mut WriteHalf<L>,
) -> io::Result<()>
where
    C: AsyncRead,
    L: AsyncWrite,
{
    leader.write_all(rest).await?;
    leader.flush().await?;
    copy(client, leader).await.map(drop)
}
