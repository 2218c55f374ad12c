//! A place in the log that checkpoints begin at and digests are compared at.

use std::sync::atomic::Ordering;

use rstmdb_types::{Json, Offset, Text, WalEntry};

use super::{Kind, Stamp};
use crate::codec::{Reader, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};

const IS_BOUNDARY: u8 = 0x20;
const HAS_DIGEST: u8 = 0x40;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// Whether from here on every instance's first effect carries its whole context.
    pub is_boundary: bool,
    /// Nobody claims what is before this offset.
    pub floor: Offset,
    /// The digest of all instances here.
    pub digest: Option<u64>,
}

impl<'a> Kind<'a> for Mark {
    const FLAGS: u8 = IS_BOUNDARY | HAS_DIGEST;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_u64(out, self.floor);
        let boundary = if self.is_boundary { IS_BOUNDARY } else { 0 };
        let Some(digest) = self.digest else { return boundary };
        out.extend_from_slice(&digest.to_le_bytes());
        boundary | HAS_DIGEST
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let floor = reader.u64()?;
        let digest = match flags & HAS_DIGEST {
            0 => None,
            _ => Some(u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?)),
        };
        Some(Mark { is_boundary: flags & IS_BOUNDARY != 0, floor, digest })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, _known: Known) -> Result<(), Misfit> {
        if let Some(digest) = self.digest {
            locked.compare_digest(stamp.offset, digest)?;
        }
        locked.state.marked.fetch_max(stamp.offset, Ordering::AcqRel);
        if self.is_boundary {
            locked.move_boundary(stamp.offset);
        }
        Ok(())
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        Some(WalEntry::Mark {
            is_boundary: self.is_boundary,
            digest: self.digest.map(|digest| Text::from(format!("{digest:016x}"))),
        })
    }

    fn is_internal(&self) -> bool {
        true
    }
}
