//! Reading the log back after a stop of whatever kind.
//!
//! A torn tail, the trace of a write that was never acknowledged, is cut off. Anything else that is
//! not right is damage and refuses the start: history is never shortened quietly. The two are told
//! apart by what later bytes prove: an intact frame that knew the bad place to be on the disk, the
//! header of a later segment, or the manifest's durable mark.

use std::io;
use std::sync::Arc;

use rstmdb_types::{Offset, Result};

use super::effects::{Effects, Unreadable};
use super::files::{LogFiles, Segment, Window};
use super::frame::{self, EPOCH, FrameHeader, ParsedFrame};
use super::kinds::Effect;
use super::lineage::Epoch;
use super::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, missing_segment, segment_number,
    segment_path,
};
use super::tip::{Named, Tip};
use super::writer::WriterPosition;
use crate::error::{Newer, corrupt, io as io_error, newer_format};
use crate::guards::{self, Safeguard};
use crate::storage::{File, Storage};

/// What recovery must know before it reads the log.
pub(crate) struct RecoveryPlan<'a> {
    pub storage: &'a dyn Storage,
    pub database: [u8; 16],
    pub files: &'a LogFiles,
    /// The first segment the manifest counts on; older files are left-overs.
    pub first_segment: u64,
    /// Effects up to here are in the checkpoint.
    pub after: Offset,
    /// Effects up to here were on the disk for certain.
    pub durable: Offset,
    /// The frame that the checkpoint names.
    pub named: Option<Named>,
}

/// A piece at the end of the log that was no whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TornTail {
    file: String,
    position: u64,
    bytes: u64,
}

