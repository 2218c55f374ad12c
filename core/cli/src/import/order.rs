//! Notices a file whose rows are newest first: applied in file order, every case would run backwards.

use std::collections::HashMap;

use rstmdb::Error;

use super::events::LogEvent;
use super::identity::RowTime;
use super::records::row_error;

/// The order of times within the cases seen so far.
#[derive(Debug, Default)]
pub(super) struct RowOrder {
    last: HashMap<String, (RowTime, u64)>,
    is_rising: bool,
    /// The first two lines of a case whose times fall.
    falling: Option<(String, u64, u64)>,
}

impl RowOrder {
    /// Takes the next row of the file.
    pub(super) fn see(&mut self, event: &LogEvent) {
        // One step forward in time is enough to know.
        let Some(time) = event.time.filter(|_| !self.is_rising) else { return };
        let Some(last) = self.last.get_mut(&event.case) else {
            self.last.insert(event.case.clone(), (time, event.line));
            return;
        };
        let (before, line) = std::mem::replace(last, (time, event.line));
        if time > before {
            self.is_rising = true;
            self.last = HashMap::new();
        } else if time < before && self.falling.is_none() {
            self.falling = Some((event.case.clone(), line, event.line));
        }
    }

    /// An error if all rows seen so far that follow one of their case are older than it, or as old.
    pub(super) fn check(&self, file: &str) -> Result<(), Error> {
        match &self.falling {
            Some((case, before, line)) if !self.is_rising => {
                let problem = format!(
                    "the file is newest first: this row of case {case:?} is older than the one on \
                     line {before}; rows are applied in file order, so sort it by time, oldest first"
                );
                Err(row_error(file, *line, &problem))
            }
            _ => Ok(()),
        }
    }
}
