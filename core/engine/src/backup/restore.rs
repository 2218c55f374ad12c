//! Makes a database of a backup, as it was at some moment.
//!
//! The new directory has a database id of its own: offsets behind the restored end will mean other things there, so
//! nothing that belongs to the old one may go on with it. It begins with a checkpoint; the log before stays in the
//! backup. A file that says that it is unfinished is there from before the first byte until after the manifest, which
//! is written last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result, TimestampMs};
use serde::Serialize;

use super::archive::{Archive, Tell};
use super::moments::Moment;
use crate::checkpoint::CHECKPOINT_DIRECTORY;
use crate::checkpoint::load::{LoadedCheckpoint, Loading};
use crate::directory::HeldDirectory;
use crate::error::{ahead, corrupt, disk_full, io as io_error};
use crate::gauges::NewestCheckpoint;
use crate::log::effects::Effects;
use crate::log::frame::EPOCH;
use crate::log::lineage::{Begins, Epoch, Lineage};
use crate::log::recovery::Recovered;
use crate::log::segment::{LOG_DIRECTORY, SEGMENT_FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::tip::Tip;
use crate::log::writer::{WriterPosition, create_segment};
use crate::log::{LogFiles, Sealer, Segment};
use crate::manifest::{MANIFEST, Manifest, hex};
use crate::open::{Loaded, assemble};
use crate::options::{Background, Location, Options, ProgressUpdate};
use crate::replay::Replayer;
use crate::state::State;
use crate::storage::{DirectoryLock, Storage, is_full, remove_if_there};

pub use crate::manifest::Ancestor;

/// There while a restore is not finished.
const UNFINISHED: &str = "UNFINISHED-RESTORE";

/// The moment to restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestoreTo {
    /// The end of the backup.
    #[default]
    End,
    /// Behind this change. Inside a request that happened as a whole, before it.
    Offset(Offset),
    /// Behind the last change up to this time of the log, ms since 1970.
    Time(TimestampMs),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The id of the new database.
    pub database_id: String,
    /// The last change that it has of the old one.
    pub offset: Offset,
    /// The log's time there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<TimestampMs>,
    /// The end of the request that the wanted offset is inside of, when it was left out for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside_request_to: Option<Offset>,
    /// Changes in the backup that come later.
    pub changes_left_out: u64,
    /// Instances that are not deleted.
    pub instances: u64,
    /// Machine versions.
    pub machines: u64,
    /// The databases that it comes from, oldest first.
    pub lineage: Vec<Ancestor>,
}

/// Makes a new database at `location`, which must be empty or not be there, of what `archive` has up to a moment.
///
/// Errors: `NOT_FOUND` with reason `offset_ahead` or `offset_compacted` when the moment is behind the backup's end or
/// before its checkpoint; `BAD_REQUEST` when the place is not empty; reason `disk_full`; what was begun is removed.
pub fn restore(
    archive: &Archive,
    location: &Location,
    to: RestoreTo,
    progress: &dyn Fn(ProgressUpdate),
) -> Result<RestoreReport> {
    check_empty(location)?;
    let chosen = choose(archive, to)?;
    let options = Options {
        free_bytes_min: 0,
        background: Background::Inline,
        checkpoint_at_close: false,
        ..Options::default()
    };
    let restored = replay(archive, location, &options, chosen.moment.offset, progress)?;
    let target = Target { location, options };
    let (instances, machines) =
        (restored.state.instance_count(), restored.state.machines.read().len() as u64);
    let (database_id, lineage) = target.write(archive, restored, chosen.moment.offset)?;
    Ok(RestoreReport {
        database_id,
        offset: chosen.moment.offset,
        at: chosen.moment.at,
        inside_request_to: chosen.inside_request_to,
        changes_left_out: archive.description.last_offset - chosen.moment.offset,
        instances,
        machines,
        lineage,
    })
}

/// All that a restore does before it writes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn rehearse(archive: &Archive, location: &Location, to: RestoreTo) -> Result<u64> {
    let chosen = choose(archive, to)?;
    let options = Options::default();
    let restored = replay(archive, location, &options, chosen.moment.offset, &|_| {})?;
    Ok(restored.state.instance_count())
}

struct Chosen {
    moment: Moment,
    inside_request_to: Option<Offset>,
}

