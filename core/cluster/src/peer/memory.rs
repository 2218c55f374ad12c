//! Room for messages that have arrived in part, shared by all connections of a node.
//!
//! It is given for bytes that came, not for what a header announces. When there is none left, one message at a time may
//! still become whole, so that they do not wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So much of a message each connection may have.
const FREE_BYTES: usize = 128 << 10;
/// Room is given in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The room of all connections.
#[derive(Debug, Clone)]
pub struct PeerMemory {
    pieces: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl PeerMemory {
    /// So many bytes, and one message beside them.
    pub fn of(bytes: usize) -> PeerMemory {
        let pieces = (bytes / PIECE_BYTES).min(Semaphore::MAX_PERMITS);
        PeerMemory { pieces: Arc::new(Semaphore::new(pieces)), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// What one connection has of it.
#[derive(Debug, Default)]
pub(super) struct PeerRoom {
    pieces: Vec<OwnedSemaphorePermit>,
    /// Its message may become as long as it is.
    turn: Option<OwnedSemaphorePermit>,
}

impl PeerRoom {
    /// Waits until a message may have so many bytes. Who gives that up loses nothing.
    pub(super) async fn reach(&mut self, bytes: usize, memory: &PeerMemory) {
        while self.turn.is_none() && bytes > FREE_BYTES + self.pieces.len() * PIECE_BYTES {
            // Neither is ever closed.
            tokio::select! {
                biased;
                Ok(piece) = memory.pieces.clone().acquire_owned() => self.pieces.push(piece),
                Ok(turn) = memory.turn.clone().acquire_owned() => self.turn = Some(turn),
                else => return,
            }
        }
    }

    /// Gives all of it back.
    pub(super) fn leave(&mut self) {
        if self.turn.is_some() || !self.pieces.is_empty() {
            *self = PeerRoom::default();
        }
    }
}
