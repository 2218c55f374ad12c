//! Bytes that arrived and are not requests yet.
//!
//! What arrives goes through a buffer of the thread, so that a connection that is idle keeps none.
//! Room for a large frame comes out of a budget that all connections share.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rstmdb_protocol::frame::{self, Decoded, FrameError, WireMode};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Read in one go.
const READ_BYTES: usize = 64 << 10;
/// A message above this size takes its room from the shared budget.
const LARGE_BYTES: usize = 64 << 10;
/// What an empty buffer may keep.
const KEPT_BYTES: usize = 16 << 10;
/// The budget is counted in these.
const BUDGET_UNIT: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for half-received large messages, shared by all connections.
#[derive(Debug, Clone)]
pub(crate) struct FrameMemory {
    free: Arc<Semaphore>,
    units: usize,
}

type Wait = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl FrameMemory {
    pub(crate) fn new(bytes: usize) -> FrameMemory {
        let units = (bytes / BUDGET_UNIT).clamp(1, u32::MAX as usize);
        FrameMemory { free: Arc::new(Semaphore::new(units)), units }
    }

    fn acquire(&self, bytes: usize) -> Wait {
        let units = bytes.div_ceil(BUDGET_UNIT).min(self.units);
        Box::pin(self.free.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)))
    }
}

/// The read side of a connection.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Bytes at the front that were dealt with.
    taken: usize,
    /// How many bytes make the next message, as far as is known.
    needed: usize,
    /// The next message may be a line, whose length nobody knows.
    is_line: bool,
    memory: FrameMemory,
    waiting: Option<Wait>,
    room: Option<OwnedSemaphorePermit>,
}

/// What reading came to.
pub(crate) enum Read {
    /// Bytes arrived.
    Some,
    /// The client will send no more.
    End,
}

impl Inbox {
    pub(crate) fn new(memory: FrameMemory) -> Inbox {
        Inbox {
            buffer: Vec::new(),
            taken: 0,
            needed: 1,
            is_line: false,
            memory,
            waiting: None,
            room: None,
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Whether more bytes are needed before there is another message.
    pub(crate) fn is_hungry(&self) -> bool {
        self.unread().len() < self.needed
    }

    /// Whether a message has begun to arrive and is not complete.
    pub(crate) fn is_partial(&self) -> bool {
        self.taken < self.buffer.len() && self.is_hungry()
    }

    /// The next complete message, and how many bytes it took.
    pub(crate) fn message(
        &mut self,
        mode: WireMode,
        payload_bytes_max: usize,
    ) -> Result<Option<(&[u8], usize)>, FrameError> {
        if self.is_hungry() {
            return Ok(None);
        }
        let unread = self.buffer.get(self.taken..).unwrap_or_default();
        let decoded = match mode {
            WireMode::Frames => frame::decode(unread, payload_bytes_max)?,
            WireMode::Lines => frame::decode_line(unread, self.needed - 1, payload_bytes_max)?,
        };
        match decoded {
            Decoded::Message { payload, consumed } => Ok(Some((payload, consumed))),
            Decoded::Incomplete { needed } => {
                self.is_line = mode == WireMode::Lines;
                self.needed = needed;
                Ok(None)
            }
        }
    }

    /// Takes over the room of the message, for as long as it is worked on.
    pub(crate) fn take_room(&mut self) -> Option<OwnedSemaphorePermit> {
        self.room.take()
    }

    /// Forgets the message that was dealt with.
    pub(crate) fn take(&mut self, consumed: usize) {
        self.taken += consumed;
        self.needed = 1;
        self.room = None;
        if self.taken >= self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.taken = 0;
        }
    }

    /// Reads what has arrived.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Read>> {
        ready!(self.poll_room(context))?;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
            let arrived = buffer.filled();
            if arrived.is_empty() {
                return Poll::Ready(Ok(Read::End));
            }
            if self.taken > 0 {
                self.buffer.drain(..self.taken);
                self.taken = 0;
            }
            self.buffer.extend_from_slice(arrived);
            Poll::Ready(Ok(Read::Some))
        })
    }

    /// Waits for room when a large message is on its way.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let needed = self.needed.max(self.unread().len());
        if needed <= LARGE_BYTES || self.room.is_some() {
            return Poll::Ready(Ok(()));
        }
        let bytes = if self.is_line { frame::PAYLOAD_BYTES_MAX } else { needed };
        let memory = &self.memory;
        let wait = self.waiting.get_or_insert_with(|| memory.acquire(bytes));
        let room = ready!(wait.as_mut().poll(context));
        self.waiting = None;
        self.room = Some(room.map_err(io::Error::other)?);
        Poll::Ready(Ok(()))
    }
}
