//! Results that may be shown once the log says so.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rstmdb_types::{Operation, Result};

use crate::log::queue::{Queue, Ticket};
use crate::shared::EngineSink;

/// A result that becomes visible once what it depends on is durable.
///
/// Wait for it with [`Pending::wait`], or await it. Dropping it stops the waiting, not the write.
#[must_use = "a result is known only after waiting"]
pub struct Pending<'a, T> {
    operation: Option<Operation>,
    queue: &'a Queue<EngineSink>,
    ticket: Ticket,
    result: Option<Result<T>>,
}

impl<T> std::fmt::Debug for Pending<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(offset {})", self.ticket.offset)
    }
}

impl<'a, T> Pending<'a, T> {
    pub(crate) fn new(queue: &'a Queue<EngineSink>, ticket: Ticket, result: Result<T>) -> Self {
        Pending { operation: None, queue, ticket, result: Some(result) }
    }

    /// A result that depends on nothing.
    pub(crate) fn ready(queue: &'a Queue<EngineSink>, result: Result<T>) -> Self {
        Pending::new(queue, queue.ticket(0), result)
    }

    /// Names the operation in the errors of the result.
    pub(crate) fn named(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    fn finish(&mut self, settled: Result<()>) -> Result<T> {
        // Waiting and polling consume the value: it is here exactly once.
        let result = self.result.take().unwrap_or_else(|| Err(crate::error::closed()));
        settled.and(result).map_err(|error| match self.operation {
            Some(operation) => error.with_operation(operation.wire_name()),
            None => error,
        })
    }

    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        self.queue.settled(self.ticket).is_some()
    }

    /// Waits until the result may be shown.
    pub fn wait(mut self) -> Result<T> {
        let settled = self.queue.wait(self.ticket);
        self.finish(settled)
    }
}

impl<T: Unpin> Future for Pending<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match self.queue.poll(self.ticket, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(settled) => Poll::Ready(self.finish(settled)),
        }
    }
}

impl<T> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        if self.result.is_some() && self.queue.settled(self.ticket).is_none() {
            self.queue.request_write();
        }
    }
}
