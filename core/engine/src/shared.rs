//! The parts of an open database and how they hang together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rstmdb_types::{Error, LogPosition, Offset, Result, TimestampMs};

use crate::backup::holds::Backups;
use crate::checkpoint::policy::Schedule;
use crate::directory::HeldDirectory;
use crate::due::Growth;
use crate::error::read_only;
use crate::followers::{Followers, NoticedBatch};
use crate::gauges::{DiskRoom, NewestCheckpoint};
use crate::guards::{self, Safeguard};
use crate::log::queue::{Batch, BatchFate, Queue, Sink, SinkFailure};
use crate::log::writer::FrameFailure;
use crate::log::{LogFiles, LogFrame, LogWriter, Ring};
use crate::manifest::{Manifest, ManifestFile};
use crate::options::Options;
use crate::replication::group::Group;
use crate::replication::standing::NodeState;
use crate::snapshots::Snapshots;
use crate::state::State;
use crate::storage::{Entropy, Storage};
use crate::time::Time;

/// The writer, and the state it takes back when it fails.
pub(crate) struct EngineSink {
    pub writer: LogWriter,
    pub state: Arc<State>,
    /// Told of every batch that was written.
    pub growth: Arc<Growth>,
    pub disk_room: Arc<DiskRoom>,
    pub storage: Arc<dyn Storage>,
    pub ring: Arc<Ring>,
    pub followers: Arc<Followers>,
    /// What of it is new to those, until it is committed.
    pub noticed: Option<NoticedBatch>,
    /// Of a node whose log others decide about.
    pub group: Option<Group>,
}

impl EngineSink {
    /// Appends a frame that came from elsewhere; so much is known to be committed.
    pub(crate) fn append_frame(&mut self, frame: &LogFrame, committed: Offset) -> Result<()> {
        let appended = self.writer.append_frame(frame, committed);
        let appended = appended.map_err(|FrameFailure { error, is_fatal }| SinkFailure {
            fatal: is_fatal.then(|| error.clone()),
            batch: error,
        });
        self.disk_room.learn(&appended.as_ref().map(|_| ()), &*self.storage);
        let header = appended.map_err(|failure| failure.batch)?;
        if let Some(group) = &mut self.group {
            group.appended(frame, &header);
        }
        Ok(())
    }
}

impl Sink for EngineSink {
    fn is_quick(&self) -> bool {
        self.writer.is_quick()
    }

    fn is_at_once(&self, bytes: usize) -> bool {
        self.group.is_none() && self.writer.is_at_once(bytes)
    }

    fn may_write(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.may_propose(self.writer.synced()))
    }

    fn write(&mut self, batch: Batch) -> std::result::Result<BatchFate, SinkFailure> {
        if let Some(group) = &mut self.group {
            group.propose(&batch);
            return Ok(match guards::enabled(Safeguard::CommitMark) {
                true => BatchFate::Submitted,
                false => BatchFate::Committed,
            });
        }
        let (first, last) = (batch.first, batch.last());
        let written = self.writer.append(batch);
        self.disk_room.learn(&written.as_ref().copied(), &*self.storage);
        written?;
        self.noticed = self.followers.notice(&self.ring, first, last);
        self.growth.grown(self.writer.reach());
        Ok(BatchFate::Committed)
    }

    fn committed(&mut self) {
        if let Some(batch) = self.noticed.take() {
            self.followers.committed(batch);
        }
    }

    fn roll_back(&mut self, durable: Offset, reset: &mut dyn FnMut()) {
        match guards::enabled(Safeguard::StepDown) || self.group.is_none() {
            true => self.state.roll_back(durable, reset),
            false => reset(),
        }
    }
}

/// An open database.
pub(crate) struct Shared {
    pub name: String,
    pub options: Options,
    /// Nothing can be written, and nothing is.
    pub is_read_only: bool,
    /// Why, where the directory belongs to a node.
    pub belongs: Option<Error>,
    pub storage: Arc<dyn Storage>,
    pub directory: Arc<HeldDirectory>,
    pub time: Time,
    pub entropy: Arc<dyn Entropy>,
    pub database: [u8; 16],
    pub state: Arc<State>,
    pub queue: Queue<EngineSink>,
    pub files: Arc<LogFiles>,
    pub ring: Arc<Ring>,
    pub followers: Arc<Followers>,
    pub manifest: Mutex<Manifest>,
    pub manifest_file: Arc<ManifestFile>,
    /// The first offset that can be read; kept beside the manifest to be read without its lock.
    pub first_offset: AtomicU64,
    pub growth: Arc<Growth>,
    pub disk_room: Arc<DiskRoom>,
    pub newest_checkpoint: NewestCheckpoint,
    /// The first damage that was found since the opening.
    pub damage: OnceLock<Error>,
    pub schedule: Mutex<Schedule>,
    pub snapshots: Snapshots,
    pub backups: Backups,
    /// The last change that a restored database has from before; 0 when it is none.
    pub restored_to: Offset,
    /// Of a node that is part of a group.
    pub node: Option<NodeState>,
    /// Who needs the log from which offset on.
    pub claims: Mutex<BTreeMap<String, Offset>>,
}

impl Shared {
    pub(crate) fn now(&self) -> TimestampMs {
        self.time.now()
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if !self.is_read_only {
            return Ok(());
        }
        Err(self.belongs.clone().unwrap_or_else(|| read_only(&self.name)))
    }

    /// Ends all writing when the files are not those any more that were opened.
    pub(crate) fn check_directory(&self) -> Result<()> {
        self.directory.check().inspect_err(|error| self.queue.poison(error.clone()))
    }

    /// The offset below which changes need no way back, `None` when none ever does.
    pub(crate) fn undo_below(&self) -> Option<Offset> {
        (!self.storage.is_volatile()).then(|| self.queue.committed())
    }

    pub(crate) fn first_offset(&self) -> Offset {
        self.first_offset.load(Ordering::Acquire)
    }

    /// The place before an offset.
    pub(crate) fn position(&self, next: Offset) -> LogPosition {
        let history_id = self.files.lineage.lock().id_at(next.saturating_sub(1));
        LogPosition { next, history_id }
    }
}
