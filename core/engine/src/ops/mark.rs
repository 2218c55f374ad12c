//! What the database logs of itself: places where checkpoints begin, and the purge floor.

use rstmdb_types::{Offset, Result};

use super::Edge;
use super::decision::Draft;
use crate::checkpoint::begin::Begin;
use crate::log::Body;
use crate::log::kinds::{Mark, PURGE_FLOOR, Progress};
use crate::manifest::Manifest;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked, Needs};

/// Instances forgotten under one hold of a lock.
const SWEEP_MAX: usize = 1024;

impl Shared {
    /// Logs a mark: a place that a checkpoint may begin at, with the digest where one is kept.
    pub(crate) fn mark(&self, is_boundary: bool, edge: &Edge<'_>) -> Result<Begin> {
        let mut locked = self.lock_instances();
        self.queue.check_stands()?;
        let digest = locked.digest();
        let body = Body::Mark(Mark { is_boundary, floor: 0, digest });
        let draft = Draft { body, known: Known::Nothing };
        let (offset, _) = self.log_one(&mut locked, edge.at_ms, draft)?;
        if let Some(digest) = digest {
            self.state.note_digest(offset, digest);
        }
        // Readers may begin with the mark itself: who waits for news is there.
        Ok(self.begin_at(offset, offset - 1))
    }

    /// What is logged between two changes of instances must be applied between them too.
    fn lock_instances(&self) -> Locked<'_> {
        let partitions = (0..self.state.partitions.len()).collect();
        let needs = Needs { partitions, ..Needs::default() };
        Locked::of(&self.state, &needs).undoing(self.undo_below())
    }

    /// Forgets deleted instances that nobody can ask for any more: what they were is neither in the log
    /// nor inside the window of idempotency keys.
    pub(crate) fn purge(&self, manifest: &Manifest, edge: &Edge<'_>) -> Result<()> {
        let floor = self.unneeded_below(manifest);
        let is_due = || {
            let mut partitions = self.state.partitions.iter();
            partitions.any(|partition| partition.lock().has_graves(floor))
        };
        let stands = self.queue.check_stands().is_ok();
        if stands && floor > self.state.purge_floor() && is_due() {
            self.raise_purge_floor(floor, edge)?;
        }
        // Where others decide, it may be taken back until they have.
        let is_decided = || {
            matches!(self.queue.settled(self.queue.ticket_of_all().without_round()), Some(Ok(())))
        };
        if self.node.is_none() || is_decided() {
            self.sweep(self.state.purge_floor());
        }
        Ok(())
    }

    /// Logs up to where deleted instances are forgotten: it is an effect, so every node agrees.
    pub(crate) fn raise_purge_floor(&self, floor: Offset, edge: &Edge<'_>) -> Result<()> {
        let mut locked = self.lock_instances();
        self.queue.check_stands()?;
        let numbers = vec![floor];
        let body = Body::Progress(Progress { kind: PURGE_FLOOR, name: "", numbers });
        let draft = Draft { body, known: Known::Nothing };
        let (offset, _) = self.log_one(&mut locked, edge.at_ms, draft)?;
        drop(locked);
        if self.node.is_some() {
            self.queue.request_write();
            return Ok(());
        }
        // Nothing brings back what is swept afterwards.
        self.queue.wait(self.queue.ticket(offset).without_round())
    }

    fn sweep(&self, floor: Offset) {
        for partition in &self.state.partitions {
            while partition.lock().sweep(floor, SWEEP_MAX) {}
        }
    }

    /// Up to where nobody needs a deleted instance: a segment that begins outside the window of keys
    /// has only older changes before it.
    fn unneeded_below(&self, manifest: &Manifest) -> Offset {
        let newest = self.queue.log_time();
        let young = |created_at| newest.saturating_sub(created_at) < self.state.key_window_ms;
        let segments = self.files.list();
        let old = segments.iter().rev().find(|segment| !young(segment.created_at));
        old.map_or(0, |segment| segment.first).min(manifest.first_offset)
    }
}
