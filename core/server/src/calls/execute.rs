//! Requests carried out: where, and what is waited for before the outcome may be told.

use std::future::poll_fn;
use std::time::Instant;

use rstmdb_engine::Engine;
use rstmdb_protocol::ReadWish;
use rstmdb_protocol::WireCommand;
use rstmdb_types::operation::{Access, Place};
use rstmdb_types::{Execute, Operation, Outcome, Request, Result};
use tokio::runtime::Handle;

use super::caller::Caller;
use super::failure::CountedError;
use super::hold::Hold;
use super::pending::{Commit, Pending, failed};
use super::place::{Entrance, submit, submit_with};

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
    /// How fresh what is read has to be, where that was said.
    pub wish: Option<ReadWish>,
}

impl<R: Into<Box<Request>>> From<R> for Call {
    fn from(request: R) -> Call {
        Call { request: request.into(), plain_rules: false, wish: None }
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
        let (entrance, operation, command) = self.command(call.into());
        let timeout = self.standing.commit_timeout;
        submit(entrance, timeout, operation, command)
    }

    /// As [`Caller::submit`], for who prepares an answer from what is shown: nothing of it may be told before
    /// the commit came out well.
    pub fn submit_with<T>(
        &mut self,
        call: impl Into<Call>,
        prepare: impl FnOnce(Result<&Outcome>) -> T,
    ) -> (Commit, T) {
        let (entrance, operation, command) = self.command(call.into());
        let timeout = self.standing.commit_timeout;
        submit_with(entrance, timeout, operation, command, prepare)
    }

    fn command(
        &mut self,
        call: Call,
    ) -> (Entrance, Operation, impl FnOnce(&Engine) -> rstmdb_types::Command + use<>) {
        let Call { request, plain_rules, wish } = call;
        if let Request::Batch(batch) = &*request {
            for element in &batch.ops {
                self.count_element(WireCommand::Database(element.operation()));
            }
        }
        let ordered = match request.operation().is_order() {
            true => self.order(&request),
            false => None,
        };
        let (caller, operation) = (self.name(), request.operation());
        let command = move |engine: &Engine| rstmdb_types::Command {
            caller,
            plain_rules,
            may_be_behind: wish.is_some_and(|wish| wish.mode.may_be_behind()),
            ..engine.command(request)
        };
        let hold = self.hold().cloned();
        let entrance = match ordered {
            Some(outcome) => Entrance::Known(Box::new(outcome)),
            None => self.entrance(operation, wish, hold),
        };
        (entrance, operation, command)
    }

    /// What comes of an order to this node, or what it tells of all nodes. Blocks.
    fn order(&self, request: &Request) -> Option<Result<Outcome>> {
        let carried_out = self.calls().driver()?.operate(request.clone())?;
        if request.operation().access() != Access::Read {
            tracing::warn!(by = self.name().as_deref(), "ordered: {request:?}");
        }
        Some(Handle::current().block_on(carried_out))
    }

    /// Where a request goes as things stand with this node.
    fn entrance(
        &self,
        operation: Operation,
        wish: Option<ReadWish>,
        hold: Option<Hold>,
    ) -> Entrance {
        let standing = &self.standing;
        let refusal = match operation.access() {
            // The lease may have ended while nobody looked.
            Access::Write => {
                standing.writes.clone().or_else(|| self.calls().node().lacks_lease(standing.role))
            }
            Access::Read if operation == Operation::ReplicationStatus => {
                if let Some(status) = standing.status() {
                    return Entrance::Known(Box::new(Ok(Outcome::ReplicationStatus(Box::new(
                        status,
                    )))));
                }
                None
            }
            Access::Read if !operation.is_about_node() => standing.reads.clone().or_else(|| {
                let position = hold.as_ref().map(|engine| engine.position());
                standing.stale_for(wish, position)
            }),
            Access::Read | Access::Local => None,
        };
        match refusal {
            Some(error) => Entrance::refused(error.with_operation(operation.wire_name())),
            None => Entrance::of(hold, operation),
        }
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
                // Looked at again: a database was withdrawn or installed, or it takes too long.
                () = self.told() => {
                    self.look();
                }
            }
        }
    }

    /// The same on a thread that may wait.
    pub(crate) fn wait(&mut self, pending: Pending) -> Result<Outcome> {
        Handle::current().block_on(self.finish(pending))
    }
}
