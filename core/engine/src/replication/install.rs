//! Handing a checkpoint to a node whose log ends before this one begins.

use std::io;
use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result};

use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::{lineage_of, open_checkpoint};
use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::error::{io as io_error, writing};
use crate::log::exchange::{LogFrame, mismatch};
use crate::log::frame::{FRAME_HEADER_BYTES, FrameHeader, seal};
use crate::log::lineage::Lineage;
use crate::log::segment::{LOG_DIRECTORY, SEGMENT_FORMAT, SegmentHeader, segment_number};
use crate::log::tip::Tip;
use crate::log::writer::create_segment;
use crate::log::{FrameCursor, Sealer};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::open::create;
use crate::options::{GroupNode, Location};
use crate::replication::vote::VoteFile;
use crate::shared::Shared;
use crate::storage::{File, remove_if_there};

/// A checkpoint that can be read while it is sent; it stays readable when it is replaced.
#[derive(Clone)]
pub struct CheckpointFile {
    /// Where the log goes on behind it.
    pub at: Installed,
    /// Its size.
    pub bytes: u64,
    file: Arc<dyn File>,
    name: String,
}

impl std::fmt::Debug for CheckpointFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckpointFile({}, {:?})", self.name, self.at)
    }
}

/// What goes with a checkpoint: where the log goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The database's id.
    pub database: [u8; 16],
    /// Every change up to here is in the checkpoint.
    pub offset: Offset,
    /// The last frame before the first that is needed, its term, and the hash of all changes up to it.
    pub index: u64,
    /// See `index`.
    pub term: u64,
    /// See `index`.
    pub chain: u64,
    /// The first offset behind that frame.
    pub next: Offset,
    /// The log behind this offset stands alone.
    pub boundary: Offset,
    /// The time in the log when it was written.
    pub at_ms: i64,
    /// The checkpoint may hold some changes of frames up to here: they go with it.
    pub until: u64,
}

impl CheckpointFile {
    /// Reads some bytes at a position; 0 at the end.
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let read = self.file.read_at(buffer, position);
        read.map_err(|error| io_error(&format!("reading {}", self.name), error))
    }
}

impl Shared {
    /// The newest checkpoint from which the log goes on here.
    ///
    /// It waits for no compaction: that may wait for the group, which may wait for whoever asks.
    pub(super) fn newest_checkpoint_file(&self) -> Result<Option<CheckpointFile>> {
        loop {
            let manifest = self.manifest_file.current();
            let Some(entry) = manifest.checkpoints.last() else { return Ok(None) };
            let found = self.checkpoint_file(&manifest, entry);
            // A newer one may have taken its place meanwhile, and its file and the log behind it are gone.
            let is_newest = || self.manifest_file.current().checkpoints.last() == Some(entry);
            if matches!(found, Ok(Some(_))) || is_newest() {
                return found;
            }
        }
    }

    fn checkpoint_file(
        &self,
        manifest: &Manifest,
        entry: &CheckpointEntry,
    ) -> Result<Option<CheckpointFile>> {
        // It counts since what it may hold is committed.
        let until = self.committed_index();
        let path = checkpoint_path(&entry.file);
        let file = open_checkpoint(&*self.storage, &path)?;
        let head = BlockReader::open(&*file, &path, &self.database)?.head;
        let boundaries = manifest.boundaries.iter().rev();
        let boundary = boundaries.copied().find(|boundary| *boundary <= head.offset);
        // One that no boundary goes with, or of format 1, can't be where a log begins.
        let (Some(named), Some(boundary)) = (head.named, boundary) else { return Ok(None) };
        if boundary + 1 < head.offset {
            return Ok(None);
        }
        let Some(next) = self.next_behind(named.index)? else { return Ok(None) };
        let at = Installed {
            database: self.database,
            offset: head.offset,
            index: named.index,
            term: named.term,
            chain: named.chain,
            next,
            boundary,
            at_ms: head.created_at,
            until,
        };
        Ok(Some(CheckpointFile { at, bytes: entry.bytes, file, name: entry.file.clone() }))
    }

    /// The first offset behind a frame, if the log reaches back so far.
    fn next_behind(&self, index: u64) -> Result<Option<Offset>> {
        let Some((mut cursor, mut tip)) = FrameCursor::of_segment(&self.files, index) else {
            return Ok(None);
        };
        while tip.index <= index {
            match cursor.next_of_any(&self.files)? {
                Some((frame, checksum)) => tip.advance(&frame.header, checksum),
                None => return Ok(None),
            }
        }
        Ok((tip.index == index + 1).then_some(tip.next))
    }
}

