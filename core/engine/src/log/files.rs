//! The segments of the log: which there are, and reading frames back from them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rstmdb_types::{IoStats, Offset, Result, TimestampMs};

use super::chains::Chains;
use super::effects::Effects;
use super::frame::{FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameHeader, ParsedFrame, parse};
use super::lineage::Lineage;
use super::members::GroupMembers;
use super::sealer::Sealer;
use super::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, missing_segment, segment_path,
};
use super::tip::Tip;
use crate::error::{corrupt, io as io_error, newer_format};
use crate::guards::{self, Safeguard};
use crate::storage::{File, Storage, is_out_of_files, remove_if_there};

/// A place in a segment is noted at least this often, so that finding an offset reads little.
const INDEX_STEP_BYTES: u64 = 32 << 10;
/// How much is read from a segment at once.
const READ_BYTES: usize = 128 << 10;
/// Open files kept for reading.
const OPEN_FILES_MAX: usize = 16;
/// What is kept after random reads.
const CACHED_STEPS_MAX: usize = 128;
const CACHED_BYTES_MAX: usize = 4 << 20;

/// File operations on the log since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct IoCounters {
    pub bytes_written: AtomicU64,
    pub bytes_read: AtomicU64,
    pub writes: AtomicU64,
    pub reads: AtomicU64,
    pub syncs: AtomicU64,
}

impl IoCounters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> IoStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IoStats {
            bytes_written: get(&self.bytes_written),
            bytes_read: get(&self.bytes_read),
            writes: get(&self.writes),
            reads: get(&self.reads),
            fsyncs: get(&self.syncs),
        }
    }
}

/// An intact frame in memory.
#[derive(Debug)]
pub(crate) struct Frame {
    pub header: FrameHeader,
    /// The plain payload is the bytes from `start` to `end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frame {
    /// A frame that was read.
    fn read(header: FrameHeader, payload: Vec<u8>) -> Frame {
        Frame { header, start: 0, end: payload.len(), bytes: payload }
    }

    /// A frame that was written: what was sealed, with its plain payload of so many bytes.
    pub(crate) fn written(header: FrameHeader, bytes: Vec<u8>, payload_bytes: usize) -> Frame {
        Frame { header, bytes, start: FRAME_HEADER_BYTES, end: FRAME_HEADER_BYTES + payload_bytes }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn effects(&self) -> Effects<'_> {
        Effects::new(self.header.format, self.payload(), self.header.first)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A frame whose place in its segment is noted.
#[derive(Debug, Clone, Copy)]
struct NotedFrame {
    first: Offset,
    index: u64,
    position: u64,
}

/// What is known of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub number: u64,
    pub first: Offset,
    /// The end of the log before it.
    pub tip: Tip,
    pub format: u32,
    pub created_at: TimestampMs,
    /// Where the first frame begins.
    pub start: u64,
    /// Bytes that hold frames, header included.
    pub bytes: u64,
    places: Vec<NotedFrame>,
}

impl Segment {
    pub(crate) fn new(header: &SegmentHeader) -> Segment {
        Segment {
            number: header.number,
            first: header.tip.next,
            tip: header.tip,
            format: header.format,
            created_at: header.created_at,
            start: header.bytes(),
            bytes: header.bytes(),
            places: Vec::new(),
        }
    }

    /// Records a frame that was found or written at `position`.
    ///
    /// What is void has no place among offsets: it is of the next one, `first`.
    pub(crate) fn note(&mut self, first: Offset, index: u64, position: u64, frame_bytes: u64) {
        let is_due = |last: &NotedFrame| position >= last.position + INDEX_STEP_BYTES;
        if self.places.last().is_none_or(is_due) {
            self.places.push(NotedFrame { first, index, position });
        }
        self.bytes = self.bytes.max(position + frame_bytes);
    }

    /// Forgets what is from `position` on.
    fn cut(&mut self, position: u64) {
        self.places.retain(|place| place.position < position);
        self.bytes = position;
    }

    /// Where to look for an offset from on: a frame begins there, of this offset or an earlier one.
    pub(crate) fn place_before(&self, offset: Offset) -> u64 {
        self.before(self.places.partition_point(|place| place.first <= offset))
    }

