//! Cuts the end of the log off, keeping a copy of every file it touches.

use std::io;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result};
use serde::Serialize;

use super::verify::verify;
use super::{is_newer, lock_existing};
use crate::checkpoint::load::Loading;
use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::error::io as io_error;
use crate::log::files::Window;
use crate::log::frame::{ParsedFrame, VOID};
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, segment_number, segment_path,
};
use crate::log::{LogFiles, Sealer};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::options::{Location, Options};
use crate::state::State;
use crate::storage::Storage;

/// What a repair does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairPlan {
    /// The last offset that stays.
    pub to: Offset,
    /// Intact changes that are given up, as far as they can be counted.
    pub changes_dropped: u64,
    /// Bytes of the log that are given up.
    pub bytes_dropped: u64,
    /// The segment that is cut, and where.
    pub cut: String,
    /// The byte it is cut at.
    pub cut_at: u64,
    /// Segments that are removed.
    pub segments_removed: Vec<String>,
    /// Checkpoints that are removed, because they hold later changes or are damaged.
    pub checkpoints_removed: Vec<String>,
    /// The directory with a copy of every file as it was.
    pub copies: String,
    /// Whether it was done.
    pub done: bool,
}

/// Cuts everything after offset `to` off; only says what it would do unless `apply` is true.
///
/// Errors: `BAD_REQUEST` when `to` lies inside an atomic batch or group, beyond the damage, or before
/// what the checkpoints can replace.
pub fn repair(location: &Location, to: Offset, apply: bool) -> Result<RepairPlan> {
    let report = verify(location)?;
    let (_lock, manifest) = lock_existing(location)?;
    if to > report.last_offset {
        return Err(refused(
            to,
            &format!("the log is whole only up to offset {}", report.last_offset),
        ));
    }
    let database = manifest.database()?;
    let files = LogFiles::new(location.storage.clone(), Sealer::plain(&database));
    let place = find_cut(location, &manifest, &files, to)?;
    let kept = usable_checkpoints(location, &manifest, database, to)?;
    if manifest.first_offset > kept.last().map_or(0, |kept| kept.offset) + 1 {
        return Err(refused(to, "no intact checkpoint holds the state at or before it"));
    }
    let removed = manifest.checkpoints.iter().filter(|entry| !kept.contains(entry));
    let counted: u64 = report.segments.iter().map(|segment| segment.changes).sum();
    let first = report.segments.first().map_or(1, |segment| segment.first_offset);
    let mut plan = RepairPlan {
        to,
        changes_dropped: (first + counted).saturating_sub(to + 1),
        bytes_dropped: place.bytes_dropped,
        cut: segment_path(place.segment),
        cut_at: place.position,
        segments_removed: place.later.iter().map(|number| segment_path(*number)).collect(),
        checkpoints_removed: removed.map(|entry| checkpoint_path(&entry.file)).collect(),
        copies: format!("repair-{}", location.clock.now_ms()),
        done: false,
    };
    if apply {
        let mut next = manifest.clone();
        next.checkpoints = kept;
        next.boundaries.retain(|boundary| *boundary <= to);
        // What is written next begins another history.
        next.history.forget_after(to);
        next.durable_offset = next.durable_offset.min(to);
        execute(&*location.storage, &plan, &next)
            .map_err(|error| io_error("repairing (the copies are untouched)", error))?;
        plan.done = true;
    }
    Ok(plan)
}

fn refused(to: Offset, why: &str) -> Error {
    Error::invalid(reason::INVALID_REQUEST, format!("can't cut after offset {to}: {why}"))
        .with("field", "to")
        .with("offset", to)
}

/// Where the log is to end.
struct LogEnd {
    segment: u64,
    position: u64,
    later: Vec<u64>,
    bytes_dropped: u64,
}

