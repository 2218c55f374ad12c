//! Gives up what is damaged, or what the user says, keeping a copy of every file it touches.

use std::io;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result};
use serde::Serialize;

use super::examine::{Examination, find};
use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::error::{io as io_error, is_newer};
use crate::held::{Held, LoadedBase};
use crate::log::Sealer;
use crate::log::recovery::segment_numbers;
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path,
};
use crate::log::tip::Tip;
use crate::log::writer::create_segment;
use crate::manifest::{CheckpointEntry, MANIFEST, MANIFEST_FORMAT, Manifest, Role};
use crate::options::Location;
use crate::replication::vote::VoteFile;
use crate::storage::Storage;

/// What to give up besides files that nothing is lost with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// The first offset that stays readable: the history before it goes, what it led to does not.
    pub from: Option<Offset>,
    /// The last offset that stays: every later change goes.
    pub to: Option<Offset>,
}

impl From<Offset> for Cut {
    fn from(to: Offset) -> Cut {
        Cut { from: None, to: Some(to) }
    }
}

/// What a repair does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairPlan {
    /// The last offset that stays.
    pub to: Offset,
    /// Changes that are given up: those that are known to have been there.
    pub changes_dropped: u64,
    /// Bytes of the log that are given up.
    pub bytes_dropped: u64,
    /// The first offset that can be read afterwards.
    pub from: Offset,
    /// The segment that is cut, or begun anew, and where.
    pub cut: String,
    /// The byte it is cut at.
    pub cut_at: u64,
    /// Segments that are moved away.
    pub segments_removed: Vec<String>,
    /// Checkpoints that are moved away, because they hold later changes or are damaged.
    pub checkpoints_removed: Vec<String>,
    /// Whether the manifest was damaged or missing, and is made from what the other files say.
    pub manifest_rebuilt: bool,
    /// The directory with a copy of every file as it was.
    pub copies: String,
    /// Whether it was done.
    pub done: bool,
}

/// Gives up what is damaged and nothing is lost with, and what the cut says; only says what it would do
/// unless `apply` is true.
///
/// Errors: `BAD_REQUEST` when more would have to be given up than the cut says, when its end lies inside an
/// atomic batch or group, beyond the damage, or before what the checkpoints can replace.
pub fn repair(location: &Location, cut: impl Into<Cut>, apply: bool) -> Result<RepairPlan> {
    let found = Examination::of(location)?;
    if found.manifest.role != Role::Alone {
        // What it acknowledged others count on.
        return Err(found.manifest.not_alone(&location.name));
    }
    give_up(location, &found, cut.into(), apply)
}

/// Gives up what a database or a node has behind an offset, because the others that it belongs to go on from there
/// in another way; copies stay. Then it can follow them.
///
/// Errors: as [`repair`]'s; and when the log does not reach back to an intact checkpoint at or before the offset: then
/// a checkpoint of another node is needed.
pub fn set_aside(location: &Location, to: Offset) -> Result<RepairPlan> {
    let found = Examination::of(location)?;
    // What was known to be committed was so elsewhere.
    let mut votes = VoteFile::open(location.storage.clone())?;
    if votes.is_there() {
        votes.save(|ballot| ballot.committed = 0)?;
    }
    give_up(location, &found, to.into(), true)
}

fn give_up(location: &Location, found: &Examination, cut: Cut, apply: bool) -> Result<RepairPlan> {
    let limited = cut.to.map(|to| held_up_to(location, found, to)).transpose()?;
    let held = match &limited {
        Some(held) => held,
        None => all_held(found)?,
    };
    let from = history_to_keep(found, held, cut.from)?;
    let repair = Repair { location, found, held };
    let (plan, next, fresh) = repair.plan(from)?;
    if !apply {
        return Ok(plan);
    }
    execute(&*location.storage, &plan, &next, fresh.as_ref())
        .map_err(|error| io_error("repairing (the copies are untouched)", error))?;
    Ok(RepairPlan { done: true, ..plan })
}

fn refused(field: &str, offset: Offset, why: &str) -> Error {
    let message = match field {
        "to" => format!("can't cut after offset {offset}: {why}"),
        _ => format!("can't give up the history before offset {offset}: {why}"),
    };
    Error::invalid(reason::INVALID_REQUEST, message).with("field", field).with("offset", offset)
}

/// What stays when no change is to be given up.
fn all_held(found: &Examination) -> Result<&Held> {
    let held = found.held.as_ref().map_err(Error::clone)?;
    match held.fault {
        None => Ok(held),
        Some(_) => {
            let last = held.last;
            let message =
                format!("changes after offset {last} are lost: give them up with --to {last}");
            Err(Error::invalid(reason::INVALID_REQUEST, message).with("offset", last))
        }
    }
}

