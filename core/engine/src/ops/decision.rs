//! From a request to its effects: evaluated under locks, logged, applied.

use std::cell::Cell;

use parking_lot::Mutex;
use rstmdb_types::{Error, ErrorCode, Limits, Offset, Result, TimestampMs};

use super::Edge;
use crate::fault::Fault;
use crate::log::effects::{close_effect, closed};
use crate::log::kinds::{Body, Stamp, put_effect};
use crate::log::lineage::Lineage;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::keys::KeyBounds;
use crate::state::locked::{Known, Locked, Needs};

/// With all that it misses after so many rounds, a request gets every lock.
const ROUNDS_MAX: u32 = 3;

/// What a thread keeps of the room for encoding effects, in bytes.
const FIELDS_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Room for encoding an effect: of the thread, so that it stays with its core.
    static FIELDS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What evaluating needs besides the state. Nothing in here is of this node alone.
pub(crate) struct Env<'a> {
    pub now: TimestampMs,
    /// Keys age against this: the newest record, or a command that is not much younger.
    pub key_now: TimestampMs,
    pub limits: &'a Limits,
    pub bounds: KeyBounds,
    pub boundary: Offset,
    pub allow_recreate: bool,
    pub lineage: &'a Mutex<Lineage>,
}

/// A change to be logged, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub body: Body<'a>,
    pub known: Known,
}

