//! How a database is, for those who watch over it: whether it takes writes, and how much room there is.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, TimestampMs};

use crate::shared::Shared;

/// Figures of an open database that no request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// What is free on the disk, where there is one.
    pub free_bytes: Option<u64>,
    /// The last change that the newest checkpoint holds; 0 without one.
    pub checkpoint_offset: Offset,
    /// The time in the log when it was written; 0 without one.
    pub checkpoint_at: TimestampMs,
    /// The time in the log at which the oldest part of it begins that is still there.
    pub oldest_at: TimestampMs,
}

impl Shared {
    /// Why writes are refused now; none when they are accepted.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let room = || self.disk_room.refusal(&*self.storage, self.options.free_bytes_min);
        self.queue.refusal().or_else(room)
    }

    /// Remembers that stored bytes are not what was written, for who watches over the database.
    pub(crate) fn note_damage(&self, error: &Error) {
        if error.reason() == Some(reason::CORRUPT) {
            self.damage.get_or_init(|| error.clone());
        }
    }

    /// Waits for nothing but the file system.
    pub(crate) fn condition(&self) -> Condition {
        let (checkpoint_offset, checkpoint_at) = self.newest_checkpoint.get();
        Condition {
            free_bytes: self.storage.free_bytes().ok().flatten(),
            checkpoint_offset,
            checkpoint_at,
            oldest_at: self.files.list().first().map_or(0, |segment| segment.created_at),
        }
    }
}
