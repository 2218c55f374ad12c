//! What few instances have beside their slot: timers, leases, history values, later. One table a
//! partition, so that the slot keeps its size.

use std::collections::{BTreeMap, HashMap};

use crate::codec::{Reader, put_u64};

/// The attachments of one instance, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    parts: BTreeMap<u8, Box<[u8]>>,
}

/// What instances have beside their slots, by slot.
pub(crate) type SideTable = HashMap<u32, Box<Side>, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

impl Side {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Puts an attachment in the place of the one of its kind; an empty one removes it.
    #[cfg(test)]
    pub(crate) fn put(&mut self, kind: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            self.parts.remove(&kind);
        } else {
            self.parts.insert(kind, bytes.into());
        }
    }

    /// Appends all of it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.parts.len() as u64);
        for (kind, bytes) in &self.parts {
            out.push(*kind);
            put_u64(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }

    /// Reads what [`Side::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Side> {
        let count = reader.u64()?;
        let mut side = Side::default();
        for _ in 0..count {
            let kind = reader.u8()?;
            let length = usize::try_from(reader.u64()?).ok()?;
            side.parts.insert(kind, reader.bytes(length)?.into());
        }
        Some(side)
    }
}
