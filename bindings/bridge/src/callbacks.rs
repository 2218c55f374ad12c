//! The threads on which callbacks run: a few for the whole process, begun with the first callback.
//!
//! They poll what is waited for and hand its result over. `RSTMDB_RUNTIME_THREADS` says how many there
//! are, 1 unless told otherwise. A child made by `fork` gets its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_task::{Runnable, Task};
use rstmdb::error::reason;
use rstmdb::{Error, ErrorCode, Result};
use rstmdb_threads::process::PerProcess;

use crate::fork;

const THREADS_MAX: usize = 64;
/// So many tasks of one thread are a group, at most: those behind them have their turn.
const GROUP_MAX: usize = 64;

static THREADS: PerProcess<Threads> = PerProcess::new();

#[derive(Default)]
struct Threads {
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
    /// What is to be done after the callbacks that run now.
    static AFTER: RefCell<Vec<AfterGroup>> = const { RefCell::new(Vec::new()) };
}

/// What is done once for a group of callbacks.
pub type AfterGroup = Box<dyn FnOnce()>;

/// Inside a callback: has `run` done on this thread after the last callback of the same group, which is of
/// those that came at once. Elsewhere it is given back.
pub fn after_group(run: AfterGroup) -> std::result::Result<(), AfterGroup> {
    if !on_callback_thread() {
        return Err(run);
    }
    AFTER.with(|after| after.borrow_mut().push(run));
    Ok(())
}

/// The group is over. What is done now may leave more.
fn end_group() {
    loop {
        let after = AFTER.with(RefCell::take);
        if after.is_empty() {
            return;
        }
        for run in after {
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                tracing::error!("what came after callbacks panicked");
            }
        }
    }
}

/// Whether the caller runs inside a callback.
pub fn on_callback_thread() -> bool {
    HERE.with(Cell::get).is_some_and(|process| process == fork::process())
}

/// Sees to it that there is a thread, so that no callback can be promised in vain.
///
/// Errors: kind `Unavailable`, reason `io`, when the system has none left.
pub(crate) fn begin() -> Result<()> {
    THREADS.get().begin()
}

/// Drives `future`, on the threads whenever it is woken. Dropping the task drops the future.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let threads = THREADS.get();
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

/// Runs `job` on a thread of callbacks, soon.
pub(crate) fn run(job: impl FnOnce() + Send + 'static) {
    let threads = THREADS.get();
    let (task, handle) = async_task::spawn(async move { job() }, move |task| threads.push(task));
    task.schedule();
    handle.detach();
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
        HERE.with(|here| here.set(Some(fork::process())));
        let mut queue = self.queue();
        let mut group = 0;
        loop {
            if group < GROUP_MAX
                && let Some(task) = queue.tasks.pop_front()
            {
                drop(queue);
                task.run();
                group += 1;
                queue = self.queue();
                continue;
            }
            if group > 0 {
                drop(queue);
                end_group();
                group = 0;
                queue = self.queue();
                continue;
            }
            queue.idle += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
