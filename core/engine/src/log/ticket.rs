//! What those hold who wait to be told whether something may be shown.

use std::ops::RangeInclusive;

use rstmdb_types::{Error, Offset, Result};

/// In place of a round: this node does not lead, and what a reader saw may be old.
pub(crate) const NO_ROUND: u64 = u64::MAX;

/// A place in the queue: a change, or what a reader saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub offset: Offset,
    /// Tells an offset from the same one given out again after a failure.
    pub epoch: u64,
    /// Whether the change at the offset is its holder's own: then it may come to be after all, wherever it was
    /// handed on to.
    pub wrote: bool,
    /// The round that a leader has to get through before it may say so; 0: none.
    pub round: u64,
}

impl Ticket {
    /// The ticket of who made the change: then its commit proves that the node leads.
    pub(crate) fn of_own(self, wrote: bool) -> Ticket {
        Ticket { wrote, round: if wrote { 0 } else { self.round }, ..self }
    }

    /// The ticket of who asks for what is committed, as far as this node knows.
    pub(crate) fn without_round(self) -> Ticket {
        Ticket { round: 0, ..self }
    }

    /// The same while the node leads; where it follows, what is committed there will do.
    pub(crate) fn where_it_stands(self) -> Ticket {
        if self.round == NO_ROUND { self.without_round() } else { self }
    }
}

/// What those get who ask a node that does not lead.
pub(crate) struct NodeRefusals {
    pub writes: Error,
    /// Of reads that must be fresh; none where all may be behind.
    pub reads: Option<Error>,
}

/// Failures between which nothing was written: they took back the same.
pub(crate) struct TakenBack {
    pub epochs: RangeInclusive<u64>,
    pub durable: Offset,
    /// The last round that had succeeded.
    pub round: u64,
    pub batch_last: Offset,
    pub batch: Error,
    pub later: Error,
    /// Others decide about the batch: of it, only who changed something gets its error.
    pub is_open: bool,
}

impl TakenBack {
    /// What became of a ticket.
    pub(crate) fn fate(&self, ticket: Ticket) -> Result<()> {
        if ticket.offset <= self.durable && ticket.round <= self.round {
            Ok(())
        } else if ticket.offset <= self.batch_last && (ticket.wrote || !self.is_open) {
            Err(self.batch.clone())
        } else {
            Err(self.later.clone())
        }
    }
}
