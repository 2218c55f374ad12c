//! Messages over a stream of bytes, numbered in each direction.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::decoder::Decoder;
use super::error::PeerError;
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
}

impl<R: AsyncRead + Unpin> PeerReader<R> {
    /// Reads from a stream at whose beginning a message begins.
    pub fn new(stream: R, decoder: Decoder) -> PeerReader<R> {
        PeerReader { stream, decoder, buffer: vec![0; READ_BYTES], unread: 0..0, next: 1 }
    }

    /// Messages of so many bytes are taken from now on.
    pub fn allow(&mut self, bytes_max: u64) {
        self.decoder.allow(bytes_max);
    }

    /// The next message. It may be given up and asked for again: nothing is lost.
    pub async fn next(&mut self) -> Result<Message, PeerError> {
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
                return Ok(found.message);
            }
            let length = self.stream.read(&mut self.buffer).await?;
            if length == 0 {
                return Err(PeerError::Closed { in_message: self.decoder.is_amid() });
            }
            self.unread = 0..length;
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
