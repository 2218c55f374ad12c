//! The threads on which callbacks run: a few for the whole process, begun with the first callback.
//!
//! They poll what is waited for and hand its result over. `RSTMDB_RUNTIME_THREADS` says how many call back at a
//! time, 1 unless told otherwise. There is one more, so that one of them can wait for a disk: whoever did calls back
//! what that brought itself, and nobody is woken for it. A child made by `fork` gets its own.

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
    /// How many call back, and how many may.
    calling: usize,
    calling_max: usize,
    /// What one of them is to wait for, of whom one does at a time.
    wait: Option<DiskWait>,
    is_waiting: bool,
}

/// What waits for a disk.
pub(crate) type DiskWait = Box<dyn FnOnce() + Send>;

/// What a thread of callbacks is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallPhase {
    Calling,
    /// Its group of callbacks is over.
    Ending,
    /// Nobody is called back.
    Waiting,
}

thread_local! {
    /// The process for which this thread runs callbacks; a child that was forked inside of one is another.
    static HERE: Cell<Option<u64>> = const { Cell::new(None) };
    static PHASE: Cell<CallPhase> = const { Cell::new(CallPhase::Calling) };
    /// What is to be done after the callbacks that run now.
    static AFTER: RefCell<Vec<AfterGroup>> = const { RefCell::new(Vec::new()) };
}

/// What is done once for a group of callbacks.
pub type AfterGroup = Box<dyn FnOnce()>;

