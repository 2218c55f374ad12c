//! An event was applied to an instance.

use rstmdb_types::{InstanceEvent, InstanceEventKind, Json, Offset, Text, WalEntry};

use super::{Context, Delta, HAS_CONTEXT, KEY_FLAGS, KeyRef, Kind, Stamp, Piece, Subject, get_key, put_key};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::partition::AppliedEvent;
use crate::state::{Answer, Machines, Owner};

pub(super) const HAS_EVENT_ID: u8 = 0x20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Apply<'a> {
    pub machine: u32,
    pub id: &'a str,
    pub event: u32,
    pub from: u32,
    pub to: u32,
    pub payload: Option<&'a str>,
    /// The whole context after the event: now and then, so that it can be told without the rest.
    pub ctx: Option<Piece<'a>>,
    pub previous: Offset,
    pub event_id: Option<&'a str>,
    pub key: Option<KeyRef<'a>>,
}

/// The context after `payload` was merged into `before`.
fn merged(before: &Json, payload: Option<&str>) -> Json {
    payload.map_or_else(|| before.clone(), |payload| before.merge(&Json::from_canonical(payload)))
}

impl<'a> Kind<'a> for Apply<'a> {
    const FLAGS: u8 = KEY_FLAGS | HAS_EVENT_ID | HAS_CONTEXT;

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, u64::from(self.machine));
        put_str(out, self.id);
        put_u64(out, self.previous);
        put_u64(out, u64::from(self.event));
        put_u64(out, u64::from(self.from));
        put_u64(out, u64::from(self.to));
        put_str(out, self.payload.unwrap_or(""));
        let mut flags = 0;
        if let Some(ctx) = &self.ctx {
            put_str(out, ctx);
            flags |= HAS_CONTEXT;
        }
        if let Some(event_id) = self.event_id {
            put_str(out, event_id);
            flags |= HAS_EVENT_ID;
        }
        flags | put_key(out, self.key)
    }

    #[inline]
    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let machine = reader.u32()?;
        let id = reader.str()?;
        let previous = reader.u64()?;
        let event = reader.u32()?;
        let from = reader.u32()?;
        let to = reader.u32()?;
        let payload = Some(reader.str()?).filter(|payload| !payload.is_empty());
        let ctx = if flags & HAS_CONTEXT != 0 { Some(Piece::Read(reader.str()?)) } else { None };
        let event_id = if flags & HAS_EVENT_ID != 0 { Some(reader.str()?) } else { None };
        let key = get_key(reader, flags)?;
        Some(Apply { machine, id, event, from, to, payload, ctx, previous, event_id, key })
    }

    #[inline]
    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let after = |before: &Json| merged(before, self.payload);
        self.apply_with(locked, stamp, known, self.text_bytes(), after)
    }

    fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry> {
        let entry = machines.by_number(self.machine);
        let state = |state| entry.map(|entry| entry.state_name(state)).unwrap_or_default();
        Some(WalEntry::ApplyEvent {
            instance_id: self.id.into(),
            event: entry.map(|entry| entry.event_name(self.event)).unwrap_or_default(),
            from_state: state(self.from),
            to_state: state(self.to),
            payload: self.payload.map_or_else(Json::null, Json::from_canonical),
            ctx,
            event_id: self.event_id.map(Text::from),
            idempotency_key: self.key.map(|key| Text::from(key.key)),
        })
    }

    fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
        let entry = machines.by_number(self.machine)?;
        Some(InstanceEvent {
            from_state: Some(entry.state_name(self.from)),
            to_state: Some(entry.state_name(self.to)),
            event: Some(entry.event_name(self.event)),
            payload: self.payload.map_or_else(Json::null, Json::from_canonical),
            event_id: self.event_id.map(Text::from),
            ..entry.event(InstanceEventKind::Applied, self.id, stamp)
        })
    }

    fn subject(&self) -> Option<Subject<'a>> {
        Some(Subject { id: self.id, previous: self.previous })
    }

    fn context(&self) -> Context {
        match &self.ctx {
            Some(own) => Context::Whole(own.json()),
            None => Context::Delta(Delta {
                payload: self.payload.map(Json::from_canonical),
                ..Delta::default()
            }),
        }
    }

    fn text_bytes(&self) -> usize {
        self.payload.map_or(0, str::len)
    }
}

impl Apply<'_> {
    /// Applies it, where `after` gives the context after and `bytes` is what the log holds of that.
    #[inline(always)]
    pub(super) fn apply_with(
        &self,
        locked: &mut Locked<'_>,
        stamp: Stamp,
        known: Known,
        bytes: usize,
        after: impl FnOnce(&Json) -> Json,
    ) -> Result<(), Misfit> {
        let (hash, known) = match known {
            Known::Instance { slot, hash, ctx } => (hash, Some((slot, ctx))),
            _ => (locked.state.hash(self.id), None),
        };
        let (partition, rules) = locked.partition(hash)?;
        let (number, ctx) = match known {
            Some(known) => known,
            None => (partition.find(hash, self.id).ok_or(Misfit("its instance is missing"))?, None),
        };
        let slot = partition.slot(number).ok_or(Misfit("its instance is missing"))?;
        if slot.last >= stamp.offset {
            return Ok(());
        }
        if slot.deleted || slot.machine.number != self.machine || slot.state != self.from {
            return Err(Misfit("its instance is in another state"));
        }
        if slot.last != self.previous {
            return Err(Misfit("the effect before it is missing"));
        }
        if slot.machine.machine.states().get(self.to as usize).is_none() {
            return Err(Misfit("its state is unknown"));
        }
        let ctx = match (ctx, &self.ctx) {
            (Some(known), _) => known,
            (None, Some(own)) => own.json(),
            (None, None) => after(&slot.ctx),
        };
        let answer = self.key.map(|_| Answer::Apply {
            from: slot.machine.state_name(self.from),
            to: slot.machine.state_name(self.to),
            ctx: ctx.clone(),
            event_id: self.event_id.map(Text::from),
        });
        let change = AppliedEvent {
            to: self.to,
            ctx,
            at: stamp.at,
            offset: stamp.offset,
            event_id: self.event_id,
            payload_bytes: bytes,
            anchored: self.ctx.is_some(),
        };
        let undo = partition.apply(number, change).ok_or(Misfit("its instance is missing"))?;
        partition.keep_undo(stamp.offset, undo, rules.undo_below);
        let (Some(key), Some(answer)) = (self.key, answer) else { return Ok(()) };
        locked.remember(Some((hash, Owner { slot: number })), key, stamp, answer)
    }
}
