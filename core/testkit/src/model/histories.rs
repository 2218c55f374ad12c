//! The histories of the model's log: each opening that changes something begins one.

use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, Offset, Result, Text};

use super::{Model, error};

impl Model {
    /// The database is opened again.
    pub fn reopen(&mut self) {
        let next = self.latest_offset() + 1;
        if self.histories.last() != Some(&next) {
            self.histories.push(next);
        }
    }

    /// The history that an offset belongs to.
    pub fn history_at(&self, offset: Offset) -> Option<Text> {
        let place = self.histories.iter().rposition(|first| *first <= offset);
        place.map(|place| format!("{place:016x}").into())
    }

    /// Whether what is before `next` is in a history, as far as it is known here.
    pub(super) fn check_history(&self, next: Offset, history_id: &Text) -> Result<()> {
        let diverged = || {
            let diverged = error(ErrorCode::Conflict, "another log").with("offset", next);
            diverged.with_reason(reason::HISTORY_DIVERGED).with("history_id", history_id.as_str())
        };
        let place = (0..self.histories.len()).find(|place| format!("{place:016x}") == *history_id);
        let Some(place) = place else { return Err(diverged()) };
        let end = self.histories.get(place + 1).map_or(self.latest_offset(), |next| next - 1);
        if next <= end + 1 { Ok(()) } else { Err(diverged().with("safe_offset", end)) }
    }

    /// Whether the log can be followed from a place.
    pub(super) fn check_place(&self, from: Offset, history_id: Option<&Text>) -> Result<()> {
        let latest = self.latest_offset();
        match history_id {
            Some(history_id) => self.check_history(from, history_id),
            None if from <= latest + 1 => Ok(()),
            None => Err(error(ErrorCode::NotFound, "not there yet")
                .with_reason(reason::OFFSET_AHEAD)
                .with("offset", from)
                .with("latest_offset", latest)),
        }
    }
}
