//! One request being answered: where its answer goes and in which form.

use std::sync::Arc;
use std::time::Instant;

use rstmdb_engine::{Engine, Pending};
use rstmdb_protocol::result::WireResult;
use rstmdb_protocol::{Command, Dialect, WireMode, message};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Operation, Request, Result, Text};
use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::de::StrRead;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::outbox::{Asked, Outbox};
use super::watches::Watch;
use crate::metrics::Metrics;

/// What is served, and where that is counted.
#[derive(Debug)]
pub(crate) struct Served {
    pub engine: Arc<Engine>,
    pub metrics: Arc<Metrics>,
}

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
}

/// The answer of a request that ran on another thread.
#[derive(Debug)]
pub(crate) struct Written {
    pub bytes: Vec<u8>,
    pub error: Option<ErrorCode>,
    /// The subscription that begins after the answer.
    pub watch: Option<Watch>,
}

/// A request that runs on another thread. The connection waits with those behind it.
#[derive(Debug)]
pub(crate) struct Job {
    pub asked: Asked,
    pub form: Form,
    pub task: JoinHandle<Written>,
    /// The room that the request takes in memory.
    pub room: Option<OwnedSemaphorePermit>,
}

/// A request being answered.
pub(crate) struct Answer<'a, 'e> {
    pub served: &'e Arc<Served>,
    pub outbox: &'a mut Outbox<'e>,
    pub form: Form,
    pub began: Instant,
}

impl<'e> Answer<'_, 'e> {
    fn asked(&self) -> Asked {
        Asked { command: self.form.command, began: self.began }
    }

    /// Answers with what is known.
    pub(crate) fn with<T: WireResult + ?Sized>(self, result: Result<&T>) {
        let error = self.form.write(result, self.outbox.buffer());
        self.outbox.answered(&self.asked(), error, Instant::now());
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: Error) {
        self.with::<serde_json::Value>(Err(error));
    }

    /// Answers once what the result says is durable.
    pub(crate) fn pending<T: WireResult>(self, pending: Pending<&'e Engine, T>) {
        let (commit, result) = pending.split();
        let begin = self.outbox.buffer().len();
        let error = self.form.write(result.as_ref().map_err(Clone::clone), self.outbox.buffer());
        let asked = self.asked();
        self.outbox.hold(begin, commit, asked, &self.form, error);
    }

    /// Runs the request on a thread that may wait.
    pub(crate) fn job(
        self,
        run: impl FnOnce(&Served) -> Result<Box<dyn WireResult>> + Send + 'static,
    ) -> Job {
        self.job_with(move |served, form| {
            let mut bytes = Vec::new();
            let result = run(served);
            let error = form.write(result.as_deref().map_err(Clone::clone), &mut bytes);
            Written { bytes, error, watch: None }
        })
    }

    /// The same for a request that writes its answer by itself.
    pub(crate) fn job_with(
        self,
        run: impl FnOnce(&Served, &Form) -> Written + Send + 'static,
    ) -> Job {
        let (served, form) = (self.served.clone(), self.form.clone());
        let task = tokio::task::spawn_blocking(move || run(&served, &form));
        Job { asked: self.asked(), form: self.form, task, room: None }
    }
}

/// Reads the parameters of a command.
pub(crate) fn decode<'a, T: Deserialize<'a>>(command: Command, params: &'a str) -> Result<T> {
    read(command, params, |params| T::deserialize(params))
}

/// Reads the request of an operation.
pub(crate) fn request(operation: Operation, params: &str) -> Result<Request> {
    read(Command::Database(operation), params, |params| Request::deserialize(operation, params))
}

fn read<'a, T>(
    command: Command,
    params: &'a str,
    read: impl FnOnce(&mut Deserializer<StrRead<'a>>) -> serde_json::Result<T>,
) -> Result<T> {
    let refused = |what: &str| {
        let name = command.wire_name();
        Error::invalid(reason::INVALID_REQUEST, format!("{name}: {what}")).with_operation(name)
    };
    // A derived type would take a list of its members' values too: nobody means that.
    if !params.starts_with('{') {
        return Err(refused("params is not a JSON object"));
    }
    let mut text = Deserializer::from_str(params);
    let found = read(&mut text).and_then(|found| text.end().map(|()| found));
    found.map_err(|error| refused(&error.to_string()))
}
