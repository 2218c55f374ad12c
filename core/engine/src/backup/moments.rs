//! The log in a backup: its frames, and the moments that it can be restored to, which are between two requests and
//! never inside one.

use rstmdb_types::{Offset, Result, TimestampMs};

use super::archive::Archive;
use crate::checkpoint::checkpoint_path;
use crate::checkpoint::format::BlockReader;
use crate::checkpoint::load::open_checkpoint;
use crate::error::{corrupt, io as io_error, newer_format};
use crate::log::effects::Effects;
use crate::log::files::Window;
use crate::log::frame::{FrameHeader, ParsedFrame};
use crate::log::recovery::open_segment;
use crate::log::segment::segment_path;
use crate::log::tip::Tip;
use crate::log::{LogFiles, Sealer};

/// Behind a change that is the last of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub offset: Offset,
    /// The log's time, where it is known.
    pub at: Option<TimestampMs>,
}

/// An intact frame that follows the one before.
pub(super) struct WrittenFrame<'a> {
    pub header: FrameHeader,
    pub payload: &'a [u8],
    /// The end of the log before it, and with it.
    pub before: Tip,
    pub behind: Tip,
}

/// What is done with a frame; false ends it.
type Each<'a> = dyn FnMut(&WrittenFrame<'_>) -> Result<bool> + 'a;

impl Archive {
    /// Hands out the frames in order.
    pub(super) fn frames(&self, each: &mut Each<'_>) -> Result<()> {
        let (manifest, database) = (&self.manifest, self.manifest.database()?);
        let files = LogFiles::new(self.files.clone(), Sealer::plain(&database));
        for number in manifest.first_segment..=manifest.last_segment {
            let path = segment_path(number);
            let failed = |error| io_error(&format!("reading {path}"), error);
            let (segment, file, length) = open_segment(&*self.files, number, &database, &files)?;
            let mut window = Window::default();
            let (mut position, mut before) = (segment.bytes(), segment.tip);
            while position < length {
                let parsed = window.parse_at(&*file, position, length, &files).map_err(failed)?;
                let (header, payload, checksum) = match parsed {
                    ParsedFrame::Frame { header, payload, checksum } => (header, payload, checksum),
                    ParsedFrame::Newer { what, .. } => {
                        return Err(newer_format(&path, position, what));
                    }
                    ParsedFrame::Damaged(_) | ParsedFrame::Incomplete { .. } => {
                        return Err(corrupt(&path, position, "there is no frame"));
                    }
                };
                if let Some(what) = before.fault(segment.format, &header, &payload) {
                    return Err(corrupt(&path, position, &what));
                }
                let mut behind = before;
                behind.advance(&header, checksum);
                if !each(&WrittenFrame { header, payload: &payload, before, behind })? {
                    return Ok(());
                }
                position += header.frame_bytes() as u64;
                before = behind;
            }
        }
        Ok(())
    }

    /// The moment of the checkpoint; nothing is known of before the first change.
    fn begin(&self) -> Result<Moment> {
        let Some(entry) = self.manifest.checkpoints.last() else {
            return Ok(Moment { offset: 0, at: None });
        };
        let path = checkpoint_path(&entry.file);
        let file = open_checkpoint(&*self.files, &path)?;
        let head = BlockReader::open(&*file, &path, &self.manifest.database()?)?.head;
        Ok(Moment { offset: head.offset, at: Some(head.created_at) })
    }

    /// Hands out the moments in order, the one of the checkpoint first, until one is enough.
    pub(super) fn moments(&self, is_enough: &mut dyn FnMut(Moment) -> bool) -> Result<()> {
        let begin = self.begin()?;
        let mut begun = None;
        let mut time = None;
        self.frames(&mut |frame| {
            if !frame.header.has_effects() {
                return Ok(true);
            }
            let header = &frame.header;
            let mut effects = Effects::new(header.format, frame.payload, header.first);
            while let Some((offset, effect)) = effects.next() {
                let at = time.map_or(effect.at, |before: TimestampMs| before.max(effect.at));
                time = Some(at);
                let moment = Moment { offset, at: time };
                if begun.is_none() && offset >= begin.offset {
                    let first = if offset == begin.offset { moment } else { begin };
                    if is_enough(*begun.insert(first)) {
                        return Ok(false);
                    }
                }
                let is_later = offset > begin.offset && !effects.is_inside_record();
                if is_later && is_enough(moment) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if begun.is_none() {
            is_enough(begin);
        }
        Ok(())
    }

    /// The first moment that it can be restored to, where the checkpoint holds parts of changes up to `newest`.
    pub(super) fn earliest(&self, newest: Offset) -> Result<Moment> {
        let mut found = Moment { offset: newest, at: None };
        self.moments(&mut |moment| {
            found = moment;
            moment.offset >= newest
        })?;
        Ok(found)
    }
}
