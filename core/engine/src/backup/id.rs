//! The name of a backup: what its content follows from.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Text, TimestampMs};

use crate::log::OFFSET_MAX;
use crate::manifest::hex;

/// Which backup of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackupId {
    pub database: [u8; 4],
    /// The number of the checkpoint; 0: none.
    pub checkpoint: u64,
    /// The last change.
    pub last: Offset,
    /// The history of that.
    pub history: Option<u64>,
    pub begun_at: TimestampMs,
}

impl BackupId {
    pub(crate) fn text(&self) -> Text {
        let BackupId { checkpoint, last, history, begun_at, .. } = self;
        let (database, history) = (hex(&self.database), history.unwrap_or(0));
        format!("{database}-{checkpoint}-{last}-{history:016x}-{begun_at}").into()
    }

    pub(crate) fn parse(text: &str) -> Option<BackupId> {
        let mut fields = text.splitn(5, '-');
        let mut next = || fields.next();
        let database = u32::from_str_radix(next()?, 16).ok()?.to_be_bytes();
        let (checkpoint, last) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let history = u64::from_str_radix(next()?, 16).ok()?;
        let begun_at = next()?.parse().ok()?;
        let id = BackupId {
            database,
            checkpoint,
            last,
            history: (history != 0).then_some(history),
            begun_at,
        };
        // There is one way to write it.
        (last <= OFFSET_MAX && *id.text() == *text).then_some(id)
    }
}

/// A backup can't be gone on with.
pub(crate) fn gone(id: &str, why: &str) -> Error {
    let message = format!("backup {id:?} can't be gone on with: {why}; begin another");
    Error::new(ErrorCode::NotFound, message).with_reason(reason::BACKUP_GONE).with("backup_id", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_nothing_else_is_one() {
        for (last, history, begun_at) in [(7, Some(9), 5), (0, None, -5), (OFFSET_MAX, None, 0)] {
            let database = [0, 0xab, 1, 255];
            let id = BackupId { database, checkpoint: 3, last, history, begun_at };
            assert_eq!(BackupId::parse(&id.text()), Some(id));
        }
        for text in
            ["", "00ab01ff", "00ab01ff-3-7-0000000000000009-", "ab01ff-3-7-9-5", "a-b-c-d-e"]
        {
            assert_eq!(BackupId::parse(text), None, "{text}");
        }
        assert_eq!(BackupId::parse("00ab01ff-3-+7-0000000000000009-5"), None);
    }
}
