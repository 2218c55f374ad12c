//! Applies an event to an instance.

use rstmdb_machine::{
    Allowance, Decision, Emission, PayloadMerge, Rest, Situation, StateId, Stepped,
};
use rstmdb_types::error::reason;
use rstmdb_types::{
    ApplyEventRequest, ApplyEventResult, Error, ErrorCode, Json, Offset, Result, Text,
};

use super::Edge;
use super::decision::{AtOffset, Draft, Drafts, Env, Evaluate, Step};
use super::keys::{Keyed, wrong_answer};
use crate::error::{history_diverged, instance_not_found};
use crate::log::Body;
use crate::log::kinds::{Apply, Piece, Sections, StepEffect};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked};
use crate::state::{Answer, KeyEntry, Owner, Partition, Slot};

/// An event on its way.
pub(crate) struct ApplyEvent<'r> {
    request: &'r ApplyEventRequest,
    keyed: Keyed,
    /// Whether a known key answers for any request, and histories mean nothing.
    plain_rules: bool,
}

impl ApplyEvent<'_> {
    pub(crate) fn new<'r>(request: &'r ApplyEventRequest, edge: &Edge<'_>) -> ApplyEvent<'r> {
        let keyed = Keyed::new(request.idempotency_key.as_ref(), request);
        ApplyEvent { request, keyed, plain_rules: edge.plain_rules }
    }

    #[inline]
    fn check_limits(&self, env: &Env<'_>) -> Result<()> {
        let request = self.request;
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

    #[inline]
    fn check_expectations(&self, env: &Env<'_>, slot: &Slot) -> Result<()> {
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
        let Some(expected) = self.request.expected_wal_offset else { return Ok(()) };
        if expected != slot.last {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!("instance {id:?} last changed at offset {}, not {expected}", slot.last),
            )
            .with_reason(reason::EXPECTED_WAL_OFFSET)
            .with("instance_id", id.as_str())
            .with("last_wal_offset", slot.last)
            .with("expected_wal_offset", expected));
        }
        // The clients of RCP 0.3 know no histories.
        let Some(history) = self.request.history_id.as_ref().filter(|_| !self.plain_rules) else {
            return Ok(());
        };
        match env.lineage.lock().last_of(history) {
            Some(last) if expected <= last => Ok(()),
            safe => Err(history_diverged(expected, history, safe)),
        }
    }

    /// The first answer, if the request was there before.
    #[inline]
    fn first_result(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        slot: u32,
    ) -> Result<Option<ApplyEventResult>> {
        let Some(key) = &self.request.idempotency_key else { return Ok(None) };
        let (owner, table) = (Owner { slot }, partition.keys());
        if !self.plain_rules {
            return self.keyed.find(table, owner, key, env)?.map(replay).transpose();
        }
        let known = table.find(owner, key, env.key_now, env.bounds);
        let event_id = &self.request.event_id;
        known
            .map(|entry| Ok(ApplyEventResult { event_id: event_id.clone(), ..replay(entry)? }))
            .transpose()
    }
}

