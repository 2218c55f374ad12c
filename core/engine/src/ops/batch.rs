//! Runs several operations, all or nothing or each on its own.
//!
//! All partitions involved stay locked, and so do the log's lanes, so that offsets are known
//! beforehand and nothing comes in between. The effects of a batch are one record: on the disk there
//! is all of it or nothing, in either mode.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{
    BatchElement, BatchMode, BatchOutcome, BatchRequest, BatchResult, Error, ErrorCode, Json,
    Offset, Operation, Outcome, Request, Result, Text,
};

use super::Edge;
use super::apply_event::ApplyEvent;
use super::create_instance::CreateInstance;
use super::decision::{AtOffset, Draft, Drafts, Env, Evaluate, Record, Step};
use super::delete_instance::DeleteInstance;
use super::instances::get_in;
use super::keys::{Keyed, wrong_answer};
use crate::error::instance_not_found;
use crate::log::Body;
use crate::log::effects::closed;
use crate::log::kinds::{self, Piece, Stamp};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked, Needs};
use crate::state::{Answer, KeyEntry, Owner};

/// One operation, ready to run under the locks.
enum Prepared<'r> {
    Create(CreateInstance<'r>),
    Apply(ApplyEvent<'r>),
    Delete(DeleteInstance<'r>),
    Get(&'r Text),
}

impl<'r> Prepared<'r> {
    fn new(
        shared: &Shared,
        request: &'r Request,
        edge: &Edge<'_>,
        place: usize,
    ) -> Result<Prepared<'r>> {
        Ok(match request {
            Request::CreateInstance(request) => {
                let new_id = || edge.id(place as u128);
                Prepared::Create(CreateInstance::new(shared, request, new_id))
            }
            Request::ApplyEvent(request) => {
                let edge = Edge { plain_rules: false, ..*edge };
                Prepared::Apply(ApplyEvent::new(request, &edge))
            }
            Request::DeleteInstance(request) => Prepared::Delete(DeleteInstance::new(request)),
            Request::GetInstance(request) => Prepared::Get(&request.instance_id),
            other => return Err(misplaced(other.operation(), place)),
        })
    }

    fn instance_id(&self) -> &str {
        match self {
            Prepared::Create(write) => write.instance_id(),
            Prepared::Apply(write) => write.instance_id(),
            Prepared::Delete(write) => write.instance_id(),
            Prepared::Get(id) => id,
        }
    }

    fn uses_global_key(&self) -> bool {
        matches!(self, Prepared::Create(write) if write.uses_global_key())
    }
}

/// Why a batch does not go on.
enum Stop {
    /// It is refused.
    Refused(Error),
    /// An operation needs more than what is locked.
    Missing,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

/// What runs under the locks.
struct Run<'a, 'e> {
    shared: &'a Shared,
    env: &'a Env<'e>,
    locked: Locked<'a>,
    /// The offset of the next effect.
    next: Offset,
    record: Record,
}

impl Shared {
    pub(crate) fn batch(&self, request: BatchRequest, edge: &Edge<'_>) -> Evaluated<BatchResult> {
        if let Err(error) = self.check_batch(&request) {
            return self.ready(Err(error));
        }
        self.queue.spill();
        let evaluated = self.run_batch(request, edge);
        self.queue.announce();
        evaluated
    }

    fn check_batch(&self, request: &BatchRequest) -> Result<()> {
        let limits = &self.options.limits;
        let most = limits.batch_operations_max;
        rstmdb_types::limits::check("ops", request.ops.len(), "batch_operations_max", most)?;
        if let Some(key) = &request.idempotency_key {
            limits.check_name("idempotency_key", key)?;
        }
        let size = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.as_str().len());
        let bytes = request.ops.iter().map(|operation| match operation {
            Request::CreateInstance(create) => size(&create.initial_ctx),
            Request::ApplyEvent(apply) => size(&apply.payload),
            _ => 0,
        });
        rstmdb_types::limits::check("ops", bytes.sum(), "batch_bytes_max", limits.batch_bytes_max)
    }

    fn run_batch(&self, request: BatchRequest, edge: &Edge<'_>) -> Evaluated<BatchResult> {
        let keyed = Keyed::new(request.idempotency_key.as_ref(), &request);
        let keyed = Keyed { global: true, ..keyed };
        let BatchRequest { mode, ops, idempotency_key: key } = &request;
        let prepare = |(place, operation)| Prepared::new(self, operation, edge, place);
        let prepared: Result<Vec<Prepared<'_>>> = ops.iter().enumerate().map(prepare).collect();
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.after_all(Err(error)),
        };
        let number =
            |one: &Prepared<'_>| self.state.partition_number(self.state.hash(one.instance_id()));
        let needs = Needs {
            machines: false,
            global_keys: key.is_some() || prepared.iter().any(Prepared::uses_global_key),
            partitions: prepared.iter().map(number).collect(),
        };
        let work = Work { prepared, key: key.as_ref(), keyed, mode: *mode };
        match self.run_locked(&work, Locked::of(&self.state, &needs), edge) {
            Ok(evaluated) => evaluated,
            Err(Stop::Refused(error)) => self.after_all(Err(error)),
            Err(Stop::Missing) => {
                let evaluated = self.run_locked(&work, Locked::all(&self.state), edge);
                evaluated.unwrap_or_else(|_| {
                    self.ready(Err(self.fault("a batch misses what is locked").into()))
                })
            }
        }
    }

    fn run_locked<'a>(
        &'a self,
        work: &Work<'_>,
        mut locked: Locked<'a>,
        edge: &Edge<'_>,
    ) -> std::result::Result<Evaluated<BatchResult>, Stop> {
        self.queue.check_stands()?;
        let env = self.env(edge);
        // The batch itself may have to be taken back, whatever the storage.
        let volatile = self.undo_below().is_none();
        locked.undo_below = Some(self.queue.committed());
        let mut open = self.queue.open();
        let base = match open.next() {
            Ok(next) => next,
            Err(error) => return Ok(self.ready(Err(error))),
        };
        if let (Some(key), Some(table)) = (work.key, locked.global_keys()) {
            match work.keyed.find(table, Owner::DATABASE, key, &env) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    return Ok(Evaluated::new(self.queue.ticket(entry.offset), replay(entry)));
                }
                Err(error) => return Ok(Evaluated::new(self.queue.ticket(base - 1), Err(error))),
            }
        }
        let record = Record::new(open.time(env.now));
        let mut run = Run { shared: self, env: &env, locked, next: base, record };
        let mut result = run.run(work);
        if let Err(error) = open.check_room(run.record.bytes.len()) {
            result = Err(error.into());
        }
        let Record { at, effects, bytes, .. } = &run.record;
        if result.is_err() {
            run.locked.take_back(base - 1);
        } else if *effects > 0 {
            open.append(*effects, *at, closed(*effects, bytes));
        }
        if volatile {
            run.locked.forget_undo();
        }
        // Reads inside saw what others appended before.
        let wrote = result.is_ok() && *effects > 0;
        let ticket = self.queue.ticket_of_all().of_own(wrote);
        match result {
            Ok(result) => Ok(Evaluated::new(ticket, Ok(result))),
            Err(Stop::Refused(error)) => Ok(Evaluated::new(ticket, Err(error))),
            Err(Stop::Missing) => Err(Stop::Missing),
        }
    }
}

