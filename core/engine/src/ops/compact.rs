//! Writes a checkpoint and deletes log segments that are no longer needed.

use std::io;
use std::sync::atomic::Ordering;

use rstmdb_types::{CompactRequest, CompactResult, Offset, Result};

use super::Edge;
use crate::checkpoint::begin::Begin;
use crate::checkpoint::write::WrittenCheckpoint;
use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::error::{io as io_error, writing};
use crate::manifest::{MANIFEST, Manifest};
use crate::options::Background;
use crate::replication::standing::NodeState;
use crate::shared::Shared;
use crate::storage::remove_if_there;

/// The newest checkpoints kept: the one before serves when the newest is damaged.
const CHECKPOINTS_KEPT: usize = 2;

impl Shared {
    pub(crate) fn compact(
        &self,
        request: CompactRequest,
        edge: &Edge<'_>,
    ) -> Result<CompactResult> {
        self.check_open()?;
        // One at a time; the manifest is only changed under this lock.
        let mut manifest = self.manifest.lock();
        // Closing waits for this lock, and nothing may be written after it.
        self.check_open()?;
        // What is covered goes first: there may be no room for anything new before.
        let (mut segments_deleted, mut bytes_reclaimed) = self.make_room(&mut manifest)?;
        let newest = match manifest.checkpoints.last() {
            Some(checkpoint) => checkpoint.offset,
            // In memory a mark is all there is of a checkpoint.
            None if self.storage.is_volatile() => self.state.marked.load(Ordering::Acquire),
            None => 0,
        };
        let mut snapshots_created = 0;
        if let Some(node) = &self.node {
            if self.queue.check_stands().is_ok() {
                *node.boundary.lock() = Some(self.begin_checkpoint(edge)?);
                self.queue.request_write();
            }
            // It begins where all others may begin theirs: at a boundary in the log.
            snapshots_created = self.checkpoint_at_boundary(node, &mut manifest)?;
        } else if request.force_snapshot || newest < self.queue.appended() {
            // A flush in the middle spoils a checkpoint: then there is little left to write.
            snapshots_created = loop {
                let reach = self.growth.reach();
                let begin = self.begin_checkpoint(edge)?;
                self.schedule.lock().begun(reach);
                if let Some(created) = self.checkpoint(&mut manifest, begin)? {
                    break created;
                }
            };
        }
        let (segments, bytes) = self.retain(&mut manifest)?;
        segments_deleted += segments;
        bytes_reclaimed += bytes;
        self.purge(&manifest, edge)?;
        self.tidy_snapshots_or_warn(&manifest);
        Ok(CompactResult {
            snapshots_created,
            segments_deleted,
            bytes_reclaimed,
            total_snapshots: manifest.checkpoints.last().map_or(0, |newest| newest.instances),
            wal_segments: self.files.totals().0,
        })
    }

    /// Writes a checkpoint that begins at the newest boundary in the log, unless there is one.
    fn checkpoint_at_boundary(&self, node: &NodeState, manifest: &mut Manifest) -> Result<u64> {
        let Some(begin) = node.boundary.lock().take() else { return Ok(0) };
        match self.queue.settled(begin.ticket) {
            Some(Ok(())) => {}
            // It was taken back.
            Some(Err(_)) => return Ok(0),
            None if self.options.background == Background::Threads => {
                self.queue.wait(begin.ticket)?;
            }
            None => {
                node.boundary.lock().get_or_insert(begin);
                return Ok(0);
            }
        }
        let newest = manifest.checkpoints.last().map_or(0, |newest| newest.offset);
        if begin.ticket.offset <= newest {
            return Ok(0);
        }
        let ticket = self.queue.ticket(begin.ticket.offset).without_round();
        Ok(self.checkpoint(manifest, Begin { ticket, ..begin })?.unwrap_or(0))
    }

    fn make_room(&self, manifest: &mut Manifest) -> Result<(u64, u64)> {
        self.queue.try_with_sink(|sink| sink.writer.make_room())?;
        self.retain(manifest)
    }

    /// Makes the next opening quick when nobody writes any more. This is no effect: no node knows when
    /// another is closed.
    pub(crate) fn checkpoint_at_close(&self) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let begin = self.begin_at_close()?;
        self.checkpoint(&mut manifest, begin)?;
        self.retain(&mut manifest)?;
        Ok(())
    }

    /// Writes the checkpoint that begins at a place; nothing if everything was flushed since then.
    pub(crate) fn checkpoint(&self, manifest: &mut Manifest, begin: Begin) -> Result<Option<u64>> {
        let (offset, boundary) = (begin.ticket.offset, begin.boundary);
        if self.storage.is_volatile() {
            // Nothing to recover from, but the log may be cut here.
            manifest.boundaries.push(begin.boundary);
            return Ok(Some(0));
        }
        let last_number = manifest
            .checkpoints
            .last()
            .and_then(|last| last.file.strip_suffix(".ckpt")?.parse::<u64>().ok());
        let number = last_number.unwrap_or(0) + 1;
        let written = self.write_checkpoint(number, begin);
        let Some(written) = written.inspect_err(|error| self.note_damage(error))? else {
            return Ok(None);
        };
        let WrittenCheckpoint { entry, lineage, created_at } = written;
        let instances = entry.instances;
        let mut next = manifest.clone();
        next.checkpoints.push(entry);
        next.history = lineage;
        if boundary > next.boundaries.last().copied().unwrap_or(0) {
            next.boundaries.push(boundary);
        }
        let surplus = next.checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
        let held = self.backups.held(self.time.monotonic_ms());
        let (read, old): (Vec<_>, Vec<_>) =
            next.checkpoints.drain(..surplus).partition(|old| held.has_checkpoint(&old.file));
        next.checkpoints.splice(..0, read);
        self.replace_manifest(manifest, next, offset)?;
        drop(held);
        self.newest_checkpoint.set(offset, created_at);
        for checkpoint in old {
            self.remove_checkpoint(&checkpoint.file)?;
        }
        Ok(Some(instances))
    }

    fn remove_checkpoint(&self, file: &str) -> Result<()> {
        let removed = remove_if_there(&*self.storage, &checkpoint_path(file));
        let synced = removed.and_then(|()| self.storage.sync_dir(CHECKPOINT_DIRECTORY));
        synced.map_err(|error: io::Error| io_error(&format!("removing {file}"), error))
    }

    pub(crate) fn replace_manifest(
        &self,
        manifest: &mut Manifest,
        mut next: Manifest,
        durable: Offset,
    ) -> Result<()> {
        self.check_directory()?;
        self.manifest_file.replace(&mut next, durable).map_err(|error| writing(MANIFEST, error))?;
        *manifest = next;
        Ok(())
    }
}
