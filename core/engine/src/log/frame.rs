//! Frames: one group commit, or something about the log itself, with one checksum over all of it.
//!
//! The checksum covers the header too, starts from the database's id, and the header repeats the
//! checksum of the frame before: a frame verifies alone, and one that is stale, moved or from another
//! database can't pass as the next one. Whatever an intact frame has that is not known here was written
//! by a later release and is not damage. The byte layout is in `README.md` beside this file.

use std::borrow::Cow;

use super::OFFSET_MAX;
pub(crate) use super::header::{
    DATA, EPOCH, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_PAYLOAD_BYTES_MAX, FRAME_TRAILER_BYTES,
    FrameHeader, MEMBERS, VOID, header_bytes,
};
use super::sealer::Sealer;
use crate::codec::u32_at;
use crate::error::Newer;
use crate::guards::{self, Safeguard};

/// Turns a buffer of room for the header followed by the payload into a frame; returns its checksum.
pub(crate) fn seal(buffer: &mut Vec<u8>, header: &FrameHeader, sealer: &Sealer) -> u32 {
    if let Some(room) = buffer.get_mut(..FRAME_HEADER_BYTES) {
        room.copy_from_slice(&header.encode());
    }
    let checksum = checksum(buffer, FRAME_HEADER_BYTES, sealer);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    checksum
}

fn checksum(frame: &[u8], header_bytes: usize, sealer: &Sealer) -> u32 {
    let covered = if guards::enabled(Safeguard::HeaderChecksum) { 0 } else { header_bytes };
    sealer.checksum(frame.get(covered..).unwrap_or_default())
}

/// What is at the start of some bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParsedFrame<'a> {
    /// A whole, intact frame and its plain payload.
    Frame { header: FrameHeader, payload: Cow<'a, [u8]>, checksum: u32 },
    /// The beginning of what may be a frame of this many bytes in all.
    Incomplete { frame_bytes: usize },
    /// Not a frame.
    Damaged(&'static str),
    /// An intact frame with something that only a later release knows.
    Newer { header: FrameHeader, what: Newer },
}

/// Looks at the start of `bytes`.
pub(crate) fn parse<'a>(bytes: &'a [u8], sealer: &Sealer) -> ParsedFrame<'a> {
    let header_bytes = bytes.get(4).map_or(header_bytes(1), |format| header_bytes(*format));
    if bytes.len() < header_bytes {
        return ParsedFrame::Incomplete { frame_bytes: header_bytes };
    }
    let header = match FrameHeader::decode(bytes) {
        Some(header) if u32_at(bytes, 0) == Some(FRAME_MAGIC) => header,
        _ => return ParsedFrame::Damaged("no frame begins here"),
    };
    let is_offset = (1..=OFFSET_MAX).contains(&header.first) && header.synced <= OFFSET_MAX;
    let is_index = header.index <= OFFSET_MAX;
    if header.payload_bytes as usize > FRAME_PAYLOAD_BYTES_MAX || !is_offset || !is_index {
        return ParsedFrame::Damaged("the frame header is out of range");
    }
    let frame_bytes = header.frame_bytes();
    let Some(frame) = bytes.get(..frame_bytes) else {
        return ParsedFrame::Incomplete { frame_bytes };
    };
    let covered = frame_bytes - FRAME_TRAILER_BYTES;
    let stored = u32_at(frame, covered).unwrap_or_default();
    if checksum(frame.get(..covered).unwrap_or_default(), header_bytes, sealer) != stored {
        return ParsedFrame::Damaged("the frame's checksum does not match");
    }
    // What is not known is looked for only in an intact frame: a flipped bit is damage, not news.
    if let Some(what) = header.newer(sealer.flags()) {
        return ParsedFrame::Newer { header, what };
    }
    if (header.count == 0) != (header.kind != DATA) {
        return ParsedFrame::Damaged("the frame's count does not fit its kind");
    }
    match sealer.open(&header, frame.get(header_bytes..covered).unwrap_or_default()) {
        Some(payload) => ParsedFrame::Frame { header, payload, checksum: stored },
        None => ParsedFrame::Damaged("the frame's payload can't be opened"),
    }
}

