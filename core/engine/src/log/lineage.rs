//! Which histories the log is made of.
//!
//! Behind each opening, repair or restore the log may go on otherwise than somebody remembers it. So the
//! first frame written then comes behind an epoch frame with a random history id: an offset together
//! with the id of its time names a change for good.

use rstmdb_types::{Offset, Text};
use serde::{Deserialize, Serialize};

use super::OFFSET_MAX;
use super::frame::FrameHeader;
use crate::codec::u64_at;

/// The newest ids kept; who remembers an older one begins at the first offset there is.
const IDS_MAX: usize = 4096;

/// What an epoch frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// Counts the epochs of a database, from 1.
    pub number: u64,
    pub begins: Begins,
}

/// A history, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begins {
    /// 16 hex digits in the manifest.
    #[serde(with = "hex_digits")]
    pub id: u64,
    pub first: Offset,
}

impl Epoch {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let fields = [self.number, self.begins.id, self.begins.first];
        fields.iter().flat_map(|field| field.to_le_bytes()).collect()
    }

    /// What an intact epoch frame says; `None` when it makes no sense.
    pub(crate) fn decode(header: &FrameHeader, payload: &[u8]) -> Option<Epoch> {
        let field = |at| u64_at(payload, at);
        let begins = Begins { id: field(8)?, first: field(16)? };
        let epoch = Epoch { number: field(0)?, begins };
        let fits = begins.first == header.first && epoch.number == header.term >> 16;
        (fits && payload.len() == Epoch::BYTES).then_some(epoch)
    }
}

/// The histories as far back as the log reaches, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Lineage(Vec<Begins>);

impl Lineage {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Begins> {
        self.0.iter()
    }

    /// Puts a history behind all others, known or not: they are told in the order of the log.
    pub(crate) fn add(&mut self, begins: Begins) {
        self.0.retain(|known| known.id != begins.id);
        if self.0.len() == IDS_MAX {
            self.0.remove(0);
        }
        self.0.push(begins);
    }

    /// The history that an offset belongs to; `None` when it is older than what is known.
    pub(crate) fn of(&self, offset: Offset) -> Option<u64> {
        self.0.iter().rfind(|begins| begins.first <= offset).map(|begins| begins.id)
    }

    /// The id as people are told it.
    pub(crate) fn id_at(&self, offset: Offset) -> Option<Text> {
        self.of(offset).map(|id| format!("{id:016x}").into())
    }

    /// The last offset that a log of this history may have in common with this one; `None` when the history is
    /// not known.
    pub(crate) fn last_of(&self, id: &str) -> Option<Offset> {
        let id = parse(id)?;
        let place = self.0.iter().position(|begins| begins.id == id)?;
        Some(self.0.get(place + 1).map_or(OFFSET_MAX, |next| next.first.saturating_sub(1)))
    }

    /// Forgets histories that end before `first`, but for one that somebody may go on from there.
    pub(crate) fn forget_before(&mut self, first: Offset) {
        let kept = self.0.iter().skip(1).take_while(|next| next.first < first).count();
        self.0.drain(..kept);
    }

    /// Forgets histories that begin after `last`.
    pub(crate) fn forget_after(&mut self, last: Offset) {
        self.0.retain(|begins| begins.first <= last);
    }

    /// Whether each begins where the one before it did or later.
    pub(crate) fn is_ordered(&self) -> bool {
        self.0.is_sorted_by_key(|begins| begins.first)
    }
}

fn parse(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

mod hex_digits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{id:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(from)?;
        super::parse(&digits).ok_or_else(|| D::Error::custom("a history id is not 16 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame::EPOCH;
    use crate::log::tip::Tip;

    #[test]
    fn a_lineage_reaches_as_far_as_the_log_and_no_further() {
        let mut lineage = Lineage::default();
        assert_eq!(lineage.of(1), None);
        for (id, first) in [(11, 1), (12, 5), (13, 5), (14, 9)] {
            lineage.add(Begins { id, first });
            lineage.add(Begins { id, first });
        }
        let ids = |lineage: &Lineage| lineage.iter().map(|begins| begins.id).collect::<Vec<_>>();
        assert_eq!(ids(&lineage), [11, 12, 13, 14]);
        let of = [0, 4, 5, 8, 9, 99].map(|offset| lineage.of(offset));
        assert_eq!(of, [None, Some(11), Some(13), Some(13), Some(14), Some(14)]);
        let mut again = lineage.clone();
        again.add(Begins { id: 13, first: 5 });
        again.add(Begins { id: 14, first: 9 });
        assert_eq!(again, lineage, "read once more");
        let text = serde_json::to_string(&lineage).unwrap();
        assert!(text.starts_with(r#"[{"id":"000000000000000b","first":1},"#), "{text}");
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
        let mut cut = lineage.clone();
        cut.forget_after(8);
        assert_eq!(ids(&cut), [11, 12, 13]);
        lineage.forget_before(8);
        assert_eq!(ids(&lineage), [13, 14]);
        for first in 10..10 + IDS_MAX as u64 {
            lineage.add(Begins { id: first << 8, first });
        }
        assert_eq!(lineage.iter().count(), IDS_MAX);
    }

    #[test]
    fn epochs_round_trip() {
        let epoch = Epoch { number: 3, begins: Begins { id: u64::MAX, first: 7 } };
        let tip = Tip { next: 7, term: 3 << 16, ..Tip::START };
        let header = tip.control(EPOCH, &epoch.encode(), 0);
        assert_eq!(Epoch::decode(&header, &epoch.encode()), Some(epoch));
        assert_eq!(Epoch::decode(&header, &epoch.encode()[1..]), None);
        let other = FrameHeader { term: 4 << 16, ..header };
        assert_eq!(Epoch::decode(&other, &epoch.encode()), None);
    }
}
