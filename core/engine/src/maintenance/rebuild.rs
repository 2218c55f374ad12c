//! Makes a manifest from what the other files say, for a database that is alone.

use std::io;

use rstmdb_types::{Error, Result};

use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::open_checkpoint;
use crate::checkpoint::{CHECKPOINT_DIRECTORY, CHECKPOINT_ENDING, checkpoint_path};
use crate::error::{Newer, corrupt, io as io_error, is_newer, newer_format};
use crate::log::recovery::{open_segment, segment_numbers};
use crate::log::segment::segment_path;
use crate::log::{LogFiles, Sealer};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::options::Location;
use crate::replication::vote::VOTE;
use crate::storage::Storage;

/// Where segments and checkpoints have the database id, and how much must be read for it.
const ID_AT: std::ops::Range<usize> = 16..32;

/// The manifest as segments and checkpoints tell it; where the log may be read from is for who reads all
/// of it.
///
/// Errors: reason `corrupt` when too little is left to tell, or when the database is not alone.
pub(crate) fn rebuild(location: &Location) -> Result<Manifest> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("reading {}", location.name), error);
    // A node is never put together by hand: what it acknowledged others count on.
    if storage.list("").map_err(failed)?.iter().any(|name| name == VOTE) {
        return Err(not_alone());
    }
    let numbers = segment_numbers(storage)?;
    let names = match storage.list(CHECKPOINT_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(failed)?,
    };
    let checkpoints: Vec<String> =
        names.into_iter().filter(|name| name.ends_with(CHECKPOINT_ENDING)).collect();
    let segments = numbers.iter().rev().map(|number| segment_path(*number));
    let paths = segments.chain(checkpoints.iter().rev().map(|name| checkpoint_path(name)));
    let mut manifest = None;
    for path in paths {
        let Some(database) = database_of(storage, &path).map_err(failed)? else { continue };
        let files = LogFiles::new(location.storage.clone(), Sealer::plain(&database));
        let mut found = Manifest { last_segment: 0, ..Manifest::new(database) };
        add_segments(storage, &numbers, &files, &mut found)?;
        add_checkpoints(storage, &checkpoints, &mut found)?;
        if found.last_segment > 0 || !found.checkpoints.is_empty() {
            manifest = Some(found);
            break;
        }
    }
    manifest.ok_or_else(|| corrupt(MANIFEST, 0, "no segment and no checkpoint is intact"))
}

fn not_alone() -> Error {
    let what = "the database is not alone, so its manifest can't be made again; let it join again";
    corrupt(MANIFEST, 0, what)
}

/// The database that a file says it belongs to; it may be damaged.
fn database_of(storage: &dyn Storage, path: &str) -> io::Result<Option<[u8; 16]>> {
    let mut head = [0; ID_AT.end];
    let read = storage.open_to_read(path)?.read_full_at(&mut head, 0)?;
    let id = head.get(ID_AT).and_then(|id| id.try_into().ok());
    Ok(id.filter(|_| read == head.len()))
}

fn add_segments(
    storage: &dyn Storage,
    numbers: &[u64],
    files: &LogFiles,
    manifest: &mut Manifest,
) -> Result<()> {
    let database = manifest.database()?;
    let mut is_first = true;
    for number in numbers {
        let header = match open_segment(storage, *number, &database, files) {
            Ok((header, ..)) => header,
            Err(error) if is_newer(&error) => {
                let path = segment_path(*number);
                let member = newer_format(&path, 0, Newer::Role);
                return Err(if error.message() == member.message() { not_alone() } else { error });
            }
            Err(_) => continue,
        };
        if header.node != 0 {
            return Err(not_alone());
        }
        if std::mem::take(&mut is_first) {
            manifest.first_offset = header.tip.next;
        }
        manifest.format = header.format;
        manifest.last_segment = *number;
    }
    // One whose header is damaged is still one that there should be.
    if manifest.last_segment > 0 {
        manifest.first_segment = numbers.first().copied().unwrap_or(1);
        manifest.last_segment = numbers.last().copied().unwrap_or(1);
    }
    Ok(())
}

fn add_checkpoints(storage: &dyn Storage, names: &[String], manifest: &mut Manifest) -> Result<()> {
    let database = manifest.database()?;
    for name in names {
        let path = checkpoint_path(name);
        let file = open_checkpoint(storage, &path)?;
        let bytes = file.len().map_err(|error| io_error(&format!("reading {path}"), error))?;
        let read = BlockReader::open(&*file, &path, &database).map(|reader| {
            let offset = reader.head.offset;
            (offset, reader.verify().map(|totals| totals.instances))
        });
        match read {
            Err(error) | Ok((_, Err(error))) if is_newer(&error) => return Err(error),
            Ok((offset, instances)) => {
                // It was written behind changes that were on the disk, whatever became of it since.
                manifest.durable_offset = manifest.durable_offset.max(offset);
                let instances = instances.unwrap_or(0);
                let file = name.clone();
                manifest.checkpoints.push(CheckpointEntry { file, offset, instances, bytes });
            }
            Err(_) => {}
        }
    }
    Ok(())
}
