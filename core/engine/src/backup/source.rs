//! What a backup is made of: which files, and up to where.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result, TimestampMs};

use super::format::Description;
use super::id::BackupId;
use super::image::Image;
use super::view::{TextFile, ViewedFile};
use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::error::{corrupt, io as io_error};
use crate::log::files::Window;
use crate::log::frame::ParsedFrame;
use crate::log::segment::segment_path;
use crate::log::{LogFiles, Segment};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest, hex};
use crate::storage::File;

/// A checkpoint and the log behind it, up to its last change.
pub(crate) struct BackupSource<'a> {
    /// Of the database: what all its backups have in common is taken from it.
    pub manifest: &'a Manifest,
    pub checkpoint: Option<CheckpointEntry>,
    /// The segments from the checkpoint on, each up to its end in the backup.
    pub segments: Vec<Segment>,
    pub last: Offset,
    pub last_at: Option<TimestampMs>,
    pub history: Option<u64>,
    pub begun_at: TimestampMs,
}

/// The part of a log that goes on from a checkpoint.
pub(crate) struct Stretch {
    pub segments: Vec<Segment>,
    /// The time of the last change, if that is in them.
    pub last_at: Option<TimestampMs>,
}

/// The number of a checkpoint, by the name of its file.
pub(crate) fn checkpoint_number(entry: &CheckpointEntry) -> Option<u64> {
    entry.file.strip_suffix(".ckpt")?.parse().ok()
}

/// The first of the segments that a checkpoint needs.
pub(crate) fn first_needed(segments: &[Segment], after: Offset) -> Option<usize> {
    segments.iter().rposition(|segment| segment.first <= after + 1)
}

/// A log that does not go on from any checkpoint there is.
pub(crate) fn no_checkpoint() -> Error {
    let message = "the log does not begin with the first change, and there is no checkpoint that it goes on \
                   from; `compact` writes one";
    Error::new(ErrorCode::InternalError, message).with_reason(reason::IO)
}

impl Stretch {
    /// From behind a checkpoint up to a change that ends a frame.
    pub(crate) fn of(files: &LogFiles, after: Offset, last: Offset) -> Result<Stretch> {
        let mut segments = files.list();
        let first = first_needed(&segments, after).ok_or_else(no_checkpoint)?;
        let end = segments.iter().rposition(|segment| segment.first <= last).unwrap_or(0);
        segments.truncate(end.max(first) + 1);
        segments.drain(..first);
        let Some(newest) = segments.last_mut() else { return Err(no_checkpoint()) };
        let (end, last_at) = end_of(files, newest, last)?;
        newest.bytes = end;
        Ok(Stretch { segments, last_at })
    }
}

/// Where the frame ends that a change is the last of, and when that was.
fn end_of(files: &LogFiles, segment: &Segment, last: Offset) -> Result<(u64, Option<TimestampMs>)> {
    if segment.first > last {
        return Ok((segment.start, None));
    }
    let path = segment_path(segment.number);
    let failed = |error| io_error(&format!("reading {path}"), error);
    let file = files.open(segment.number).map_err(failed)?;
    let mut window = Window::default();
    let mut position = segment.place_before(last);
    loop {
        let parsed = window.parse_at(&*file, position, segment.bytes, files).map_err(failed)?;
        let ParsedFrame::Frame { header, payload, .. } = parsed else {
            let what = "the frame that was written last can't be read";
            return Err(corrupt(&path, position, what));
        };
        let end = position + header.frame_bytes() as u64;
        if header.has_effects() && header.last() >= last {
            if header.last() > last {
                return Err(corrupt(&path, position, "the last change does not end a frame"));
            }
            let effects = crate::log::effects::Effects::new(header.format, &payload, header.first);
            return Ok((end, effects.map(|(_, effect)| effect.at).max()));
        }
        position = end;
    }
}

impl BackupSource<'_> {
    /// The backup, of files that `open` finds.
    pub(crate) fn image(self, open: &dyn Fn(&str) -> Result<Arc<dyn File>>) -> Result<Image> {
        let BackupSource { checkpoint, segments, last, last_at, history, begun_at, .. } = &self;
        let database = self.manifest.database()?;
        let mut last_at = *last_at;
        let mut opened = None;
        if let Some(entry) = checkpoint {
            let path = checkpoint_path(&entry.file);
            let file = open(&path)?;
            let head = BlockReader::open(&*file, &path, &database)?.head;
            last_at = last_at.or(Some(head.created_at));
            opened = Some(ViewedFile { name: path, file, bytes: entry.bytes });
        }
        let id = BackupId {
            database: database.first_chunk().copied().unwrap_or_default(),
            checkpoint: checkpoint.as_ref().and_then(checkpoint_number).unwrap_or(0),
            last: *last,
            history: *history,
            begun_at: *begun_at,
        };
        let description = Description {
            backup_id: id.text().to_string(),
            database_id: hex(&database),
            history_id: history.map(|history| format!("{history:016x}")),
            checkpoint_offset: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.offset),
            last_offset: *last,
            last_at,
            begun_at: *begun_at,
            files: Vec::new(),
        };
        let manifest = self.own_manifest().text();
        let manifest = manifest.map_err(|error| io_error("describing a backup", error.into()))?;
        let bytes = manifest.len() as u64;
        let text = Arc::new(TextFile(manifest.into_bytes()));
        let mut files = vec![ViewedFile { name: MANIFEST.to_owned(), file: text, bytes }];
        files.extend(opened);
        for segment in segments {
            let name = segment_path(segment.number);
            files.push(ViewedFile { file: open(&name)?, name, bytes: segment.bytes });
        }
        Image::new(description, files)
    }

    /// What a manifest of these files alone says. All of it follows from the id and the files.
    fn own_manifest(&self) -> Manifest {
        let first_segment = self.segments.first().map_or(1, |segment| segment.number);
        Manifest {
            first_segment,
            last_segment: self.segments.last().map_or(first_segment, |segment| segment.number),
            first_offset: self.checkpoint.as_ref().map_or(0, |entry| entry.offset) + 1,
            durable_offset: self.last,
            checkpoints: self.checkpoint.iter().cloned().collect(),
            boundaries: Vec::new(),
            history: Default::default(),
            ..self.manifest.clone()
        }
    }
}
