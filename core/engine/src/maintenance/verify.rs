//! Reads every byte of a closed database and says what is wrong and what helps. Changes nothing.

use std::io;

use rstmdb_types::{Offset, Result};
use serde::Serialize;

use super::{is_newer, lock_existing};
use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::{LoadedCheckpoint, Loading};
use crate::error::{Newer, io as io_error, newer_format};
use crate::log::effects::{Effects, Unreadable};
use crate::log::files::Window;
use crate::log::frame::{self, EPOCH, FrameHeader, ParsedFrame};
use crate::log::lineage::Epoch;
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, segment_number, segment_path,
};
use crate::log::tip::{Named, Tip};
use crate::log::{FrameCursor, LogFiles, Sealer, Segment};
use crate::manifest::Manifest;
use crate::options::{Location, Options};
use crate::replay::Replayer;
use crate::state::State;
use crate::storage::File;

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The id the database was given when it was created.
    pub database_id: String,
    /// Whether nothing is wrong. A torn tail is not wrong: the next start cuts it off.
    pub ok: bool,
    /// The first offset in the log.
    pub first_offset: Offset,
    /// The last offset up to which the log is whole.
    pub last_offset: Offset,
    /// Bytes of an unfinished write at the end of the log; no acknowledged change is among them.
    pub torn_tail_bytes: u64,
    /// The segments in order.
    pub segments: Vec<SegmentReport>,
    /// The checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointReport>,
    /// What is wrong, in the order it was found.
    pub problems: Vec<Problem>,
}

/// One segment of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// The file.
    pub file: String,
    /// The first offset in it.
    pub first_offset: Offset,
    /// Intact frames.
    pub frames: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of header and intact frames.
    pub bytes: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointReport {
    /// The file.
    pub file: String,
    /// Changes up to this offset are in it.
    pub offset: Offset,
    /// Instances in it, deleted ones included.
    pub instances: u64,
    /// Whether all of it is intact.
    pub ok: bool,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The byte where it begins.
    pub position: u64,
    /// The offset that was expected there, in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub remedy: String,
}

/// Reads all of a closed database.
///
/// Errors: `NOT_FOUND` when there is none, reason `locked` when it is open somewhere, reason `corrupt`
/// when the manifest itself is damaged, reason `newer_format` when a later release wrote something that
/// is intact. Everything else that is wrong is in the report.
pub fn verify(location: &Location) -> Result<VerifyReport> {
    let (_lock, manifest) = lock_existing(location)?;
    let report = VerifyReport {
        database_id: manifest.database_id.clone(),
        ok: true,
        first_offset: manifest.first_offset,
        last_offset: 0,
        torn_tail_bytes: 0,
        segments: Vec::new(),
        checkpoints: Vec::new(),
        problems: Vec::new(),
    };
    let database = manifest.database()?;
    let files = LogFiles::new(location.storage.clone(), Sealer::plain(&database));
    let manifest = &manifest;
    let mut verifier = Verifier { location, manifest, database, files, report, named: Vec::new() };
    verifier.checkpoints()?;
    verifier.log()?;
    if verifier.report.problems.is_empty() {
        verifier.replay()?;
    }
    let mut report = verifier.report;
    report.ok = report.problems.is_empty();
    Ok(report)
}

struct Verifier<'a> {
    location: &'a Location,
    manifest: &'a Manifest,
    database: [u8; 16],
    files: LogFiles,
    report: VerifyReport,
    /// The frames that checkpoints name.
    named: Vec<Named>,
}

