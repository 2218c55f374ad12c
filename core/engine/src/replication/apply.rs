//! Applying what came from elsewhere, when it is committed, while others read.

use rstmdb_types::{Offset, Result};

use super::group::{Group, NewlyDecided};
use crate::error::{corrupt, is_newer};
use crate::guards::{self, Safeguard};
use crate::log::effects::Effects;
use crate::log::exchange::{FrameKind, LogFrame, mismatch};
use crate::log::lineage::Epoch;
use crate::log::tip::Tip;
use crate::log::{Body, FrameCursor, LogFiles};
use crate::replay::Replayer;
use crate::shared::{EngineSink, Shared};

/// Effects applied under one hold of the locks, but for a record that has more.
const EFFECTS_MAX: u32 = 256;
/// Frames committed while nothing else is written.
const FRAMES_MAX: u64 = 16;

/// What a step of committing came to.
pub(super) enum CommitStep {
    /// Frames up to this one are committed.
    Reached(u64),
    /// The engine leads, and something is in the log that it did not evaluate.
    MustFollow,
}

impl Shared {
    /// Commits some frames up to this index: applies them, unless they were evaluated here. Says up to which
    /// offset that may be shown.
    pub(super) fn advance(
        &self,
        sink: &mut EngineSink,
        index: u64,
    ) -> (Option<Offset>, Result<CommitStep>) {
        let tip = sink.writer.tip();
        let Some(group) = &mut sink.group else {
            return (None, Ok(CommitStep::Reached(tip.index - 1)));
        };
        let index = index.min(tip.index - 1);
        if index < group.applied.index {
            return (None, Ok(CommitStep::Reached(group.applied.index - 1)));
        }
        let decided = if group.leading.is_some() {
            match group.decide(index) {
                Ok(decided) => {
                    if let Some(members) = group.take_members(index) {
                        *self.files.members.lock() = Some(members);
                    }
                    (decided, Ok(()))
                }
                Err(()) => return (None, Ok(CommitStep::MustFollow)),
            }
        } else {
            self.apply_frames(group, index.min(group.applied.index + FRAMES_MAX - 1))
        };
        let reached = CommitStep::Reached(group.applied.index - 1);
        let (decided, applied) = decided;
        if let Some(NewlyDecided { first, last }) = decided {
            sink.noticed = sink.followers.notice(&sink.ring, first, last);
            let bytes = sink.writer.reach().bytes;
            sink.growth.grown(crate::due::Reach { offset: last, bytes });
        }
        (decided.map(|decided| decided.last), applied.map(|()| reached))
    }

    /// Applies the frames up to this index, in order.
    fn apply_frames(&self, group: &mut Group, index: u64) -> (Option<NewlyDecided>, Result<()>) {
        let first = group.applied.next;
        let mut cursor = None;
        let mut applied = Ok(());
        while group.applied.index <= index && applied.is_ok() {
            let frame = match group.recent.get(group.applied.index) {
                Some(frame) => Ok(frame),
                None => next_frame(&self.files, &mut cursor, group.applied.index),
            };
            applied = frame.and_then(|frame| self.apply_frame(group, &frame));
        }
        let last = group.applied.next - 1;
        ((last >= first).then_some(NewlyDecided { first, last }), applied)
    }

    fn apply_frame(&self, group: &mut Group, frame: &LogFrame) -> Result<()> {
        let mut next = group.applied;
        next.advance(frame.header(), 0);
        if frame.is_void() {
            group.applied = next;
            return Ok(());
        }
        match frame.kind() {
            FrameKind::Data => self.apply_effects(&next, frame)?,
            FrameKind::Epoch => {
                let epoch = Epoch::decode(frame.header(), frame.payload());
                let epoch = epoch.ok_or_else(|| mismatch("an epoch frame makes no sense"))?;
                self.files.lineage.lock().add(epoch.begins);
            }
            FrameKind::Members => *self.files.members.lock() = frame.said_members(),
            FrameKind::Blank => {}
        }
        group.applied = next;
        Ok(())
    }

    /// Applies a frame's effects. What one record changes is locked together: no reader sees half of a batch.
    fn apply_effects(&self, tip: &Tip, frame: &LogFrame) -> Result<()> {
        let mut effects = frame.effects();
        let mut boundary = None;
        let mut is_more = true;
        while is_more {
            is_more = self.apply_some(&mut effects, tip, &mut boundary)?;
        }
        if effects.fault().is_some() || effects.next_offset() != tip.next {
            let what = format!("the frame at index {} holds no records", tip.index - 1);
            return Err(self.stop_applying(corrupt("log", 0, &what)));
        }
        if let Some(node) = &self.node
            && let Some(begin) = boundary
        {
            *node.boundary.lock() = Some(begin);
        }
        Ok(())
    }

    fn apply_some(
        &self,
        effects: &mut Effects<'_>,
        tip: &Tip,
        boundary: &mut Option<crate::checkpoint::begin::Begin>,
    ) -> Result<bool> {
        let mut replayer = Replayer::new(&self.state);
        let (mut count, mut newest) = (0, None);
        let is_more = loop {
            let Some((offset, effect)) = effects.next() else { break false };
            replayer.apply(offset, &effect).map_err(|error| self.stop_applying(error))?;
            newest = Some((offset, effect.at));
            if let Body::Mark(mark) = &effect.body
                && mark.is_boundary
                && offset + 1 == tip.next
            {
                *boundary = Some(self.begin_at_boundary(offset, tip.named()));
            }
            count += 1;
            let is_whole = !effects.is_inside_record() || !guards::enabled(Safeguard::WholeRecords);
            let is_enough = count >= EFFECTS_MAX || !guards::enabled(Safeguard::WholeRecords);
            if is_enough && is_whole {
                break true;
            }
        };
        // While all is locked: a reader's ticket is of what it saw.
        if let Some((offset, at)) = newest {
            self.queue.adopt(offset, at);
        }
        Ok(is_more)
    }

    /// What is in memory is not what the log says: nothing more is applied or written.
    fn stop_applying(&self, error: rstmdb_types::Error) -> rstmdb_types::Error {
        if !is_newer(&error) {
            self.note_damage(&error);
        }
        self.queue.poison(error.clone());
        error
    }
}

/// Reads the frame of this index from the files.
fn next_frame(files: &LogFiles, cursor: &mut Option<FrameCursor>, index: u64) -> Result<LogFrame> {
    let missing = || corrupt("log", 0, &format!("the frame of index {index} is missing"));
    let mut reading = match cursor.take() {
        Some(cursor) => cursor,
        None => FrameCursor::of_index(files, index).ok_or_else(missing)?,
    };
    loop {
        let (frame, _) = reading.next_of_any(files)?.ok_or_else(missing)?;
        if frame.header.index == index {
            *cursor = Some(reading);
            return Ok(LogFrame::logged(&frame));
        }
        if frame.header.index > index {
            return Err(missing());
        }
    }
}
