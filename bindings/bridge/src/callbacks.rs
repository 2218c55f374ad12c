//! The threads on which callbacks run: a few for the whole process, begun with the first callback.
//!
//! They poll what is waited for and hand its result over. `RSTMDB_RUNTIME_THREADS` says how many there
//! are, 1 unless told otherwise. A child made by `fork` gets its own.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use arc_swap::ArcSwapOption;
use async_task::{Runnable, Task};
use rstmdb::error::reason;
use rstmdb::{Error, ErrorCode, Result};

use crate::fork;

const THREADS_MAX: usize = 64;

static THREADS: ArcSwapOption<Threads> = ArcSwapOption::const_empty();

struct Threads {
    process: u64,
    // Not those of parking_lot: they note who waits in a table of the process, where a child of fork
    // would find threads that it does not have.
    queue: Mutex<TaskQueue>,
    ready: Condvar,
}

#[derive(Default)]
struct TaskQueue {
    tasks: VecDeque<Runnable>,
    idle: usize,
    threads: usize,
}

thread_local! {
    /// The process for which this thread runs callbacks; a child that was forked inside of one is another.
    static HERE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Whether the caller runs inside a callback.
pub fn on_callback_thread() -> bool {
    HERE.with(Cell::get).is_some_and(|process| process == fork::process())
}

/// Sees to it that there is a thread, so that no callback can be promised in vain.
///
/// Errors: kind `Unavailable`, reason `io`, when the system has none left.
pub(crate) fn begin() -> Result<()> {
    Threads::current().begin()
}

/// Drives `future`, on the threads whenever it is woken. Dropping the task drops the future.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let threads = Threads::current();
    let (task, handle) = async_task::spawn(future, move |task| threads.push(task));
    if on_callback_thread() {
        // A callback may hold what the next one wants.
        task.schedule();
    } else {
        // Up to where it waits, here: waking a thread for that costs more than the operation.
        task.run();
    }
    handle
}

/// Goes on on a thread of callbacks.
pub(crate) async fn arrive() {
    std::future::poll_fn(|context| {
        if on_callback_thread() {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Threads {
    fn current() -> Arc<Threads> {
        loop {
            let found = THREADS.load();
            if let Some(threads) = &*found
                && threads.process == fork::process()
            {
                return threads.clone();
            }
            let new = Arc::new(Threads {
                process: fork::process(),
                queue: Mutex::default(),
                ready: Condvar::new(),
            });
            let before = THREADS.compare_and_swap(&found, Some(new));
            // Tasks of the parent must not be dropped in the child: they hold its databases.
            std::mem::forget(arc_swap::Guard::into_inner(before));
        }
    }

    fn queue(&self) -> MutexGuard<'_, TaskQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, task: Runnable) {
        let mut queue = self.queue();
        queue.tasks.push_back(task);
        if queue.idle > 0 {
            drop(queue);
            self.ready.notify_one();
        }
    }

    fn begin(self: &Arc<Self>) -> Result<()> {
        let mut queue = self.queue();
        if queue.threads > 0 {
            return Ok(());
        }
        let wanted = std::env::var("RSTMDB_RUNTIME_THREADS").ok();
        let wanted = wanted.and_then(|text| text.trim().parse().ok()).unwrap_or(1);
        for number in 0..wanted.clamp(1, THREADS_MAX) {
            let threads = self.clone();
            let thread = std::thread::Builder::new().name(format!("rstmdb-callback-{number}"));
            match thread.spawn(move || threads.work()) {
                Ok(_) => queue.threads += 1,
                // Fewer do as well.
                Err(_) if queue.threads > 0 => break,
                Err(error) => {
                    let message = format!("no thread for callbacks can be started: {error}");
                    return Err(
                        Error::new(ErrorCode::InternalError, message).with_reason(reason::IO)
                    );
                }
            }
        }
        Ok(())
    }

    fn work(&self) {
        HERE.with(|here| here.set(Some(self.process)));
        let mut queue = self.queue();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                drop(queue);
                task.run();
                queue = self.queue();
                continue;
            }
            queue.idle += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
