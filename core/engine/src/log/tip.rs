//! Where the log ends, and what the next frame must be to follow.
//!
//! The writer makes frames from it; recovery and `verify` check with it. Offsets, indexes, terms, chain
//! and checksums all go on from frame to frame and from segment to segment.

use rstmdb_types::Offset;
use xxhash_rust::xxh3::xxh3_64;

use super::header::{DATA, FRAME_FORMAT, FrameHeader, VOID};
use crate::codec::put_at;
use crate::guards::{self, Safeguard};

/// Offsets stay below this, so that adding to one from a file never overflows.
pub(crate) const OFFSET_MAX: Offset = i64::MAX as u64;

/// The end of the log so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The offset of the next effect.
    pub next: Offset,
    /// The index of the next frame.
    pub index: u64,
    /// The term of the last frame.
    pub term: u64,
    /// The hash of all that was logged.
    pub chain: u64,
    /// The checksum of the last frame.
    pub previous: u32,
}

/// A frame and all before it, named by what no other log has; index 0 is the beginning of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub index: u64,
    pub term: u64,
    pub chain: u64,
}

impl Tip {
    /// Before the first frame of a new database.
    pub(crate) const START: Tip = Tip { next: 1, index: 1, term: 0, chain: 0, previous: 0 };

    /// The last effect's offset.
    pub(crate) fn last(&self) -> Offset {
        self.next - 1
    }

    /// The header of the next frame when it holds `count` effects.
    pub(crate) fn data(&self, count: u32, payload: &[u8], synced: Offset) -> FrameHeader {
        let chain = chained(self.chain, self.next, count, payload);
        FrameHeader { count, chain, ..self.control(DATA, payload, synced) }
    }

    /// The header of the next frame when it holds no effects.
    pub(crate) fn control(&self, kind: u8, payload: &[u8], synced: Offset) -> FrameHeader {
        FrameHeader {
            format: FRAME_FORMAT,
            kind,
            flags: 0,
            payload_bytes: payload.len() as u32,
            count: 0,
            first: self.next,
            index: self.index,
            term: self.term,
            chain: self.chain,
            synced,
            uncommitted: 0,
            previous: self.previous,
        }
    }

    /// Goes on behind a frame that follows.
    pub(crate) fn advance(&mut self, header: &FrameHeader, checksum: u32) {
        if header.flags & VOID == 0 {
            self.next = header.last() + 1;
            self.chain = header.chain;
        }
        // In format 1 frames have no index: the offset stands for it.
        self.index = if header.format == 1 { self.next } else { header.index + 1 };
        self.term = header.term;
        self.previous = checksum;
    }

    /// What is wrong with an intact frame at this place, in a segment of this format.
    pub(crate) fn fault(
        &self,
        format: u32,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Option<String> {
        if !guards::enabled(Safeguard::SequenceGap) {
            return None;
        }
        if u32::from(header.format) != format {
            let found = header.format;
            return Some(format!("the frame has format {found} in a segment of format {format}"));
        }
        let is_void = header.flags & VOID != 0;
        if header.previous != self.previous || (header.first != self.next && !is_void) {
            return Some(format!(
                "the frame holds offset {}, expected {}: it is stale or frames before it are missing",
                header.first, self.next
            ));
        }
        if header.index != self.index {
            let (found, expected) = (header.index, self.index);
            return Some(format!("the frame has index {found}, expected {expected}"));
        }
        if header.term < self.term {
            let (found, before) = (header.term, self.term);
            return Some(format!("the frame has term {found}, the one before it {before}"));
        }
        let chain = match (header.kind, header.format) {
            _ if is_void => return None,
            (DATA, FRAME_FORMAT) => chained(self.chain, header.first, header.count, payload),
            _ => self.chain,
        };
        (header.chain != chain).then(|| "the frame's chain does not go on from before".to_owned())
    }

    /// What is wrong when a segment begins here.
    pub(crate) fn border_fault(&self, found: &Tip) -> Option<String> {
        if self == found || !guards::enabled(Safeguard::SequenceGap) {
            return None;
        }
        if self.next == found.next {
            return Some("the segment does not go on from the frames before it".to_owned());
        }
        Some(format!(
            "the segment begins with offset {}, expected {}: frames before it are missing",
            found.next, self.next
        ))
    }

    /// Whether a frame that a checkpoint names is another one here; its index is the last before.
    pub(crate) fn contradicts(&self, named: &Named) -> bool {
        let here = self.named();
        here.index == named.index && here != *named && guards::enabled(Safeguard::SequenceGap)
    }

    /// The last frame, as a checkpoint names it.
    pub(crate) fn named(&self) -> Named {
        Named { index: self.index - 1, term: self.term, chain: self.chain }
    }
}

pub(crate) fn chained(before: u64, first: Offset, count: u32, payload: &[u8]) -> u64 {
    let mut bytes = [0; 28];
    put_at(&mut bytes, 0, before.to_le_bytes());
    put_at(&mut bytes, 8, first.to_le_bytes());
    put_at(&mut bytes, 16, count.to_le_bytes());
    put_at(&mut bytes, 20, xxh3_64(payload).to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::header::{BLANK, EPOCH};

    #[test]
    fn only_a_frame_that_follows_is_taken() {
        let mut tip = Tip { next: 7, index: 9, term: 1 << 16, chain: 5, previous: 3 };
        let header = tip.data(2, b"payload", 6);
        assert_eq!(tip.fault(2, &header, b"payload"), None);
        assert!(tip.fault(2, &header, b"payloae").is_some());
        for wrong in [
            FrameHeader { first: 8, ..header },
            FrameHeader { index: 10, ..header },
            FrameHeader { term: 1, ..header },
            FrameHeader { chain: 6, ..header },
            FrameHeader { count: 3, ..header },
            FrameHeader { previous: 4, ..header },
        ] {
            assert!(tip.fault(2, &wrong, b"payload").is_some(), "{wrong:?}");
        }
        tip.advance(&header, 11);
        assert_eq!((tip.next, tip.index, tip.chain, tip.previous), (9, 10, header.chain, 11));
        let epoch = tip.control(EPOCH, b"", 8);
        assert_eq!((epoch.chain, epoch.first, epoch.last()), (header.chain, 9, 8));
        assert_eq!(tip.fault(2, &epoch, b""), None);
        tip.advance(&epoch, 12);
        assert_eq!((tip.next, tip.index, tip.chain), (9, 11, header.chain));
    }

    #[test]
    fn a_void_frame_takes_an_index_and_nothing_else() {
        let mut tip = Tip { next: 7, index: 9, term: 0, chain: 5, previous: 3 };
        let header = tip.data(2, b"x", 0);
        let void = FrameHeader { flags: VOID, first: 3, chain: 1, ..header };
        assert_eq!(tip.fault(2, &void, b"x"), None);
        tip.advance(&void, 4);
        assert_eq!(tip, Tip { next: 7, index: 10, term: 0, chain: 5, previous: 4 });
        assert_eq!(tip.fault(2, &tip.control(BLANK, b"", 0), b""), None);
    }
}
