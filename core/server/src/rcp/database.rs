//! Operations of the database: at once where that is quick, on a thread that may wait where it is not.

use rstmdb_protocol::Dialect;
use rstmdb_types::operation::Place;
use rstmdb_types::{Operation, Result};

use super::batch::{self, Budget, Element};
use super::reply::{Form, Job, Reply, Written};
use super::{parse, watches};
use crate::calls::{Call, Caller, is_quick};

/// How an operation is carried out.
pub(crate) enum Plan<'a> {
    /// By one call.
    Whole(Call),
    /// A batch of the plain dialect, one by one, each on its own.
    Each(Vec<Element<'a>>),
}

impl Plan<'_> {
    pub(crate) fn new<'a>(
        caller: &mut Caller,
        dialect: Dialect,
        operation: Operation,
        params: &'a str,
    ) -> Result<Plan<'a>> {
        if operation == Operation::Batch && dialect == Dialect::Plain {
            return batch::plan(params);
        }
        parse::call(caller, dialect, operation, params).map(Plan::Whole)
    }
}

/// Answers an operation, or starts it on another thread.
pub(crate) fn answer(reply: Reply<'_>, operation: Operation, params: &str) -> Option<Job> {
    if is_quick(operation, params.len()) {
        match Plan::new(reply.caller, reply.form.dialect, operation, params) {
            Ok(Plan::Whole(call)) if call.is_quick() => {
                let pending = reply.caller.submit(call);
                reply.pending(pending);
                return None;
            }
            Ok(Plan::Whole(call)) => {
                return Some(reply.job(move |caller, form| form.pending(caller.submit(call))));
            }
            // What it was read from is borrowed: it is read again.
            Ok(Plan::Each(_)) => {}
            Err(error) => {
                reply.refuse(error);
                return None;
            }
        }
    }
    let params = params.to_owned();
    Some(reply.job(move |caller, form| perform(caller, form, operation, &params)))
}

/// Carries an operation out on a thread that may wait.
fn perform(caller: &mut Caller, form: &Form, operation: Operation, params: &str) -> Written {
    if operation.place() == Place::Stream {
        return watches::begin(caller, form, operation, params);
    }
    match Plan::new(caller, form.dialect, operation, params) {
        Ok(Plan::Whole(call)) => form.pending(caller.submit(call)),
        Ok(Plan::Each(elements)) => {
            form.known(Ok(&batch::perform(caller, form.dialect, elements, &mut Budget::default())))
        }
        Err(error) => form.known::<serde_json::Value>(Err(error)),
    }
}
