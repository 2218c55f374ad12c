//! How much of the log stays: what checkpoints need, and the history that was asked for.

use std::io;
use std::sync::atomic::Ordering;

use rstmdb_types::{Offset, Result};

use crate::error::{check_free_space, io as io_error};
use crate::log::Segment;
use crate::log::segment::LOG_DIRECTORY;
use crate::manifest::Manifest;
use crate::options::Retention;
use crate::shared::Shared;

impl Shared {
    /// Deletes segments that neither a checkpoint nor the history asked for needs.
    pub(crate) fn retain(&self, manifest: &mut Manifest) -> Result<(u64, u64)> {
        let segments = self.files.list();
        let wanted = self.history_floor(&segments, manifest.first_offset);
        let covered = match self.storage.is_volatile() {
            true => Offset::MAX,
            false => manifest.checkpoints.last().map_or(0, |checkpoint| checkpoint.offset) + 1,
        };
        let claimed = self.claims.lock().values().min().copied().unwrap_or(Offset::MAX);
        let floor = wanted.min(covered).min(claimed);
        // The log may only begin where every context can be told from the log alone.
        let mut boundary = manifest.boundaries.iter().rev().find(|boundary| **boundary < floor);
        if wanted > manifest.first_offset && self.check_free_space().is_err() {
            // There is more than was asked for and no room: then less of it rather than more.
            let mut later = manifest.boundaries.iter();
            boundary = later.find(|at| (floor..covered).contains(*at)).or(boundary);
        }
        let Some(first_offset) = boundary.map(|boundary| boundary + 1) else { return Ok((0, 0)) };
        // Nobody begins to read what is about to go, from here until the manifest does not name it any more.
        let mut held = self.backups.held(self.time.monotonic_ms());
        if self.check_free_space().is_err() {
            held.release("the disk is full");
        }
        let read_from = held.first_segment().unwrap_or(u64::MAX);
        let needed = segments.iter().skip(1);
        let needed = needed.map(|next| next.first > first_offset || next.number > read_from);
        let keep_from = needed.take_while(|needed| !needed).count();
        let delete = segments.get(..keep_from).unwrap_or_default();
        let Some(first_kept) = segments.get(keep_from).filter(|_| !delete.is_empty()) else {
            return Ok((0, 0));
        };
        let mut next = manifest.clone();
        next.first_segment = first_kept.number;
        next.first_offset = first_offset;
        next.boundaries.retain(|boundary| *boundary + 1 >= first_offset);
        next.history.forget_before(first_offset);
        self.files.lineage.lock().forget_before(first_offset);
        // Readers are turned away first, then the manifest forgets, then the files go.
        self.first_offset.store(first_offset, Ordering::Release);
        self.replace_manifest(manifest, next, 0)?;
        drop(held);
        let failed = |error: io::Error| io_error("deleting old segments", error);
        for segment in delete {
            self.files.remove(segment.number).map_err(failed)?;
        }
        if !self.storage.is_volatile() {
            self.storage.sync_dir(LOG_DIRECTORY).map_err(failed)?;
        }
        let bytes = delete.iter().map(|segment| segment.bytes).sum();
        Ok((delete.len() as u64, bytes))
    }

    /// Refuses what may not take of the space that is kept back.
    pub(crate) fn check_free_space(&self) -> Result<()> {
        check_free_space(&*self.storage, self.options.free_bytes_min)
    }

    /// The first offset that the configured history still wants.
    fn history_floor(&self, segments: &[Segment], first: Offset) -> Offset {
        match self.options.retention {
            Retention::Forever => first,
            Retention::Bytes(most) => {
                let mut bytes = 0;
                let kept = segments.iter().rev().take_while(|segment| {
                    bytes += segment.bytes;
                    bytes <= most
                });
                kept.last().map_or(Offset::MAX, |oldest| oldest.first)
            }
            Retention::Age(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let oldest = self.queue.log_time().saturating_sub(age);
                // Everything in a segment is older than the segment after it.
                let young = segments
                    .iter()
                    .zip(segments.iter().skip(1))
                    .find(|(_, next)| next.created_at >= oldest);
                let newest = segments.last().map_or(first, |newest| newest.first);
                young.map_or(newest, |(segment, _)| segment.first)
            }
        }
    }
}
