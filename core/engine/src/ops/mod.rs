//! One file for each operation: evaluate, encode the effect, apply it.
//!
//! The order is the same everywhere. Under the lock of the instance's partition a request is
//! evaluated against the state; its effect is appended to the log, which gives it an offset; then the
//! state changes. The result is shown when the log is done with it.

mod apply_event;
mod batch;
mod compact;
mod create_instance;
mod delete_instance;
mod flush_all;
mod history;
mod info;
mod instances;
mod machines;
mod permitted;
mod snapshot_instance;
mod validate_machine;
mod wal;
mod watch;

use parking_lot::MutexGuard;
use rstmdb_types::command::id_text;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Limits, Offset, Result, Text, TimestampMs};

use crate::error::closed;
use crate::log::{KeyRef, Ticket};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::keys::{KeyBounds, KeyBudget};
use crate::state::partition::{Undo, UndoStep};
use crate::state::{KeyEntry, KeyTable, Owner, Partition};

/// What evaluating needs besides the state.
pub(crate) struct Env<'a> {
    pub now: TimestampMs,
    pub limits: &'a Limits,
    pub bounds: KeyBounds,
    pub key_budget: &'a KeyBudget,
    pub boundary: Offset,
    pub allow_recreate: bool,
    /// Changes up to here need no way back; `None`: none ever does.
    pub undo_below: Option<Offset>,
}

/// What a request comes to.
pub(crate) enum Step<R, C> {
    /// The answer is known and nothing changes.
    Known(R),
    /// A change is to be logged.
    Change(C),
}

/// A write of one instance. The three methods run under its partition's lock.
pub(crate) trait InstanceWrite {
    /// What a success returns.
    type Result;
    /// What was decided.
    type Change;

    fn instance_id(&self) -> &str;

    /// Whether the idempotency key belongs to the database instead of the instance.
    fn uses_global_key(&self) -> bool {
        false
    }

    /// Decides, changing nothing.
    fn evaluate(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        global: Option<&KeyTable>,
        hash: u64,
    ) -> Result<Step<Self::Result, Self::Change>>;

    /// Appends the effect's bytes.
    fn encode(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        change: &Self::Change,
        out: &mut Vec<u8>,
    );

    /// Changes the state; returns the result, the way back, and what to remember.
    fn commit(
        self,
        env: &Env<'_>,
        partition: &mut Partition,
        hash: u64,
        change: Self::Change,
        offset: Offset,
    ) -> (Self::Result, Option<UndoStep>, Option<KeyEntry>);
}

/// Applies a decided change at `offset`.
pub(crate) fn commit<W: InstanceWrite>(
    write: W,
    env: &Env<'_>,
    partition: &mut Partition,
    global: Option<&mut KeyTable>,
    hash: u64,
    change: W::Change,
    offset: Offset,
) -> W::Result {
    let (result, undo, remember) = write.commit(env, partition, hash, change, offset);
    if let Some(entry) = remember {
        env.key_budget.add(entry.offset, env.undo_below.unwrap_or(entry.offset));
        match global {
            Some(global) if entry.owner == Owner::DATABASE => {
                global.remember(entry, env.bounds);
            }
            _ => partition.remember(entry, env.bounds),
        }
    }
    if let (Some(step), Some(durable)) = (undo, env.undo_below) {
        partition.push_undo(Undo { offset, step }, durable);
    }
    result
}

/// What a command brings beside its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub at_ms: TimestampMs,
    pub new_id: u128,
    pub any_request: bool,
}

impl Edge {
    /// The `number`th new id.
    pub(crate) fn id(&self, number: u128) -> Text {
        id_text(self.new_id.wrapping_add(number))
    }
}

impl Shared {
    /// A result that depends on nothing.
    pub(crate) fn ready<T>(&self, result: Result<T>) -> Evaluated<T> {
        Evaluated::new(self.queue.ticket(0), result)
    }

