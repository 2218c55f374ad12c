//! The results of a batch with an idempotency key were remembered.

use rstmdb_types::{Json, WalEntry};

use super::{KEY_FLAGS, KeyRef, Kind, Stamp, Piece, get_key, put_key};
use crate::codec::{Reader, put_str};
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::{Answer, Machines};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchResult<'a> {
    pub key: &'a str,
    pub fingerprint: u64,
    pub results: Piece<'a>,
}

impl<'a> BatchResult<'a> {
    fn key(&self) -> KeyRef<'a> {
        KeyRef { key: self.key, fingerprint: self.fingerprint, global: true }
    }
}

impl<'a> Kind<'a> for BatchResult<'a> {
    const FLAGS: u8 = KEY_FLAGS;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_str(out, &self.results);
        put_key(out, Some(self.key()))
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let results = Piece::Read(reader.str()?);
        let key = get_key(reader, flags)??;
        Some(BatchResult { key: key.key, fingerprint: key.fingerprint, results })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, _known: Known) -> Result<(), Misfit> {
        let answer = Answer::Batch { results: self.results.json() };
        locked.remember(None, self.key(), stamp, answer)
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        Some(WalEntry::BatchResult { idempotency_key: self.key.into() })
    }
}
