//! Files that are kept because somebody reads a backup made of them.
//!
//! Held boundedly: for a minute behind the last read, for a few backups at a time, and not at all when the disk is
//! full. Who comes back later goes on as long as nobody deleted the files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rstmdb_types::Text;

use super::image::Image;
use crate::storage::{Storage, remove_if_there};

/// How long files are kept behind the last read.
const IDLE_MS: i64 = 60_000;
/// Backups that are held at a time; one more lets the one go that was not read for longest.
const HOLDS_MAX: usize = 16;

/// The backups that are being read.
#[derive(Default)]
pub(crate) struct Backups {
    holds: Mutex<Vec<HeldBackup>>,
    /// Checkpoints that were written for backups alone.
    own: AtomicU64,
}

/// What must stay for one.
pub(crate) struct HeldBackup {
    /// The oldest segment.
    pub segment: u64,
    /// The file of the checkpoint.
    pub checkpoint: Option<String>,
    /// When it was read, by the monotonic clock.
    pub read_at: i64,
    /// Nothing while it is being put together.
    pub image: Option<Arc<Image>>,
    /// A checkpoint that was written for it alone, and goes with this.
    pub _own: Option<OwnCheckpoint>,
}

/// The files that are kept now; none are added or let go while this is there.
pub(crate) struct HeldFiles<'a>(MutexGuard<'a, Vec<HeldBackup>>);

/// The file of a checkpoint that goes with this.
pub(crate) struct OwnCheckpoint {
    pub storage: Arc<dyn Storage>,
    pub path: String,
}

impl Drop for OwnCheckpoint {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&*self.storage, &self.path) {
            tracing::warn!("{} stays: {error}", self.path);
        }
    }
}

impl Backups {
    /// What is kept at this time of the monotonic clock.
    pub(crate) fn held(&self, now: i64) -> HeldFiles<'_> {
        let mut holds = self.holds.lock();
        holds.retain(|hold| now.saturating_sub(hold.read_at) <= IDLE_MS);
        HeldFiles(holds)
    }

    /// The backup of this name, if its files are kept; they are for a while from now on.
    pub(crate) fn find(&self, id: &str, now: i64) -> Option<Arc<Image>> {
        let mut held = self.held(now);
        let is_it = |hold: &&mut HeldBackup| {
            hold.image.as_ref().is_some_and(|image| image.description.backup_id == id)
        };
        let hold = held.0.iter_mut().find(is_it)?;
        hold.read_at = now;
        hold.image.clone()
    }

    /// The number of another checkpoint for a backup alone.
    pub(crate) fn next_number(&self) -> u64 {
        self.own.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Nothing is kept for it any more.
    pub(crate) fn end(&self, id: &Text) {
        let is_it = |image: &Arc<Image>| image.description.backup_id == id.as_str();
        self.holds.lock().retain(|hold| !hold.image.as_ref().is_some_and(is_it));
    }
}

impl HeldFiles<'_> {
    /// The oldest segment that somebody reads.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.0.iter().map(|hold| hold.segment).min()
    }

    pub(crate) fn has_checkpoint(&self, file: &str) -> bool {
        self.0.iter().any(|hold| hold.checkpoint.as_deref() == Some(file))
    }

    pub(crate) fn add(&mut self, hold: HeldBackup) {
        if self.0.len() >= HOLDS_MAX
            && let Some(at) =
                (0..self.0.len()).min_by_key(|at| self.0.get(*at).map(|hold| hold.read_at))
        {
            self.0.remove(at);
        }
        self.0.push(hold);
    }

    /// One that was being put together has come to something, or to nothing.
    pub(crate) fn forget_unfinished(&mut self, checkpoint: Option<&str>) {
        let is_it =
            |hold: &HeldBackup| hold.image.is_none() && hold.checkpoint.as_deref() == checkpoint;
        if let Some(at) = self.0.iter().position(is_it) {
            self.0.remove(at);
        }
    }

    /// Lets go of all of it.
    pub(crate) fn release(&mut self, why: &str) {
        if !self.0.is_empty() {
            tracing::warn!("the files of {} backups are not kept any longer: {why}", self.0.len());
            self.0.clear();
        }
    }
}