impl<'r> ApplyEvent<'r> {
    /// What happened, as far as it goes from state to state and merges the payload.
    #[inline]
    fn effect(&self, slot: &Slot, decision: Decision, ctx: Option<Piece<'r>>) -> Apply<'_> {
        let request = self.request;
        let payload = request.payload.as_ref();
        Apply {
            machine: slot.machine.number,
            id: &request.instance_id,
            event: decision.event,
            from: slot.state,
            to: decision.to,
            payload: payload.filter(|payload| !payload.is_null()).map(Json::as_str),
            ctx,
            previous: slot.last,
            event_id: request.event_id.as_deref(),
            key: self.keyed.key_ref(request.idempotency_key.as_ref()),
        }
    }

    #[inline]
    fn result(&self, slot: &Slot, to: StateId, ctx: &Json) -> ApplyEventResult {
        ApplyEventResult {
            from_state: slot.machine.state_name(slot.state),
            to_state: slot.machine.state_name(to),
            ctx: ctx.clone(),
            wal_offset: 0,
            applied: true,
            event_id: self.request.event_id.clone(),
        }
    }

    /// An event of a machine that does more.
    #[inline(never)]
    fn step(
        &self,
        env: &Env<'_>,
        slot: &Slot,
        situation: &Situation<'_>,
        known: Known,
    ) -> Result<Step<'_, ApplyEventResult>> {
        let Stepped { event, rest, merge, patch, removed } =
            slot.machine.machine.step(situation, &self.request.event)?;
        let Rest { state, ctx, emitted, inner } = rest;
        env.limits.check_context("the context after the event", &ctx)?;
        let payload = self.request.payload.as_ref().filter(|payload| !payload.is_null());
        let merged = payload.filter(|_| merge != PayloadMerge::All);
        let merged = merged
            .map(|payload| merge.pick(payload).unwrap_or_else(|| Json::from_canonical("false")));
        let list = |json: Json| Some(json).filter(|json| json.as_str().len() > 2).map(Piece::Value);
        let sections = Sections {
            patch: list(patch),
            removed: list(names(&removed)),
            merge: merged.map(Piece::Value),
            inner,
            emitted: list(Emission::list(&emitted)),
        };
        let bytes = payload.map_or(0, |payload| payload.as_str().len()) + sections.text_bytes();
        let anchored = slot.needs_anchor(bytes, env.boundary);
        let anchor = anchored.then(|| Piece::Value(ctx.clone()));
        let applied = self.effect(slot, Decision { event, to: state }, anchor);
        let body = match sections.is_empty() {
            true => Body::Apply(applied),
            false => Body::StepEffect(StepEffect { applied, sections: Box::new(sections) }),
        };
        let result = self.result(slot, state, &ctx);
        let known = match known {
            Known::Instance { slot, hash, .. } => Known::Instance { slot, hash, ctx: Some(ctx) },
            other => other,
        };
        Ok(Step::Change(Drafts::One(Draft { body, known }), result))
    }
}

/// The names as a JSON list.
fn names(names: &[Text]) -> Json {
    // Serialising names to JSON can't fail.
    Json::from_serialize(names).unwrap_or_else(|_| Json::null())
}

impl Evaluate for ApplyEvent<'_> {
    type Result = ApplyEventResult;

    fn instance_id(&self) -> &str {
        &self.request.instance_id
    }

    #[inline]
    fn evaluate(
        &self,
        env: &Env<'_>,
        locked: &Locked<'_>,
        hash: u64,
    ) -> Result<Step<'_, ApplyEventResult>> {
        let request = self.request;
        self.check_limits(env)?;
        let missing = || instance_not_found(&request.instance_id);
        let found = locked.look(hash).zip(locked.find(hash, &request.instance_id));
        let (partition, (number, slot)) = found.ok_or_else(missing)?;
        partition.expect_change(slot);
        // In RCP 0.3 what is deleted is missing, whatever the key.
        if slot.deleted && self.plain_rules {
            return Err(missing());
        }
        if let Some(first) = self.first_result(env, partition, number)? {
            return Ok(Step::Known(first));
        }
        if slot.deleted {
            return Err(missing());
        }
        self.check_expectations(env, slot)?;
        let situation = Situation {
            machine: &slot.machine.name,
            version: slot.machine.version,
            instance_id: &slot.id,
            state: slot.state,
            ctx: &slot.ctx,
            payload: request.payload.as_ref(),
            now_ms: env.now,
            created_at_ms: slot.created_at,
            allowance: Allowance::from(env.limits),
        };
        if !slot.machine.machine.is_plain() {
            return self.step(
                env,
                slot,
                &situation,
                Known::Instance { slot: number, hash, ctx: None },
            );
        }
        let decision = slot.machine.machine.decide(&situation, &request.event)?;
        let ctx = match &request.payload {
            Some(payload) => slot.ctx.merge(payload),
            None => slot.ctx.clone(),
        };
        env.limits.check_context("the context after the event", &ctx)?;
        let payload = request.payload.as_ref();
        let payload_bytes = payload.map_or(0, |payload| payload.as_str().len());
        let anchored = slot.needs_anchor(payload_bytes, env.boundary);
        let anchor = anchored.then(|| Piece::Value(ctx.clone()));
        let body = Body::Apply(self.effect(slot, decision, anchor));
        let result = self.result(slot, decision.to, &ctx);
        let known = Known::Instance { slot: number, hash, ctx: Some(ctx) };
        Ok(Step::Change(Drafts::One(Draft { body, known }), result))
    }
}

impl AtOffset for ApplyEventResult {
    fn set_offset(&mut self, offset: Offset) {
        self.wal_offset = offset;
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

impl Shared {
    #[inline]
    pub(crate) fn apply_event(
        &self,
        request: ApplyEventRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<ApplyEventResult> {
        self.write(edge, &ApplyEvent::new(&request, edge))
    }
}
