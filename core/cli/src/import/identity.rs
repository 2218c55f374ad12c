//! Which row is which, whatever file it is in: a row is known by what it says.
//!
//! A file may grow, be split, renamed or exported anew, with its columns or cases in another order: the same row stays
//! the same. Rows of a case that say exactly the same are told apart by their number, first, second and so on.
//! Where a row stood is kept as well, so that one that was changed afterwards is noticed.

use std::collections::HashMap;
use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rstmdb::Offset;
use sha2::{Digest, Sha256};

/// A row, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowId(u128);

/// A file, by the first row it has: it may grow and be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u32);

/// What the log keeps of a row that was applied, in its idempotency key.
///
/// Keys outlive the instance they were used for: one that is created again has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowKey {
    pub(super) row: RowId,
    pub(super) file: FileId,
    /// Where the instance that had the id before was deleted.
    pub(super) after: Option<Offset>,
}

/// When a row says that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowTime(Timestamp);

/// Gives the rows of a file their ids, in file order.
#[derive(Debug, Default)]
pub(super) struct RowIds {
    first: Option<FileId>,
    /// How often each content came. Half of its digest is enough to count by.
    seen: HashMap<u64, u32>,
}

/// Digests the parts of a row: no two lists of parts are the same bytes.
#[derive(Debug)]
pub(super) struct RowDigest(Sha256);

impl RowDigest {
    pub(super) fn new() -> RowDigest {
        RowDigest(Sha256::new())
    }

    pub(super) fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
    }

    pub(super) fn finish(self) -> RowId {
        let digest = self.0.finalize();
        let bytes = digest.iter().take(12);
        RowId(bytes.fold(0, |id, byte| id << 8 | u128::from(*byte)))
    }
}

impl RowIds {
    /// The id of the next row, which says `content`.
    pub(super) fn next(&mut self, content: RowId) -> (RowId, FileId) {
        let file = *self.first.get_or_insert(FileId((content.0 >> 64) as u32));
        let count = self.seen.entry(content.0 as u64).or_default();
        *count += 1;
        if *count == 1 {
            return (content, file);
        }
        let mut digest = RowDigest::new();
        digest.add(&format!("{content} {count}"));
        (digest.finish(), file)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:024x}", self.0)
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row:{}:{:08x}", self.row, self.file.0)?;
        self.after.map_or(Ok(()), |after| write!(f, ":{after}"))
    }
}

impl RowKey {
    /// What a key of an import says; None for the keys of others.
    pub(super) fn parse(key: &str) -> Option<RowKey> {
        let mut parts = key.strip_prefix("row:")?.split(':');
        let row = parts.next().filter(|digits| digits.len() == 24)?;
        let file = parts.next().filter(|digits| digits.len() == 8)?;
        let row = RowId(u128::from_str_radix(row, 16).ok()?);
        let file = FileId(u32::from_str_radix(file, 16).ok()?);
        let after = parts.next().map(str::parse).transpose().ok()?;
        parts.next().is_none().then_some(RowKey { row, file, after })
    }
}

impl RowTime {
    /// A point in time: ISO 8601, with or without a time of day or an offset. Without an offset it is taken as UTC, which
    /// orders rows of one file rightly.
    pub(super) fn parse(text: &str) -> Option<RowTime> {
        if let Ok(time) = text.parse() {
            return Some(RowTime(time));
        }
        let time: DateTime = text.parse().ok()?;
        time.to_zoned(TimeZone::UTC).ok().map(|time| RowTime(time.timestamp()))
    }

    /// As it goes into the digest: the same in every zone it may be written in.
    pub(super) fn canonical(self) -> String {
        let since: SignedDuration = self.0.as_duration();
        since.as_nanos().to_string()
    }
}

/// The id of the event of a row: where people find it.
pub(super) fn event_id(file_name: &str, line: u64) -> String {
    format!("{file_name}:{line}")
}

/// The file and the line that the id of an event names.
pub(super) fn place_of(event_id: &str) -> Option<(&str, u64)> {
    let (name, line) = event_id.rsplit_once(':')?;
    Some((name, line.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(parts: &[&str]) -> RowId {
        let mut digest = RowDigest::new();
        parts.iter().for_each(|part| digest.add(part));
        digest.finish()
    }

    #[test]
    fn the_same_content_again_is_another_row_and_the_same_one_in_another_file() {
        let (a, b) = (content(&["1", "Open"]), content(&["1", "Shut"]));
        assert_ne!(content(&["1O", "pen"]), a);
        let ids = |contents: &[RowId]| {
            let mut ids = RowIds::default();
            contents.iter().map(|content| ids.next(*content).0).collect::<Vec<_>>()
        };
        let whole = ids(&[a, b, a]);
        assert_ne!(whole[0], whole[2]);
        assert_eq!(ids(&[b, a, a]), [whole[1], whole[0], whole[2]]);
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let (row, file) = RowIds::default().next(content(&["x"]));
        for after in [None, Some(17)] {
            let key = RowKey { row, file, after };
            assert_eq!(RowKey::parse(&key.to_string()), Some(key));
        }
        for other in ["", "row:", "t-1:2", "row:12:34", "row:zz"] {
            assert_eq!(RowKey::parse(other), None, "{other}");
        }
    }

    #[test]
    fn times_are_the_same_in_every_zone() {
        let parse = |text: &str| RowTime::parse(text).unwrap();
        assert_eq!(parse("2024-01-02T03:04:05+02:00"), parse("2024-01-02T01:04:05Z"));
        assert!(parse("2024-01-02") < parse("2024-01-02 00:00:01"));
        assert!(RowTime::parse("soon").is_none());
    }

    #[test]
    fn event_ids_name_a_place() {
        assert_eq!(place_of("a:b.csv:7"), Some(("a:b.csv", 7)));
        assert_eq!(place_of("parcel-7"), None);
    }
}
