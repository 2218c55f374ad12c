//! Frames: an 18-byte header, an extension that everyone skips, and a payload of one JSON text.
//!
//! A frame that breaks the rules ends the connection, since nobody can tell where the next one
//! begins. Lengths are checked before anything is kept for them.

use std::fmt;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"RCPX";
/// The size of the fixed header.
pub const HEADER_BYTES: usize = 18;
/// The largest payload of a frame, 16 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const VERSION: u16 = 1;
const FLAG_CHECKSUM: u16 = 0x0001;
const FLAGS_KNOWN: u16 = 0x000f;

/// How messages are told apart on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WireMode {
    /// Binary frames.
    #[default]
    Frames,
    /// One line of JSON for each message; frames are understood too.
    Lines,
}

impl WireMode {
    /// The name of the mode in a hello.
    pub const fn name(self) -> &'static str {
        match self {
            WireMode::Frames => "binary_json",
            WireMode::Lines => "jsonl",
        }
    }
}

/// Why a byte stream is not one of frames. The connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The frame does not begin with `RCPX`.
    Magic,
    /// The frame has another version.
    Version(u16),
    /// A reserved flag is set.
    Flags(u16),
    /// The payload, or the line, is larger than allowed.
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The checksum does not fit the payload.
    Checksum,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic => f.write_str("the frame does not begin with RCPX"),
            FrameError::Version(version) => write!(f, "frame version {version} is not known"),
            FrameError::Flags(flags) => write!(f, "frame flags {flags:#06x} have a reserved bit"),
            FrameError::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes is larger than the limit of {limit}")
            }
            FrameError::Checksum => f.write_str("the checksum of the frame is wrong"),
        }
    }
}

impl std::error::Error for FrameError {}

/// What the front of a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole message.
    Message {
        /// The JSON text.
        payload: &'a [u8],
        /// How many bytes of the buffer it took.
        consumed: usize,
    },
    /// More bytes are needed.
    Incomplete {
        /// How many bytes the buffer must hold at least before asking again is of use.
        needed: usize,
    },
}

/// Looks at the front of `buffer` for a frame with a payload of at most `payload_bytes_max`.
///
/// ```
/// use rstmdb_protocol::frame::{self, Decoded, WireMode};
/// let mut bytes = Vec::new();
/// frame::write(&mut bytes, WireMode::Frames, |out| out.extend_from_slice(b"{}"));
/// let decoded = frame::decode(&bytes, 1024)?;
/// assert_eq!(decoded, Decoded::Message { payload: b"{}", consumed: 20 });
/// # Ok::<(), frame::FrameError>(())
/// ```
pub fn decode(buffer: &[u8], payload_bytes_max: usize) -> Result<Decoded<'_>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(Decoded::Incomplete { needed: HEADER_BYTES });
    };
    let [m0, m1, m2, m3, v0, v1, f0, f1, h0, h1, p0, p1, p2, p3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(FrameError::Magic);
    }
    let version = u16::from_be_bytes([v0, v1]);
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let flags = u16::from_be_bytes([f0, f1]);
    if flags & !FLAGS_KNOWN != 0 {
        return Err(FrameError::Flags(flags));
    }
    let size = u32::from_be_bytes([p0, p1, p2, p3]) as usize;
    let limit = payload_bytes_max.min(PAYLOAD_BYTES_MAX);
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    let begin = HEADER_BYTES + usize::from(u16::from_be_bytes([h0, h1]));
    let end = begin + size;
    let Some(payload) = buffer.get(begin..end) else {
        return Ok(Decoded::Incomplete { needed: end });
    };
    let checksum = u32::from_be_bytes([c0, c1, c2, c3]);
    if flags & FLAG_CHECKSUM != 0 && crc32c::crc32c(payload) != checksum {
        return Err(FrameError::Checksum);
    }
    Ok(Decoded::Message { payload, consumed: end })
}

