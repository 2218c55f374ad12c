//! Reading the log back after a stop of whatever kind.
//!
//! A torn tail, the trace of a write that was never acknowledged, is cut off. Anything else that is
//! not right is damage and refuses the start: history is never shortened quietly. The two are told
//! apart by what later bytes prove: an intact frame that knew the bad place to be on the disk, the
//! header of a later segment, or the manifest's durable mark.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result, TimestampMs};

use super::effects::{Effects, Unreadable};
use super::files::{LogFiles, Segment, Window};
use super::frame::{self, EPOCH, FrameHeader, MEMBERS, ParsedFrame, VOID};
use super::kinds::Effect;
use super::lineage::Epoch;
use super::members::GroupMembers;
use super::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, missing_segment, segment_number,
    segment_path,
};
use super::tip::{Named, OFFSET_MAX, Tip};
use super::writer::WriterPosition;
use crate::error::{Newer, corrupt, io as io_error, newer_format};
use crate::guards::{self, Safeguard};
use crate::storage::{File, Storage};

/// What must be known before the log is read.
pub(crate) struct RecoveryPlan<'a> {
    pub storage: &'a dyn Storage,
    pub database: [u8; 16],
    pub files: &'a LogFiles,
    /// The first segment the manifest counts on; older files are left-overs.
    pub first_segment: u64,
    /// The newest segment the manifest knows of; 0: none.
    pub last_segment: u64,
    /// Effects up to here are in the checkpoint.
    pub after: Offset,
    /// Effects up to here were on the disk for certain.
    pub durable: Offset,
    /// The frame that the checkpoint names.
    pub named: Option<Named>,
    /// No effect after it is wanted.
    pub limit: Offset,
    /// Where others decide, what is known of that; none when all that is in the log counts.
    pub decided: Option<KnownDecisions>,
}

/// What others are known to have decided on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownDecisions {
    /// Up to this frame.
    pub index: u64,
    /// And up to this effect, which a checkpoint holds.
    pub offset: Offset,
}

/// A frame that is not known to be decided on yet.
struct OpenFrame {
    header: FrameHeader,
    payload: Vec<u8>,
    /// The end of the log with it.
    tip: Tip,
}

/// A piece at the end of the log that was no whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TornTail {
    file: String,
    position: u64,
    bytes: u64,
}

/// What reading the log came to. Nothing was changed by it.
pub(crate) struct LogRead {
    /// The segment that reading ended in, and where the log goes on.
    segment: OpenSegment,
    reached: Reached,
    torn: Option<TornTail>,
    /// From here to the end it is not known to be on the disk.
    unsure: u64,
    pub replayed: u64,
    /// The end of what was replayed: where others decide, there may be more.
    pub applied: Tip,
    /// What is known to be decided on.
    decided: KnownDecisions,
    open: VecDeque<OpenFrame>,
    /// Why this is not all of the log.
    pub fault: Option<Error>,
    /// The checkpoint is of another log.
    pub is_other: bool,
    /// What is wrong with segments that only the history needs.
    pub history: Option<Error>,
    /// The first segment that was needed.
    pub begins: u64,
    /// The limit lies inside this group of effects: the last before it, and its last.
    pub splits: Option<(Offset, Offset)>,
}

/// A log that can be appended to.
pub(crate) struct Recovered {
    pub file: Arc<dyn File>,
    pub writer: WriterPosition,
    /// The end of what was replayed.
    pub applied: Tip,
    /// The time of the newest effect behind that, 0: none.
    pub open_time: TimestampMs,
}

/// Where reading a segment ended.
#[derive(Clone, Copy)]
struct Reached {
    position: u64,
    tip: Tip,
    /// What the last frame knew to be on the disk.
    synced: Offset,
}

type Replay<'a> = dyn FnMut(Offset, &Effect<'_>) -> Result<()> + 'a;
type ReplayProgress<'a> = dyn Fn(u64, u64) + 'a;

