//! Operations that were begun and not waited for yet, for callers that gather many of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::{Commit, Engine};
use rstmdb_types::Result;

/// How far an operation came without waiting.
#[must_use = "a result is known only after waiting"]
pub enum Underway<T> {
    /// To its end.
    Done(Result<T>),
    /// Into the queue of the log.
    Queued(QueuedResult<T>),
    /// It waits for files, for room, or for a server.
    ToCome(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
}

impl<T> Underway<T> {
    /// Waits for the result.
    pub(crate) async fn end(self) -> Result<T> {
        match self {
            Underway::Done(result) => result,
            Underway::Queued(queued) => queued.await,
            Underway::ToCome(result) => result.await,
        }
    }
}

impl<T> std::fmt::Debug for Underway<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Underway::Done(_) => "Done",
            Underway::Queued(_) => "Queued",
            Underway::ToCome(_) => "ToCome",
        })
    }
}

/// A result that may be shown once the log is safe up to it. They become ready in the order of the log, and
/// the write begins when one of them is polled, waited for or dropped: it covers all that are in the queue.
#[must_use = "a result is known only after waiting"]
#[derive(Debug)]
pub struct QueuedResult<T> {
    commit: Commit<Arc<Engine>>,
    /// `None` once it was taken.
    result: Option<Result<T>>,
    /// What became of the write.
    settled: Option<Result<()>>,
}

impl<T> QueuedResult<T> {
    pub(crate) fn new(commit: Commit<Arc<Engine>>, result: Result<T>) -> QueuedResult<T> {
        QueuedResult { commit, result: Some(result), settled: None }
    }

    /// Another form of the result, made before it may be shown.
    pub(crate) fn map<R>(self, form: impl FnOnce(T) -> Result<R>) -> QueuedResult<R> {
        let QueuedResult { commit, result, settled } = self;
        QueuedResult { commit, result: result.map(|result| result.and_then(form)), settled }
    }

    /// Whether waiting would return at once. Asking does not get the write going.
    pub fn is_ready(&self) -> bool {
        self.settled.is_some() || self.commit.is_ready()
    }

    /// Gets the write going and leaves a waker for its end.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.settled.is_none() {
            match Pin::new(&mut self.commit).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(settled) => self.settled = Some(settled),
            }
        }
        Poll::Ready(())
    }

    /// What it waits for, to be waited for without it.
    pub fn write(&self) -> QueuedWrite {
        QueuedWrite(self.commit.again())
    }

    /// Waits for the result, and writes when nobody else does.
    pub fn wait(self) -> Result<T> {
        let QueuedResult { commit, result, settled } = self;
        settled.unwrap_or_else(|| commit.wait())?;
        result.unwrap_or_else(taken)
    }
}

/// The write that a [`QueuedResult`] waits for. Dropping it gets the write going.
#[must_use = "the write begins when this is waited for or dropped"]
#[derive(Debug)]
pub struct QueuedWrite(Commit<Arc<Engine>>);

impl QueuedWrite {
    /// Waits until it is known what became of it, and writes when nobody else does. What that is each result says
    /// itself.
    pub fn wait(self) {
        drop(self.0.wait());
    }
}

/// The result is not pinned, whatever it is.
impl<T> Unpin for QueuedResult<T> {}

impl<T> Future for QueuedResult<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.poll_ready(context).is_pending() {
            return Poll::Pending;
        }
        let settled = self.settled.clone().unwrap_or(Ok(()));
        Poll::Ready(settled.and_then(|()| self.result.take().unwrap_or_else(taken)))
    }
}

fn taken<T>() -> Result<T> {
    let message = "the result was taken already";
    Err(rstmdb_types::Error::new(rstmdb_types::ErrorCode::InternalError, message))
}
