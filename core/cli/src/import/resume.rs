//! What imports before this one did: read from the log in one pass, when there may have been any.
//!
//! Idempotency keys are forgotten after a while and are never given for refused rows; the log
//! tells both, as far back as it goes: an applied row has what it says as its key, and its place as event id.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use rstmdb::blocking::Database;
use rstmdb::{GetInstanceResult, Json, JsonRef, Offset, WalEntry, WalReadRequest, WalStatsRequest};

use super::identity::{FileId, RowId, RowKey, RowTime, place_of};
use crate::error::{CommandResult, Failure};
use crate::interrupt::Interrupt;

/// What the log tells of all cases.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    cases: HashMap<String, CaseLog>,
    /// Where ids were deleted, of those that are free again.
    deleted: HashMap<String, Offset>,
}

/// What is known of the rows of one case that were applied before, in the order they were.
#[derive(Debug, Default)]
pub(super) struct CaseLog {
    /// The place of each row among them, from 1.
    rows: HashMap<RowId, usize>,
    /// What happened when: rows whose payload was changed afterwards have this in common.
    moments: HashSet<u64>,
    /// Where they stood in this very file.
    lines: HashSet<u64>,
    first_line: u64,
    last_line: u64,
    first_time: Option<RowTime>,
    last_time: Option<RowTime>,
    /// Whether the log does not go back to its creation: there may be more rows before.
    is_cut: bool,
    /// How many of them the file has shown so far.
    passed: usize,
}

/// A row of the file, as it is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoughtRow<'a> {
    pub(super) row: RowId,
    pub(super) line: u64,
    pub(super) time: Option<RowTime>,
    pub(super) activity: &'a str,
}

/// What is known about a row of a case that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownRow {
    /// It was applied before.
    Applied,
    /// It was not, while a later row of its case was.
    PassedOver,
    /// A row was applied that stood in its place and says something else.
    Changed,
    /// Nothing: it comes after all that was applied.
    Nothing,
}

/// The file whose rows are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoughtFile<'a> {
    pub(super) name: &'a str,
    pub(super) id: FileId,
    /// The column of the time, a member of each payload.
    pub(super) time: &'a str,
}

/// Hands every entry from an offset to the end of the log to `each`, in order.
///
/// Ctrl-C ends it with an error: half of what was done before would make the rest look like new.
pub(super) fn entries(
    database: &Database,
    from: Offset,
    interrupt: Interrupt,
    mut each: impl FnMut(Offset, &WalEntry),
) -> CommandResult {
    let end = database.wal_stats(WalStatsRequest {})?.latest_offset;
    let mut next = from;
    while next <= end {
        if interrupt.pressed() {
            return Err(Failure::Interrupted);
        }
        let page =
            database.wal_read(WalReadRequest { limit: Some(1000), ..WalReadRequest::new(next) })?;
        page.records.iter().for_each(|record| each(record.offset, &record.entry));
        if page.next_offset <= next {
            break;
        }
        next = page.next_offset;
    }
    Ok(())
}

impl Earlier {
    /// Reads the log for what imports did.
    pub(super) fn read(
        database: &Database,
        file: SoughtFile<'_>,
        interrupt: Interrupt,
    ) -> CommandResult<Earlier> {
        let first = database.wal_stats(WalStatsRequest {})?.first_offset.unwrap_or(0).max(1);
        let mut earlier = Earlier::default();
        entries(database, first, interrupt, |offset, entry| earlier.take(offset, entry, file))?;
        Ok(earlier)
    }

    fn take(&mut self, offset: Offset, entry: &WalEntry, file: SoughtFile<'_>) {
        match entry {
            WalEntry::CreateInstance { instance_id, .. } => {
                self.cases.insert(instance_id.to_string(), CaseLog::default());
            }
            WalEntry::DeleteInstance { instance_id, .. } => {
                self.cases.remove(instance_id.as_str());
                self.deleted.insert(instance_id.to_string(), offset);
            }
            WalEntry::FlushAll {} => *self = Earlier::default(),
            WalEntry::ApplyEvent {
                instance_id, event, payload, event_id, idempotency_key, ..
            } => {
                let key = idempotency_key.as_deref().and_then(RowKey::parse);
                let Some(key) = key else { return };
                let cut = || CaseLog { is_cut: true, ..CaseLog::default() };
                let case = self.cases.entry(instance_id.to_string()).or_insert_with(cut);
                let place = event_id.as_deref().and_then(place_of).filter(|_| key.file == file.id);
                let line = place.map(|(_, line)| line);
                case.add(key.row, line, time_in(payload, file.time), event);
            }
            _ => {}
        }
    }

