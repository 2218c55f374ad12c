//! Segments: the files the log is cut into.

use rstmdb_types::{Error, Result, TimestampMs};

use super::OFFSET_MAX;
use super::sealer::Sealer;
use super::tip::Tip;
use crate::codec::{u16_at, u32_at, u64_at};
use crate::error::{Newer, corrupt, newer_format};

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"RSTMSEG\n";
pub(crate) const SEGMENT_FORMAT: u32 = 2;
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 128;
/// The header of format 1, with which every later one begins: so any release can tell what is newer.
pub(crate) const SEGMENT_HEADER_1_BYTES: u64 = 64;
pub(crate) const LOG_DIRECTORY: &str = "log";

/// The first bytes of a segment. Of format 1, what it did not say yet is as if it were alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub format: u32,
    pub database: [u8; 16],
    pub number: u64,
    /// What the segment vouches for: the end of the log before it.
    pub tip: Tip,
    /// The key the segment is sealed with; 0: none.
    pub key: u32,
    pub salt: [u8; 16],
    /// Whose it is; 0 when alone.
    pub node: u16,
    pub created_at: TimestampMs,
}

/// The role of a node that is alone, and of one that is a copy or a member.
const ALONE: u8 = 0;
const NODE: u8 = 1;

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.key.to_le_bytes());
        bytes.extend_from_slice(&self.database);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.tip.next.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.to_le_bytes());
        bytes.extend_from_slice(&self.tip.previous.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        for field in [self.tip.index, self.tip.term, self.tip.chain] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.push(if self.node == 0 { ALONE } else { NODE });
        bytes.resize(SEGMENT_HEADER_BYTES as usize - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Where the first frame begins.
    pub(crate) fn bytes(&self) -> u64 {
        if self.format == 1 { SEGMENT_HEADER_1_BYTES } else { SEGMENT_HEADER_BYTES }
    }

    /// Reads the header of `file`, refusing what is damaged, newer or of another database.
    pub(crate) fn decode(
        bytes: &[u8],
        file: &str,
        database: &[u8; 16],
        sealer: &Sealer,
    ) -> Result<SegmentHeader> {
        let damaged = |what: &str| corrupt(file, 0, what);
        let newer = |what| Err(newer_format(file, 0, what));
        if bytes.get(..8) != Some(&SEGMENT_MAGIC[..]) {
            return Err(damaged("this is not a log segment"));
        }
        let Some(format) = checked(bytes, SEGMENT_HEADER_1_BYTES).and_then(|head| u32_at(head, 8))
        else {
            return Err(damaged("the segment header's checksum does not match"));
        };
        if format > SEGMENT_FORMAT {
            return newer(Newer::Format(format, SEGMENT_FORMAT));
        }
        let field = |at| u64_at(bytes, at).unwrap_or_default();
        let first = field(40);
        let previous = u32_at(bytes, 56).unwrap_or_default();
        // In format 1 frames have no index: the offset stands for it.
        let mut header = SegmentHeader {
            format,
            database: array_at(bytes, 16),
            number: field(32),
            tip: Tip { next: first, index: first, term: 0, chain: 0, previous },
            key: u32_at(bytes, 12).unwrap_or_default(),
            salt: [0; 16],
            node: 0,
            created_at: field(48) as i64,
        };
        if format > 1 {
            if checked(bytes, SEGMENT_HEADER_BYTES).is_none() {
                return Err(damaged("the segment header's checksum does not match"));
            }
            let (index, term, chain) = (field(64), field(72), field(80));
            header.tip = Tip { index, term, chain, ..header.tip };
            header.salt = array_at(bytes, 88);
            header.node = u16_at(bytes, 104).unwrap_or_default();
        }
        if header.database != *database {
            return Err(damaged("the segment belongs to another database"));
        }
        let in_range = |number| (1..=OFFSET_MAX).contains(&number);
        if !in_range(first) || !in_range(header.tip.index) || header.number > OFFSET_MAX {
            return Err(damaged("the segment header is out of range"));
        }
        match bytes.get(106) {
            Some(role) if format > 1 && *role > NODE => newer(Newer::Role),
            _ if header.key != sealer.key() => newer(Newer::Key(header.key)),
            _ => Ok(header),
        }
    }
}

/// The first bytes, if the checksum at their end is right.
pub(crate) fn checked(bytes: &[u8], length: u64) -> Option<&[u8]> {
    let covered = usize::try_from(length).ok()?.checked_sub(4)?;
    let head = bytes.get(..covered)?;
    (u32_at(bytes, covered)? == crc32c::crc32c(head)).then_some(head)
}

fn array_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// The path of a segment.
pub(crate) fn segment_path(number: u64) -> String {
    format!("{LOG_DIRECTORY}/{number:012}.seg")
}

/// The number in a segment's file name; `None` for other files.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 12).then(|| digits.parse().ok())?
}

/// A segment that was to be there is not.
pub(crate) fn missing_segment(number: u64) -> Error {
    corrupt(&segment_path(number), 0, "the segment is missing").with("segment", number)
}

#[cfg(test)]
mod tests {
    use rstmdb_types::error::reason;

    use super::*;

    const DATABASE: [u8; 16] = [7; 16];

    fn header() -> SegmentHeader {
        SegmentHeader {
            format: 2,
            database: DATABASE,
            number: 3,
            tip: Tip { next: 1000, index: 1200, term: 5 << 16, chain: 9, previous: 5 },
            key: 0,
            salt: [4; 16],
            node: 0,
            created_at: 99,
        }
    }

    fn decode(bytes: &[u8]) -> Result<SegmentHeader> {
        SegmentHeader::decode(bytes, "f", &DATABASE, &Sealer::plain(&DATABASE))
    }

    /// Sets both checksums right.
    fn seal(bytes: &mut [u8]) {
        for end in [60, 124] {
            let checksum = crc32c::crc32c(&bytes[..end]);
            bytes[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
        }
    }

    #[test]
    fn headers_round_trip_and_damage_is_named() {
        let bytes = header().encode();
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
        assert_eq!(decode(&bytes).unwrap(), header());
        let sealer = Sealer::plain(&DATABASE);
        assert!(SegmentHeader::decode(&bytes, "f", &[8; 16], &sealer).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&damaged).unwrap_err();
            assert_eq!(error.reason(), Some(reason::CORRUPT), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]).unwrap_err().reason(), Some(reason::CORRUPT));
        }
        assert_eq!(segment_number("000000000012.seg"), Some(12));
        assert_eq!(segment_number("000000000012.seg.tmp"), None);
    }

    #[test]
    fn headers_of_format_1_are_read_and_newer_ones_are_no_damage() {
        let mut first = header().encode();
        first.truncate(64);
        first[8] = 1;
        let checksum = crc32c::crc32c(&first[..60]);
        first[60..].copy_from_slice(&checksum.to_le_bytes());
        let found = decode(&first).unwrap();
        assert_eq!((found.format, found.bytes()), (1, 64));
        assert_eq!(found.tip, Tip { next: 1000, index: 1000, term: 0, chain: 0, previous: 5 });
        for (at, value) in [(8, 3), (12, 1), (106, 2)] {
            let mut newer = header().encode();
            newer[at] = value;
            seal(&mut newer);
            assert_eq!(decode(&newer).unwrap_err().reason(), Some(reason::NEWER_FORMAT));
        }
    }
}
