//! Files that are only looked at, as a database directory of their own: parts of a backup, or of an open
//! database up to where it is committed.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::storage::{DirectoryLock, File, Storage};

/// A file of a view.
#[derive(Clone)]
pub(crate) struct ViewedFile {
    pub name: String,
    pub file: Arc<dyn File>,
    /// What is behind these bytes does not belong to it.
    pub bytes: u64,
}

/// Some files, read as a directory.
pub(crate) struct View {
    files: Vec<ViewedFile>,
}

impl View {
    pub(crate) fn new(files: Vec<ViewedFile>) -> View {
        View { files }
    }
}

fn read_only() -> io::Error {
    ErrorKind::ReadOnlyFilesystem.into()
}

impl Storage for View {
    fn create(&self, _path: &str) -> io::Result<Arc<dyn File>> {
        Err(read_only())
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        match self.files.iter().find(|file| file.name == path) {
            Some(file) => Ok(Arc::new(file.clone())),
            None => Err(io::Error::new(ErrorKind::NotFound, format!("there is no {path}"))),
        }
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _path: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let within = |name: &str| {
            let (parent, name) = name.rsplit_once('/').unwrap_or(("", name));
            (parent == directory).then(|| name.to_owned())
        };
        let mut names: Vec<String> =
            self.files.iter().filter_map(|file| within(&file.name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, _directory: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self, _directory: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        Err(read_only())
    }
}

impl File for ViewedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), offset)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(read_only())
    }
}

/// Bytes in memory as a file.
pub(crate) struct TextFile(pub Vec<u8>);

impl File for TextFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..));
        let rest = rest.unwrap_or_default();
        let read = rest.len().min(buffer.len());
        let (to, from) = (buffer.get_mut(..read), rest.get(..read));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(read_only())
    }
}

/// A file that is opened for each read: many of them take no handles.
pub(crate) struct NamedFile {
    pub storage: Arc<dyn Storage>,
    pub path: String,
}

impl File for NamedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.storage.open_to_read(&self.path)?.read_at(buffer, offset)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<usize> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.storage.open_to_read(&self.path)?.len()
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(read_only())
    }
}
