//! Opening a database: lock, manifest, checkpoint, log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use crate::checkpoint::CHECKPOINT_DIRECTORY;
use crate::checkpoint::load::{LoadedCheckpoint, Loading};
use crate::checkpoint::policy::{CheckpointPolicy, Schedule};
use crate::due::{Growth, Reach};
use crate::error::{corrupt, io as io_error};
use crate::log::queue::Queue;
use crate::log::recovery::{Recovered, RecoveryPlan, recover};
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader, segment_number,
};
use crate::log::tip::Tip;
use crate::log::writer::create_segment;
use crate::log::{LogFiles, LogWriter, Ring, Sealer, WriterSettings};
use crate::manifest::{MANIFEST, MANIFEST_FORMAT, Manifest};
use crate::options::{Location, Options, ProgressUpdate};
use crate::replay::Replayer;
use crate::shared::{EngineSink, Shared};
use crate::state::State;
use crate::storage::{DirectoryLock, Storage};
use crate::time::Time;

/// A database that was just opened.
pub(crate) struct Opened {
    pub shared: Shared,
    pub lock: Box<dyn DirectoryLock>,
}

/// Opens the database at `location`, creating it if the options allow.
pub(crate) fn open(location: Location, options: Options) -> Result<Opened> {
    let storage = location.storage.clone();
    check_options(&options)?;
    let lock = take_lock(&location, &options)?;
    let manifest = match Manifest::read(&*storage)? {
        Some(manifest) => {
            make_durable(&*storage)?;
            manifest
        }
        None => create(&location)?,
    };
    let database = manifest.database()?;
    let sealer = Sealer::plain(&database);
    let files = Arc::new(LogFiles::new(storage.clone(), sealer));
    let (state, recovered) = load(&location, &options, &manifest, database, &files)?;
    let ring = Arc::new(Ring::new(options.watch_ring_bytes));
    let state = Arc::new(state);
    let next = recovered.writer.tip.next;
    let is_older = manifest.format != MANIFEST_FORMAT || recovered.writer.format != SEGMENT_FORMAT;
    let log_time = state.log_time.load(std::sync::atomic::Ordering::Acquire);
    let writer = LogWriter::new(
        WriterSettings {
            storage: storage.clone(),
            clock: location.clock.clone(),
            entropy: location.entropy.clone(),
            database,
            fsync: options.fsync,
            segment_bytes_max: options.segment_bytes_max,
            free_bytes_min: options.free_bytes_min,
            sync_observer: options.sync_observer.clone(),
        },
        files.clone(),
        ring.clone(),
        recovered.file,
        recovered.writer,
        log_time,
    );
    let volatile = storage.is_volatile();
    let growth = Arc::new(Growth::new(next - 1));
    let sink = EngineSink { writer, state: state.clone(), growth: growth.clone() };
    // What was not in a checkpoint at the opening counts as well.
    let last = manifest.checkpoints.last().map_or(0, |newest| newest.offset);
    let last = Reach { offset: last, bytes: 0 };
    let shared = Shared {
        name: location.name,
        storage,
        entropy: location.entropy,
        time: Time::new(location.clock, (next > 1).then_some(log_time)),
        database,
        queue: Queue::new(sink, next, log_time, volatile),
        state,
        files,
        ring,
        first_offset: AtomicU64::new(manifest.first_offset),
        manifest: Mutex::new(manifest),
        growth,
        schedule: Mutex::new(Schedule::new(CheckpointPolicy::of(&options), last)),
        options,
    };
    if is_older {
        shared.change_format()?;
    }
    tracing::info!(
        "opened {} with {} instances at offset {}, history {:016x}, fsync {}",
        shared.name,
        shared.state.instance_count(),
        next - 1,
        shared.files.lineage.lock().of(next - 1).unwrap_or_default(),
        shared.options.fsync,
    );
    Ok(Opened { shared, lock })
}

