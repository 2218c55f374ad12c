//! The one writer of the log: frames, syncs, and the change from one segment to the next.
//!
//! What a failure leaves behind decides what follows. A full disk leaves nothing (the torn frame is
//! cut off again) and writing goes on once there is room; so it does after a refusal to begin a segment.
//! Any other failed write, and every failed sync, ends writing until the database is opened again: the
//! system may have dropped the data and would report success the next time. Only of a batch whose own
//! bytes were on their way is the outcome unknown.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rstmdb_types::{Error, Offset, TimestampMs};

use super::exchange::LogFrame;
use super::files::{Frame, IoCounters, LogFiles, Segment};
use super::frame::{EPOCH, FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES, FrameHeader, seal};
use super::lineage::{Begins, Epoch};
use super::queue::{Batch, SinkFailure, SinkResult};
use super::ring::Ring;
use super::segment::{
    LOG_DIRECTORY, SEGMENT_FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path,
};
use super::tip::Tip;
use crate::directory::HeldDirectory;
use crate::due::Reach;
use crate::error::{check_free_space, disk_full, outcome_unknown, write_failed, writes_stopped};
use crate::guards::{self, Safeguard};
use crate::manifest::ManifestFile;
use crate::options::{FsyncPolicy, SyncObserver};
use crate::storage::{Clock, Entropy, File, Storage, is_full, is_out_of_files, remove_if_there};

/// Space is prepared in steps that double between these, in bytes.
const PREPARE_BYTES_MIN: u64 = 256 << 10;
const PREPARE_BYTES_MAX: u64 = 8 << 20;
/// Of the space that is kept back, a new segment gets this much: enough for the mark of a checkpoint.
const RESERVE_BYTES: u64 = 64 << 10;
/// What frames put around their payloads, the one that begins a history among them, at most.
const FRAMES_BYTES: u64 = 4 << 10;
/// Where not every write is synced, the place of the files is looked at this often.
const LOOK_MS: i64 = 50;

/// What the writer needs to know of the database.
#[derive(Clone)]
pub(crate) struct WriterSettings {
    pub storage: Arc<dyn Storage>,
    pub directory: Arc<HeldDirectory>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub database: [u8; 16],
    /// Of a copy or a member: others say what is written.
    pub node: u16,
    pub fsync: FsyncPolicy,
    pub segment_bytes_max: u64,
    pub free_bytes_min: u64,
    pub sync_observer: Option<SyncObserver>,
    pub manifest: Arc<ManifestFile>,
}

/// A sync that is under way.
pub(crate) struct BegunSync {
    pub file: Arc<dyn File>,
    /// What is on the disk after it.
    pub index: u64,
    last: Offset,
    cuts: u64,
    observer: Option<SyncObserver>,
}

/// Why a frame that came from elsewhere is not in the log.
pub(crate) struct FrameFailure {
    pub error: Error,
    /// Nothing more can be written.
    pub is_fatal: bool,
}

impl BegunSync {
    /// Syncs, and tells those who watch how long it took.
    pub(crate) fn run(&self) -> io::Result<()> {
        if !guards::enabled(Safeguard::SyncBeforeAnswer) {
            return Ok(());
        }
        let began = clock();
        self.file.sync_data()?;
        if let Some(SyncObserver(observe)) = &self.observer {
            observe(began.elapsed());
        }
        Ok(())
    }
}

impl From<Error> for FrameFailure {
    fn from(error: Error) -> FrameFailure {
        FrameFailure { error, is_fatal: false }
    }
}

impl From<SinkFailure> for FrameFailure {
    fn from(failure: SinkFailure) -> FrameFailure {
        FrameFailure { is_fatal: failure.fatal.is_some(), error: failure.batch }
    }
}

type FrameResult = std::result::Result<Vec<u8>, SinkFailure>;