/// Looks at the front of `buffer` for a message on a connection in line mode: a line, or a frame.
///
/// `searched` bytes of the buffer are known to hold no end of line.
pub fn decode_line(
    buffer: &[u8],
    searched: usize,
    payload_bytes_max: usize,
) -> Result<Decoded<'_>, FrameError> {
    if buffer.first() == MAGIC.first() {
        return decode(buffer, payload_bytes_max);
    }
    let unseen = buffer.get(searched..).unwrap_or_default();
    match unseen.iter().position(|byte| *byte == b'\n') {
        Some(position) => {
            let end = searched + position;
            let line = buffer.get(..end).unwrap_or_default();
            if line.len() > payload_bytes_max {
                return Err(FrameError::TooLarge { size: line.len(), limit: payload_bytes_max });
            }
            Ok(Decoded::Message { payload: line, consumed: end + 1 })
        }
        None if buffer.len() > payload_bytes_max => {
            Err(FrameError::TooLarge { size: buffer.len(), limit: payload_bytes_max })
        }
        None => Ok(Decoded::Incomplete { needed: buffer.len() + 1 }),
    }
}

/// Appends a message whose JSON text `payload` appends, as a frame or as a line.
///
/// Text for a line must not contain line breaks; compact JSON does not. Returns where in `out` the
/// message begins.
pub fn write(out: &mut Vec<u8>, mode: WireMode, payload: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    match mode {
        WireMode::Lines => {
            payload(out);
            out.push(b'\n');
        }
        WireMode::Frames => {
            out.extend_from_slice(&[0; HEADER_BYTES]);
            payload(out);
            seal(out, start);
        }
    }
    start
}

/// Fills in the header of the frame that begins at `start` and ends with the buffer.
fn seal(out: &mut [u8], start: usize) {
    let Some((header, payload)) =
        out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut::<HEADER_BYTES>())
    else {
        return;
    };
    // Larger ones are refused before they are sent: see `message`.
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let checksum = crc32c::crc32c(payload).to_be_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    let [v0, v1] = VERSION.to_be_bytes();
    let [f0, f1] = FLAG_CHECKSUM.to_be_bytes();
    let [p0, p1, p2, p3] = size;
    let [c0, c1, c2, c3] = checksum;
    *header = [m0, m1, m2, m3, v0, v1, f0, f1, 0, 0, p0, p1, p2, p3, c0, c1, c2, c3];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn ping() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, WireMode::Frames, |out| out.extend_from_slice(b"{\"op\":\"PING\"}"));
        bytes
    }

    #[test]
    fn a_frame_survives_the_way_there_and_back_in_any_pieces() {
        let bytes = ping();
        for cut in 0..bytes.len() {
            let decoded = decode(&bytes[..cut], 1000).unwrap();
            assert!(matches!(decoded, Decoded::Incomplete { needed } if needed > cut));
        }
        let Decoded::Message { payload, consumed } = decode(&bytes, 1000).unwrap() else {
            panic!()
        };
        assert_eq!((payload, consumed), (&b"{\"op\":\"PING\"}"[..], bytes.len()));
    }

    #[test]
    fn each_bit_of_a_header_is_guarded_or_without_meaning() {
        let good = ping();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decode(&bytes, 1000) {
                // A longer extension or payload waits; other flags of the four have no meaning.
                Ok(Decoded::Incomplete { .. }) => assert!((8..14).contains(&(bit / 8))),
                Ok(Decoded::Message { payload, .. }) => {
                    assert_eq!(payload, b"{\"op\":\"PING\"}");
                    assert_eq!(bit / 8, 7);
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn refuses_by_length_before_the_payload_is_there() {
        let header = &ping()[..HEADER_BYTES];
        assert_eq!(decode(header, 4), Err(FrameError::TooLarge { size: 13, limit: 4 }));
        let mut header = header.to_vec();
        header[10..14].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32 + 1).to_be_bytes());
        assert!(matches!(decode(&header, usize::MAX), Err(FrameError::TooLarge { .. })));
        header[10..14].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32).to_be_bytes());
        assert!(matches!(decode(&header, usize::MAX), Ok(Decoded::Incomplete { .. })));
    }

    #[test]
    fn lines_and_frames_mix() {
        let mut bytes = b"{\"a\":1}\n".to_vec();
        bytes.extend(ping());
        let Ok(Decoded::Message { payload, consumed }) = decode_line(&bytes, 0, 100) else {
            panic!()
        };
        assert_eq!((payload, consumed), (&b"{\"a\":1}"[..], 8));
        assert!(matches!(decode_line(&bytes[8..], 0, 100), Ok(Decoded::Message { .. })));
        assert_eq!(decode_line(b"{\"a\"", 0, 100), Ok(Decoded::Incomplete { needed: 5 }));
        assert!(matches!(decode_line(&[b' '; 101], 101, 100), Err(FrameError::TooLarge { .. })));
    }
}
