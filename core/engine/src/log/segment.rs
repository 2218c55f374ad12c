//! Segments: the files the log is cut into.

use rstmdb_types::{Error, Offset, Result, TimestampMs};

use super::OFFSET_MAX;
use crate::codec::{u32_at, u64_at};
use crate::error::{corrupt, newer_format};

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"RSTMSEG\n";
pub(crate) const SEGMENT_VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
pub(crate) const LOG_DIRECTORY: &str = "log";

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub database: [u8; 16],
    pub number: u64,
    /// The offset of the first change in the segment.
    pub first: Offset,
    /// The checksum of the last frame before the segment.
    pub previous: u32,
    /// The key the segment is encrypted with; 0: none.
    pub key: u32,
    pub created_at: TimestampMs,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.key.to_le_bytes());
        bytes.extend_from_slice(&self.database);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut out = [0; SEGMENT_HEADER_BYTES as usize];
        for (place, byte) in out.iter_mut().zip(bytes) {
            *place = byte;
        }
        out
    }

    /// Reads the header of `file`, refusing what is damaged, newer or of another database.
    pub(crate) fn decode(bytes: &[u8], file: &str, database: &[u8; 16]) -> Result<SegmentHeader> {
        let damaged = |what: &str| corrupt(file, 0, what);
        if bytes.get(..8) != Some(&SEGMENT_MAGIC[..]) {
            return Err(damaged("this is not a log segment"));
        }
        let (Some(version), Some(stored)) = (u32_at(bytes, 8), u32_at(bytes, 60)) else {
            return Err(damaged("the segment header is cut off"));
        };
        let covered = bytes.get(..60).unwrap_or_default();
        let intact = crc32c::crc32c(covered) == stored;
        if version > SEGMENT_VERSION && intact {
            return Err(newer_format(file, version, SEGMENT_VERSION));
        }
        if !intact {
            return Err(damaged("the segment header's checksum does not match"));
        }
        let field = |at| u64_at(bytes, at).unwrap_or_default();
        let mut id = [0; 16];
        for (place, byte) in id.iter_mut().zip(bytes.get(16..32).unwrap_or_default()) {
            *place = *byte;
        }
        if id != *database {
            return Err(damaged("the segment belongs to another database"));
        }
        if !(1..=OFFSET_MAX).contains(&field(40)) || field(32) > OFFSET_MAX {
            return Err(damaged("the segment header is out of range"));
        }
        Ok(SegmentHeader {
            database: id,
            number: field(32),
            first: field(40),
            previous: u32_at(bytes, 56).unwrap_or_default(),
            key: u32_at(bytes, 12).unwrap_or_default(),
            created_at: field(48) as i64,
        })
    }
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

/// The checksum every frame of a database starts from.
pub(crate) fn database_seed(database: &[u8; 16]) -> u32 {
    crc32c::crc32c(database)
}

/// A segment that was to be there is not.
pub(crate) fn missing_segment(number: u64) -> Error {
    corrupt(&segment_path(number), 0, "the segment is missing").with("segment", number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_damage_is_named() {
        let header = SegmentHeader {
            database: [7; 16],
            number: 3,
            first: 1000,
            previous: 5,
            key: 0,
            created_at: 99,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes, "f", &[7; 16]).unwrap(), header);
        assert!(SegmentHeader::decode(&bytes, "f", &[8; 16]).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged, "f", &[7; 16]).is_err(), "bit {bit}");
        }
        assert_eq!(segment_number("000000000012.seg"), Some(12));
        assert_eq!(segment_number("000000000012.seg.tmp"), None);
    }
}
