//! Runs several operations, all or nothing or each on its own.
//!
//! All partitions involved stay locked, and so does the log's buffer, so that offsets are known
//! beforehand and nothing comes in between. The effects of a batch are one record: on the disk there
//! is all of it or nothing, in either mode.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::MutexGuard;
use rstmdb_types::error::reason;
use rstmdb_types::{
    BatchElement, BatchMode, BatchOutcome, BatchRequest, BatchResult, Error, Json, Offset,
    Operation, Outcome, Request, Result, Text,
};

use super::apply_event::{ApplyEvent, wrong_answer};
use super::create_instance::CreateInstance;
use super::delete_instance::DeleteInstance;
use super::instances::get_in;
use super::{Edge, Env, InstanceWrite, Step, commit, fingerprint, remembered};
use crate::log::{Body, Effect, Ticket};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::{Answer, KeyEntry, KeyTable, Owner, Partition};

/// One operation, ready to run under the locks.
enum Prepared {
    Create(Box<CreateInstance>),
    Apply(Box<ApplyEvent>),
    Delete(DeleteInstance),
    Get(Text),
}

impl Prepared {
    fn new(shared: &Shared, operation: Request, edge: &Edge, place: usize) -> Result<Prepared> {
        Ok(match operation {
            Request::CreateInstance(request) => {
                Prepared::Create(Box::new(CreateInstance::new(shared, request, || {
                    edge.id(place as u128)
                })))
            }
            Request::ApplyEvent(request) => Prepared::Apply(Box::new(ApplyEvent::new(
                request,
                &Edge { any_request: false, ..*edge },
            ))),
            Request::DeleteInstance(request) => Prepared::Delete(DeleteInstance::new(request)),
            Request::GetInstance(request) => Prepared::Get(request.instance_id),
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

/// What runs under the locks.
struct Run<'a, 'e> {
    env: &'a Env<'e>,
    partitions: BTreeMap<usize, MutexGuard<'a, Partition>>,
    global: Option<MutexGuard<'a, KeyTable>>,
    /// The offset of the next effect.
    next: Offset,
    effects: u32,
    bytes: Vec<u8>,
}

impl Shared {
    pub(crate) fn batch(&self, request: BatchRequest, edge: &Edge) -> Evaluated<BatchResult> {
        if let Err(error) = self.check_batch(&request) {
            return self.ready(Err(error));
        }
        self.queue.admit();
        let (ticket, result) = self.run_batch(request, edge);
        self.queue.announce();
        Evaluated::new(ticket, result)
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

    fn run_batch(&self, request: BatchRequest, edge: &Edge) -> (Ticket, Result<BatchResult>) {
        let key = request.idempotency_key.clone();
        let fingerprint = if key.is_some() { fingerprint("BATCH", &request) } else { 0 };
        let atomic = request.mode == BatchMode::Atomic;
        let prepare = |(place, operation)| Prepared::new(self, operation, edge, place);
        let prepared: Result<Vec<Prepared>> =
            request.ops.into_iter().enumerate().map(prepare).collect();
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return (self.queue.ticket(0), Err(error)),
        };
        let needs_global = key.is_some() || prepared.iter().any(Prepared::uses_global_key);
        let global = needs_global.then(|| self.state.global_keys.lock());
        let partitions = self.lock_for(&prepared);
        let mut env = self.env(edge);
        // The batch itself may have to be taken back, whatever the storage.
        let volatile = env.undo_below.is_none();
        env.undo_below = Some(self.queue.committed());
        let mut open = self.queue.open();
        let base = match open.next() {
            Ok(next) => next,
            Err(error) => return (self.queue.ticket(0), Err(error)),
        };
        if let (Some(key), Some(table)) = (&key, &global) {
            match remembered(table, Owner::DATABASE, key, fingerprint, &env) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    return (self.queue.ticket(entry.offset), replay(entry));
                }
                Err(error) => return (self.queue.ticket(base - 1), Err(error)),
            }
        }
        let mut run =
            Run { env: &env, partitions, global, next: base, effects: 0, bytes: Vec::new() };
        let mut result = run.run(self, prepared, atomic);
        if let (Ok(outcomes), Some(key)) = (&result, key) {
            run.remember(key, fingerprint, outcomes);
        }
        if let Err(error) = open.check_room(run.bytes.len()) {
            result = Err(error);
        }
        if result.is_err() {
            run.take_back(base - 1);
        } else if run.effects > 0 {
            self.queue.append_to(&mut open, run.effects, &run.bytes);
        }
        if volatile {
            run.forget_undo();
        }
        // Reads inside saw what others appended before.
        (self.queue.ticket(self.queue.appended()), result)
    }

    /// Locks the partitions of all instances named, in order.
    fn lock_for(&self, prepared: &[Prepared]) -> BTreeMap<usize, MutexGuard<'_, Partition>> {
        let number =
            |one: &Prepared| self.state.partition_number(self.state.hash(one.instance_id()));
        let mut numbers: Vec<usize> = prepared.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| Some((number, self.state.partitions.get(number)?.lock()));
        numbers.into_iter().filter_map(lock).collect()
    }
}

impl Run<'_, '_> {
    fn run(
        &mut self,
        shared: &Shared,
        prepared: Vec<Prepared>,
        atomic: bool,
    ) -> Result<BatchResult> {
        let mut results = Vec::with_capacity(prepared.len());
        for (index, one) in prepared.into_iter().enumerate() {
            let outcome = self.run_one(shared, one);
            match outcome {
                Err(error) if atomic => return Err(at_index(error, index)),
                outcome => results.push(BatchOutcome::from(outcome)),
            }
        }
        Ok(BatchResult { results })
    }

