//! Reads every byte of a closed database, needed for an opening or not, and lists what is wrong.

use std::io;
use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{CheckpointReport, Error, Offset, Result, SegmentReport};

use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::open_checkpoint;
use crate::error::{Newer, damage, io as io_error, is_newer, newer_format};
use crate::log::effects::{Effects, Unreadable};
use crate::log::files::Window;
use crate::log::frame::{self, EPOCH, FrameHeader, MEMBERS, ParsedFrame};
use crate::log::kinds::{Body, Mark};
use crate::log::lineage::Epoch;
use crate::log::members::GroupMembers;
use crate::log::recovery::{open_segment, segment_numbers};
use crate::log::segment::{SegmentHeader, segment_path};
use crate::log::tip::{Named, Tip};
use crate::log::{LogFiles, Sealer, Segment};
use crate::manifest::Manifest;
use crate::storage::{File, Storage};

/// Something that is wrong.
#[derive(Clone)]
pub(crate) struct ScanFault {
    pub file: String,
    pub position: u64,
    /// The offset that was expected there, in the log.
    pub offset: Option<Offset>,
    pub message: String,
}

/// A segment and its first offset. In a stretch of them every frame goes on from the one before.
#[derive(Clone, Copy)]
struct SegmentStart {
    segment: u64,
    first: Offset,
}

/// What was found.
pub(crate) struct Scan {
    storage: Arc<dyn Storage>,
    manifest: Manifest,
    database: [u8; 16],
    files: LogFiles,
    pub segments: Vec<SegmentReport>,
    pub checkpoints: Vec<CheckpointReport>,
    pub faults: Vec<ScanFault>,
    pub torn_tail_bytes: u64,
    /// The intact segments with the first offset of each, and where a stretch begins among them.
    firsts: Vec<SegmentStart>,
    stretches: Vec<SegmentStart>,
    /// The newest change that anything knows of.
    pub known: Offset,
    /// Where the intact log stands alone, as the manifest's boundaries.
    pub boundaries: Vec<Offset>,
    /// The frames that checkpoints name.
    named: Vec<Named>,
}

impl Scan {
    pub(crate) fn of(storage: &Arc<dyn Storage>, manifest: &Manifest) -> Result<Scan> {
        let database = manifest.database()?;
        let mut scan = Scan {
            storage: storage.clone(),
            manifest: manifest.clone(),
            database,
            files: LogFiles::new(storage.clone(), Sealer::plain(&database)),
            segments: Vec::new(),
            checkpoints: Vec::new(),
            faults: Vec::new(),
            torn_tail_bytes: 0,
            firsts: Vec::new(),
            stretches: Vec::new(),
            known: manifest.durable_offset,
            boundaries: manifest.boundaries.clone(),
            named: Vec::new(),
        };
        scan.read_checkpoints()?;
        scan.read_log()?;
        scan.boundaries.sort_unstable();
        scan.boundaries.dedup();
        Ok(scan)
    }

    fn fault(&mut self, file: &str, at: (u64, Option<Offset>), message: &str) {
        let (file, message) = (file.to_owned(), message.to_owned());
        self.faults.push(ScanFault { file, position: at.0, offset: at.1, message });
    }

    fn damage(&mut self, file: &str, offset: Option<Offset>, error: &Error) -> Result<()> {
        if is_newer(error) {
            return Err(error.clone());
        }
        let position = error.context().get("position").and_then(|at| at.as_u64());
        self.fault(file, (position.unwrap_or(0), offset), damage(error));
        Ok(())
    }

    fn read_checkpoints(&mut self) -> Result<()> {
        for entry in self.manifest.checkpoints.clone() {
            let path = checkpoint_path(&entry.file);
            let mut named = None;
            let verified = open_checkpoint(&*self.storage, &path).and_then(|file| {
                let reader = BlockReader::open(&*file, &path, &self.database)?;
                named = reader.head.named;
                reader.verify()
            });
            self.checkpoints.push(CheckpointReport {
                file: path.clone(),
                offset: entry.offset,
                instances: entry.instances,
                ok: verified.is_ok(),
            });
            self.known = self.known.max(entry.offset);
            match verified {
                Ok(_) => self.named.extend(named),
                Err(error) => self.damage(&path, None, &error)?,
            }
        }
        Ok(())
    }

