//! Backups in files: written from an open database or a directory, checked, and restored.
//!
//! The pieces of a backup come from the operation `backup`, so a server's and one of this process are the same. While
//! they come they are in a file with `.partial` behind its name; what is there after an interruption is gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_engine::backup::{Archive, CheckedBytes, DirectoryBackup, PartialBackup};
use rstmdb_engine::{ProgressObserver, ProgressUpdate};
use rstmdb_types::error::reason;
use rstmdb_types::{BackupRequest, BackupResult, Error, ErrorCode, Offset, Result, TimestampMs};
use serde::Serialize;

pub use rstmdb_engine::backup::{Ancestor, BackupReport, RestoreReport, RestoreTo};

use crate::blocking::Database;

/// What is behind the name of a backup that is not whole yet.
pub const PARTIAL: &str = ".partial";

/// A piece is as large as this when nothing says otherwise, and as this at least.
const PIECE_BYTES: u64 = 1 << 20;
const PIECE_BYTES_MIN: u64 = 4 << 10;
/// A server that has too many requests is asked again this often, after this time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// How a backup is written. `Default` is as fast as it goes, and never over a file that is there.
#[derive(Clone, Default)]
pub struct BackupOptions {
    /// The most bytes a second; 0: no limit.
    pub bytes_per_second: u64,
    /// Replace a file of this name, and begin anew where another backup was interrupted.
    pub replace: bool,
    /// Told how far it is.
    pub progress: Option<ProgressObserver>,
    /// Asked between two pieces; the backup ends with reason `cancelled` when it says so.
    pub is_cancelled: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl std::fmt::Debug for BackupOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupOptions")
            .field("bytes_per_second", &self.bytes_per_second)
            .field("replace", &self.replace)
            .finish_non_exhaustive()
    }
}

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenBackup {
    /// The backup.
    pub backup_id: String,
    /// The database it is of.
    pub database_id: String,
    /// The history of its last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_id: Option<String>,
    /// The last change in the checkpoint that it begins with.
    pub checkpoint_offset: Offset,
    /// The last change in it.
    pub last_offset: Offset,
    /// The log's time there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<TimestampMs>,
    /// When it was begun.
    pub begun_at: TimestampMs,
    /// Its bytes.
    pub size_bytes: u64,
    /// How many of them an interrupted attempt had written.
    pub resumed_bytes: u64,
    /// Why what an interrupted attempt left was of no use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_anew: Option<String>,
    /// The digest of all bytes, 32 hex digits.
    pub digest: String,
}

impl Database {
    /// Writes a backup of everything up to now into a new file, while changes go on.
    ///
    /// Errors: reason `disk_full` when there is no room for it, `BAD_REQUEST` when the file is there or can't be made.
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<WrittenBackup> {
        self.backup_to_with(path, &BackupOptions::default())
    }

    /// Writes a backup into a file. What an interrupted attempt left there is gone on with: the backup is then of the
    /// time when that was begun.
    ///
    /// Errors: as [`Database::backup_to`]; reason `cancelled`.
    pub fn backup_to_with(
        &self,
        path: impl AsRef<Path>,
        options: &BackupOptions,
    ) -> Result<WrittenBackup> {
        let mut source = |request| self.backup(request);
        into_file(path.as_ref(), options, &mut source)
    }

    /// Writes a backup to where it can only be written once, such as a pipe.
    pub fn backup_into(
        &self,
        out: &mut dyn Write,
        options: &BackupOptions,
    ) -> Result<WrittenBackup> {
        into_stream(out, options, &mut |request| self.backup(request))
    }
}

impl crate::Database {
    /// Writes a backup of everything up to now into a new file, on another thread.
    ///
    /// Errors: as [`Database::backup_to`].
    pub async fn backup_to(&self, path: impl Into<PathBuf>) -> Result<WrittenBackup> {
        let (database, path) = (self.blocking(), path.into());
        crate::threads::unblock(move || database.backup_to(path)).await
    }
}