    fn run_one(&mut self, shared: &Shared, one: Prepared) -> Result<Outcome> {
        let hash = shared.state.hash(one.instance_id());
        let number = shared.state.partition_number(hash);
        match one {
            Prepared::Create(write) => {
                self.write(number, hash, *write).map(Outcome::CreateInstance)
            }
            Prepared::Apply(write) => self.write(number, hash, *write).map(Outcome::ApplyEvent),
            Prepared::Delete(write) => self.write(number, hash, write).map(Outcome::DeleteInstance),
            Prepared::Get(id) => {
                let partition = self.partitions.get(&number).ok_or_else(unlocked)?;
                get_in(partition, hash, &id).map(Outcome::GetInstance)
            }
        }
    }

    fn write<W: InstanceWrite>(&mut self, number: usize, hash: u64, write: W) -> Result<W::Result> {
        let partition = self.partitions.get_mut(&number).ok_or_else(unlocked)?;
        let change = match write.evaluate(self.env, partition, self.global.as_deref(), hash)? {
            Step::Known(result) => return Ok(result),
            Step::Change(change) => change,
        };
        write.encode(self.env, partition, &change, &mut self.bytes);
        let offset = self.next;
        self.next += 1;
        self.effects += 1;
        let global = self.global.as_deref_mut();
        Ok(commit(write, self.env, partition, global, hash, change, offset))
    }

    /// Logs the result of a batch with a key, as an effect of its own at the batch's end.
    fn remember(&mut self, key: Text, fingerprint: u64, result: &BatchResult) {
        // As text, not as a tree: contexts may nest as deep as a tree allows. It is only read back.
        // Results are plain data: turning them into JSON can't fail.
        let results = serde_json::to_string(result).unwrap_or_default();
        let results = Json::from_canonical(&results);
        Effect {
            at: self.env.now,
            body: Body::BatchResult { key: &key, fingerprint, results: results.as_str() },
        }
        .encode(&mut self.bytes);
        let entry = KeyEntry {
            owner: Owner::DATABASE,
            key,
            fingerprint,
            at: self.env.now,
            offset: self.next,
            answer: Answer::Batch { results },
        };
        self.next += 1;
        self.effects += 1;
        if let Some(global) = self.global.as_deref_mut() {
            let durable = self.env.undo_below.unwrap_or(entry.offset);
            self.env.key_budget.add(entry.offset, durable);
            global.remember(entry, self.env.bounds);
        }
    }

    fn take_back(&mut self, to: Offset) {
        for partition in self.partitions.values_mut() {
            partition.roll_back(to);
        }
        if let Some(global) = self.global.as_deref_mut() {
            global.undo_after(to);
        }
        self.env.key_budget.undo_after(to);
    }

    fn forget_undo(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.forget_undo();
        }
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

fn at_index(error: Error, index: usize) -> Error {
    error.with("index", index)
}

fn unlocked() -> Error {
    // Every partition a batch touches was locked at its start.
    crate::error::write_failed("the batch touched an instance it did not name")
}

fn replay(entry: &KeyEntry) -> Result<BatchResult> {
    let Answer::Batch { results } = &entry.answer else { return Err(wrong_answer(entry)) };
    results.decode().map_err(|error| {
        Error::new(
            rstmdb_types::ErrorCode::InternalError,
            format!("the remembered result of the batch can't be read: {error}"),
        )
        .with_source(Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>)
    })
}
