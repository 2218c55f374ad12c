//! All machines and instances were removed.

use rstmdb_types::{Json, WalEntry};

use super::{Kind, Stamp};
use crate::codec::Reader;
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlushAll;

impl<'a> Kind<'a> for FlushAll {
    const FLAGS: u8 = 0;

    fn encode(&self, _out: &mut Vec<u8>) -> u8 {
        0
    }

    fn decode(_reader: &mut Reader<'a>, _flags: u8) -> Option<Self> {
        Some(FlushAll)
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, _known: Known) -> Result<(), Misfit> {
        locked.flush(stamp)
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        Some(WalEntry::FlushAll {})
    }
}