/// Writes a backup of the directory `url` (a path or `file:PATH`) into a file, whether somebody has it open or not.
///
/// Errors: as [`Database::backup_to`]; `NOT_FOUND` when there is no database; reason `corrupt` when its log is damaged.
pub fn of_directory(url: &str, path: &Path, options: &BackupOptions) -> Result<WrittenBackup> {
    into_file(path, options, &mut directory(url)?)
}

/// As [`of_directory`], to where it can only be written once.
pub fn of_directory_into(
    url: &str,
    out: &mut dyn Write,
    options: &BackupOptions,
) -> Result<WrittenBackup> {
    into_stream(out, options, &mut directory(url)?)
}

/// Checks every byte of a backup, and that it can be restored.
///
/// Errors: reason `corrupt`, context `position`, when it is not as it was written; reason `newer_format`; `NOT_FOUND`.
pub fn verify(path: &Path, progress: Option<&ProgressObserver>) -> Result<BackupReport> {
    rstmdb_engine::backup::verify(&existing(path)?, &|update| tell(progress, update))
}

/// Makes a new database in the directory `url`, which must be empty or not be there, of a backup up to a moment.
///
/// Errors: as [`verify`]; `NOT_FOUND` with the reason `offset_ahead` or `offset_compacted` when the backup does not reach
/// there; `BAD_REQUEST` when the directory is not empty; reason `disk_full`.
pub fn restore(
    path: &Path,
    url: &str,
    to: RestoreTo,
    progress: Option<&ProgressObserver>,
) -> Result<RestoreReport> {
    let location = crate::open::location(url)?;
    let tell = |update| tell(progress, update);
    let archive = Archive::open(&existing(path)?, &tell)?;
    rstmdb_engine::backup::restore(&archive, &location, to, &tell)
}

