//! Frames as nodes hand them to each other: what is the same on every node, and nothing of a disk.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result, TimestampMs};

use super::OFFSET_MAX;
use super::effects::Effects;
use super::files::Frame;
use super::header::{
    BLANK, DATA, EPOCH, FRAME_FORMAT, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_PAYLOAD_BYTES_MAX,
    FrameHeader, MEMBERS, VOID,
};
use super::lineage::Epoch;
use super::members::GroupMembers;
use super::queue::Batch;
use super::tip::{Tip, chained};
use crate::codec::u32_at;
use crate::guards::{self, Safeguard};

/// So much of a header is the same on every node.
const SHARED_BYTES: usize = 48;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// It holds changes.
    Data,
    /// It holds nothing: what is before it is decided when it is.
    Blank,
    /// It says who belongs to the group.
    Members,
    /// A history begins behind it.
    Epoch,
}

/// A frame of the log on its way between nodes. Cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFrame {
    /// Without what is of one disk.
    header: FrameHeader,
    payload: Arc<[u8]>,
    /// It was in a log already, so it is known whether it counts.
    is_settled: bool,
}

impl std::fmt::Debug for LogFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FrameHeader { index, term, first, count, chain, .. } = self.header;
        let void = if self.is_void() { ", void" } else { "" };
        let kind = self.kind();
        write!(f, "LogFrame({kind:?} {index}@{term}, {first}+{count}, chain {chain:016x}{void})")
    }
}

/// A frame does not go on from the log that it comes to.
pub(crate) fn mismatch(what: &str) -> Error {
    Error::new(ErrorCode::ReplicationError, format!("the frame does not fit the log: {what}"))
        .with_reason(reason::LOG_MISMATCH)
}

impl LogFrame {
    /// A batch that was sealed, to be put where the log ends now. Others decide whether it will be.
    pub(crate) fn proposed(tip: &Tip, term: u64, batch: &Batch) -> LogFrame {
        let payload = batch.buffer.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let header = FrameHeader { term, ..tip.data(batch.count, payload, 0) };
        LogFrame { header: shared(header), payload: payload.into(), is_settled: false }
    }

    /// A frame of the log.
    pub(crate) fn logged(frame: &Frame) -> LogFrame {
        let payload: Arc<[u8]> = frame.payload().into();
        let payload_bytes = payload.len() as u32;
        let header = FrameHeader { payload_bytes, ..shared(frame.header) };
        LogFrame { header, payload, is_settled: true }
    }

    fn control(kind: u8, term: u64, payload: &[u8]) -> LogFrame {
        let header = FrameHeader { term, ..Tip::START.control(kind, payload, 0) };
        LogFrame { header: shared(header), payload: payload.into(), is_settled: false }
    }

    /// A frame that holds nothing, to be put wherever the log ends.
    pub fn blank(index: u64, term: u64) -> LogFrame {
        LogFrame::control(BLANK, term, &[]).placed(index, term)
    }

    /// A frame that says who belongs to the group, in at most 64 KiB of the driver's words.
    pub fn members(index: u64, term: u64, words: &str) -> LogFrame {
        LogFrame::control(MEMBERS, term, words.as_bytes()).placed(index, term)
    }

    /// A frame behind which a history begins, where the log ends now.
    pub(crate) fn epoch(tip: &Tip, epoch: Epoch, term: u64) -> LogFrame {
        let frame = LogFrame::control(EPOCH, term, &epoch.encode()).placed(tip.index, term);
        LogFrame { header: FrameHeader { first: tip.next, ..frame.header }, ..frame }
    }

    /// The same frame under the index and the term that it gets.
    #[must_use]
    pub fn placed(mut self, index: u64, term: u64) -> LogFrame {
        self.header = FrameHeader { index, term, ..self.header };
        self
    }

    /// The frame as it is in the log, with this header.
    pub(crate) fn settled_as(&self, header: &FrameHeader) -> LogFrame {
        LogFrame { header: shared(*header), payload: self.payload.clone(), is_settled: true }
    }

    /// Its number in the log, from 1.
    pub fn index(&self) -> u64 {
        self.header.index
    }

    /// The term of whoever wrote it.
    pub fn term(&self) -> u64 {
        self.header.term
    }

