//! Whether the files of an open database are still those that its names lead to.
//!
//! Somebody may move, replace or delete the directory of a database that is open. What is written then
//! would be gone, or be found in the files of another. So this is asked before each file is begun or
//! replaced, before frames that are to be acknowledged (in a row of them each millisecond), and now and
//! then; once something differs, nothing is written any more, at the end neither.

use std::io::ErrorKind;
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_types::{Error, Result};

use crate::error::writes_stopped;
use crate::storage::{DirectoryLock, File, FileIdentity, Storage};

/// Where an open database is, and the lock on that.
pub(crate) struct HeldDirectory {
    storage: Arc<dyn Storage>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    lock: Option<Box<dyn DirectoryLock>>,
    /// The file that is written now.
    newest: Option<(String, FileIdentity)>,
    /// What was found to differ.
    displaced: Option<Error>,
}

impl HeldDirectory {
    /// Without a lock, where none can be had, nothing is written and nothing asked.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        lock: Option<Box<dyn DirectoryLock>>,
    ) -> HeldDirectory {
        HeldDirectory { storage, found: Mutex::new(Found { lock, ..Found::default() }) }
    }

    /// From now on this file is the one that is written.
    pub(crate) fn writes(&self, path: String, file: &dyn File) {
        // What can't be told can't differ.
        let identity = file.identity().ok().flatten();
        self.found.lock().newest = identity.map(|identity| (path, identity));
    }

    /// Refuses when the names lead elsewhere by now, or did once.
    pub(crate) fn check(&self) -> Result<()> {
        let mut found = self.found.lock();
        if let Some(error) = &found.displaced {
            return Err(error.clone());
        }
        let why = found.lock.as_ref().and_then(|lock| lock.displaced());
        let why = why.or_else(|| self.has_other_files(&found));
        let Some(why) = why else { return Ok(()) };
        let why = format!("{why}, somebody moved, replaced or deleted files of an open database");
        let error = writes_stopped(&why);
        tracing::error!("{error}");
        Err(found.displaced.insert(error).clone())
    }

    fn has_other_files(&self, found: &Found) -> Option<String> {
        let (path, identity) = found.newest.as_ref()?;
        match self.storage.identity(path) {
            Ok(Some(named)) if named != *identity => Some(format!("{path} is another file")),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Some(format!("{path} is gone"))
            }
            _ => None,
        }
    }

    /// Releases the directory.
    pub(crate) fn release(&self) {
        self.found.lock().lock = None;
    }
}