fn tell(progress: Option<&ProgressObserver>, update: ProgressUpdate) {
    if let Some(ProgressObserver(progress)) = progress {
        progress(update);
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let message = format!("{} is a directory, not a backup", path.display());
            Err(Error::invalid(reason::INVALID_OPTION, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("there is no backup {}", path.display());
            Err(Error::new(ErrorCode::NotFound, message).with("file", path.display().to_string()))
        }
        // Whoever reads it says what is wrong.
        _ => Ok(path.to_owned()),
    }
}

type Source<'a> = dyn FnMut(BackupRequest) -> Result<BackupResult> + 'a;

fn directory(url: &str) -> Result<impl FnMut(BackupRequest) -> Result<BackupResult> + use<>> {
    let location = crate::open::location(url)?;
    if location.storage.is_volatile() {
        let message = "a database in memory is in no directory; ask the process that has it";
        return Err(Error::invalid(reason::INVALID_OPTION, message));
    }
    let mut begun: Option<(rstmdb_types::Text, DirectoryBackup)> = None;
    Ok(move |request: BackupRequest| {
        let backup = match (&mut begun, &request.backup_id) {
            (Some((id, backup)), Some(wanted)) if id == wanted => backup,
            (_, wanted) => {
                let backup = DirectoryBackup::of(&location, wanted.as_deref())?;
                &mut begun.insert((backup.backup_id(), backup)).1
            }
        };
        backup.piece(&request)
    })
}

fn no_room(path: &str, error: &io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let message = match full {
        true => {
            format!("no room for {path}: {error}; free some and repeat it, it goes on from there")
        }
        false => format!("writing {path}: {error}"),
    };
    match full {
        true => Error::new(ErrorCode::WalIoError, message).with_reason(reason::DISK_FULL),
        false => Error::new(ErrorCode::InternalError, message).with_reason(reason::IO),
    }
    .with("file", path)
}

/// What a file can't be made of.
fn misnamed(path: &str, error: &io::Error) -> Error {
    let is_name = rstmdb_types::text::is_misnamed(error) || error.kind() == io::ErrorKind::NotFound;
    match is_name {
        true => {
            let message = format!("can't write the backup to {path}: {error}");
            Error::invalid(reason::INVALID_OPTION, message).with("file", path)
        }
        false => no_room(path, error),
    }
}

fn into_file(
    path: &Path,
    options: &BackupOptions,
    source: &mut Source<'_>,
) -> Result<WrittenBackup> {
    let shown = path.display().to_string();
    if path.file_name().is_none() || path.is_dir() {
        let message = format!("{shown} is a directory; name a file to write the backup to");
        return Err(Error::invalid(reason::INVALID_OPTION, message).with("file", shown));
    }
    if !options.replace && path.symlink_metadata().is_ok() {
        let message =
            format!("{shown} is there already; name another file, or replace it with --force");
        return Err(Error::new(ErrorCode::BadRequest, message)
            .with_reason(reason::INVALID_OPTION)
            .with("file", shown));
    }
    // A device or a pipe is written as it is, and once.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut out = OpenOptions::new().write(true).open(path);
        let out = out.as_mut().map_err(|error| misnamed(&shown, error))?;
        return into_stream(out, options, source);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    let partial = PathBuf::from(name);
    let name = partial.display().to_string();
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
    let mut file = opened.map_err(|error| misnamed(&name, &error))?;
    if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        let message = format!("another process writes {name} just now");
        return Err(Error::new(ErrorCode::InternalError, message).with_reason(reason::LOCKED));
    }
    let failed = |error: io::Error| no_room(&name, &error);
    if options.replace {
        file.set_len(0).map_err(failed)?;
    }
    let before = PartialBackup::read(&name, &mut file).map_err(failed)?;
    let mut writing = Writing::new(options, before.contents, &mut file, &name);
    writing.keep_whole()?;
    let result = writing.run(source);
    // Nothing of it is of use to anybody.
    if result.is_err() && writing.contents.whole() == 0 {
        drop(writing);
        let _ = fs::remove_file(&partial);
        return result;
    }
    let written = result?;
    drop(writing);
    file.sync_all().map_err(failed)?;
    fs::rename(&partial, path).map_err(|error| no_room(&shown, &error))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Where directories can't be synced their names are as safe as they get.
    let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
    Ok(written)
}

fn into_stream(
    out: &mut dyn Write,
    options: &BackupOptions,
    source: &mut Source<'_>,
) -> Result<WrittenBackup> {
    let mut out = Once(out);
    Writing::new(options, CheckedBytes::new("the output"), &mut out, "the output").run(source)
}

/// Where a backup is written.
trait Out: Write {
    /// Keeps so many bytes and goes on behind them.
    fn keep(&mut self, bytes: u64) -> io::Result<()>;
}

impl Out for File {
    fn keep(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

/// What can't be taken back.
struct Once<'a>(&'a mut dyn Write);

impl Write for Once<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Out for Once<'_> {
    fn keep(&mut self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

struct Writing<'a> {
    options: &'a BackupOptions,
    contents: CheckedBytes,
    out: &'a mut dyn Out,
    name: &'a str,
    /// The bytes behind the last whole section.
    pending: u64,
    /// The bytes of this attempt, and since when.
    paced: u64,
    since: Instant,
}

impl<'a> Writing<'a> {
    fn new(
        options: &'a BackupOptions,
        contents: CheckedBytes,
        out: &'a mut dyn Out,
        name: &'a str,
    ) -> Writing<'a> {
        Writing { options, contents, out, name, pending: 0, paced: 0, since: Instant::now() }
    }

    fn keep_whole(&mut self) -> Result<()> {
        let kept = self.out.keep(self.contents.whole());
        kept.map_err(|error| no_room(self.name, &error))
    }

