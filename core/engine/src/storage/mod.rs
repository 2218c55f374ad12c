//! Files, as far as the engine needs them, time, and chance.
//!
//! Everything the engine knows about the outside world goes through [`Storage`], [`Clock`] and
//! [`Entropy`], so a test can hand in a disk that tears, lies and fills up, a clock that stands still, and
//! random numbers that come again.
//! Paths are relative to the data directory and use `/`.

use std::io;
use std::ops::Range;
use std::sync::Arc;

mod base;
mod entropy;
mod file;
mod lock;
#[cfg_attr(not(target_os = "linux"), path = "unmapped.rs")]
mod mapped;
mod memory;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(all(test, target_os = "linux"))]
mod unmapped;

pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use file::FileStorage;
pub use memory::MemoryStorage;

/// A directory tree that holds one database.
///
/// Durability is as on a real file system: what was written survives a crash only after `sync_data`
/// or `sync_all` of the file returned success, and a created, renamed or removed name only after
/// [`Storage::sync_dir`] of its directory did.
pub trait Storage: Send + Sync {
    /// Creates an empty file; fails with `AlreadyExists` when there is one.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading alone, where that may be allowed when writing is not.
    fn open_to_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    /// Renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The names of the files in a directory, sorted; a missing directory is `NotFound`.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Creates a directory and its parents; succeeds when it exists. Synced by `sync_dir` of the parent.
    fn create_dir(&self, directory: &str) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, directory: &str) -> io::Result<()>;

    /// Fails where files can't be created in a directory, as far as that is known without trying.
    fn check_writable(&self, _directory: &str) -> io::Result<()> {
        Ok(())
    }

    /// Which file or directory has a name now, where that can be told; `""` is the directory itself. A
    /// name that leads nowhere is `NotFound`.
    fn identity(&self, _path: &str) -> io::Result<Option<FileIdentity>> {
        Ok(None)
    }

    /// Bytes free for this database, where that can be told.
    fn free_bytes(&self) -> io::Result<Option<u64>>;

    /// Takes the exclusive lock of the database; `Err(holder)` names who has it.
    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>>;

    /// Whether what was written is gone when the process ends, so that syncing is pointless.
    fn is_volatile(&self) -> bool {
        false
    }
}

/// An open file. Offsets are explicit, so it can be shared.
pub trait File: Send + Sync {
    /// Reads some bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at `offset`, growing the file; may write fewer than asked.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize>;

    /// Says that small writes into this part of the file come next, which is filled already. A storage
    /// that has a cheaper way for them takes it; what they do, and how they fail, stays the same.
    fn expect_writes(&self, _range: Range<u64>) {}

    /// Makes the file's bytes and its length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows the file; new bytes are zero.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Which file it is, where that can be told.
    fn identity(&self) -> io::Result<Option<FileIdentity>> {
        Ok(None)
    }
}

/// What a file or directory is known by, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

/// Held while a database is open; dropping it releases the directory.
pub trait DirectoryLock: Send + Sync {
    /// Why the directory's name does not lead to what was locked any more; `None` while it does.
    fn displaced(&self) -> Option<String> {
        None
    }
}

/// Whether there is no room, for anybody or for this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether the system refused because too many files are open.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|inner| inner.source());
    let source = source.and_then(|source| source.downcast_ref::<io::Error>()).unwrap_or(error);
    base::Base::is_out_of_files(source)
}

/// Whether this process may not write there, though it may be able to read.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl dyn File + '_ {
    /// Writes all of `data`, going on after short writes and interruptions.
    pub fn write_all_at(&self, mut data: &[u8], mut offset: u64) -> io::Result<()> {
        while !data.is_empty() {
            match self.write_at(data, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    data = data.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buffer` as far as the file reaches and says how far that was.
    pub fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match self.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Where the engine gets the time from.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;

    /// Milliseconds since some moment, of a clock that nobody sets. A clock of its own kind, such as one
    /// that a test moves, is that itself.
    fn monotonic_ms(&self) -> i64 {
        self.now_ms()
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "time is handed in from here")]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "time is handed in from here")]
    fn monotonic_ms(&self) -> i64 {
        static BEGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let elapsed = BEGIN.get_or_init(std::time::Instant::now).elapsed();
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }
}