/// Inside a callback: has `run` done on this thread after the last callback of the same group, which is of
/// those that came at once. Elsewhere it is given back.
pub fn after_group(run: AfterGroup) -> std::result::Result<(), AfterGroup> {
    if !on_callback_thread() || PHASE.get() == CallPhase::Waiting {
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

/// Has what `wait` makes done by a thread that is free for it, while others call back. False when there is none.
pub(crate) fn wait(wait: impl FnOnce() -> DiskWait) -> bool {
    THREADS.get().wait(wait)
}

/// Whether what is to be waited for is: somebody else sees to it where who wanted to is kept up.
pub(crate) fn hurry() -> bool {
    THREADS.get().hurry()
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
    THREADS.get().run(job);
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
        // Who waits here looks for tasks right afterwards.
        let is_back_soon = on_callback_thread() && PHASE.get() == CallPhase::Waiting;
        if queue.idle > 0 && queue.calling < queue.calling_max && !is_back_soon {
            drop(queue);
            self.ready.notify_one();
        }
    }

    fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let threads = self.clone();
        let (task, handle) =
            async_task::spawn(async move { job() }, move |task| threads.push(task));
        task.schedule();
        handle.detach();
    }

    fn wait(self: &Arc<Self>, wait: impl FnOnce() -> DiskWait) -> bool {
        let mut queue = self.queue();
        let is_here = on_callback_thread() && PHASE.get() == CallPhase::Ending;
        if queue.is_waiting || !(is_here || queue.idle > 0) || !self.can_wait(&mut queue) {
            return false;
        }
        queue.is_waiting = true;
        queue.wait = Some(wait());
        drop(queue);
        if !is_here {
            self.ready.notify_one();
        }
        true
    }

    fn hurry(&self) -> bool {
        let queue = self.queue();
        let (is_left, is_seen_to) = (queue.wait.is_some(), queue.idle > 0);
        drop(queue);
        if is_left && is_seen_to {
            self.ready.notify_one();
        }
        !is_left || is_seen_to
    }

    fn begin(self: &Arc<Self>) -> Result<()> {
        let mut queue = self.queue();
        if queue.threads > 0 {
            return Ok(());
        }
        let wanted = std::env::var("RSTMDB_RUNTIME_THREADS").ok();
        let wanted = wanted.and_then(|text| text.trim().parse().ok()).unwrap_or(1);
        for _ in 0..wanted.clamp(1, THREADS_MAX) {
            match self.add_thread(&mut queue) {
                Ok(()) => queue.calling_max = queue.threads,
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

    fn add_thread(self: &Arc<Self>, queue: &mut TaskQueue) -> std::io::Result<()> {
        let threads = self.clone();
        let thread = std::thread::Builder::new().name(format!("rstmdb-callback-{}", queue.threads));
        thread.spawn(move || threads.work())?;
        queue.threads += 1;
        Ok(())
    }

    /// Whether one more than call back is there, or can be.
    fn can_wait(self: &Arc<Self>, queue: &mut TaskQueue) -> bool {
        queue.threads > queue.calling_max || self.add_thread(queue).is_ok()
    }

    fn work(&self) {
        HERE.with(|here| here.set(Some(fork::process())));
        let mut queue = self.queue();
        loop {
            if let Some(wait) = queue.wait.take() {
                if !queue.tasks.is_empty() && queue.idle > 0 {
                    self.ready.notify_one();
                }
                drop(queue);
                PHASE.set(CallPhase::Waiting);
                wait();
                PHASE.set(CallPhase::Calling);
                queue = self.queue();
                queue.is_waiting = false;
            } else if !queue.tasks.is_empty() && queue.calling < queue.calling_max {
                queue = self.call_group(queue);
            } else {
                queue.idle += 1;
                queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }

    fn call_group<'q>(&'q self, mut queue: MutexGuard<'q, TaskQueue>) -> MutexGuard<'q, TaskQueue> {
        queue.calling += 1;
        for _ in 0..GROUP_MAX {
            let Some(task) = queue.tasks.pop_front() else { break };
            drop(queue);
            task.run();
            queue = self.queue();
        }
        drop(queue);
        PHASE.set(CallPhase::Ending);
        end_group();
        PHASE.set(CallPhase::Calling);
        queue = self.queue();
        queue.calling -= 1;
        queue
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn threads() -> Arc<Threads> {
        let threads = Arc::new(Threads::default());
        threads.begin().unwrap();
        threads
    }

    /// Runs `wait` behind a group of callbacks.
    fn wait_after_a_group(threads: &Arc<Threads>, wait: impl FnOnce() + Send + 'static) {
        let inner = threads.clone();
        threads.run(move || {
            let ended = Box::new(move || assert!(inner.wait(|| Box::new(wait)), "nobody is free"));
            assert!(after_group(ended).is_ok(), "not in a callback");
        });
    }

    #[test]
    fn others_call_back_while_one_waits() {
        let threads = threads();
        let ((begins, begun), (call, called)) = (channel(), channel());
        let (told, count) = channel();
        wait_after_a_group(&threads, move || {
            begins.send(()).unwrap();
            told.send(called.iter().take(3).count()).unwrap();
        });
        begun.recv().unwrap();
        for _ in 0..3 {
            let call = call.clone();
            threads.run(move || call.send(()).unwrap());
        }
        assert_eq!(count.recv().unwrap(), 3);
    }

    #[test]
    fn who_waited_calls_back_what_that_brought() {
        let threads = threads();
        let (told, places) = channel();
        let inner = threads.clone();
        wait_after_a_group(&threads, move || {
            let waited = thread::current().id();
            inner.run(move || told.send((waited, thread::current().id())).unwrap());
        });
        let (waited, called) = places.recv().unwrap();
        assert_eq!(waited, called);
    }

    #[test]
    fn one_calls_back_at_a_time_though_there_are_two() {
        let threads = threads();
        let (told, order) = channel();
        let inner = threads.clone();
        wait_after_a_group(&threads, move || {
            let (begins, begun) = channel();
            let (beside, early) = (inner.clone(), told.clone());
            inner.run(move || {
                begins.send(()).unwrap();
                while beside.queue().idle == 0 {
                    thread::yield_now();
                }
                early.send("what came meanwhile").unwrap();
            });
            // This thread is expected back, so nobody was told.
            inner.ready.notify_one();
            begun.recv().unwrap();
            inner.run(move || told.send("what the wait brought").unwrap());
        });
        let order: Vec<_> = order.iter().take(2).collect();
        assert_eq!(order, ["what came meanwhile", "what the wait brought"]);
    }

    #[test]
    fn one_waits_at_a_time_and_another_does_where_it_is_kept_up() {
        let threads = threads();
        let ((told, waited), (refused, is_refused)) = (channel(), channel());
        let inner = threads.clone();
        threads.run(move || {
            let here = thread::current().id();
            let ended = Box::new(move || {
                let wait = move || told.send(thread::current().id() != here).unwrap();
                assert!(inner.wait(|| Box::new(wait)));
                refused.send(!inner.wait(|| Box::new(|| ()))).unwrap();
                while !inner.hurry() || inner.queue().wait.is_some() {
                    thread::yield_now();
                }
            });
            assert!(after_group(ended).is_ok());
        });
        assert!(is_refused.recv().unwrap());
        assert!(waited.recv().unwrap());
    }
}
