//! Looks through the files of an open database, some at a time.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Problem, Result, VerifyRequest, VerifyResult};

use crate::backup::view::{NamedFile, View, ViewedFile};
use crate::checkpoint::checkpoint_path;
use crate::error::corrupt;
use crate::log::Segment;
use crate::log::segment::segment_path;
use crate::maintenance::scan::{Scan, ScanFault};
use crate::manifest::{Manifest, hex};
use crate::shared::Shared;
use crate::storage::Storage;

/// About so many bytes are read for one request.
const READ_BYTES: u64 = 128 << 20;

impl Shared {
    /// Reads checkpoints first, then the log from its beginning to what is committed.
    pub(crate) fn verify(&self, request: VerifyRequest) -> Result<VerifyResult> {
        self.check_open()?;
        let from = request.next.as_deref().map(segment_of).transpose()?;
        // What can't be written any more is no part of the files.
        let _ = self.queue.flush();
        let last_offset = self.queue.committed();
        let manifest = self.manifest_file.current();
        let mut part = Part::new(&manifest, from);
        let behind = part.take(self.files.list(), from);
        let durable_offset =
            behind.as_ref().map_or(last_offset, |next| next.first.saturating_sub(1));
        let next = behind.and_then(|_| part.segments.last());
        let next = next.map(|newest| newest.number.to_string().into());
        part.manifest.durable_offset = durable_offset;
        let scan = self.scan(&part)?;
        let problems = self.problems(scan.faults, part.known.as_deref());
        if let Some(Problem { file, position, message, .. }) = problems.first() {
            self.note_damage(&corrupt(file, *position, message));
        }
        let mut segments = scan.segments;
        segments.retain(|segment| Some(&segment.file) != part.known.as_ref());
        Ok(VerifyResult {
            database_id: hex(&self.database).into(),
            ok: problems.is_empty(),
            last_offset,
            segments,
            checkpoints: scan.checkpoints,
            problems,
            next,
        })
    }

    fn scan(&self, part: &Part) -> Result<Scan> {
        let viewed = |name: String, bytes: u64| {
            let file = NamedFile { storage: self.storage.clone(), path: name.clone() };
            ViewedFile { name, file: Arc::new(file), bytes }
        };
        let segments = part.segments.iter();
        let segments = segments.map(|segment| viewed(segment_path(segment.number), segment.bytes));
        let checkpoints = part.manifest.checkpoints.iter();
        let checkpoints =
            checkpoints.map(|entry| viewed(checkpoint_path(&entry.file), entry.bytes));
        let view: Arc<dyn Storage> = Arc::new(View::new(segments.chain(checkpoints).collect()));
        Scan::of(&view, &part.manifest)
    }

    /// What is wrong with files that still belong to the database, and was not told before.
    fn problems(&self, faults: Vec<ScanFault>, known: Option<&str>) -> Vec<Problem> {
        let now = self.manifest_file.current();
        let is_checkpoint =
            |file: &str| now.checkpoints.iter().any(|entry| checkpoint_path(&entry.file) == file);
        let is_segment = |file: &str| *file >= *segment_path(now.first_segment);
        let is_there = |file: &str| match file.starts_with("log/") {
            true => is_segment(file),
            false => is_checkpoint(file),
        };
        let is_news = |fault: &ScanFault| is_there(&fault.file) && Some(&*fault.file) != known;
        let told = |ScanFault { file, position, offset, message }| {
            let remedy = "the database in memory is whole: `rstmdb-cli compact --force` writes a checkpoint \
                          of it, so that the next start needs this file no more; what only the file tells, \
                          the history in it, is in backups alone"
                .to_owned();
            Problem { file, position, offset, message, remedy }
        };
        faults.into_iter().filter(is_news).map(told).collect()
    }
}

/// The files that are read for one request.
struct Part {
    /// Of these files alone.
    manifest: Manifest,
    segments: Vec<Segment>,
    /// The segment that was told by the request before, and is read once more for its end.
    known: Option<String>,
    bytes: u64,
}

impl Part {
    fn new(manifest: &Manifest, from: Option<u64>) -> Part {
        let mut manifest = manifest.clone();
        if from.is_some() {
            manifest.checkpoints.clear();
        }
        let bytes = manifest.checkpoints.iter().map(|entry| entry.bytes).sum();
        Part { manifest, segments: Vec::new(), known: from.map(segment_path), bytes }
    }

    /// Takes segments as far as there is room, two at least; returns the first that is left.
    fn take(&mut self, log: Vec<Segment>, from: Option<u64>) -> Option<Segment> {
        let mut left = None;
        for segment in log {
            if from.is_some_and(|from| segment.number < from) {
                continue;
            }
            if self.segments.len() >= 2 && self.bytes >= READ_BYTES {
                left = Some(segment);
                break;
            }
            self.bytes += segment.bytes;
            self.segments.push(segment);
        }
        let number = |segment: Option<&Segment>| segment.map_or(1, |segment| segment.number);
        self.manifest.first_segment = number(self.segments.first());
        self.manifest.last_segment = number(self.segments.last());
        // The one before is gone: this one was not told yet.
        let known = self.segments.first().map(|first| segment_path(first.number));
        self.known = self.known.take().filter(|name| Some(name) == known.as_ref());
        left
    }
}

fn segment_of(next: &str) -> Result<u64> {
    let number = next.parse::<u64>().ok().filter(|number| number.to_string() == *next);
    number.ok_or_else(|| {
        let message = format!("next is {next:?}, expected what the result before told");
        Error::invalid(reason::INVALID_CURSOR, message).with("field", "next")
    })
}
