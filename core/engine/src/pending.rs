//! Results that may be shown once the log says so.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use rstmdb_types::{Error, Operation, OperationRequest, Outcome, Result};

use crate::Engine;
use crate::log::Ticket;
use crate::log::queue::Queue;
use crate::shared::EngineSink;

/// What a command came to, and what it depends on.
#[derive(Debug)]
pub(crate) struct Evaluated<T> {
    pub ticket: Ticket,
    pub result: Result<T>,
}

impl<T> Evaluated<T> {
    pub(crate) fn new(ticket: Ticket, result: Result<T>) -> Evaluated<T> {
        Evaluated { ticket, result }
    }

    /// The same for who takes what this node has.
    pub(crate) fn of_this_node(self) -> Evaluated<T> {
        Evaluated { ticket: self.ticket.without_round(), ..self }
    }

    pub(crate) fn map<R>(self, into: impl FnOnce(T) -> R) -> Evaluated<R> {
        Evaluated { ticket: self.ticket, result: self.result.map(into) }
    }
}

/// A result that becomes visible once what it depends on is durable.
///
/// `H` holds the engine: `&Engine`, or an `Arc<Engine>` for who outlives it. Wait for it with
/// [`Pending::wait`], or await it. Dropping it stops the waiting, not the write.
#[must_use = "a result is known only after waiting"]
pub struct Pending<H: Deref<Target = Engine>, T> {
    commit: Commit<H>,
    result: Option<Result<T>>,
}

/// The part of a [`Pending`] that is waited for: it comes out as an error when what the result says
/// did not come to be.
#[must_use = "a result is known only after waiting"]
pub struct Commit<H: Deref<Target = Engine>> {
    operation: Operation,
    engine: H,
    ticket: Ticket,
    over: bool,
}

impl<H: Deref<Target = Engine>> std::fmt::Debug for Commit<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commit(offset {})", self.ticket.offset)
    }
}

impl<H: Deref<Target = Engine>, T> std::fmt::Debug for Pending<H, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(offset {})", self.commit.ticket.offset)
    }
}

impl<H: Deref<Target = Engine>> Commit<H> {
    pub(crate) fn new(engine: H, operation: Operation, ticket: Ticket) -> Commit<H> {
        Commit { operation, engine, ticket, over: false }
    }

    fn queue(&self) -> &Queue<EngineSink> {
        self.engine.queue()
    }

    /// What holds the engine.
    pub fn holder(&self) -> &H {
        &self.engine
    }

    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        self.queue().settled(self.ticket).is_some()
    }

    /// What became of it, when that is known already.
    pub fn settled(&mut self) -> Option<Result<()>> {
        let settled = self.queue().settled(self.ticket)?;
        Some(self.end(settled))
    }

    /// Waits until it is known what became of it.
    pub fn wait(mut self) -> Result<()> {
        self.wait_here()
    }

    /// The same, for somebody else to wait for too.
    pub fn again(&self) -> Commit<H>
    where
        H: Clone,
    {
        Commit::new(self.engine.clone(), self.operation, self.ticket)
    }

    #[inline]
    fn wait_here(&mut self) -> Result<()> {
        let settled = self.queue().wait(self.ticket);
        self.end(settled)
    }

    fn end(&mut self, settled: Result<()>) -> Result<()> {
        self.over = true;
        settled.map_err(|error| self.name(error))
    }

    fn name(&self, error: Error) -> Error {
        error.with_operation(self.operation.wire_name())
    }
}

impl<H: Deref<Target = Engine> + Unpin> Future for Commit<H> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.queue().poll(self.ticket, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(settled) => Poll::Ready(self.end(settled)),
        }
    }
}

impl<H: Deref<Target = Engine>> Drop for Commit<H> {
    fn drop(&mut self) {
        if !self.over && self.queue().settled(self.ticket).is_none() {
            self.queue().request_write();
        }
    }
}

impl<H: Deref<Target = Engine>, T> Pending<H, T> {
    pub(crate) fn new(engine: H, operation: Operation, evaluated: Evaluated<T>) -> Self {
        let commit = Commit::new(engine, operation, evaluated.ticket);
        Pending { commit, result: Some(evaluated.result) }
    }

    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        self.commit.is_ready()
    }

    /// Writes here and now where that waits for no disk: the policy asks for no sync, no segment ends, and
    /// nobody else is writing. A result is ready afterwards, then.
    pub fn write_at_once(&self) {
        if !self.is_ready() && !self.commit.engine.syncs() {
            self.commit.queue().lead_at_once(self.commit.ticket);
        }
    }

    /// Waits until the result may be shown.
    pub fn wait(mut self) -> Result<T> {
        self.commit.wait_here()?;
        self.take()
    }

    /// Takes the result apart, for callers that prepare an answer before they may give it: nothing of
    /// the result may be shown before the commit came out well.
    pub fn split(mut self) -> (Commit<H>, Result<T>) {
        let result = self.take();
        (self.commit, result)
    }

    /// Waiting and polling consume the value: it is here exactly once.
    fn take(&mut self) -> Result<T> {
        let result = self.result.take().unwrap_or_else(|| Err(crate::error::closed()));
        result.map_err(|error| self.commit.name(error))
    }
}

impl<T> Pending<&Engine, T> {
    /// The same result, for who holds the engine in another way.
    pub fn held_by<H: Deref<Target = Engine>>(mut self, engine: H) -> Pending<H, T> {
        // What is dropped here asks for nothing.
        self.commit.over = true;
        let (operation, ticket) = (self.commit.operation, self.commit.ticket);
        let commit = Commit::new(engine, operation, ticket);
        Pending { commit, result: self.result.take() }
    }
}

impl<H: Deref<Target = Engine>> Pending<H, Outcome> {
    /// The result of a request of type `R`.
    pub fn of<R: OperationRequest>(self) -> Pending<H, R::Result> {
        let Pending { commit, result } = self;
        // An operation has the outcome of its own row of the table.
        let take = |outcome| R::take(outcome).ok_or_else(crate::error::closed);
        Pending { commit, result: result.map(|result| result.and_then(take)) }
    }
}

impl<H: Deref<Target = Engine> + Unpin, T: Unpin> Future for Pending<H, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match Pin::new(&mut self.commit).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(settled) => Poll::Ready(settled.and_then(|()| self.take())),
        }
    }
}
