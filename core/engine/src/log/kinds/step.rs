//! An event was applied to an instance, and did more than go from state to state and merge its payload.

use rstmdb_types::{InstanceEvent, Json, WalEntry};

use super::apply::HAS_EVENT_ID;
use super::{
    Apply, Context, Delta, HAS_CONTEXT, KEY_FLAGS, Kind, Piece, Stamp, Subject, get_key, put_key,
};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};

const PATCH: u64 = 1;
const REMOVED: u64 = 2;
const MERGE: u64 = 4;
const INNER: u64 = 64;
const EMITTED: u64 = 1024;
/// The sections that this release knows; others have the numbers of what is to come.
const SECTIONS: u64 = PATCH | REMOVED | MERGE | INNER | EMITTED;

/// What an event did beside what [`Apply`] says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sections<'a> {
    /// Merged into the context after the payload.
    pub patch: Option<Piece<'a>>,
    /// The names of the members that the context has no more.
    pub removed: Option<Piece<'a>>,
    /// What of the payload was merged: false for nothing, or an object.
    pub merge: Option<Piece<'a>>,
    /// The numbers of the transitions that followed by themselves.
    pub inner: Vec<u32>,
    /// What was emitted, a list.
    pub emitted: Option<Piece<'a>>,
}

impl<'a> Sections<'a> {
    fn flags(&self) -> u64 {
        let flag = |piece: &Option<Piece<'_>>, flag| if piece.is_some() { flag } else { 0 };
        flag(&self.patch, PATCH)
            | flag(&self.removed, REMOVED)
            | flag(&self.merge, MERGE)
            | if self.inner.is_empty() { 0 } else { INNER }
            | flag(&self.emitted, EMITTED)
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.flags() == 0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for piece in [&self.patch, &self.removed, &self.merge].into_iter().flatten() {
            put_str(out, piece);
        }
        if !self.inner.is_empty() {
            put_u64(out, self.inner.len() as u64);
            self.inner.iter().for_each(|number| put_u64(out, u64::from(*number)));
        }
        if let Some(emitted) = &self.emitted {
            put_str(out, emitted);
        }
    }

    fn decode(reader: &mut Reader<'a>, flags: u64) -> Option<Sections<'a>> {
        let piece = |flag, reader: &mut Reader<'a>| match flags & flag {
            0 => Some(None),
            _ => reader.str().map(|text| Some(Piece::Read(text))),
        };
        let patch = piece(PATCH, reader)?;
        let removed = piece(REMOVED, reader)?;
        let merge = piece(MERGE, reader)?;
        let count = if flags & INNER != 0 { reader.u32()? } else { 0 };
        let inner = (0..count).map(|_| reader.u32()).collect::<Option<_>>()?;
        let emitted = piece(EMITTED, reader)?;
        Some(Sections { patch, removed, merge, inner, emitted })
    }

    /// The bytes of their text.
    pub(crate) fn text_bytes(&self) -> usize {
        let pieces = [&self.patch, &self.removed, &self.merge, &self.emitted];
        pieces.into_iter().flatten().map(|piece| piece.len()).sum()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepEffect<'a> {
    pub applied: Apply<'a>,
    /// Boxed, so that effects of other kinds are no larger for it.
    pub sections: Box<Sections<'a>>,
}

impl StepEffect<'_> {
    fn delta(&self) -> Delta {
        let json = |piece: &Option<Piece<'_>>| piece.as_ref().map(Piece::json);
        let payload = match &self.sections.merge {
            // What is no object changes nothing.
            Some(merged) => Some(merged.json()),
            None => self.applied.payload.map(Json::from_canonical),
        };
        Delta { payload, patch: json(&self.sections.patch), removed: json(&self.sections.removed) }
    }
}

/// A state is written as a list of one, since an instance may come to be in several.
fn put_state(out: &mut Vec<u8>, state: u32) {
    put_u64(out, 1);
    put_u64(out, u64::from(state));
}

fn get_state(reader: &mut Reader<'_>) -> Option<u32> {
    reader.u64().filter(|count| *count == 1)?;
    reader.u32()
}

impl<'a> Kind<'a> for StepEffect<'a> {
    const FLAGS: u8 = KEY_FLAGS | HAS_EVENT_ID | HAS_CONTEXT;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        let applied = &self.applied;
        put_u64(out, u64::from(applied.machine));
        put_str(out, applied.id);
        put_u64(out, applied.previous);
        put_u64(out, self.sections.flags());
        // 0 is for events that are no events of the machine.
        put_u64(out, u64::from(applied.event) + 1);
        put_state(out, applied.from);
        put_state(out, applied.to);
        put_str(out, applied.payload.unwrap_or(""));
        let mut flags = 0;
        if let Some(ctx) = &applied.ctx {
            put_str(out, ctx);
            flags |= HAS_CONTEXT;
        }
        if let Some(event_id) = applied.event_id {
            put_str(out, event_id);
            flags |= HAS_EVENT_ID;
        }
        flags |= put_key(out, applied.key);
        self.sections.encode(out);
        flags
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let machine = reader.u32()?;
        let id = reader.str()?;
        let previous = reader.u64()?;
        let sections = reader.u64().filter(|sections| sections & !SECTIONS == 0)?;
        let event = reader.u32()?.checked_sub(1)?;
        let from = get_state(reader)?;
        let to = get_state(reader)?;
        let payload = Some(reader.str()?).filter(|payload| !payload.is_empty());
        let ctx = if flags & HAS_CONTEXT != 0 { Some(Piece::Read(reader.str()?)) } else { None };
        let event_id = if flags & HAS_EVENT_ID != 0 { Some(reader.str()?) } else { None };
        let key = get_key(reader, flags)?;
        let applied = Apply { machine, id, event, from, to, payload, ctx, previous, event_id, key };
        Some(StepEffect { applied, sections: Box::new(Sections::decode(reader, sections)?) })
    }

    fn is_later(mut reader: Reader<'a>, _flags: u8) -> bool {
        let mut is_later = || {
            reader.u32()?;
            reader.str()?;
            reader.u64()?;
            if reader.u64()? & !SECTIONS != 0 || reader.u64()? == 0 {
                return Some(true);
            }
            Some(reader.u64()? > 1)
        };
        is_later().unwrap_or(false)
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let bytes = self.text_bytes();
        self.applied.apply_with(locked, stamp, known, bytes, |before| self.delta().after(before))
    }

    fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry> {
        self.applied.entry(machines, ctx)
    }

    fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
        let emitted = self.sections.emitted.as_ref().map(Piece::json);
        Some(InstanceEvent { emitted, ..self.applied.event(machines, stamp)? })
    }

    fn subject(&self) -> Option<Subject<'a>> {
        self.applied.subject()
    }

    fn context(&self) -> Context {
        match &self.applied.ctx {
            Some(own) => Context::Whole(own.json()),
            None => Context::Delta(self.delta()),
        }
    }

    fn text_bytes(&self) -> usize {
        self.applied.text_bytes() + self.sections.text_bytes()
    }
}
