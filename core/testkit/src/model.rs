//! The reference model: what rstmdb must do, in the plainest code that says it.
//!
//! One thread, no files, nothing clever: ordered maps, and a list of everything that ever happened.
//! Only the decision which transition an event takes is left to [`Machine`], which has tests of its
//! own. The engine must agree with every answer, every offset and every event of this model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rstmdb_machine::{Allowance, Emission, Machine, Situation};
use rstmdb_types::error::reason;
use rstmdb_types::limits::check;
use rstmdb_types::*;
use serde::Serialize;

mod histories;
mod reads;

/// A step of the clock that is longer is taken for a clock that was set.
const LEAP_MS: i64 = 24 * 3_600_000;

/// The options of a database that change its answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What requests are held to.
    pub limits: Limits,
    /// How long idempotency keys are remembered.
    pub idempotency_window_ms: i64,
    /// Whether the id of a deleted instance may be used again.
    pub allow_instance_recreate: bool,
    /// Whether `flush_all` is allowed.
    pub allow_flush_all: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            idempotency_window_ms: 24 * 3600 * 1000,
            allow_instance_recreate: true,
            allow_flush_all: false,
        }
    }
}

/// A database that keeps everything in ordered maps.
#[derive(Debug, Clone)]
pub struct Model {
    settings: Settings,
    /// The time of the commands to come.
    pub now_ms: TimestampMs,
    /// The ids that the next successful creates without an id are answered with, in order.
    pub generated_ids: VecDeque<Text>,
    /// The first offset that retention has left to read.
    pub first_offset: Offset,
    machines: BTreeMap<(Text, u32), Arc<Machine>>,
    /// Deleted instances stay here until their id is used again.
    instances: BTreeMap<Text, Instance>,
    keys: BTreeMap<Key, Remembered>,
    /// Everything ever logged; what is at offset `n` is at index `n - 1`, `None` for a mark.
    wal: Vec<Option<WalRecord>>,
    /// The offset of the last mark.
    marked: Offset,
    /// Every change of an instance ever made.
    events: Vec<InstanceEvent>,
    /// Where each history begins.
    histories: Vec<Offset>,
    /// The offset of the last `flush_all`.
    flushed_at: Offset,
    /// The time of the last thing logged.
    newest_ms: TimestampMs,
    /// Snapshots ever taken.
    snapshots: u64,
    /// What keys age against in the batch that is running.
    batch_key_now_ms: Option<TimestampMs>,
}

#[derive(Debug, Clone)]
struct Instance {
    machine: Text,
    version: u32,
    state: Text,
    ctx: Json,
    last_wal_offset: Offset,
    last_event_id: Option<Text>,
    created_at: TimestampMs,
    updated_at: TimestampMs,
    deleted: bool,
    /// Where a keyed request was to delete it again, and when.
    deleted_again: Option<(Offset, TimestampMs)>,
    /// Its snapshots, with the offset of each.
    snapshots: Vec<(Text, Offset)>,
}

/// Keys of requests that name an instance belong to its id, in all its lives, the others to the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    instance_id: Option<Text>,
    key: Text,
}

#[derive(Debug, Clone)]
struct Remembered {
    operation: Operation,
    request: Json,
    result: Json,
    at: TimestampMs,
}

impl Model {
    /// An empty database.
    pub fn new(settings: Settings, now_ms: TimestampMs) -> Model {
        Model {
            settings,
            now_ms,
            generated_ids: VecDeque::new(),
            first_offset: 1,
            machines: BTreeMap::new(),
            instances: BTreeMap::new(),
            keys: BTreeMap::new(),
            wal: Vec::new(),
            marked: 0,
            events: Vec::new(),
            histories: vec![1],
            flushed_at: 0,
            newest_ms: 0,
            snapshots: 0,
            batch_key_now_ms: None,
        }
    }

    /// The offset of the last change.
    pub fn latest_offset(&self) -> Offset {
        self.wal.len() as Offset
    }

