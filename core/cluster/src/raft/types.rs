//! The library's types, in terms of the engine's.
//!
//! The library counts entries from 0, the log its frames from 1: entry `n` is frame `n + 1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::entry::{RaftEntry, RaftPayload};
use openraft::impls::{BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_std};
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use rstmdb_engine::replication::{FrameKind, GroupMembers, LogFrame, LogTip};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};

/// The runtime that the library's tasks run on.
#[cfg(not(feature = "simulation"))]
pub type Runtime = openraft_rt_tokio::TokioRuntime;
/// The runtime that the library's tasks run on: one thread, in which time passes when nothing else is to do.
#[cfg(feature = "simulation")]
pub type Runtime = openraft_rt_sim::SimRuntime;

/// What the library works with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = ();
    type NodeId = u64;
    type Node = MemberNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneshotResponder<TypeConfig, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// A vote: the term, who it is for, and whether most gave it.
pub type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
/// An entry's name.
pub type LogId = openraft::LogId<CommittedLeaderId<u64>>;
/// Who belongs to the group.
pub type Membership = openraft::Membership<u64, MemberNode>;
/// The same, with the entry that says so.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId<u64>, u64, MemberNode>;

/// What goes with a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId<u64>, u64, MemberNode>;

/// What all members know of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberNode {
    /// What people call it.
    pub name: String,
    /// Where the other members reach it.
    pub peer: String,
    /// Where clients reach it.
    pub client: String,
    /// Where it stands; several in one place may fail together.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Tells it from another one under the same number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// The oldest and the newest level that it can work at.
    #[serde(default)]
    pub levels: (u32, u32),
    /// It wants no vote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// It is not to lead, as long as another one can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_drained: bool,
    /// No node of a higher number was there when this was said.
    #[serde(default)]
    pub given: u16,
    /// The group worked at this level when this was said; 0: nobody said.
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub level: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The form that is asked for.
fn is_unsaid(level: &u32) -> bool {
    *level == 0
}

impl MemberNode {
    /// The same in what only the group says of it.
    #[must_use]
    pub fn as_known(self, known: &MemberNode) -> MemberNode {
        MemberNode { given: known.given, level: known.level, is_drained: known.is_drained, ..self }
    }
}

/// A frame on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal(pub LogFrame);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing, and it has no frame yet.
    Blank,
    /// Who belongs to the group, and it has no frame yet.
    Members(Membership),
    /// A frame: one that was evaluated, or any that is in a log.
    Frame(LogFrame),
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl RaftPayload for Payload {
    type D = Proposal;
    type NodeId = u64;
    type Node = MemberNode;

    fn blank() -> Payload {
        Payload::Blank
    }

    fn with_normal(self, proposal: Proposal) -> Payload {
        Payload::Frame(proposal.0)
    }

    fn with_membership(self, membership: Membership) -> Payload {
        Payload::Members(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Payload::Blank => None,
            Payload::Members(membership) => Some(membership.clone()),
            Payload::Frame(frame) => frame.said_members().and_then(|said| membership(&said).ok()),
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    leader: CommittedLeaderId<u64>,
    index: u64,
    payload: Payload,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.leader, self.index, self.payload)
    }
}

impl RaftEntry for Entry {
    type CommittedLeaderId = CommittedLeaderId<u64>;
    type Payload = Payload;

    fn new(id: LogId, payload: Payload) -> Entry {
        Entry { leader: id.leader_id, index: id.index, payload }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId<u64>, u64) {
        (&self.leader, self.index)
    }

    fn set_log_id(&mut self, id: LogId) {
        (self.leader, self.index) = (id.leader_id, id.index);
    }

    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

impl Entry {
    /// The entry that is a frame of a log.
    pub fn of_frame(frame: LogFrame) -> Entry {
        let LogId { leader_id, index } = log_id(frame.index(), frame.term());
        Entry { leader: leader_id, index, payload: Payload::Frame(frame) }
    }

