//! The files with snapshots of single instances, and what is known of them.
//!
//! They are of this node: nothing of them is in the log. A snapshot belongs to the life of its id in which
//! it was taken. It is shown while that lasts; afterwards its file is of no use and goes.

use std::collections::BTreeMap;
use std::io;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rstmdb_types::{Offset, Result, SnapshotSummary, Text, TimestampMs};
use serde::Deserialize;

use crate::error::io as io_error;
use crate::storage::{Storage, remove_if_there};

pub(crate) const SNAPSHOT_DIRECTORY: &str = "snapshots";
const BEGIN: &str = "snap-";
const ENDING: &str = ".json";
const UNFINISHED: &str = ".tmp";

/// The name of a new snapshot.
pub(crate) fn snapshot_id(unique: &str) -> Text {
    format!("{BEGIN}{unique}").into()
}

/// The file of a snapshot; nothing for what can't be the name of one.
fn path(id: &str) -> Option<String> {
    let unique = id.strip_prefix(BEGIN)?;
    let is_one = unique.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_one.then(|| format!("{SNAPSHOT_DIRECTORY}/{id}{ENDING}"))
}

/// A snapshot, and which life of its id it is of.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub summary: SnapshotSummary,
    /// When its instance was created.
    pub created_at: Option<TimestampMs>,
}

impl Snapshot {
    pub(crate) fn new(
        id: Text,
        text: &[u8],
        wal_offset: Offset,
        created_at: Option<TimestampMs>,
    ) -> Snapshot {
        let summary = SnapshotSummary {
            snapshot_id: id,
            wal_offset,
            size_bytes: text.len() as u64,
            checksum: format!("{:08x}", crc32c::crc32c(text)).into(),
        };
        Snapshot { summary, created_at }
    }

    /// Whether it was taken in the life that began at an offset and a time. The time tells apart what a
    /// log that was cut or put back says of the same offsets.
    pub(crate) fn is_of(&self, life: Offset, created_at: Option<TimestampMs>) -> bool {
        let is_of_time = self.created_at.is_none() || created_at == self.created_at;
        life <= self.summary.wal_offset && is_of_time
    }

    fn key(&self) -> (Offset, &str) {
        (self.summary.wal_offset, &self.summary.snapshot_id)
    }
}

/// What is known of the files.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By offset, those of one offset by id.
    by_instance: BTreeMap<Text, Vec<Snapshot>>,
    /// The instance of each.
    instances: BTreeMap<Text, Text>,
    /// Whether there are some that nobody compared with the instances yet.
    is_new: bool,
}

impl Index {
    /// The snapshots of an id, in all its lives.
    pub(crate) fn of(&self, instance: &str) -> &[Snapshot] {
        self.by_instance.get(instance).map_or(&[], Vec::as_slice)
    }

    /// A snapshot and its instance.
    pub(crate) fn find(&self, id: &str) -> Option<(&Text, &Snapshot)> {
        let instance = self.instances.get(id)?;
        let snapshots = self.of(instance);
        snapshots.iter().find(|one| one.summary.snapshot_id == id).map(|one| (instance, one))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Text, &Snapshot)> {
        let of = |(instance, snapshots)| std::iter::repeat(instance).zip(snapshots);
        self.by_instance.iter().flat_map(of)
    }

    pub(crate) fn insert(&mut self, instance: Text, snapshot: Snapshot) {
        self.instances.insert(snapshot.summary.snapshot_id.clone(), instance.clone());
        let snapshots = self.by_instance.entry(instance).or_default();
        let at = snapshots.partition_point(|other| other.key() < snapshot.key());
        snapshots.insert(at, snapshot);
        self.is_new = true;
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(instance) = self.instances.remove(id) else { return };
        if let Some(snapshots) = self.by_instance.get_mut(&instance) {
            snapshots.retain(|one| one.summary.snapshot_id != id);
            if snapshots.is_empty() {
                self.by_instance.remove(&instance);
            }
        }
    }

    /// All of them were compared with the instances.
    pub(crate) fn is_compared(&mut self) {
        self.is_new = false;
    }