    /// Runs an operation on a JSON request, as `Database::call` does.
    pub fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        let text = if request.is_null() { "{}" } else { request.as_str() };
        let request =
            Request::deserialize(operation, &mut serde_json::Deserializer::from_str(text))
                .map_err(|error| invalid(reason::INVALID_REQUEST, error.to_string()))?;
        self.run(request).map(|outcome| json(&outcome))
    }

    /// Runs an operation.
    pub fn run(&mut self, request: Request) -> Result<Outcome> {
        Ok(match request {
            Request::PutMachine(r) => Outcome::PutMachine(self.put_machine(r)?),
            Request::GetMachine(r) => Outcome::GetMachine(self.get_machine(r)?),
            Request::ListMachines(r) => Outcome::ListMachines(self.list_machines(r)?),
            Request::CreateInstance(r) => Outcome::CreateInstance(self.create_instance(r)?),
            Request::GetInstance(r) => Outcome::GetInstance(self.get_instance(r)?),
            Request::ListInstances(r) => Outcome::ListInstances(self.list_instances(r)?),
            Request::CountInstances(r) => Outcome::CountInstances(self.count_instances(r)?),
            Request::DeleteInstance(r) => Outcome::DeleteInstance(self.delete_instance(r)?),
            Request::ApplyEvent(r) => Outcome::ApplyEvent(self.apply_event(r)?),
            Request::Permitted(r) => Outcome::Permitted(self.permitted(r)?),
            Request::Batch(r) => Outcome::Batch(self.batch(r)?),
            Request::History(r) => Outcome::History(self.history(r)?),
            Request::WatchInstance(r) => Outcome::WatchInstance(self.watch_instance(r)?),
            Request::WatchAll(r) => Outcome::WatchAll(self.watch_all(r)?),
            Request::WalRead(r) => Outcome::WalRead(self.wal_read(r)?),
            Request::WalStats(r) => Outcome::WalStats(self.wal_stats(r)?),
            Request::Compact(r) => Outcome::Compact(self.compact(r)?),
            Request::SnapshotInstance(r) => Outcome::SnapshotInstance(self.snapshot_instance(r)?),
            Request::ListSnapshots(r) => Outcome::ListSnapshots(self.list_snapshots(r)?),
            Request::DropSnapshot(r) => Outcome::DropSnapshot(self.drop_snapshot(r)?),
            Request::Backup(r) => Outcome::Backup(self.backup(r)?.into()),
            Request::Verify(r) => Outcome::Verify(self.verify(r)?),
            Request::ReplicaPromote(r) => {
                r.check()?;
                let role = "standalone".into();
                Outcome::ReplicaPromote(ReplicaPromoteResult {
                    role,
                    epoch: 0,
                    lost: 0,
                    took_ms: 0,
                })
            }
            Request::ReplicaFollow(r) => match r.upstream {
                None => {
                    let role = "standalone".into();
                    Outcome::ReplicaFollow(ReplicaFollowResult { role, upstream: None })
                }
                Some(_) => return Err(Error::invalid(reason::UNSUPPORTED, "it is alone")),
            },
            Request::FlushAll(r) => Outcome::FlushAll(self.flush_all(r)?),
            Request::ValidateMachine(r) => Outcome::ValidateMachine(self.validate_machine(r)?),
            Request::Info(r) => Outcome::Info(self.info(r)?.into()),
            Request::Ping(_) => Outcome::Ping(PingResult { pong: true }),
            Request::ClusterStatus(_) => Outcome::ClusterStatus(Box::new(ClusterStatusResult {
                role: "standalone".into(),
                has_quorum: true,
                ..Default::default()
            })),
            Request::ClusterInit(_)
            | Request::ClusterAdd(_)
            | Request::ClusterRemove(_)
            | Request::ClusterPromote(_)
            | Request::ClusterTransfer(_)
            | Request::ClusterDrain(_)
            | Request::ClusterVerify(_)
            | Request::ClusterUpgrade(_) => {
                return Err(Error::invalid(reason::UNSUPPORTED, "it belongs to no group"));
            }
            Request::ReplicationStatus(_) => {
                Outcome::ReplicationStatus(Box::new(ReplicationStatusResult {
                    role: "standalone".into(),
                    ..Default::default()
                }))
            }
        })
    }

    /// See [`Operation::PutMachine`].
    pub fn put_machine(&mut self, request: PutMachineRequest) -> Result<PutMachineResult> {
        let limits = &self.settings.limits;
        limits.check_name("machine", &request.machine)?;
        let id = (request.machine.clone(), request.version);
        let versions = self.machines.keys().filter(|(name, _)| *name == request.machine).count();
        let limit = limits.machine_versions_max as usize;
        if limit > 0 && versions >= limit && !self.machines.contains_key(&id) {
            return Err(error(ErrorCode::MachineVersionLimitExceeded, "too many versions"));
        }
        let (machine, warnings) = Machine::parse(&request.definition, limits, request.strict)?;
        let checksum = Text::from(machine.checksum());
        let created = match self.machines.get(&id) {
            None => true,
            Some(stored) if stored.checksum() == machine.checksum() => false,
            Some(_) => return Err(error(ErrorCode::MachineVersionExists, "other definition")),
        };
        if created {
            self.log(WalEntry::PutMachine {
                machine: request.machine.clone(),
                version: request.version,
                definition_hash: checksum.clone(),
                definition: request.definition,
            });
            self.machines.insert(id, Arc::new(machine));
        }
        Ok(PutMachineResult {
            machine: request.machine,
            version: request.version,
            stored_checksum: checksum,
            created,
            warnings,
        })
    }

    /// See [`Operation::ValidateMachine`].
    pub fn validate_machine(
        &self,
        request: ValidateMachineRequest,
    ) -> Result<ValidateMachineResult> {
        let limits = &self.settings.limits;
        let (machine, warnings) = Machine::parse(&request.definition, limits, request.strict)?;
        Ok(ValidateMachineResult {
            definition: machine.normal_form().clone(),
            checksum: machine.checksum().into(),
            warnings,
        })
    }

    /// See [`Operation::CreateInstance`].
    pub fn create_instance(
        &mut self,
        request: CreateInstanceRequest,
    ) -> Result<CreateInstanceResult> {
        let limits = &self.settings.limits;
        let ctx = request.initial_ctx.clone().filter(|ctx| !ctx.is_null());
        let ctx = ctx.unwrap_or_else(Json::empty_object);
        check_optional_name(limits, "instance_id", request.instance_id.as_ref())?;
        check_optional_name(limits, "idempotency_key", request.idempotency_key.as_ref())?;
        limits.check_context("initial_ctx", &ctx)?;

        let key = key(request.instance_id.as_ref(), request.idempotency_key.as_ref());
        if let Some(result) = self.recall(&key, &request)? {
            if request.instance_id.is_none() {
                self.generated_ids.pop_front();
            }
            return Ok(result);
        }
        let named = request.instance_id.clone().or_else(|| self.generated_ids.front().cloned());
        let instance_id = named.unwrap_or_else(|| format!("{:036}", self.wal.len()).into());
        match self.instances.get(&instance_id) {
            Some(instance) if !instance.deleted => {
                return Err(error(ErrorCode::InstanceExists, "exists"));
            }
            Some(_) if !self.settings.allow_instance_recreate => {
                let error = error(ErrorCode::InstanceExists, "was deleted");
                return Err(error.with_reason(reason::RECREATE_FORBIDDEN));
            }
            _ => {}
        }
        let machine = self.machine(&request.machine, request.version)?;
        let state = match request.initial_state.clone() {
            Some(state) if machine.states().contains(&state) => state,
            Some(state) => {
                return Err(Error::invalid(reason::INVALID_REQUEST, "no such state")
                    .with("machine", request.machine.as_str())
                    .with("version", request.version)
                    .with("state", state.as_str()));
            }
            None => machine.states()[machine.initial() as usize].clone(),
        };
        let (state, ctx, emitted) = match machine.is_plain() {
            true => (state, ctx, None),
            false => {
                let rest = machine.begin(&Situation {
                    machine: &request.machine,
                    version: request.version,
                    instance_id: &instance_id,
                    state: machine.state_id(&state).unwrap(),
                    ctx: &ctx,
                    payload: None,
                    now_ms: self.now_ms,
                    created_at_ms: self.now_ms,
                    allowance: Allowance::from(limits),
                })?;
                limits.check_context("ctx", &rest.ctx)?;
                let state = machine.states()[rest.state as usize].clone();
                (state, rest.ctx, emitted(&rest.emitted))
            }
        };
        if request.instance_id.is_none() {
            self.generated_ids.pop_front();
        }

        let wal_offset = self.log(WalEntry::CreateInstance {
            instance_id: instance_id.clone(),
            machine: request.machine.clone(),
            version: request.version,
            initial_state: state.clone(),
            initial_ctx: ctx.clone(),
            idempotency_key: request.idempotency_key.clone(),
        });
        let instance = Instance {
            machine: request.machine.clone(),
            version: request.version,
            state: state.clone(),
            ctx,
            last_wal_offset: wal_offset,
            last_event_id: None,
            created_at: self.now_ms,
            updated_at: self.now_ms,
            deleted: false,
            deleted_again: None,
            snapshots: Vec::new(),
        };
        self.events.push(InstanceEvent {
            to_state: Some(state.clone()),
            emitted,
            ..event_of(&instance_id, &instance, InstanceEventKind::Created)
        });
        self.instances.insert(instance_id.clone(), instance);
        let result = CreateInstanceResult { instance_id, state, wal_offset };
        self.remember(key, &request, &result);
        Ok(result)
    }

    /// See [`Operation::DeleteInstance`].
    pub fn delete_instance(
        &mut self,
        request: DeleteInstanceRequest,
    ) -> Result<DeleteInstanceResult> {
        let limits = &self.settings.limits;
        let instance_id = request.instance_id.clone();
        let Some(instance) = self.instances.get(&instance_id) else {
            return Err(not_found(&instance_id));
        };
        check_optional_name(limits, "idempotency_key", request.idempotency_key.as_ref())?;
        let key = key(Some(&request.instance_id), request.idempotency_key.as_ref());
        if let Some(result) = self.recall(&key, &request)? {
            return Ok(result);
        }
        if instance.deleted {
            let wal_offset = instance.last_wal_offset;
            let result = DeleteInstanceResult { instance_id, deleted: true, wal_offset };
            if key.is_some() {
                // Nothing changes, but the answer is remembered.
                let offset = self.log(WalEntry::DeleteAgain {
                    instance_id: request.instance_id.clone(),
                    deletion: wal_offset,
                    idempotency_key: request.idempotency_key.clone().unwrap_or_default(),
                });
                let now = Some((offset, self.now_ms));
                self.instances.get_mut(&request.instance_id).unwrap().deleted_again = now;
                self.remember(key, &request, &result);
            }
            return Ok(result);
        }
        let wal_offset = self.log(WalEntry::DeleteInstance {
            instance_id: instance_id.clone(),
            idempotency_key: request.idempotency_key.clone(),
        });
        let now_ms = self.now_ms;
        let instance = self.instances.get_mut(&instance_id).unwrap();
        instance.deleted = true;
        instance.last_wal_offset = wal_offset;
        instance.updated_at = now_ms;
        let state = Some(instance.state.clone());
        let event = event_of(&instance_id, instance, InstanceEventKind::Deleted);
        self.events.push(InstanceEvent { from_state: state, ctx: None, ..event });
        let result = DeleteInstanceResult { instance_id, deleted: true, wal_offset };
        self.remember(key, &request, &result);
        Ok(result)
    }

    /// See [`Operation::ApplyEvent`].
    pub fn apply_event(&mut self, request: ApplyEventRequest) -> Result<ApplyEventResult> {
        let limits = &self.settings.limits;
        limits.check_name("event", &request.event)?;
        check_optional_name(limits, "event_id", request.event_id.as_ref())?;
        check_optional_name(limits, "idempotency_key", request.idempotency_key.as_ref())?;
        if let Some(payload) = &request.payload {
            limits.check_payload(payload)?;
        }
        let key = key(Some(&request.instance_id), request.idempotency_key.as_ref());
        if let Some(result) = self.recall(&key, &request)? {
            return Ok(ApplyEventResult { applied: false, ..result });
        }
        let instance = self.instance(&request.instance_id)?;
        let conflict = |reason| Err(error(ErrorCode::Conflict, "moved on").with_reason(reason));
        if request.expected_state.as_ref().is_some_and(|state| *state != instance.state) {
            return conflict(reason::EXPECTED_STATE);
        }
        if request.expected_wal_offset.is_some_and(|offset| offset != instance.last_wal_offset) {
            return conflict(reason::EXPECTED_WAL_OFFSET);
        }
        if let (Some(offset), Some(id)) = (request.expected_wal_offset, &request.history_id) {
            self.check_history(offset + 1, id)?;
        }
        let machine = self.machine(&instance.machine, instance.version)?;
        let situation = self.situation(&request.instance_id, instance, request.payload.as_ref());
        let payload = request.payload.clone().unwrap_or_else(Json::null);
        let (to, ctx, emitted) = match machine.is_plain() {
            true => {
                let decision = machine.decide(&situation, &request.event)?;
                (decision.to, instance.ctx.merge(&payload), None)
            }
            false => {
                let rest = machine.step(&situation, &request.event)?.rest;
                (rest.state, rest.ctx, emitted(&rest.emitted))
            }
        };
        limits.check_context("ctx", &ctx)?;

        let from_state = instance.state.clone();
        let to_state = machine.states()[to as usize].clone();
        let wal_offset = self.log(WalEntry::ApplyEvent {
            instance_id: request.instance_id.clone(),
            event: request.event.clone(),
            from_state: from_state.clone(),
            to_state: to_state.clone(),
            payload: payload.clone(),
            ctx: ctx.clone(),
            event_id: request.event_id.clone(),
            idempotency_key: request.idempotency_key.clone(),
        });
        let now_ms = self.now_ms;
        let instance = self.instances.get_mut(&request.instance_id).unwrap();
        instance.state = to_state.clone();
        instance.ctx = ctx.clone();
        instance.last_wal_offset = wal_offset;
        instance.last_event_id = request.event_id.clone();
        instance.updated_at = now_ms;
        self.events.push(InstanceEvent {
            from_state: Some(from_state.clone()),
            to_state: Some(to_state.clone()),
            event: Some(request.event.clone()),
            payload,
            event_id: request.event_id.clone(),
            emitted,
            ..event_of(&request.instance_id, instance, InstanceEventKind::Applied)
        });
        let event_id = request.event_id.clone();
        let result =
            ApplyEventResult { from_state, to_state, ctx, wal_offset, applied: true, event_id };
        self.remember(key, &request, &result);
        Ok(result)
    }

    /// See [`Operation::Batch`].
    pub fn batch(&mut self, request: BatchRequest) -> Result<BatchResult> {
        let limits = &self.settings.limits;
        let count = request.ops.len();
        check("ops", count, "batch_operations_max", limits.batch_operations_max)?;
        check_optional_name(limits, "idempotency_key", request.idempotency_key.as_ref())?;
        let key = key(None, request.idempotency_key.as_ref());
        if let Some(result) = self.recall(&key, &request)? {
            return Ok(result);
        }
        let before = self.clone();
        self.batch_key_now_ms = Some(self.key_now_ms());
        let mut results = Vec::new();
        for (index, operation) in request.ops.iter().enumerate() {
            match self.run(operation.clone()) {
                Err(error) if request.mode == BatchMode::Atomic => {
                    *self = before;
                    return Err(error.with("index", index));
                }
                outcome => results.push(outcome.into()),
            }
        }
        self.batch_key_now_ms = None;
        let result = BatchResult { results };
        if let Some(idempotency_key) = request.idempotency_key.clone() {
            self.log(WalEntry::BatchResult { idempotency_key });
        }
        self.remember(key, &request, &result);
        Ok(result)
    }

    /// See [`Operation::FlushAll`].
    pub fn flush_all(&mut self, _: FlushAllRequest) -> Result<FlushAllResult> {
        if !self.settings.allow_flush_all {
            return Err(invalid(reason::DISABLED, "flush_all is switched off".to_owned()));
        }
        let result = FlushAllResult {
            flushed: true,
            instances_removed: self.live(),
            machines_removed: self.machines.len() as u64,
        };
        self.flushed_at = self.log(WalEntry::FlushAll {});
        self.machines.clear();
        self.instances.clear();
        self.keys.clear();
        Ok(result)
    }

    // What the operations share.

    fn log(&mut self, entry: WalEntry) -> Offset {
        let offset = self.latest_offset() + 1;
        let record = WalRecord { sequence: offset, offset, timestamp: Some(self.now_ms), entry };
        self.wal.push(Some(record));
        self.newest_ms = self.now_ms;
        offset
    }

    /// Keys age by the log: a clock that leapt while nothing was logged does not make them old.
    fn key_now_ms(&self) -> TimestampMs {
        let now = match self.now_ms.saturating_sub(self.newest_ms) > LEAP_MS {
            true => self.newest_ms,
            false => self.now_ms,
        };
        self.batch_key_now_ms.unwrap_or(now)
    }

    fn machine(&self, name: &Text, version: u32) -> Result<Arc<Machine>> {
        let machine = self.machines.get(&(name.clone(), version)).cloned();
        machine.ok_or_else(|| error(ErrorCode::MachineNotFound, "no such machine"))
    }

    fn instance(&self, id: &Text) -> Result<&Instance> {
        self.instances.get(id).filter(|instance| !instance.deleted).ok_or_else(|| not_found(id))
    }

    /// How many instances are not deleted.
    fn live(&self) -> u64 {
        self.instances.values().filter(|instance| !instance.deleted).count() as u64
    }

    /// The result remembered under a key, unless the key belongs to another request.
    fn recall<R: OperationRequest>(
        &self,
        key: &Option<Key>,
        request: &R,
    ) -> Result<Option<R::Result>> {
        let Some(remembered) = key.as_ref().and_then(|key| self.keys.get(key)) else {
            return Ok(None);
        };
        if self.key_now_ms().saturating_sub(remembered.at) >= self.settings.idempotency_window_ms {
            return Ok(None);
        }
        if (remembered.operation, &remembered.request) != (R::OPERATION, &json(request)) {
            let error = error(ErrorCode::Conflict, "the key was used for another request");
            return Err(error.with_reason(reason::IDEMPOTENCY_KEY_REUSED));
        }
        Ok(Some(remembered.result.decode().unwrap()))
    }

    fn remember<R: OperationRequest>(&mut self, key: Option<Key>, request: &R, result: &R::Result) {
        let Some(key) = key else { return };
        let remembered = Remembered {
            operation: R::OPERATION,
            request: json(request),
            result: json(result),
            at: self.now_ms,
        };
        self.keys.insert(key, remembered);
    }
}