/// What stays when everything after an offset goes.
fn held_up_to(location: &Location, found: &Examination, to: Offset) -> Result<Held> {
    match &found.held {
        Ok(held) if to > held.last => {
            let why = format!("the log is whole only up to offset {}", held.last);
            return Err(refused("to", to, &why));
        }
        Ok(_) => {}
        Err(_) => {
            return Err(refused("to", to, "no intact checkpoint holds the state at or before it"));
        }
    }
    let none = |_| refused("to", to, "no intact checkpoint holds the state at or before it");
    let held = find(location, &found.manifest, Some(to)).map_err(none)?;
    if let Some((before, end)) = held.log.as_ref().and_then(|log| log.splits) {
        let why = format!(
            "it lies inside a group of changes that was written as one; use {before} or {end}"
        );
        return Err(refused("to", to, &why));
    }
    if held.last != to {
        return Err(refused("to", to, "no intact checkpoint holds the state at or before it"));
    }
    Ok(held)
}

/// The first offset that stays readable; nothing when all does.
fn history_to_keep(
    found: &Examination,
    held: &Held,
    from: Option<Offset>,
) -> Result<Option<Offset>> {
    let Some(log) = &held.log else { return Ok(None) };
    let whole = found.scan.history_from(log.begins);
    let whole = whole.map(|first| found.readable_from(first, held.last));
    let Some(from) = from else {
        return match (whole, &log.history) {
            (Some(whole), Some(_)) => {
                let message = format!(
                    "no change is lost, but the history before offset {whole}: give it up with \
                     --from {whole}"
                );
                Err(Error::invalid(reason::INVALID_REQUEST, message).with("offset", whole))
            }
            _ => Ok(None),
        };
    };
    if let Some(whole) = whole.filter(|whole| from < *whole) {
        return Err(refused("from", from, &format!("it is whole only from offset {whole} on")));
    }
    if held.base.is_none() && from > 1 {
        let why = "no intact checkpoint holds what it led to; `rstmdb-cli compact` writes one";
        return Err(refused("from", from, why));
    }
    if from > held.last + 1 {
        return Err(refused("from", from, &format!("the last offset is {}", held.last)));
    }
    Ok(Some(found.readable_from(from, held.last)).filter(|from| *from > 1))
}

type Planned = (RepairPlan, Manifest, Option<SegmentHeader>);

struct Repair<'a> {
    location: &'a Location,
    found: &'a Examination,
    held: &'a Held,
}