    pub(crate) fn env(&self, edge: &Edge) -> Env<'_> {
        Env {
            now: edge.at_ms,
            limits: &self.options.limits,
            bounds: self.key_bounds(),
            key_budget: &self.state.key_budget,
            boundary: self.state.boundary.load(std::sync::atomic::Ordering::Acquire),
            allow_recreate: self.options.allow_instance_recreate,
            undo_below: self.undo_below(),
        }
    }

    /// Runs one write: evaluate, append, apply.
    pub(crate) fn write<W: InstanceWrite>(&self, edge: &Edge, write: W) -> Evaluated<W::Result> {
        self.queue.admit();
        let mut global = write.uses_global_key().then(|| self.state.global_keys.lock());
        let hash = self.state.hash(write.instance_id());
        let mut partition = self.state.partition(hash);
        let outcome = self.write_locked(edge, write, &mut partition, global.as_deref_mut(), hash);
        drop(partition);
        drop(global);
        self.queue.announce();
        let (ticket, result) = outcome;
        Evaluated::new(ticket, result)
    }

    fn write_locked<W: InstanceWrite>(
        &self,
        edge: &Edge,
        write: W,
        partition: &mut MutexGuard<'_, Partition>,
        global: Option<&mut KeyTable>,
        hash: u64,
    ) -> (Ticket, Result<W::Result>) {
        // Made under the partition's lock: a checkpoint moves the boundary under all of them.
        let env = self.env(edge);
        // What the answer reveals must be durable before the answer is given, even a refusal.
        let seen = |partition: &Partition, write: &W| match &global {
            Some(_) => self.queue.ticket(self.queue.appended()),
            None => self.seen(partition, hash, write.instance_id()),
        };
        let change = match write.evaluate(&env, partition, global.as_deref(), hash) {
            Ok(Step::Change(change)) => change,
            Ok(Step::Known(result)) => return (seen(partition, &write), Ok(result)),
            Err(error) => return (seen(partition, &write), Err(error)),
        };
        let mut scratch = std::mem::take(&mut partition.scratch);
        scratch.clear();
        write.encode(&env, partition, &change, &mut scratch);
        let appended = self.queue.append(1, &scratch);
        scratch.shrink_to(64 << 10);
        partition.scratch = scratch;
        match appended {
            Ok(offset) => {
                let ticket = self.queue.ticket(offset);
                let result = commit(write, &env, partition, global, hash, change, offset);
                (ticket, Ok(result))
            }
            Err(error) => (self.queue.ticket(0), Err(error)),
        }
    }

    /// Refuses reads on a closed database.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.queue.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// A ticket for what can be told about an id. Its absence may be the work of any flush.
    pub(crate) fn seen(&self, partition: &Partition, hash: u64, id: &str) -> Ticket {
        let slot = partition.find(hash, id).and_then(|slot| partition.slot(slot));
        self.queue.ticket(slot.map_or_else(|| self.queue.appended(), |slot| slot.last))
    }

    /// A result of looking at several places, shown when everything that was there is durable.
    pub(crate) fn observe<T>(&self, mut look: impl FnMut() -> Result<T>) -> Evaluated<T> {
        loop {
            let before = self.queue.ticket(0).epoch;
            let result = look();
            let ticket = self.queue.ticket(self.queue.appended());
            // A write that was taken back meanwhile may have been seen: look again.
            if ticket.epoch == before {
                return Evaluated::new(ticket, result);
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

/// Looks a remembered request up: `Some` is its entry, an error means the key was for another one.
pub(crate) fn remembered<'a>(
    table: &'a KeyTable,
    owner: Owner,
    key: &str,
    fingerprint: u64,
    env: &Env<'_>,
) -> Result<Option<&'a KeyEntry>> {
    let Some(entry) = table.find(owner, key, env.now, env.bounds) else { return Ok(None) };
    if entry.fingerprint == fingerprint {
        return Ok(Some(entry));
    }
    Err(Error::new(
        ErrorCode::Conflict,
        format!("idempotency_key {key:?} was used for another request; use a new key"),
    )
    .with_reason(reason::IDEMPOTENCY_KEY_REUSED)
    .with("idempotency_key", key)
    .with("wal_offset", entry.offset))
}

/// A number that differs between requests that are not the same.
pub(crate) fn fingerprint<T: serde::Serialize>(operation: &str, request: &T) -> u64 {
    let mut bytes = operation.as_bytes().to_vec();
    bytes.push(0);
    // Requests are plain data: serialising one can't fail.
    let _ = serde_json::to_writer(&mut bytes, request);
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

pub(crate) fn key_ref(key: Option<&str>, fingerprint: u64, global: bool) -> Option<KeyRef<'_>> {
    key.map(|key| KeyRef { key, fingerprint, global })
}
