//! Loading a checkpoint into an empty state.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rstmdb_types::{Offset, Result, TimestampMs};

use super::checkpoint_path;
use super::format::{
    BlockKind, BlockReader, get_history, get_instance, get_key, get_machine, get_side,
};
use crate::codec::Reader;
use crate::error::{corrupt, io as io_error};
use crate::log::OFFSET_MAX;
use crate::log::kinds::{Kind, PURGE_FLOOR, Progress};
use crate::log::lineage::Lineage;
use crate::log::members::GroupMembers;
use crate::log::tip::Named;
use crate::state::State;
use crate::state::{KeyEntry, Owner};
use crate::storage::{File, Storage};

/// What loading needs besides the file.
pub(crate) struct Loading<'a> {
    pub storage: &'a dyn Storage,
    pub database: [u8; 16],
    pub progress: &'a dyn Fn(u64, u64),
}

/// What a checkpoint holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadedCheckpoint {
    /// Every change up to here.
    pub offset: Offset,
    /// The time in the log when it was written.
    pub at: TimestampMs,
    /// The newest change in it: the log was on the disk up to there before the checkpoint counted.
    pub newest: Offset,
    /// The newest change that it shows; up to its offset, later ones are marks and the like.
    pub shown: Offset,
    /// The last frame before it began.
    pub named: Option<Named>,
    pub lineage: Lineage,
    /// Who belonged to the group.
    pub members: Option<GroupMembers>,
}

/// Opens a checkpoint that should be there.
pub(crate) fn open_checkpoint(storage: &dyn Storage, path: &str) -> Result<Arc<dyn File>> {
    storage.open_to_read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => corrupt(path, 0, "the checkpoint is missing"),
        _ => io_error(&format!("opening {path}"), error),
    })
}

/// The histories that a checkpoint knows of.
pub(crate) fn lineage_of(file: &dyn File, path: &str, database: &[u8; 16]) -> Result<Lineage> {
    let mut reader = BlockReader::open(file, path, database)?;
    let mut lineage = Lineage::default();
    while let Some((kind, entries, bytes)) = reader.next()? {
        let mut bytes = Reader::new(bytes);
        if kind == BlockKind::Histories {
            (0..entries).filter_map(|_| get_history(&mut bytes)).for_each(|it| lineage.add(it));
        }
    }
    Ok(lineage)
}

impl Loading<'_> {
    /// Loads the file; the state is spoilt when this fails.
    pub(crate) fn load(&self, file: &str, state: &State) -> Result<LoadedCheckpoint> {
        let path = checkpoint_path(file);
        let opened = open_checkpoint(self.storage, &path)?;
        let mut reader = BlockReader::open(&*opened, &path, &self.database)?;
        let head = reader.head;
        let mut loaded = LoadedCheckpoint {
            offset: head.offset,
            at: head.created_at,
            newest: head.offset,
            named: head.named,
            ..LoadedCheckpoint::default()
        };
        state.log_time.fetch_max(head.created_at, Ordering::Relaxed);
        loop {
            let (done, total) = reader.progress();
            (self.progress)(done, total);
            let Some((kind, entries, bytes)) = reader.next()? else {
                return Ok(loaded);
            };
            match self.load_block(state, &mut loaded, (kind, entries, bytes)) {
                Some(last) if last <= OFFSET_MAX => {
                    loaded.newest = loaded.newest.max(last);
                    loaded.shown = loaded.shown.max(last);
                }
                _ => return Err(reader.damaged("an intact block can't be read")),
            }
        }
    }

    /// Loads a block; returns the newest change in it.
    fn load_block(
        &self,
        state: &State,
        loaded: &mut LoadedCheckpoint,
        (kind, entries, bytes): (BlockKind, u32, &[u8]),
    ) -> Option<Offset> {
        let mut newest = 0;
        let mut reader = Reader::new(bytes);
        let mut machines = state.machines.write();
        for _ in 0..entries {
            match kind {
                BlockKind::Machines => {
                    let image = get_machine(&mut reader)?;
                    if image.number != machines.next_number() {
                        return None;
                    }
                    newest = newest.max(image.offset);
                    machines.restore(&image).ok()?;
                }
                BlockKind::Instances => {
                    let slot =
                        get_instance(&mut reader, |number| machines.by_number(number).cloned())?;
                    newest = newest.max(slot.touched());
                    let hash = state.hash(&slot.id);
                    state.partition(hash).restore(hash, slot);
                }
                BlockKind::Keys => {
                    let (id, entry) = get_key(&mut reader)?;
                    newest = newest.max(entry.offset);
                    self.load_key(state, id, entry);
                }
                BlockKind::Attachments => {
                    let (id, side) = get_side(&mut reader)?;
                    let hash = state.hash(id);
                    let mut partition = state.partition(hash);
                    let slot = partition.find(hash, id)?;
                    partition.attach(slot, side)?;
                }
                BlockKind::Progress => load_progress(state, &Progress::decode(&mut reader, 0)?)?,
                BlockKind::Histories => loaded.lineage.add(get_history(&mut reader)?),
                BlockKind::Members => loaded.members = Some(GroupMembers::decode(&mut reader)?),
                BlockKind::Footer => return None,
            }
        }
        reader.is_empty().then_some(newest)
    }

    fn load_key(&self, state: &State, id: Option<&str>, entry: KeyEntry) {
        let bounds = state.key_budget.bounds(state.key_window_ms);
        match id {
            None => state
                .global_keys
                .lock()
                .remember(KeyEntry { owner: Owner::DATABASE, ..entry }, bounds),
            Some(id) => {
                let hash = state.hash(id);
                let mut partition = state.partition(hash);
                // Where the id was forgotten there is no owner any more.
                if let Some(slot) = partition.find(hash, id) {
                    let owner = Owner { slot };
                    partition.remember(KeyEntry { owner, ..entry }, bounds);
                }
            }
        }
    }
}

fn load_progress(state: &State, progress: &Progress<'_>) -> Option<()> {
    match (progress.kind, &*progress.numbers) {
        (PURGE_FLOOR, [floor]) => state.move_purge_floor(*floor),
        _ => return None,
    };
    Some(())
}
