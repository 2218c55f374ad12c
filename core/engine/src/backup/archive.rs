//! A backup file as a database directory to read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rstmdb_types::{Error, Offset, Result, TimestampMs};
use serde::Serialize;

use super::file::CheckedBytes;
use super::format::{Description, PAYLOAD_BYTES, SECTION_HEADER_BYTES, SectionLayout};
use super::view::{View, ViewedFile};
use crate::error::io as io_error;
use crate::held::{Held, Search};
use crate::log::{LogFiles, Sealer};
use crate::manifest::{self, Manifest};
use crate::options::{Options, ProgressUpdate};
use crate::storage::{File, FileStorage, Storage};

const READ_BYTES: usize = 1 << 20;

/// A backup file, of which every byte was checked.
pub struct Archive {
    pub(super) description: Description,
    pub(super) files: Arc<dyn Storage>,
    pub(super) manifest: Manifest,
    digest: String,
    size_bytes: u64,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({})", self.description.backup_id)
    }
}

/// What a backup is told of.
pub(super) type Tell<'a> = &'a dyn Fn(ProgressUpdate);

impl Archive {
    /// Opens a backup of the file system and reads all of it.
    ///
    /// Errors: reason `corrupt`, context `position`, when it is not as it was written; reason `newer_format`; reason
    /// `io` when it can't be read.
    pub fn open(path: &Path, progress: &dyn Fn(ProgressUpdate)) -> Result<Archive> {
        let name = path.display().to_string();
        let failed = |error: io::Error| io_error(&format!("reading {name}"), error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let file_name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            failed(io::Error::new(io::ErrorKind::InvalidFilename, "it is no name of a file"))
        })?;
        let file = FileStorage::new(parent.to_owned()).open_to_read(file_name).map_err(failed)?;
        Archive::of(file, &name, progress)
    }

    /// Reads all of an open backup.
    pub fn of(
        file: Arc<dyn File>,
        name: &str,
        progress: &dyn Fn(ProgressUpdate),
    ) -> Result<Archive> {
        let failed = |error: io::Error| io_error(&format!("reading {name}"), error);
        let total_bytes = file.len().map_err(failed)?;
        let mut contents = CheckedBytes::new(name);
        let mut buffer = vec![0; READ_BYTES];
        let mut position = 0;
        loop {
            let read = file.read_full_at(&mut buffer, position).map_err(failed)?;
            contents.push(buffer.get(..read).unwrap_or_default())?;
            position += read as u64;
            progress(ProgressUpdate {
                stage: "checking the backup",
                done_bytes: position,
                total_bytes,
            });
            if read == 0 {
                break;
            }
        }
        contents.finish()?;
        let digest = contents.digest().unwrap_or_default();
        let size_bytes = contents.whole();
        let Some((description, layout)) = contents.described() else {
            return Err(manifest::missing());
        };
        let files: Arc<dyn Storage> = Arc::new(View::new(parts(&file, &description, &layout)));
        let manifest = Manifest::read(&*files)?.ok_or_else(manifest::missing)?;
        Ok(Archive { description, files, manifest, digest, size_bytes })
    }

    /// All that the files hold.
    fn held(&self, progress: Tell<'_>) -> Result<Held> {
        let database = self.manifest.database()?;
        let files = LogFiles::new(self.files.clone(), Sealer::plain(&database));
        let search = Search {
            storage: &*self.files,
            manifest: &self.manifest,
            files: &files,
            options: &Options::default(),
            hash_seed: &|| 0,
            limit: None,
            decided: None,
            progress: &|stage, done_bytes, total_bytes| {
                progress(ProgressUpdate { stage, done_bytes, total_bytes });
            },
        };
        let held = search.find()?;
        match held.refusal() {
            Some(error) => Err(error.clone()),
            None => Ok(held),
        }
    }
}

/// The files in a backup.
fn parts(
    file: &Arc<dyn File>,
    description: &Description,
    layout: &SectionLayout,
) -> Vec<ViewedFile> {
    let entries = description.files.iter().enumerate();
    let part = |(number, entry): (usize, &super::format::FileEntry)| {
        let begin = layout.begin(number);
        let part: Arc<dyn File> = Arc::new(PartFile { file: file.clone(), begin });
        ViewedFile { name: entry.name.clone(), file: part, bytes: entry.bytes }
    };
    entries.map(part).collect()
}

/// A file whose bytes are in sections of another.
struct PartFile {
    file: Arc<dyn File>,
    /// Where its first section begins.
    begin: u64,
}

impl File for PartFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (section, within) = (offset / PAYLOAD_BYTES, offset % PAYLOAD_BYTES);
        let header = SECTION_HEADER_BYTES as u64;
        let at = self.begin + section * (header + PAYLOAD_BYTES) + header + within;
        let left = usize::try_from(PAYLOAD_BYTES - within).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// What a whole backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The backup.
    pub backup_id: String,
    /// The database it is of.
    pub database_id: String,
    /// The history of its last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_id: Option<String>,
    /// When it was begun.
    pub begun_at: TimestampMs,
    /// The first change that it can be restored up to.
    pub earliest_offset: Offset,
    /// The log's time there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earliest_at: Option<TimestampMs>,
    /// The last change in it.
    pub last_offset: Offset,
    /// The log's time there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<TimestampMs>,
    /// Instances that are not deleted, at its end.
    pub instances: u64,
    /// Machine versions, at its end.
    pub machines: u64,
    /// The bytes of the file.
    pub size_bytes: u64,
    /// The digest of these, 32 hex digits.
    pub digest: String,
}

/// Checks every byte of a backup, and that it can be restored.
///
/// Errors: as [`Archive::open`].
pub fn verify(path: &Path, progress: &dyn Fn(ProgressUpdate)) -> Result<BackupReport> {
    let archive = Archive::open(path, progress)?;
    let named = |error: Error| error.with("backup", path.display().to_string());
    let held = archive.held(progress).map_err(named)?;
    let earliest = archive.earliest(held.base.as_ref().map_or(0, |base| base.newest))?;
    let Description { backup_id, database_id, history_id, begun_at, last_at, .. } =
        archive.description.clone();
    Ok(BackupReport {
        backup_id,
        database_id,
        history_id,
        begun_at,
        earliest_offset: earliest.offset,
        earliest_at: earliest.at,
        last_offset: held.last,
        last_at,
        instances: held.state.instance_count(),
        machines: held.state.machines.read().len() as u64,
        size_bytes: archive.size_bytes,
        digest: archive.digest,
    })
}