/// A batch that is prepared.
struct Work<'r> {
    prepared: Vec<Prepared<'r>>,
    key: Option<&'r Text>,
    keyed: Keyed,
    mode: BatchMode,
}

impl Run<'_, '_> {
    fn run(&mut self, work: &Work<'_>) -> std::result::Result<BatchResult, Stop> {
        let mut results = Vec::with_capacity(work.prepared.len());
        for (index, one) in work.prepared.iter().enumerate() {
            match self.run_one(one) {
                Ok(outcome) => results.push(BatchOutcome::from(Ok(outcome))),
                Err(Stop::Missing) => return Err(Stop::Missing),
                Err(Stop::Refused(error)) if work.mode == BatchMode::Atomic => {
                    return Err(at_index(error, index).into());
                }
                Err(Stop::Refused(error)) => results.push(BatchOutcome::from(Err(error))),
            }
        }
        self.check_results(&results)?;
        let result = BatchResult { results };
        if let Some(key) = work.key {
            self.remember(key, work.keyed, &result)?;
        }
        Ok(result)
    }

    /// Refuses a batch whose answer could not be sent, while all of it can be taken back.
    fn check_results(&self, results: &[BatchOutcome]) -> Result<()> {
        let setting = "answer_bytes_max";
        let limit = self.env.limits.answer_bytes_max;
        let size = result_bytes(results, limit);
        if size <= limit {
            return Ok(());
        }
        let message = format!(
            "the results of the batch have {size} bytes, more than the limit {setting} = {limit}; \
             nothing of it was done: send fewer operations at once"
        );
        Err(Error::invalid(reason::LIMIT_EXCEEDED, message)
            .with("field", "results")
            .with("limit", setting)
            .with("size", size)
            .with("limit_value", limit))
    }