    fn read_log(&mut self) -> Result<()> {
        let numbers = segment_numbers(&*self.storage)?;
        let first = self.manifest.first_segment;
        let numbers: Vec<u64> = numbers.into_iter().filter(|number| *number >= first).collect();
        let newest = numbers.last().copied().unwrap_or(0).max(self.manifest.last_segment);
        let mut expected = first;
        let mut tip: Option<Tip> = None;
        for number in numbers {
            if number != expected {
                self.missing(expected, tip.take());
            }
            expected = number + 1;
            tip = self.read_segment(number, tip, number == newest)?;
        }
        if expected <= newest || expected == first {
            self.missing(expected, tip);
        } else if let Some(tip) = tip.filter(|tip| tip.last() < self.manifest.durable_offset) {
            let message = format!(
                "the log ends at offset {}, but offset {} was on the disk for certain",
                tip.last(),
                self.manifest.durable_offset
            );
            self.fault(&segment_path(newest), (0, Some(tip.next)), &message);
        }
        Ok(())
    }

    fn missing(&mut self, number: u64, tip: Option<Tip>) {
        let next = tip.map(|tip| tip.next);
        self.fault(&segment_path(number), (0, next), "the segment is missing");
    }

    /// Where the history begins that is whole up to a segment; nothing when all of it is.
    pub(crate) fn history_from(&self, segment: u64) -> Option<Offset> {
        let stretch = self.stretches.iter().rfind(|stretch| stretch.segment <= segment)?;
        (stretch.segment > self.manifest.first_segment).then_some(stretch.first)
    }

    /// The segment that an offset is in, if it is intact.
    pub(crate) fn segment_with(&self, offset: Offset) -> Option<u64> {
        let start = self.firsts.iter().rfind(|start| start.first <= offset)?;
        Some(start.segment)
    }

