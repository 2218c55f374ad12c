//! The simulated disk: what a running machine sees, what is durable, and what lies between.
//!
//! A write or a change of length is pending until a sync of its file, a name until a sync of its
//! directory. Neither sync does the other's work. A rename is one step, never half of one; one between
//! directories is durable once both are synced. The root is always there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::bytes::{BLOCK_BYTES, Bytes, SECTOR_BYTES, Sector};

pub(super) type FileId = u64;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Directory,
}

pub(super) type Tree = BTreeMap<String, Node>;

/// Files with handles, and how many.
pub(super) type OpenFiles = BTreeMap<FileId, usize>;

/// A change to names, in the words a journal would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameChange {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl NameChange {
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Link(path, _) | Self::Unlink(path) => (path, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }

    pub(super) fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Link(path, node) => {
                tree.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                tree.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(node) = tree.remove(from) {
                    tree.insert(to.clone(), node);
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingName {
    pub(super) change: NameChange,
    /// The directories that are still to be synced.
    unsynced: BTreeSet<String>,
}

/// A change to one file, in the order made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The whole sector as it was after a write, and the file's length then.
    Sector { index: u64, image: Arc<Sector>, length: u64 },
    /// The file was cut or grown.
    Length(u64),
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Bytes) {
        match self {
            Self::Sector { index, image, length } => {
                // Pending changes before this one may have been dropped: then this grows the file.
                let end = (*length).min((index + 1) * SECTOR_BYTES as u64);
                if end > bytes.length() {
                    bytes.set_len(end);
                }
                bytes.put_sector(*index, image);
            }
            Self::Length(length) => bytes.set_len(*length),
        }
    }
}

/// One file: its bytes as seen, as durable, and the changes from the one to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) seen: Bytes,
    pub(super) durable: Bytes,
    pub(super) pending: Vec<Change>,
    /// Its present name, or the last it had.
    pub(super) name: String,
}

/// Names and files, seen and durable. Cloning costs as much as there are files, not bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) seen: Tree,
    pub(super) durable: Tree,
    pub(super) pending: Vec<PendingName>,
    pub(super) files: BTreeMap<FileId, Arc<Content>>,
    pub(super) next_id: FileId,
    pub(super) capacity_bytes: Option<u64>,
}

impl Disk {
    /// A disk on which everything is durable.
    pub(super) fn settled(
        tree: Tree,
        contents: impl IntoIterator<Item = (FileId, Bytes)>,
        before: &Self,
    ) -> Self {
        let mut disk = Self {
            seen: tree.clone(),
            durable: tree,
            next_id: before.next_id,
            capacity_bytes: before.capacity_bytes,
            ..Self::default()
        };
        for (id, bytes) in contents {
            let content = Content { seen: bytes.clone(), durable: bytes, ..Content::default() };
            disk.files.insert(id, Arc::new(content));
        }
        for (path, node) in &disk.seen {
            if let Node::File(id) = node
                && let Some(content) = disk.files.get_mut(id)
            {
                Arc::make_mut(content).name.clone_from(path);
            }
        }
        disk
    }

    /// A file that is named or open.
    pub(super) fn view(&self, id: FileId) -> &Content {
        self.files.get(&id).expect("a named or open file has content")
    }

    pub(super) fn file(&mut self, id: FileId) -> &mut Content {
        Arc::make_mut(self.files.entry(id).or_default())
    }

