//! A checkpoint that another member hands over, and the frames that go with it, in files until the engine takes them.

use std::io;
use std::sync::Arc;

use rstmdb_engine::Location;
use rstmdb_engine::replication::LogFrame;
use rstmdb_engine::storage::File;
use rstmdb_types::Result;

use super::dial::unexpected;
use crate::follow::on_thread;
use crate::follow::transfer::Transfer;
use crate::peer::{Handover, Message, PeerError, PeerRefusal};
use crate::raft::SnapshotSource;
use rstmdb_types::error::reason;

/// Frames that wait.
const FRAMES: &str = "incoming/frames";
/// So many of their bytes are read at once.
const PIECE_BYTES: usize = 4 << 20;

/// What came.
pub(super) struct Received {
    transfer: Transfer,
    spool: Spool,
}

impl SnapshotSource for Received {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.transfer.read(buffer, position)
    }

    fn frames(&self, from: u64, to: u64) -> Result<Vec<LogFrame>> {
        self.spool.read(from, to)
    }
}

impl Received {
    /// Where the transfer goes on, with what is there already.
    pub(super) async fn begin(
        location: &Location,
        handover: &Handover,
    ) -> std::result::Result<(Received, u64), PeerError> {
        let (location, offer) = (location.clone(), handover.offer);
        on_thread(move || {
            let transfer = Transfer::begin(&location, offer)?;
            let position = transfer.position();
            let spool = Spool::begin(&location, offer.at.index + 1)?;
            Ok((Received { transfer, spool }, position))
        })
        .await
    }

    /// Takes a message; says whether more is to come.
    pub(super) async fn take(
        mut self,
        message: Message,
        until: u64,
    ) -> std::result::Result<(Received, bool), PeerError> {
        on_thread(move || {
            let is_more = match message {
                Message::Chunk(chunk) => {
                    let is_last = self.transfer.take(&chunk)?;
                    !is_last || self.spool.next <= until
                }
                Message::Frames(frames) if self.transfer.is_whole() => {
                    self.spool.take(&frames.frames, until)?;
                    self.spool.next <= until
                }
                other => return Err(unexpected(other.kind(), "a part of the checkpoint")),
            };
            Ok((self, is_more))
        })
        .await
    }
}

/// Frames in a file, in order.
struct Spool {
    file: Arc<dyn File>,
    /// Where each begins, and where the last one ends.
    places: Vec<u64>,
    first: u64,
    next: u64,
}

impl Spool {
    fn begin(location: &Location, first: u64) -> io::Result<Spool> {
        let storage = &*location.storage;
        match storage.remove(FRAMES) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = storage.create(FRAMES)?;
        Ok(Spool { file, places: vec![0], first, next: first })
    }

    fn take(&mut self, frames: &[LogFrame], until: u64) -> std::result::Result<(), PeerError> {
        for frame in frames {
            if frame.index() != self.next || frame.index() > until {
                let what = format!(
                    "frame {} came where frame {} is the next that goes with the checkpoint",
                    frame.index(),
                    self.next
                );
                let refusal = PeerRefusal::for_now(reason::LOG_MISMATCH, what);
                return Err(PeerError::Refusing(refusal));
            }
            let (bytes, at) = (frame.encode(), self.places.last().copied().unwrap_or(0));
            let mut written = 0;
            while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                match self.file.write_at(rest, at + written as u64)? {
                    0 => return Err(PeerError::Io(io::ErrorKind::WriteZero.into())),
                    count => written += count,
                }
            }
            self.places.push(at + bytes.len() as u64);
            self.next += 1;
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64) -> Result<Vec<LogFrame>> {
        let mut frames = Vec::new();
        let mut taken = 0;
        for index in from.max(self.first)..=to {
            let number = usize::try_from(index - self.first).unwrap_or(usize::MAX);
            let ends = (self.places.get(number), self.places.get(number.saturating_add(1)));
            let (Some(begin), Some(end)) = ends else { break };
            let length = usize::try_from(end - begin).unwrap_or(usize::MAX);
            if taken > 0 && taken + length > PIECE_BYTES {
                break;
            }
            taken += length;
            let mut bytes = vec![0; length];
            let read = self.file.read_full_at(&mut bytes, *begin);
            read.map_err(|error| rstmdb_types::Error::from(PeerError::Io(error)))?;
            frames.push(LogFrame::decode(&bytes)?);
        }
        Ok(frames)
    }
}
