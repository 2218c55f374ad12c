//! One request being answered: where its answer goes.

use std::pin::Pin;
use std::time::Instant;

use rstmdb_protocol::result::WireResult;
use rstmdb_types::{Error, Operation, Outcome};
use serde_json::Value;
use tokio::task::JoinError;

use super::form::{AnswerForm, WrittenAnswer};
use super::inbox::Room;
use super::outbox::Outbox;
use crate::calls::{Call, Caller};

/// An answer that is made elsewhere or later.
type Work = dyn Future<Output = Result<WrittenAnswer, JoinError>> + Send;

/// A request that waits for room in the log, or runs on another thread. The connection reads no more
/// until it is done.
pub(crate) struct SideWork {
    pub began: Instant,
    pub form: AnswerForm,
    pub task: Pin<Box<Work>>,
    /// The room that the request takes in memory.
    pub room: Room,
}

/// A request being answered.
pub(crate) struct Reply<'a> {
    pub caller: &'a mut Caller,
    pub outbox: &'a mut Outbox,
    pub form: AnswerForm,
    pub began: Instant,
}

impl Reply<'_> {
    /// Answers with what is known.
    pub(crate) fn with<T: WireResult + ?Sized>(self, result: rstmdb_types::Result<&T>) {
        let error = self.form.write(result, self.outbox.buffer());
        self.caller.answered(self.form.command, self.began, error, Instant::now());
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: Error) {
        self.with::<Value>(Err(error));
    }

    /// Carries a call out here and now, and answers once what its result says is durable.
    pub(crate) fn carry_out(self, call: Call) {
        let Reply { caller, outbox, form, began } = self;
        let call = Call { wish: form.wish, ..call };
        let begin = outbox.buffer().len();
        let write = |outcome: rstmdb_types::Result<&Outcome>| form.write(outcome, outbox.buffer());
        let (commit, error) = caller.submit_with(call, write);
        outbox.hold(begin, commit, began, &form, error, caller);
    }

    /// Answers on a thread that may wait, once an operation may begin.
    pub(crate) fn job(
        self,
        operation: Operation,
        answer: impl FnOnce(&mut Caller, &AnswerForm) -> WrittenAnswer + Send + 'static,
    ) -> SideWork {
        let (mut caller, form) = (self.caller.another(), self.form.clone());
        self.aside(async move {
            caller.room(operation).await;
            tokio::task::spawn_blocking(move || answer(&mut caller, &form)).await
        })
    }

    /// Answers once there is room for what a call writes.
    pub(crate) fn when_there_is_room(self, operation: Operation, call: Call) -> SideWork {
        let (mut caller, form) = (self.caller.another(), self.form.clone());
        self.aside(async move {
            caller.room(operation).await;
            Ok(form.carry_out(&mut caller, call))
        })
    }

    fn aside(
        self,
        task: impl Future<Output = Result<WrittenAnswer, JoinError>> + Send + 'static,
    ) -> SideWork {
        SideWork { began: self.began, form: self.form, task: Box::pin(task), room: Room::default() }
    }
}