    pub(super) fn find(&self, path: &str) -> io::Result<FileId> {
        match self.seen.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Directory) => Err(refusal(ErrorKind::IsADirectory, path)),
            None => Err(refusal(ErrorKind::NotFound, path)),
        }
    }

    fn require_directory(&self, directory: &str) -> io::Result<()> {
        match self.seen.get(directory) {
            _ if directory.is_empty() => Ok(()),
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(refusal(ErrorKind::NotADirectory, directory)),
            None => Err(refusal(ErrorKind::NotFound, directory)),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        let unsynced = change.paths().map(|path| parent(path).to_owned()).collect();
        self.pending.push(PendingName { change, unsynced });
    }

    pub(super) fn create(&mut self, path: &str) -> io::Result<FileId> {
        self.require_directory(parent(path))?;
        if path.is_empty() || self.seen.contains_key(path) {
            return Err(refusal(ErrorKind::AlreadyExists, path));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.file(id).name = path.to_owned();
        self.change_names(NameChange::Link(path.to_owned(), Node::File(id)));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.find(from)?;
        self.require_directory(parent(to))?;
        if matches!(self.seen.get(to), Some(Node::Directory)) {
            return Err(refusal(ErrorKind::IsADirectory, to));
        }
        if from != to {
            self.file(id).name = to.to_owned();
            self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.find(path)?;
        self.change_names(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn create_dir(&mut self, directory: &str) -> io::Result<()> {
        match self.seen.get(directory) {
            _ if directory.is_empty() => return Ok(()),
            Some(Node::Directory) => return Ok(()),
            Some(Node::File(_)) => return Err(refusal(ErrorKind::AlreadyExists, directory)),
            None => {}
        }
        if matches!(self.seen.get(parent(directory)), Some(Node::File(_))) {
            return Err(refusal(ErrorKind::NotADirectory, directory));
        }
        self.create_dir(parent(directory))?;
        self.change_names(NameChange::Link(directory.to_owned(), Node::Directory));
        Ok(())
    }

    pub(super) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.require_directory(directory)?;
        let files = self.seen.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        let here = files.filter(|(path, _)| parent(path) == directory);
        Ok(here.map(|(path, _)| name(path).to_owned()).collect())
    }

    /// Makes the changes of a directory durable, or only the first `limit` of them.
    pub(super) fn sync_dir(&mut self, directory: &str, limit: usize) -> io::Result<()> {
        self.require_directory(directory)?;
        let mut left = limit;
        for entry in &mut self.pending {
            if entry.unsynced.contains(directory) && left > 0 {
                entry.unsynced.remove(directory);
                left -= 1;
            }
        }
        let mut waiting: Vec<PendingName> = Vec::new();
        for entry in std::mem::take(&mut self.pending) {
            // A change never becomes durable before an earlier one of the same name.
            let blocked = waiting.iter().any(|earlier| share_a_path(earlier, &entry));
            if entry.unsynced.is_empty() && !blocked {
                entry.change.apply(&mut self.durable);
            } else {
                waiting.push(entry);
            }
        }
        self.pending = waiting;
        Ok(())
    }

    /// How many pending changes a sync of this directory would cover.
    pub(super) fn pending_in(&self, directory: &str) -> usize {
        self.pending.iter().filter(|entry| entry.unsynced.contains(directory)).count()
    }

    /// Writes what there is room for and says how much that was.
    pub(super) fn write(
        &mut self,
        id: FileId,
        data: &[u8],
        offset: u64,
        open: &OpenFiles,
    ) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let fitting = self.fitting(id, data.len(), offset, open);
        if fitting == 0 {
            return Err(refusal(ErrorKind::StorageFull, &self.view(id).name));
        }
        let data = &data[..fitting];
        let content = self.file(id);
        content.seen.write(data, offset);
        let length = content.seen.length();
        let (first, last) = (offset, offset + fitting as u64 - 1);
        for index in first / SECTOR_BYTES as u64..=last / SECTOR_BYTES as u64 {
            let image = Arc::new(content.seen.sector(index));
            content.pending.push(Change::Sector { index, image, length });
        }
        Ok(fitting)
    }

    /// How many bytes of a write get blocks.
    fn fitting(&self, id: FileId, length: usize, offset: u64, open: &OpenFiles) -> usize {
        let Some(capacity) = self.capacity_bytes else { return length };
        let mut free = capacity.saturating_sub(self.used_bytes(open));
        let seen = &self.view(id).seen;
        let end = offset as usize + length;
        let mut position = offset as usize;
        while position < end {
            let block = position / BLOCK_BYTES;
            if !seen.is_allocated(block) {
                if free < BLOCK_BYTES as u64 {
                    break;
                }
                free -= BLOCK_BYTES as u64;
            }
            position = ((block + 1) * BLOCK_BYTES).min(end);
        }
        position - offset as usize
    }

    /// Bytes in blocks that belong to named or open files.
    pub(super) fn used_bytes(&self, open: &OpenFiles) -> u64 {
        let named = self.seen.values().filter_map(|node| match node {
            Node::File(id) => Some(*id),
            Node::Directory => None,
        });
        let live: BTreeSet<FileId> = named.chain(open.keys().copied()).collect();
        let contents = live.iter().filter_map(|id| self.files.get(id));
        contents.map(|content| content.seen.allocated_bytes()).sum()
    }

    pub(super) fn set_len(&mut self, id: FileId, length: u64) {
        let content = self.file(id);
        content.seen.set_len(length);
        content.pending.push(Change::Length(length));
    }

    /// Makes the pending changes of a file durable, or only the first `limit` of them.
    pub(super) fn sync_data(&mut self, id: FileId, limit: usize) {
        let content = self.file(id);
        let count = content.pending.len().min(limit);
        for change in content.pending.drain(..count) {
            change.apply(&mut content.durable);
        }
    }

    /// Forgets files that neither a name nor an open handle leads to.
    pub(super) fn collect(&mut self, open: &OpenFiles) {
        let mut live: BTreeSet<FileId> = open.keys().copied().collect();
        let pending = self.pending.iter().filter_map(|entry| match &entry.change {
            NameChange::Link(_, node) => Some(node),
            _ => None,
        });
        for node in self.seen.values().chain(self.durable.values()).chain(pending) {
            if let Node::File(id) = node {
                live.insert(*id);
            }
        }
        self.files.retain(|id, _| live.contains(id));
    }
}

fn share_a_path(one: &PendingName, other: &PendingName) -> bool {
    one.change.paths().any(|path| other.change.paths().any(|another| path == another))
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn refusal(kind: ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path:?}: {kind}"))
}