    /// Where to look for a frame from on.
    fn place_of_index(&self, index: u64) -> u64 {
        self.before(self.places.partition_point(|place| place.index <= index))
    }

    fn before(&self, at: usize) -> u64 {
        let place = at.checked_sub(1).and_then(|at| self.places.get(at));
        place.map_or(self.start, |place| place.position)
    }

    /// The end of what must be read to find an offset from the place before it on.
    fn place_after(&self, offset: Offset) -> u64 {
        let at = self.places.partition_point(|place| place.first <= offset);
        self.places.get(at).map_or(self.bytes, |place| place.position)
    }
}

/// The frames between two noted places, in order.
type FrameRun = Vec<Arc<Frame>>;

/// Frames read recently, in the steps between noted places: whoever wants one soon wants another.
#[derive(Debug, Default)]
struct FrameCache {
    /// Each with its size in bytes; the one used last is at the back.
    steps: VecDeque<(FrameRun, usize)>,
    bytes: usize,
}

impl FrameCache {
    fn get(&mut self, offset: Offset) -> Option<Arc<Frame>> {
        let holds = |frames: &[Arc<Frame>]| {
            frames.first().is_some_and(|first| first.header.first <= offset)
                && frames.last().is_some_and(|last| offset <= last.header.last())
        };
        let at = self.steps.iter().rposition(|(frames, _)| holds(frames))?;
        if at + 1 < self.steps.len() {
            let step = self.steps.remove(at)?;
            self.steps.push_back(step);
        }
        let (frames, _) = self.steps.back()?;
        let at = frames.partition_point(|frame| frame.header.last() < offset);
        frames.get(at).cloned()
    }

    fn put(&mut self, frames: FrameRun) {
        let Some(first) = frames.first().map(|frame| frame.header.first) else { return };
        // The last step of the log may have been read when it was shorter.
        let begins = |step: &[Arc<Frame>]| step.first().is_some_and(|at| at.header.first == first);
        if let Some(at) = self.steps.iter().position(|(step, _)| begins(step)) {
            self.bytes -= self.steps.remove(at).map_or(0, |(_, bytes)| bytes);
        }
        let bytes = frames.iter().map(|frame| frame.bytes()).sum();
        self.steps.push_back((frames, bytes));
        self.bytes += bytes;
        while self.steps.len() > CACHED_STEPS_MAX
            || (self.bytes > CACHED_BYTES_MAX && self.steps.len() > 1)
        {
            self.bytes -= self.steps.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }
}

/// A stretch of a segment that begins with a frame.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    segment: u64,
    begin: u64,
    end: u64,
}

/// The files of the log.
pub(crate) struct LogFiles {
    storage: Arc<dyn Storage>,
    pub sealer: Sealer,
    /// The histories whose beginning is in the log.
    pub lineage: Mutex<Lineage>,
    /// Who belongs to the group, as far as it is committed.
    pub members: Mutex<Option<GroupMembers>>,
    segments: RwLock<BTreeMap<u64, Segment>>,
    open_files: Mutex<VecDeque<(u64, Arc<dyn File>)>>,
    cache: Mutex<FrameCache>,
    /// Counts how often the end of the log was cut off.
    cuts: AtomicU64,
    pub chains: Chains,
    pub counters: IoCounters,
}

impl std::fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogFiles({} segments)", self.segments.read().len())
    }
}

