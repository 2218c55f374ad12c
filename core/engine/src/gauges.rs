//! What is known beside the locks, for those who watch over a database: the newest checkpoint, and whether the disk
//! has room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, TimestampMs};

use crate::log::queue::SinkFailure;
use crate::storage::{Clock, Storage};

/// The newest checkpoint; beside the manifest, whose lock is held while the next one is written.
#[derive(Debug, Default)]
pub(crate) struct NewestCheckpoint {
    offset: AtomicU64,
    at: AtomicI64,
}

impl NewestCheckpoint {
    pub(crate) fn set(&self, offset: Offset, at: TimestampMs) {
        self.offset.store(offset, Ordering::Release);
        self.at.store(at, Ordering::Release);
    }

    pub(crate) fn get(&self) -> (Offset, TimestampMs) {
        (self.offset.load(Ordering::Acquire), self.at.load(Ordering::Acquire))
    }
}

/// A refusal for want of room is believed so long, when nothing else is heard: what is free need not grow for a write
/// to succeed, where others write too or quotas count.
const BELIEVED_MS: i64 = 30_000;

/// Whether the last write found no room on the disk.
pub(crate) struct DiskRoom {
    clock: Arc<dyn Clock>,
    /// Looked at for each batch, so without a lock.
    is_refused: AtomicBool,
    refused: Mutex<Option<Refused>>,
}

/// The answer, what was free then, and when that was.
struct Refused {
    error: Error,
    free: Option<u64>,
    at_ms: i64,
}

impl DiskRoom {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> DiskRoom {
        DiskRoom { clock, is_refused: AtomicBool::new(false), refused: Mutex::default() }
    }

    /// Learns what became of a write.
    pub(crate) fn learn(
        &self,
        written: &std::result::Result<(), &SinkFailure>,
        storage: &dyn Storage,
    ) {
        match written {
            Ok(()) if !self.is_refused.load(Ordering::Relaxed) => {}
            Ok(()) => self.forget(&mut self.refused.lock()),
            Err(failure) if failure.batch.reason() == Some(reason::DISK_FULL) => {
                let free = storage.free_bytes().ok().flatten();
                let (error, at_ms) = (failure.batch.clone(), self.clock.monotonic_ms());
                *self.refused.lock() = Some(Refused { error, free, at_ms });
                self.is_refused.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }

    fn forget(&self, refused: &mut Option<Refused>) {
        *refused = None;
        self.is_refused.store(false, Ordering::Relaxed);
    }

    /// The answer that a write would get. Room that was made since counts, also when nobody has written.
    pub(crate) fn refusal(&self, storage: &dyn Storage, minimum: u64) -> Option<Error> {
        if !self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        // Before the lock, which writes take too.
        let now = storage.free_bytes().ok().flatten();
        let mut refused = self.refused.lock();
        let Refused { error, free, at_ms } = refused.as_ref()?;
        let is_old = self.clock.monotonic_ms().saturating_sub(*at_ms) >= BELIEVED_MS;
        let has_more = now.zip(*free).is_some_and(|(now, then)| now > then);
        if now.is_none_or(|now| now >= minimum) && (has_more || is_old) {
            self.forget(&mut refused);
            return None;
        }
        Some(error.clone())
    }
}
