//! The real file system.
//!
//! Promises what [`Storage`] promises, on the directory it was given; every error names the operation
//! and the path and keeps its kind, so that a full disk is still `StorageFull`. It follows symbolic
//! links and does not guard against paths that leave the directory: the engine makes the paths.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::{LOCK_FILE, take_lock};
use super::{DirectoryLock, File, Storage};

/// A data directory on a real file system.
#[derive(Debug, Clone)]
pub struct FileStorage {
    root: PathBuf,
}

impl FileStorage {
    /// Names the directory and touches nothing: [`Storage::create_dir`] of `""` creates it.
    ///
    /// A relative path is taken from the current directory now, not from a later one.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
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
        let path = self.path(path);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Arc::new(RealFile { file, path })),
            Err(error) => Err(with_path("create", &path, error)),
        }
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(path);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Arc::new(RealFile { file, path })),
            Err(error) => Err(with_path("open", &path, error)),
        }
    }

    fn open_to_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(path);
        match OpenOptions::new().read(true).open(&path) {
            Ok(file) => Ok(Arc::new(RealFile { file, path })),
            Err(error) => Err(with_path("open", &path, error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        fs::rename(&from, &to).map_err(|error| {
            let operation = format!("rename to {} from", to.display());
            with_path(&operation, &from, error)
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        fs::remove_file(&path).map_err(|error| with_path("remove", &path, error))
    }

    /// Leaves out the lock file, which is this type's own.
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let path = self.path(directory);
        let failed = |error| with_path("list", &path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                continue;
            }
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && !(directory.is_empty() && name == LOCK_FILE)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        if directory.is_empty() {
            return self.create_root();
        }
        let path = self.path(directory);
        fs::create_dir_all(&path).map_err(|error| with_path("create directory", &path, error))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        sync_directory(&self.path(directory))
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        // What this user may still take, not what is reserved for root.
        fs4::available_space(&self.root)
            .map(Some)
            .map_err(|error| with_path("ask for the free space of", &self.root, error))
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        let path = self.path(LOCK_FILE);
        take_lock(&path).map_err(|error| with_path("lock", &path, error))
    }
}

/// An open file and its name, for messages.
#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, offset).map_err(|error| with_path("read", &self.path, error))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        write_at(&self.file, data, offset).map_err(|error| with_path("write", &self.path, error))
    }

    fn sync_data(&self) -> io::Result<()> {
        // fdatasync: it carries the length, as far as that is needed to read the bytes back.
        self.file.sync_data().map_err(|error| with_path("sync", &self.path, error))
    }

    fn len(&self) -> io::Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|error| with_path("read the length of", &self.path, error))?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let set = self.file.set_len(length);
        set.map_err(|error| with_path("set the length of", &self.path, error))
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

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let opened = fs::File::open(path).map_err(|error| with_path("open directory", path, error))?;
    match opened.sync_all() {
        // Some network file systems have no sync for directories and say so with EINVAL: there a name
        // is as durable as the server makes it.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(|error| with_path("sync directory", path, error)),
    }
}

/// Windows cannot sync a directory; NTFS journals names itself, in order.
#[cfg(windows)]
fn sync_directory(path: &Path) -> io::Result<()> {
    fs::metadata(path).map_err(|error| with_path("sync directory", path, error))?;
    Ok(())
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