impl Repair<'_> {
    fn plan(&self, from: Option<Offset>) -> Result<Planned> {
        let storage = &*self.location.storage;
        let (manifest, to) = (&self.found.manifest, self.held.last);
        let fresh = self.fresh()?;
        let (segment, position, format) = match (&self.held.log, &fresh) {
            (Some(log), _) => (log.end().0, log.end().1, log.format()),
            (None, Some(fresh)) => (fresh.number, SEGMENT_HEADER_BYTES, fresh.format),
            (None, None) => (manifest.first_segment, SEGMENT_HEADER_BYTES, SEGMENT_FORMAT),
        };
        let first_segment = self.first_segment(from, segment);
        let mut next = Manifest { first_segment, last_segment: segment, ..manifest.clone() };
        next.checkpoints = self.usable_checkpoints(first_segment)?;
        // What is written next begins another history.
        next.history.forget_after(to);
        next.durable_offset = next.durable_offset.min(to);
        next.boundaries.retain(|boundary| *boundary <= to);
        let begins = if fresh.is_some() { Some(to + 1) } else { from };
        next.first_offset = begins.unwrap_or(next.first_offset).max(next.first_offset).min(to + 1);
        if next.first_offset > 1 {
            let before = next.first_offset - 1;
            next.boundaries.retain(|boundary| *boundary > before);
            next.boundaries.insert(0, before);
        }
        next.history.forget_before(next.first_offset);
        if fresh.is_some() {
            next.format = MANIFEST_FORMAT;
        } else if self.found.manifest_fault.is_some() {
            next.format = format;
        }
        let mut bytes_dropped = 0;
        let mut segments_removed = Vec::new();
        for number in segment_numbers(storage)? {
            let path = segment_path(number);
            let length = storage.open_to_read(&path).and_then(|file| file.len());
            let length = length.map_err(|error| io_error(&format!("reading {path}"), error))?;
            if number == segment {
                bytes_dropped += length.saturating_sub(position);
            } else if !(first_segment..segment).contains(&number) {
                bytes_dropped += length;
                segments_removed.push(path);
            }
        }
        let removed = manifest.checkpoints.iter().filter(|entry| !next.checkpoints.contains(entry));
        let plan = RepairPlan {
            to,
            changes_dropped: self.found.scan.known.saturating_sub(to),
            bytes_dropped,
            from: next.first_offset,
            cut: segment_path(segment),
            cut_at: position,
            segments_removed,
            checkpoints_removed: removed.map(|entry| checkpoint_path(&entry.file)).collect(),
            manifest_rebuilt: self.found.manifest_fault.is_some(),
            copies: format!("repair-{}", self.location.clock.now_ms()),
            done: false,
        };
        Ok((plan, next, fresh))
    }

    /// The header of a new log, where nothing of the old one goes on from the checkpoint.
    fn fresh(&self) -> Result<Option<SegmentHeader>> {
        let (None, Some(base)) = (&self.held.log, &self.held.base) else { return Ok(None) };
        if self.found.manifest.role != Role::Alone {
            let why = "the log does not reach back to a checkpoint; get one from another node";
            return Err(refused("to", self.held.last, why));
        }
        let (database, to) = (self.found.manifest.database()?, self.held.last);
        let numbers = segment_numbers(&*self.location.storage)?;
        let newest = numbers.last().copied().unwrap_or(0).max(self.found.manifest.last_segment);
        let clock = &self.location.clock;
        Ok(Some(SegmentHeader {
            format: SEGMENT_FORMAT,
            database,
            number: newest + 1,
            tip: tip_behind(base, to),
            key: Sealer::plain(&database).key(),
            salt: self.location.entropy.salt(),
            node: 0,
            created_at: clock.now_ms(),
        }))
    }

    /// The first segment that stays: what the state needs, and the history that is kept.
    fn first_segment(&self, from: Option<Offset>, last: u64) -> u64 {
        let Some(log) = &self.held.log else { return last };
        let Some(from) = from else { return self.found.manifest.first_segment };
        let holding = self.found.scan.segment_with(from);
        holding.unwrap_or(self.found.manifest.first_segment).min(log.begins)
    }

    /// The checkpoints that are intact, hold nothing after the end, and that the log goes on from.
    fn usable_checkpoints(&self, first_segment: u64) -> Result<Vec<CheckpointEntry>> {
        let manifest = &self.found.manifest;
        let Some(base) = &self.held.base else { return Ok(Vec::new()) };
        let mut usable = Vec::new();
        for entry in &manifest.checkpoints {
            if entry.file == base.file {
                usable.push(entry.clone());
                break;
            }
            let shorter =
                Manifest { first_segment, checkpoints: vec![entry.clone()], ..manifest.clone() };
            match find(self.location, &shorter, Some(self.held.last)) {
                Err(error) if is_newer(&error) => return Err(error),
                Ok(held)
                    if held.base.is_some() && held.log.is_some() && held.last == self.held.last =>
                {
                    usable.push(entry.clone());
                }
                _ => {}
            }
        }
        Ok(usable)
    }
}

/// Where a log goes on whose last frame is not there: its checksum is lost with it.
fn tip_behind(base: &LoadedBase, last: Offset) -> Tip {
    let next = last + 1;
    match base.named {
        // The frames behind the one that is named are lost too.
        Some(named) => {
            Tip { next, index: named.index + 2, term: named.term, chain: named.chain, previous: 0 }
        }
        None => Tip { next, index: next, ..Tip::START },
    }
}

/// Copies first, then the manifest, then the cut: whatever fails half-way can be run again, and nothing
/// is a left-over for the next start before a copy of it is kept.
fn execute(
    storage: &dyn Storage,
    plan: &RepairPlan,
    next: &Manifest,
    fresh: Option<&SegmentHeader>,
) -> io::Result<()> {
    storage.create_dir(&plan.copies)?;
    for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        storage.create_dir(directory)?;
    }
    storage.sync_dir("")?;
    copy(storage, MANIFEST, &plan.copies)?;
    match fresh {
        Some(header) => drop(create_segment(storage, header)?),
        None => copy(storage, &plan.cut, &plan.copies)?,
    }
    // Newest first: what is left is always a log without a hole.
    for path in plan.segments_removed.iter().rev().chain(&plan.checkpoints_removed) {
        let name = path.rsplit('/').next().unwrap_or(path);
        match storage.rename(path, &format!("{}/{name}", plan.copies)) {
            // One that was missing before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved?,
        }
    }
    for directory in [&*plan.copies, LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        storage.sync_dir(directory)?;
    }
    next.write(storage)?;
    let file = storage.open(&plan.cut)?;
    file.set_len(plan.cut_at)?;
    file.sync_data()?;
    storage.sync_dir(LOG_DIRECTORY)
}

/// Copies a file into a directory; one that is missing needs no copy.
fn copy(storage: &dyn Storage, path: &str, directory: &str) -> io::Result<()> {
    let source = match storage.open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let target = storage.create(&format!("{directory}/{name}"))?;
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