/// The changes that a request decides on: they become one record.
#[derive(Debug)]
pub(crate) enum Drafts<'a> {
    /// The common case, without a list.
    One(Draft<'a>),
    /// In order; none may depend on what another one before it changes.
    #[cfg_attr(not(test), expect(dead_code, reason = "sends between instances will"))]
    Several(Vec<Draft<'a>>),
}

/// What a request comes to.
pub(crate) enum Step<'a, R> {
    /// The answer is known and nothing changes.
    Known(R),
    /// Changes are to be logged; the result lacks their offset.
    Change(Drafts<'a>, R),
    /// This has to be locked too; then evaluate again.
    #[cfg_attr(not(test), expect(dead_code, reason = "sends between instances will"))]
    Missing(Needs),
}

/// A result that may tell the offset of its change.
pub(crate) trait AtOffset {
    /// Fills the offset in.
    fn set_offset(&mut self, _offset: Offset) {}
}

/// A request that may change instances.
pub(crate) trait Evaluate {
    /// What a success returns.
    type Result: AtOffset;

    /// The instance that it names.
    fn instance_id(&self) -> &str;

    /// Whether its idempotency key belongs to the database instead of the instance.
    fn uses_global_key(&self) -> bool {
        false
    }

    /// Decides, changing nothing. `hash` is that of the instance's id.
    fn evaluate(
        &self,
        env: &Env<'_>,
        locked: &Locked<'_>,
        hash: u64,
    ) -> Result<Step<'_, Self::Result>>;
}

impl Shared {
    pub(crate) fn env(&self, edge: &Edge<'_>) -> Env<'_> {
        let newest = self.queue.log_time();
        let now = edge.at_ms.max(newest);
        // A clock that was set wrong while nobody looked must not make the keys of before look old.
        let leapt = now.saturating_sub(newest) > crate::time::LEAP_MS;
        Env {
            now,
            key_now: if leapt { newest } else { now },
            limits: &self.options.limits,
            bounds: self.state.key_budget.bounds(self.state.key_window_ms),
            boundary: self.state.boundary.load(std::sync::atomic::Ordering::Acquire),
            allow_recreate: self.options.allow_instance_recreate,
            lineage: &self.files.lineage,
        }
    }

    /// Runs one write: evaluate, append, apply.
    pub(crate) fn write<W: Evaluate>(&self, edge: &Edge<'_>, write: &W) -> Evaluated<W::Result> {
        self.queue.spill();
        let hash = self.state.hash(write.instance_id());
        let mut locked = Locked::one(&self.state, hash, write.uses_global_key());
        let mut needs = Needs::default();
        let mut round = 0;
        let evaluated = loop {
            let missing = match self.write_locked(edge, write, &mut locked, hash) {
                Ok(evaluated) => break evaluated,
                Err(missing) => missing,
            };
            drop(locked);
            needs.add(missing);
            needs.partitions.push(self.state.partition_number(hash));
            needs.global_keys |= write.uses_global_key();
            round += 1;
            locked = match self.lock_more(&needs, round) {
                Ok(locked) => locked,
                Err(fault) => return self.ready(Err(fault.into())),
            };
        };
        drop(locked);
        self.queue.announce();
        evaluated
    }

    /// Locks what was found missing so far; after some rounds, everything.
    #[cold]
    fn lock_more(&self, needs: &Needs, round: u32) -> std::result::Result<Locked<'_>, Fault> {
        match round {
            ..=ROUNDS_MAX => Ok(Locked::of(&self.state, needs)),
            round if round == ROUNDS_MAX + 1 => Ok(Locked::all(&self.state)),
            _ => Err(self.fault("a request misses what is locked")),
        }
    }

    /// Evaluates under some locks; what is missing comes back as the error.
    #[inline(always)]
    fn write_locked<W: Evaluate>(
        &self,
        edge: &Edge<'_>,
        write: &W,
        locked: &mut Locked<'_>,
        hash: u64,
    ) -> std::result::Result<Evaluated<W::Result>, Needs> {
        if let Err(refusal) = self.queue.check_stands() {
            return Ok(self.ready(Err(refusal)));
        }
        // Asked for under the locks: a checkpoint moves the boundary under all of them.
        let env = self.env(edge);
        locked.undo_below = self.undo_below();
        let known = match write.evaluate(&env, locked, hash) {
            Ok(Step::Change(drafts, result)) => {
                return Ok(self.log(locked, env.now, drafts, result));
            }
            Ok(Step::Missing(needs)) => return Err(needs),
            Ok(Step::Known(result)) => Ok(result),
            Err(error) => Err(error),
        };
        // What the answer reveals must be durable before the answer is given, even a refusal.
        let one = locked.look(hash).filter(|_| locked.is_one());
        Ok(match one {
            Some(partition) => {
                Evaluated::new(self.seen(partition, hash, write.instance_id()), known)
            }
            None => self.after_all(known),
        })
    }

    /// Appends changes as one record and applies them.
    #[inline(always)]
    pub(crate) fn log<R: AtOffset>(
        &self,
        locked: &mut Locked<'_>,
        now: TimestampMs,
        drafts: Drafts<'_>,
        mut result: R,
    ) -> Evaluated<R> {
        let logged = match drafts {
            Drafts::One(draft) => self.log_one(locked, now, draft),
            Drafts::Several(drafts) => self.log_several(locked, now, drafts),
        };
        match logged {
            Ok((first, last)) => {
                result.set_offset(first);
                Evaluated::new(self.queue.ticket_of_own(last), Ok(result))
            }
            // That it came so far tells of what is stored, which others may still decide otherwise.
            Err(error) if self.node.is_some() => self.after_all(Err(error)),
            Err(error) => self.ready(Err(error)),
        }
    }

    #[inline(always)]
    pub(crate) fn log_one(
        &self,
        locked: &mut Locked<'_>,
        now: TimestampMs,
        draft: Draft<'_>,
    ) -> Result<(Offset, Offset)> {
        let mut fields = FIELDS.try_with(Cell::take).unwrap_or_default();
        let first = draft.body.encode(&mut fields);
        let stamp = match draft.body {
            // Checkpoints begin behind a frame.
            Body::Mark(_) => self.queue.open().append_last(first, now, &fields),
            _ => self.queue.append(first, now, &fields),
        };
        if fields.capacity() <= FIELDS_BYTES_MAX {
            fields.clear();
            let _ = FIELDS.try_with(|kept| kept.set(fields));
        }
        let stamp = stamp?;
        self.apply(locked, draft, stamp)?;
        Ok((stamp.offset, stamp.offset))
    }

    fn log_several(
        &self,
        locked: &mut Locked<'_>,
        now: TimestampMs,
        drafts: Vec<Draft<'_>>,
    ) -> Result<(Offset, Offset)> {
        let mut open = self.queue.open();
        let first = open.next()?;
        let mut record = Record::new(open.time(now));
        for draft in &drafts {
            record.put(&draft.body);
        }
        open.check_room(record.bytes.len())?;
        let at = record.at;
        open.append(record.effects, at, closed(record.effects, &record.bytes));
        drop(open);
        let mut last = first;
        for (offset, draft) in (first..).zip(drafts) {
            self.apply(locked, draft, Stamp { offset, at })?;
            last = offset;
        }
        Ok((first, last))
    }

    /// Applies what is appended. If it does not fit, memory is not what the log says: no more writes.
    #[inline(always)]
    pub(crate) fn apply(
        &self,
        locked: &mut Locked<'_>,
        draft: Draft<'_>,
        stamp: Stamp,
    ) -> Result<()> {
        let applied = draft.body.apply(locked, stamp, draft.known);
        applied.and_then(|()| locked.check()).map_err(|misfit| self.fault(misfit.0).into())
    }

    /// Ends all writing: an invariant is broken.
    pub(crate) fn fault(&self, what: &'static str) -> Fault {
        let fault = Fault::new(what);
        self.queue.poison(fault.into());
        fault
    }
}

/// Effects on their way into one record.
#[derive(Debug)]
pub(crate) struct Record {
    pub at: TimestampMs,
    pub effects: u32,
    pub bytes: Vec<u8>,
    fields: Vec<u8>,
}

impl Record {
    pub(crate) fn new(at: TimestampMs) -> Record {
        Record { at, effects: 0, bytes: Vec::new(), fields: Vec::new() }
    }

    pub(crate) fn put(&mut self, body: &Body<'_>) {
        self.fields.clear();
        let first = body.encode(&mut self.fields);
        let begin = self.bytes.len();
        put_effect(&mut self.bytes, first, self.at, &self.fields);
        close_effect(&mut self.bytes, begin);
        self.effects += 1;
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::new(
            ErrorCode::InternalError,
            format!(
                "an invariant is broken ({fault}): no more writes; open the database again to recover"
            ),
        )
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
