//! Who is told when frames are on the disk, in the order of the frames.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rstmdb_types::Result;

use crate::guards::{self, Safeguard};

/// Told once what became of the frames of one call.
pub(crate) type Synced = Box<dyn FnOnce(Result<()>) + Send>;

#[derive(Default)]
struct SyncQueue {
    waiting: VecDeque<(Result<()>, Synced)>,
    is_over: bool,
}

/// Those that wait for a sync.
#[derive(Default)]
pub(crate) struct SyncWaiters {
    queue: Mutex<SyncQueue>,
    /// Held over a round, so that all are told in order.
    round: Mutex<()>,
    arrived: Condvar,
}

impl std::fmt::Debug for SyncWaiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SyncWaiters({} wait)", self.queue.lock().waiting.len())
    }
}

impl SyncWaiters {
    /// Notes who is told when what was written so far is on the disk, or that it was not written.
    pub(crate) fn add(&self, written: Result<()>, done: Synced) {
        self.queue.lock().waiting.push_back((written, done));
        self.arrived.notify_one();
    }

    /// SyncWaiters for all that wait, and tells them.
    pub(crate) fn run(&self, sync: impl FnOnce() -> Result<()>) {
        let round = self.round.lock();
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        if waiting.is_empty() {
            return;
        }
        let synced = sync();
        let tell = |(written, done): (Result<()>, Synced)| {
            done(written.and_then(|()| synced.clone()));
        };
        match guards::enabled(Safeguard::SyncedInOrder) {
            true => waiting.into_iter().for_each(tell),
            false => waiting.into_iter().rev().for_each(tell),
        }
        drop(round);
    }

    /// Waits until somebody waits for a sync; says whether it goes on.
    fn wait(&self) -> bool {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() && !queue.is_over {
            self.arrived.wait(&mut queue);
        }
        !queue.waiting.is_empty()
    }

    /// Ends the thread, when all that wait were told.
    pub(crate) fn close(&self) {
        self.queue.lock().is_over = true;
        self.arrived.notify_all();
    }
}

/// SyncWaiters whenever somebody waits for it, until [`SyncWaiters::close`].
pub(crate) fn serve<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    syncs: fn(&T) -> Option<&SyncWaiters>,
    sync: impl Fn(&T) -> Result<()> + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let shared = shared.clone();
    std::thread::Builder::new().name("rstmdb-syncs".to_owned()).spawn(move || {
        while let Some(syncs) = syncs(&shared) {
            if !syncs.wait() {
                return;
            }
            syncs.run(|| sync(&shared));
        }
    })
}
