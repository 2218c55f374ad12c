//! Files in memory, for `mem:` databases.
//!
//! They live as long as the [`MemoryStorage`] does. Bytes are kept in chunks, so a growing file is never
//! copied, and chunks nobody wrote to take no room.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::lock::holder_text;
use super::{DirectoryLock, File, Storage};

const CHUNK_BYTES: usize = 64 * 1024;

/// A directory tree in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tree: Arc<RwLock<Tree>>,
    holder: Arc<Mutex<Option<String>>>,
}

impl MemoryStorage {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<String, Arc<MemoryFile>>,
    /// Without the root, which is always there.
    directories: BTreeSet<String>,
}

impl Tree {
    fn require_directory(&self, directory: &str) -> io::Result<()> {
        if directory.is_empty() || self.directories.contains(directory) {
            return Ok(());
        }
        Err(refusal(ErrorKind::NotFound, "no such directory", directory))
    }
}

impl Storage for MemoryStorage {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree.write();
        tree.require_directory(parent(path))?;
        if tree.files.contains_key(path) || tree.directories.contains(path) {
            return Err(refusal(ErrorKind::AlreadyExists, "already exists", path));
        }
        let file = Arc::new(MemoryFile::default());
        tree.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        match self.tree.read().files.get(path) {
            Some(file) => Ok(file.clone()),
            None => Err(refusal(ErrorKind::NotFound, "no such file", path)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut tree = self.tree.write();
        tree.require_directory(parent(to))?;
        if tree.directories.contains(to) {
            return Err(refusal(ErrorKind::IsADirectory, "is a directory", to));
        }
        match tree.files.remove(from) {
            Some(file) => {
                tree.files.insert(to.to_owned(), file);
                Ok(())
            }
            None => Err(refusal(ErrorKind::NotFound, "no such file", from)),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match self.tree.write().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(refusal(ErrorKind::NotFound, "no such file", path)),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let tree = self.tree.read();
        tree.require_directory(directory)?;
        let here = tree.files.keys().filter(|path| parent(path) == directory);
        Ok(here.map(|path| name(path).to_owned()).collect())
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        let mut tree = self.tree.write();
        let ancestors = std::iter::successors(Some(directory), |path| Some(parent(path)));
        let wanted: Vec<&str> = ancestors.take_while(|path| !path.is_empty()).collect();
        for path in &wanted {
            if tree.files.contains_key(*path) {
                let is_last = *path == directory;
                let kind =
                    if is_last { ErrorKind::AlreadyExists } else { ErrorKind::NotADirectory };
                return Err(refusal(kind, "is a file", path));
            }
        }
        tree.directories.extend(wanted.into_iter().map(str::to_owned));
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.tree.read().require_directory(directory)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        let mut holder = self.holder.lock();
        if let Some(text) = &*holder {
            return Ok(Err(text.clone()));
        }
        *holder = Some(holder_text());
        Ok(Ok(Box::new(MemoryLock { holder: self.holder.clone() })))
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct MemoryLock {
    holder: Arc<Mutex<Option<String>>>,
}

impl DirectoryLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        *self.holder.lock() = None;
    }
}

#[derive(Debug, Default)]
struct MemoryFile {
    contents: RwLock<FileContents>,
}

/// Bytes past `length` are zero in every chunk, so growing shows zeros.
#[derive(Debug, Default)]
struct FileContents {
    length: u64,
    /// `None` is a chunk of zeros. Reaches exactly to `length`.
    chunks: Vec<Option<Box<[u8]>>>,
}

impl FileContents {
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let count = usize::try_from(length.div_ceil(CHUNK_BYTES as u64))
            .map_err(|_| io::Error::from(ErrorKind::FileTooLarge))?;
        let more = count.saturating_sub(self.chunks.len());
        self.chunks.try_reserve(more).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        self.chunks.resize_with(count, || None);
        let used_of_last = usize::try_from(length % CHUNK_BYTES as u64).unwrap_or(0);
        if length < self.length
            && used_of_last > 0
            && let Some(Some(last)) = self.chunks.last_mut()
            && let Some(cut) = last.get_mut(used_of_last..)
        {
            cut.fill(0);
        }
        self.length = length;
        Ok(())
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let contents = self.contents.read();
        let available = contents.length.saturating_sub(offset);
        let wanted = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let mut rest = buffer.get_mut(..wanted).unwrap_or_default();
        let mut position = offset;
        while !rest.is_empty() {
            let (chunk, start) = locate(position);
            let (part, later) = rest.split_at_mut(rest.len().min(CHUNK_BYTES - start));
            let stored = contents.chunks.get(chunk).and_then(Option::as_deref);
            match stored.and_then(|bytes| bytes.get(start..start + part.len())) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
            position += part.len() as u64;
            rest = later;
        }
        Ok(wanted)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or_else(|| io::Error::from(ErrorKind::FileTooLarge))?;
        let mut contents = self.contents.write();
        if !data.is_empty() && end > contents.length {
            contents.set_len(end)?;
        }
        let mut rest = data;
        let mut position = offset;
        while !rest.is_empty() {
            let (chunk, start) = locate(position);
            let (part, later) = rest.split_at(rest.len().min(CHUNK_BYTES - start));
            if let Some(slot) = contents.chunks.get_mut(chunk) {
                let bytes = slot.get_or_insert_with(|| vec![0; CHUNK_BYTES].into_boxed_slice());
                if let Some(target) = bytes.get_mut(start..start + part.len()) {
                    target.copy_from_slice(part);
                }
            }
            position += part.len() as u64;
            rest = later;
        }
        Ok(data.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.read().length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.contents.write().set_len(length)
    }
}

/// The chunk of a byte, and its place there.
fn locate(position: u64) -> (usize, usize) {
    let size = CHUNK_BYTES as u64;
    let chunk = usize::try_from(position / size).unwrap_or(usize::MAX);
    (chunk, usize::try_from(position % size).unwrap_or(0))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn refusal(kind: ErrorKind, reason: &str, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path:?}: {reason}"))
}