/// Appends frames to the newest segment.
pub(crate) struct LogWriter {
    settings: WriterSettings,
    files: Arc<LogFiles>,
    ring: Arc<Ring>,
    file: Arc<dyn File>,
    segment: u64,
    /// Where the next frame goes.
    position: u64,
    /// The file is filled with zeros up to here.
    prepared: u64,
    prepare_step: u64,
    /// The file knows that frames come up to here.
    expected: u64,
    /// The next segment may be there already, or the format is older: nothing more goes into this one.
    is_ended: bool,
    /// What the next frame goes on from.
    tip: Tip,
    /// What begins with the next frame: nothing was written since the opening.
    history: Option<Begins>,
    /// The last offset known to be on the disk.
    synced: Offset,
    /// The last frame known to be on the disk, where others say what is written.
    synced_index: u64,
    /// The last frame that others said, for its time.
    newest: Option<LogFrame>,
    /// How often the end was cut off: a sync that began before says nothing about what came later.
    cuts: u64,
    /// Offsets written since the last sync.
    unsynced: u64,
    synced_at: TimestampMs,
    /// The time of the newest effect that was handed over.
    log_time: TimestampMs,
    /// When the place of the files was looked at, by the monotonic clock.
    looked_at: Option<i64>,
    /// What later writes are refused with.
    poisoned: Option<Error>,
}

/// Where the writer goes on after recovery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriterPosition {
    pub segment: u64,
    /// The segment's format.
    pub format: u32,
    pub position: u64,
    pub prepared: u64,
    pub tip: Tip,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter(segment {} at {})", self.segment, self.position)
    }
}

impl LogWriter {
    pub(crate) fn new(
        settings: WriterSettings,
        files: Arc<LogFiles>,
        ring: Arc<Ring>,
        file: Arc<dyn File>,
        at: WriterPosition,
        log_time: TimestampMs,
    ) -> LogWriter {
        let history = (settings.node == 0).then(|| {
            // Known at once: what is appended is of it, before it is written.
            let begins = Begins { id: settings.entropy.next_u64(), first: at.tip.next };
            files.lineage.lock().add(begins);
            begins
        });
        settings.directory.writes(segment_path(at.segment), &*file);
        LogWriter {
            synced_at: settings.clock.now_ms(),
            log_time,
            history,
            settings,
            files,
            ring,
            file,
            segment: at.segment,
            position: at.position,
            prepared: at.prepared,
            prepare_step: PREPARE_BYTES_MIN,
            expected: at.position,
            is_ended: at.format != SEGMENT_FORMAT,
            tip: at.tip,
            synced: at.tip.last(),
            synced_index: at.tip.index - 1,
            newest: None,
            cuts: 0,
            unsynced: 0,
            looked_at: None,
            poisoned: None,
        }
    }

    /// The last offset known to be on the disk.
    pub(crate) fn synced(&self) -> Offset {
        self.synced
    }

    /// How far the log reaches.
    pub(crate) fn reach(&self) -> Reach {
        let bytes = self.files.counters.bytes_written.load(Ordering::Relaxed);
        Reach { offset: self.tip.last(), bytes }
    }

    /// What the next frame goes on from.
    pub(crate) fn tip(&self) -> Tip {
        self.tip
    }

    /// Whether most batches are written and not synced.
    pub(crate) fn is_quick(&self) -> bool {
        self.settings.fsync != FsyncPolicy::EveryWrite
    }

    /// Whether so many bytes can be written without a sync, if the policy asks for none: one is behind every
    /// segment that ends.
    pub(crate) fn is_at_once(&self, bytes: usize) -> bool {
        let end = self.position + bytes as u64 + FRAMES_BYTES;
        !self.is_ended && end <= self.settings.segment_bytes_max
    }

    /// Writes a batch as one frame and syncs as the policy asks.
    pub(crate) fn append(&mut self, batch: Batch) -> SinkResult {
        self.refuse_after_poison()?;
        self.check_directory_if_due()?;
        let mut frame_bytes = (batch.buffer.len() + FRAME_TRAILER_BYTES) as u64;
        if self.history.is_some() {
            frame_bytes += (FRAME_HEADER_BYTES + Epoch::BYTES + FRAME_TRAILER_BYTES) as u64;
        }
        let full = self.position + frame_bytes > self.settings.segment_bytes_max;
        if self.is_ended || (full && self.position > SEGMENT_HEADER_BYTES) {
            self.check_free_space()?;
            self.roll()?;
        }
        self.log_time = self.log_time.max(batch.at);
        self.prepare(self.position + frame_bytes)?;
        self.begin_history()?;
        let payload = batch.buffer.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let header = self.tip.data(batch.count, payload, self.synced);
        let payload_bytes = payload.len();
        let frame = self.write_frame(header, batch.buffer)?;
        self.ring.push(|| Frame::written(header, frame, payload_bytes));
        Ok(())
    }