impl Shared {
    /// Goes on in the newest format: a segment of it begins, a checkpoint holds what was before, and
    /// then the manifest says so. What is there of it after a crash is taken up by the next opening.
    fn change_format(&self) -> Result<()> {
        tracing::info!("{} goes on in format {MANIFEST_FORMAT}", self.name);
        let mut manifest = self.manifest.lock();
        manifest.format = MANIFEST_FORMAT;
        let begin = self.begin_at_end()?;
        self.checkpoint(&mut manifest, begin)?;
        Ok(())
    }
}

fn check_options(options: &Options) -> Result<()> {
    if options.segment_bytes_max >= 4096 {
        return Ok(());
    }
    Err(Error::invalid(reason::INVALID_OPTION, "segment_bytes_max must be at least 4096")
        .with("option", "segment_bytes_max"))
}

fn take_lock(location: &Location, options: &Options) -> Result<Box<dyn DirectoryLock>> {
    let (storage, name) = (&location.storage, &location.name);
    let failed = |error: io::Error| io_error(&format!("opening {name}"), error);
    if !options.create
        && let Err(error) = storage.open(MANIFEST)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(Error::new(
            ErrorCode::NotFound,
            format!("there is no database at {name}; check the path, or write something first"),
        )
        .with("path", name.as_str()));
    }
    storage.create_dir("").map_err(failed)?;
    match storage.lock().map_err(failed)? {
        Ok(lock) => Ok(lock),
        Err(holder) => Err(Error::new(
            ErrorCode::InternalError,
            format!("{name} is in use by {holder}; close it there first"),
        )
        .with_reason(reason::LOCKED)
        .with("path", name.as_str())
        .with("holder", holder)),
    }
}

/// A killed process may have left a manifest whose name is not on the disk yet. What it no longer
/// names is about to be removed, so it must be the one that a power cut leaves.
fn make_durable(storage: &dyn Storage) -> Result<()> {
    if storage.is_volatile() {
        return Ok(());
    }
    storage.sync_dir("").map_err(|error| io_error(&format!("syncing {MANIFEST}"), error))
}

/// Lays out an empty database. Until the manifest is there, nothing was promised.
fn create(location: &Location) -> Result<Manifest> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("creating {}", location.name), error);
    refuse_foreign_files(location)?;
    let database = location.entropy.salt();
    for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        storage.create_dir(directory).map_err(failed)?;
    }
    storage.sync_dir("").map_err(failed)?;
    for name in storage.list(LOG_DIRECTORY).map_err(failed)? {
        storage.remove(&format!("{LOG_DIRECTORY}/{name}")).map_err(failed)?;
    }
    let header = SegmentHeader {
        format: SEGMENT_FORMAT,
        database,
        number: 1,
        tip: Tip::START,
        key: Sealer::plain(&database).key(),
        salt: location.entropy.salt(),
        node: 0,
        created_at: location.clock.now_ms(),
    };
    create_segment(storage, &header).map_err(failed)?;
    let manifest = Manifest::new(database);
    manifest.write(storage).map_err(failed)?;
    Ok(manifest)
}

/// Without a manifest the directory must be empty, but for an earlier attempt to create one.
fn refuse_foreign_files(location: &Location) -> Result<()> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("reading {}", location.name), error);
    for name in storage.list("").map_err(failed)? {
        if !name.starts_with('.') && name != "LOCK" && name != "MANIFEST.tmp" {
            return Err(Error::invalid(
                reason::INVALID_OPTION,
                format!(
                    "{} holds {name:?} but no database; choose an empty or a new directory",
                    location.name
                ),
            )
            .with("path", location.name.as_str()));
        }
    }
    let segments = match storage.list(LOG_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        segments => segments.map_err(failed)?,
    };
    for name in segments.iter().filter(|name| segment_number(name) != Some(1)) {
        if segment_number(name).is_some() {
            return Err(corrupt(MANIFEST, 0, "the manifest is missing"));
        }
    }
    let path = format!("{LOG_DIRECTORY}/{}", segments.first().map_or("", String::as_str));
    let written = match segments.is_empty() {
        true => 0,
        false => storage.open(&path).and_then(|file| file.len()).map_err(failed)?,
    };
    // The first segment holds frames only after the manifest was written.
    if written > SEGMENT_HEADER_BYTES {
        return Err(corrupt(MANIFEST, 0, "the manifest is missing"));
    }
    Ok(())
}

