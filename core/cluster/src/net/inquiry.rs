//! Members are asked how they do; who leads, again and again; and nodes that belong to no group are invited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::dial::{dial, unexpected};
use super::line::Line;
use super::local::PeerNode;
use crate::peer::{Message, PeerError};
use crate::raft::{MemberReport, RaftNode};

/// Asks members how they do, by connections of their own.
#[derive(Clone)]
pub struct Inquiries {
    node: Arc<PeerNode>,
    lines: Arc<Mutex<BTreeMap<u16, Line>>>,
}

impl std::fmt::Debug for Inquiries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inquiries({:?})", self.node)
    }
}

/// A node that was invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitee {
    /// Its number, if it belongs to the group already.
    pub node: Option<u16>,
    /// Tells it apart from others, 32 hex digits.
    pub uuid: String,
}

impl Inquiries {
    /// Of this node to others. Connections are made by the runtime that first asks.
    pub fn new(node: Arc<PeerNode>) -> Inquiries {
        Inquiries { node, lines: Arc::default() }
    }

    /// Asks a member, which is where the log says or else at this address. Who does not answer in time is asked anew the next time.
    pub async fn ask(
        &self,
        to: u16,
        address: &str,
        patience: Duration,
    ) -> Result<MemberReport, PeerError> {
        let line = || Line::new(self.node.clone(), u64::from(to), address.to_owned());
        let line = self.lines.lock().entry(to).or_insert_with(line).clone();
        let answered = timeout(patience, line.ask(Message::Inquire, patience)).await;
        match answered.map_err(|_| PeerError::Silent { after: patience })?? {
            Message::Report(words) => serde_json::from_str(&words).map_err(|error| {
                PeerError::Io(std::io::Error::other(format!("a report makes no sense: {error}")))
            }),
            other => Err(unexpected(other.kind(), "how a member does")),
        }
    }

    /// Asks who leads now, for the age of what this node shows: see [`RaftNode::as_of`]. Says whether that was answered.
    pub async fn ask_leader(&self, raft: &RaftNode, patience: Duration) -> bool {
        let state = raft.state();
        let other = state.leader.filter(|leader| *leader != state.id);
        let Some(leader) = other.and_then(|leader| state.member(leader)) else { return false };
        let asked = Instant::now();
        match self.ask(leader.id, &leader.member.peer, patience).await {
            Ok(report) => {
                raft.heard(asked, &report);
                true
            }
            Err(error) => {
                tracing::debug!("node {}, which led last, was asked: {error}", leader.id);
                false
            }
        }
    }

    /// Invites the node at an address to join where this one is: it asks for that by itself then.
    pub async fn invite(&self, address: &str, own: &str) -> Result<Invitee, PeerError> {
        let mut link = dial(&self.node, address).await?;
        let uuid = crate::hex(&link.theirs.uuid);
        if link.theirs.node != 0 {
            return Ok(Invitee { node: Some(link.theirs.node), uuid });
        }
        let invitation = Message::Invite { address: own.to_owned() };
        match link.ask(&invitation, self.node.patience).await? {
            Message::Invited => Ok(Invitee { node: None, uuid }),
            other => Err(unexpected(other.kind(), "whether it comes")),
        }
    }
}