    /// What was applied of a case, given the instance as it is now.
    pub(super) fn of(
        &mut self,
        case: &str,
        found: &GetInstanceResult,
        file: SoughtFile<'_>,
    ) -> CaseLog {
        if let Some(known) = self.cases.remove(case) {
            return known;
        }
        // All of it is older than the log.
        let place = found.last_event_id.as_deref().and_then(place_of);
        let last_line = place.filter(|(name, _)| *name == file.name).map_or(0, |(_, line)| line);
        let last_time = time_in(&found.ctx, file.time);
        CaseLog {
            is_cut: true,
            first_line: last_line + 1,
            last_line,
            last_time,
            ..CaseLog::default()
        }
    }

    /// Where the instance that had this id before was deleted.
    pub(super) fn deleted(&self, case: &str) -> Option<Offset> {
        self.deleted.get(case).copied()
    }
}

impl CaseLog {
    fn add(&mut self, row: RowId, line: Option<u64>, time: Option<RowTime>, activity: &str) {
        let place = self.rows.len() + 1;
        self.rows.insert(row, place);
        if let Some(line) = line {
            if self.lines.is_empty() {
                self.first_line = line;
            }
            self.lines.insert(line);
            self.last_line = self.last_line.max(line);
        }
        self.moments.insert(moment(activity, time));
        self.first_time = self.first_time.or(time);
        self.last_time = self.last_time.max(time);
    }

    /// What is known about the next row of the case in the file.
    pub(super) fn knows(&mut self, sought: SoughtRow<'_>) -> KnownRow {
        let SoughtRow { row, line, time, activity } = sought;
        if let Some(place) = self.rows.get(&row) {
            self.passed = self.passed.max(*place);
            return KnownRow::Applied;
        }
        if line <= self.last_line {
            return if self.is_cut && line < self.first_line {
                KnownRow::Applied
            } else if self.lines.contains(&line) {
                KnownRow::Changed
            } else {
                KnownRow::PassedOver
            };
        }
        let is_same_moment = self.moments.contains(&moment(activity, time));
        let stands_before = if self.passed > 0 {
            self.passed < self.rows.len()
        } else if self.is_cut && self.first_time.is_some() && time < self.first_time {
            return KnownRow::Applied;
        } else if self.is_cut && self.rows.is_empty() && self.last_time.is_some() {
            // Only the last row's time is left, where it is not this file's.
            if self.last_line == 0 && time < self.last_time {
                return KnownRow::Applied;
            }
            self.last_line == 0 && time == self.last_time
        } else {
            // Nothing of this case has come in this file: another part of the log, or all of it changed.
            !self.rows.is_empty() && (time < self.last_time || is_same_moment)
        };
        match (stands_before, is_same_moment) {
            (false, _) => KnownRow::Nothing,
            (true, true) => KnownRow::Changed,
            (true, false) => KnownRow::PassedOver,
        }
    }
}

/// An activity and its time.
fn moment(activity: &str, time: Option<RowTime>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (activity, time).hash(&mut hasher);
    hasher.finish()
}

