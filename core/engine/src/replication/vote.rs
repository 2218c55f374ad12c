//! What a node must never forget: its vote, and how far it knows the log to be decided on.
//!
//! The file has two slots that are written in turn, each with a checksum: a write that is cut off leaves the
//! slot before it, and was never answered.

use std::io;
use std::sync::Arc;

use rstmdb_types::{Error, Result};

use crate::codec::{put_at, u32_at, u64_at};
use crate::error::{corrupt, io as io_error, outcome_unknown};
use crate::guards::{self, Safeguard};
use crate::storage::{File, Storage, remove_if_there};

pub(crate) const VOTE: &str = "VOTE";
const VOTE_TEMPORARY: &str = "VOTE.tmp";
const MAGIC: u32 = u32::from_le_bytes(*b"RVOT");
const SLOT_BYTES: usize = 512;
const BODY_AT: usize = 32;
const CHECKSUM_AT: usize = SLOT_BYTES - 4;
/// The longest vote.
pub(crate) const VOTE_BYTES_MAX: usize = CHECKSUM_AT - BODY_AT;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ballot {
    sequence: u64,
    /// Frames up to here are decided on.
    pub committed: u64,
    /// The highest epoch that was heard of.
    pub epoch: u64,
    /// What the library that votes wants to find again.
    pub vote: Option<Vec<u8>>,
}

impl Ballot {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        // One more than its length: none is not empty.
        let length = self.vote.as_ref().map_or(0, |vote| vote.len() as u32 + 1);
        put_at(&mut bytes, 0, MAGIC.to_le_bytes());
        put_at(&mut bytes, 4, length.to_le_bytes());
        put_at(&mut bytes, 8, self.sequence.to_le_bytes());
        put_at(&mut bytes, 16, self.committed.to_le_bytes());
        put_at(&mut bytes, 24, self.epoch.to_le_bytes());
        for (byte, of_vote) in bytes.iter_mut().skip(BODY_AT).zip(self.vote.iter().flatten()) {
            *byte = *of_vote;
        }
        let checksum = crc32c::crc32c(bytes.get(..CHECKSUM_AT).unwrap_or_default());
        put_at(&mut bytes, CHECKSUM_AT, checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Ballot> {
        let covered = bytes.get(..CHECKSUM_AT)?;
        if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, CHECKSUM_AT)? != crc32c::crc32c(covered) {
            return None;
        }
        let vote = match (u32_at(bytes, 4)? as usize).checked_sub(1) {
            Some(length) => Some(bytes.get(BODY_AT..BODY_AT + length)?.to_vec()),
            None => None,
        };
        let (sequence, committed) = (u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        Some(Ballot { sequence, committed, epoch: u64_at(bytes, 24)?, vote })
    }
}

/// The file, open to be written.
pub(crate) struct VoteFile {
    storage: Arc<dyn Storage>,
    file: Option<Arc<dyn File>>,
    ballot: Ballot,
    /// The slot that is written next.
    slot: u64,
    /// After a failed sync nobody knows what is on the disk.
    failed: Option<Error>,
}

impl std::fmt::Debug for VoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VoteFile({:?})", self.ballot)
    }
}

impl VoteFile {
    /// Reads the file, if there is one.
    pub(crate) fn open(storage: Arc<dyn Storage>) -> Result<VoteFile> {
        let failed = |error: io::Error| io_error(&format!("reading {VOTE}"), error);
        let file = match storage.open(VOTE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(failed)?),
        };
        let (mut ballot, mut slot) = (Ballot::default(), 0);
        if let Some(file) = &file {
            let mut bytes = [0; 2 * SLOT_BYTES];
            file.read_full_at(&mut bytes, 0).map_err(failed)?;
            let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
            let found = (0..).zip(slots).filter_map(|(at, slot)| Some((at, Ballot::decode(slot)?)));
            let newest = found.max_by_key(|(_, ballot)| ballot.sequence);
            let newest = newest.ok_or_else(|| corrupt(VOTE, 0, "neither vote in it is whole"))?;
            (slot, ballot) = (1 - newest.0, newest.1);
        }
        Ok(VoteFile { storage, file, ballot, slot, failed: None })
    }

    pub(crate) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    pub(crate) fn ballot(&self) -> &Ballot {
        &self.ballot
    }

    /// Changes what the file says; it is on the disk when this returns.
    pub(crate) fn save(&mut self, change: impl FnOnce(&mut Ballot)) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut next = self.ballot.clone();
        change(&mut next);
        if next == self.ballot && self.file.is_some() {
            return Ok(());
        }
        next.sequence += 1;
        let written = match &self.file {
            Some(file) => self.write(&**file, &next),
            None => self.create(&next).map(|file| self.file = Some(file)),
        };
        if let Err(error) = written {
            let error = outcome_unknown(&error);
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.ballot = next;
        self.slot = 1 - self.slot;
        Ok(())
    }

    fn write(&self, file: &dyn File, next: &Ballot) -> io::Result<()> {
        file.write_all_at(&next.encode(), self.slot * SLOT_BYTES as u64)?;
        match guards::enabled(Safeguard::VoteBeforeAnswer) {
            true => file.sync_data(),
            false => Ok(()),
        }
    }

    fn create(&self, next: &Ballot) -> io::Result<Arc<dyn File>> {
        remove_if_there(&*self.storage, VOTE_TEMPORARY)?;
        let file = self.storage.create(VOTE_TEMPORARY)?;
        file.set_len(2 * SLOT_BYTES as u64)?;
        self.write(&*file, next)?;
        self.storage.rename(VOTE_TEMPORARY, VOTE)?;
        self.storage.sync_dir("")?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_vote_is_found_again_and_a_torn_one_leaves_the_one_before() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let open = || VoteFile::open(storage.clone());
        let mut votes = open().unwrap();
        assert_eq!(*votes.ballot(), Ballot::default());
        for number in 1..6u8 {
            votes.save(|ballot| ballot.vote = Some(vec![number; 3])).unwrap();
            votes.save(|ballot| ballot.committed = u64::from(number)).unwrap();
            assert_eq!(open().unwrap().ballot(), votes.ballot());
        }
        votes.save(|ballot| ballot.vote = Some(Vec::new())).unwrap();
        assert_eq!(open().unwrap().ballot().vote.as_deref(), Some(&[][..]));
        votes.save(|ballot| ballot.vote = Some(vec![7; VOTE_BYTES_MAX])).unwrap();
        let newest = open().unwrap().ballot().clone();
        assert_eq!(newest.vote, Some(vec![7; VOTE_BYTES_MAX]));
        let file = storage.open(VOTE).unwrap();
        let written = (1 - open().unwrap().slot) * SLOT_BYTES as u64;
        file.write_all_at(b"?", written + 40).unwrap();
        let before = open().unwrap();
        assert_eq!(before.ballot().vote.as_deref(), Some(&[][..]));
        assert_eq!(before.slot * SLOT_BYTES as u64, written, "the torn one is written again");
        file.write_all_at(b"?", (SLOT_BYTES as u64 - written) + 40).unwrap();
        assert_eq!(open().unwrap_err().reason(), Some("corrupt"));
    }
}
