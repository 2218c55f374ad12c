//! Messages over a stream of bytes, numbered in each direction.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::decoder::Decoder;
use super::error::PeerError;
use super::memory::{PeerMemory, PeerRoom};
use super::message::Message;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// The messages that come.
#[derive(Debug)]
pub struct PeerReader<R> {
    stream: R,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// What of the buffer was not looked at.
    unread: std::ops::Range<usize>,
    next: u32,
    bound: Option<PeerBound>,
    /// When the message began to come of which a part is here.
    begun: Option<Instant>,
}

/// What the messages of a connection may cost.
#[derive(Debug)]
struct PeerBound {
    memory: PeerMemory,
    room: PeerRoom,
    /// A message that began to come must be whole after this time, and a second for each `SECOND_BYTES` of it.
    patience: Duration,
}

/// Even a slow line carries so much in a second.
const SECOND_BYTES: usize = 128 << 10;

impl<R: AsyncRead + Unpin> PeerReader<R> {
    /// Reads from a stream at whose beginning a message begins.
    pub fn new(stream: R, decoder: Decoder) -> PeerReader<R> {
        let (buffer, unread) = (vec![0; READ_BYTES], 0..0);
        PeerReader { stream, decoder, buffer, unread, next: 1, bound: None, begun: None }
    }

    /// The same for a stream whose other end is not trusted: large messages take their room from what all have together, and
    /// must not stop half-way.
    #[must_use]
    pub fn within(self, memory: PeerMemory, patience: Duration) -> PeerReader<R> {
        let bound = Some(PeerBound { memory, room: PeerRoom::default(), patience });
        PeerReader { bound, ..self }
    }

    /// What came and was not looked at, and the stream behind it: something else is spoken from here on.
    pub(crate) fn into_rest(self) -> (Vec<u8>, R) {
        (self.buffer.get(self.unread).unwrap_or_default().to_vec(), self.stream)
    }

    /// Messages of so many bytes are taken from now on.
    pub fn allow(&mut self, bytes_max: u64) {
        self.decoder.allow(bytes_max);
    }

    /// The next message. It may be given up and asked for again: nothing is lost.
    pub async fn next(&mut self) -> Result<Message, PeerError> {
        if !self.decoder.is_amid()
            && let Some(bound) = &mut self.bound
        {
            bound.room.leave();
        }
        loop {
            let mut bytes = self.buffer.get(self.unread.clone()).unwrap_or_default();
            let found = self.decoder.read(&mut bytes)?;
            self.unread.start = self.unread.end - bytes.len();
            if let Some(found) = found {
                if found.request != self.next {
                    return Err(PeerError::OutOfOrder {
                        expected: self.next,
                        found: found.request,
                    });
                }
                self.next = self.next.wrapping_add(1);
                self.begun = None;
                return Ok(found.message);
            }
            let length = self.read().await?;
            if length == 0 {
                return Err(PeerError::Closed { in_message: self.decoder.is_amid() });
            }
            self.unread = 0..length;
        }
    }

    /// Reads some bytes, as soon as there is room for them.
    async fn read(&mut self) -> Result<usize, PeerError> {
        let Some(bound) = &mut self.bound else {
            return Ok(self.stream.read(&mut self.buffer).await?);
        };
        let bytes = self.decoder.bytes();
        bound.room.reach(bytes + READ_BYTES, &bound.memory).await;
        if !self.decoder.is_amid() {
            return Ok(self.stream.read(&mut self.buffer).await?);
        }
        let allowed = bound.patience + Duration::from_secs((bytes / SECOND_BYTES) as u64);
        let end = *self.begun.get_or_insert_with(Instant::now) + allowed;
        match timeout_at(end, self.stream.read(&mut self.buffer)).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(PeerError::Silent { after: allowed }),
        }
    }

    /// The next message, unless nothing comes for so long.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Message, PeerError> {
        match timeout(patience, self.next()).await {
            Ok(next) => next,
            Err(_) => Err(PeerError::Silent { after: patience }),
        }
    }
}

/// The messages that go.
#[derive(Debug)]
pub struct PeerWriter<W> {
    stream: W,
    next: u32,
}

impl<W: AsyncWrite + Unpin> PeerWriter<W> {
    /// Writes into a stream.
    pub fn new(stream: W) -> PeerWriter<W> {
        PeerWriter { stream, next: 1 }
    }

    /// The stream: something else is spoken from here on.
    pub(crate) fn into_stream(self) -> W {
        self.stream
    }

    /// Sends a message. Who gives it up half-way must end the connection.
    pub async fn send(&mut self, message: &Message) -> Result<(), PeerError> {
        let request = self.next;
        self.next = request.wrapping_add(1);
        self.stream.write_all(&message.encode(0, request)).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends a message, unless the other side takes nothing for so long.
    pub async fn send_within(
        &mut self,
        message: &Message,
        patience: Duration,
    ) -> Result<(), PeerError> {
        match timeout(patience, self.send(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(PeerError::Silent { after: patience }),
        }
    }
}
