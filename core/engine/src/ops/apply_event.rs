//! Applies an event to an instance.

use rstmdb_machine::{Decision, Situation};
use rstmdb_types::error::reason;
use rstmdb_types::{ApplyEventRequest, ApplyEventResult, Error, ErrorCode, Json, Offset, Result};

use super::{Edge, Env, InstanceWrite, Step, fingerprint, key_ref, remembered};
use crate::error::instance_not_found;
use crate::log::{Body, Effect};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::partition::{Transition, UndoStep};
use crate::state::{Answer, KeyEntry, KeyTable, Partition, Slot};

/// What was decided about an event.
pub(crate) struct Change {
    slot: u32,
    decision: Decision,
    ctx: Json,
    anchored: bool,
}

/// An event on its way.
pub(crate) struct ApplyEvent {
    request: ApplyEventRequest,
    fingerprint: u64,
    /// Whether a known key answers for any request.
    any_request: bool,
}

impl ApplyEvent {
    pub(crate) fn new(request: ApplyEventRequest, edge: &Edge) -> ApplyEvent {
        let keyed = request.idempotency_key.is_some();
        let fingerprint = if keyed { fingerprint("APPLY_EVENT", &request) } else { 0 };
        ApplyEvent { request, fingerprint, any_request: edge.any_request }
    }

    fn payload_bytes(&self) -> usize {
        self.request.payload.as_ref().map_or(0, |payload| payload.as_str().len())
    }

    fn check_limits(&self, env: &Env<'_>) -> Result<()> {
        let request = &self.request;
        env.limits.check_name("event", &request.event)?;
        if let Some(payload) = &request.payload {
            env.limits.check_payload(payload)?;
        }
        if let Some(id) = &request.event_id {
            env.limits.check_name("event_id", id)?;
        }
        if let Some(key) = &request.idempotency_key {
            env.limits.check_name("idempotency_key", key)?;
        }
        Ok(())
    }

    fn check_expectations(&self, slot: &Slot) -> Result<()> {
        let id = &self.request.instance_id;
        if let Some(expected) = &self.request.expected_state {
            let state = slot.machine.state_name(slot.state);
            if state != *expected {
                return Err(Error::new(
                    ErrorCode::Conflict,
                    format!("instance {id:?} is in state {state:?}, not {expected:?}"),
                )
                .with_reason(reason::EXPECTED_STATE)
                .with("instance_id", id.as_str())
                .with("state", state.as_str())
                .with("expected_state", expected.as_str()));
            }
        }
        if let Some(expected) = self.request.expected_wal_offset
            && expected != slot.last
        {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!("instance {id:?} last changed at offset {}, not {expected}", slot.last),
            )
            .with_reason(reason::EXPECTED_WAL_OFFSET)
            .with("instance_id", id.as_str())
            .with("last_wal_offset", slot.last)
            .with("expected_wal_offset", expected));
        }
        Ok(())
    }
}

/// The instance of an id, unless it is deleted.
pub(crate) fn live_slot<'a>(
    partition: &'a Partition,
    hash: u64,
    id: &str,
) -> Result<(u32, &'a Slot)> {
    partition
        .find(hash, id)
        .and_then(|number| Some((number, partition.slot(number)?)))
        .filter(|(_, slot)| !slot.deleted)
        .ok_or_else(|| instance_not_found(id))
}

impl InstanceWrite for ApplyEvent {
    type Result = ApplyEventResult;
    type Change = Change;

    fn instance_id(&self) -> &str {
        &self.request.instance_id
    }