impl LogFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, sealer: Sealer) -> LogFiles {
        LogFiles {
            storage,
            sealer,
            lineage: Mutex::default(),
            members: Mutex::default(),
            segments: RwLock::default(),
            open_files: Mutex::default(),
            cache: Mutex::default(),
            cuts: AtomicU64::new(0),
            chains: Chains::default(),
            counters: IoCounters::default(),
        }
    }

    /// Adds a segment, or replaces what is known of it.
    pub(crate) fn put(&self, segment: Segment) {
        self.segments.write().insert(segment.number, segment);
    }

    /// Records a frame written to a segment.
    pub(crate) fn note(
        &self,
        number: u64,
        (first, index): (Offset, u64),
        position: u64,
        frame_bytes: u64,
    ) {
        if let Some(segment) = self.segments.write().get_mut(&number) {
            segment.note(first, index, position, frame_bytes);
        }
    }

    /// Records a frame that was read, unless the log was cut off meanwhile.
    fn note_read(&self, cursor: &FrameCursor, header: &FrameHeader, frame_bytes: u64) {
        let mut segments = self.segments.write();
        if cursor.cuts == self.cuts()
            && let Some(segment) = segments.get_mut(&cursor.segment)
        {
            segment.note(header.first, header.index, cursor.position, frame_bytes);
        }
    }

    /// How often the end of the log was cut off. Who read ahead before reads again.
    fn cuts(&self) -> u64 {
        match guards::enabled(Safeguard::ReadAgainAfterCut) {
            true => self.cuts.load(Ordering::SeqCst),
            false => 0,
        }
    }

    /// Deletes the segments behind this one, the newest first: none is left without those before it.
    pub(crate) fn remove_behind(&self, number: u64) -> io::Result<()> {
        let later: Vec<u64> =
            self.segments.read().range(number + 1..).map(|(number, _)| *number).collect();
        later.into_iter().rev().try_for_each(|number| {
            self.remove(number)?;
            self.storage.sync_dir(LOG_DIRECTORY)
        })
    }

    /// Forgets what was at the end of the log from a place on, which is there no more.
    pub(crate) fn cut(&self, number: u64, position: u64) {
        let mut segments = self.segments.write();
        self.cuts.fetch_add(1, Ordering::SeqCst);
        if let Some(segment) = segments.get_mut(&number) {
            segment.cut(position);
        }
        drop(segments);
        let mut cache = self.cache.lock();
        if guards::enabled(Safeguard::ReadAgainAfterCut) {
            *cache = FrameCache::default();
        }
    }

    /// All segments, oldest first.
    pub(crate) fn list(&self) -> Vec<Segment> {
        self.segments.read().values().cloned().collect()
    }

    /// The first frame that has an index.
    pub(crate) fn first_index(&self) -> Option<u64> {
        let segments = self.segments.read();
        segments.values().find(|segment| segment.format > 1).map(|segment| segment.tip.index)
    }

    /// The number of segments, and the bytes in them.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let segments = self.segments.read();
        (segments.len() as u64, segments.values().map(|segment| segment.bytes).sum())
    }

    /// Deletes the file of the oldest segment and forgets it. One that is gone already will do.
    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        remove_if_there(&*self.storage, &segment_path(number))?;
        self.segments.write().remove(&number);
        self.open_files.lock().retain(|(open, _)| *open != number);
        Ok(())
    }

    pub(crate) fn open(&self, number: u64) -> io::Result<Arc<dyn File>> {
        let mut open = self.open_files.lock();
        if let Some((_, file)) = open.iter().find(|(known, _)| *known == number) {
            return Ok(file.clone());
        }
        let file = match self.storage.open_to_read(&segment_path(number)) {
            Err(error) if is_out_of_files(&error) && !open.is_empty() => {
                open.clear();
                self.storage.open_to_read(&segment_path(number))?
            }
            opened => opened?,
        };
        if open.len() == OPEN_FILES_MAX {
            open.pop_front();
        }
        open.push_back((number, file.clone()));
        Ok(file)
    }

    /// Closes files that are open for readers: they are opened again when they are wanted.
    pub(crate) fn close_files(&self) {
        self.open_files.lock().clear();
    }

    /// Where to look for `offset`.
    fn locate(&self, offset: Offset) -> Option<Stretch> {
        let segments = self.segments.read();
        let segment = segments.values().rev().find(|segment| segment.first <= offset)?;
        Some(Stretch {
            segment: segment.number,
            begin: segment.place_before(offset),
            end: segment.place_after(offset),
        })
    }

    fn end_of(&self, number: u64) -> Option<u64> {
        self.segments.read().get(&number).map(|segment| segment.bytes)
    }

    /// The segment after this one, and where its first frame begins.
    fn after(&self, number: u64) -> Option<(u64, u64)> {
        let segments = self.segments.read();
        segments.range(number + 1..).next().map(|(number, segment)| (*number, segment.start))
    }

    /// The frame that holds `offset`, which must be written.
    pub(crate) fn frame(&self, offset: Offset) -> Result<Option<Arc<Frame>>> {
        if let Some(frame) = self.cache.lock().get(offset) {
            return Ok(Some(frame));
        }
        let cuts = self.cuts();
        let Some(stretch) = self.locate(offset) else { return Ok(None) };
        let (found, frames) = self.read_step(offset, stretch)?;
        let mut cache = self.cache.lock();
        if found.is_some() && cuts == self.cuts() {
            cache.put(frames);
        }
        Ok(found)
    }

    /// The frame that holds `offset`, and all of the step that it is in.
    fn read_step(
        &self,
        offset: Offset,
        stretch: Stretch,
    ) -> Result<(Option<Arc<Frame>>, FrameRun)> {
        let mut cursor = FrameCursor::at(self, offset, stretch);
        let mut begin = stretch.begin;
        let mut frames = Vec::new();
        let mut found = None;
        while cursor.position < stretch.end {
            if cursor.position >= begin + INDEX_STEP_BYTES {
                if found.is_some() {
                    break;
                }
                begin = cursor.position;
                frames.clear();
            }
            let frame = match cursor.read(self, stretch.end) {
                Ok((frame, _)) => Arc::new(frame),
                // What is wrong behind the frame is for those who want it.
                Err(_) if found.is_some() => break,
                Err(error) => return Err(error),
            };
            if !frame.header.has_effects() {
                continue;
            }
            if frame.header.first <= offset && offset <= frame.header.last() {
                found = Some(frame.clone());
            }
            frames.push(frame);
        }
        Ok((found, frames))
    }
}

