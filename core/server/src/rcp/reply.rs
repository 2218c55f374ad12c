//! One request being answered: where its answer goes.

use std::time::Instant;

use rstmdb_protocol::result::WireResult;
use rstmdb_types::{Error, Result};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::form::{AnswerForm, WrittenAnswer};
use super::outbox::Outbox;
use crate::calls::{Caller, Pending};

/// A request that runs on another thread. The connection waits with those behind it.
pub(crate) struct SideWork {
    pub began: Instant,
    pub form: AnswerForm,
    pub task: JoinHandle<WrittenAnswer>,
    /// The room that the request takes in memory.
    pub room: Option<OwnedSemaphorePermit>,
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
    pub(crate) fn with<T: WireResult + ?Sized>(self, result: Result<&T>) {
        let error = self.form.write(result, self.outbox.buffer());
        self.caller.answered(self.form.command, self.began, error, Instant::now());
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: Error) {
        self.with::<Value>(Err(error));
    }

    /// Answers once what the result says is durable.
    pub(crate) fn pending(self, pending: Pending) {
        let (commit, result) = pending.split();
        let begin = self.outbox.buffer().len();
        let error = self.form.write(result.as_ref().map_err(Clone::clone), self.outbox.buffer());
        self.outbox.hold(begin, commit, self.began, &self.form, error, self.caller);
    }

    /// Answers on a thread that may wait.
    pub(crate) fn job(
        self,
        answer: impl FnOnce(&mut Caller, &AnswerForm) -> WrittenAnswer + Send + 'static,
    ) -> SideWork {
        let form = self.form.clone();
        let task = self.caller.aside(move |caller| answer(caller, &form));
        SideWork { began: self.began, form: self.form, task, room: None }
    }
}