fn find_cut(
    location: &Location,
    manifest: &Manifest,
    files: &LogFiles,
    to: Offset,
) -> Result<LogEnd> {
    let failed = |error: io::Error| io_error("reading the log", error);
    let storage = &*location.storage;
    let names = storage.list(LOG_DIRECTORY).map_err(failed)?;
    let numbers = names.iter().filter_map(|name| segment_number(name));
    let mut numbers: Vec<u64> = numbers.filter(|n| *n >= manifest.first_segment).collect();
    numbers.sort_unstable();
    let mut found: Option<LogEnd> = None;
    for number in numbers {
        let file = storage.open(&segment_path(number)).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        if let Some(cut) = &mut found {
            cut.later.push(number);
            cut.bytes_dropped += length;
            continue;
        }
        let mut head = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_full_at(&mut head, 0).map_err(failed)?;
        let head = head.get(..read).unwrap_or_default();
        let database = manifest.database()?;
        let head = SegmentHeader::decode(head, &segment_path(number), &database, &files.sealer)?;
        let mut window = Window::default();
        let mut position = head.bytes();
        let mut last = None;
        let (mut before, mut end) = (None, false);
        while let ParsedFrame::Frame { header, .. } =
            window.parse_at(&*file, position, length, files).map_err(failed)?
        {
            // A control frame is about what comes after it.
            if header.flags & VOID == 0 && header.first > to {
                end = true;
                break;
            }
            if header.has_effects() {
                before.get_or_insert(header.first);
                last = Some(header.last());
            }
            if last.is_some_and(|last| last > to) {
                let what = format!(
                    "it lies inside a group of changes that was written as one; use {} or {}",
                    header.first - 1,
                    header.last()
                );
                return Err(refused(to, &what));
            }
            position += header.frame_bytes() as u64;
        }
        if end || last == Some(to) || (to == 0 && before.is_none()) {
            found = Some(LogEnd {
                segment: number,
                position,
                later: Vec::new(),
                bytes_dropped: length - position,
            });
        }
    }
    found.ok_or_else(|| refused(to, "the log does not hold it"))
}

/// The checkpoints that are intact and hold nothing after `to`.
fn usable_checkpoints(
    location: &Location,
    manifest: &Manifest,
    database: [u8; 16],
    to: Offset,
) -> Result<Vec<CheckpointEntry>> {
    let options = Options::default();
    let mut usable = Vec::new();
    for entry in &manifest.checkpoints {
        let state = State::new(&options, 0);
        let loading = Loading { storage: &*location.storage, database, progress: &|_, _| {} };
        match loading.load(&entry.file, &state) {
            Err(error) if is_newer(&error) => return Err(error),
            Ok(_) if entry.offset <= to && newest_change(&state) <= to => {
                usable.push(entry.clone());
            }
            _ => {}
        }
    }
    Ok(usable)
}

fn newest_change(state: &State) -> Offset {
    let instances = state.partitions.iter().flat_map(|partition| {
        let partition = partition.lock();
        let slots = (0..partition.slot_count()).filter_map(|slot| partition.slot(slot));
        let keys = partition.keys().iter().map(|entry| entry.offset).max();
        slots.map(|slot| slot.last).max().max(keys)
    });
    let machines = state.machines.read().all().iter().map(|entry| entry.offset).max();
    let keys = state.global_keys.lock().iter().map(|entry| entry.offset).max();
    instances.max().max(machines).max(keys).unwrap_or(0)
}

/// Copies first, then the manifest, then the cut: whatever fails half-way can be run again.
fn execute(storage: &dyn Storage, plan: &RepairPlan, next: &Manifest) -> io::Result<()> {
    storage.create_dir(&plan.copies)?;
    storage.sync_dir("")?;
    let touched = plan.segments_removed.iter().chain(&plan.checkpoints_removed);
    for path in touched.chain([&plan.cut, &MANIFEST.to_owned()]) {
        let name = path.rsplit('/').next().unwrap_or(path);
        copy(storage, path, &format!("{}/{name}", plan.copies))?;
    }
    storage.sync_dir(&plan.copies)?;
    next.write(storage)?;
    // Newest first: what is left is always a log without a hole.
    for path in plan.segments_removed.iter().rev() {
        storage.remove(path)?;
    }
    let file = storage.open(&plan.cut)?;
    file.set_len(plan.cut_at)?;
    file.sync_data()?;
    storage.sync_dir(LOG_DIRECTORY)?;
    for path in &plan.checkpoints_removed {
        storage.remove(path)?;
    }
    storage.sync_dir(CHECKPOINT_DIRECTORY)
}

fn copy(storage: &dyn Storage, from: &str, to: &str) -> io::Result<()> {
    let source = match storage.open(from) {
        // A checkpoint that is missing needs no copy.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let target = storage.create(to)?;
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        let read = source.read_full_at(&mut buffer, position)?;
        if read == 0 {
            return target.sync_data();
        }
        target.write_all_at(buffer.get(..read).unwrap_or_default(), position)?;
        position += read as u64;
    }
}