    fn evaluate(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        _global: Option<&KeyTable>,
        hash: u64,
    ) -> Result<Step<ApplyEventResult, Change>> {
        let request = &self.request;
        self.check_limits(env)?;
        let (number, slot) = live_slot(partition, hash, &request.instance_id)?;
        if let Some(key) = &request.idempotency_key {
            let owner = partition.owner(number);
            let table = partition.keys();
            let known = if self.any_request {
                table.find(owner, key, env.now, env.bounds)
            } else {
                remembered(table, owner, key, self.fingerprint, env)?
            };
            if let Some(entry) = known {
                let mut first = replay(entry)?;
                if self.any_request {
                    first.event_id.clone_from(&request.event_id);
                }
                return Ok(Step::Known(first));
            }
        }
        self.check_expectations(slot)?;
        let decision = slot.machine.machine.decide(
            &Situation {
                machine: &slot.machine.name,
                version: slot.machine.version,
                instance_id: &slot.id,
                state: slot.state,
                ctx: &slot.ctx,
                payload: request.payload.as_ref(),
                now_ms: env.now,
            },
            &request.event,
        )?;
        let ctx = match &request.payload {
            Some(payload) => slot.ctx.merge(payload),
            None => slot.ctx.clone(),
        };
        env.limits.check_context("the context after the event", &ctx)?;
        let anchored = slot.needs_anchor(self.payload_bytes(), env.boundary);
        Ok(Step::Change(Change { slot: number, decision, ctx, anchored }))
    }

    fn encode(&self, env: &Env<'_>, partition: &Partition, change: &Change, out: &mut Vec<u8>) {
        let Some(slot) = partition.slot(change.slot) else { return };
        let payload = self.request.payload.as_ref().filter(|payload| !payload.is_null());
        Effect {
            at: env.now,
            body: Body::Apply {
                machine: slot.machine.number,
                id: &slot.id,
                event: change.decision.event,
                from: slot.state,
                to: change.decision.to,
                payload: payload.map(Json::as_str),
                ctx: change.anchored.then(|| change.ctx.as_str()),
                previous: slot.last,
                event_id: self.request.event_id.as_deref(),
                key: key_ref(self.request.idempotency_key.as_deref(), self.fingerprint, false),
            },
        }
        .encode(out);
    }

    fn commit(
        self,
        env: &Env<'_>,
        partition: &mut Partition,
        _hash: u64,
        change: Change,
        offset: Offset,
    ) -> (ApplyEventResult, Option<UndoStep>, Option<KeyEntry>) {
        let payload_bytes = self.payload_bytes();
        let names = |slot: &Slot| {
            (slot.machine.state_name(slot.state), slot.machine.state_name(change.decision.to))
        };
        let (from_state, to_state) = partition.slot(change.slot).map(names).unwrap_or_default();
        let undo = partition.apply(
            change.slot,
            Transition {
                to: change.decision.to,
                ctx: change.ctx.clone(),
                at: env.now,
                offset,
                event_id: self.request.event_id.as_deref(),
                payload_bytes,
                anchored: change.anchored,
            },
        );
        let remember = self.request.idempotency_key.map(|key| KeyEntry {
            owner: partition.owner(change.slot),
            key,
            fingerprint: self.fingerprint,
            at: env.now,
            offset,
            answer: Answer::Apply {
                from: from_state.clone(),
                to: to_state.clone(),
                ctx: change.ctx.clone(),
                event_id: self.request.event_id.clone(),
            },
        });
        let result = ApplyEventResult {
            from_state,
            to_state,
            ctx: change.ctx,
            wal_offset: offset,
            applied: true,
            event_id: self.request.event_id,
        };
        (result, undo, remember)
    }
}

fn replay(entry: &KeyEntry) -> Result<ApplyEventResult> {
    match &entry.answer {
        Answer::Apply { from, to, ctx, event_id } => Ok(ApplyEventResult {
            from_state: from.clone(),
            to_state: to.clone(),
            ctx: ctx.clone(),
            wal_offset: entry.offset,
            applied: false,
            event_id: event_id.clone(),
        }),
        _ => Err(wrong_answer(entry)),
    }
}

/// A fingerprint matched but the answer is of another operation: only a hash collision could do it.
pub(crate) fn wrong_answer(entry: &KeyEntry) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("idempotency_key {:?} was used for another operation; use a new key", entry.key),
    )
    .with_reason(reason::IDEMPOTENCY_KEY_REUSED)
    .with("idempotency_key", entry.key.as_str())
}

impl Shared {
    pub(crate) fn apply_event(
        &self,
        request: ApplyEventRequest,
        edge: &Edge,
    ) -> Evaluated<ApplyEventResult> {
        self.write(edge, ApplyEvent::new(request, edge))
    }
}
