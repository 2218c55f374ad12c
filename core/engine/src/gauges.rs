//! What is known beside the locks, for those who watch over a database: the newest checkpoint, and whether the disk
//! has room.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, TimestampMs};

use crate::log::queue::SinkResult;
use crate::storage::Storage;

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

/// Whether the last write found no room on the disk.
#[derive(Debug, Default)]
pub(crate) struct DiskRoom {
    /// Looked at for each batch, so without a lock.
    is_refused: AtomicBool,
    /// The answer, and what was free then.
    refused: Mutex<Option<(Error, Option<u64>)>>,
}

impl DiskRoom {
    /// Learns what became of a write.
    pub(crate) fn learn(&self, written: &SinkResult, storage: &dyn Storage) {
        match written {
            Ok(()) if !self.is_refused.load(Ordering::Relaxed) => {}
            Ok(()) => self.forget(&mut self.refused.lock()),
            Err(failure) if failure.batch.reason() == Some(reason::DISK_FULL) => {
                let free = storage.free_bytes().ok().flatten();
                *self.refused.lock() = Some((failure.batch.clone(), free));
                self.is_refused.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }

    fn forget(&self, refused: &mut Option<(Error, Option<u64>)>) {
        *refused = None;
        self.is_refused.store(false, Ordering::Relaxed);
    }

    /// The answer that a write would get. Room that was made since counts, also when nobody has written.
    pub(crate) fn refusal(&self, storage: &dyn Storage, minimum: u64) -> Option<Error> {
        if !self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let mut refused = self.refused.lock();
        let (error, then) = refused.clone()?;
        let now = storage.free_bytes().ok().flatten();
        if now.is_some_and(|now| now >= minimum && then.is_some_and(|then| now > then)) {
            self.forget(&mut refused);
            return None;
        }
        Some(error)
    }
}