/// The last moment that is not behind the wanted one.
fn choose(archive: &Archive, to: RestoreTo) -> Result<Chosen> {
    let last = archive.description.last_offset;
    let (wanted, until) = match to {
        RestoreTo::End => (last, TimestampMs::MAX),
        RestoreTo::Offset(offset) => (offset, TimestampMs::MAX),
        RestoreTo::Time(time) => (last, time),
    };
    let newest_at = archive.description.last_at.max(Some(archive.description.begun_at));
    let is_behind = matches!(to, RestoreTo::Time(time) if Some(time) > newest_at);
    if wanted > last || is_behind {
        return Err(out_of_range(archive, to, loaded_up_to(archive)?));
    }
    let (mut found, mut next) = (None, None);
    archive.moments(&mut |moment| {
        // Before the first change there was nothing at any time.
        let is_early = match moment.at {
            Some(at) => at <= until,
            None => until == TimestampMs::MAX,
        };
        if moment.offset <= wanted && is_early {
            found = Some(moment);
            return false;
        }
        let is_before_all = moment.at.is_none() && moment.offset <= wanted;
        next = (!is_before_all).then_some(moment);
        !is_before_all
    })?;
    let Some(moment) = found else {
        return Err(out_of_range(archive, to, loaded_up_to(archive)?));
    };
    let is_inside = matches!(to, RestoreTo::Offset(offset) if moment.offset < offset);
    let end = next.filter(|_| is_inside).map(|next: Moment| next.offset);
    Ok(Chosen { moment, inside_request_to: end })
}

/// The newest change that the checkpoint knows something of.
fn loaded_up_to(archive: &Archive) -> Result<Offset> {
    let state = State::new(&Options::default(), 0);
    Ok(load(archive, &state, &|_| {})?.newest)
}

fn out_of_range(archive: &Archive, to: RestoreTo, newest: Offset) -> Error {
    let description = &archive.description;
    let last = description.last_offset;
    let earliest = match archive.earliest(newest) {
        Ok(earliest) => earliest,
        Err(error) => return error,
    };
    let Moment { offset: first, at } = earliest;
    let ends = format!("the backup reaches from offset {first} to {last}");
    let error = match to {
        RestoreTo::End => ahead(last, last),
        RestoreTo::Offset(offset) if offset > last => {
            Error::new(ErrorCode::NotFound, format!("offset {offset} is behind its end: {ends}"))
                .with_reason(reason::OFFSET_AHEAD)
                .with("offset", offset)
        }
        RestoreTo::Offset(offset) => {
            Error::new(ErrorCode::NotFound, format!("offset {offset} is before its begin: {ends}"))
                .with_reason(reason::OFFSET_COMPACTED)
                .with("offset", offset)
        }
        RestoreTo::Time(time) => {
            let newest = description.last_at.max(Some(description.begun_at)).unwrap_or_default();
            let (word, why) = match time > newest {
                true => ("behind its end", reason::OFFSET_AHEAD),
                false => ("before its begin", reason::OFFSET_COMPACTED),
            };
            let message = format!("that time is {word}: {ends}");
            let error = Error::new(ErrorCode::NotFound, message).with_reason(why);
            let error = error.with("time", time).with("latest_at", newest);
            match at {
                Some(at) => error.with("first_at", at),
                None => error,
            }
        }
    };
    error.with("first_offset", first).with("latest_offset", last)
}

/// What was in memory at a moment, and where the log was.
struct Restored {
    state: State,
    tip: Tip,
    history: Option<u64>,
}

fn load(archive: &Archive, state: &State, progress: Tell<'_>) -> Result<LoadedCheckpoint> {
    let Some(entry) = archive.manifest.checkpoints.last() else {
        return Ok(LoadedCheckpoint::default());
    };
    let report = |done_bytes, total_bytes| {
        progress(ProgressUpdate { stage: "loading the checkpoint", done_bytes, total_bytes });
    };
    let database = archive.manifest.database()?;
    let loading = Loading { storage: &*archive.files, database, progress: &report };
    loading.load(&entry.file, state)
}

