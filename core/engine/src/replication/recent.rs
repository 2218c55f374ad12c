//! The newest frames of a node's log, in memory: they are to be applied, and others want them at once.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::log::exchange::LogFrame;

/// So many of their bytes are kept.
const BYTES_MAX: usize = 16 << 20;

/// Frames that go on from each other, the last of the log behind.
#[derive(Debug, Default)]
pub(crate) struct RecentFrames {
    kept: Mutex<FrameQueue>,
}

#[derive(Debug, Default)]
struct FrameQueue {
    frames: VecDeque<LogFrame>,
    bytes: usize,
}

impl FrameQueue {
    fn place(&self, index: u64) -> Option<usize> {
        let first = self.frames.front()?.index();
        usize::try_from(index.checked_sub(first)?).ok()
    }
}

impl RecentFrames {
    /// Notes what was appended, as it is in the log.
    pub(crate) fn push(&self, frame: LogFrame) {
        let mut kept = self.kept.lock();
        if kept.frames.back().is_some_and(|last| last.index() + 1 != frame.index()) {
            *kept = FrameQueue::default();
        }
        kept.bytes += frame.payload_bytes();
        kept.frames.push_back(frame);
        while kept.bytes > BYTES_MAX && kept.frames.len() > 1 {
            kept.bytes -= kept.frames.pop_front().map_or(0, |frame| frame.payload_bytes());
        }
    }

    /// The log was cut behind this index.
    pub(crate) fn cut_after(&self, index: u64) {
        let mut kept = self.kept.lock();
        while kept.frames.back().is_some_and(|last| last.index() > index) {
            kept.bytes -= kept.frames.pop_back().map_or(0, |frame| frame.payload_bytes());
        }
    }

    /// The frame of an index, if it is here.
    pub(crate) fn get(&self, index: u64) -> Option<LogFrame> {
        let kept = self.kept.lock();
        kept.frames.get(kept.place(index)?).cloned()
    }

    /// Frames from an index on, up to another and to about so many bytes, but at least one; nothing when it is not known
    /// here what comes from there on.
    pub(crate) fn range(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<LogFrame>> {
        let kept = self.kept.lock();
        let first = kept.place(from).filter(|first| *first <= kept.frames.len())?;
        let mut bytes = 0;
        let fits = |frame: &&LogFrame| {
            bytes += frame.payload_bytes();
            frame.index() <= to && (frame.index() == from || bytes <= bytes_max)
        };
        Some(kept.frames.range(first..).take_while(fits).cloned().collect())
    }
}
