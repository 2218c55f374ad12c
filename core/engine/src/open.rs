//! Opening a database: lock, manifest, checkpoint, log.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use crate::backup::holds::Backups;
use crate::checkpoint::policy::{CheckpointPolicy, Schedule};
use crate::checkpoint::{CHECKPOINT_DIRECTORY, CHECKPOINT_ENDING};
use crate::directory::HeldDirectory;
use crate::due::{Growth, Reach};
use crate::error::io as io_error;
use crate::followers::Followers;
use crate::gauges::{DiskRoom, NewestCheckpoint};
use crate::held::{Held, Search};
use crate::log::queue::Queue;
use crate::log::recovery::Recovered;
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader, missing_segment,
    segment_number, segment_path,
};
use crate::log::tip::Tip;
use crate::log::writer::create_segment;
use crate::log::{LogFiles, LogWriter, Ring, Sealer, WriterSettings};
use crate::manifest::{
    self, CheckpointEntry, MANIFEST, MANIFEST_FORMAT, Manifest, ManifestFile, Role,
};
use crate::options::{FsyncPolicy, GroupNode, Location, Options, ProgressUpdate, Purpose};
use crate::replication::group::Group;
use crate::replication::standing::NodeState;
use crate::replication::vote::VoteFile;
use crate::shared::{EngineSink, Shared};
use crate::snapshots::{self, Snapshots};
use crate::state::State;
use crate::storage::{self, DirectoryLock, Storage};
use crate::time::Time;

/// Opens the database at `location`, creating it if the options allow.
pub(crate) fn open(location: Location, options: Options) -> Result<Shared> {
    let storage = location.storage.clone();
    check_options(&location, &options)?;
    // Before anything is touched: what is no database stays as it is.
    refuse_foreign_files(&location, options.node.is_some())?;
    let lock = take_lock(&location, &options)?;
    let found = Manifest::read(&*storage)?;
    let is_read_only = lock.is_none() || is_looked_at(&location, &options, found.as_ref())?;
    if !is_read_only {
        check_writable(&location)?;
    }
    let directory = Arc::new(HeldDirectory::new(storage.clone(), lock));
    let mut manifest = match found {
        Some(manifest) if is_read_only => manifest,
        Some(manifest) => {
            make_durable(&*storage)?;
            manifest
        }
        None if is_read_only => return Err(no_database(&location)),
        None => create(&location, options.node.as_ref())?,
    };
    // What a lone database has in its log counts, also when it joins others.
    let votes = match manifest.role {
        Role::Alone if options.node.is_none() => None,
        _ => Some(VoteFile::open(storage.clone())?),
    };
    let decided = votes
        .as_ref()
        .filter(|_| manifest.role != Role::Alone)
        .map(|votes| votes.ballot().committed);
    let database = manifest.database()?;
    let sealer = Sealer::plain(&database);
    let files = Arc::new(LogFiles::new(storage.clone(), sealer));
    let (state, recovered, newest_checkpoint) =
        load(&location, &options, &mut manifest, &files, (is_read_only, decided))?;
    let is_older = manifest.format != MANIFEST_FORMAT || recovered.writer.format != SEGMENT_FORMAT;
    let loaded = Loaded { manifest, files, state, recovered, newest_checkpoint, votes };
    let shared = assemble(location, options, directory, loaded, is_read_only)?;
    if is_older && !is_read_only {
        shared.change_format()?;
    }
    shared.join()?;
    let committed = shared.queue.committed();
    tracing::info!(
        "opened {} with {} instances at offset {}, history {:016x}, fsync {}",
        shared.name,
        shared.state.instance_count(),
        committed,
        shared.files.lineage.lock().of(committed).unwrap_or_default(),
        shared.options.fsync,
    );
    Ok(shared)
}

/// What the files of a database hold, and where its log goes on.
pub(crate) struct Loaded {
    pub manifest: Manifest,
    pub files: Arc<LogFiles>,
    pub state: State,
    pub recovered: Recovered,
    pub newest_checkpoint: NewestCheckpoint,
    /// What a node that is part of a group has promised.
    pub votes: Option<VoteFile>,
}

