//! Recent frames in memory, for watches: bounded, filled only while somebody watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rstmdb_types::Offset;

use super::files::Frame;

/// The newest frames, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    frames: Mutex<(VecDeque<Arc<Frame>>, usize)>,
    bytes_max: usize,
    subscribers: AtomicUsize,
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Ring {
        Ring { frames: Mutex::default(), bytes_max, subscribers: AtomicUsize::new(0) }
    }

    pub(crate) fn subscribe(&self) {
        self.subscribers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn unsubscribe(&self) {
        if self.subscribers.fetch_sub(1, Ordering::SeqCst) == 1 {
            *self.frames.lock() = (VecDeque::new(), 0);
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::SeqCst)
    }

    pub(crate) fn push(&self, frame: impl FnOnce() -> Frame) {
        if self.subscribers() == 0 {
            return;
        }
        let frame = Arc::new(frame());
        let mut guard = self.frames.lock();
        let (frames, bytes) = &mut *guard;
        *bytes += frame.bytes();
        frames.push_back(frame);
        while *bytes > self.bytes_max && frames.len() > 1 {
            *bytes -= frames.pop_front().map_or(0, |frame| frame.bytes());
        }
    }

    /// Forgets frames behind this offset, which are in the log no more.
    pub(crate) fn cut(&self, last: Offset) {
        let mut guard = self.frames.lock();
        let (frames, bytes) = &mut *guard;
        while frames.back().is_some_and(|frame| frame.header.last() > last) {
            *bytes -= frames.pop_back().map_or(0, |frame| frame.bytes());
        }
    }

    /// The frame that holds `offset`, if it is still here.
    pub(crate) fn get(&self, offset: Offset) -> Option<Arc<Frame>> {
        let guard = self.frames.lock();
        let frames = &guard.0;
        let at = frames.partition_point(|frame| frame.header.last() < offset);
        frames.get(at).filter(|frame| frame.header.first <= offset).cloned()
    }
}
