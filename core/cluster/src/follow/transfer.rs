//! A checkpoint of the source, on its way into the directory.

use std::io;
use std::sync::Arc;

use rstmdb_engine::Location;
use rstmdb_engine::storage::File;

use crate::peer::{Chunk, Offer, PeerError, PeerRefusal};
use rstmdb_types::error::reason;

/// Where a checkpoint waits until it is whole.
const INCOMING: &str = "incoming";

/// The file that a checkpoint comes into. What is there of it stays when the connection ends.
pub(crate) struct Transfer {
    location: Location,
    path: String,
    file: Arc<dyn File>,
    offer: Offer,
    position: u64,
}

impl Transfer {
    /// Goes on with what is there of this very checkpoint, or begins.
    pub(crate) fn begin(location: &Location, offer: Offer) -> io::Result<Transfer> {
        let storage = &*location.storage;
        let name = format!("{:016x}-{:016x}-{}.part", offer.at.index, offer.at.chain, offer.bytes);
        storage.create_dir(INCOMING)?;
        for other in storage.list(INCOMING)?.iter().filter(|other| **other != name) {
            storage.remove(&format!("{INCOMING}/{other}"))?;
        }
        let path = format!("{INCOMING}/{name}");
        let file = match storage.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&path)?,
            created => created?,
        };
        let mut position = file.len()?;
        if position > offer.bytes {
            file.set_len(0)?;
            position = 0;
        }
        Ok(Transfer { location: location.clone(), path, file, offer, position })
    }

    /// The bytes that are there.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether all bytes are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.position == self.offer.bytes
    }

    /// Takes some bytes; says whether those were the last.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> Result<bool, PeerError> {
        let length = chunk.bytes.len() as u64;
        let end = self.position + length;
        let is_last = length == 0;
        if chunk.position != self.position
            || end > self.offer.bytes
            || (is_last && end != self.offer.bytes)
        {
            let what = format!(
                "{length} bytes at {} of the checkpoint came, and {} of {} are there: they do not go on",
                chunk.position, self.position, self.offer.bytes
            );
            return Err(PeerError::Refusing(PeerRefusal::for_now(reason::LOG_MISMATCH, what)));
        }
        let mut rest = chunk.bytes.as_slice();
        while !rest.is_empty() {
            let written = self.file.write_at(rest, self.position)?;
            if written == 0 {
                return Err(PeerError::Io(io::ErrorKind::WriteZero.into()));
            }
            self.position += written as u64;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(is_last)
    }

    /// Reads what came.
    pub(crate) fn read(&self, buffer: &mut [u8], position: u64) -> rstmdb_types::Result<usize> {
        let read = self.file.read_at(buffer, position);
        read.map_err(|error| PeerError::Io(error).into())
    }

    /// It is in its place, or of no use.
    pub(crate) fn end(self) {
        if let Err(error) = self.location.storage.remove(&self.path) {
            tracing::warn!("{} stays in {}: {error}", self.path, self.location.name);
        }
    }
}