/// The first intact frame in `bytes` that fits, or any of a later release, and where it begins.
pub(crate) fn find(
    bytes: &[u8],
    sealer: &Sealer,
    fits: impl Fn(&FrameHeader) -> bool,
) -> Option<(usize, FrameHeader, Option<Newer>)> {
    let magic = FRAME_MAGIC.to_le_bytes();
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(magic.len()).position(|window| window == magic))
    {
        at += found;
        match parse(bytes.get(at..).unwrap_or_default(), sealer) {
            ParsedFrame::Frame { header, .. } if fits(&header) => return Some((at, header, None)),
            ParsedFrame::Newer { header, what } => return Some((at, header, Some(what))),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tip::Tip;

    const TIP: Tip = Tip { next: 7, index: 9, term: 1 << 16, chain: 3, previous: 99 };

    fn sealer() -> Sealer {
        Sealer::plain(&[5; 16])
    }

    fn sealed(header: FrameHeader, payload: &[u8]) -> (Vec<u8>, u32) {
        let mut buffer = [&[0; FRAME_HEADER_BYTES][..], payload].concat();
        let checksum = seal(&mut buffer, &header, &sealer());
        (buffer, checksum)
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let header = TIP.data(1, b"hello", 6);
        let (bytes, checksum) = sealed(header, b"hello");
        let payload = Cow::Borrowed(&b"hello"[..]);
        assert_eq!(parse(&bytes, &sealer()), ParsedFrame::Frame { header, payload, checksum });
        let foreign = parse(&bytes, &Sealer::plain(&[6; 16]));
        assert!(matches!(foreign, ParsedFrame::Damaged(_)), "another database");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = parse(&damaged, &sealer());
            assert!(
                matches!(found, ParsedFrame::Damaged(_) | ParsedFrame::Incomplete { .. }),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn what_is_unknown_in_an_intact_frame_is_newer() {
        let control = TIP.control(EPOCH, b"", 6);
        for (header, what) in [
            (FrameHeader { kind: 9, ..control }, Newer::FrameKind(9)),
            (FrameHeader { kind: 4, count: 3, ..control }, Newer::FrameKind(4)),
            (FrameHeader { flags: 2, ..control }, Newer::FrameFlags(2)),
            (FrameHeader { flags: 0x8001, ..control }, Newer::FrameFlags(0x8000)),
        ] {
            let (bytes, _) = sealed(header, b"");
            assert_eq!(parse(&bytes, &sealer()), ParsedFrame::Newer { header, what });
            let found = find(&bytes, &sealer(), |_| false);
            assert_eq!(found, Some((0, header, Some(what))), "a newer frame always counts");
        }
        let (mut bytes, _) = sealed(control, b"");
        bytes[4] = 3;
        let end = bytes.len() - 4;
        let checksum = sealer().checksum(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        let found = parse(&bytes, &sealer());
        assert!(matches!(found, ParsedFrame::Newer { what: Newer::Format(3, 2), .. }), "{found:?}");
        // What is known and makes no sense is damage.
        let (bytes, _) = sealed(FrameHeader { count: 1, ..control }, b"");
        assert!(matches!(parse(&bytes, &sealer()), ParsedFrame::Damaged(_)));
    }

    #[test]
    fn a_later_frame_is_found_behind_garbage() {
        let header = TIP.data(1, b"x", 6);
        let (bytes, _) = sealed(header, b"x");
        let mut all = b"RFRM garbage RFR".to_vec();
        all.extend_from_slice(&bytes);
        let find = |bytes, first| find(bytes, &sealer(), |found| found.first == first);
        assert_eq!(find(&all, 7), Some((16, header, None)));
        assert_eq!(find(&all, 8), None);
        assert_eq!(find(&[0; 100], 0), None);
    }
}