impl Verifier<'_> {
    fn problem(&mut self, file: &str, at: (u64, Option<Offset>), message: &str, remedy: String) {
        self.report.problems.push(Problem {
            file: file.to_owned(),
            position: at.0,
            offset: at.1,
            message: message.to_owned(),
            remedy,
        });
    }

    fn checkpoints(&mut self) -> Result<()> {
        let entries = self.manifest.checkpoints.clone();
        for (index, entry) in entries.iter().enumerate() {
            let path = checkpoint_path(&entry.file);
            let verified = match self.location.storage.open(&path) {
                Ok(file) => BlockReader::open(&*file, &path, &self.database).and_then(|reader| {
                    self.named.extend(reader.head.named);
                    reader.verify().map(|_| ())
                }),
                Err(error) => Err(io_error(&format!("opening {path}"), error)),
            };
            self.report.checkpoints.push(CheckpointReport {
                file: path.clone(),
                offset: entry.offset,
                instances: entry.instances,
                ok: verified.is_ok(),
            });
            if let Err(error) = verified {
                if is_newer(&error) {
                    return Err(error);
                }
                let reaches = index > 0 || self.manifest.first_offset == 1;
                let remedy = if reaches {
                    "open the database: the log and what is older replace this checkpoint; then \
                     `rstmdb-cli compact` writes a new one"
                } else {
                    "restore the file from a backup: nothing else holds the state it had"
                };
                let position = error.context().get("position").and_then(|at| at.as_u64());
                let at = (position.unwrap_or(0), None);
                self.problem(&path, at, error.message(), remedy.to_owned());
            }
        }
        Ok(())
    }

    fn log(&mut self) -> Result<()> {
        let failed = |error: io::Error| io_error("reading the log directory", error);
        let mut numbers: Vec<u64> = self
            .location
            .storage
            .list(LOG_DIRECTORY)
            .map_err(failed)?
            .iter()
            .filter_map(|name| segment_number(name))
            .filter(|number| *number >= self.manifest.first_segment)
            .collect();
        numbers.sort_unstable();
        let mut expected = self.manifest.first_segment;
        let mut tip: Option<Tip> = None;
        let last = numbers.last().copied();
        for number in numbers {
            if number != expected {
                let next = tip.take().map(|tip| tip.next);
                let remedy = cut_or_restore(next);
                let path = segment_path(expected);
                self.problem(&path, (0, next), "the segment is missing", remedy);
            }
            expected = number + 1;
            tip = self.segment(number, tip, Some(number) == last)?;
        }
        let end = self.report.last_offset;
        if last.is_none() || end < self.manifest.durable_offset {
            let message = format!(
                "the log ends at offset {end}, but offset {} was on the disk for certain",
                self.manifest.durable_offset
            );
            if self.report.problems.is_empty() {
                let remedy = cut_or_restore(Some(end + 1));
                let file = segment_path(last.unwrap_or(self.manifest.first_segment));
                self.problem(&file, (0, Some(end + 1)), &message, remedy);
            }
        }
        Ok(())
    }

    /// Does what opening does, in memory: intact files may still not fit each other.
    fn replay(&mut self) -> Result<()> {
        let options = Options::default();
        let state = State::new(&options, 0);
        let storage = &*self.location.storage;
        let database = self.database;
        let newest = self.manifest.checkpoints.last();
        let after = match newest {
            Some(checkpoint) => {
                let progress = &|_, _| {};
                let loading = Loading { storage, database, progress };
                loading.load(&checkpoint.file, &state)?
            }
            None => LoadedCheckpoint::default(),
        };
        state.begin_replay(after.newest);
        let after = after.offset;
        let mut replayer = Replayer::new(&state);
        let mut cursor = FrameCursor::new(&self.files, after + 1);
        while cursor.next <= self.report.last_offset {
            let Some(frame) = cursor.next(&self.files)? else { break };
            for (offset, effect) in frame.effects().filter(|(offset, _)| *offset > after) {
                if let Err(error) = replayer.apply(offset, &effect) {
                    let remedy = cut_or_restore(Some(offset));
                    let file = newest
                        .map_or(LOG_DIRECTORY.to_owned(), |newest| checkpoint_path(&newest.file));
                    self.problem(&file, (0, Some(offset)), error.message(), remedy);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads one segment; returns where the log goes on, or nothing when it is broken before that.
    fn segment(&mut self, number: u64, before: Option<Tip>, is_last: bool) -> Result<Option<Tip>> {
        let path = segment_path(number);
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let file = self.location.storage.open(&path).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_full_at(&mut bytes, 0).map_err(failed)?;
        let head = bytes.get(..read).unwrap_or_default();
        let next = before.map(|tip| tip.next);
        let header = match SegmentHeader::decode(head, &path, &self.database, &self.files.sealer) {
            Ok(header) => header,
            Err(error) if is_newer(&error) => return Err(error),
            Err(error) => {
                self.problem(&path, (0, next), error.message(), cut_or_restore(next));
                return Ok(None);
            }
        };
        if header.number != number {
            let message = format!("this is segment {} under another name", header.number);
            self.problem(&path, (0, next), &message, cut_or_restore(next));
            return Ok(None);
        }
        if let Some(message) = before.and_then(|tip| tip.border_fault(&header.tip)) {
            self.problem(&path, (0, next), &message, cut_or_restore(next));
        }
        self.report.segments.push(SegmentReport {
            file: path.clone(),
            first_offset: header.tip.next,
            frames: 0,
            changes: 0,
            bytes: header.bytes(),
        });
        self.frames((&path, &*file, length), &header, is_last)
    }

    fn frames(
        &mut self,
        (path, file, length): (&str, &dyn File, u64),
        header: &SegmentHeader,
        is_last: bool,
    ) -> Result<Option<Tip>> {
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let whole_so_far = self.report.problems.is_empty();
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
                    broken = tip.fault(header.format, &frame, &payload).or(content_fault(
                        &frame,
                        &payload,
                        (path, position),
                    )?);
                    if broken.is_none() {
                        position += frame.frame_bytes() as u64;
                        tip.advance(&frame, checksum);
                        broken = self.misnamed(&tip);
                        if let Some(segment) = self.report.segments.last_mut() {
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
        if whole_so_far {
            self.report.last_offset = tip.last();
        }
        let is_certain = broken.is_some();
        let what = broken.or(unreadable.map(str::to_owned));
        let Some(what) = what else { return Ok(Some(tip)) };
        let mut rest = vec![0; usize::try_from(length - position).unwrap_or(usize::MAX)];
        let read = file.read_full_at(&mut rest, position).map_err(failed)?;
        rest.truncate(read);
        self.tail((path, position, &rest), tip, &what, is_last && !is_certain)
    }

    /// Tells damage from a tail that may be torn, at a place where there is no frame that follows.
    fn tail(
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
            self.report.torn_tail_bytes = if clean { 0 } else { rest.len() as u64 };
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
        let remedy = cut_or_restore(Some(tip.next));
        self.problem(path, (position, Some(tip.next)), &message, remedy);
        Ok(None)
    }

    /// What is wrong when the last frame is another one than a checkpoint names.
    fn misnamed(&self, tip: &Tip) -> Option<String> {
        let is_other = self.named.iter().any(|named| tip.contradicts(named));
        is_other.then(|| "the frame before is not the one that a checkpoint names".to_owned())
    }
}

fn cut_or_restore(next: Option<Offset>) -> String {
    match next {
        Some(next) => format!(
            "restore the file from a backup, or give up everything after offset {0}: \
             `rstmdb-cli repair --to {0}`",
            next - 1
        ),
        None => "restore the file from a backup".to_owned(),
    }
}

/// What is wrong inside an intact frame.
fn content_fault(
    header: &FrameHeader,
    payload: &[u8],
    (path, position): (&str, u64),
) -> Result<Option<String>> {
    if header.kind == EPOCH && Epoch::decode(header, payload).is_none() {
        return Ok(Some("an intact epoch frame makes no sense".to_owned()));
    }
    if !header.has_effects() {
        return Ok(None);
    }
    let mut effects = Effects::new(header.format, payload, header.first);
    effects.by_ref().for_each(drop);
    match effects.fault() {
        Some(Unreadable::Newer { kind }) => Err(newer_format(path, position, Newer::Effect(kind))),
        None if effects.next_offset() == header.last() + 1 => Ok(None),
        _ => Ok(Some("an intact frame holds no records".to_owned())),
    }
}
