//! The 20 bytes before the body of a message.

use super::kind::{MessageKind, PIECE_BYTES_MAX};
use super::malformed::MessageError;

/// The bytes of a header.
pub const HEADER_BYTES: usize = 20;
/// More of the same message follows in another piece.
const MORE: u16 = 1;
/// What the checksum covers of a header.
const CHECKED_BYTES: usize = 16;

/// What goes before each piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The bytes of this piece.
    pub length: u32,
    /// What the message is.
    pub kind: MessageKind,
    /// Whether a further piece follows.
    pub more: bool,
    /// The group of nodes that it is for.
    pub group: u16,
    /// The number of the message on its connection, from 1.
    pub request: u32,
}

impl Header {
    /// The bytes of the header of this piece.
    pub(super) fn encode(&self, piece: &[u8]) -> [u8; HEADER_BYTES] {
        let flags = if self.more { MORE } else { 0 };
        let mut bytes = [0; HEADER_BYTES];
        let fields = [
            &self.length.to_le_bytes()[..],
            &(self.kind as u16).to_le_bytes(),
            &flags.to_le_bytes(),
            &self.group.to_le_bytes(),
            &[0; 2],
            &self.request.to_le_bytes(),
        ];
        let (checked, checksum) = bytes.split_at_mut(CHECKED_BYTES);
        for (byte, value) in checked.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *value;
        }
        let sum = crc32c::crc32c_append(crc32c::crc32c(checked), piece);
        checksum.copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header, and its checksum of what the piece's is to be appended to.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Header, Checksum), MessageError> {
        let [l0, l1, l2, l3, k0, k1, f0, f1, g0, g1, r0, r1, n0, n1, n2, n3, c0, c1, c2, c3] =
            *bytes;
        let kind = u16::from_le_bytes([k0, k1]);
        let kind = MessageKind::from_number(kind).ok_or(MessageError::Unknown { kind })?;
        let flags = u16::from_le_bytes([f0, f1]);
        if flags & !MORE != 0 {
            return Err(MessageError::Header { field: "flags", value: flags });
        }
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 {
            return Err(MessageError::Header { field: "reserved", value: reserved });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let max = kind.bytes_max().min(PIECE_BYTES_MAX as u64);
        if u64::from(length) > max {
            return Err(MessageError::TooLong { kind, bytes: length.into(), max });
        }
        let header = Header {
            length,
            kind,
            more: flags & MORE != 0,
            group: u16::from_le_bytes([g0, g1]),
            request: u32::from_le_bytes([n0, n1, n2, n3]),
        };
        let checked = bytes.first_chunk::<CHECKED_BYTES>().map_or(0, |head| crc32c::crc32c(head));
        Ok((header, Checksum { checked, expected: u32::from_le_bytes([c0, c1, c2, c3]) }))
    }
}

/// The checksum of a header so far, and what it must come to with the piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksum {
    checked: u32,
    expected: u32,
}

impl Checksum {
    pub(super) fn fits(&self, piece: &[u8]) -> bool {
        crc32c::crc32c_append(self.checked, piece) == self.expected
    }
}
