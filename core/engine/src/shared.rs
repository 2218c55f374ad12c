//! The parts of an open database and how they hang together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use rstmdb_types::{LogPosition, Offset, TimestampMs};

use crate::log::queue::{Batch, Queue, Sink, SinkResult};
use crate::log::{LogFiles, LogWriter, Ring};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::state::State;
use crate::storage::{Entropy, Storage};
use crate::time::Time;

/// The writer, and the state it takes back when it fails.
pub(crate) struct EngineSink {
    pub writer: LogWriter,
    state: Arc<State>,
    /// Woken now and then while the log grows.
    pub jobs: Option<Waker>,
    bytes_until_wake: u64,
}

/// The thread of the jobs looks at the log this often, in bytes.
const JOBS_WAKE_BYTES: u64 = 1 << 20;

impl EngineSink {
    pub(crate) fn new(writer: LogWriter, state: Arc<State>) -> EngineSink {
        EngineSink { writer, state, jobs: None, bytes_until_wake: JOBS_WAKE_BYTES }
    }
}

impl Sink for EngineSink {
    fn write(&mut self, batch: Batch) -> SinkResult {
        let bytes = batch.buffer.len() as u64;
        self.writer.append(batch)?;
        if let Some(waker) = &self.jobs {
            self.bytes_until_wake = self.bytes_until_wake.saturating_sub(bytes);
            if self.bytes_until_wake == 0 {
                self.bytes_until_wake = JOBS_WAKE_BYTES;
                waker.wake_by_ref();
            }
        }
        Ok(())
    }

    fn roll_back(&mut self, durable: Offset, reset: &mut dyn FnMut()) {
        self.state.roll_back(durable, reset);
    }
}

/// An open database.
pub(crate) struct Shared {
    pub name: String,
    pub options: Options,
    pub storage: Arc<dyn Storage>,
    pub time: Time,
    pub entropy: Arc<dyn Entropy>,
    pub database: [u8; 16],
    pub state: Arc<State>,
    pub queue: Queue<EngineSink>,
    pub files: Arc<LogFiles>,
    pub ring: Arc<Ring>,
    pub manifest: Mutex<Manifest>,
    /// The first offset that can be read; kept beside the manifest to be read without its lock.
    pub first_offset: AtomicU64,
    /// Log bytes written when the last checkpoint began.
    pub checkpointed_bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn now(&self) -> TimestampMs {
        self.time.now()
    }

    /// The offset below which changes need no way back, `None` when none ever does.
    pub(crate) fn undo_below(&self) -> Option<Offset> {
        (!self.storage.is_volatile()).then(|| self.queue.committed())
    }

    pub(crate) fn first_offset(&self) -> Offset {
        self.first_offset.load(Ordering::Acquire)
    }

    /// The place before an offset.
    pub(crate) fn position(&self, next: Offset) -> LogPosition {
        let history_id = self.files.lineage.lock().id_at(next.saturating_sub(1));
        LogPosition { next, history_id }
    }
}
