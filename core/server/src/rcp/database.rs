//! Operations of the database: at once where that is quick and there is room, later where the disk is
//! behind, on a thread that may wait where it is not quick.

use rstmdb_types::Operation;
use rstmdb_types::operation::Place;

use super::batch::{self, Budget};
use super::form::{AnswerForm, WrittenAnswer};
use super::parse;
use super::plan::Plan;
use super::reply::{Reply, SideWork};
use super::watches;
use crate::calls::{Caller, is_quick};

/// Answers an operation, or starts it on another thread.
pub(crate) fn answer(reply: Reply<'_>, operation: Operation, params: &str) -> Option<SideWork> {
    if is_quick(operation, params.len()) {
        match Plan::new(reply.caller, reply.form.dialect, operation, params) {
            Ok(Plan::Whole(call)) if call.is_quick() => {
                if !reply.caller.has_room(operation) {
                    return Some(reply.when_there_is_room(operation, call));
                }
                let pending = reply.caller.submit(call);
                reply.pending(pending);
                return None;
            }
            Ok(Plan::Whole(call)) => {
                let submit =
                    move |caller: &mut Caller, form: &AnswerForm| form.pending(caller.submit(call));
                return Some(reply.job(operation, submit));
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
        Ok(Plan::Whole(call)) => form.pending(caller.submit(call)),
        Ok(Plan::Each(elements)) => {
            form.known(Ok(&batch::perform(caller, form.dialect, elements, &mut Budget::default())))
        }
        Err(error) => form.known::<serde_json::Value>(Err(error)),
    }
}