/// Reads frames in order, from the one that holds an offset on.
#[derive(Debug, Clone)]
pub(crate) struct FrameCursor {
    /// The next offset wanted.
    pub next: Offset,
    segment: u64,
    position: u64,
    started: bool,
    window: Window,
    /// What the log was cut off when the window was filled.
    cuts: u64,
}

impl FrameCursor {
    pub(crate) fn new(files: &LogFiles, offset: Offset) -> FrameCursor {
        let nowhere = Stretch { segment: 0, begin: SEGMENT_HEADER_BYTES, end: 0 };
        FrameCursor::at(files, offset, files.locate(offset).unwrap_or(nowhere))
    }

    fn at(files: &LogFiles, offset: Offset, stretch: Stretch) -> FrameCursor {
        FrameCursor {
            cuts: files.cuts(),
            next: offset,
            segment: stretch.segment,
            position: stretch.begin,
            started: false,
            window: Window::default(),
        }
    }

    /// The next frame; `None` at the end of what is written, and when the offset wanted is gone.
    pub(crate) fn next(&mut self, files: &LogFiles) -> Result<Option<Frame>> {
        loop {
            let Some(end) = files.end_of(self.segment) else { return Ok(None) };
            if self.position >= end {
                let Some((after, start)) = files.after(self.segment) else { return Ok(None) };
                self.segment = after;
                self.position = start;
                self.window = Window::default();
                continue;
            }
            let frame = self.read(files, end)?.0;
            if !frame.header.has_effects() || frame.header.last() < self.next {
                continue;
            }
            if frame.header.first > self.next {
                // The segment after was deleted just now, and this is one behind it.
                return Ok(None);
            }
            self.started = true;
            self.next = frame.header.last() + 1;
            return Ok(Some(frame));
        }
    }

    /// Reads on in the order of indexes, from the frame of this index on.
    pub(crate) fn of_index(files: &LogFiles, index: u64) -> Option<FrameCursor> {
        let segments = files.segments.read();
        let segment = segments.values().rev().find(|segment| segment.tip.index <= index)?;
        let stretch = Stretch {
            segment: segment.number,
            begin: segment.place_of_index(index),
            end: segment.bytes,
        };
        drop(segments);
        Some(FrameCursor::at(files, 0, stretch))
    }

