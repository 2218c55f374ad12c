//! Storage for the engine's own tests.

use std::io;
use std::sync::Arc;

use super::{DirectoryLock, File, MemoryStorage, Storage};

/// Memory that counts as lasting: opening it again finds what was written.
pub(crate) struct Solid(MemoryStorage);

impl Solid {
    pub(crate) fn shared() -> Arc<dyn Storage> {
        Arc::new(Solid(MemoryStorage::new()))
    }
}

impl Storage for Solid {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.0.create(path)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.0.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.0.create_dir(directory)
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.0.sync_dir(directory)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        self.0.lock()
    }
}
