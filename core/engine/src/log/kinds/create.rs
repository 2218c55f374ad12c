//! An instance was created.

use rstmdb_types::{InstanceEvent, InstanceEventKind, Json, Offset, Text, WalEntry};

use super::{Context, KEY_FLAGS, KeyRef, Kind, Stamp, Piece, Subject, get_key, put_key};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::partition::Birth;
use crate::state::{Answer, MachineEntry, Machines, Owner};

/// Where it starts follows; absent for the machine's initial state.
const HAS_STATE: u8 = 0x20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Create<'a> {
    pub machine: u32,
    pub id: &'a str,
    pub ctx: Piece<'a>,
    /// Where it starts; `None` for the machine's initial state.
    pub state: Option<u32>,
    /// The last effect of the id's former life, 0 for none.
    pub previous: Offset,
    pub key: Option<KeyRef<'a>>,
}

impl Create<'_> {
    fn state_name(&self, entry: &MachineEntry) -> Text {
        entry.state_name(self.state.unwrap_or_else(|| entry.machine.initial()))
    }
}

impl<'a> Kind<'a> for Create<'a> {
    const FLAGS: u8 = KEY_FLAGS | HAS_STATE;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, u64::from(self.machine));
        put_str(out, self.id);
        put_u64(out, self.previous);
        put_str(out, &self.ctx);
        let mut flags = 0;
        if let Some(state) = self.state {
            put_u64(out, u64::from(state));
            flags |= HAS_STATE;
        }
        flags | put_key(out, self.key)
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let machine = reader.u32()?;
        let id = reader.str()?;
        let previous = reader.u64()?;
        let ctx = Piece::Read(reader.str()?);
        let state = if flags & HAS_STATE != 0 { Some(reader.u32()?) } else { None };
        let key = get_key(reader, flags)?;
        Some(Create { machine, id, ctx, state, previous, key })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let hash = locked.state.hash(self.id);
        let floor = locked.state.purge_floor();
        let machine = match known {
            Known::Birth(machine) => machine,
            _ => locked.machine(self.machine)?,
        };
        let state = self.state.unwrap_or_else(|| machine.machine.initial());
        if machine.machine.states().get(state as usize).is_none() {
            return Err(Misfit("its state is unknown"));
        }
        let (partition, rules) = locked.partition(hash)?;
        let existing = partition.find(hash, self.id);
        let former = existing.and_then(|slot| partition.slot(slot));
        if former.is_some_and(|slot| slot.last >= stamp.offset) {
            return Ok(());
        }
        if former.is_some_and(|slot| !slot.deleted) {
            return Err(Misfit("its instance exists already"));
        }
        let previous = former.filter(|slot| !slot.is_gone(floor)).map_or(0, |slot| slot.last);
        if previous != self.previous {
            return Err(Misfit("the effect before it is missing"));
        }
        let name = self.key.map(|_| machine.state_name(state));
        let birth = Birth {
            id: self.id.into(),
            machine,
            state,
            ctx: self.ctx.json(),
            at: stamp.at,
            offset: stamp.offset,
        };
        let (slot, undo) = partition.create(hash, existing, birth);
        partition.keep_undo(stamp.offset, undo, rules.undo_below);
        let (Some(key), Some(state)) = (self.key, name) else { return Ok(()) };
        let owner = (!key.global).then_some((hash, Owner { slot }));
        locked.remember(owner, key, stamp, Answer::Create { id: self.id.into(), state })
    }

    fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry> {
        let entry = machines.by_number(self.machine);
        Some(WalEntry::CreateInstance {
            instance_id: self.id.into(),
            machine: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
            version: entry.map_or(0, |entry| entry.version),
            initial_state: entry.map(|entry| self.state_name(entry)).unwrap_or_default(),
            initial_ctx: ctx,
            idempotency_key: self.key.map(|key| Text::from(key.key)),
        })
    }

    fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
        let entry = machines.by_number(self.machine)?;
        Some(InstanceEvent {
            to_state: Some(self.state_name(entry)),
            ..entry.event(InstanceEventKind::Created, self.id, stamp)
        })
    }

    fn subject(&self) -> Option<Subject<'a>> {
        Some(Subject { id: self.id, previous: self.previous })
    }

    fn context(&self) -> Context {
        Context::Whole(self.ctx.json())
    }
}
