//! What imports before this one did: read from the log in one pass, when the first case that
//! exists is met.
//!
//! Idempotency keys are forgotten after a while and are never given for refused rows; the log
//! tells both, as far back as it goes: an applied row carries its file and line as event id.

use std::collections::{HashMap, HashSet};

use rstmdb::blocking::Database;
use rstmdb::{InstanceEvent, InstanceEventKind, WatchAllRequest};

use crate::error::{CommandResult, Failure};
use crate::interrupt::Interrupt;
use crate::replay;

/// The rows of this file that were applied before.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    cases: HashMap<String, Applied>,
}

/// The rows of one case that were applied before.
#[derive(Debug, Default)]
pub(super) struct Applied {
    lines: HashSet<u64>,
    last: u64,
    /// Rows before this line are not in the log any more, so they count as applied.
    known_from: u64,
}

/// What is known about a row of a case that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownRow {
    /// It was applied before.
    Applied,
    /// It was not, while a later row of its case was.
    PassedOver,
    /// Nothing: it comes after all that was applied.
    Nothing,
}

impl Earlier {
    /// Reads the log of `machine`; `file_name` is how the event ids of this file begin.
    pub(super) fn read(
        database: &Database,
        machine: &str,
        file_name: &str,
        interrupt: Interrupt,
    ) -> CommandResult<Earlier> {
        let request = WatchAllRequest {
            include_ctx: false,
            machines: vec![machine.into()],
            include_lifecycle: true,
            ..WatchAllRequest::default()
        };
        let mut earlier = Earlier::default();
        replay::all(database, request, interrupt, |event| {
            earlier.take(&event, file_name);
            Ok(())
        })?;
        // Half of what was done before would make the rest look like new.
        match interrupt.pressed() {
            true => Err(Failure::Interrupted),
            false => Ok(earlier),
        }
    }

    fn take(&mut self, event: &InstanceEvent, file_name: &str) {
        let case = event.instance_id.as_str();
        match event.kind {
            InstanceEventKind::Applied => {}
            // A new life of the id begins, or the old one ends.
            InstanceEventKind::Created | InstanceEventKind::Deleted => {
                self.cases.insert(case.to_owned(), Applied::default());
                return;
            }
            InstanceEventKind::Other(_) => return,
        }
        let line = event.event_id.as_deref().and_then(|id| line_of(id, file_name));
        let Some(line) = line else { return };
        match self.cases.get_mut(case) {
            Some(applied) => applied.add(line),
            None => {
                // The log does not go back to its creation.
                let mut applied = Applied { known_from: line, ..Applied::default() };
                applied.add(line);
                self.cases.insert(case.to_owned(), applied);
            }
        }
    }

    /// What was applied of a case, given the event id it has now.
    pub(super) fn of(
        &mut self,
        case: &str,
        last_event_id: Option<&str>,
        file_name: &str,
    ) -> Applied {
        let last = last_event_id.and_then(|id| line_of(id, file_name)).unwrap_or(0);
        // All of it may be older than the log.
        let lost = || Applied { last, known_from: last + 1, ..Applied::default() };
        let mut applied = self.cases.remove(case).unwrap_or_else(lost);
        applied.last = applied.last.max(last);
        applied
    }
}

impl Applied {
    fn add(&mut self, line: u64) {
        self.lines.insert(line);
        self.last = self.last.max(line);
    }

    pub(super) fn knows(&self, line: u64) -> KnownRow {
        if line > self.last {
            KnownRow::Nothing
        } else if line < self.known_from || self.lines.contains(&line) {
            KnownRow::Applied
        } else {
            KnownRow::PassedOver
        }
    }
}

/// The id of the event of a row.
pub(super) fn event_id(file_name: &str, line: u64) -> String {
    format!("{file_name}:{line}")
}

/// The line of a row of this file, from the id of its event.
pub(super) fn line_of(event_id: &str, file_name: &str) -> Option<u64> {
    event_id.strip_prefix(file_name)?.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: InstanceEventKind, line: Option<u64>) -> InstanceEvent {
        InstanceEvent {
            kind,
            instance_id: "c".into(),
            machine: "m".into(),
            version: 1,
            wal_offset: 1,
            history_id: None,
            timestamp: 0,
            from_state: None,
            to_state: None,
            event: None,
            payload: rstmdb::Json::null(),
            ctx: None,
            event_id: line.map(|line| event_id("log.csv", line).into()),
        }
    }

    fn knows(events: &[(InstanceEventKind, Option<u64>)], last: u64) -> Vec<KnownRow> {
        let mut earlier = Earlier::default();
        for (kind, line) in events {
            earlier.take(&event(kind.clone(), *line), "log.csv");
        }
        let applied = earlier.of("c", Some(&event_id("log.csv", last)), "log.csv");
        (2..=6).map(|line| applied.knows(line)).collect()
    }

    #[test]
    fn rows_are_applied_passed_over_or_new() {
        use InstanceEventKind::{Applied as Event, Created, Deleted};
        use KnownRow::{Applied, Nothing, PassedOver};
        let whole = [(Created, None), (Event, Some(2)), (Event, None), (Event, Some(4))];
        assert_eq!(knows(&whole, 4), [Applied, PassedOver, Applied, Nothing, Nothing]);
        let cut_off = [(Event, Some(4)), (Event, Some(6))];
        assert_eq!(knows(&cut_off, 6), [Applied, Applied, Applied, PassedOver, Applied]);
        assert_eq!(knows(&[], 5), [Applied, Applied, Applied, Applied, Nothing]);
        let again = [(Created, None), (Event, Some(6)), (Deleted, None), (Created, None)];
        assert_eq!(knows(&again, 0), [Nothing; 5]);
    }

    #[test]
    fn event_ids_of_other_files_mean_nothing() {
        assert_eq!(line_of("log.csv:7", "log.csv"), Some(7));
        assert_eq!(line_of("log.csv:x", "log.csv"), None);
        assert_eq!(line_of("other.csv:7", "log.csv"), None);
    }
}
