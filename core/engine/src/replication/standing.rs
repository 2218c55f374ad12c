//! What an engine does in its group, and what it answers to requests that it does not carry out.

use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode};

use super::recent::RecentFrames;
use super::syncs::SyncWaiters;
use super::vote::VoteFile;
use crate::checkpoint::begin::Begin;
use crate::log::ticket::NodeRefusals;
use crate::options::{GroupNode, NodeKind};

/// What an engine does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to no group: what it writes counts.
    Alone,
    /// Frames come from elsewhere; what may change something is refused.
    Following {
        /// Where that is done, as far as it is known.
        leader: Option<LeaderHint>,
    },
    /// It evaluates, and proposes what comes of it.
    Leading {
        /// The term that its frames are of.
        term: u64,
        /// Tells apart the times that it led in one term.
        run: u64,
    },
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderHint {
    /// The node's id.
    pub node: u16,
    /// Where clients reach it.
    pub address: String,
}

/// What an engine that belongs to a group has beside its log and its state.
#[derive(Debug)]
pub(crate) struct NodeState {
    pub node: GroupNode,
    pub standing: Mutex<Standing>,
    pub votes: Mutex<VoteFile>,
    pub syncs: SyncWaiters,
    /// The newest frames of the log.
    pub recent: Arc<RecentFrames>,
    /// Where a checkpoint may begin: the newest boundary that was applied.
    pub boundary: Mutex<Option<Begin>>,
}

impl NodeState {
    pub(crate) fn new(node: GroupNode, votes: VoteFile) -> NodeState {
        NodeState {
            node,
            standing: Mutex::new(Standing::Following { leader: None }),
            votes: Mutex::new(votes),
            syncs: SyncWaiters::default(),
            recent: Arc::default(),
            boundary: Mutex::default(),
        }
    }

    /// Remembers how far the log is decided on: the next opening begins there.
    pub(crate) fn save_committed(&self, index: u64) -> rstmdb_types::Result<()> {
        self.votes.lock().save(|ballot| ballot.committed = ballot.committed.max(index))
    }

    /// What requests get while the engine does not lead: those that may change something, and, of a member, those
    /// that read and must not be behind.
    pub(crate) fn refusals(&self, leader: Option<&LeaderHint>) -> NodeRefusals {
        match self.node.kind {
            NodeKind::Replica => NodeRefusals {
                writes: write_refusal(
                    reason::REPLICA,
                    "this database is a copy of another one",
                    leader,
                ),
                reads: None,
            },
            NodeKind::Member => NodeRefusals {
                writes: write_refusal(reason::NOT_LEADER, "this node does not lead", leader),
                reads: Some(read_refusal(leader)),
            },
        }
    }
}

fn write_refusal(reason: &'static str, who: &str, leader: Option<&LeaderHint>) -> Error {
    let what = match leader {
        Some(leader) => format!("{who}: write at {}", leader.address),
        None => format!("{who}, and who takes the writes is not known now; retry"),
    };
    refusal(reason, what, leader)
}

fn read_refusal(leader: Option<&LeaderHint>) -> Error {
    let what = match leader {
        Some(LeaderHint { address, .. }) => format!(
            "this node does not lead, and may be behind: read at {address}, or with read=any"
        ),
        None => {
            "this node does not lead, and who does is not known now; retry, or read with read=any"
                .to_owned()
        }
    };
    refusal(reason::NOT_LEADER, what, leader)
}

fn refusal(reason: &'static str, what: String, leader: Option<&LeaderHint>) -> Error {
    let error = Error::new(ErrorCode::ReadOnlyMode, what).with_reason(reason);
    match leader {
        Some(leader) => error.with("address", leader.address.as_str()).with("node", leader.node),
        None => error,
    }
}

/// What becomes of a write that was handed to the others is for them to say.
pub(crate) fn undecided(why: &str) -> Error {
    Error::new(
        ErrorCode::WalIoError,
        format!(
            "the node stopped leading ({why}): whether this change survives is decided elsewhere; read \
             to find out, or repeat it with its idempotency key"
        ),
    )
    .with_reason(reason::OUTCOME_UNKNOWN)
}