    /// What it is.
    pub fn kind(&self) -> FrameKind {
        match self.header.kind {
            DATA => FrameKind::Data,
            EPOCH => FrameKind::Epoch,
            MEMBERS => FrameKind::Members,
            _ => FrameKind::Blank,
        }
    }

    /// Whether it takes an index and counts for nothing else.
    pub fn is_void(&self) -> bool {
        self.header.flags & VOID != 0
    }

    /// The offset of its first change; of one without changes, the next one.
    pub fn first(&self) -> Offset {
        self.header.first
    }

    /// How many changes it holds.
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// The hash of all changes up to it.
    pub fn chain(&self) -> u64 {
        self.header.chain
    }

    /// What it says of who belongs to the group.
    pub fn said_members(&self) -> Option<GroupMembers> {
        let is_said = self.kind() == FrameKind::Members && !self.is_void();
        is_said.then(|| GroupMembers::of(self.index(), self.term(), &self.payload))?
    }

    /// The bytes of its changes.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    pub(crate) fn header(&self) -> &FrameHeader {
        &self.header
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(crate) fn effects(&self) -> Effects<'_> {
        Effects::new(self.header.format, &self.payload, self.header.first)
    }

    /// The time of its newest effect.
    pub(crate) fn time(&self) -> Option<TimestampMs> {
        self.header.has_effects().then(|| self.effects().last().map(|(_, effect)| effect.at))?
    }

    /// The bytes that travel; whoever carries them protects them.
    pub fn encode(&self) -> Vec<u8> {
        let head = self.header.encode();
        let mut bytes = Vec::with_capacity(SHARED_BYTES + self.payload.len());
        bytes.extend_from_slice(head.get(..SHARED_BYTES).unwrap_or_default());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Reads the bytes of a frame that was in a log.
    ///
    /// Errors: reason `log_mismatch` when they are none, or those of a later release.
    pub fn decode(bytes: &[u8]) -> Result<LogFrame> {
        let head = bytes.get(..SHARED_BYTES).ok_or_else(|| mismatch("it is cut off"))?;
        let mut room = [0; FRAME_HEADER_BYTES];
        if let Some(room) = room.get_mut(..SHARED_BYTES) {
            room.copy_from_slice(head);
        }
        let header = match FrameHeader::decode(&room) {
            Some(header) if u32_at(head, 0) == Some(FRAME_MAGIC) => header,
            _ => return Err(mismatch("these bytes are none")),
        };
        if header.format < FRAME_FORMAT {
            return Err(mismatch("it has an older format"));
        }
        if let Some(what) = header.newer(0) {
            return Err(mismatch(&format!("it {what}")));
        }
        let payload = bytes.get(SHARED_BYTES..).unwrap_or_default();
        let is_number = |number| (1..=OFFSET_MAX).contains(&number);
        if payload.len() != header.payload_bytes as usize
            || payload.len() > FRAME_PAYLOAD_BYTES_MAX
            || (header.count == 0) != (header.kind != DATA)
            || !is_number(header.first)
            || !is_number(header.index)
        {
            return Err(mismatch("what its header says makes no sense"));
        }
        Ok(LogFrame { header, payload: payload.into(), is_settled: true })
    }

    /// The header that the frame gets where a log ends. The same log decides the same on every node: a frame that
    /// goes on from another place than this is void.
    ///
    /// Errors: reason `log_mismatch` when it is not the next one, or came with another decision.
    pub(crate) fn settle(&self, tip: &Tip) -> Result<FrameHeader> {
        let FrameHeader { index, term, .. } = self.header;
        if index != tip.index {
            return Err(mismatch(&format!("it has index {index}, the next one is {}", tip.index)));
        }
        if term < tip.term {
            return Err(mismatch(&format!("it has term {term}, the one before it {}", tip.term)));
        }
        let mut header = self.header;
        if matches!(header.kind, BLANK | MEMBERS) && !self.is_settled {
            header = FrameHeader { first: tip.next, chain: tip.chain, ..header };
        } else if header.kind == EPOCH && !self.is_settled {
            header.chain = tip.chain;
        }
        // Nobody could apply it.
        if header.kind == EPOCH && Epoch::decode(&header, &self.payload).is_none() {
            return Err(mismatch("what it says of its epoch makes no sense"));
        }
        if header.kind == MEMBERS && GroupMembers::of(index, term, &self.payload).is_none() {
            return Err(mismatch("what it says of the group's members makes no sense"));
        }
        let chain = match header.kind {
            DATA => chained(tip.chain, header.first, header.count, &self.payload),
            _ => tip.chain,
        };
        let fits = header.first == tip.next && header.chain == chain;
        if fits == self.is_void() && self.is_settled {
            let what = "what it goes on from is not here: the logs differ";
            return Err(mismatch(what).with("index", index).with("offset", header.first));
        }
        let is_void = !fits && guards::enabled(Safeguard::VoidRule);
        header.flags = if is_void { VOID } else { 0 };
        Ok(header)
    }
}