fn load(
    location: &Location,
    options: &Options,
    manifest: &Manifest,
    database: [u8; 16],
    files: &LogFiles,
) -> Result<(State, Recovered)> {
    let storage = &*location.storage;
    remove_stray_checkpoints(storage, manifest)?;
    let mut failure = None;
    let candidates = manifest.checkpoints.iter().rev().map(Some);
    let none = manifest.checkpoints.is_empty().then_some(None);
    for candidate in candidates.chain(none) {
        // Ids are spread differently in each process, so that nobody can choose colliding ones.
        let state = State::new(options, location.entropy.next_u64());
        let mut loaded = LoadedCheckpoint::default();
        if let Some(checkpoint) = candidate {
            let loading = Loading {
                storage,
                database,
                progress: &|done, total| report(options, "loading the checkpoint", done, total),
            };
            match loading.load(&checkpoint.file, &state) {
                Ok(found) => loaded = found,
                Err(error) if error.reason() == Some(reason::NEWER_FORMAT) => return Err(error),
                Err(error) => {
                    tracing::warn!("checkpoint {} can't be used: {error}", checkpoint.file);
                    failure.get_or_insert(error);
                    continue;
                }
            }
        }
        let after = loaded.offset;
        // The log itself comes last: what it tells again is in order.
        let mut lineage = loaded.lineage;
        manifest.history.iter().for_each(|begins| lineage.add(*begins));
        *files.lineage.lock() = lineage;
        // An older checkpoint serves only if the log still reaches it.
        if manifest.first_offset > after + 1 {
            continue;
        }
        state.boundary.store(manifest.boundaries.last().copied().unwrap_or(0), Ordering::Release);
        // A checkpoint is a mark's, or of an end that asks for no other.
        state.marked.store(after, Ordering::Release);
        let plan = RecoveryPlan {
            storage,
            database,
            files,
            first_segment: manifest.first_segment,
            after,
            durable: manifest.durable_offset.max(loaded.newest),
            named: loaded.named,
        };
        state.begin_replay(loaded.newest);
        let mut replayer = Replayer::new(&state);
        let recovered =
            recover(&plan, &mut |offset, effect| replayer.apply(offset, effect), &|done, total| {
                report(options, "replaying the log", done, total)
            });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            // The log may not fit this checkpoint and still fit the one before.
            Err(error) if error.reason() == Some(reason::CORRUPT) => {
                failure.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        drop(replayer);
        files.lineage.lock().forget_before(manifest.first_offset);
        tracing::info!("replayed {} changes after offset {after}", recovered.replayed);
        return Ok((state, recovered));
    }
    Err(failure.unwrap_or_else(|| corrupt(MANIFEST, 0, "no checkpoint can be used")))
}

fn report(options: &Options, stage: &'static str, done_bytes: u64, total_bytes: u64) {
    if let Some(progress) = &options.progress {
        (progress.0)(ProgressUpdate { stage, done_bytes, total_bytes });
    }
}

/// Removes checkpoints that the manifest does not know: unfinished or replaced ones.
fn remove_stray_checkpoints(storage: &dyn Storage, manifest: &Manifest) -> Result<()> {
    let failed = |error: io::Error| io_error("reading the checkpoints", error);
    let names = match storage.list(CHECKPOINT_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(failed)?,
    };
    for name in names {
        let known = manifest.checkpoints.iter().any(|checkpoint| checkpoint.file == name);
        if !known && (name.ends_with(".ckpt") || name.ends_with(".tmp")) {
            storage.remove(&format!("{CHECKPOINT_DIRECTORY}/{name}")).map_err(failed)?;
        }
    }
    Ok(())
}