    /// Tells the changes from here on from those that somebody may remember under the same offsets.
    fn begin_history(&mut self) -> SinkResult {
        let Some(begins) = self.history else { return Ok(()) };
        let epoch = Epoch { number: (self.tip.term >> 16) + 1, begins };
        let payload = epoch.encode();
        let header = self.tip.control(EPOCH, &payload, self.synced);
        let mut buffer = vec![0; FRAME_HEADER_BYTES];
        buffer.extend_from_slice(&payload);
        // Whatever became of it, nothing of what comes behind it is written.
        self.write_frame(FrameHeader { term: epoch.number << 16, ..header }, buffer).map_err(
            |failure| match failure.fatal {
                Some(fatal) => SinkFailure { batch: fatal.clone(), fatal: Some(fatal) },
                None => failure,
            },
        )?;
        self.history = None;
        Ok(())
    }

    /// Writes a frame behind the last and syncs when its effects ask for it; returns its bytes, the
    /// payload plain.
    fn write_frame(&mut self, mut header: FrameHeader, mut buffer: Vec<u8>) -> FrameResult {
        let (plain, checksum) = self.put_frame(&mut header, &mut buffer)?;
        if header.count > 0 && self.is_sync_due() {
            self.sync_file().map_err(|error| self.poison(&error))?;
            self.synced = header.last();
        }
        self.pass(&header, checksum, buffer.len() as u64);
        Ok(plain.unwrap_or(buffer))
    }

    /// Writes a frame behind the last; returns its bytes with the payload plain, if they are not, and its checksum.
    fn put_frame(
        &mut self,
        header: &mut FrameHeader,
        buffer: &mut Vec<u8>,
    ) -> std::result::Result<(Option<Vec<u8>>, u32), SinkFailure> {
        let plain = self.files.sealer.seal(header, buffer);
        let checksum = seal(buffer, header, &self.files.sealer);
        if let Err(error) = self.file.write_all_at(buffer, self.position) {
            return Err(self.take_back(&error));
        }
        IoCounters::add(&self.files.counters.writes, 1);
        IoCounters::add(&self.files.counters.bytes_written, buffer.len() as u64);
        self.unsynced += u64::from(header.count);
        Ok((plain, checksum))
    }

    /// The frame that was just written is part of the log.
    fn pass(&mut self, header: &FrameHeader, checksum: u32, written: u64) {
        let place = (self.tip.next, header.index);
        self.files.note(self.segment, place, self.position, written);
        self.position += written;
        self.tip.advance(header, checksum);
    }

    /// Writes a frame that came from elsewhere and syncs nothing; returns it as it is in the log.
    /// So much is known to be committed.
    pub(crate) fn append_frame(
        &mut self,
        frame: &LogFrame,
        committed: Offset,
    ) -> std::result::Result<FrameHeader, FrameFailure> {
        self.refuse_after_poison()?;
        self.check_directory_if_due()?;
        let settled = frame.settle(&self.tip)?;
        let frame_bytes = (FRAME_HEADER_BYTES + frame.payload_bytes() + FRAME_TRAILER_BYTES) as u64;
        let full = self.position + frame_bytes > self.settings.segment_bytes_max;
        if self.is_ended || (full && self.position > SEGMENT_HEADER_BYTES) {
            self.check_free_space()?;
            self.roll()?;
        }
        self.prepare(self.position + frame_bytes)?;
        let open = self.tip.last().saturating_sub(committed);
        let mut header = FrameHeader {
            synced: self.synced,
            uncommitted: u32::try_from(open).unwrap_or(u32::MAX),
            previous: self.tip.previous,
            ..settled
        };
        let mut buffer = Vec::with_capacity(frame_bytes as usize);
        buffer.resize(FRAME_HEADER_BYTES, 0);
        buffer.extend_from_slice(frame.payload());
        let (plain, checksum) = self.put_frame(&mut header, &mut buffer)?;
        self.pass(&header, checksum, buffer.len() as u64);
        if header.has_effects() {
            self.newest = Some(frame.clone());
            let payload_bytes = frame.payload_bytes();
            let bytes = plain.unwrap_or(buffer);
            self.ring.push(|| Frame::written(header, bytes, payload_bytes));
        }
        Ok(settled)
    }

    /// What has to be synced so that all frames so far are on the disk; the work is done beside further writes.
    pub(crate) fn begin_sync(&self) -> Option<BegunSync> {
        let (index, last) = (self.tip.index - 1, self.tip.last());
        let is_due = index > self.synced_index && self.poisoned.is_none();
        is_due.then(|| BegunSync {
            file: self.file.clone(),
            index,
            last,
            cuts: self.cuts,
            observer: self.settings.sync_observer.clone(),
        })
    }

