//! Checkpoints on their way between nodes.

use std::sync::Arc;

use rstmdb_engine::replication::{Installed, LogFrame};
use rstmdb_types::Result;

/// Where a checkpoint that is handed over comes from.
pub trait SnapshotSource: Send + Sync {
    /// Reads some of its bytes at a position; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;

    /// Some frames that go with it, from an index on; none when there are no more.
    fn frames(&self, from: u64, to: u64) -> Result<Vec<LogFrame>>;
}

/// A checkpoint on its way from one node to another, and the frames that it is of no use without.
#[derive(Clone)]
pub struct SnapshotFile {
    /// Where the log goes on behind it.
    pub at: Installed,
    /// Its size.
    pub bytes: u64,
    /// Where its bytes are.
    pub source: Arc<dyn SnapshotSource>,
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotFile({:?}, {} bytes)", self.at, self.bytes)
    }
}

impl SnapshotFile {
    /// The frames that go with it.
    pub fn frames(&self) -> impl Iterator<Item = Result<LogFrame>> + '_ {
        let mut next = self.at.index + 1;
        let mut piece = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if piece.len() == 0 && next <= self.at.until {
                match self.source.frames(next, self.at.until) {
                    Ok(frames) => piece = frames.into_iter(),
                    Err(error) => {
                        next = u64::MAX;
                        return Some(Err(error));
                    }
                }
            }
            let frame = piece.next()?;
            next = frame.index() + 1;
            Some(Ok(frame))
        })
    }
}