/// The time in a payload or a context.
fn time_in(object: &Json, column: &str) -> Option<RowTime> {
    match object.root().get(column)? {
        // Times have nothing that JSON escapes.
        JsonRef::String(text) => RowTime::parse(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{RowDigest, RowIds};
    use super::*;

    const DAYS: [&str; 6] =
        ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"];

    fn id(text: &str) -> RowId {
        let mut digest = RowDigest::new();
        digest.add(text);
        digest.finish()
    }

    /// What is known of the rows of a file, each with its line and day, when those of another were applied.
    fn knows(
        applied: &[(&str, u64, usize)],
        is_same_file: bool,
        is_cut: bool,
        rows: &[(&str, u64, usize)],
    ) -> Vec<KnownRow> {
        let time = |day: usize| RowTime::parse(DAYS[day]);
        let mut case = CaseLog { is_cut, ..CaseLog::default() };
        for (text, line, day) in applied {
            case.add(
                id(text),
                is_same_file.then_some(*line),
                time(*day),
                text.split('=').next().unwrap(),
            );
        }
        let knows = |(text, line, day): &(&str, u64, usize)| {
            let activity = text.split('=').next().unwrap();
            case.knows(SoughtRow { row: id(text), line: *line, time: time(*day), activity })
        };
        rows.iter().map(knows).collect()
    }

    use KnownRow::{Applied, Changed, Nothing, PassedOver};

    #[test]
    fn a_file_that_grew_goes_on_behind_what_is_known() {
        let applied = [("a", 2, 0), ("c", 4, 2)];
        let rows = [("a", 2, 0), ("b", 3, 1), ("c", 4, 2), ("d", 5, 2)];
        let expected = [Applied, PassedOver, Applied, Nothing];
        assert_eq!(knows(&applied, true, false, &rows), expected);
        // The same file with other lines before.
        assert_eq!(knows(&applied, false, false, &rows), expected);
    }

    #[test]
    fn another_part_of_the_log_is_new() {
        let applied = [("a", 2, 0), ("b", 3, 1)];
        assert_eq!(knows(&applied, false, false, &[("c", 2, 1), ("d", 3, 2)]), [Nothing, Nothing]);
        // A part that was forgotten would be applied out of turn.
        let applied = [("c", 2, 2)];
        assert_eq!(knows(&applied, false, false, &[("a", 2, 0)]), [PassedOver]);
    }

    #[test]
    fn what_was_changed_is_noticed_by_its_place() {
        let applied = [("a=1", 2, 0), ("b=1", 3, 1), ("c=1", 4, 2)];
        for is_same_file in [true, false] {
            for (rows, expected) in [
                ([("a=2", 2, 0), ("b=1", 3, 1), ("c=1", 4, 2)], [Changed, Applied, Applied]),
                ([("a=1", 2, 0), ("b=2", 3, 1), ("c=1", 4, 2)], [Applied, Changed, Applied]),
                ([("a=1", 2, 0), ("b=1", 3, 1), ("c=2", 4, 2)], [Applied, Applied, Changed]),
            ] {
                assert_eq!(knows(&applied, is_same_file, false, &rows), expected);
            }
        }
        // The only row of its case.
        let only = [("a=1", 2, 0)];
        assert_eq!(knows(&only, true, false, &[("a=2", 2, 3)]), [Changed]);
        assert_eq!(knows(&only, false, false, &[("a=2", 9, 0)]), [Changed]);
    }

    #[test]
    fn rows_older_than_the_log_count_as_applied() {
        let applied = [("c", 4, 2), ("e", 6, 4)];
        let rows = [("b", 3, 1), ("c", 4, 2), ("d", 5, 3), ("e", 6, 4), ("f", 7, 5)];
        let expected = [Applied, Applied, PassedOver, Applied, Nothing];
        assert_eq!(knows(&applied, true, true, &rows), expected);
        assert_eq!(knows(&applied, false, true, &rows), expected);
    }

    #[test]
    fn a_new_life_of_an_id_knows_where_the_old_one_ended() {
        let (row, file) = RowIds::default().next(id("a"));
        let sought = SoughtFile { name: "log.csv", id: file, time: "at" };
        let mut earlier = Earlier::default();
        let key = RowKey { row, file, after: None }.to_string();
        let applied = WalEntry::ApplyEvent {
            instance_id: "c".into(),
            event: "a".into(),
            from_state: "x".into(),
            to_state: "y".into(),
            payload: Json::parse(r#"{"at":"2024-01-01"}"#).unwrap(),
            ctx: Json::null(),
            event_id: Some("log.csv:2".into()),
            idempotency_key: Some(key.into()),
        };
        earlier.take(2, &applied, sought);
        assert_eq!(earlier.cases["c"].last_line, 2);
        assert_eq!(earlier.cases["c"].last_time, RowTime::parse("2024-01-01"));
        let deleted = WalEntry::DeleteInstance { instance_id: "c".into(), idempotency_key: None };
        earlier.take(3, &deleted, sought);
        assert_eq!((earlier.deleted("c"), earlier.cases.len()), (Some(3), 0));
    }
}