/// Replays everything after the checkpoint, as far as it is whole.
///
/// Errors: reason `corrupt` when nothing of the log goes on from the checkpoint; what is wrong behind
/// that is in the answer.
pub(crate) fn read(
    plan: &RecoveryPlan<'_>,
    replay: &mut Replay<'_>,
    progress: &ReplayProgress<'_>,
) -> Result<LogRead> {
    let places = open_segments(plan)?;
    let (older, needed) = places.split_at(begin(plan, &places)?);
    let mut history = None;
    for place in older {
        match place {
            Ok((header, _, length)) => {
                let mut segment = Segment::new(header);
                segment.bytes = *length;
                plan.files.put(segment);
            }
            Err(error) => {
                history.get_or_insert_with(|| error.clone());
            }
        }
    }
    let is_whole = needed.iter().all(Result::is_ok);
    let segments: Vec<&OpenSegment> =
        needed.iter().map_while(|place| place.as_ref().ok()).collect();
    let Some(first) = segments.first() else { return Err(missing_segment(plan.first_segment)) };
    let total: u64 = segments.iter().map(|(.., length)| length).sum();
    let mut done = 0;
    let tip = first.0.tip;
    let reached = Reached { position: first.0.bytes(), tip, synced: tip.last() };
    let mut log = LogRead {
        segment: (*first).clone(),
        reached,
        torn: None,
        unsure: SEGMENT_HEADER_BYTES,
        replayed: 0,
        applied: tip,
        decided: plan.decided.unwrap_or(KnownDecisions { index: u64::MAX, offset: OFFSET_MAX }),
        open: VecDeque::new(),
        fault: None,
        is_other: false,
        history,
        begins: first.0.number,
        splits: None,
    };
    if log.is_misnamed(plan) {
        return Ok(log);
    }
    for (index, segment) in segments.iter().enumerate() {
        let is_last = is_whole && index + 1 == segments.len();
        let (header, _, length) = segment;
        if let Some(what) = log.reached.tip.border_fault(&header.tip) {
            let at = Reached { position: 0, ..log.reached };
            log.fault = Some(damaged_at(header.number, &at, &what));
            return Ok(log);
        }
        log.segment = (*segment).clone();
        log.reached.position = header.bytes();
        let read = read_segment(plan, &mut log, replay);
        // The log may end here in the middle: what is behind is cut off or refused.
        let is_end = match read {
            Ok(is_end) => is_end,
            Err(error) if is_damage(&error) => {
                log.fault = Some(error);
                true
            }
            Err(error) => return Err(error),
        };
        if is_end || log.last() >= plan.limit {
            return Ok(log);
        }
        if is_last {
            return finish(plan, log);
        }
        // Before one that is broken itself, this may be the end.
        if index + 1 < segments.len() && log.reached.position != *length {
            let what = "a frame of an earlier segment is bad";
            log.fault = Some(damaged_at(header.number, &log.reached, what));
            return Ok(log);
        }
        done += length;
        progress(done, total);
    }
    let next = log.reached.tip.next;
    let broken = needed.iter().find_map(|place| place.as_ref().err());
    log.fault = broken.map(|error| error.clone().with("offset", next));
    Ok(log)
}

fn is_damage(error: &Error) -> bool {
    error.reason() == Some(reason::CORRUPT)
}

/// The first segment that is needed: the log must reach back to the checkpoint.
fn begin(plan: &RecoveryPlan<'_>, places: &[Result<OpenSegment>]) -> Result<usize> {
    let reaching = |next: Offset| {
        let reaches = |(header, ..): &OpenSegment| header.tip.next <= next;
        places.iter().rposition(|place| place.as_ref().is_ok_and(reaches))
    };
    // An end that is wanted is where its last effect is, not where the next one would be.
    let is_end = plan.limit == plan.after;
    let found = reaching(plan.after + u64::from(!is_end)).or_else(|| reaching(plan.after + 1));
    if let Some(at) = found {
        return Ok(at);
    }
    match places.iter().position(Result::is_ok) {
        Some(at) if !guards::enabled(Safeguard::SequenceGap) => return Ok(at),
        _ => {}
    }
    match places.first() {
        Some(Ok((header, ..))) => {
            let reached = Reached { position: 0, tip: header.tip, synced: header.tip.last() };
            let after = plan.after;
            let what = format!("the log begins here, but changes after offset {after} are needed");
            Err(damaged_at(header.number, &reached, &what))
        }
        Some(Err(error)) => Err(error.clone()),
        None => Err(missing_segment(plan.first_segment)),
    }
}

