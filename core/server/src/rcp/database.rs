//! Operations of the database: at once where that is quick and there is room, later where the disk is
//! behind, on a thread that may wait where it is not quick.

use rstmdb_types::operation::Place;
use rstmdb_types::{Operation, Request};

use super::batch::{self, Budget};
use super::form::{AnswerForm, WrittenAnswer};
use super::parse;
use super::plan::Plan;
use super::reply::{Reply, SideWork};
use super::watches;
use crate::calls::{Call, Caller, is_quick};

/// Answers a request that was read along with its message, or starts it where there is no room for it yet.
pub(crate) fn carry_out(reply: Reply<'_>, request: Box<Request>) -> Option<SideWork> {
    let call = parse::whole(reply.form.dialect, request);
    submit(reply, call)
}

fn submit(reply: Reply<'_>, call: Call) -> Option<SideWork> {
    let operation = call.request.operation();
    if !reply.caller.has_room(operation) {
        return Some(reply.when_there_is_room(operation, call));
    }
    reply.carry_out(call);
    None
}

/// Answers an operation, or starts it on another thread.
pub(crate) fn answer(reply: Reply<'_>, operation: Operation, params: &str) -> Option<SideWork> {
    if is_quick(operation, params.len()) {
        match Plan::new(reply.caller, reply.form.dialect, operation, params) {
            Ok(Plan::Whole(call)) if call.is_quick() => return submit(reply, call),
            Ok(Plan::Whole(call)) => {
                let carry_out =
                    move |caller: &mut Caller, form: &AnswerForm| form.carry_out(caller, call);
                return Some(reply.job(operation, carry_out));
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
    Some(reply.job(operation, move |caller, form| perform(caller, form, operation, &params)))
}

/// Carries an operation out on a thread that may wait.
fn perform(
    caller: &mut Caller,
    form: &AnswerForm,
    operation: Operation,
    params: &str,
) -> WrittenAnswer {
    if operation.place() == Place::Stream {
        return watches::begin(caller, form, operation, params);
    }
    if let Err(error) = parse::check_size(caller, operation, params) {
        return form.known::<serde_json::Value>(Err(error));
    }
    match Plan::new(caller, form.dialect, operation, params) {
        Ok(Plan::Whole(call)) => form.carry_out(caller, call),
        Ok(Plan::Each(elements)) => {
            form.known(Ok(&batch::perform(caller, form.dialect, elements, &mut Budget::default())))
        }
        Err(error) => form.known::<serde_json::Value>(Err(error)),
    }
}
