//! A backup of a directory, whether somebody has it open or not, without asking them.
//!
//! What a crash at this moment would leave is taken: the intact frames, up to the last. That is what the next opening
//! would find, so no change is missing that was acknowledged before. Nothing is locked and nothing changed; the
//! files are held open, so that a compaction meanwhile takes nothing away.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{
    BackupRequest, BackupResult, Error, ErrorCode, Offset, Result, Text, TimestampMs,
};

use super::id::{BackupId, gone};
use super::image::Image;
use super::source::{BackupSource, Stretch, checkpoint_number};
use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::open_checkpoint;
use crate::error::io as io_error;
use crate::log::recovery::{RecoveryPlan, read};
use crate::log::{LogFiles, OFFSET_MAX, Sealer};
use crate::manifest::{CheckpointEntry, Manifest, Role};
use crate::options::Location;
use crate::storage::File;

/// How often it is read again when a file was deleted or written meanwhile.
const ATTEMPTS: u32 = 5;

/// A backup of a directory.
pub struct DirectoryBackup {
    image: Image,
}

impl std::fmt::Debug for DirectoryBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DirectoryBackup").field(&self.image.description.backup_id).finish()
    }
}

/// Up to where, and of when.
#[derive(Clone, Copy)]
struct Wanted {
    checkpoint: Option<u64>,
    last: Option<Offset>,
    begun_at: TimestampMs,
}

impl DirectoryBackup {
    /// Begins a backup, or goes on with one of this name.
    ///
    /// Errors: `NOT_FOUND` when there is no database, and with reason `backup_gone` when files are not there any more
    /// that the backup is made of; reason `corrupt` when the log is damaged.
    pub fn of(location: &Location, backup_id: Option<&str>) -> Result<DirectoryBackup> {
        let begun_at = location.clock.now_ms();
        let wanted = match backup_id {
            None => Wanted { checkpoint: None, last: None, begun_at },
            Some(id) => {
                let known =
                    BackupId::parse(id).ok_or_else(|| gone(id, "it is no name of a backup"))?;
                let BackupId { checkpoint, last, begun_at, .. } = known;
                Wanted { checkpoint: Some(checkpoint), last: Some(last), begun_at }
            }
        };
        let mut attempt = 1;
        let image = loop {
            match image(location, wanted) {
                // A compaction took a file away, or a frame was seen while it was written.
                Err(error) if attempt < ATTEMPTS && error.reason() == Some(reason::CORRUPT) => {
                    attempt += 1;
                }
                image => break image?,
            }
        };
        match backup_id.filter(|id| *image.description.backup_id != **id) {
            Some(id) => Err(gone(id, "the directory is of another database or history now")),
            None => Ok(DirectoryBackup { image }),
        }
    }

    /// Its name.
    pub fn backup_id(&self) -> Text {
        self.image.description.backup_id.as_str().into()
    }

    /// A piece of it, as an open database returns them.
    pub fn piece(&self, request: &BackupRequest) -> Result<BackupResult> {
        self.image.piece(request.position.unwrap_or(0), request.bytes_max)
    }
}

fn image(location: &Location, wanted: Wanted) -> Result<Image> {
    let storage = &*location.storage;
    let manifest = Manifest::read(storage)?.ok_or_else(|| {
        let name = location.name.as_str();
        Error::new(ErrorCode::NotFound, format!("there is no database at {name}"))
            .with("path", name)
    })?;
    // Only who is part of the group knows what of the log counts.
    if manifest.role != Role::Alone {
        let message = format!(
            "{} is of a node in a group: back it up from its server, which knows what the group agreed on",
            location.name
        );
        return Err(Error::new(ErrorCode::ReadOnlyMode, message).with_reason(reason::REPLICA));
    }
    let database = manifest.database()?;
    let checkpoint = checkpoint(&manifest, wanted)?;
    let after = checkpoint.as_ref().map_or(0, |entry| entry.offset);
    let mut named = None;
    if let Some(entry) = &checkpoint {
        let path = checkpoint_path(&entry.file);
        let file = open_checkpoint(storage, &path)?;
        named = BlockReader::open(&*file, &path, &database)?.head.named;
    }
    let files = LogFiles::new(location.storage.clone(), Sealer::plain(&database));
    *files.lineage.lock() = manifest.history.clone();
    let plan = RecoveryPlan {
        storage,
        database,
        files: &files,
        first_segment: manifest.first_segment,
        last_segment: manifest.last_segment,
        after,
        durable: manifest.durable_offset,
        named,
        limit: OFFSET_MAX,
        decided: None,
    };
    let log = read(&plan, &mut |_, _| Ok(()), &|_, _| {})?;
    if let Some(fault) = &log.fault {
        return Err(fault.clone().with("path", location.name.as_str()));
    }
    let last = wanted.last.unwrap_or(log.last());
    if last > log.last() {
        return Err(gone(&last.to_string(), "the log does not reach this change any more"));
    }
    let Stretch { segments, last_at } = Stretch::of(&files, after, last)?;
    let history = files.lineage.lock().of(last);
    let begun_at = wanted.begun_at;
    let source = BackupSource {
        manifest: &manifest,
        checkpoint,
        segments,
        last,
        last_at,
        history,
        begun_at,
    };
    source.image(&|path| -> Result<Arc<dyn File>> {
        storage.open_to_read(path).map_err(|error| io_error(&format!("opening {path}"), error))
    })
}

fn checkpoint(manifest: &Manifest, wanted: Wanted) -> Result<Option<CheckpointEntry>> {
    let mut entries = manifest.checkpoints.iter().rev();
    match wanted.checkpoint {
        None => Ok(entries.next().cloned()),
        Some(0) => Ok(None),
        Some(number) => {
            let found = entries.find(|entry| checkpoint_number(entry) == Some(number));
            let missing = || gone(&number.to_string(), "its checkpoint was replaced");
            found.cloned().map(Some).ok_or_else(missing)
        }
    }
}
