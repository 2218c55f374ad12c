//! Results that may be shown once the log says so.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rstmdb_types::{Error, Operation, Result};

use crate::log::queue::{Queue, Ticket};
use crate::shared::EngineSink;

/// A result that becomes visible once what it depends on is durable.
///
/// Wait for it with [`Pending::wait`], or await it. Dropping it stops the waiting, not the write.
#[must_use = "a result is known only after waiting"]
pub struct Pending<'a, T> {
    commit: Commit<'a>,
    result: Option<Result<T>>,
}

/// The part of a [`Pending`] that is waited for: it comes out as an error when what the result says
/// did not come to be.
#[must_use = "a result is known only after waiting"]
pub struct Commit<'a> {
    operation: Option<Operation>,
    queue: &'a Queue<EngineSink>,
    ticket: Ticket,
    over: bool,
}

impl std::fmt::Debug for Commit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commit(offset {})", self.ticket.offset)
    }
}

impl<T> std::fmt::Debug for Pending<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(offset {})", self.commit.ticket.offset)
    }
}

impl Commit<'_> {
    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        self.queue.settled(self.ticket).is_some()
    }

    /// What became of it, when that is known already.
    pub fn settled(&mut self) -> Option<Result<()>> {
        let settled = self.queue.settled(self.ticket)?;
        Some(self.end(settled))
    }

    /// Waits until it is known what became of it.
    pub fn wait(mut self) -> Result<()> {
        let settled = self.queue.wait(self.ticket);
        self.end(settled)
    }

    fn end(&mut self, settled: Result<()>) -> Result<()> {
        self.over = true;
        settled.map_err(|error| self.name(error))
    }

    fn name(&self, error: Error) -> Error {
        match self.operation {
            Some(operation) => error.with_operation(operation.wire_name()),
            None => error,
        }
    }
}

impl Future for Commit<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.queue.poll(self.ticket, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(settled) => Poll::Ready(self.end(settled)),
        }
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        if !self.over && self.queue.settled(self.ticket).is_none() {
            self.queue.request_write();
        }
    }
}

impl<'a, T> Pending<'a, T> {
    pub(crate) fn new(queue: &'a Queue<EngineSink>, ticket: Ticket, result: Result<T>) -> Self {
        let commit = Commit { operation: None, queue, ticket, over: false };
        Pending { commit, result: Some(result) }
    }

    /// A result that depends on nothing.
    pub(crate) fn ready(queue: &'a Queue<EngineSink>, result: Result<T>) -> Self {
        Pending::new(queue, queue.ticket(0), result)
    }

    /// Names the operation in the errors of the result.
    pub(crate) fn named(mut self, operation: Operation) -> Self {
        self.commit.operation = Some(operation);
        self
    }

    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        self.commit.is_ready()
    }

    /// Waits until the result may be shown.
    pub fn wait(self) -> Result<T> {
        let (commit, result) = self.split();
        commit.wait().and(result)
    }

    /// Takes the result apart, for callers that prepare an answer before they may give it: nothing of
    /// the result may be shown before the commit came out well.
    pub fn split(mut self) -> (Commit<'a>, Result<T>) {
        let result = self.take();
        (self.commit, result)
    }

    /// Waiting and polling consume the value: it is here exactly once.
    fn take(&mut self) -> Result<T> {
        let result = self.result.take().unwrap_or_else(|| Err(crate::error::closed()));
        result.map_err(|error| self.commit.name(error))
    }
}

impl<T: Unpin> Future for Pending<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match Pin::new(&mut self.commit).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(settled) => Poll::Ready(settled.and_then(|()| self.take())),
        }
    }
}
