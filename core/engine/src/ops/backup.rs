//! Backups of an open database, piece by piece.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{BackupRequest, BackupResult, Error, Offset, Result, TimestampMs};

use super::Edge;
use crate::backup::holds::{HeldBackup, OwnCheckpoint};
use crate::backup::source::{
    BackupSource, Stretch, checkpoint_number, first_needed, no_checkpoint,
};
use crate::backup::view::NamedFile;
use crate::backup::{BackupId, Image, gone};
use crate::checkpoint::checkpoint_path;
use crate::manifest::{CheckpointEntry, Manifest};
use crate::shared::Shared;
use crate::storage::File;

impl Shared {
    pub(crate) fn backup(&self, request: BackupRequest, edge: &Edge<'_>) -> Result<BackupResult> {
        self.check_open()?;
        let position = request.position.unwrap_or(0);
        let image = match &request.backup_id {
            Some(id) => match self.backups.find(id, self.time.monotonic_ms()) {
                Some(image) => image,
                None => self.resume_backup(id)?,
            },
            None if position > 0 => {
                let message = "position is of a backup; say which in backup_id";
                return Err(
                    Error::invalid(reason::INVALID_REQUEST, message).with("field", "position")
                );
            }
            None => self.begin_backup(edge.at_ms)?,
        };
        let piece = image.piece(position, request.bytes_max);
        let piece = piece.inspect_err(|error| self.note_damage(error))?;
        if piece.next_position.is_none() {
            self.backups.end(&piece.backup_id);
        }
        Ok(piece)
    }

    /// Everything up to now.
    fn begin_backup(&self, begun_at: TimestampMs) -> Result<Arc<Image>> {
        // What can't be written any more is not committed, and not in it.
        let _ = self.queue.flush();
        let own = self.own_checkpoint()?;
        let newest = |manifest: &Manifest| {
            let own = own.as_ref().map(|(entry, _)| entry.clone());
            own.or_else(|| manifest.checkpoints.last().cloned())
        };
        let manifest = self.hold_from(&newest)?;
        let last = self.queue.committed();
        if !self.is_read_only {
            // What a crash could take back may not come back from a backup.
            let _ = self.queue.try_with_sink(|sink| sink.writer.sync());
        }
        let history = self.files.lineage.lock().of(last);
        let checkpoint = newest(&manifest);
        let own = own.map(|(_, file)| file);
        self.put_together(&manifest, (checkpoint, last, history, begun_at), own)
    }

    /// The same backup as before, from the files that are left.
    fn resume_backup(&self, id: &str) -> Result<Arc<Image>> {
        let parsed = BackupId::parse(id).ok_or_else(|| gone(id, "it is no name of a backup"))?;
        let BackupId { checkpoint, last, history, begun_at, database } = parsed;
        if !self.database.starts_with(&database) {
            return Err(gone(id, "it is of another database"));
        }
        let named = |manifest: &Manifest| {
            let mut entries = manifest.checkpoints.iter();
            entries.find(|entry| checkpoint_number(entry) == Some(checkpoint)).cloned()
        };
        let of_last = self.files.lineage.lock().of(last);
        if last > self.queue.committed() || of_last != history {
            return Err(gone(id, "the log is another one now"));
        }
        if checkpoint != 0 && named(&self.manifest_file.current()).is_none() {
            return Err(gone(id, "its checkpoint was replaced"));
        }
        let manifest = self.hold_from(&named);
        let manifest =
            manifest.map_err(|_| gone(id, "the log behind its checkpoint was deleted"))?;
        let entry = named(&manifest);
        let image = self.put_together(&manifest, (entry, last, history, begun_at), None)?;
        // Whatever the reason: the pieces would not fit those that are there.
        match image.description.backup_id == id {
            true => Ok(image),
            false => Err(gone(id, "its files are others now")),
        }
    }

    /// Keeps what a backup needs from a checkpoint on, before a compaction finds it useless.
    fn hold_from(
        &self,
        checkpoint: &dyn Fn(&Manifest) -> Option<CheckpointEntry>,
    ) -> Result<Manifest> {
        let now = self.time.monotonic_ms();
        let mut held = self.backups.held(now);
        let manifest = self.manifest_file.current();
        let entry = checkpoint(&manifest);
        let after = entry.as_ref().map_or(0, |entry| entry.offset);
        let segments = self.files.list();
        let first = first_needed(&segments, after).and_then(|at| segments.get(at));
        let segment = first.ok_or_else(no_checkpoint)?.number;
        let checkpoint = entry.map(|entry| entry.file);
        held.add(HeldBackup { segment, checkpoint, read_at: now, image: None, _own: None });
        Ok(manifest)
    }

    fn put_together(
        &self,
        manifest: &Manifest,
        (checkpoint, last, history, begun_at): (
            Option<CheckpointEntry>,
            Offset,
            Option<u64>,
            TimestampMs,
        ),
        own: Option<OwnCheckpoint>,
    ) -> Result<Arc<Image>> {
        let after = checkpoint.as_ref().map_or(0, |entry| entry.offset);
        let file = checkpoint.as_ref().map(|entry| entry.file.clone());
        let made = Stretch::of(&self.files, after, last).and_then(|stretch| {
            let Stretch { segments, last_at } = stretch;
            let segment = segments.first().map_or(0, |segment| segment.number);
            let source =
                BackupSource { manifest, checkpoint, segments, last, last_at, history, begun_at };
            let open = |path: &str| -> Result<Arc<dyn File>> {
                let storage = self.storage.clone();
                Ok(Arc::new(NamedFile { storage, path: path.to_owned() }))
            };
            Ok((segment, Arc::new(source.image(&open)?)))
        });
        let now = self.time.monotonic_ms();
        let mut held = self.backups.held(now);
        held.forget_unfinished(file.as_deref());
        let (segment, image) = made?;
        let hold = HeldBackup {
            segment,
            checkpoint: file,
            read_at: now,
            image: Some(image.clone()),
            _own: own,
        };
        held.add(hold);
        Ok(image)
    }

    /// In memory nobody writes checkpoints: where the log does not tell everything, one is written for the backup.
    fn own_checkpoint(&self) -> Result<Option<(CheckpointEntry, OwnCheckpoint)>> {
        let is_whole = || self.files.list().first().is_none_or(|oldest| oldest.first == 1);
        if !self.storage.is_volatile() || is_whole() {
            return Ok(None);
        }
        // Compactions begin segments too.
        let _manifest = self.manifest.lock();
        loop {
            let number = self.backups.next_number();
            let begin = self.begin_at_end()?;
            if let Some(written) = self.write_checkpoint(number, begin)? {
                let (storage, path) = (self.storage.clone(), checkpoint_path(&written.entry.file));
                return Ok(Some((written.entry, OwnCheckpoint { storage, path })));
            }
        }
    }
}
