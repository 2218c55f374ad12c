//! Reads every byte of a closed database and says what is wrong and what helps. Changes nothing.

use std::io;

use rstmdb_types::{Offset, Result};
use serde::Serialize;

use super::lock_existing;
use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::{Loaded, Loading};
use crate::error::io as io_error;
use crate::log::files::Window;
use crate::log::frame::{self, FrameHeader, Parsed};
use crate::log::segment::{
    LOG_DIRECTORY, SEGMENT_HEADER_BYTES, SegmentHeader, database_seed, segment_number, segment_path,
};
use crate::log::{FrameCursor, LogFiles, Segment};
use crate::manifest::Manifest;
use crate::options::{Location, Options};
use crate::replay::Replayer;
use crate::shared::State;
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
/// when the manifest itself is damaged. Everything else that is wrong is in the report.
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
    let files = LogFiles::new(location.storage.clone(), database_seed(&database));
    let known = Segment::new(0, 1, 0);
    let manifest = &manifest;
    let mut verifier = Verifier { location, manifest, database, files, report, known };
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
    /// The segment that is read.
    known: Segment,
}

/// Where the log is known to be whole.
struct Chain {
    next: Offset,
    previous: u32,
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
                Ok(file) => BlockReader::open(&*file, &path, &self.database)
                    .and_then(BlockReader::verify)
                    .map(|_| ()),
                Err(error) => Err(io_error(&format!("opening {path}"), error)),
            };
            self.report.checkpoints.push(CheckpointReport {
                file: path.clone(),
                offset: entry.offset,
                instances: entry.instances,
                ok: verified.is_ok(),
            });
            if let Err(error) = verified {
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
        let mut chain: Option<Chain> = None;
        let last = numbers.last().copied();
        for number in numbers {
            if number != expected {
                let remedy = self.cut_or_restore(chain.as_ref());
                let at = (0, chain.as_ref().map(|chain| chain.next));
                self.problem(&segment_path(expected), at, "the segment is missing", remedy);
                chain = None;
            }
            expected = number + 1;
            chain = self.segment(number, chain, Some(number) == last)?;
        }
        let end = self.report.last_offset;
        if last.is_none() || end < self.manifest.durable_offset {
            let message = format!(
                "the log ends at offset {end}, but offset {} was on the disk for certain",
                self.manifest.durable_offset
            );
            if self.report.problems.is_empty() {
                let remedy = self.cut_or_restore(Some(&Chain { next: end + 1, previous: 0 }));
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
            None => Loaded::default(),
        };
        state.begin_replay(after.newest);
        let after = after.offset;
        let mut replayer = Replayer::new(&state);
        let mut cursor = FrameCursor::new(&self.files, after + 1);
        while cursor.next <= self.report.last_offset {
            let Some(frame) = cursor.next(&self.files)? else { break };
            for (offset, effect) in frame.effects().filter(|(offset, _)| *offset > after) {
                if let Err(error) = replayer.apply(offset, &effect) {
                    let chain = Chain { next: offset, previous: 0 };
                    let remedy = self.cut_or_restore(Some(&chain));
                    let file = newest
                        .map_or(LOG_DIRECTORY.to_owned(), |newest| checkpoint_path(&newest.file));
                    self.problem(&file, (0, Some(offset)), error.message(), remedy);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn cut_or_restore(&self, chain: Option<&Chain>) -> String {
        match chain {
            Some(chain) => format!(
                "restore the file from a backup, or give up everything after offset {0}: \
                 `rstmdb-cli repair --to {0}`",
                chain.next - 1
            ),
            None => "restore the file from a backup".to_owned(),
        }
    }

    /// Reads one segment; returns where the log goes on, or nothing when it is broken before that.
    fn segment(
        &mut self,
        number: u64,
        chain: Option<Chain>,
        is_last: bool,
    ) -> Result<Option<Chain>> {
        let path = segment_path(number);
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let file = self.location.storage.open(&path).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_full_at(&mut bytes, 0).map_err(failed)?;
        let head = bytes.get(..read).unwrap_or_default();
        let header = match SegmentHeader::decode(head, &path, &self.database) {
            Ok(header) => header,
            Err(error) => {
                let remedy = self.cut_or_restore(chain.as_ref());
                let at = (0, chain.as_ref().map(|chain| chain.next));
                self.problem(&path, at, error.message(), remedy);
                return Ok(None);
            }
        };
        if header.number != number {
            let message = format!("this is segment {} under another name", header.number);
            let remedy = self.cut_or_restore(chain.as_ref());
            self.problem(&path, (0, chain.map(|chain| chain.next)), &message, remedy);
            return Ok(None);
        }
        let unbroken = chain
            .as_ref()
            .is_none_or(|chain| chain.next == header.first && chain.previous == header.previous);
        if !unbroken {
            let remedy = self.cut_or_restore(chain.as_ref());
            let message = format!(
                "the segment begins with offset {}: changes before it are missing",
                header.first
            );
            self.problem(&path, (0, chain.map(|chain| chain.next)), &message, remedy);
        }
        self.report.segments.push(SegmentReport {
            file: path.clone(),
            first_offset: header.first,
            frames: 0,
            changes: 0,
            bytes: SEGMENT_HEADER_BYTES,
        });
        self.known = Segment::new(number, header.first, header.created_at);
        let chain = Chain { next: header.first, previous: header.previous };
        self.frames(&path, &*file, length, chain, is_last)
    }

    fn frames(
        &mut self,
        path: &str,
        file: &dyn File,
        length: u64,
        mut chain: Chain,
        is_last: bool,
    ) -> Result<Option<Chain>> {
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let whole_so_far = self.report.problems.is_empty();
        let mut window = Window::default();
        let mut position = SEGMENT_HEADER_BYTES;
        let mut broken = None;
        while position < length && broken.is_none() {
            let parsed = window.parse_at(file, position, length, &self.files).map_err(failed)?;
            match parsed {
                Parsed::Frame { header, payload, checksum } => {
                    broken = frame_fault(&header, payload, &chain);
                    if broken.is_none() {
                        position += header.frame_bytes() as u64;
                        chain = Chain { next: header.last() + 1, previous: checksum };
                        if let Some(segment) = self.report.segments.last_mut() {
                            segment.frames += 1;
                            segment.changes += u64::from(header.count);
                            segment.bytes = position;
                        }
                    }
                }
                Parsed::Damaged(what) => broken = Some(what.to_owned()),
                Parsed::Incomplete { .. } => broken = Some("the frame is cut off".to_owned()),
                Parsed::Newer(version) => {
                    broken = Some(format!("the frame has the newer format {version}"));
                }
            }
        }
        self.known.bytes = position;
        self.files.put(self.known.clone());
        if whole_so_far {
            self.report.last_offset = chain.next - 1;
        }
        let Some(what) = broken else { return Ok(Some(chain)) };
        let mut rest = vec![0; usize::try_from(length - position).unwrap_or(usize::MAX)];
        let read = file.read_full_at(&mut rest, position).map_err(failed)?;
        rest.truncate(read);
        let clean = rest.iter().all(|byte| *byte == 0);
        let find =
            |fits: &dyn Fn(&FrameHeader) -> bool| frame::find(&rest, self.files.seed(), fits);
        let proof = find(&|later| later.synced >= chain.next);
        let proves_damage = proof.is_some();
        let later = proof.or_else(|| find(&|later| later.first >= chain.next));
        let promised = self.manifest.durable_offset >= chain.next;
        if is_last && !proves_damage && !promised {
            self.report.torn_tail_bytes = if clean { 0 } else { rest.len() as u64 };
            return Ok(Some(chain));
        }
        let message = match later {
            Some((at, later)) => format!(
                "{what}; the next intact frame is at byte {} and begins with offset {}",
                position + at as u64,
                later.first
            ),
            None => what,
        };
        let remedy = self.cut_or_restore(Some(&chain));
        self.problem(path, (position, Some(chain.next)), &message, remedy);
        Ok(None)
    }
}

/// What is wrong with an intact frame at this place.
fn frame_fault(header: &FrameHeader, payload: &[u8], chain: &Chain) -> Option<String> {
    if header.first != chain.next || header.previous != chain.previous {
        return Some(format!(
            "the frame holds offset {}, expected {}: it is stale or frames before it are missing",
            header.first, chain.next
        ));
    }
    let mut effects = frame::effects(payload, header.first);
    let read = effects.by_ref().count() as u64;
    let whole = !effects.is_damaged() && read == u64::from(header.count);
    (!whole).then(|| "an intact frame holds no records".to_owned())
}