/// Puts the parts of an open database together.
pub(crate) fn assemble(
    location: Location,
    options: Options,
    directory: Arc<HeldDirectory>,
    loaded: Loaded,
    is_read_only: bool,
) -> Result<Shared> {
    let Loaded { manifest, files, state, recovered, newest_checkpoint, votes } = loaded;
    let storage = location.storage.clone();
    let database = manifest.database()?;
    let manifest_file = Arc::new(ManifestFile::new(storage.clone(), manifest.clone()));
    let ring = Arc::new(Ring::new(options.watch_ring_bytes));
    let state = Arc::new(state);
    let next = recovered.applied.next;
    let log_time = state.log_time.load(std::sync::atomic::Ordering::Acquire);
    let node = options.node.clone().zip(votes).filter(|_| !is_read_only);
    let node = node.map(|(node, votes)| NodeState::new(node, votes));
    let writer = LogWriter::new(
        WriterSettings {
            storage: storage.clone(),
            directory: directory.clone(),
            clock: location.clock.clone(),
            entropy: location.entropy.clone(),
            database,
            node: node.as_ref().map_or(manifest.node_id, |node| node.node.id),
            fsync: options.fsync,
            segment_bytes_max: options.segment_bytes_max,
            free_bytes_min: options.free_bytes_min,
            sync_observer: options.sync_observer.clone(),
            manifest: manifest_file.clone(),
        },
        files.clone(),
        ring.clone(),
        recovered.file,
        recovered.writer,
        log_time.max(recovered.open_time),
    );
    let volatile = storage.is_volatile();
    let growth = Arc::new(Growth::new(next - 1));
    let followers = Arc::<Followers>::default();
    let disk_room = Arc::new(DiskRoom::new(location.clock.clone()));
    let sink = EngineSink {
        writer,
        state: state.clone(),
        growth: growth.clone(),
        disk_room: disk_room.clone(),
        storage: storage.clone(),
        ring: ring.clone(),
        followers: followers.clone(),
        noticed: None,
        group: node.as_ref().map(|node| Group::new(recovered.applied, node.recent.clone())),
    };
    // What was not in a checkpoint at the opening counts as well.
    let last = manifest.checkpoints.last().map_or(0, |newest| newest.offset);
    let last = Reach { offset: last, bytes: 0 };
    Ok(Shared {
        belongs: (manifest.role != Role::Alone).then(|| manifest.not_alone(&location.name)),
        name: location.name,
        is_read_only,
        storage,
        directory,
        entropy: location.entropy,
        time: Time::new(location.clock, (next > 1).then_some(log_time)),
        database,
        queue: Queue::new(sink, next, log_time, volatile),
        state,
        files,
        ring,
        followers,
        first_offset: AtomicU64::new(manifest.first_offset),
        restored_to: manifest.lineage.last().map_or(0, |ancestor| ancestor.offset),
        manifest: Mutex::new(manifest),
        manifest_file,
        growth,
        disk_room,
        newest_checkpoint,
        damage: OnceLock::new(),
        schedule: Mutex::new(Schedule::new(CheckpointPolicy::of(&options), last)),
        options,
        snapshots: Snapshots::default(),
        backups: Backups::default(),
        node,
        claims: Mutex::default(),
    })
}

impl Shared {
    /// A database that was alone is the first of a group from now on: all that it holds counts.
    fn join(&self) -> Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        self.queue.restate(&node.refusals(None));
        let mut manifest = self.manifest.lock();
        if manifest.role == node.node.role() && manifest.node_id == node.node.id {
            return Ok(());
        }
        let failed = |error: io::Error| io_error(&format!("writing {MANIFEST}"), error);
        if manifest.role == Role::Alone {
            node.save_committed(self.committed_index())?;
        }
        let mut next = manifest.clone();
        self.manifest_file.join(&mut next, node.node.id, node.node.role()).map_err(failed)?;
        *manifest = next;
        Ok(())
    }

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

fn check_options(location: &Location, options: &Options) -> Result<()> {
    let refused = |what: &str, option: &str| {
        Err(Error::invalid(reason::INVALID_OPTION, what).with("option", option))
    };
    if options.segment_bytes_max < 4096 {
        return refused("segment_bytes_max must be at least 4096", "segment_bytes_max");
    }
    let Some(node) = &options.node else { return Ok(()) };
    if node.id == 0 {
        return refused("the id of a node is at least 1", "node");
    }
    if location.storage.is_volatile() {
        return refused("a node must not forget: it needs a directory", "node");
    }
    if options.fsync != FsyncPolicy::EveryWrite {
        let what = "others count on what a node has acknowledged: fsync must be every_write";
        return refused(what, "fsync");
    }
    Ok(())
}