    /// Learns what came of a sync.
    pub(crate) fn end_sync(&mut self, begun: &BegunSync, result: &io::Result<()>) -> SinkResult {
        IoCounters::add(&self.files.counters.syncs, 1);
        self.refuse_after_poison()?;
        match result {
            Ok(()) if begun.cuts == self.cuts => {
                self.synced_index = self.synced_index.max(begun.index);
                self.synced = self.synced.max(begun.last);
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// The last frame known to be on the disk, where others say what is written.
    pub(crate) fn synced_index(&self) -> u64 {
        self.synced_index
    }

    /// Cuts off what is behind a place, at which the log ends so. A crash in between leaves all that is before it.
    pub(crate) fn truncate(&mut self, (number, position): (u64, u64), tip: &Tip) -> SinkResult {
        self.refuse_after_poison()?;
        self.cut_files(number, position, tip).map_err(|error| self.stop(&error))?;
        self.settings.directory.writes(segment_path(number), &*self.file);
        self.segment = number;
        (self.position, self.prepared, self.expected) = (position, position, position);
        self.is_ended = false;
        self.tip = *tip;
        self.synced = self.synced.min(tip.last());
        self.synced_index = tip.index - 1;
        self.newest = None;
        self.cuts += 1;
        Ok(())
    }

    fn cut_files(&mut self, number: u64, position: u64, tip: &Tip) -> io::Result<()> {
        let is_volatile = self.settings.storage.is_volatile();
        let manifest = self.settings.manifest.clone();
        if guards::enabled(Safeguard::ManifestBeforeCut) {
            manifest.mark_cut(number, tip.last())?;
        }
        let file = match number == self.segment {
            true => self.file.clone(),
            false => self.settings.storage.open(&segment_path(number))?,
        };
        self.files.remove_behind(number)?;
        file.set_len(position)?;
        if !is_volatile {
            file.sync_data()?;
        }
        self.files.cut(number, position);
        self.ring.cut(tip.last());
        self.file = file;
        if !guards::enabled(Safeguard::ManifestBeforeCut) {
            manifest.mark_cut(number, tip.last())?;
        }
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        match self.settings.fsync {
            FsyncPolicy::EveryWrite => true,
            FsyncPolicy::EveryN(n) => self.unsynced >= u64::from(n),
            FsyncPolicy::EveryMs(ms) => {
                let elapsed = self.settings.clock.now_ms() - self.synced_at;
                // A clock that was set back says nothing about how long it has been.
                elapsed >= i64::from(ms) || elapsed < 0
            }
            FsyncPolicy::Never => false,
        }
    }

    /// Syncs what is written but not synced.
    pub(crate) fn sync(&mut self) -> SinkResult {
        self.refuse_after_poison()?;
        // Frames without changes count only where others say what is written.
        let has_frames = self.settings.node > 0 && self.synced_index + 1 < self.tip.index;
        if self.synced < self.tip.last() || has_frames {
            self.sync_file().map_err(|error| self.poison(&error))?;
            self.synced = self.tip.last();
            self.synced_index = self.tip.index - 1;
        }
        Ok(())
    }

    /// Syncs if the policy's time has come.
    pub(crate) fn sync_if_due(&mut self) -> SinkResult {
        if self.synced < self.tip.last() && self.is_sync_due() { self.sync() } else { Ok(()) }
    }

    /// The first failed sync is the last: see the top of this file.
    fn sync_file(&mut self) -> io::Result<()> {
        if !self.settings.storage.is_volatile() {
            IoCounters::add(&self.files.counters.syncs, 1);
            let began = clock();
            self.file.sync_data()?;
            if let Some(SyncObserver(observe)) = &self.settings.sync_observer {
                observe(began.elapsed());
            }
        }
        self.unsynced = 0;
        self.synced_at = self.settings.clock.now_ms();
        Ok(())
    }

    /// Whether anything can be written still.
    pub(crate) fn check(&self) -> SinkResult {
        self.refuse_after_poison()
    }

    fn refuse_after_poison(&self) -> SinkResult {
        match &self.poisoned {
            Some(error) if guards::enabled(Safeguard::Poison) => {
                Err(SinkFailure { batch: error.clone(), fatal: Some(error.clone()) })
            }
            _ => Ok(()),
        }
    }

    /// Acknowledged frames must be where they will be looked for.
    fn check_directory_if_due(&mut self) -> SinkResult {
        let now = self.settings.clock.monotonic_ms();
        let pause = match self.settings.fsync {
            FsyncPolicy::EveryWrite => 1,
            _ => LOOK_MS,
        };
        let is_due = |looked: i64| !(0..pause).contains(&now.saturating_sub(looked));
        if self.looked_at.is_none_or(is_due) {
            self.looked_at = Some(now);
            return self.check_directory();
        }
        Ok(())
    }

    fn check_directory(&mut self) -> SinkResult {
        if self.settings.storage.is_volatile() {
            return Ok(());
        }
        self.settings.directory.check().map_err(|error| self.stop_with(error))?;
        match self.file.len() {
            Ok(length) if length < self.prepared => {
                let why = format!(
                    "somebody cut {} to {length} bytes while it was written",
                    segment_path(self.segment)
                );
                tracing::error!("{why}");
                Err(self.stop_with(writes_stopped(&why)))
            }
            // What can't be told can't differ.
            _ => Ok(()),
        }
    }

    /// Ends writing; bytes of the batch may be on the disk.
    fn poison(&mut self, error: &io::Error) -> SinkFailure {
        SinkFailure { batch: outcome_unknown(error), ..self.stop(error) }
    }

    /// Ends writing before a byte of the batch was written.
    fn stop(&mut self, error: &io::Error) -> SinkFailure {
        let why = format!("writing the log failed ({error})");
        tracing::error!("{why}");
        self.stop_with(writes_stopped(&why))
    }

    fn stop_with(&mut self, error: Error) -> SinkFailure {
        self.poisoned.get_or_insert(error.clone());
        let fatal = guards::enabled(Safeguard::Poison).then(|| error.clone());
        SinkFailure { batch: error, fatal }
    }

    /// After a failed write: back to the last good frame if the disk is merely full, else the end.
    fn take_back(&mut self, error: &io::Error) -> SinkFailure {
        if !is_full(error) {
            return self.poison(error);
        }
        let cut = self.file.set_len(self.position).and_then(|()| self.file.sync_data());
        if let Err(error) = cut {
            return self.poison(&error);
        }
        self.prepared = self.position;
        self.expected = self.position;
        SinkFailure { batch: disk_full(&error.to_string()), fatal: None }
    }

    /// Fills the file with zeros ahead of the frames: a sync then need not update its size, and where
    /// not every write is synced, writing is most of what a frame costs.
    fn prepare(&mut self, end: u64) -> SinkResult {
        if self.settings.storage.is_volatile() {
            return Ok(());
        }
        if end > self.prepared {
            self.check_free_space()?;
            let target = (self.prepared + self.prepare_step).min(self.settings.segment_bytes_max);
            self.prepare_step = (self.prepare_step * 2).min(PREPARE_BYTES_MAX);
            self.fill(target.max(end))?;
        }
        if end > self.expected && self.is_quick() {
            self.file.expect_writes(self.position..self.prepared);
            self.expected = self.prepared;
        }
        Ok(())
    }

    fn fill(&mut self, target: u64) -> SinkResult {
        let zeros = vec![0; usize::try_from((target - self.prepared).min(1 << 20)).unwrap_or(0)];
        let mut at = self.prepared;
        while at < target {
            let length = usize::try_from(target - at).unwrap_or(usize::MAX).min(zeros.len());
            let piece = zeros.get(..length).unwrap_or_default();
            if let Err(error) = self.file.write_all_at(piece, at) {
                if !is_full(&error) {
                    return Err(self.stop(&error));
                }
                // Zeros behind the frames are harmless; giving them back is worth a try.
                let _ = self.file.set_len(self.prepared);
                return Err(SinkFailure { batch: disk_full(&error.to_string()), fatal: None });
            }
            at += length as u64;
        }
        self.prepared = target;
        Ok(())
    }

    fn check_free_space(&self) -> SinkResult {
        check_free_space(&*self.settings.storage, self.settings.free_bytes_min)
            .map_err(|batch| SinkFailure { batch, fatal: None })
    }

    /// A segment could not be begun: nothing was written, and the next write tries it again.
    fn refused(&self, error: &io::Error) -> SinkFailure {
        if is_out_of_files(error) {
            self.files.close_files();
        }
        let batch = match is_full(error) {
            true => disk_full(&error.to_string()),
            false => write_failed(&format!(
                "the next segment of the log can't be begun ({error}); nothing was written, retry"
            )),
        };
        tracing::warn!("{batch}");
        SinkFailure { batch, fatal: None }
    }

    /// Ends the segment and begins the next. Can be repeated when it fails half-way.
    fn roll(&mut self) -> SinkResult {
        self.check_directory()?;
        // The unused zeros go; only then may the end of the file mean the end of the segment.
        if !self.settings.storage.is_volatile() {
            self.give_back()?;
            // Under every policy: the next segment's header vouches for this one.
            self.sync_file().map_err(|error| self.stop(&error))?;
            self.synced = self.tip.last();
            self.synced_index = self.tip.index - 1;
        }
        let newest = self.newest.take().and_then(|frame| frame.time());
        self.log_time = self.log_time.max(newest.unwrap_or(self.log_time));
        let header = SegmentHeader {
            format: SEGMENT_FORMAT,
            database: self.settings.database,
            number: self.segment + 1,
            tip: self.tip,
            key: self.files.sealer.key(),
            salt: self.settings.entropy.salt(),
            node: self.settings.node,
            // What is before it is no younger.
            created_at: self.log_time,
        };
        self.is_ended = true;
        let storage = self.settings.storage.clone();
        let file = begin_file(&*storage, &header).map_err(|error| self.refused(&error))?;
        // Marked before anything is put into it: from then on it is missed when it is gone.
        let marked = finish_file(&*storage, &*file, &header)
            .and_then(|()| self.settings.manifest.mark_segment(header.number, self.tip.last()));
        match marked {
            Ok(()) => {}
            Err(error) if is_full(&error) || is_out_of_files(&error) => {
                return Err(self.refused(&error));
            }
            Err(error) => return Err(self.stop(&error)),
        }
        self.is_ended = false;
        self.files.put(Segment::new(&header));
        self.settings.directory.writes(segment_path(header.number), &*file);
        self.file = file;
        self.segment = header.number;
        self.position = SEGMENT_HEADER_BYTES;
        self.prepared = SEGMENT_HEADER_BYTES;
        self.expected = SEGMENT_HEADER_BYTES;
        self.prepare_step = PREPARE_BYTES_MAX;
        Ok(())
    }

    /// Cuts off the space that is prepared for frames.
    fn give_back(&mut self) -> SinkResult {
        self.file.set_len(self.position).map_err(|error| self.stop(&error))?;
        self.prepared = self.position;
        self.expected = self.position;
        Ok(())
    }

    /// Gives back what it can where there is little room. Writing goes on when there is enough.
    pub(crate) fn make_room(&mut self) -> SinkResult {
        self.refuse_after_poison()?;
        match self.check_free_space() {
            Err(_) if !self.settings.storage.is_volatile() => self.give_back(),
            _ => Ok(()),
        }
    }

    /// Begins a new segment now, so that the ones before can be deleted. This is for a checkpoint, which
    /// is what space is kept back for: there is room for its mark.
    pub(crate) fn begin_segment(&mut self) -> SinkResult {
        self.refuse_after_poison()?;
        let is_new = !self.is_ended && self.position == SEGMENT_HEADER_BYTES;
        if !is_new {
            self.roll()?;
        }
        let end = self.position + RESERVE_BYTES;
        if self.prepared < end && self.check_free_space().is_err() {
            self.fill(end)?;
        }
        Ok(())
    }
}

/// Creates a segment so that it is either whole or not there.
pub(crate) fn create_segment(
    storage: &dyn Storage,
    header: &SegmentHeader,
) -> io::Result<Arc<dyn File>> {
    let file = begin_file(storage, header)?;
    finish_file(storage, &*file, header)?;
    Ok(file)
}

fn temporary_path(header: &SegmentHeader) -> String {
    format!("{}.tmp", segment_path(header.number))
}

/// An empty file under a name that means nothing.
fn begin_file(storage: &dyn Storage, header: &SegmentHeader) -> io::Result<Arc<dyn File>> {
    let temporary = temporary_path(header);
    remove_if_there(storage, &temporary)?;
    storage.create(&temporary)
}

fn finish_file(storage: &dyn Storage, file: &dyn File, header: &SegmentHeader) -> io::Result<()> {
    file.write_all_at(&header.encode(), 0)?;
    if !storage.is_volatile() {
        file.sync_data()?;
    }
    storage.rename(&temporary_path(header), &segment_path(header.number))?;
    if guards::enabled(Safeguard::DirectorySync) && !storage.is_volatile() {
        storage.sync_dir(LOG_DIRECTORY)?;
    }
    Ok(())
}

/// For those who watch how long syncs take.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
fn clock() -> Instant {
    Instant::now()
}