    /// Reads one segment; returns where the log goes on, or nothing when it is broken before that.
    fn read_segment(
        &mut self,
        number: u64,
        before: Option<Tip>,
        is_last: bool,
    ) -> Result<Option<Tip>> {
        let path = segment_path(number);
        let next = before.map(|tip| tip.next);
        let opened = open_segment(&*self.storage, number, &self.database, &self.files);
        let (header, file, length) = match opened {
            Ok(opened) => opened,
            Err(error) if error.reason() != Some(reason::IO) => {
                self.damage(&path, next, &error)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let border = before.and_then(|tip| tip.border_fault(&header.tip));
        let start = SegmentStart { segment: number, first: header.tip.next };
        if before.is_none() || border.is_some() {
            self.stretches.push(start);
        }
        self.firsts.push(start);
        if let Some(message) = border {
            self.fault(&path, (0, next), &message);
        }
        self.known = self.known.max(header.tip.last());
        self.segments.push(SegmentReport {
            file: path.clone(),
            first_offset: header.tip.next,
            frames: 0,
            changes: 0,
            bytes: header.bytes(),
        });
        self.read_frames((&path, &*file, length), &header, is_last)
    }

    fn read_frames(
        &mut self,
        (path, file, length): (&str, &dyn File, u64),
        header: &SegmentHeader,
        is_last: bool,
    ) -> Result<Option<Tip>> {
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let mut segment = Segment::new(header);
        let mut window = Window::default();
        let mut tip = header.tip;
        let mut position = header.bytes();
        // What is wrong with an intact frame is no trace of an unfinished write.
        let mut broken = self.misnamed(&tip);
        let mut unreadable = None;
        while position < length && broken.is_none() && unreadable.is_none() {
            let parsed = window.parse_at(file, position, length, &self.files).map_err(failed)?;
            match parsed {
                ParsedFrame::Frame { header: frame, payload, checksum } => {
                    let boundaries = &mut self.boundaries;
                    broken = tip.fault(header.format, &frame, &payload).or(content_fault(
                        (&frame, &payload),
                        (path, position),
                        boundaries,
                    )?);
                    if broken.is_none() {
                        position += frame.frame_bytes() as u64;
                        tip.advance(&frame, checksum);
                        broken = self.misnamed(&tip);
                        if let Some(segment) = self.segments.last_mut() {
                            segment.frames += 1;
                            segment.changes +=
                                if frame.has_effects() { frame.count.into() } else { 0 };
                            segment.bytes = position;
                        }
                    }
                }
                ParsedFrame::Damaged(what) => unreadable = Some(what),
                ParsedFrame::Incomplete { .. } => unreadable = Some("the frame is cut off"),
                ParsedFrame::Newer { what, .. } => return Err(newer_format(path, position, what)),
            }
        }
        segment.bytes = position;
        self.files.put(segment);
        self.known = self.known.max(tip.last());
        let is_certain = broken.is_some();
        let what = broken.or(unreadable.map(str::to_owned));
        let Some(what) = what else { return Ok(Some(tip)) };
        let mut rest = vec![0; usize::try_from(length - position).unwrap_or(usize::MAX)];
        let read = file.read_full_at(&mut rest, position).map_err(failed)?;
        rest.truncate(read);
        self.read_tail((path, position, &rest), tip, &what, is_last && !is_certain)
    }

    /// Tells damage from a tail that may be torn, at a place where there is no frame that follows.
    fn read_tail(
        &mut self,
        (path, position, rest): (&str, u64, &[u8]),
        tip: Tip,
        what: &str,
        may_be_torn: bool,
    ) -> Result<Option<Tip>> {
        let find = |fits: &dyn Fn(&FrameHeader) -> bool| -> Result<Option<(u64, FrameHeader)>> {
            match frame::find(rest, &self.files.sealer, fits) {
                Some((at, _, Some(what))) => Err(newer_format(path, position + at as u64, what)),
                found => Ok(found.map(|(at, header, _)| (position + at as u64, header))),
            }
        };
        let proof = find(&|later| later.synced >= tip.next)?;
        let promised = self.manifest.durable_offset >= tip.next;
        if may_be_torn && proof.is_none() && !promised {
            let clean = rest.iter().all(|byte| *byte == 0);
            self.torn_tail_bytes = if clean { 0 } else { rest.len() as u64 };
            return Ok(Some(tip));
        }
        let later = match proof {
            None => find(&|later| later.first >= tip.next)?,
            proof => proof,
        };
        let message = match later {
            Some((at, later)) => format!(
                "{what}; the next intact frame is at byte {at} and begins with offset {}",
                later.first
            ),
            None => what.to_owned(),
        };
        self.known = self.known.max(later.map_or(0, |(_, later)| later.last()));
        self.fault(path, (position, Some(tip.next)), &message);
        Ok(None)
    }

    /// What is wrong when the last frame is another one than a checkpoint names.
    fn misnamed(&self, tip: &Tip) -> Option<String> {
        let is_other = self.named.iter().any(|named| tip.contradicts(named));
        is_other.then(|| "the frame before is not the one that a checkpoint names".to_owned())
    }
}

/// What is wrong inside an intact frame; notes where the log stands alone.
fn content_fault(
    (header, payload): (&FrameHeader, &[u8]),
    (path, position): (&str, u64),
    boundaries: &mut Vec<Offset>,
) -> Result<Option<String>> {
    if header.kind == EPOCH && Epoch::decode(header, payload).is_none() {
        return Ok(Some("an intact epoch frame makes no sense".to_owned()));
    }
    if header.kind == MEMBERS && GroupMembers::of(header.index, header.term, payload).is_none() {
        return Ok(Some("an intact frame names no members".to_owned()));
    }
    if !header.has_effects() {
        return Ok(None);
    }
    let mut effects = Effects::new(header.format, payload, header.first);
    for (offset, effect) in effects.by_ref() {
        if matches!(effect.body, Body::Mark(Mark { is_boundary: true, .. })) {
            boundaries.push(offset.saturating_sub(1));
        }
    }
    match effects.fault() {
        Some(Unreadable::Newer { kind }) => Err(newer_format(path, position, Newer::Effect(kind))),
        None if effects.next_offset() == header.last() + 1 => Ok(None),
        _ => Ok(Some("an intact frame holds no records".to_owned())),
    }
}
