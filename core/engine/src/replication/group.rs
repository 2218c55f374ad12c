//! What the writer knows of a group: how far its log is applied, and what it proposed.

use std::collections::VecDeque;
use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use super::recent::RecentFrames;
use crate::log::exchange::LogFrame;
use crate::log::header::FrameHeader;
use crate::log::members::GroupMembers;
use crate::log::queue::Batch;
use crate::log::tip::Tip;

/// So many frames, and bytes in them, may be proposed and not decided on.
const OPEN_FRAMES_MAX: usize = 64;
const OPEN_BYTES_MAX: usize = 32 << 20;

/// Takes what a leading engine wants to have in the log.
pub trait Proposer: Send + Sync {
    /// Passes a frame on to those who decide. It is called in the order of the frames, holds up all writing
    /// meanwhile, and must not call the engine. Whoever refuses a frame ends the run:
    /// [`Replication::follow`](super::Replication::follow).
    fn propose(&self, frame: LogFrame);

    /// Whether what readers see, and refusals, wait for rounds in which it is found out that the node still leads:
    /// [`Replication::poll_round`](super::Replication::poll_round). If not, a leader that was replaced and does not
    /// know may answer from what it has.
    fn confirms(&self) -> bool {
        false
    }

    /// Whether a definition of this language level may be put, while these belong to the group: who does not know the level
    /// can't read the log any more.
    ///
    /// Errors: what the caller is told, and how it can be put after all.
    fn admit_language(&self, _level: u32, _members: Option<&GroupMembers>) -> Result<()> {
        Ok(())
    }
}

/// The part of a group that the writer has.
pub(crate) struct Group {
    /// The end of what is applied.
    pub applied: Tip,
    /// The newest of the log.
    pub recent: Arc<RecentFrames>,
    pub leading: Option<Leading>,
}

/// A proposed frame that is not decided on.
#[derive(Debug, Clone, Copy)]
struct Proposed {
    last: Offset,
    chain: u64,
    bytes: usize,
    /// Its place in the log, when it is there.
    index: Option<u64>,
}

/// One run as the leader.
pub(crate) struct Leading {
    pub term: u64,
    proposer: Arc<dyn Proposer>,
    /// Where what is proposed next goes on.
    tip: Tip,
    open: VecDeque<Proposed>,
    bytes: usize,
    /// What came into the log on who belongs to the group, and is not decided on.
    members: VecDeque<GroupMembers>,
    /// Something else came into the log: what is in memory is not what the log says.
    is_over: bool,
}

/// Frames became committed that the state holds already.
pub(crate) struct NewlyDecided {
    pub first: Offset,
    pub last: Offset,
}

impl Group {
    pub(crate) fn new(applied: Tip, recent: Arc<RecentFrames>) -> Group {
        Group { applied, recent, leading: None }
    }

    /// Whether a batch may be proposed now: the log has what was proposed before, and not too much is open.
    pub(crate) fn may_propose(&self, synced: Offset) -> bool {
        let Some(leading) = &self.leading else { return true };
        let is_there = leading.open.back().is_none_or(|open| open.last <= synced);
        is_there && leading.open.len() < OPEN_FRAMES_MAX && leading.bytes < OPEN_BYTES_MAX
    }

    /// Begins a run where the log ends, all of which must be applied.
    pub(crate) fn lead(&mut self, term: u64, proposer: Arc<dyn Proposer>, tip: Tip) -> Result<()> {
        let behind = tip.index - self.applied.index;
        if behind > 0 || term < tip.term {
            let what = match behind {
                0 => format!("term {term} is over: the log has frames of term {}", tip.term),
                _ => format!("{behind} frames before are not committed"),
            };
            return Err(Error::new(ErrorCode::ReplicationError, format!("can't lead: {what}"))
                .with_reason(reason::LOG_MISMATCH));
        }
        let (open, members) = (VecDeque::new(), VecDeque::new());
        let (bytes, is_over) = (0, false);
        self.leading = Some(Leading { term, proposer, tip, open, bytes, members, is_over });
        Ok(())
    }

    /// Who is asked what may be proposed, where the engine leads.
    pub(crate) fn proposer(&self) -> Option<Arc<dyn Proposer>> {
        self.leading.as_ref().map(|leading| leading.proposer.clone())
    }

    /// Proposes a batch.
    pub(crate) fn propose(&mut self, batch: &Batch) {
        if let Some(leading) = &mut self.leading {
            leading.propose(batch);
        }
    }

    /// Notes a frame that was appended to the log.
    pub(crate) fn appended(&mut self, frame: &LogFrame, header: &FrameHeader) {
        self.recent.push(frame.settled_as(header));
        if let Some(leading) = &mut self.leading {
            leading.members.extend(frame.said_members());
            leading.appended(header);
        }
    }

    /// Whether it leads, and something came into the log that it did not evaluate.
    pub(crate) fn is_over(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.is_over)
    }

    /// Who belongs to the group by the frames up to this index, if they say so, on a node that leads.
    pub(crate) fn take_members(&mut self, index: u64) -> Option<GroupMembers> {
        let members = &mut self.leading.as_mut()?.members;
        let decided = members.partition_point(|said| said.index <= index);
        members.drain(..decided).next_back()
    }

    /// Who leads learns that frames up to this index are committed; what of it the state holds. An error: something
    /// else is in the log.
    pub(crate) fn decide(&mut self, index: u64) -> std::result::Result<Option<NewlyDecided>, ()> {
        let Some(leading) = self.leading.as_mut().filter(|leading| !leading.is_over) else {
            return Err(());
        };
        let first = self.applied.next;
        while let Some(open) = leading.open.front()
            && open.index.is_some_and(|at| at <= index)
        {
            leading.bytes -= open.bytes;
            self.applied.next = open.last + 1;
            self.applied.chain = open.chain;
            leading.open.pop_front();
        }
        self.applied.index = index + 1;
        self.applied.term = leading.term;
        let last = self.applied.next - 1;
        Ok((last >= first).then_some(NewlyDecided { first, last }))
    }
}

impl Leading {
    fn propose(&mut self, batch: &Batch) {
        if self.is_over {
            return;
        }
        let frame = LogFrame::proposed(&self.tip, self.term, batch);
        let open = Proposed {
            last: batch.last(),
            chain: frame.chain(),
            bytes: frame.payload_bytes(),
            index: None,
        };
        self.tip.advance(frame.header(), 0);
        self.bytes += open.bytes;
        self.open.push_back(open);
        self.proposer.propose(frame);
    }

    fn appended(&mut self, header: &FrameHeader) {
        if header.has_effects() {
            let next = self.open.iter_mut().find(|open| open.index.is_none());
            match next.filter(|open| open.chain == header.chain && header.term == self.term) {
                Some(open) => open.index = Some(header.index),
                None => self.is_over = true,
            }
        } else if !header.is_aside() || header.term != self.term {
            self.is_over = true;
        }
    }
}
