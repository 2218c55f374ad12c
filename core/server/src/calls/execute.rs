//! Requests carried out: where, and what is waited for before the outcome may be told.

use std::future::poll_fn;
use std::time::Instant;

use rstmdb_engine::Engine;
use rstmdb_protocol::WireCommand;
use rstmdb_types::operation::Place;
use rstmdb_types::{Execute, Operation, Outcome, Request, Result};
use tokio::runtime::Handle;

use super::caller::Caller;
use super::failure::CountedError;
use super::hold::Hold;
use super::pending::{Commit, Pending, failed};
use super::place::{submit, submit_with};

/// Requests of more bytes than this are read and carried out elsewhere: one session must not hold up
/// the others of its thread.
pub(crate) const QUICK_BYTES_MAX: usize = 64 << 10;
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
    pub request: Box<Request>,
    /// Whether the rules of RCP 0.3 hold: see [`Command`](rstmdb_types::Command::plain_rules).
    pub plain_rules: bool,
}

impl<R: Into<Box<Request>>> From<R> for Call {
    fn from(request: R) -> Call {
        Call { request: request.into(), plain_rules: false }
    }
}

impl Call {
    /// Whether it may be submitted on a thread that serves others.
    pub(crate) fn is_quick(&self) -> bool {
        match &*self.request {
            Request::Batch(batch) => batch.ops.len() <= QUICK_OPERATIONS_MAX,
            request => request.operation().place() == Place::Memory,
        }
    }
}

impl Caller {
    /// Whether an operation may begin: not every change while too much waits for the disk.
    pub(crate) fn has_room(&mut self, operation: Operation) -> bool {
        self.hold().is_none_or(|engine| engine.has_room(operation))
    }

    /// Waits until it may, with the database in service.
    pub(crate) async fn room(&mut self, operation: Operation) {
        while let Some(engine) = self.hold().cloned() {
            tokio::select! {
                biased;
                () = poll_fn(|context| engine.poll_room(operation, context)) => return,
                // Another one is asked.
                () = self.replaced() => {}
            }
        }
    }

    /// Submits a request to the database, for which there is room: see [`Caller::room`]. Blocks where
    /// the place of its operation is files.
    pub fn submit(&mut self, call: impl Into<Call>) -> Pending {
        let (hold, operation, command) = self.command(call.into());
        submit(hold, operation, command)
    }

    /// As [`Caller::submit`], for who prepares an answer from what is shown: nothing of it may be told before
    /// the commit came out well.
    pub fn submit_with<T>(
        &mut self,
        call: impl Into<Call>,
        prepare: impl FnOnce(Result<&Outcome>) -> T,
    ) -> (Commit, T) {
        let (hold, operation, command) = self.command(call.into());
        submit_with(hold, operation, command, prepare)
    }

    fn command(
        &mut self,
        call: Call,
    ) -> (Option<Hold>, Operation, impl FnOnce(&Engine) -> rstmdb_types::Command + use<>) {
        let Call { request, plain_rules } = call;
        if let Request::Batch(batch) = &*request {
            for element in &batch.ops {
                self.count_element(WireCommand::Database(element.operation()));
            }
        }
        let (caller, operation) = (self.name(), request.operation());
        let command = move |engine: &Engine| rstmdb_types::Command {
            caller,
            plain_rules,
            ..engine.command(request)
        };
        (self.hold().cloned(), operation, command)
    }

    /// Carries a request out, where it holds up nobody, and waits for the outcome.
    pub async fn execute(&mut self, call: impl Into<Call>) -> Result<Outcome> {
        let (call, began) = (call.into(), Instant::now());
        let operation = call.request.operation();
        let command = WireCommand::Database(operation);
        self.room(operation).await;
        let outcome = if call.is_quick() {
            let pending = self.submit(call);
            self.finish(pending).await
        } else {
            match self.aside(move |caller| caller.submit(call)).await {
                Ok(pending) => self.finish(pending).await,
                Err(_) => Err(failed()),
            }
        };
        self.answered(command, began, outcome.as_ref().err().map(CountedError::of), Instant::now());
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