/// Whether a directory may only be read: who writes into that of a node is the node.
fn is_looked_at(
    location: &Location,
    options: &Options,
    manifest: Option<&Manifest>,
) -> Result<bool> {
    let Some(manifest) = manifest.filter(|manifest| manifest.role != Role::Alone) else {
        return Ok(false);
    };
    let (name, id) = (&location.name, manifest.node_id);
    match &options.node {
        None if options.purpose == Purpose::Read => Ok(true),
        None => Err(manifest.not_alone(name)),
        Some(node) if node.id != id => {
            let what = format!("{name} belongs to node {id}, not to node {}", node.id);
            Err(Error::invalid(reason::INVALID_OPTION, what).with("option", "node"))
        }
        Some(_) => Ok(false),
    }
}

fn no_database(location: &Location) -> Error {
    let name = location.name.as_str();
    let what = format!("there is no database at {name}; check the path, or write something first");
    Error::new(ErrorCode::NotFound, what).with("path", name)
}

/// Locks the directory; nothing where it is opened to be read, and nobody could write to it.
fn take_lock(location: &Location, options: &Options) -> Result<Option<Box<dyn DirectoryLock>>> {
    let (files, name) = (&location.storage, &location.name);
    let failed = |error: io::Error| io_error(&format!("opening {name}"), error);
    if !options.create
        && let Err(error) = files.open_to_read(MANIFEST)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(no_database(location));
    }
    let locked = files.create_dir("").and_then(|()| files.lock());
    match locked {
        Err(error) if options.purpose == Purpose::Read && storage::is_read_only(&error) => {
            tracing::info!("{name} is read as it is: {error}");
            Ok(None)
        }
        Err(error) => Err(failed(error)),
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(holder)) => Err(Error::new(
            ErrorCode::InternalError,
            format!("{name} is in use by {holder}; close it there first"),
        )
        .with_reason(reason::LOCKED)
        .with("path", name.as_str())
        .with("holder", holder)),
    }
}

/// Better to learn now that nothing can be written than when the log is full.
fn check_writable(location: &Location) -> Result<()> {
    for directory in ["", LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        match location.storage.check_writable(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            checked => checked.map_err(|error| {
                let doing = format!("opening {}, which must be writable", location.name);
                io_error(&doing, error).with("path", location.name.as_str())
            })?,
        }
    }
    Ok(())
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
pub(crate) fn create(location: &Location, node: Option<&GroupNode>) -> Result<Manifest> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("creating {}", location.name), error);
    // Nobody came first, or left something behind.
    refuse_foreign_files(location, node.is_some())?;
    let shared = node.and_then(|node| node.database);
    let database = shared.unwrap_or_else(|| location.entropy.salt());
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
        node: node.map_or(0, |node| node.id),
        created_at: location.clock.now_ms(),
    };
    create_segment(storage, &header).map_err(failed)?;
    let mut manifest = Manifest::new(database);
    if let Some(node) = node {
        (manifest.node_id, manifest.role) = (node.id, node.role());
    }
    manifest.write(storage).map_err(failed)?;
    Ok(manifest)
}

/// Without a manifest the directory must be empty, but for an earlier attempt to create one.
fn refuse_foreign_files(location: &Location, is_node: bool) -> Result<()> {
    let storage = &*location.storage;
    let failed = |error: io::Error| io_error(&format!("reading {}", location.name), error);
    let list = |directory| match storage.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(failed),
    };
    let names = list("")?;
    if names.iter().any(|name| name == MANIFEST) {
        return Ok(());
    }
    let segments = list(LOG_DIRECTORY)?;
    let numbers = segments.iter().filter_map(|name| segment_number(name));
    let checkpoints = list(CHECKPOINT_DIRECTORY)?;
    let is_checkpoint = |name: &String| name.ends_with(CHECKPOINT_ENDING);
    if numbers.into_iter().any(|number| number != 1) || checkpoints.iter().any(is_checkpoint) {
        return Err(manifest::missing());
    }
    // The first segment holds frames only after the manifest was written.
    let first = segment_path(1);
    let written = match storage.open(&first) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        file => file.and_then(|file| file.len()).map_err(failed)?,
    };
    if written > SEGMENT_HEADER_BYTES {
        return Err(manifest::missing());
    }
    // A node knows who it is before it has a database.
    let is_ours = |name: &String| {
        name.starts_with('.')
            || name == "LOCK"
            || name == "MANIFEST.tmp"
            || (is_node && (name == "NODE" || name == "NODE.tmp"))
    };
    match names.iter().find(|name| !is_ours(name)) {
        Some(name) => Err(Error::invalid(
            reason::INVALID_OPTION,
            format!(
                "{} holds {name:?} but no database; choose an empty or a new directory",
                location.name
            ),
        )
        .with("path", location.name.as_str())),
        None => Ok(()),
    }
}

