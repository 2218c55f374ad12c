//! Who has a data directory open.
//!
//! The lock is the operating system's, on an open file: it goes with the process however that ends, so
//! there is never a stale lock to remove. What the file says is for people only.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::DirectoryLock;

/// Name of the lock file inside the data directory.
pub(super) const LOCK_FILE: &str = "LOCK";

/// No more of a lock file is read than this.
const HOLDER_BYTES_MAX: u64 = 1024;

/// A locked file; dropping it unlocks.
#[derive(Debug)]
struct FileLock {
    file: fs::File,
    pid: u32,
}

impl DirectoryLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // A forked child shares the lock; when it drops its copy, the parent must keep what it holds.
        if self.pid == std::process::id() {
            // Neither failure matters: the text is a courtesy and closing the file unlocks as well.
            let _ = self.file.set_len(0);
            let _ = self.file.unlock();
        }
    }
}

/// Locks the file at `path`, or says who has it.
pub(super) fn take_lock(path: &Path) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
    // Not truncated: until the lock is ours, the text is the holder's.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = opened?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(read_holder(&mut file))),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let lock = FileLock { file, pid: std::process::id() };
    match write_holder(&lock.file) {
        // A full disk must not keep a database from opening; the lock holds without its text.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        Err(error) => return Err(error),
    }
    Ok(Ok(Box::new(lock)))
}

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
        _ => "another process".to_owned(),
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
