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

use crate::config::NetworkConfig;

/// Read in one go.
const READ_BYTES: usize = 64 << 10;
/// So much of a message each connection may keep; what arrives beyond it takes room from the budget.
const FREE_BYTES: usize = 64 << 10;
/// What an empty buffer may keep.
const KEPT_BYTES: usize = 16 << 10;
/// The budget is counted in these.
const BUDGET_UNIT: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for half-received large messages, shared by all connections. It is given for bytes that arrive,
/// not for what a header announces; when there is none left, one message at a time may still become
/// whole, so that they do not wait for each other.
#[derive(Debug, Clone)]
pub(crate) struct FrameMemory {
    free: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// The room that a message has.
#[derive(Debug, Default)]
pub(crate) struct Room {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
    /// It may become as large as a message may be.
    turn: Option<OwnedSemaphorePermit>,
}

enum Given {
    More(OwnedSemaphorePermit),
    Turn(OwnedSemaphorePermit),
}

type Wait = Pin<Box<dyn Future<Output = Result<Given, AcquireError>> + Send>>;

impl FrameMemory {
    /// The budget that is set. The largest message needs its part of it when its turn has come.
    pub(crate) fn new(network: &NetworkConfig) -> FrameMemory {
        let bytes = network.frame_memory_bytes.saturating_sub(network.max_frame_bytes);
        let units = bytes / BUDGET_UNIT;
        let units = units.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        FrameMemory { free: Arc::new(Semaphore::new(units)), turn: Arc::new(Semaphore::new(1)) }
    }

    fn acquire(&self) -> Wait {
        let FrameMemory { free, turn } = self.clone();
        let units = u32::try_from(READ_BYTES / BUDGET_UNIT).unwrap_or(u32::MAX);
        Box::pin(async move {
            tokio::select! {
                biased;
                more = free.acquire_many_owned(units) => more.map(Given::More),
                turn = turn.acquire_owned() => turn.map(Given::Turn),
            }
        })
    }
}

impl Room {
    /// How many bytes more may be read behind so many.
    fn left(&self, bytes: usize) -> usize {
        match self.turn {
            Some(_) => READ_BYTES,
            None => (FREE_BYTES + self.bytes).saturating_sub(bytes).min(READ_BYTES),
        }
    }

    fn add(&mut self, given: Given) {
        match given {
            Given::Turn(turn) => self.turn = Some(turn),
            Given::More(permit) => {
                self.bytes += READ_BYTES;
                match &mut self.permit {
                    Some(all) => all.merge(permit),
                    None => self.permit = Some(permit),
                }
            }
        }
    }
}

/// The read side of a connection.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Bytes at the front that were dealt with.
    taken: usize,
    /// How many bytes make the next message, as far as is known.
    needed: usize,
    memory: FrameMemory,
    waiting: Option<Wait>,
    room: Room,
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
            memory,
            waiting: None,
            room: Room::default(),
        }
    }

    /// What is here that was not taken.
    pub(crate) fn unread(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Whether nothing is here that was not taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.unread().is_empty()
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
                self.needed = needed;
                Ok(None)
            }
        }
    }

    /// Takes over the room of the message, for as long as it is worked on.
    pub(crate) fn take_room(&mut self) -> Room {
        std::mem::take(&mut self.room)
    }

    /// Forgets the message that was dealt with.
    pub(crate) fn take(&mut self, consumed: usize) {
        self.taken += consumed;
        self.needed = 1;
        self.room = Room::default();
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
        let most = ready!(self.poll_room(context))?;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
            ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
            let arrived = buffer.filled();
            if arrived.is_empty() {
                return Poll::Ready(Ok(Read::End));
            }
            if self.taken > 0 {
                self.buffer.drain(..self.taken);
                self.taken = 0;
            }
            self.grow(arrived.len());
            self.buffer.extend_from_slice(arrived);
            Poll::Ready(Ok(Read::Some))
        })
    }

    /// Doubles what there is, up to what the message needs.
    fn grow(&mut self, arrived: usize) {
        let bytes = self.buffer.len() + arrived;
        if bytes > self.buffer.capacity() {
            let capacity = (2 * self.buffer.capacity()).min(self.needed).max(bytes);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    /// Waits until there is room for something to arrive, and says for how much.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let left = self.room.left(self.unread().len());
            if left > 0 {
                return Poll::Ready(Ok(left));
            }
            let memory = &self.memory;
            let wait = self.waiting.get_or_insert_with(|| memory.acquire());
            let given = ready!(wait.as_mut().poll(context));
            self.waiting = None;
            self.room.add(given.map_err(io::Error::other)?);
        }
    }
}
