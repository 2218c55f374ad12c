//! Where a database is: in this process, or on a server. Nobody else asks.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::Engine;
use rstmdb_types::*;

use crate::begun::{QueuedResult, Underway};

/// The two places.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Embedded(Arc<Engine>),
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Client),
}

/// A result that is not there yet: of the log, or of a server. Wait for it with [`Pending::wait`],
/// or await it, on any executor.
///
/// Dropping it stops the waiting, not the write.
#[must_use = "a result is known only after waiting"]
#[derive(Debug)]
pub struct Pending<'a, T>(PendingSource<'a, T>);

#[derive(Debug)]
enum PendingSource<'a, T> {
    Embedded(rstmdb_engine::Pending<&'a Engine, T>),
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Pending<T>),
}

impl<T> Pending<'_, T> {
    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        match &self.0 {
            PendingSource::Embedded(pending) => pending.is_ready(),
            #[cfg(feature = "remote")]
            PendingSource::Remote(pending) => pending.is_ready(),
        }
    }

    /// Waits for the result.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            PendingSource::Embedded(pending) => pending.wait(),
            #[cfg(feature = "remote")]
            PendingSource::Remote(pending) => pending.wait(),
        }
    }

    /// Waits until a request to a server is on its way: the number of those is bounded.
    pub(crate) fn wait_until_handed_over(&mut self) {
        match &mut self.0 {
            PendingSource::Embedded(_) => {}
            #[cfg(feature = "remote")]
            PendingSource::Remote(pending) => pending.wait_until_sent(),
        }
    }
}

impl<T: Unpin> Future for Pending<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            PendingSource::Embedded(pending) => Pin::new(pending).poll(context),
            #[cfg(feature = "remote")]
            PendingSource::Remote(pending) => Pin::new(pending).poll(context),
        }
    }
}

impl Backend {
    /// Hands a request over. One on files is done when this returns, and a change waits for room, which
    /// only threads may wait for: see [`Backend::run`].
    pub(crate) fn call<R: OperationRequest>(&self, request: R) -> Pending<'_, R::Result> {
        Pending(match self {
            Backend::Embedded(engine) => PendingSource::Embedded(engine.call(request)),
            #[cfg(feature = "remote")]
            Backend::Remote(client) => PendingSource::Remote(client.call(request)),
        })
    }

    /// As [`Backend::call`], and waits for the result.
    pub(crate) fn wait<R: OperationRequest>(&self, request: R) -> Result<R::Result> {
        match self {
            Backend::Embedded(engine) => engine.run(request),
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.call(request).wait(),
        }
    }

    /// As [`Backend::call`], of a request of any operation.
    pub(crate) fn submit(&self, request: Request) -> Pending<'_, Outcome> {
        Pending(match self {
            Backend::Embedded(engine) => {
                engine.wait_for_room(request.operation());
                PendingSource::Embedded(Engine::submit(&**engine, engine.command(request)))
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => PendingSource::Remote(client.submit(request)),
        })
    }

    /// Runs a request for an executor: beside it where it works on files of this process.
    pub(crate) async fn run<R>(&self, request: R) -> Result<R::Result>
    where
        R: OperationRequest<Result: Send + Unpin> + Send + 'static,
    {
        match self {
            Backend::Embedded(engine) if R::OPERATION.place() == Place::Files => {
                let engine = engine.clone();
                crate::threads::unblock(move || engine.call(request).wait()).await
            }
            Backend::Embedded(engine) => {
                room(engine, R::OPERATION).await;
                engine.begin(request).await
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.call(request).await,
        }
    }

    /// As [`Backend::run`], of a request of any operation.
    pub(crate) async fn run_any(&self, request: Request) -> Result<Outcome> {
        match self {
            Backend::Embedded(engine) if request.operation().place() == Place::Files => {
                let engine = engine.clone();
                let work = move || Engine::submit(&*engine, engine.command(request)).wait();
                crate::threads::unblock(work).await
            }
            Backend::Embedded(engine) => {
                room(engine, request.operation()).await;
                Engine::submit(&**engine, engine.command(request)).await
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.submit(request).await,
        }
    }

    /// Begins a request, as far as it comes without waiting.
    pub(crate) fn begin<R>(&self, request: R) -> Underway<R::Result>
    where
        R: OperationRequest<Result: Send + Unpin> + Send + 'static,
    {
        if let Backend::Embedded(engine) = self
            && R::OPERATION.place() != Place::Files
            && engine.has_room(R::OPERATION)
        {
            let pending = engine.begin(request);
            pending.write_at_once();
            if pending.is_ready() {
                return Underway::Done(pending.wait());
            }
            let (commit, result) = pending.held_by(engine.clone()).split();
            return Underway::Queued(QueuedResult::new(commit, result));
        }
        let backend = self.clone();
        Underway::ToCome(Box::pin(async move { backend.run(request).await }))
    }

    /// Waits until everything is settled and gives back what the database holds.
    pub(crate) fn close(&self) -> Result<()> {
        match self {
            Backend::Embedded(engine) => engine.close(),
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                client.close_blocking();
                Ok(())
            }
        }
    }

    /// As [`Backend::close`], for executors.
    pub(crate) async fn close_beside(&self) -> Result<()> {
        match self {
            Backend::Embedded(engine) => {
                let engine = engine.clone();
                crate::threads::unblock(move || engine.close()).await
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                client.close().await;
                Ok(())
            }
        }
    }
}

/// Waits until an operation may begin.
async fn room(engine: &Engine, operation: Operation) {
    poll_fn(|context| engine.poll_room(operation, context)).await;
}

/// The result of a request of type `R`.
pub(crate) fn of<R: OperationRequest>(outcome: Outcome) -> Result<R::Result> {
    R::take(outcome).ok_or_else(|| {
        let message = "the database answered another operation";
        Error::new(ErrorCode::InternalError, message).with_operation(R::OPERATION.wire_name())
    })
}
