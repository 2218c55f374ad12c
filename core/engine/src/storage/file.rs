//! The real file system.
//!
//! Promises what [`Storage`] promises, on the directory it was given; every error names the operation
//! and the path and keeps its kind, so that a full disk is still `StorageFull`. While it is locked the
//! directory is held open, and files are reached through that and not by their whole path: see
//! [`super::base`].

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::base::Base;
use super::lock::{LOCK_FILE, take_lock};
use super::mapped::Mapped;
use super::{DirectoryLock, File, FileIdentity, Storage};

/// A data directory on a real file system.
#[derive(Debug, Clone)]
pub struct FileStorage {
    root: PathBuf,
    /// The open directory, which the lock keeps.
    held: Arc<Mutex<Weak<fs::File>>>,
}

impl FileStorage {
    /// Names the directory and touches nothing: [`Storage::create_dir`] of `""` creates it.
    ///
    /// A relative path is taken from the current directory now, not from a later one.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root: std::path::absolute(&root).unwrap_or(root), held: Arc::default() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Does something in the directory; an error says to which path.
    fn within<T>(
        &self,
        operation: &str,
        path: &str,
        work: impl FnOnce(Base<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let held = self.held.lock().upgrade();
        work(Base { root: &self.root, held: held.as_deref() })
            .map_err(|error| with_path(operation, &self.path(path), error))
    }

    fn named(&self, path: &str, file: fs::File) -> Arc<dyn File> {
        Arc::new(RealFile { file, path: self.path(path), mapped: Mutex::new(None) })
    }

    /// Creates the data directory and makes its name durable: no `sync_dir` reaches above the root.
    fn create_root(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(&self.root)
            .map_err(|error| with_path("create directory", &self.root, error))?;
        for created in &missing {
            if let Some(parent) = created.parent() {
                sync_directory(parent)?;
            }
        }
        if missing.is_empty()
            && let Some(parent) = self.root.parent()
        {
            // Whoever created it may have been killed before it synced, so sync again. A parent this
            // process may not read was made by someone else, who answers for it.
            match sync_directory(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl Storage for FileStorage {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let created = self.within("create", path, |base| base.create(path))?;
        Ok(self.named(path, created))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let opened = self.within("open", path, |base| base.open(path))?;
        Ok(self.named(path, opened))
    }

    fn open_to_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let opened = self.within("open", path, |base| base.open_to_read(path))?;
        Ok(self.named(path, opened))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let operation = format!("rename to {} from", self.path(to).display());
        self.within(&operation, from, |base| base.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.within("remove", path, |base| base.remove(path))
    }

    /// Leaves out the lock file, which is this type's own.
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = self.within("list", directory, |base| base.list(directory))?;
        names.retain(|name| !(directory.is_empty() && name == LOCK_FILE));
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        if directory.is_empty() {
            return self.create_root();
        }
        self.within("create directory", directory, |base| base.create_dir(directory))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.within("sync directory", directory, |base| base.sync_dir(directory))
    }

    fn check_writable(&self, directory: &str) -> io::Result<()> {
        self.within("write to", directory, |base| base.check_writable(directory))
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        // What this user may still take, not what is reserved for root.
        fs4::available_space(&self.root)
            .map(Some)
            .map_err(|error| with_path("ask for the free space of", &self.root, error))
    }

    /// By its name from the top of the file system on, whatever is held.
    fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        let found = Base { root: &self.root, held: None }.identity(path);
        found.map_err(|error| with_path("look at", &self.path(path), error))
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        let taken = take_lock(&self.root)
            .map_err(|error| with_path("lock", &self.path(LOCK_FILE), error))?;
        Ok(taken.map(|lock| {
            *self.held.lock() = lock.directory().map(Arc::downgrade).unwrap_or_default();
            Box::new(lock) as Box<dyn DirectoryLock>
        }))
    }
}

/// An open file and its name, for messages.
#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
    /// Where small writes are expected.
    mapped: Mutex<Option<Mapped>>,
}

impl RealFile {
    /// How much of a write was done by way of the mapping.
    fn write_mapped(&self, data: &[u8], offset: u64) -> usize {
        let mut mapped = self.mapped.lock();
        let Some(window) = &mut *mapped else { return 0 };
        window.write_at(data, offset).unwrap_or_else(|error| {
            tracing::debug!("no mapped writes to {}: {error}", self.path.display());
            *mapped = None;
            0
        })
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, offset).map_err(|error| with_path("read", &self.path, error))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        match self.write_mapped(data, offset) {
            0 => {}
            written => return Ok(written),
        }
        write_at(&self.file, data, offset).map_err(|error| with_path("write", &self.path, error))
    }

    fn expect_writes(&self, range: Range<u64>) {
        // Where it can't be mapped it is written.
        let mapped = Mapped::new(&self.file, range).unwrap_or_else(|error| {
            tracing::debug!("{} is not mapped: {error}", self.path.display());
            None
        });
        *self.mapped.lock() = mapped;
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is mapped is synced with it. fdatasync: it carries the length, as far as that is needed to read the bytes back.
        self.file.sync_data().map_err(|error| with_path("sync", &self.path, error))
    }

    fn len(&self) -> io::Result<u64> {
        Base::length_of(&self.file)
            .map_err(|error| with_path("read the length of", &self.path, error))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        // What lies behind the end would still be taken, as far as the last page reaches.
        *self.mapped.lock() = None;
        let set = self.file.set_len(length);
        set.map_err(|error| with_path("set the length of", &self.path, error))
    }

    fn identity(&self) -> io::Result<Option<FileIdentity>> {
        Base::identity_of(&self.file).map_err(|error| with_path("look at", &self.path, error))
    }
}

#[cfg(unix)]
fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(unix)]
fn write_at(file: &fs::File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, data, offset)
}

#[cfg(windows)]
fn write_at(file: &fs::File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, data, offset)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let synced = Base { root: path, held: None }.sync_dir("");
    synced.map_err(|error| with_path("sync directory", path, error))
}

/// What the system said, with what was tried on which path. The system's error stays its source.
#[derive(Debug)]
struct PathError {
    operation: String,
    path: PathBuf,
    source: io::Error,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "cannot {} {}: {}", self.operation, self.path.display(), self.source)
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Keeps the kind: callers decide by `StorageFull`, `NotFound`, `Interrupted` and the like.
fn with_path(operation: &str, path: &Path, source: io::Error) -> io::Error {
    let kind = source.kind();
    io::Error::new(
        kind,
        PathError { operation: operation.to_owned(), path: path.to_owned(), source },
    )
}