    fn run(&mut self, source: &mut Source<'_>) -> Result<WrittenBackup> {
        let mut begun_anew = None;
        let mut resumed_bytes = self.contents.whole();
        let mut backup_id = self.contents.about().map(|about| about.backup_id);
        if backup_id.is_none() {
            self.begin_anew()?;
            resumed_bytes = 0;
        }
        while self.contents.digest().is_none() {
            self.check_cancelled()?;
            let position = self.contents.whole() + self.pending;
            let request = BackupRequest {
                backup_id: backup_id.clone(),
                position: Some(position),
                bytes_max: Some(self.piece_bytes()),
            };
            let piece = match self.ask(source, request) {
                Err(error) if resumed_bytes > 0 && error.reason() == Some(reason::BACKUP_GONE) => {
                    begun_anew = Some(error.message().to_owned());
                    self.begin_anew()?;
                    (backup_id, resumed_bytes) = (None, 0);
                    continue;
                }
                piece => piece?,
            };
            let bytes = piece.bytes()?;
            let before = self.contents.whole();
            self.contents.push(&bytes)?;
            self.pending += bytes.len() as u64 - (self.contents.whole() - before);
            let written = self.out.write_all(&bytes);
            written.map_err(|error| no_room(self.name, &error))?;
            self.pace(bytes.len() as u64);
            let (stage, total_bytes) = ("backing up", piece.size_bytes);
            let done_bytes = piece.next_position.unwrap_or(total_bytes);
            tell(self.options.progress.as_ref(), ProgressUpdate { stage, done_bytes, total_bytes });
            if piece.next_position.is_none() {
                self.contents.finish()?;
            }
            backup_id = Some(piece.backup_id);
        }
        self.out.flush().map_err(|error| no_room(self.name, &error))?;
        let about = self.contents.about();
        let about = about.ok_or_else(|| Error::new(ErrorCode::InternalError, "an empty backup"))?;
        Ok(self.written(about, resumed_bytes, begun_anew))
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.contents = CheckedBytes::new(self.name);
        self.pending = 0;
        self.keep_whole()
    }

    /// Asks for a piece, again when there were too many requests.
    fn ask(&self, source: &mut Source<'_>, request: BackupRequest) -> Result<BackupResult> {
        let mut attempt = 1;
        loop {
            match source(request.clone()) {
                Err(error) if error.code() == ErrorCode::RateLimited && attempt < ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(PAUSE);
                    self.check_cancelled()?;
                }
                answer => return answer,
            }
        }
    }

    fn check_cancelled(&self) -> Result<()> {
        let is_cancelled = self.options.is_cancelled.as_ref().is_some_and(|ask| ask());
        match is_cancelled {
            true => Err(Error::new(ErrorCode::InternalError, "the backup was ended")
                .with_reason(reason::CANCELLED)),
            false => Ok(()),
        }
    }

    /// Four pieces a second, so that a slow one is an even one and its files are not let go in between.
    fn piece_bytes(&self) -> u32 {
        let most = match self.options.bytes_per_second {
            0 => PIECE_BYTES,
            rate => (rate / 4).clamp(PIECE_BYTES_MIN, PIECE_BYTES),
        };
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    fn pace(&mut self, bytes: u64) {
        self.paced += bytes;
        if self.options.bytes_per_second == 0 {
            return;
        }
        let due = self.paced as f64 / self.options.bytes_per_second as f64;
        let due = Duration::try_from_secs_f64(due).unwrap_or_default();
        std::thread::sleep(due.saturating_sub(self.since.elapsed()));
    }

    fn written(
        &self,
        about: BackupResult,
        resumed_bytes: u64,
        begun_anew: Option<String>,
    ) -> WrittenBackup {
        WrittenBackup {
            backup_id: about.backup_id.into(),
            database_id: about.database_id.into(),
            history_id: about.history_id.map(Into::into),
            checkpoint_offset: about.checkpoint_offset,
            last_offset: about.last_offset,
            last_at: about.last_at,
            begun_at: about.begun_at,
            size_bytes: about.size_bytes,
            resumed_bytes,
            begun_anew,
            digest: self.contents.digest().unwrap_or_default(),
        }
    }
}