/// What events show of what was emitted.
fn emitted(emitted: &[Emission]) -> Option<Json> {
    (!emitted.is_empty()).then(|| Emission::list(emitted))
}

/// The members that every change of an instance has; the caller fills in the rest.
fn event_of(id: &Text, instance: &Instance, kind: InstanceEventKind) -> InstanceEvent {
    InstanceEvent {
        kind,
        instance_id: id.clone(),
        machine: instance.machine.clone(),
        version: instance.version,
        wal_offset: instance.last_wal_offset,
        history_id: None,
        timestamp: Some(instance.updated_at),
        from_state: None,
        to_state: None,
        event: None,
        payload: Json::null(),
        ctx: Some(instance.ctx.clone()),
        event_id: None,
        emitted: None,
    }
}

fn key(instance_id: Option<&Text>, key: Option<&Text>) -> Option<Key> {
    key.map(|key| Key { instance_id: instance_id.cloned(), key: key.clone() })
}

fn check_optional_name(limits: &Limits, field: &str, name: Option<&Text>) -> Result<()> {
    name.map_or(Ok(()), |name| limits.check_name(field, name))
}

fn json(value: &impl Serialize) -> Json {
    Json::from_serialize(value).unwrap()
}

fn error(code: ErrorCode, message: &str) -> Error {
    Error::new(code, message)
}

fn invalid(reason: &str, message: String) -> Error {
    Error::invalid(reason, message)
}

fn not_found(id: &Text) -> Error {
    Error::new(ErrorCode::InstanceNotFound, format!("instance {id:?} not found"))
}

#[cfg(test)]
mod tests;
