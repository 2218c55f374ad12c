//! Requests carried out: where, and what is waited for before the outcome may be told.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rstmdb_protocol::Command;
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::{Error, ErrorCode, Operation, Outcome, Request, Result};
use tokio::runtime::Handle;

use super::caller::Caller;
use super::place::{Hold, submit};

/// Requests of more bytes than this are read and carried out elsewhere: one session must not hold up
/// the others of its thread.
const QUICK_BYTES_MAX: usize = 64 << 10;
/// And so are batches of more operations.
const QUICK_OPERATIONS_MAX: usize = 100;

/// Whether a request of so many bytes may be read and submitted on a thread that serves others.
pub(crate) fn is_quick(operation: Operation, bytes: usize) -> bool {
    operation.place() == Place::Memory && bytes <= QUICK_BYTES_MAX
}

/// A request, and the rule by which it is carried out.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub request: Request,
    /// Whether a known idempotency key answers for another request too.
    pub any_request: bool,
}

impl From<Request> for Call {
    fn from(request: Request) -> Call {
        Call { request, any_request: false }
    }
}

impl Call {
    /// Whether it may be submitted on a thread that serves others.
    pub(crate) fn is_quick(&self) -> bool {
        match &self.request {
            Request::Batch(batch) => batch.ops.len() <= QUICK_OPERATIONS_MAX,
            request => request.operation().place() == Place::Memory,
        }
    }
}

impl Caller {
    /// Submits a request to the database. Blocks where the place of its operation is files.
    pub fn submit(&mut self, call: impl Into<Call>) -> Pending {
        let Call { request, any_request } = call.into();
        if let Request::Batch(batch) = &request {
            for element in &batch.ops {
                self.count_element(Command::Database(element.operation()));
            }
        }
        let caller = self.name();
        submit(self.hold().cloned(), request.operation(), move |engine| rstmdb_types::Command {
            caller,
            any_request,
            ..engine.command(request)
        })
    }

    /// Carries a request out, where it holds up nobody, and waits for the outcome.
    pub async fn execute(&mut self, request: impl Into<Request>) -> Result<Outcome> {
        let (call, began) = (Call::from(request.into()), Instant::now());
        let command = Command::Database(call.request.operation());
        let outcome = if call.is_quick() {
            let pending = self.submit(call);
            self.finish(pending).await
        } else {
            match self.aside(move |caller| caller.submit(call)).await {
                Ok(pending) => self.finish(pending).await,
                Err(_) => Err(failed()),
            }
        };
        self.answered(command, began, outcome.as_ref().err().map(Error::code), Instant::now());
        outcome
    }

    /// Waits for an outcome, or until nobody can tell it.
    async fn finish(&mut self, mut pending: Pending) -> Result<Outcome> {
        loop {
            tokio::select! {
                biased;
                outcome = &mut pending => return outcome,
                // Looked at again: a database was withdrawn or installed.
                () = self.replaced() => {
                    self.refresh();
                }
            }
        }
    }

    /// The same on a thread that may wait.
    pub(crate) fn wait(&mut self, pending: Pending) -> Result<Outcome> {
        Handle::current().block_on(self.finish(pending))
    }
}

/// An outcome that may be told once its commit came out well.
#[must_use = "an outcome is known only after waiting"]
#[derive(Debug)]
pub struct Pending {
    commit: Commit,
    result: Option<Result<Outcome>>,
}

impl Pending {
    pub(super) fn new(
        operation: Operation,
        inner: Option<rstmdb_engine::Commit<Hold>>,
        result: Result<Outcome>,
    ) -> Pending {
        let result = result.map_err(|error| unless_closed(error, operation));
        // A refusal has changed nothing either.
        let changes = operation.is_write() && result.is_ok();
        Pending { commit: Commit { operation, changes, inner }, result: Some(result) }
    }

    /// Takes it apart, for who prepares an answer before giving it: nothing of the result may be told
    /// before the commit came out well.
    pub fn split(self) -> (Commit, Result<Outcome>) {
        (self.commit, self.result.unwrap_or_else(|| Err(failed())))
    }
}

impl Future for Pending {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Outcome>> {
        let settled = ready!(Pin::new(&mut self.commit).poll(context));
        let result = self.result.take().unwrap_or_else(|| Err(failed()));
        Poll::Ready(settled.and(result))
    }
}

/// What is waited for: it comes out as an error when what the result says did not come to be.
#[must_use = "an outcome is known only after waiting"]
#[derive(Debug)]
pub struct Commit {
    operation: Operation,
    /// Whether something changes if it comes out well.
    changes: bool,
    inner: Option<rstmdb_engine::Commit<Hold>>,
}

impl Commit {
    /// What became of it, when that is known already, or never will be.
    pub fn settled(&mut self) -> Option<Result<()>> {
        let Some(inner) = &mut self.inner else { return Some(Ok(())) };
        match inner.settled() {
            None if inner.holder().is_over() => {
                let error = if self.changes { outcome_unknown } else { reopening };
                Some(Err(error(self.operation)))
            }
            settled => settled,
        }
    }
}

/// Who polls it must do so again when another database takes the place of this one.
impl Future for Commit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(settled) = self.settled() {
            return Poll::Ready(settled);
        }
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Only a database that was withdrawn is closed.
pub(super) fn unless_closed(error: Error, operation: Operation) -> Error {
    if error.reason() == Some(reason::CLOSED) { reopening(operation) } else { error }
}

/// There is no database in service.
pub(super) fn reopening(operation: Operation) -> Error {
    let message = "the server opens its database; the request changed nothing, repeat it";
    Error::new(ErrorCode::WalIoError, message)
        .with_reason(reason::REOPENING)
        .with_operation(operation.wire_name())
}

/// The database was replaced before it said what became of the request.
fn outcome_unknown(operation: Operation) -> Error {
    let message = "the database was replaced before the request was done: whether it changed \
                   anything is unknown, read to find out";
    Error::new(ErrorCode::WalIoError, message)
        .with_reason(reason::OUTCOME_UNKNOWN)
        .with_operation(operation.wire_name())
}

/// The work on another thread panicked.
pub(crate) fn failed() -> Error {
    Error::new(ErrorCode::InternalError, "the request failed inside the server")
}
