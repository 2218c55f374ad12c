//! An operation that was started: done already, or something to wait for.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::Task;
use parking_lot::Mutex;
use rstmdb::Result;

use crate::active::Counted;
use crate::{callbacks, error, fork, park};

/// An operation that was started.
#[must_use = "the result of an operation is known only after waiting"]
#[derive(Debug)]
pub enum Started<T> {
    /// Its result, which needed no waiting.
    Ready(Result<T>),
    /// Its result is still to come.
    Waiting(Waiting<T>),
}

impl<T> Started<T> {
    /// Waits for the result in this thread.
    pub fn wait(self) -> Result<T> {
        match self {
            Started::Ready(result) => result,
            Started::Waiting(waiting) => waiting.wait(),
        }
    }
}

impl<T: 'static> Started<T> {
    /// Starts `future`: looks whether it is ready at once. It is counted while it is not.
    pub(crate) fn new(
        counted: Counted,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Started<T> {
        let mut future = Guarded::new(future);
        match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Started::Ready(result),
            Poll::Pending => Started::Waiting(Waiting { future, counted }),
        }
    }
}

/// A result that is still to come. Dropping it gives up the waiting, not the write.
///
/// Closing the database waits until it was waited for, called back, given up or dropped.
#[must_use = "the result of an operation is known only after waiting"]
pub struct Waiting<T> {
    future: Guarded<T>,
    /// Until the callback ran or was dropped, so that closing can wait for it.
    counted: Counted,
}

impl<T> std::fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl<T> Waiting<T> {
    /// Waits for the result in this thread.
    pub fn wait(mut self) -> Result<T> {
        match park::wait(Pin::new(&mut self.future), None) {
            Some(result) => result,
            None => Err(error::closed("nobody waits any more")),
        }
    }

    /// Waits at most `timeout`; gives itself back when that passed. For loops that look for an
    /// interruption now and then.
    pub fn wait_timeout(mut self, timeout: Duration) -> std::result::Result<Result<T>, Waiting<T>> {
        park::wait(Pin::new(&mut self.future), Some(timeout)).ok_or(self)
    }
}

impl<T: Send + 'static> Waiting<T> {
    /// Calls `done` with the result, once, on a thread of callbacks and under no lock, unless it is
    /// cancelled before. `done` must not wait for other results of callbacks.
    pub fn finish(self, done: impl FnOnce(Result<T>) + Send + 'static) -> CallbackTicket {
        let counted = self.counted;
        let done = Quiet(Some(done));
        let claimed = AtomicBool::new(false);
        let outcome = Arc::new(ClaimedOnce { claimed, future: Mutex::new(Some(self.future)) });
        let awaited = outcome.clone();
        let task = callbacks::spawn(async move {
            let result = poll_fn(|context| awaited.poll(context)).await;
            callbacks::arrive().await;
            if let Some(result) = result {
                // A callback that panics must not take the thread of all others with it.
                if catch_unwind(AssertUnwindSafe(|| done.run(result))).is_err() {
                    tracing::error!("a callback panicked");
                }
            }
            drop(counted);
        });
        CallbackTicket { process: fork::process(), outcome, task: Mutex::new(Some(task)) }
    }
}

/// A function to call once. What it holds may panic when it is dropped without having run: that ends
/// here too.
struct Quiet<F>(Option<F>);

impl<F> Quiet<F> {
    fn run<T>(mut self, result: Result<T>)
    where
        F: FnOnce(Result<T>),
    {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl<F> Drop for Quiet<F> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| drop(done))).is_err()
        {
            tracing::error!("what a callback held panicked when it was dropped");
        }
    }
}

/// What a callback waits for, and whether it or a cancellation has the outcome.
struct ClaimedOnce<T> {
    claimed: AtomicBool,
    future: Mutex<Option<Guarded<T>>>,
}

impl<T> ClaimedOnce<T> {
    /// The result, for the callback; none when it was given up.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let mut future = self.future.lock();
        let Some(waiting) = future.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(result) = Pin::new(waiting).poll(context) else { return Poll::Pending };
        let given_up = self.claimed.swap(true, Ordering::AcqRel);
        // Under the lock, and before the place is free: whoever gave up finds everything as if nobody
        // had waited, so a watch has its events back.
        let result = (!given_up).then_some(result);
        *future = None;
        Poll::Ready(result)
    }
}

/// An outcome that can be given up, whatever it is.
trait GiveUp: Send + Sync {
    fn give_up(&self) -> bool;
}

impl<T: Send> GiveUp for ClaimedOnce<T> {
    fn give_up(&self) -> bool {
        if self.claimed.swap(true, Ordering::AcqRel) {
            return false;
        }
        let future = self.future.lock().take();
        drop(future);
        true
    }
}

/// A callback to come. Dropping it changes nothing.
pub struct CallbackTicket {
    /// A child made by `fork` has none of the threads that may hold the locks.
    process: u64,
    outcome: Arc<dyn GiveUp>,
    task: Mutex<Option<Task<()>>>,
}

impl std::fmt::Debug for CallbackTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallbackTicket")
    }
}

impl CallbackTicket {
    /// Gives up the waiting. True: the callback will not run, and what it waited for is free for
    /// another. False: it ran, or is running.
    ///
    /// A write that was started goes on.
    pub fn cancel(&self) -> bool {
        if self.process != fork::process() || !self.outcome.give_up() {
            return false;
        }
        let task = self.task.lock().take();
        drop(task);
        true
    }
}

impl Drop for CallbackTicket {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.detach();
        }
    }
}

/// A future whose panics are errors.
pub(crate) struct Guarded<T>(Pin<Box<dyn Future<Output = Result<T>> + Send>>);

impl<T> Guarded<T> {
    pub(crate) fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Guarded<T> {
        Guarded(Box::pin(future))
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let future = self.0.as_mut();
        catch_unwind(AssertUnwindSafe(|| future.poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(error::of_panic(&*panic))))
    }
}