    /// Reads all of a segment that holds frames after this index, or ends with it: the end of the log before it.
    pub(crate) fn of_segment(files: &LogFiles, index: u64) -> Option<(FrameCursor, Tip)> {
        let segments = files.segments.read();
        let segment = segments.values().rev().find(|segment| segment.tip.index <= index + 1)?;
        let (number, begin, end) = (segment.number, segment.start, segment.bytes);
        let tip = segment.tip;
        drop(segments);
        Some((FrameCursor::at(files, 0, Stretch { segment: number, begin, end }), tip))
    }

    /// Where the next frame begins.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.segment, self.position)
    }

    /// The next frame of any kind, with its checksum.
    pub(crate) fn next_of_any(&mut self, files: &LogFiles) -> Result<Option<(Frame, u32)>> {
        loop {
            let Some(end) = files.end_of(self.segment) else { return Ok(None) };
            if self.position < end {
                return self.read(files, end).map(Some);
            }
            let Some((after, start)) = files.after(self.segment) else { return Ok(None) };
            self.segment = after;
            self.position = start;
            self.window = Window::default();
        }
    }

    /// The frame at the position, in a segment whose frames reach to `end`, and its checksum.
    fn read(&mut self, files: &LogFiles, end: u64) -> Result<(Frame, u32)> {
        if self.cuts != files.cuts() {
            self.cuts = files.cuts();
            self.window = Window::default();
        }
        let path = || segment_path(self.segment);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => missing_segment(self.segment),
            _ => io_error(&format!("reading {}", path()), error),
        };
        let file = files.open(self.segment).map_err(failed)?;
        let found = self.window.parse_at(&*file, self.position, end, files).map_err(failed)?;
        let (frame, checksum) = match found {
            ParsedFrame::Frame { header, payload, checksum } => {
                (Frame::read(header, payload.into_owned()), checksum)
            }
            ParsedFrame::Damaged(what) => return Err(corrupt(&path(), self.position, what)),
            ParsedFrame::Newer { what, .. } => {
                return Err(newer_format(&path(), self.position, what));
            }
            ParsedFrame::Incomplete { .. } => {
                return Err(corrupt(&path(), self.position, "the frame is cut off"));
            }
        };
        let frame_bytes = frame.header.frame_bytes() as u64;
        if !self.started && frame.header.has_effects() {
            // Old segments are noted as they are read, for the next time.
            files.note_read(self, &frame.header, frame_bytes);
        }
        self.position += frame_bytes;
        Ok((frame, checksum))
    }
}

/// A piece of a file in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn from(&self, position: u64) -> &[u8] {
        let at = position.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }

    /// Parses what is at `position`, reading on as far as it needs and `end` allows.
    pub(crate) fn parse_at<'a>(
        &'a mut self,
        file: &dyn File,
        position: u64,
        end: u64,
        files: &LogFiles,
    ) -> io::Result<ParsedFrame<'a>> {
        let mut wanted = FRAME_HEADER_BYTES;
        loop {
            let have = self.from(position).len();
            let possible = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
            if have < wanted.min(possible) {
                self.fill(file, position, wanted.max(READ_BYTES).min(possible), files)?;
            }
            match parse(self.from(position), &files.sealer) {
                ParsedFrame::Incomplete { frame_bytes }
                    if frame_bytes > wanted
                        && frame_bytes <= possible
                        && frame_bytes <= FRAME_PAYLOAD_BYTES_MAX + 64 =>
                {
                    wanted = frame_bytes;
                }
                _ => break,
            }
        }
        // Parsed again, because the borrow of the loop can't leave it; rare frames are that large.
        Ok(parse(self.from(position), &files.sealer))
    }

    fn fill(
        &mut self,
        file: &dyn File,
        position: u64,
        length: usize,
        files: &LogFiles,
    ) -> io::Result<()> {
        self.start = position;
        self.bytes.resize(length, 0);
        let read = file.read_full_at(&mut self.bytes, position)?;
        self.bytes.truncate(read);
        IoCounters::add(&files.counters.reads, 1);
        IoCounters::add(&files.counters.bytes_read, read as u64);
        Ok(())
    }
}