    fn run_one(&mut self, one: &Prepared<'_>) -> std::result::Result<Outcome, Stop> {
        Ok(match one {
            Prepared::Create(write) => Outcome::CreateInstance(self.write(write)?),
            Prepared::Apply(write) => Outcome::ApplyEvent(self.write(write)?),
            Prepared::Delete(write) => Outcome::DeleteInstance(self.write(write)?),
            Prepared::Get(id) => {
                let hash = self.shared.state.hash(id);
                let partition = self.locked.look(hash).ok_or_else(|| instance_not_found(id))?;
                Outcome::GetInstance(get_in(partition, hash, id)?)
            }
        })
    }

    fn write<W: Evaluate>(&mut self, write: &W) -> std::result::Result<W::Result, Stop> {
        let hash = self.shared.state.hash(write.instance_id());
        let first = self.next;
        match write.evaluate(self.env, &self.locked, hash)? {
            Step::Known(result) => Ok(result),
            Step::Missing(_) => Err(Stop::Missing),
            Step::Change(Drafts::One(draft), mut result) => {
                self.apply(draft)?;
                result.set_offset(first);
                Ok(result)
            }
            Step::Change(Drafts::Several(drafts), mut result) => {
                for draft in drafts {
                    self.apply(draft)?;
                }
                result.set_offset(first);
                Ok(result)
            }
        }
    }

    /// Adds a change to the record and applies it: those after it see it.
    fn apply(&mut self, draft: Draft<'_>) -> Result<()> {
        self.record.put(&draft.body);
        let stamp = Stamp { offset: self.next, at: self.record.at };
        self.next += 1;
        self.shared.apply(&mut self.locked, draft, stamp)
    }

    /// Logs the result of a batch with a key, as an effect of its own at the batch's end.
    fn remember(&mut self, key: &Text, keyed: Keyed, result: &BatchResult) -> Result<()> {
        let Some(key) = keyed.key_ref(Some(key)) else { return Ok(()) };
        // As text, not as a tree: contexts may nest as deep as a tree allows. It is only read back.
        let results = serde_json::to_string(result)
            .map_err(|error| Error::new(ErrorCode::InternalError, error.to_string()))?;
        let body = Body::BatchResult(kinds::BatchResult {
            key: key.key,
            fingerprint: key.fingerprint,
            results: Piece::Value(Json::from_canonical(&results)),
        });
        self.apply(Draft { body, known: Known::Nothing })
    }
}

/// Only who makes requests by hand gets here: no text is read as such a batch.
fn misplaced(operation: Operation, index: usize) -> Error {
    let message = format!(
        "{} can't be part of a batch; use {}",
        operation.wire_name(),
        BatchElement::choices()
    );
    at_index(Error::invalid(reason::INVALID_REQUEST, message), index)
}

/// The bytes of results as JSON: at least as many, and exactly as many where that is above `enough`.
fn result_bytes(results: &[BatchOutcome], enough: usize) -> usize {
    let most = results.iter().map(result_bytes_most).sum();
    if most <= enough { most } else { json_bytes(results) }
}

/// At least as many as there are, found without writing them.
fn result_bytes_most(outcome: &BatchOutcome) -> usize {
    /// Names and numbers of members.
    const MEMBERS: usize = 512;
    let length = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
    let (texts, json) = match &outcome.result {
        Some(Outcome::ApplyEvent(result)) => {
            let states = result.from_state.len() + result.to_state.len();
            (states + length(&result.event_id), result.ctx.as_str().len())
        }
        Some(Outcome::GetInstance(result)) => {
            let names = result.instance_id.len() + result.machine.len() + result.state.len();
            (names + length(&result.last_event_id), result.ctx.as_str().len())
        }
        Some(Outcome::CreateInstance(result)) => (result.instance_id.len() + result.state.len(), 0),
        Some(Outcome::DeleteInstance(result)) => (result.instance_id.len(), 0),
        _ => return json_bytes(outcome),
    };
    // A character may be written as six.
    MEMBERS + 6 * texts + json
}

/// The bytes of a value as JSON.
fn json_bytes<T: serde::Serialize + ?Sized>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What can't be written has no size to speak of; it is found when it is sent.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn at_index(error: Error, index: usize) -> Error {
    error.with("index", index)
}

fn replay(entry: &KeyEntry) -> Result<BatchResult> {
    let Answer::Batch { results } = &entry.answer else { return Err(wrong_answer(entry)) };
    results.decode().map_err(|error| {
        Error::new(
            ErrorCode::InternalError,
            format!("the remembered result of the batch can't be read: {error}"),
        )
        .with_source(Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>)
    })
}