    fn read(storage: &dyn Storage) -> Result<Index> {
        let mut index = Index::default();
        let names = match storage.list(SNAPSHOT_DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(index),
            names => names.map_err(|error| io_error("listing the snapshots", error))?,
        };
        for name in names {
            let Some((id, path)) = name.strip_suffix(ENDING).and_then(|id| Some((id, path(id)?)))
            else {
                continue;
            };
            match read_snapshot(storage, id, &path) {
                Ok((instance, snapshot)) => index.insert(instance, snapshot),
                // It may be all that is left of something: who put it there decides.
                Err(error) if is_none_of_ours(&error) => {
                    tracing::warn!("{path} stays, and is not listed: {error}");
                }
                Err(error) => return Err(io_error(&format!("reading {path}"), error)),
            }
        }
        Ok(index)
    }
}

/// What it says will not change when it is read again.
fn is_none_of_ours(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::InvalidData | Kind::UnexpectedEof | Kind::NotFound | Kind::IsADirectory
    )
}

fn read_snapshot(storage: &dyn Storage, id: &str, path: &str) -> io::Result<(Text, Snapshot)> {
    #[derive(Deserialize)]
    struct Instance {
        instance_id: Text,
        last_wal_offset: Offset,
        created_at: Option<TimestampMs>,
    }
    let file = storage.open_to_read(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut text = vec![0; length];
    let read = file.read_full_at(&mut text, 0)?;
    text.truncate(read);
    let instance: Instance = serde_json::from_slice(&text)?;
    let Instance { instance_id, last_wal_offset, created_at } = instance;
    Ok((instance_id, Snapshot::new(id.into(), &text, last_wal_offset, created_at)))
}

/// The snapshots of a database. Their directory is read when somebody asks for the first time.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    index: Mutex<Option<Index>>,
    /// Held while the directory is read, which may take long: who only asks what is known does not wait.
    reading: Mutex<()>,
}

/// What there is to look after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub snapshots: usize,
    /// See [`Index::is_compared`].
    pub is_new: bool,
}

impl Snapshots {
    /// Reads the directory, unless somebody did. Who changes files does so before the lock of the manifest is
    /// taken, for which others wait.
    pub(crate) fn read(&self, storage: &dyn Storage) -> Result<()> {
        let _reading = self.reading.lock();
        if self.index.lock().is_none() {
            let index = Index::read(storage)?;
            *self.index.lock() = Some(index);
        }
        Ok(())
    }

    /// What is known of the files, for who holds the lock of the manifest where they are to change.
    pub(crate) fn index(&self, storage: &dyn Storage) -> Result<MappedMutexGuard<'_, Index>> {
        self.read(storage)?;
        Ok(MutexGuard::map(self.index.lock(), |index| index.get_or_insert_default()))
    }

    /// The same; nothing while the directory was not read.
    pub(crate) fn known(&self) -> Option<MappedMutexGuard<'_, Index>> {
        MutexGuard::try_map(self.index.lock(), Option::as_mut).ok()
    }

    /// What there is; nothing while the directory was not read.
    pub(crate) fn extent(&self) -> Option<Extent> {
        self.known().map(|index| Extent { snapshots: index.instances.len(), is_new: index.is_new })
    }
}

/// Writes a snapshot; of one that fails nothing stays.
pub(crate) fn write(storage: &dyn Storage, id: &str, text: &[u8]) -> io::Result<()> {
    let Some(path) = path(id) else { return Err(io::ErrorKind::InvalidInput.into()) };
    let unfinished = format!("{path}{UNFINISHED}");
    let write = || {
        storage.create_dir(SNAPSHOT_DIRECTORY)?;
        storage.sync_dir("")?;
        let file = storage.create(&unfinished)?;
        file.write_all_at(text, 0)?;
        file.sync_data()?;
        storage.rename(&unfinished, &path)?;
        storage.sync_dir(SNAPSHOT_DIRECTORY)
    };
    write().inspect_err(|_| {
        // Nobody was told of it.
        for left in [&unfinished, &path] {
            let _ = storage.remove(left);
        }
    })
}

/// Removes the file of a snapshot; says whether there was one.
pub(crate) fn remove(storage: &dyn Storage, id: &str) -> io::Result<bool> {
    let Some(path) = path(id) else { return Ok(false) };
    match storage.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Removes what a process that ended left unfinished.
pub(crate) fn remove_unfinished(storage: &dyn Storage) -> io::Result<()> {
    let names = match storage.list(SNAPSHOT_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    let mut unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED));
    unfinished
        .try_for_each(|name| remove_if_there(storage, &format!("{SNAPSHOT_DIRECTORY}/{name}")))
}
