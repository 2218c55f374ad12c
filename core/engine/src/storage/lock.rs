//! Who has a data directory open.
//!
//! The lock is the operating system's, on the open directory and on a file in it: it goes with the
//! process however that ends, so there is never a stale lock to remove, and a lock file that somebody
//! removes all the same is not missed. The file is for systems that lock no directories and for releases
//! that know only it; what it says is for people.

use std::fs::{self, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::base::Base;
use super::{DirectoryLock, FileIdentity};

/// Name of the lock file inside the data directory.
pub(super) const LOCK_FILE: &str = "LOCK";

/// No more of a lock file is read than this.
const HOLDER_BYTES_MAX: u64 = 1024;

/// A locked directory; dropping it unlocks.
#[derive(Debug)]
pub(super) struct FileLock {
    root: PathBuf,
    /// Held open, where directories can be.
    directory: Option<Arc<fs::File>>,
    /// Whether the directory is locked itself.
    is_whole: bool,
    file: fs::File,
    /// What the directory and the file are known by: asking the open ones again takes as long as asking the names.
    known: [Option<FileIdentity>; 2],
    pid: u32,
}

impl FileLock {
    /// The locked directory, where it can be held open.
    pub(super) fn directory(&self) -> Option<&Arc<fs::File>> {
        self.directory.as_ref()
    }
}

impl DirectoryLock for FileLock {
    fn displaced(&self) -> Option<String> {
        let named = |path| Base { root: &self.root, held: None }.identity(path);
        let [of_directory, of_file] = self.known;
        if let Some(directory) = &self.directory
            && is_another(named(""), of_directory, directory) != Is::Same
        {
            return Some(format!("{} is not the directory that was opened", self.root.display()));
        }
        match is_another(named(LOCK_FILE), of_file, &self.file) {
            Is::Missing if !self.is_whole => {
                Some(format!("{LOCK_FILE} was removed from {}", self.root.display()))
            }
            Is::Other => Some(format!(
                "{} holds another {LOCK_FILE} than when it was opened: its files were replaced",
                self.root.display()
            )),
            _ => None,
        }
    }
}

/// What stands at the name of an open file.
#[derive(PartialEq, Eq)]
enum Is {
    Same,
    Other,
    Missing,
}

fn is_another(
    named: io::Result<Option<FileIdentity>>,
    known: Option<FileIdentity>,
    open: &fs::File,
) -> Is {
    match named {
        Ok(named) if named == known => Is::Same,
        Ok(named) if Base::identity_of(open).is_ok_and(|open| open != named) => Is::Other,
        Err(error) if is_nowhere(&error) => Is::Missing,
        // Who can't look knows nothing against it.
        _ => Is::Same,
    }
}

fn is_nowhere(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, StaleNetworkFileHandle};
    matches!(error.kind(), NotFound | NotADirectory | StaleNetworkFileHandle)
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // A forked child shares the lock; when it drops its copy, the parent must keep what it holds.
        if self.pid == std::process::id() {
            // No failure matters: the text is a courtesy and closing the files unlocks as well.
            let _ = self.file.set_len(0);
            let _ = self.file.unlock();
            if let Some(directory) = &self.directory {
                let _ = directory.unlock();
            }
        }
    }
}

/// Locks the directory, or says who has it.
pub(super) fn take_lock(root: &Path) -> io::Result<Result<FileLock, String>> {
    let directory = match Base::hold(root) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
        directory => Some(Arc::new(directory?)),
    };
    let base = Base { root, held: directory.as_deref() };
    let is_whole = match directory.as_deref().map(fs::File::try_lock) {
        Some(Ok(())) => true,
        Some(Err(TryLockError::WouldBlock)) => {
            return Ok(Err(base
                .open(LOCK_FILE)
                .map_or_else(|_| ANOTHER.to_owned(), |mut file| read_holder(&mut file))));
        }
        // Network file systems may lock files and no directories.
        Some(Err(TryLockError::Error(_))) | None => false,
    };
    // Not truncated: until the lock is ours, the text is the holder's.
    let mut file = match base.create(LOCK_FILE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => base.open(LOCK_FILE)?,
        created => created?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(read_holder(&mut file))),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let pid = std::process::id();
    let known_by = |open: &fs::File| Base::identity_of(open).ok().flatten();
    let known = [directory.as_deref().and_then(known_by), known_by(&file)];
    let lock = FileLock { root: root.to_owned(), directory, is_whole, file, known, pid };
    match write_holder(&lock.file) {
        // A full disk must not keep a database from opening; the lock holds without its text.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        Err(error) => return Err(error),
    }
    Ok(Ok(lock))
}

/// Who has it, when it can't be told.
const ANOTHER: &str = "another process";

fn write_holder(mut file: &fs::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(holder_text().as_bytes())
}

/// Windows does not let others read a locked file, and the holder may be about to write.
fn read_holder(file: &mut fs::File) -> String {
    let mut text = Vec::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => ANOTHER.to_owned(),
    }
}

/// This process, as a lock names it: `pid NUMBER, command NAME, since TIME`.
#[expect(clippy::disallowed_methods, reason = "only people read it")]
pub(super) fn holder_text() -> String {
    let command = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&command).file_name().unwrap_or_default().to_string_lossy();
    let name = if name.is_empty() { "unknown".into() } else { name };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("pid {}, command {name}, since {}", std::process::id(), utc_text(since))
}

/// `2026-11-23T01:46:17Z` from seconds since 1970.
fn utc_text(seconds: u64) -> String {
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Days counted from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) =
        (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_seconds_as_a_date() {
        assert_eq!(utc_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_text(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc_text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc_text(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc_text(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(utc_text(1_795_398_377), "2026-11-23T01:46:17Z");
    }
}
