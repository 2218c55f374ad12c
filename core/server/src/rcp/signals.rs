//! Which watches of a connection are to be asked: those that something happened to, not all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// The signals of a connection, in the order in which they were given.
#[derive(Default)]
pub(crate) struct WatchSignals(Mutex<GivenSignals>);

#[derive(Default)]
struct GivenSignals {
    numbers: VecDeque<u64>,
    connection: Option<Waker>,
}

impl WatchSignals {
    /// Wakes the connection from now on.
    pub(crate) fn listen(&self, connection: &Waker) {
        let known = &mut self.0.lock().connection;
        if !known.as_ref().is_some_and(|known| known.will_wake(connection)) {
            *known = Some(connection.clone());
        }
    }

    /// The watch that was signalled first. It may be gone.
    pub(crate) fn take(&self) -> Option<u64> {
        self.0.lock().numbers.pop_front()
    }
}

/// The signal of one watch, which waits for no other.
pub(crate) struct WatchSignal {
    number: u64,
    is_given: AtomicBool,
    all: Arc<WatchSignals>,
}

impl WatchSignal {
    pub(crate) fn new(number: u64, all: &Arc<WatchSignals>) -> Arc<WatchSignal> {
        Arc::new(WatchSignal { number, is_given: AtomicBool::new(false), all: all.clone() })
    }

    /// The watch is asked now: what happens from here on is news.
    pub(crate) fn take(&self) {
        self.is_given.store(false, Ordering::SeqCst);
    }

    /// The watch is to be asked when those before it were.
    pub(crate) fn give(&self) -> bool {
        let is_new = !self.is_given.swap(true, Ordering::SeqCst);
        if is_new {
            self.all.0.lock().numbers.push_back(self.number);
        }
        is_new
    }

    /// The watch is to be asked first.
    pub(crate) fn give_again(&self) {
        if !self.is_given.swap(true, Ordering::SeqCst) {
            self.all.0.lock().numbers.push_front(self.number);
        }
    }
}

impl Wake for WatchSignal {
    fn wake(self: Arc<WatchSignal>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<WatchSignal>) {
        if self.give() {
            let connection = self.all.0.lock().connection.clone();
            if let Some(connection) = connection {
                connection.wake();
            }
        }
    }
}
