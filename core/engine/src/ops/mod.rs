//! One file for each operation: what a request comes to.
//!
//! The order is the same everywhere. Under the locks of what it names a request is evaluated against
//! the state; what it decides is appended to the log as effects, which gives them offsets; then the
//! effects change the state. The result is shown when the log is done with it.

mod apply_event;
mod backup;
mod batch;
mod compact;
mod create_instance;
pub(crate) mod decision;
mod delete_instance;
mod flush_all;
mod history;
mod info;
mod instances;
mod keys;
mod machines;
mod mark;
mod pages;
mod permitted;
mod snapshots;
mod validate_machine;
mod verify;
mod wal;
mod watch;

use rstmdb_machine::Machine;
use rstmdb_types::command::id_text;
use rstmdb_types::{DefinitionWarning, Json, Limits, Result, Text, TimestampMs};

use crate::error::closed;
use crate::log::Ticket;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::{Partition, Slot};
use crate::storage::Entropy;

/// What a command brings beside its request.
#[derive(Clone, Copy)]
pub(crate) struct Edge<'a> {
    pub at_ms: TimestampMs,
    pub new_id: NewId<'a>,
    pub plain_rules: bool,
}

/// What new ids are made of: it came with the command, or is drawn when it is needed.
#[derive(Clone, Copy)]
pub(crate) enum NewId<'a> {
    Given(u128),
    Draw(&'a dyn Entropy),
}

impl Edge<'_> {
    /// Of a command that is made here and now.
    pub(crate) fn of(shared: &Shared) -> Edge<'_> {
        let new_id = NewId::Draw(&*shared.entropy);
        Edge { at_ms: shared.now(), new_id, plain_rules: false }
    }

    /// A definition by the rules of who asks.
    pub(crate) fn parse_machine(
        &self,
        definition: &Json,
        limits: &Limits,
        strict: bool,
    ) -> Result<(Machine, Vec<DefinitionWarning>)> {
        match self.plain_rules {
            true => Machine::parse_by_plain_rules(definition, limits, strict),
            false => Machine::parse(definition, limits, strict),
        }
    }

    /// The `number`th new id.
    pub(crate) fn id(&self, number: u128) -> Text {
        match self.new_id {
            NewId::Given(bits) => id_text(bits.wrapping_add(number)),
            NewId::Draw(entropy) => id_text(u128::from_le_bytes(entropy.salt())),
        }
    }
}

impl Shared {
    /// A result that depends on nothing that is stored.
    pub(crate) fn ready<T>(&self, result: Result<T>) -> Evaluated<T> {
        Evaluated::new(self.queue.ticket(0).without_round(), result)
    }

    /// A result of looking at what is committed.
    pub(crate) fn look<T>(&self, look: impl FnOnce() -> Result<T>) -> Evaluated<T> {
        // From before: what is seen is not older than this node's leading is certain.
        let ticket = self.queue.ticket(0);
        Evaluated::new(ticket, look())
    }

    /// A result that anything appended so far may have had its part in.
    pub(crate) fn after_all<T>(&self, result: Result<T>) -> Evaluated<T> {
        Evaluated::new(self.queue.ticket_of_all(), result)
    }

    /// Refuses reads on a closed database.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.queue.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// A ticket for what can be told about an id. Its absence may be the work of any flush.
    pub(crate) fn seen(&self, partition: &Partition, hash: u64, id: &str) -> Ticket {
        self.seen_in(partition.known(hash, id))
    }

    /// As [`Shared::seen`], of the slot of the id.
    pub(crate) fn seen_in(&self, slot: Option<&Slot>) -> Ticket {
        self.queue.ticket(slot.map_or_else(|| self.queue.appended(), Slot::touched))
    }

    /// A result of looking at several places, shown when everything that was there is durable.
    pub(crate) fn observe<T>(&self, mut look: impl FnMut() -> Result<T>) -> Evaluated<T> {
        loop {
            let before = self.queue.ticket(0);
            let result = look();
            let ticket = self.queue.ticket_of_all();
            // A write that was taken back meanwhile may have been seen: look again.
            if ticket.epoch == before.epoch {
                // Whoever began to lead meanwhile may have shown what was old.
                return Evaluated::new(Ticket { round: before.round, ..ticket }, result);
            }
        }
    }

    /// Holds a page size to the limit; 100 when absent.
    pub(crate) fn page_limit(&self, limit: Option<u64>) -> Result<usize> {
        let limit = limit.unwrap_or(100);
        let most = self.options.limits.page_entries_max as usize;
        let asked = usize::try_from(limit).unwrap_or(usize::MAX);
        rstmdb_types::limits::check("limit", asked, "page_entries_max", most)?;
        Ok(asked)
    }
}