/// Takes what the intact files hold, if it is everything; a refusal changes no file.
fn load(
    location: &Location,
    options: &Options,
    manifest: &mut Manifest,
    files: &LogFiles,
    (is_read_only, decided): (bool, Option<u64>),
) -> Result<(State, Recovered, NewestCheckpoint)> {
    let storage = &*location.storage;
    let search = Search {
        storage,
        manifest,
        files,
        options,
        // Ids are spread differently in each process, so that nobody can choose colliding ones.
        hash_seed: &|| location.entropy.next_u64(),
        limit: None,
        decided,
        progress: &|stage, done, total| report(options, stage, done, total),
    };
    let held = search.find()?;
    if let Some(error) = held.refusal() {
        return Err(error.clone());
    }
    let Held { state, base, log, useless, .. } = held;
    let log = log.ok_or_else(|| missing_segment(manifest.first_segment))?;
    for (checkpoint, error) in useless {
        tracing::warn!("checkpoint {} is not needed and goes: {error}", checkpoint.file);
    }
    files.lineage.lock().forget_before(manifest.first_offset);
    let after = base.as_ref().map_or(0, |base| base.offset);
    tracing::info!("replayed {} changes after offset {after}", log.replayed);
    let newest_checkpoint = NewestCheckpoint::default();
    if let Some(base) = &base {
        newest_checkpoint.set(base.offset, base.at);
    }
    if is_read_only {
        return Ok((state, log.unchanged(), newest_checkpoint));
    }
    let recovered = log.make_ready(storage)?;
    let mut next = manifest.clone();
    // Newer ones can't be used, and nothing may rely on them.
    let is_base =
        |entry: &CheckpointEntry| base.as_ref().is_some_and(|base| base.file == entry.file);
    let newest = next.checkpoints.iter().rposition(is_base);
    next.checkpoints.truncate(newest.map_or(0, |at| at + 1));
    // It may have been created just before the process ended.
    next.last_segment = next.last_segment.max(recovered.writer.segment);
    if next != *manifest && !storage.is_volatile() {
        next.write(storage).map_err(|error| io_error("writing MANIFEST", error))?;
    }
    *manifest = next;
    remove_leftovers(storage, manifest)?;
    if let Err(error) = snapshots::remove_unfinished(storage) {
        tracing::warn!("unfinished snapshots stay for now: {error}");
    }
    Ok((state, recovered, newest_checkpoint))
}

fn report(options: &Options, stage: &'static str, done_bytes: u64, total_bytes: u64) {
    if let Some(progress) = &options.progress {
        (progress.0)(ProgressUpdate { stage, done_bytes, total_bytes });
    }
}

/// Removes what the manifest does not know: unfinished, replaced and superseded files.
fn remove_leftovers(storage: &dyn Storage, manifest: &Manifest) -> Result<()> {
    // In the log of a node, an installation that was not finished leaves a segment further on.
    let last = match manifest.role {
        Role::Alone => u64::MAX,
        _ => manifest.last_segment + 1,
    };
    let is_superseded = |name: &str| {
        segment_number(name).is_some_and(|number| number < manifest.first_segment || number > last)
    };
    let is_unknown = |name: &str| {
        name.ends_with(CHECKPOINT_ENDING)
            && !manifest.checkpoints.iter().any(|checkpoint| checkpoint.file == name)
    };
    for (directory, is_old) in [
        (LOG_DIRECTORY, &is_superseded as &dyn Fn(&str) -> bool),
        (CHECKPOINT_DIRECTORY, &is_unknown),
    ] {
        let failed = |error: io::Error| io_error(&format!("tidying {directory}"), error);
        let names = match storage.list(directory) {
            // Somebody tidied it away; without it no checkpoint could be written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let created = storage.create_dir(directory).and_then(|()| storage.sync_dir(""));
                created.map_err(failed)?;
                continue;
            }
            names => names.map_err(failed)?,
        };
        for name in names {
            if name.ends_with(".tmp") || is_old(&name) {
                storage.remove(&format!("{directory}/{name}")).map_err(failed)?;
            }
        }
    }
    Ok(())
}