/// Lays a checkpoint into a directory, in place of whatever is there of the same database. After a crash there is what
/// was before, or the checkpoint, whole.
pub(crate) fn install(
    location: &Location,
    node: &GroupNode,
    at: &Installed,
    read: &mut dyn FnMut(&mut [u8], u64) -> Result<usize>,
    frames: &mut dyn Iterator<Item = Result<LogFrame>>,
) -> Result<()> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("installing into {}", location.name), error);
    storage.create_dir("").map_err(failed)?;
    let _lock = storage.lock().map_err(failed)?.map_err(|holder| {
        let what = format!("{} is in use by {holder}; close it there first", location.name);
        Error::new(rstmdb_types::ErrorCode::InternalError, what).with_reason(reason::LOCKED)
    })?;
    let before = match Manifest::read(storage)? {
        Some(before) => before,
        None => create(location, Some(&GroupNode { database: Some(at.database), ..node.clone() }))?,
    };
    check_same(&before, node, at)?;
    let known = VoteFile::open(location.storage.clone())?.ballot().committed;
    if known > at.until {
        let what = format!("the node knows frames up to {known} to be committed");
        return Err(mismatch(&what).with("committed", known).with("until", at.until));
    }
    let names = storage.list(LOG_DIRECTORY).map_err(failed)?;
    let numbers = names.iter().filter_map(|name| segment_number(name));
    // Further on than the next one could be: until the manifest names it, it is not part of the log.
    let number = numbers.max().unwrap_or(0).max(before.last_segment) + 2;
    let files = storage.list(CHECKPOINT_DIRECTORY).map_err(failed)?;
    let numbers = files.iter().filter_map(|name| name.split('.').next()?.parse::<u64>().ok());
    let file = format!("{:012}.ckpt", numbers.max().unwrap_or(0) + 1);
    let (entry, lineage) = receive(location, &file, at, read)?;
    let tip = Tip {
        next: at.next,
        index: at.index + 1,
        term: at.term,
        chain: at.chain,
        // The frame before is not here.
        previous: 0,
    };
    let header = SegmentHeader {
        format: SEGMENT_FORMAT,
        database: at.database,
        number,
        tip,
        key: Sealer::plain(&at.database).key(),
        salt: location.entropy.salt(),
        node: node.id,
        created_at: at.at_ms,
    };
    let segment = create_segment(storage, &header).map_err(failed)?;
    let tip = put_frames(&*segment, &header, at, frames)?;
    let mut manifest = Manifest::new(at.database);
    manifest.node_id = node.id;
    manifest.role = node.role();
    manifest.first_segment = number;
    manifest.last_segment = number;
    // The mark at the boundary is in the frame before the first that is here.
    manifest.first_offset = at.next.max(at.boundary + 1);
    manifest.checkpoints.push(entry);
    manifest.boundaries.push(at.boundary);
    manifest.history = lineage;
    manifest.durable_offset = tip.last();
    manifest.write(storage).map_err(|error| writing(MANIFEST, error))
}

fn check_same(before: &Manifest, node: &GroupNode, at: &Installed) -> Result<()> {
    let refused =
        |what: &str| Err(Error::invalid(reason::INVALID_OPTION, what).with("option", "node"));
    if before.database()? != at.database {
        return refused("the directory holds another database; choose an empty one");
    }
    if before.node_id != node.id {
        return refused("the directory does not belong to this node; choose an empty one");
    }
    Ok(())
}

/// Writes the frames that the checkpoint is of no use without; returns the end of the log then.
fn put_frames(
    file: &dyn File,
    segment: &SegmentHeader,
    at: &Installed,
    frames: &mut dyn Iterator<Item = Result<LogFrame>>,
) -> Result<Tip> {
    let sealer = Sealer::plain(&segment.database);
    let failed = |error: io::Error| io_error("writing the log behind the checkpoint", error);
    let (mut tip, mut position) = (segment.tip, segment.bytes());
    for frame in frames {
        let frame = frame?;
        let mut header = FrameHeader { previous: tip.previous, ..frame.settle(&tip)? };
        let mut buffer = vec![0; FRAME_HEADER_BYTES];
        buffer.extend_from_slice(frame.payload());
        sealer.seal(&mut header, &mut buffer);
        let checksum = seal(&mut buffer, &header, &sealer);
        file.write_all_at(&buffer, position).map_err(failed)?;
        position += buffer.len() as u64;
        tip.advance(&header, checksum);
    }
    if tip.index <= at.until {
        let what = format!("frames up to {} go with the checkpoint", at.until);
        return Err(mismatch(&what).with("index", tip.index).with("until", at.until));
    }
    file.sync_data().map_err(failed)?;
    Ok(tip)
}

/// Writes the checkpoint's file, and reads all of it again.
fn receive(
    location: &Location,
    file: &str,
    at: &Installed,
    read: &mut dyn FnMut(&mut [u8], u64) -> Result<usize>,
) -> Result<(CheckpointEntry, Lineage)> {
    let storage = &*location.storage;
    let path = checkpoint_path(file);
    let failed = |error: io::Error| writing(&path, error);
    let temporary = format!("{path}.tmp");
    remove_if_there(storage, &temporary).map_err(failed)?;
    let written = storage.create(&temporary).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let length = read(&mut buffer, bytes)?;
        if length == 0 {
            break;
        }
        written.write_all_at(buffer.get(..length).unwrap_or_default(), bytes).map_err(failed)?;
        bytes += length as u64;
    }
    written.sync_data().map_err(failed)?;
    let reader = BlockReader::open(&*written, &temporary, &at.database)?;
    let head = reader.head;
    let totals = reader.verify()?;
    let lineage = lineage_of(&*written, &temporary, &at.database)?;
    let named = head.named.map(|named| (named.index, named.term, named.chain));
    if head.offset != at.offset || named != Some((at.index, at.term, at.chain)) {
        return Err(crate::error::corrupt(
            &temporary,
            0,
            "it is not the checkpoint that was offered",
        ));
    }
    storage.rename(&temporary, &path).map_err(failed)?;
    storage.sync_dir(CHECKPOINT_DIRECTORY).map_err(failed)?;
    let entry = CheckpointEntry {
        file: file.to_owned(),
        offset: head.offset,
        instances: totals.instances,
        bytes,
    };
    Ok((entry, lineage))
}
