//! Creates an instance of a machine.

use std::sync::Arc;

use rstmdb_machine::StateId;
use rstmdb_types::error::reason;
use rstmdb_types::{
    CreateInstanceRequest, CreateInstanceResult, Error, ErrorCode, Json, Offset, Result, Text,
};

use super::apply_event::wrong_answer;
use super::{Edge, Env, InstanceWrite, Step, fingerprint, key_ref, remembered};
use crate::error::machine_not_found;
use crate::log::{Body, Effect};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::partition::{Birth, UndoStep};
use crate::state::{Answer, KeyEntry, KeyTable, MachineEntry, Owner, Partition};

/// What was decided about a creation.
pub(crate) struct Change {
    /// The slot of the deleted instance whose id is used again.
    existing: Option<u32>,
    machine: Arc<MachineEntry>,
    state: StateId,
    ctx: Json,
}

/// A creation on its way.
pub(crate) struct CreateInstance {
    request: CreateInstanceRequest,
    id: Text,
    machine: Result<Arc<MachineEntry>>,
    fingerprint: u64,
    global: bool,
}

impl CreateInstance {
    /// Resolves the machine and the id, both outside the partition's lock.
    pub(crate) fn new(
        shared: &Shared,
        request: CreateInstanceRequest,
        new_id: impl FnOnce() -> Text,
    ) -> CreateInstance {
        let machines = shared.state.machines.read();
        let machine = machines.find(&request.machine, request.version).cloned();
        drop(machines);
        let keyed = request.idempotency_key.is_some();
        CreateInstance {
            fingerprint: if keyed { fingerprint("CREATE_INSTANCE", &request) } else { 0 },
            global: keyed && request.instance_id.is_none(),
            id: request.instance_id.clone().unwrap_or_else(new_id),
            machine,
            request,
        }
    }

    fn check_limits(&self, env: &Env<'_>) -> Result<()> {
        env.limits.check_name("instance_id", &self.id)?;
        if let Some(key) = &self.request.idempotency_key {
            env.limits.check_name("idempotency_key", key)?;
        }
        match &self.request.initial_ctx {
            Some(ctx) => env.limits.check_initial_context(ctx),
            None => Ok(()),
        }
    }

    /// Where the instance starts.
    fn state(&self, machine: &MachineEntry) -> Result<StateId> {
        let Some(name) = &self.request.initial_state else { return Ok(machine.machine.initial()) };
        machine.machine.state_id(name).ok_or_else(|| {
            let (of, version) = (machine.name.as_str(), machine.version);
            let message = format!("machine {of:?} version {version} has no state {name:?}");
            Error::invalid(reason::INVALID_REQUEST, message)
                .with("machine", of)
                .with("version", version)
                .with("state", name.as_str())
        })
    }

    fn first_result(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        global: Option<&KeyTable>,
        existing: Option<u32>,
    ) -> Result<Option<CreateInstanceResult>> {
        let Some(key) = &self.request.idempotency_key else { return Ok(None) };
        let known = match (global.filter(|_| self.global), existing) {
            (Some(table), _) => remembered(table, Owner::DATABASE, key, self.fingerprint, env)?,
            (None, Some(slot)) => {
                let owner = partition.owner(slot);
                let keys = partition.keys();
                // The key of a delete does not stand in the way of the next life.
                let deleted = partition.slot(slot).is_some_and(|slot| slot.deleted);
                let known = keys.find(owner, key, env.now, env.bounds);
                let of_create =
                    known.is_some_and(|entry| matches!(entry.answer, Answer::Create { .. }));
                if deleted && !of_create {
                    None
                } else {
                    remembered(keys, owner, key, self.fingerprint, env)?
                }
            }
            (None, None) => None,
        };
        known.map(replay).transpose()
    }
}

fn replay(entry: &KeyEntry) -> Result<CreateInstanceResult> {
    match &entry.answer {
        Answer::Create { id, state } => Ok(CreateInstanceResult {
            instance_id: id.clone(),
            state: state.clone(),
            wal_offset: entry.offset,
        }),
        _ => Err(wrong_answer(entry)),
    }
}

impl InstanceWrite for CreateInstance {
    type Result = CreateInstanceResult;
    type Change = Change;

    fn instance_id(&self) -> &str {
        &self.id
    }

    fn uses_global_key(&self) -> bool {
        self.global
    }

    fn evaluate(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        global: Option<&KeyTable>,
        hash: u64,
    ) -> Result<Step<CreateInstanceResult, Change>> {
        self.check_limits(env)?;
        let existing = partition.find(hash, &self.id);
        if let Some(first) = self.first_result(env, partition, global, existing)? {
            return Ok(Step::Known(first));
        }
        if let Some(slot) = existing.and_then(|slot| partition.slot(slot)) {
            let exists = |message: String| {
                Error::new(ErrorCode::InstanceExists, message).with("instance_id", self.id.as_str())
            };
            if !slot.deleted {
                return Err(exists(format!("instance {:?} exists already", self.id)));
            }
            if !env.allow_recreate {
                let message = format!(
                    "instance {:?} was deleted and allow_instance_recreate is off; use a new id",
                    self.id
                );
                return Err(exists(message).with_reason(reason::RECREATE_FORBIDDEN));
            }
        }
        let machine = self.machine.clone()?;
        if machine.is_retired() {
            return Err(machine_not_found(&machine.name, machine.version, None));
        }
        let state = self.state(&machine)?;
        let given = self.request.initial_ctx.as_ref().filter(|ctx| !ctx.is_null());
        let ctx = given.cloned().unwrap_or_else(Json::empty_object);
        Ok(Step::Change(Change { existing, machine, state, ctx }))
    }

    fn encode(&self, env: &Env<'_>, partition: &Partition, change: &Change, out: &mut Vec<u8>) {
        let former = change.existing.and_then(|slot| partition.slot(slot));
        let key = self.request.idempotency_key.as_deref();
        Effect {
            at: env.now,
            body: Body::Create {
                machine: change.machine.number,
                id: &self.id,
                ctx: change.ctx.as_str(),
                state: (change.state != change.machine.machine.initial()).then_some(change.state),
                previous: former.map_or(0, |slot| slot.last),
                key: key_ref(key, self.fingerprint, self.global),
            },
        }
        .encode(out);
    }

    fn commit(
        self,
        env: &Env<'_>,
        partition: &mut Partition,
        hash: u64,
        change: Change,
        offset: Offset,
    ) -> (CreateInstanceResult, Option<UndoStep>, Option<KeyEntry>) {
        let state = change.machine.state_name(change.state);
        let birth = Birth {
            id: self.id.clone(),
            machine: change.machine,
            state: change.state,
            ctx: change.ctx,
            at: env.now,
            offset,
        };
        let (slot, undo) = partition.create(hash, change.existing, birth);
        let remember = self.request.idempotency_key.map(|key| KeyEntry {
            owner: if self.global { Owner::DATABASE } else { partition.owner(slot) },
            key,
            fingerprint: self.fingerprint,
            at: env.now,
            offset,
            answer: Answer::Create { id: self.id.clone(), state: state.clone() },
        });
        let result = CreateInstanceResult { instance_id: self.id, state, wal_offset: offset };
        (result, Some(undo), remember)
    }
}

impl Shared {
    pub(crate) fn create_instance(
        &self,
        request: CreateInstanceRequest,
        edge: &Edge,
    ) -> Evaluated<CreateInstanceResult> {
        self.write(edge, CreateInstance::new(self, request, || edge.id(0)))
    }
}