fn replay(
    archive: &Archive,
    location: &Location,
    options: &Options,
    to: Offset,
    progress: Tell<'_>,
) -> Result<Restored> {
    let state = State::new(options, location.entropy.next_u64());
    let loaded = load(archive, &state, progress)?;
    if loaded.newest > to {
        return Err(out_of_range(archive, RestoreTo::Offset(to), loaded.newest));
    }
    state.marked.store(loaded.offset, Ordering::Release);
    state.begin_replay(loaded.newest);
    let mut lineage: Lineage = loaded.lineage;
    let mut replayer = Replayer::new(&state);
    let mut tip = None;
    let (after, total_bytes) = (loaded.offset, to.saturating_sub(loaded.offset));
    archive.frames(&mut |frame| {
        let header = &frame.header;
        tip.get_or_insert(frame.before);
        if header.first > to {
            return Ok(false);
        }
        if header.kind == EPOCH
            && let Some(epoch) = Epoch::decode(header, frame.payload)
        {
            lineage.add(epoch.begins);
        }
        if header.has_effects() {
            let effects = Effects::new(header.format, frame.payload, header.first);
            for (offset, effect) in effects.filter(|(offset, _)| (after + 1..=to).contains(offset))
            {
                replayer.apply(offset, &effect)?;
            }
            let done_bytes = header.last().min(to).saturating_sub(after);
            progress(ProgressUpdate { stage: "replaying the log", done_bytes, total_bytes });
            if header.last() > to {
                return Ok(false);
            }
        }
        tip = Some(frame.behind);
        Ok(true)
    })?;
    drop(replayer);
    let tip = match tip {
        Some(tip) => tip,
        // No frame follows: the segment itself tells where the log is.
        None => first_tip(archive)?,
    };
    Ok(Restored { state, tip: Tip { next: to + 1, ..tip }, history: lineage.of(to) })
}

fn first_tip(archive: &Archive) -> Result<Tip> {
    let database = archive.manifest.database()?;
    let files = LogFiles::new(archive.files.clone(), Sealer::plain(&database));
    let number = archive.manifest.last_segment;
    let (header, ..) =
        crate::log::recovery::open_segment(&*archive.files, number, &database, &files)?;
    Ok(header.tip)
}

/// Refuses a place that holds anything but what an earlier attempt left.
fn check_empty(location: &Location) -> Result<()> {
    let storage = &*location.storage;
    if storage.is_volatile() {
        let message = "a database in memory is gone when this ends; name a directory";
        return Err(Error::invalid(reason::INVALID_OPTION, message).with("field", "directory"));
    }
    let names = list(storage, "").map_err(|error| reading(location, error))?;
    if !names.iter().any(|name| name == MANIFEST) && names.iter().any(|name| name == UNFINISHED) {
        return Ok(());
    }
    let inside = |directory| list(storage, directory).map_err(|error| reading(location, error));
    let found = match names.into_iter().next() {
        Some(name) => Some(name),
        None => {
            let segments = inside(LOG_DIRECTORY)?.into_iter().map(|name| format!("log/{name}"));
            segments.chain(inside(CHECKPOINT_DIRECTORY)?).next()
        }
    };
    let Some(found) = found else { return Ok(()) };
    let name = location.name.as_str();
    let message = format!("{name} is not empty, it holds {found:?}; restore into a new directory");
    Err(Error::invalid(reason::INVALID_OPTION, message).with("path", name))
}

fn reading(location: &Location, error: io::Error) -> Error {
    io_error(&format!("reading {}", location.name), error)
}

fn list(storage: &dyn Storage, directory: &str) -> io::Result<Vec<String>> {
    match storage.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// Where the new database comes to be.
struct Target<'a> {
    location: &'a Location,
    options: Options,
}

