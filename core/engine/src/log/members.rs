//! Who belongs to the group, in words that its driver puts into the log and the engine only keeps.

use std::fmt;

use super::tip::OFFSET_MAX;
use crate::codec::{Reader, put_str, put_u64};

/// The longest words, in bytes.
pub(crate) const MEMBERS_BYTES_MAX: usize = 64 << 10;

/// The newest word on who belongs to the group that is committed.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupMembers {
    /// The frame that said so.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What it said.
    pub words: String,
}

impl fmt::Debug for GroupMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupMembers({}@{}, {})", self.index, self.term, self.words)
    }
}

impl GroupMembers {
    /// What an intact frame says; `None` when it makes no sense.
    pub(crate) fn of(index: u64, term: u64, payload: &[u8]) -> Option<GroupMembers> {
        let words = std::str::from_utf8(payload).ok().filter(|it| it.len() <= MEMBERS_BYTES_MAX)?;
        Some(GroupMembers { index, term, words: words.to_owned() })
    }

    /// Puts it into a checkpoint.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.index);
        put_u64(out, self.term);
        put_str(out, &self.words);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<GroupMembers> {
        let (index, term) = (reader.u64()?, reader.u64()?);
        let words = reader.str()?.to_owned();
        (index <= OFFSET_MAX).then_some(GroupMembers { index, term, words })
    }
}
