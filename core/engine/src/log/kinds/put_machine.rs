//! A definition was stored under the next number.

use rstmdb_machine::{LANGUAGE_LEVEL, Machine};
use rstmdb_types::{Json, WalEntry};

use super::{Kind, Stamp};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::undo::MachineUndo;

/// The language level of the definition follows; absent for level 1.
const HAS_LEVEL: u8 = 0x20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PutMachine<'a> {
    pub number: u32,
    pub machine: &'a str,
    pub version: u32,
    /// As it was sent.
    pub definition: &'a str,
    /// The language level it was put with: what a later level means never wakes up in it.
    pub level: u32,
}

impl<'a> Kind<'a> for PutMachine<'a> {
    const FLAGS: u8 = HAS_LEVEL;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, u64::from(self.number));
        put_str(out, self.machine);
        put_u64(out, u64::from(self.version));
        put_str(out, self.definition);
        if self.level == 1 {
            return 0;
        }
        put_u64(out, u64::from(self.level));
        HAS_LEVEL
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        Some(PutMachine {
            number: reader.u32()?,
            machine: reader.str()?,
            version: reader.u32()?,
            definition: reader.str()?,
            level: match flags & HAS_LEVEL {
                0 => 1,
                _ => reader.u32().filter(|level| *level <= LANGUAGE_LEVEL)?,
            },
        })
    }

    fn is_later(mut reader: Reader<'a>, flags: u8) -> bool {
        let mut level = || {
            reader.u32()?;
            reader.str()?;
            reader.u32()?;
            reader.str()?;
            reader.u32()
        };
        flags & HAS_LEVEL != 0 && level().is_some_and(|level| level > LANGUAGE_LEVEL)
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let undo_below = locked.undo_below;
        let machines = locked.machines()?;
        let next = machines.next_number();
        if self.number < next {
            return Ok(());
        }
        if self.number > next {
            return Err(Misfit("a machine before it is missing"));
        }
        let (machine, as_sent) = match known {
            Known::Machine(parsed) => *parsed,
            _ => {
                let as_sent = Json::from_canonical(self.definition);
                let machine = Machine::load(&as_sent, self.level);
                (machine.map_err(|_| Misfit("its definition can't be read"))?, as_sent)
            }
        };
        let (name, version) = (self.machine.into(), self.version);
        machines.insert(name, version, machine, as_sent, stamp.offset, self.level);
        if let Some(durable) = undo_below {
            locked.state.push_machine_undo(stamp.offset, MachineUndo::Insert, durable);
        }
        Ok(())
    }

    fn entry(&self, machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        let entry = machines.by_number(self.number);
        Some(WalEntry::PutMachine {
            machine: self.machine.into(),
            version: self.version,
            definition_hash: entry
                .map(|entry| entry.machine.checksum().into())
                .unwrap_or_default(),
            definition: Json::from_canonical(self.definition),
        })
    }

    fn text_bytes(&self) -> usize {
        self.definition.len()
    }
}
