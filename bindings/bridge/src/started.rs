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
use rstmdb::{QueuedResult, QueuedWrite, Result, Underway};
use rstmdb_threads::park;

use crate::active::Counted;
use crate::completions::{Completion, Completions, Turn};
use crate::{callbacks, error, fork};

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
            Poll::Pending => Started::Waiting(Waiting { source: Source::Future(future), counted }),
        }
    }
}

impl<T: Send + 'static> Started<T> {
    /// As far as `begin` comes with an operation.
    pub(crate) fn begin(
        counted: Counted,
        completions: &Arc<Completions>,
        begin: impl FnOnce() -> Underway<T>,
    ) -> Started<T> {
        match error::guard(|| Ok(begin())) {
            Ok(Underway::Done(result)) => Started::Ready(result),
            Ok(Underway::Queued(queued)) => {
                let source = Source::Log(queued, completions.clone());
                Started::Waiting(Waiting { source, counted })
            }
            Ok(Underway::ToCome(result)) => Started::new(counted, result),
            Err(error) => Started::Ready(Err(error)),
        }
    }
}

/// A result that is still to come. Dropping it gives up the waiting, not the write.
///
/// Closing the database waits until it was waited for, called back, given up or dropped.
#[must_use = "the result of an operation is known only after waiting"]
pub struct Waiting<T> {
    source: Source<T>,
    /// Until the callback ran or was dropped, so that closing can wait for it.
    counted: Counted,
}

/// What a result waits for.
enum Source<T> {
    /// The log.
    Log(QueuedResult<T>, Arc<Completions>),
    /// Anything else.
    Future(Guarded<T>),
}

impl<T> std::fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl<T> Waiting<T> {
    /// Waits for the result in this thread.
    pub fn wait(self) -> Result<T> {
        match self.source {
            Source::Log(queued, _) => error::guard(|| queued.wait()),
            Source::Future(future) => park::wait(future),
        }
    }

    /// Waits at most `timeout`; gives itself back when that passed. For loops that look for an
    /// interruption now and then.
    pub fn wait_timeout(mut self, timeout: Duration) -> std::result::Result<Result<T>, Waiting<T>> {
        let source = &mut self.source;
        let poll = |context: &mut Context<'_>| match source {
            Source::Log(queued, _) => Pin::new(queued).poll(context),
            Source::Future(future) => Pin::new(future).poll(context),
        };
        park::poll_for(Some(timeout), poll).ok_or(self)
    }
}

impl<T: Send + 'static> Waiting<T> {
    /// Calls `done` with the result, once, on a thread of callbacks and under no lock, unless it is
    /// cancelled before. `done` must not wait for other results of callbacks.
    pub fn finish(self, done: impl FnOnce(Result<T>) + Send + 'static) -> CallbackTicket {
        self.finish_with(done, None).0
    }

    /// As [`Waiting::finish`], and the write may wait for the others of `turn`. Says whether `turn` begins with
    /// it: then the caller sees to it that it ends.
    pub fn finish_in(
        self,
        turn: &Turn,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> (CallbackTicket, bool) {
        self.finish_with(done, Some(turn))
    }

    fn finish_with(
        self,
        done: impl FnOnce(Result<T>) + Send + 'static,
        turn: Option<&Turn>,
    ) -> (CallbackTicket, bool) {
        let counted = self.counted;
        let done = Quiet(Some(done));
        let process = fork::process();
        let future = match self.source {
            Source::Log(queued, completions) => {
                let parts = Mutex::new(Some(LogWait { queued, done, counted }));
                let outcome = Arc::new(LogCallback(parts));
                let begins = completions.push(outcome.clone(), turn);
                return (CallbackTicket { process, outcome, task: Mutex::new(None) }, begins);
            }
            Source::Future(future) => future,
        };
        let claimed = AtomicBool::new(false);
        let outcome = Arc::new(ClaimedOnce { claimed, future: Mutex::new(Some(future)) });
        let awaited = outcome.clone();
        let task = callbacks::spawn(async move {
            let result = poll_fn(|context| awaited.poll(context)).await;
            callbacks::arrive().await;
            if let Some(result) = result {
                done.run(result);
            }
            // Closing waits for what the callback left for the end of its group too.
            drop(callbacks::after_group(Box::new(move || drop(counted))));
        });
        (CallbackTicket { process, outcome, task: Mutex::new(Some(task)) }, false)
    }
}

/// A function to call once. What it holds may panic when it is dropped without having run: that ends
/// here too.
struct Quiet<F>(Option<F>);

impl<F> Quiet<F> {
    /// A callback that panics must not take the thread of all others with it.
    fn run<T>(mut self, result: Result<T>)
    where
        F: FnOnce(Result<T>),
    {
        if let Some(done) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| done(result))).is_err()
        {
            tracing::error!("a callback panicked");
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

/// A callback that waits for the log; nothing once it was called or given up.
struct LogCallback<T, F>(Mutex<Option<LogWait<T, F>>>);

struct LogWait<T, F> {
    queued: QueuedResult<T>,
    done: Quiet<F>,
    counted: Counted,
}

impl<T, F> Completion for LogCallback<T, F>
where
    T: Send,
    F: FnOnce(Result<T>) + Send,
{
    fn is_ready(&self) -> bool {
        self.0.lock().as_ref().is_none_or(|wait| wait.queued.is_ready())
    }

    fn ask(&self, context: &mut Context<'_>) -> bool {
        let mut wait = self.0.lock();
        wait.as_mut().is_none_or(|wait| wait.queued.poll_ready(context).is_ready())
    }

    fn write(&self) -> Option<QueuedWrite> {
        self.0.lock().as_ref().map(|wait| wait.queued.write())
    }

    fn complete(&self) -> Option<Counted> {
        let LogWait { queued, done, counted } = self.0.lock().take()?;
        done.run(error::guard(|| queued.wait()));
        Some(counted)
    }
}

impl<T: Send, F: Send> GiveUp for LogCallback<T, F> {
    fn give_up(&self) -> bool {
        let wait = self.0.lock().take();
        // Dropped under no lock: it may hold anything.
        wait.is_some()
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
