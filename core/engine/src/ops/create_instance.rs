//! Creates an instance of a machine.

use std::sync::Arc;

use rstmdb_machine::{Allowance, Emission, Rest, Situation, StateId};
use rstmdb_types::error::reason;
use rstmdb_types::{
    CreateInstanceRequest, CreateInstanceResult, Error, ErrorCode, Json, Offset, Result, Text,
};

use super::Edge;
use super::decision::{AtOffset, Draft, Drafts, Env, Evaluate, Step};
use super::keys::{Keyed, wrong_answer};
use crate::error::{instance_not_found, machine_not_found};
use crate::log::Body;
use crate::log::kinds::{BeginEffect, Create, Piece};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked};
use crate::state::{Answer, KeyEntry, MachineEntry, Owner};

/// A creation on its way.
pub(crate) struct CreateInstance<'r> {
    request: &'r CreateInstanceRequest,
    id: Text,
    machine: Result<Arc<MachineEntry>>,
    keyed: Keyed,
}

impl CreateInstance<'_> {
    /// Resolves the machine and the id, both outside the partition's lock.
    pub(crate) fn new<'r>(
        shared: &Shared,
        request: &'r CreateInstanceRequest,
        new_id: impl FnOnce() -> Text,
    ) -> CreateInstance<'r> {
        let machines = shared.state.machines.read();
        let machine = machines.find(&request.machine, request.version).cloned();
        drop(machines);
        let key = request.idempotency_key.as_ref();
        let global = key.is_some() && request.instance_id.is_none();
        CreateInstance {
            keyed: Keyed { global, ..Keyed::new(key, request) },
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

    /// What entering the first state comes to.
    fn begin(
        &self,
        env: &Env<'_>,
        machine: &MachineEntry,
        state: StateId,
        ctx: &Json,
    ) -> Result<Rest> {
        let rest = machine.machine.begin(&Situation {
            machine: &machine.name,
            version: machine.version,
            instance_id: &self.id,
            state,
            ctx,
            payload: None,
            now_ms: env.now,
            created_at_ms: env.now,
            allowance: Allowance::from(env.limits),
        })?;
        env.limits.check_context("the context after the creation", &rest.ctx)?;
        Ok(rest)
    }

    fn first_result(
        &self,
        env: &Env<'_>,
        locked: &Locked<'_>,
        hash: u64,
    ) -> Result<Option<CreateInstanceResult>> {
        let Some(key) = &self.request.idempotency_key else { return Ok(None) };
        let known = if self.keyed.global {
            let table = locked.global_keys().ok_or_else(|| instance_not_found(&self.id))?;
            self.keyed.find(table, Owner::DATABASE, key, env)?
        } else {
            match locked.look(hash).zip(locked.find(hash, &self.id)) {
                Some((partition, (slot, _))) => {
                    self.keyed.find(partition.keys(), Owner { slot }, key, env)?
                }
                None => None,
            }
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

impl Evaluate for CreateInstance<'_> {
    type Result = CreateInstanceResult;

    fn instance_id(&self) -> &str {
        &self.id
    }

    fn uses_global_key(&self) -> bool {
        self.keyed.global
    }

    fn evaluate(
        &self,
        env: &Env<'_>,
        locked: &Locked<'_>,
        hash: u64,
    ) -> Result<Step<'_, CreateInstanceResult>> {
        self.check_limits(env)?;
        if let Some(first) = self.first_result(env, locked, hash)? {
            return Ok(Step::Known(first));
        }
        let former = locked.find(hash, &self.id).map(|(_, slot)| slot);
        if let Some(slot) = former {
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
        let Rest { state, ctx, emitted, .. } = match machine.machine.is_plain() {
            true => Rest { state, ctx, emitted: Vec::new(), inner: Vec::new() },
            false => self.begin(env, &machine, state, &ctx)?,
        };
        let create = Create {
            machine: machine.number,
            id: &self.id,
            ctx: Piece::Value(ctx),
            state: (state != machine.machine.initial()).then_some(state),
            previous: former.map_or(0, |slot| slot.last),
            key: self.keyed.key_ref(self.request.idempotency_key.as_ref()),
        };
        let body = match emitted.is_empty() {
            true => Body::Create(create),
            false => {
                let emitted = Some(Piece::Value(Emission::list(&emitted)));
                Body::BeginEffect(BeginEffect { create, emitted })
            }
        };
        let result = CreateInstanceResult {
            instance_id: self.id.clone(),
            state: machine.state_name(state),
            wal_offset: 0,
        };
        Ok(Step::Change(Drafts::One(Draft { body, known: Known::Birth(machine) }), result))
    }
}

impl AtOffset for CreateInstanceResult {
    fn set_offset(&mut self, offset: Offset) {
        self.wal_offset = offset;
    }
}

impl Shared {
    pub(crate) fn create_instance(
        &self,
        request: CreateInstanceRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<CreateInstanceResult> {
        self.write(edge, &CreateInstance::new(self, &request, || edge.id(0)))
    }
}