type OpenSegment = (SegmentHeader, Arc<dyn File>, u64);

/// The numbers of the segments that there are.
pub(crate) fn segment_numbers(storage: &dyn Storage) -> Result<Vec<u64>> {
    let names = match storage.list(LOG_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| io_error("reading the log directory", error))?,
    };
    Ok(names.iter().filter_map(|name| segment_number(name)).collect())
}

/// Opens every segment that there should be; one that is missing or damaged is an error in its place.
fn open_segments(plan: &RecoveryPlan<'_>) -> Result<Vec<Result<OpenSegment>>> {
    let mut expected = plan.first_segment;
    let mut places = Vec::new();
    for number in segment_numbers(plan.storage)? {
        // Each segment is marked before the next begins: what is further on was never part of the log.
        let is_beyond = plan.decided.is_some() && number > plan.last_segment + 1;
        if number < plan.first_segment || is_beyond {
            continue;
        }
        if number != expected && guards::enabled(Safeguard::SequenceGap) {
            places.push(Err(missing_segment(expected)));
        }
        expected = number + 1;
        match open_segment(plan.storage, number, &plan.database, plan.files) {
            Err(error) if !is_damage(&error) => return Err(error),
            place => places.push(place),
        }
    }
    if expected <= plan.last_segment && guards::enabled(Safeguard::SequenceGap) {
        places.push(Err(missing_segment(expected)));
    }
    Ok(places)
}

/// Opens a segment and reads its header.
pub(crate) fn open_segment(
    storage: &dyn Storage,
    number: u64,
    database: &[u8; 16],
    files: &LogFiles,
) -> Result<OpenSegment> {
    let path = segment_path(number);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => missing_segment(number),
        _ => io_error(&format!("reading {path}"), error),
    };
    let file = storage.open_to_read(&path).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    let read = file.read_full_at(&mut bytes, 0).map_err(failed)?;
    let head = bytes.get(..read).unwrap_or_default();
    let header = SegmentHeader::decode(head, &path, database, &files.sealer)?;
    if header.number != number {
        let what = format!("this is segment {} under another name", header.number);
        return Err(corrupt(&path, 0, &what));
    }
    Ok((header, file, length))
}

fn damaged_at(number: u64, reached: &Reached, what: &str) -> Error {
    corrupt(&segment_path(number), reached.position, what)
        .with("segment", number)
        .with("offset", reached.tip.next)
}

/// Replays the frames of the segment up to the first thing that is not one; says whether the limit was
/// reached before.
fn read_segment(
    plan: &RecoveryPlan<'_>,
    log: &mut LogRead,
    replay: &mut Replay<'_>,
) -> Result<bool> {
    let (header, file, length) = log.segment.clone();
    let mut segment = Segment::new(&header);
    let read = read_frames(plan, (&header, &*file, length), &mut segment, log, replay);
    segment.bytes = log.reached.position;
    // Frames without an offset of their own may come before the next.
    log.unsure = segment.place_before(log.reached.synced.max(plan.durable));
    plan.files.put(segment);
    read
}