    /// The frame that it is in the log.
    pub fn into_frame(self) -> LogFrame {
        let (index, term) = (self.index + 1, self.leader.term);
        match self.payload {
            Payload::Blank => LogFrame::blank(index, term),
            Payload::Members(membership) => LogFrame::members(index, term, &words(&membership)),
            Payload::Frame(frame) => frame.placed(index, term),
        }
    }

    /// The bytes that travel, of an entry that is in a log.
    pub fn encode(&self) -> Vec<u8> {
        self.clone().into_frame().encode()
    }

    /// Reads an entry that travelled.
    pub fn decode(bytes: &[u8]) -> Result<Entry> {
        LogFrame::decode(bytes).map(Entry::of_frame)
    }
}

/// The name of the entry that is this frame.
pub(super) fn log_id(index: u64, term: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index.saturating_sub(1))
}

/// The last entry of a log.
pub(super) fn last_of(tip: &LogTip) -> Option<LogId> {
    (tip.index > 0).then(|| log_id(tip.index, tip.term))
}

/// A membership in the log's words.
#[derive(Serialize, Deserialize)]
struct Words {
    /// More than one while it changes.
    voters: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, MemberNode>,
}

/// What the log says of a membership.
pub(super) fn words(membership: &Membership) -> String {
    let voters = membership.get_joint_config().clone();
    let nodes = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
    // Numbers and strings always have words.
    serde_json::to_string(&Words { voters, nodes }).unwrap_or_default()
}

/// The membership that the log speaks of.
pub(super) fn membership(said: &GroupMembers) -> Result<Membership> {
    let refused = |what: &dyn fmt::Display| {
        let index = said.index;
        let what = format!("the frame at index {index} names no members: {what}");
        Error::new(ErrorCode::ReplicationError, what).with_reason(reason::LOG_MISMATCH)
    };
    let Words { voters, nodes } =
        serde_json::from_str(&said.words).map_err(|error| refused(&error))?;
    Membership::new(voters, nodes).map_err(|error| refused(&error))
}

/// Who belongs to the group by what the engine has committed.
pub(super) fn stored(said: Option<GroupMembers>) -> Result<StoredMembership> {
    let Some(said) = said else { return Ok(StoredMembership::default()) };
    let id = log_id(said.index, said.term);
    Ok(StoredMembership::new(Some(id), membership(&said)?))
}

/// What the log says of who belongs to the group.
pub(crate) fn said_members(stored: &StoredMembership) -> Option<GroupMembers> {
    let id = stored.log_id().as_ref()?;
    let words = words(stored.membership());
    Some(GroupMembers { index: id.index + 1, term: id.leader_id.term, words })
}

/// What goes with a checkpoint that another member hands over.
pub(crate) fn snapshot_meta(last: LogId, said: GroupMembers) -> Result<SnapshotMeta> {
    Ok(SnapshotMeta { last_log_id: Some(last), last_membership: stored(Some(said))? })
}

/// Bytes of a vote that the engine keeps.
pub(super) fn vote_bytes(vote: &Vote) -> Vec<u8> {
    let mut bytes = vote.leader_id.term.to_le_bytes().to_vec();
    bytes.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    bytes.push(u8::from(vote.committed));
    bytes
}

/// The vote that the engine kept.
pub(super) fn vote_of(bytes: &[u8]) -> Option<Vote> {
    let (term, rest) = bytes.split_first_chunk()?;
    let (node, rest) = rest.split_first_chunk()?;
    let (term, node) = (u64::from_le_bytes(*term), u64::from_le_bytes(*node));
    match rest {
        [0] => Some(Vote::new(term, node)),
        [1] => Some(Vote::new_committed(term, node)),
        _ => None,
    }
}

/// Whether it is a frame that says who belongs to the group.
pub(super) fn names_members(frame: &LogFrame) -> bool {
    frame.kind() == FrameKind::Members && !frame.is_void()
}