/// What recovery found.
pub(crate) struct Recovered {
    pub file: Arc<dyn File>,
    pub writer: WriterPosition,
    pub replayed: u64,
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

/// Replays everything after the checkpoint and makes the log ready for appending.
pub(crate) fn recover(
    plan: &RecoveryPlan<'_>,
    replay: &mut Replay<'_>,
    progress: &ReplayProgress<'_>,
) -> Result<Recovered> {
    let segments = open_segments(plan)?;
    let Some(last) = segments.last() else { return Err(missing_segment(plan.first_segment)) };
    let starts: Vec<Offset> =
        segments.iter().skip(1).map(|(header, ..)| header.tip.next).chain([Offset::MAX]).collect();
    let total: u64 = segments.iter().map(|(.., length)| length).sum();
    let mut done = 0;
    let mut replayed = 0;
    let mut end: Option<Reached> = None;
    let mut unsure = SEGMENT_HEADER_BYTES;
    for ((header, file, length), next_start) in segments.iter().zip(&starts) {
        let mut segment = Segment::new(header);
        let is_last = header.number == last.0.number;
        if !is_last && *next_start <= plan.after + 1 {
            segment.bytes = *length;
            plan.files.put(segment);
            continue;
        }
        let mut reached = match end.take() {
            Some(reached) => reached,
            None => begin(plan, header)?,
        };
        if let Some(what) = reached.tip.border_fault(&header.tip) {
            return Err(damaged_at(header.number, &Reached { position: 0, ..reached }, &what));
        }
        reached.position = segment.start;
        replayed +=
            read_segment(plan, (header, &**file, *length), &mut segment, &mut reached, replay)?;
        if !is_last && reached.position != *length {
            return Err(damaged_at(
                header.number,
                &reached,
                "a frame of an earlier segment is bad",
            ));
        }
        segment.bytes = reached.position;
        // Frames without an offset of their own may come before the next.
        unsure = segment.place_before(reached.synced.max(plan.durable));
        plan.files.put(segment);
        done += length;
        progress(done, total);
        end = Some(reached);
    }
    let Some(reached) = end else { return Err(missing_segment(plan.first_segment)) };
    finish(plan, last, reached, unsure, replayed)
}

/// The start of the first segment that is read: the log must reach back to the checkpoint.
fn begin(plan: &RecoveryPlan<'_>, header: &SegmentHeader) -> Result<Reached> {
    let reached = Reached { position: 0, tip: header.tip, synced: header.tip.last() };
    check_named(plan, header.number, &reached)?;
    if header.tip.next <= plan.after + 1 || !guards::enabled(Safeguard::SequenceGap) {
        return Ok(reached);
    }
    let what = format!("the log begins here, but changes after offset {} are needed", plan.after);
    Err(damaged_at(header.number, &reached, &what))
}

type OpenSegment = (SegmentHeader, Arc<dyn File>, u64);

/// Opens every segment, removes left-overs, and checks that none is missing.
fn open_segments(plan: &RecoveryPlan<'_>) -> Result<Vec<OpenSegment>> {
    let failed = |error: io::Error| io_error("reading the log directory", error);
    let mut expected = plan.first_segment;
    let mut segments = Vec::new();
    for name in plan.storage.list(LOG_DIRECTORY).map_err(failed)? {
        let path = format!("{LOG_DIRECTORY}/{name}");
        let Some(number) = segment_number(&name) else {
            if name.ends_with(".tmp") {
                plan.storage.remove(&path).map_err(failed)?;
            }
            continue;
        };
        if number < plan.first_segment {
            plan.storage.remove(&path).map_err(failed)?;
            continue;
        }
        if number != expected && guards::enabled(Safeguard::SequenceGap) {
            return Err(missing_segment(expected));
        }
        expected = number + 1;
        let read_failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let file = plan.storage.open(&path).map_err(read_failed)?;
        let length = file.len().map_err(read_failed)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_full_at(&mut bytes, 0).map_err(read_failed)?;
        let head = bytes.get(..read).unwrap_or_default();
        let header = SegmentHeader::decode(head, &path, &plan.database, &plan.files.sealer)?;
        if header.number != number {
            return Err(corrupt(&path, 0, "the segment was renamed"));
        }
        segments.push((header, file, length));
    }
    Ok(segments)
}

fn damaged_at(number: u64, reached: &Reached, what: &str) -> rstmdb_types::Error {
    corrupt(&segment_path(number), reached.position, what)
        .with("segment", number)
        .with("offset", reached.tip.next)
}

/// The log must be the one that the checkpoint was written from.
fn check_named(plan: &RecoveryPlan<'_>, number: u64, reached: &Reached) -> Result<()> {
    match &plan.named {
        Some(named) if reached.tip.contradicts(named) => Err(damaged_at(
            number,
            reached,
            "the frame before is not the one that the checkpoint names",
        )),
        _ => Ok(()),
    }
}

/// Replays the frames of one segment up to the first thing that is not one.
fn read_segment(
    plan: &RecoveryPlan<'_>,
    (header, file, length): (&SegmentHeader, &dyn File, u64),
    segment: &mut Segment,
    reached: &mut Reached,
    replay: &mut Replay<'_>,
) -> Result<u64> {
    let path = segment_path(header.number);
    let mut window = Window::default();
    let mut replayed = 0;
    while reached.position < length {
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
            return Err(damaged_at(header.number, reached, &what));
        }
        replayed += read_frame(plan, header.number, (&frame, &payload), reached, replay)?;
        let frame_bytes = frame.frame_bytes() as u64;
        segment.note(reached.tip.next, reached.position, frame_bytes);
        reached.position += frame_bytes;
        reached.tip.advance(&frame, checksum);
        reached.synced = frame.synced;
        check_named(plan, header.number, reached)?;
    }
    Ok(replayed)
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
    if frame.kind == EPOCH {
        let epoch = Epoch::decode(frame, payload);
        let epoch = epoch.ok_or_else(|| damaged("an intact epoch frame makes no sense"))?;
        plan.files.lineage.lock().add(epoch.begins);
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

/// Decides about the end of the last segment and makes it ready.
fn finish(
    plan: &RecoveryPlan<'_>,
    (header, file, length): &OpenSegment,
    reached: Reached,
    unsure: u64,
    replayed: u64,
) -> Result<Recovered> {
    let path = segment_path(header.number);
    let failed = |error: io::Error| io_error(&format!("recovering {path}"), error);
    let torn = examine_tail(plan, header.number, &**file, *length, &reached)?;
    if plan.durable >= reached.tip.next {
        return Err(damaged_at(
            header.number,
            &reached,
            &format!(
                "the log ends before offset {}, which was on the disk for certain",
                plan.durable
            ),
        ));
    }
    let mut prepared = *length;
    if let Some(torn) = &torn {
        tracing::warn!(
            "cut {} bytes of an unfinished write off {} at byte {}",
            torn.bytes,
            torn.file,
            torn.position
        );
        if guards::enabled(Safeguard::TruncateTail) {
            file.set_len(reached.position).map_err(failed)?;
            prepared = reached.position;
        }
    }
    if !plan.storage.is_volatile() {
        rewrite(&**file, unsure, reached.position).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        plan.storage.sync_dir(LOG_DIRECTORY).map_err(failed)?;
    }
    let writer = WriterPosition {
        segment: header.number,
        format: header.format,
        position: reached.position,
        prepared,
        tip: reached.tip,
    };
    Ok(Recovered { file: file.clone(), writer, replayed })
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
fn examine_tail(
    plan: &RecoveryPlan<'_>,
    number: u64,
    file: &dyn File,
    length: u64,
    reached: &Reached,
) -> Result<Option<TornTail>> {
    let bytes = usize::try_from(length - reached.position).unwrap_or(usize::MAX);
    let mut rest = vec![0; bytes];
    let path = segment_path(number);
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
            return Err(damaged_at(number, reached, &what));
        }
        None => {}
    }
    Ok(Some(TornTail { file: path, position: reached.position, bytes: bytes as u64 }))
}
