//! Reading effects back as events, with the context after each.
//!
//! Most effects hold only what they changed. The context after one is found, cheapest first, from the
//! one before it in the same reading, from the instance as it is now, or by going back along the
//! instance's effects to one that holds the whole context.

use std::collections::HashMap;
use std::sync::Arc;

use rstmdb_types::{Error, InstanceEvent, InstanceEventKind, Json, Offset, Result, Text};

use crate::error::{compacted, corrupt};
use crate::log::{Body, Effect, Frame};
use crate::shared::Shared;
use crate::state::{MachineEntry, Machines};

/// Contexts remembered by one reader of the log.
const CONTEXTS_MAX: usize = 4096;

impl Shared {
    /// The frame that holds a committed offset; it is `compacted` when compaction was faster.
    pub(crate) fn frame(&self, offset: Offset) -> Result<Arc<Frame>> {
        self.find_frame(offset).map_err(|error| self.unless_compacted(offset, error))
    }

    /// What is the matter when reading an offset failed: its segment may have been deleted meanwhile.
    pub(crate) fn unless_compacted(&self, offset: Offset, error: Error) -> Error {
        let first = self.first_offset();
        // Offset 0 is none: a chain that leads there is damaged.
        if (1..first).contains(&offset) { compacted(offset, first) } else { error }
    }

    fn find_frame(&self, offset: Offset) -> Result<Arc<Frame>> {
        if let Some(frame) = self.ring.get(offset) {
            return Ok(frame);
        }
        if let Some(frame) = self.files.frame(offset)? {
            return Ok(frame);
        }
        // In memory, what is committed may not have been handed over yet.
        self.queue.flush()?;
        match self.files.frame(offset)? {
            Some(frame) => Ok(frame),
            None => Err(corrupt("log", 0, &format!("offset {offset} is missing"))),
        }
    }

    /// Calls `read` with the effect at a committed offset.
    pub(crate) fn with_effect<T>(
        &self,
        offset: Offset,
        read: impl FnOnce(&Effect<'_>) -> T,
    ) -> Result<T> {
        let frame = self.frame(offset)?;
        let found = frame.effects().find(|(at, _)| *at == offset);
        match found {
            // Going back must come to an end.
            Some((_, effect)) if effect.body.previous() < offset => Ok(read(&effect)),
            Some(_) => {
                Err(corrupt("log", 0, &format!("the effect at offset {offset} comes after itself")))
            }
            None => Err(corrupt("log", 0, &format!("the effect at offset {offset} is missing"))),
        }
    }
}

/// The context after an effect, if it says so itself.
pub(crate) fn own_context(body: &Body<'_>) -> Option<Json> {
    match body {
        Body::Create { ctx, .. } | Body::Apply { ctx: Some(ctx), .. } => {
            Some(Json::from_canonical(ctx))
        }
        _ => None,
    }
}

fn payload_of(body: &Body<'_>) -> Option<Json> {
    match body {
        Body::Apply { payload: Some(payload), .. } => Some(Json::from_canonical(payload)),
        _ => None,
    }
}

/// The context after `payload` was merged into `before`.
pub(crate) fn merged(before: &Json, payload: Option<&Json>) -> Json {
    payload.map_or_else(|| before.clone(), |payload| before.merge(payload))
}

/// Finds the context after each effect that one reader comes to.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    known: HashMap<Text, (Offset, Json)>,
}

impl Contexts {
    /// The context after an effect of an instance. It is `compacted` when the effects that tell it
    /// are deleted: the log from its first offset on stands alone, so this one is below.
    pub(crate) fn after(
        &mut self,
        shared: &Shared,
        offset: Offset,
        body: &Body<'_>,
    ) -> Result<Option<Json>> {
        let Some(id) = body.instance() else { return Ok(None) };
        if matches!(body, Body::Delete { .. }) {
            self.known.remove(id);
            return Ok(None);
        }
        let ctx = match own_context(body) {
            Some(ctx) => ctx,
            None => self.derive(shared, offset, id, body)?,
        };
        if self.known.len() >= CONTEXTS_MAX && !self.known.contains_key(id) {
            self.known.clear();
        }
        self.known.insert(id.into(), (offset, ctx.clone()));
        Ok(Some(ctx))
    }

    fn derive(&self, shared: &Shared, offset: Offset, id: &str, body: &Body<'_>) -> Result<Json> {
        let payload = payload_of(body);
        let previous = body.previous();
        if let Some((at, before)) = self.known.get(id)
            && *at == previous
        {
            return Ok(merged(before, payload.as_ref()));
        }
        let hash = shared.state.hash(id);
        {
            let partition = shared.state.partition(hash);
            let slot = partition.find(hash, id).and_then(|slot| partition.slot(slot));
            if let Some(slot) = slot.filter(|slot| slot.last == offset && !slot.deleted) {
                return Ok(slot.ctx.clone());
            }
        }
        let mut payloads = vec![payload];
        let mut at = previous;
        let anchor = loop {
            let read = shared.with_effect(at, |effect| {
                (own_context(&effect.body), payload_of(&effect.body), effect.body.previous())
            });
            let read = read.map_err(|error| shared.unless_compacted(offset, error));
            let (own, payload, before) = read?;
            if let Some(ctx) = own {
                break ctx;
            }
            payloads.push(payload);
            at = before;
        };
        let contexts = payloads.iter().rev();
        Ok(contexts.fold(anchor, |ctx, payload| merged(&ctx, payload.as_ref())))
    }
}

/// Turns an effect into the event it is for watches and histories; `None` for other effects.
pub(crate) fn to_event(
    machines: &Machines,
    offset: Offset,
    effect: &Effect<'_>,
    ctx: Option<Json>,
) -> Option<InstanceEvent> {
    let entry = |number: u32| machines.by_number(number);
    let event = |entry: &MachineEntry, id: &str, kind| InstanceEvent {
        kind,
        instance_id: id.into(),
        machine: entry.name.clone(),
        version: entry.version,
        wal_offset: offset,
        timestamp: effect.at,
        from_state: None,
        to_state: None,
        event: None,
        payload: Json::null(),
        ctx: None,
        event_id: None,
    };
    match effect.body {
        Body::Create { machine, id, state, .. } => {
            let entry = entry(machine)?;
            let state = state.unwrap_or_else(|| entry.machine.initial());
            Some(InstanceEvent {
                to_state: Some(entry.state_name(state)),
                ctx,
                ..event(entry, id, InstanceEventKind::Created)
            })
        }
        Body::Apply { machine, id, event: number, from, to, payload, event_id, .. } => {
            let entry = entry(machine)?;
            Some(InstanceEvent {
                from_state: Some(entry.state_name(from)),
                to_state: Some(entry.state_name(to)),
                event: Some(entry.event_name(number)),
                payload: payload.map_or_else(Json::null, Json::from_canonical),
                ctx,
                event_id: event_id.map(Text::from),
                ..event(entry, id, InstanceEventKind::Applied)
            })
        }
        Body::Delete { machine, id, from, .. } => {
            let entry = entry(machine)?;
            Some(InstanceEvent {
                from_state: Some(entry.state_name(from)),
                ..event(entry, id, InstanceEventKind::Deleted)
            })
        }
        Body::PutMachine { .. } | Body::BatchResult { .. } | Body::FlushAll => None,
    }
}