impl Target<'_> {
    fn write(
        &self,
        archive: &Archive,
        restored: Restored,
        to: Offset,
    ) -> Result<(String, Vec<Ancestor>)> {
        let storage = &*self.location.storage;
        let lock = self.lock()?;
        // It was looked at before it was locked.
        check_empty(self.location)?;
        let written = self.begin().and_then(|()| self.lay_out(archive, restored, to, lock));
        match written {
            Ok(written) => {
                let end = storage.remove(UNFINISHED).and_then(|()| storage.sync_dir(""));
                end.map_err(|error| self.failed(error))?;
                Ok(written)
            }
            Err(error) => {
                // What stays is named by the file that says so.
                let _ = self.clear().and_then(|()| remove_if_there(storage, UNFINISHED));
                Err(error)
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        let name = &self.location.name;
        match is_full(&error) {
            true => disk_full(&format!("restoring into {name}: {error}")),
            false => io_error(&format!("restoring into {name}"), error),
        }
    }

    fn lock(&self) -> Result<Box<dyn DirectoryLock>> {
        let storage = &*self.location.storage;
        let locked = storage.create_dir("").and_then(|()| storage.lock());
        locked.map_err(|error| self.failed(error))?.map_err(|holder| {
            let message = format!("{} is in use by {holder}", self.location.name);
            Error::new(ErrorCode::InternalError, message)
                .with_reason(reason::LOCKED)
                .with("holder", holder)
        })
    }

    /// Says first that what comes is not whole.
    fn begin(&self) -> Result<()> {
        let storage = &*self.location.storage;
        let begun = remove_if_there(storage, UNFINISHED).and_then(|()| {
            let text = b"A restore into this directory was begun and not finished. Repeat it.\n";
            let file = storage.create(UNFINISHED)?;
            file.write_all_at(text, 0)?;
            file.sync_data()?;
            storage.sync_dir("")?;
            self.clear()?;
            for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
                storage.create_dir(directory)?;
            }
            storage.sync_dir("")
        });
        begun.map_err(|error| self.failed(error))
    }

    /// Removes what an attempt left.
    fn clear(&self) -> io::Result<()> {
        let storage = &*self.location.storage;
        remove_if_there(storage, MANIFEST)?;
        remove_if_there(storage, "MANIFEST.tmp")?;
        for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
            for name in list(storage, directory)? {
                remove_if_there(storage, &format!("{directory}/{name}"))?;
            }
        }
        Ok(())
    }

    fn lay_out(
        &self,
        archive: &Archive,
        restored: Restored,
        to: Offset,
        lock: Box<dyn DirectoryLock>,
    ) -> Result<(String, Vec<Ancestor>)> {
        let Location { storage, entropy, .. } = self.location;
        let Restored { state, tip, history } = restored;
        let tip = Tip { previous: 0, ..tip };
        let database = entropy.salt();
        let header = SegmentHeader {
            format: SEGMENT_FORMAT,
            database,
            number: 1,
            tip,
            key: Sealer::plain(&database).key(),
            salt: entropy.salt(),
            node: 0,
            created_at: state.log_time.load(Ordering::Acquire),
        };
        let file = create_segment(&**storage, &header).map_err(|error| self.failed(error))?;
        let files = Arc::new(LogFiles::new(storage.clone(), Sealer::plain(&database)));
        files.put(Segment::new(&header));
        if to > 0 {
            // Of the histories of before none is known here, so who follows one of them is told.
            files.lineage.lock().add(Begins { id: entropy.next_u64(), first: to });
        }
        let mut lineage = archive.manifest.lineage.clone();
        lineage.push(Ancestor {
            database_id: archive.description.database_id.clone(),
            history_id: history.map(|history| format!("{history:016x}")),
            offset: to,
            chain: format!("{:016x}", tip.chain),
        });
        let manifest = Manifest {
            first_offset: to + 1,
            durable_offset: to,
            lineage: lineage.clone(),
            ..Manifest::new(database)
        };
        let position = WriterPosition {
            segment: header.number,
            format: SEGMENT_FORMAT,
            position: SEGMENT_HEADER_BYTES,
            prepared: SEGMENT_HEADER_BYTES,
            tip,
        };
        let loaded = Loaded {
            manifest,
            files,
            state,
            recovered: Recovered { file, writer: position, applied: tip, open_time: 0 },
            newest_checkpoint: NewestCheckpoint::default(),
            votes: None,
        };
        let directory = Arc::new(HeldDirectory::new(storage.clone(), Some(lock)));
        let shared =
            assemble(self.location.clone(), self.options.clone(), directory, loaded, false)?;
        let begin = shared.begin_at_end()?;
        let written = shared.checkpoint(&mut shared.manifest.lock(), begin)?;
        shared.queue.close();
        shared.directory.release();
        match written {
            Some(_) => Ok((hex(&database), lineage)),
            None => Err(corrupt(MANIFEST, 0, "the restored state could not be written")),
        }
    }
}
