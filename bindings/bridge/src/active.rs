//! What is under way on a database, counted, so that closing can wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Operations and closings under way, and whether new ones are taken.
#[derive(Debug, Default)]
pub(crate) struct Active {
    closed: AtomicBool,
    operations: Counter,
    /// The closings that have callbacks; they wait for all operations and not for each other.
    closings: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicUsize,
    waiters: Mutex<Vec<Waker>>,
}

/// Which counter.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Operation,
    Closing,
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Counted {
    active: Arc<Active>,
    kind: Kind,
}

impl Active {
    /// Counts an operation. Whether new ones are taken is to be asked after this: closing first says
    /// no, and then waits for those that are counted.
    pub(crate) fn operation(self: &Arc<Self>) -> Counted {
        self.enter(Kind::Operation)
    }

    /// Counts a closing.
    pub(crate) fn closing(self: &Arc<Self>) -> Counted {
        self.enter(Kind::Closing)
    }

    fn enter(self: &Arc<Self>, kind: Kind) -> Counted {
        // In one order with `closed`, for all threads.
        self.counter(kind).count.fetch_add(1, Ordering::SeqCst);
        Counted { active: self.clone(), kind }
    }

    fn counter(&self, kind: Kind) -> &Counter {
        match kind {
            Kind::Operation => &self.operations,
            Kind::Closing => &self.closings,
        }
    }

    /// Takes no more operations.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits, once it is closed, until no operation is under way.
    pub(crate) async fn operations_end(&self) {
        std::future::poll_fn(|context| self.operations.poll_idle(context)).await;
    }

    /// Waits, once it is closed, until no closing is under way.
    pub(crate) async fn closings_end(&self) {
        std::future::poll_fn(|context| self.closings.poll_idle(context)).await;
    }
}

impl Counter {
    fn poll_idle(&self, context: &Context<'_>) -> Poll<()> {
        let mut waiters = self.waiters.lock();
        if self.count.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(());
        }
        if !waiters.iter().any(|waker| waker.will_wake(context.waker())) {
            waiters.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counter = self.active.counter(self.kind);
        let was_last = counter.count.fetch_sub(1, Ordering::SeqCst) == 1;
        // Nobody waits for it before it is closed.
        if was_last && self.active.is_closed() {
            let waiters = std::mem::take(&mut *counter.waiters.lock());
            waiters.into_iter().for_each(Waker::wake);
        }
    }
}
