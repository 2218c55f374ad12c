//! One request being answered: where its answer goes and in which form.

use std::time::Instant;

use rstmdb_protocol::result::WireResult;
use rstmdb_protocol::{Command, Dialect, WireMode, message};
use rstmdb_types::{Error, ErrorCode, Result, Text};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::outbox::Outbox;
use super::watches::Watch;
use crate::calls::{Caller, Commit, Pending};

/// How the answer to a request is written.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub id: Text,
    pub command: Command,
    pub mode: WireMode,
    pub dialect: Dialect,
}

impl Form {
    /// Appends the answer; returns the code of the error it became, if it did.
    pub(crate) fn write<T: WireResult + ?Sized>(
        &self,
        result: Result<&T>,
        out: &mut Vec<u8>,
    ) -> Option<ErrorCode> {
        let written = match result {
            Ok(result) => message::respond(out, self.mode, self.dialect, &self.id, result),
            Err(error) => {
                message::refuse(out, self.mode, &self.id, &error);
                Err(error)
            }
        };
        written.err().map(|error| error.code())
    }

    /// An answer that waits for nothing.
    pub(crate) fn known<T: WireResult + ?Sized>(&self, result: Result<&T>) -> Written {
        let mut bytes = Vec::new();
        let error = self.write(result, &mut bytes);
        Written { bytes, error, commit: None, watch: None }
    }

    /// An answer that waits for its commit.
    pub(crate) fn pending(&self, pending: Pending) -> Written {
        let (commit, result) = pending.split();
        Written { commit: Some(commit), ..self.known(result.as_ref().map_err(Clone::clone)) }
    }
}

/// The answer of a request that ran on another thread.
pub(crate) struct Written {
    pub bytes: Vec<u8>,
    pub error: Option<ErrorCode>,
    /// What the answer waits for.
    pub commit: Option<Commit>,
    /// The subscription that begins after the answer.
    pub watch: Option<Watch>,
}

/// A request that runs on another thread. The connection waits with those behind it.
pub(crate) struct Job {
    pub began: Instant,
    pub form: Form,
    pub task: JoinHandle<Written>,
    /// The room that the request takes in memory.
    pub room: Option<OwnedSemaphorePermit>,
}

/// A request being answered.
pub(crate) struct Reply<'a> {
    pub caller: &'a mut Caller,
    pub outbox: &'a mut Outbox,
    pub form: Form,
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
        answer: impl FnOnce(&mut Caller, &Form) -> Written + Send + 'static,
    ) -> Job {
        let form = self.form.clone();
        let task = self.caller.aside(move |caller| answer(caller, &form));
        Job { began: self.began, form: self.form, task, room: None }
    }
}
