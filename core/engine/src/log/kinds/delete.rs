//! An instance was deleted.

use rstmdb_types::{InstanceEvent, InstanceEventKind, Json, Offset, Text, WalEntry};

use super::{KEY_FLAGS, KeyRef, Kind, Stamp, Subject, get_key, put_key};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::{Answer, Machines, Owner};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delete<'a> {
    pub machine: u32,
    pub id: &'a str,
    pub from: u32,
    pub previous: Offset,
    pub key: Option<KeyRef<'a>>,
}

impl<'a> Kind<'a> for Delete<'a> {
    const FLAGS: u8 = KEY_FLAGS;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, u64::from(self.machine));
        put_str(out, self.id);
        put_u64(out, self.previous);
        put_u64(out, u64::from(self.from));
        put_key(out, self.key)
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let machine = reader.u32()?;
        let id = reader.str()?;
        let previous = reader.u64()?;
        let from = reader.u32()?;
        Some(Delete { machine, id, from, previous, key: get_key(reader, flags)? })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let (hash, known) = match known {
            Known::Instance { slot, hash, .. } => (hash, Some(slot)),
            _ => (locked.state.hash(self.id), None),
        };
        let (partition, rules) = locked.partition(hash)?;
        let number = match known {
            Some(slot) => slot,
            None => partition.find(hash, self.id).ok_or(Misfit("its instance is missing"))?,
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
        let undo = partition.delete(number, stamp.at, stamp.offset);
        let undo = undo.ok_or(Misfit("its instance is missing"))?;
        partition.keep_undo(stamp.offset, undo, rules.undo_below);
        let Some(key) = self.key else { return Ok(()) };
        let answer = Answer::Delete { deletion: stamp.offset };
        locked.remember(Some((hash, Owner { slot: number })), key, stamp, answer)
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        Some(WalEntry::DeleteInstance {
            instance_id: self.id.into(),
            idempotency_key: self.key.map(|key| Text::from(key.key)),
        })
    }

    fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
        let entry = machines.by_number(self.machine)?;
        Some(InstanceEvent {
            from_state: Some(entry.state_name(self.from)),
            ..entry.event(InstanceEventKind::Deleted, self.id, stamp)
        })
    }

    fn subject(&self) -> Option<Subject<'a>> {
        Some(Subject { id: self.id, previous: self.previous })
    }
}
