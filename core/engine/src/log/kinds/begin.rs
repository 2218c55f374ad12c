//! An instance was created, and its first state did more than to be entered.

use rstmdb_types::{InstanceEvent, Json, WalEntry};

use super::{Context, Create, Kind, Piece, Stamp, Subject};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};

const EMITTED: u64 = 1024;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BeginEffect<'a> {
    /// The context and the state are those that it came to rest with.
    pub create: Create<'a>,
    /// What was emitted, a list.
    pub emitted: Option<Piece<'a>>,
}

impl<'a> Kind<'a> for BeginEffect<'a> {
    const FLAGS: u8 = Create::FLAGS;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, if self.emitted.is_some() { EMITTED } else { 0 });
        let flags = self.create.encode(out);
        if let Some(emitted) = &self.emitted {
            put_str(out, emitted);
        }
        flags
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let sections = reader.u64().filter(|sections| sections & !EMITTED == 0)?;
        let create = Create::decode(reader, flags)?;
        let has = sections & EMITTED != 0;
        let emitted = if has { Some(Piece::Read(reader.str()?)) } else { None };
        Some(BeginEffect { create, emitted })
    }

    fn is_later(mut reader: Reader<'a>, _flags: u8) -> bool {
        reader.u64().is_some_and(|sections| sections & !EMITTED != 0)
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        self.create.apply(locked, stamp, known)
    }

    fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry> {
        self.create.entry(machines, ctx)
    }

    fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
        let emitted = self.emitted.as_ref().map(Piece::json);
        Some(InstanceEvent { emitted, ..self.create.event(machines, stamp)? })
    }

    fn subject(&self) -> Option<Subject<'a>> {
        self.create.subject()
    }

    fn context(&self) -> Context {
        self.create.context()
    }

    fn text_bytes(&self) -> usize {
        self.create.text_bytes() + self.emitted.as_ref().map_or(0, |emitted| emitted.len())
    }
}