fn read_frames(
    plan: &RecoveryPlan<'_>,
    (header, file, length): (&SegmentHeader, &dyn File, u64),
    segment: &mut Segment,
    log: &mut LogRead,
    replay: &mut Replay<'_>,
) -> Result<bool> {
    let path = segment_path(header.number);
    let mut window = Window::default();
    while log.reached.position < length {
        let reached = log.reached;
        let parsed = window
            .parse_at(file, reached.position, length, plan.files)
            .map_err(|error| io_error(&format!("reading {path}"), error))?;
        let (frame, payload, checksum) = match parsed {
            ParsedFrame::Frame { header, payload, checksum } => (header, payload, checksum),
            ParsedFrame::Newer { what, .. } => {
                return Err(newer_format(&path, reached.position, what));
            }
            ParsedFrame::Damaged(_) | ParsedFrame::Incomplete { .. } => break,
        };
        if let Some(what) = reached.tip.fault(header.format, &frame, &payload) {
            return Err(damaged_at(header.number, &reached, &what));
        }
        // A control frame is about what comes after it.
        if frame.flags & VOID == 0 && frame.first > plan.limit {
            return Ok(true);
        }
        if frame.has_effects() && frame.last() > plan.limit {
            log.splits = Some((frame.first - 1, frame.last()));
            return Ok(true);
        }
        if plan.decided.is_none() {
            log.replayed += read_frame(plan, header.number, (&frame, &payload), &reached, replay)?;
        }
        let frame_bytes = frame.frame_bytes() as u64;
        segment.note(reached.tip.next, frame.index, reached.position, frame_bytes);
        log.reached.position += frame_bytes;
        log.reached.tip.advance(&frame, checksum);
        log.reached.synced = frame.synced;
        match plan.decided {
            None => log.applied = log.reached.tip,
            Some(_) => {
                let payload = payload.into_owned();
                log.open.push_back(OpenFrame { header: frame, payload, tip: log.reached.tip });
                let known = reached.tip.last().saturating_sub(frame.uncommitted.into());
                log.decided.offset = log.decided.offset.max(known);
                replay_decided(plan, header.number, log, replay)?;
            }
        }
        if log.is_misnamed(plan) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replays the frames that are decided on: one that holds something decided is as a whole, and so is all before it.
fn replay_decided(
    plan: &RecoveryPlan<'_>,
    number: u64,
    log: &mut LogRead,
    replay: &mut Replay<'_>,
) -> Result<()> {
    let decided = log.decided;
    let is_decided = |OpenFrame { header, .. }: &OpenFrame| {
        header.index <= decided.index || (header.has_effects() && header.first <= decided.offset)
    };
    let Some(last) = log.open.iter().rposition(is_decided) else { return Ok(()) };
    for OpenFrame { header, payload, tip } in log.open.drain(..=last) {
        let reached = Reached { tip: log.applied, ..log.reached };
        log.replayed += read_frame(plan, number, (&header, &payload), &reached, replay)?;
        log.applied = tip;
    }
    Ok(())
}

/// Replays what a frame holds; returns how many effects that were.
fn read_frame(
    plan: &RecoveryPlan<'_>,
    number: u64,
    (frame, payload): (&FrameHeader, &[u8]),
    reached: &Reached,
    replay: &mut Replay<'_>,
) -> Result<u64> {
    let damaged = |what: &str| damaged_at(number, reached, what);
    if frame.kind == EPOCH && frame.flags & VOID == 0 {
        let epoch = Epoch::decode(frame, payload);
        let epoch = epoch.ok_or_else(|| damaged("an intact epoch frame makes no sense"))?;
        plan.files.lineage.lock().add(epoch.begins);
    }
    if frame.kind == MEMBERS && frame.flags & VOID == 0 {
        let said = GroupMembers::of(frame.index, frame.term, payload);
        let said = said.ok_or_else(|| damaged("an intact frame names no members"))?;
        let mut members = plan.files.members.lock();
        if members.as_ref().is_none_or(|known| known.index < said.index) {
            *members = Some(said);
        }
    }
    if !frame.has_effects() {
        return Ok(0);
    }
    let mut effects = Effects::new(frame.format, payload, frame.first);
    let mut replayed = 0;
    while let Some((offset, effect)) = effects.next() {
        // Behind one that is not known, nothing fits.
        if offset > plan.after && effects.fault().is_none() {
            replay(offset, &effect)?;
            replayed += 1;
        }
    }
    match effects.fault() {
        Some(Unreadable::Newer { kind }) => {
            Err(newer_format(&segment_path(number), reached.position, Newer::Effect(kind)))
        }
        None if effects.next_offset() == frame.last() + 1 => Ok(replayed),
        _ => Err(damaged("an intact frame holds no records")),
    }
}

/// Decides about the end of the last segment.
fn finish(plan: &RecoveryPlan<'_>, mut log: LogRead) -> Result<LogRead> {
    let (number, reached) = (log.segment.0.number, log.reached);
    match examine_tail(plan, &log) {
        Ok(torn) => log.torn = torn,
        Err(error) if is_damage(&error) => log.fault = Some(error),
        Err(error) => return Err(error),
    }
    if log.fault.is_none() && plan.durable >= reached.tip.next {
        let durable = plan.durable;
        let what =
            format!("the log ends before offset {durable}, which was on the disk for certain");
        log.fault = Some(damaged_at(number, &reached, &what));
    }
    Ok(log)
}

impl LogRead {
    /// The log must be the one that the checkpoint was written from.
    fn is_misnamed(&mut self, plan: &RecoveryPlan<'_>) -> bool {
        let Some(named) = &plan.named else { return false };
        if self.reached.tip.contradicts(named) {
            let what = "the frame before is not the one that the checkpoint names";
            self.is_other = true;
            self.fault = Some(damaged_at(self.segment.0.number, &self.reached, what));
        }
        self.is_other
    }

    /// The last effect.
    pub(crate) fn last(&self) -> Offset {
        self.reached.tip.last()
    }

    /// The segment that the log goes on in, and where.
    pub(crate) fn end(&self) -> (u64, u64) {
        (self.segment.0.number, self.reached.position)
    }

    /// The format of the segment that the log goes on in.
    pub(crate) fn format(&self) -> u32 {
        self.segment.0.format
    }

    /// The log as it is, for who writes nothing.
    pub(crate) fn unchanged(self) -> Recovered {
        let (header, file, length) = self.segment;
        let open = self.open.back().map(|open| {
            let effects = Effects::new(open.header.format, &open.payload, open.header.first);
            effects.last().map_or(0, |(_, effect)| effect.at)
        });
        let writer = WriterPosition {
            segment: header.number,
            format: header.format,
            position: self.reached.position,
            prepared: length,
            tip: self.reached.tip,
        };
        Recovered { file, writer, applied: self.applied, open_time: open.unwrap_or(0) }
    }

    /// Cuts an unfinished write off and makes sure that all of the log is on the disk.
    pub(crate) fn make_ready(self, storage: &dyn Storage) -> Result<Recovered> {
        let path = segment_path(self.segment.0.number);
        let failed = |error: io::Error| io_error(&format!("recovering {path}"), error);
        let (end, torn, unsure) = (self.reached.position, self.torn.clone(), self.unsure);
        let file = storage.open(&path).map_err(failed)?;
        let recovered = self.unchanged();
        let mut writer = recovered.writer;
        if let Some(torn) = &torn {
            tracing::warn!(
                "cut {} bytes of an unfinished write off {} at byte {}",
                torn.bytes,
                torn.file,
                torn.position
            );
            if guards::enabled(Safeguard::TruncateTail) {
                file.set_len(end).map_err(failed)?;
                writer.prepared = end;
            }
        }
        if !storage.is_volatile() {
            rewrite(&*file, unsure, end).map_err(failed)?;
            file.sync_data().map_err(failed)?;
            storage.sync_dir(LOG_DIRECTORY).map_err(failed)?;
        }
        Ok(Recovered { file, writer, ..recovered })
    }
}

/// Writes what is not known to be on the disk once more, so that the sync to come covers it.
///
/// It was read, perhaps from the system's cache only: a sync that failed for the former process leaves
/// there, marked as clean, what never got to the disk, and no later sync would write it.
fn rewrite(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(to.saturating_sub(from).min(1 << 20)).unwrap_or(0)];
    let mut at = from;
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let read = file.read_full_at(piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(piece.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    Ok(())
}

/// Tells a clean end and a torn tail from damage.
fn examine_tail(plan: &RecoveryPlan<'_>, log: &LogRead) -> Result<Option<TornTail>> {
    let (reached, (header, file, length)) = (&log.reached, &log.segment);
    let bytes = usize::try_from(length - reached.position).unwrap_or(usize::MAX);
    let mut rest = vec![0; bytes];
    let path = segment_path(header.number);
    let read = file
        .read_full_at(&mut rest, reached.position)
        .map_err(|error| io_error(&format!("reading {path}"), error))?;
    rest.truncate(read);
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    // Not every later frame knows: one that was written before the next sync does not.
    let next = reached.tip.next;
    match frame::find(&rest, &plan.files.sealer, |later| later.synced >= next) {
        Some((at, _, Some(what))) => {
            return Err(newer_format(&path, reached.position + at as u64, what));
        }
        Some((at, later, None)) => {
            let what = format!(
                "no frame here, but the intact one at byte {} (offset {}) knew it to be on the disk",
                reached.position + at as u64,
                later.first
            );
            return Err(damaged_at(header.number, reached, &what));
        }
        None => {}
    }
    Ok(Some(TornTail { file: path, position: reached.position, bytes: bytes as u64 }))
}