/// A header without what is of one disk.
fn shared(header: FrameHeader) -> FrameHeader {
    FrameHeader { flags: header.flags & VOID, synced: 0, uncommitted: 0, previous: 0, ..header }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lineage::Begins;

    const TIP: Tip = Tip { next: 7, index: 9, term: 3, chain: 5, previous: 99 };

    fn batch(first: Offset) -> Batch {
        let buffer = [&[0; FRAME_HEADER_BYTES][..], b"payload"].concat();
        Batch { buffer, first, count: 2, at: 0 }
    }

    fn again(frame: &LogFrame, tip: &Tip) -> LogFrame {
        let header = frame.settle(tip).unwrap();
        LogFrame { header, is_settled: true, ..frame.clone() }
    }

    #[test]
    fn frames_travel_whole_and_other_bytes_are_refused() {
        let epoch = Epoch { number: 1, begins: Begins { id: 4, first: 7 } };
        let frames = [
            LogFrame::proposed(&TIP, 3, &batch(7)),
            LogFrame::blank(9, 4),
            LogFrame::members(9, 4, "one, two"),
            LogFrame::epoch(&TIP, epoch, 1 << 16),
        ];
        for frame in frames.map(|frame| again(&frame, &TIP)) {
            let bytes = frame.encode();
            assert_eq!(LogFrame::decode(&bytes).unwrap(), frame);
            assert_eq!(frame.settle(&TIP).unwrap(), frame.header, "the same here as there");
            for length in 0..bytes.len() {
                assert!(LogFrame::decode(&bytes[..length]).is_err(), "{length}");
            }
            for (at, value) in [(0, 0), (4, 1), (4, 3), (5, 9), (6, 2), (7, 1), (12, 7), (31, 255)]
            {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                let found = LogFrame::decode(&wrong);
                let is_refused = found.is_err() || found.is_ok_and(|it| it.settle(&TIP).is_err());
                assert!(is_refused, "{value} at {at}");
            }
        }
    }

    #[test]
    fn an_epoch_of_another_term_is_refused() {
        let epoch = Epoch { number: 1, begins: Begins { id: 4, first: 7 } };
        let frame = LogFrame::epoch(&TIP, epoch, 1 << 16);
        assert!(frame.settle(&TIP).is_ok());
        assert!(frame.placed(9, 2 << 16).settle(&TIP).is_err());
    }

    #[test]
    fn a_frame_that_goes_on_from_elsewhere_is_void_and_one_that_is_not_the_next_is_refused() {
        let frame = LogFrame::proposed(&TIP, 3, &batch(7));
        let is_void = |tip: &Tip| frame.settle(tip).map(|header| header.flags == VOID).ok();
        assert_eq!(is_void(&TIP), Some(false));
        assert_eq!(is_void(&Tip { next: 8, ..TIP }), Some(true));
        assert_eq!(is_void(&Tip { chain: 6, ..TIP }), Some(true));
        assert_eq!(is_void(&Tip { index: 10, ..TIP }), None);
        assert_eq!(is_void(&Tip { term: 4, ..TIP }), None);
        let void = again(&frame, &Tip { chain: 6, ..TIP });
        assert!(void.is_void() && void.settle(&TIP).is_err(), "here it would count");
        assert!(void.settle(&Tip { chain: 6, ..TIP }).is_ok());
        let counts = again(&frame, &TIP);
        assert!(counts.settle(&Tip { chain: 6, ..TIP }).is_err(), "there it did not count");
    }
}
