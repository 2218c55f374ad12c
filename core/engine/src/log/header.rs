//! What a frame says about itself.

use rstmdb_types::Offset;

use crate::codec::{put_at, u16_at, u32_at, u64_at};
use crate::error::Newer;

pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"RFRM");
pub(crate) const FRAME_FORMAT: u8 = 2;
/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
const FRAME_HEADER_1_BYTES: usize = 40;
/// Bytes after the payload.
pub(crate) const FRAME_TRAILER_BYTES: usize = 4;
/// The largest payload; checked before memory is taken for one.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: usize = 512 << 20;

/// Kinds: effects, nothing, who belongs to the group, and the beginning of an epoch. All but the first are control
/// frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const BLANK: u8 = 1;
pub(crate) const MEMBERS: u8 = 2;
pub(crate) const EPOCH: u8 = 3;

/// Flags: the frame counts for nothing but its index; its payload is compressed.
pub(crate) const VOID: u16 = 1;
#[cfg(test)]
pub(crate) const COMPRESSED: u16 = 2;

/// What a frame says about itself. Of format 1, what it did not say yet is as if it were alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub format: u8,
    pub kind: u8,
    pub flags: u16,
    /// As stored, which may be sealed.
    pub payload_bytes: u32,
    /// The number of offsets in the frame.
    pub count: u32,
    pub first: Offset,
    /// The frame's number in the log.
    pub index: u64,
    pub term: u64,
    /// The hash of all that was logged up to here, this frame included.
    pub chain: u64,
    /// What was known to be on the disk when the frame was written: damage below is no torn write.
    pub synced: Offset,
    /// How many offsets before the frame were not known to be committed.
    pub uncommitted: u32,
    /// The checksum of the frame before.
    pub previous: u32,
}

impl FrameHeader {
    /// The last offset of the frame; of a control frame the one before it.
    pub(crate) fn last(&self) -> Offset {
        self.first + Offset::from(self.count) - 1
    }

    /// The length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        header_bytes(self.format) + self.payload_bytes as usize + FRAME_TRAILER_BYTES
    }

    /// Whether readers look for effects here.
    pub(crate) fn has_effects(&self) -> bool {
        self.kind == DATA && self.flags & VOID == 0
    }

    /// Whether it says nothing of what the database holds.
    pub(crate) fn is_aside(&self) -> bool {
        matches!(self.kind, BLANK | MEMBERS) && self.flags & VOID == 0
    }

    /// The bytes.
    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0u8; FRAME_HEADER_BYTES];
        put_at(&mut bytes, 0, FRAME_MAGIC.to_le_bytes());
        put_at(&mut bytes, 4, [FRAME_FORMAT, self.kind]);
        put_at(&mut bytes, 6, self.flags.to_le_bytes());
        put_at(&mut bytes, 8, self.payload_bytes.to_le_bytes());
        put_at(&mut bytes, 12, self.count.to_le_bytes());
        put_at(&mut bytes, 16, self.first.to_le_bytes());
        put_at(&mut bytes, 24, self.index.to_le_bytes());
        put_at(&mut bytes, 32, self.term.to_le_bytes());
        put_at(&mut bytes, 40, self.chain.to_le_bytes());
        put_at(&mut bytes, 48, self.synced.to_le_bytes());
        put_at(&mut bytes, 56, self.uncommitted.to_le_bytes());
        put_at(&mut bytes, 60, self.previous.to_le_bytes());
        bytes
    }

    /// Reads what may be a header; of a newer format, as if it were this one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<FrameHeader> {
        let format = *bytes.get(4).filter(|format| **format > 0)?;
        let (u32_at, u64_at) = (|at| u32_at(bytes, at), |at| u64_at(bytes, at));
        let first = u64_at(16)?;
        let header = FrameHeader {
            format,
            kind: DATA,
            flags: 0,
            payload_bytes: u32_at(8)?,
            count: u32_at(12)?,
            first,
            index: first,
            term: 0,
            chain: 0,
            synced: u64_at(24)?,
            uncommitted: 0,
            previous: u32_at(32)?,
        };
        if format == 1 {
            return Some(header);
        }
        Some(FrameHeader {
            kind: *bytes.get(5)?,
            flags: u16_at(bytes, 6)?,
            index: u64_at(24)?,
            term: u64_at(32)?,
            chain: u64_at(40)?,
            synced: u64_at(48)?,
            uncommitted: u32_at(56)?,
            previous: u32_at(60)?,
            ..header
        })
    }

    /// What of it is not known here, where payloads may be sealed with these flags.
    pub(crate) fn newer(&self, sealed: u16) -> Option<Newer> {
        let unknown = self.flags & !(VOID | sealed);
        if self.format > FRAME_FORMAT {
            Some(Newer::Format(u32::from(self.format), u32::from(FRAME_FORMAT)))
        } else if !matches!(self.kind, DATA | BLANK | MEMBERS | EPOCH) {
            Some(Newer::FrameKind(self.kind))
        } else {
            (unknown != 0).then_some(Newer::FrameFlags(unknown))
        }
    }
}

/// The length of a header of this format.
pub(crate) fn header_bytes(format: u8) -> usize {
    if format == 1 { FRAME_HEADER_1_BYTES } else { FRAME_HEADER_BYTES }
}
