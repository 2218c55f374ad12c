//! Frames: one group commit, with one checksum over all of it.
//!
//! The checksum covers the header too, starts from the database's id, and the header repeats the
//! checksum of the frame before: a frame verifies alone, and one that is stale, moved or from another
//! database can't pass as the next one.

use rstmdb_types::Offset;

use super::OFFSET_MAX;
use super::record::Effects;
use crate::codec::{u32_at, u64_at};
use crate::guards::{self, Guard};

pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"RFRM");
pub(crate) const FRAME_VERSION: u8 = 1;
/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// Bytes after the payload.
pub(crate) const FRAME_TRAILER_BYTES: usize = 4;
/// The largest payload; checked before memory is taken for one.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: usize = 512 << 20;

/// What a frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub payload_bytes: u32,
    /// The number of offsets in the frame.
    pub count: u32,
    pub first: Offset,
    /// What was known to be on the disk when the frame was written: damage below is no torn write.
    pub synced: Offset,
    /// The checksum of the frame before.
    pub previous: u32,
}

impl FrameHeader {
    /// The last offset of the frame.
    pub(crate) fn last(&self) -> Offset {
        self.first + Offset::from(self.count) - 1
    }

    /// The length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_bytes as usize + FRAME_TRAILER_BYTES
    }
}

/// Turns a buffer of room for the header followed by the payload into a frame; returns its checksum.
pub(crate) fn seal(buffer: &mut Vec<u8>, header: &FrameHeader, seed: u32) -> u32 {
    let mut bytes = [0u8; FRAME_HEADER_BYTES];
    let fields: [&[u8]; 9] = [
        &FRAME_MAGIC.to_le_bytes(),
        &[FRAME_VERSION, 0, 0, 0],
        &header.payload_bytes.to_le_bytes(),
        &header.count.to_le_bytes(),
        &header.first.to_le_bytes(),
        &header.synced.to_le_bytes(),
        &header.previous.to_le_bytes(),
        &[0; 4],
        &[],
    ];
    for (place, byte) in bytes.iter_mut().zip(fields.iter().copied().flatten()) {
        *place = *byte;
    }
    if let Some(room) = buffer.get_mut(..FRAME_HEADER_BYTES) {
        room.copy_from_slice(&bytes);
    }
    let checksum = checksum(buffer, seed);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    checksum
}

fn checksum(frame: &[u8], seed: u32) -> u32 {
    let covered = if guards::enabled(Guard::HeaderChecksum) { 0 } else { FRAME_HEADER_BYTES };
    crc32c::crc32c_append(seed, frame.get(covered..).unwrap_or_default())
}

/// What is at the start of some bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A whole, intact frame.
    Frame { header: FrameHeader, payload: &'a [u8], checksum: u32 },
    /// The beginning of what may be a frame of this many bytes in all.
    Incomplete { frame_bytes: usize },
    /// Not a frame.
    Damaged(&'static str),
    /// A frame of a newer format.
    Newer(u8),
}

/// Looks at the start of `bytes`; `seed` is the database's.
pub(crate) fn parse(bytes: &[u8], seed: u32) -> Parsed<'_> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return Parsed::Incomplete { frame_bytes: FRAME_HEADER_BYTES };
    }
    let Some(header) = parse_header(bytes) else {
        return Parsed::Damaged("no frame begins here");
    };
    let is_offset = (1..=OFFSET_MAX).contains(&header.first) && header.synced <= OFFSET_MAX;
    if header.payload_bytes as usize > FRAME_PAYLOAD_BYTES_MAX || header.count == 0 || !is_offset {
        return Parsed::Damaged("the frame header is out of range");
    }
    let frame_bytes = header.frame_bytes();
    let Some(frame) = bytes.get(..frame_bytes) else {
        return Parsed::Incomplete { frame_bytes };
    };
    let covered = frame_bytes - FRAME_TRAILER_BYTES;
    let stored = u32_at(frame, covered).unwrap_or_default();
    if checksum(frame.get(..covered).unwrap_or_default(), seed) != stored {
        return Parsed::Damaged("the frame's checksum does not match");
    }
    // The version is looked at only in an intact frame: a flipped bit is damage, not news.
    match bytes.get(4) {
        Some(&FRAME_VERSION) => {}
        version => return Parsed::Newer(version.copied().unwrap_or_default()),
    }
    let payload = frame.get(FRAME_HEADER_BYTES..covered).unwrap_or_default();
    Parsed::Frame { header, payload, checksum: stored }
}

fn parse_header(bytes: &[u8]) -> Option<FrameHeader> {
    if u32_at(bytes, 0)? != FRAME_MAGIC {
        return None;
    }
    Some(FrameHeader {
        payload_bytes: u32_at(bytes, 8)?,
        count: u32_at(bytes, 12)?,
        first: u64_at(bytes, 16)?,
        synced: u64_at(bytes, 24)?,
        previous: u32_at(bytes, 32)?,
    })
}

/// The effects in a frame's payload.
pub(crate) fn effects(payload: &[u8], first: Offset) -> Effects<'_> {
    Effects::new(payload, first)
}

/// The first intact frame in `bytes` that fits, and where it begins.
pub(crate) fn find(
    bytes: &[u8],
    seed: u32,
    fits: impl Fn(&FrameHeader) -> bool,
) -> Option<(usize, FrameHeader)> {
    let magic = FRAME_MAGIC.to_le_bytes();
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(magic.len()).position(|window| window == magic))
    {
        at += found;
        if let Parsed::Frame { header, .. } = parse(bytes.get(at..).unwrap_or_default(), seed)
            && fits(&header)
        {
            return Some((at, header));
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> (Vec<u8>, FrameHeader, u32) {
        let header = FrameHeader {
            payload_bytes: payload.len() as u32,
            count: 1,
            first: 7,
            synced: 6,
            previous: 99,
        };
        let mut buffer = vec![0; FRAME_HEADER_BYTES];
        buffer.extend_from_slice(payload);
        let checksum = seal(&mut buffer, &header, 5);
        (buffer, header, checksum)
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (bytes, header, checksum) = frame(b"hello");
        assert_eq!(parse(&bytes, 5), Parsed::Frame { header, payload: b"hello", checksum });
        assert!(matches!(parse(&bytes, 6), Parsed::Damaged(_)), "another database");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&damaged, 5), Parsed::Frame { .. }), "bit {bit}");
        }
    }

    #[test]
    fn a_later_frame_is_found_behind_garbage() {
        let (bytes, header, _) = frame(b"x");
        let mut all = b"RFRM garbage RFR".to_vec();
        all.extend_from_slice(&bytes);
        assert_eq!(find(&all, 5, |found| found.first == 7), Some((16, header)));
        assert_eq!(find(&all, 5, |found| found.first == 8), None);
        assert_eq!(find(&[0; 100], 5, |_| true), None);
    }
}
