//! How far something got that goes on for long.

use rstmdb_types::{Json, WalEntry};

use super::{Kind, Stamp};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};

/// The most numbers that one effect carries; checked before memory is taken for them.
const NUMBERS_MAX: u64 = 64;

/// Deleted instances that last changed before this offset are forgotten.
pub(crate) const PURGE_FLOOR: u8 = 1;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress<'a> {
    pub kind: u8,
    /// Which one of its kind; empty when there is one.
    pub name: &'a str,
    pub numbers: Vec<u64>,
}

impl<'a> Kind<'a> for Progress<'a> {
    const FLAGS: u8 = 0;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        out.push(self.kind);
        put_str(out, self.name);
        put_u64(out, self.numbers.len() as u64);
        for number in &self.numbers {
            put_u64(out, *number);
        }
        0
    }

    fn decode(reader: &mut Reader<'a>, _flags: u8) -> Option<Self> {
        let kind = reader.u8()?;
        let name = reader.str()?;
        let count = reader.u64()?;
        if count > NUMBERS_MAX {
            return None;
        }
        let numbers = (0..count).map(|_| reader.u64()).collect::<Option<Vec<u64>>>()?;
        Some(Progress { kind, name, numbers })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, _known: Known) -> Result<(), Misfit> {
        match (self.kind, &*self.numbers) {
            (PURGE_FLOOR, [floor]) => locked.raise_purge_floor(stamp.offset, *floor),
            _ => Err(Misfit("its progress is of an unknown kind")),
        }
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        let floor = self.numbers.first().copied().unwrap_or_default();
        (self.kind == PURGE_FLOOR).then_some(WalEntry::PurgeFloor { floor })
    }

    fn is_internal(&self) -> bool {
        true
    }
}
