//! Outcomes on their way: what is waited for before one may be told, and what a caller is told when its
//! database is replaced meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rstmdb_types::error::reason;
use rstmdb_types::operation::Access;
use rstmdb_types::{Error, ErrorCode, Operation, Outcome, Result};

use super::hold::Hold;

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
        Pending { commit: Commit::new(operation, inner, result.is_ok()), result: Some(result) }
    }

    /// Gives it so much time to be committed.
    pub(super) fn within(self, timeout: Option<Duration>) -> Pending {
        Pending { commit: self.commit.within(timeout), ..self }
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
    /// Others have to have it by then.
    deadline: Option<Deadline>,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Commit {
    pub(super) fn new(
        operation: Operation,
        inner: Option<rstmdb_engine::Commit<Hold>>,
        is_ok: bool,
    ) -> Commit {
        // A refusal has changed nothing either.
        let changes = is_ok && operation.access() != Access::Read;
        Commit { operation, changes, inner, deadline: None }
    }

    /// Gives it so much time. Whoever waits must ask again then.
    pub(super) fn within(mut self, timeout: Option<Duration>) -> Commit {
        if self.inner.is_some() {
            let at = |timeout| Instant::now().checked_add(timeout);
            self.deadline =
                timeout.and_then(|timeout| Some(Deadline { at: at(timeout)?, timeout }));
        }
        self
    }

    /// What became of it, when that is known already, or never will be.
    pub fn settled(&mut self) -> Option<Result<()>> {
        let Some(inner) = &mut self.inner else { return Some(Ok(())) };
        match inner.settled() {
            None if inner.holder().is_over() => {
                let error = if self.changes { outcome_unknown } else { reopening };
                Some(Err(error(self.operation)))
            }
            None if self.deadline.is_some_and(|deadline| deadline.at <= Instant::now()) => self
                .deadline
                .map(|deadline| Err(unconfirmed(self.operation, self.changes, deadline.timeout))),
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

/// Too few replicas have said that they have it.
fn unconfirmed(operation: Operation, changes: bool, timeout: Duration) -> Error {
    let after = timeout.as_millis();
    let message = match changes {
        true => format!(
            "replicas did not confirm the change within {after} ms: it is in the log here, and counts as soon as they \
             have it; read to find out, or repeat it with its idempotency key"
        ),
        false => format!(
            "what this would tell is not confirmed by replicas within {after} ms; repeat it"
        ),
    };
    Error::new(ErrorCode::ReplicationTimeout, message).with_operation(operation.wire_name())
}

/// The work on another thread panicked.
pub(crate) fn failed() -> Error {
    Error::new(ErrorCode::InternalError, "the request failed inside the server")
}
