//! The subscriptions of a connection, and their events among its answers.

use std::task::{Context, Poll};

use rstmdb_protocol::{Dialect, WireMode, message};
use rstmdb_types::{Error, Operation, Text};
use serde_json::Value;

use super::form::{AnswerForm, WrittenAnswer};
use super::outbox::Outbox;
use super::parse;
use crate::calls::{Caller, Events};

/// Events of one subscription in a row, while others have some too.
const TURN: usize = 256;

/// The subscriptions of a connection.
#[derive(Default)]
pub(crate) struct Watches {
    list: Vec<Events>,
    /// Whose turn is next.
    turn: usize,
}

impl Watches {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn add(&mut self, watch: Events) {
        self.list.push(watch);
    }

    /// Takes the subscription of this id away.
    pub(crate) fn take(&mut self, id: &str) -> Option<Events> {
        let place = self.list.iter().position(|watch| watch.id() == id);
        place.map(|place| self.list.swap_remove(place))
    }

    /// Appends events until `bytes_max` wait to be sent. Says whether there were any, or an end,
    /// and whether the connection must end because of that.
    pub(crate) fn forward(
        &mut self,
        outbox: &mut Outbox,
        (mode, dialect): (WireMode, Dialect),
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> (bool, bool) {
        let (mut forwarded, mut broken) = (false, false);
        let mut ended = Vec::new();
        for step in 0..self.list.len() {
            let place = (self.turn + step) % self.list.len();
            let Some(watch) = self.list.get_mut(place) else { break };
            for _ in 0..TURN {
                if outbox.waiting_bytes() >= bytes_max {
                    self.turn = place;
                    self.finish(ended, outbox, (mode, dialect), &mut broken);
                    return (forwarded, broken);
                }
                match watch.poll_next(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(event)) => {
                        forwarded = true;
                        message::event(outbox.buffer(), mode, dialect, watch.id(), &event);
                    }
                    Poll::Ready(Err(error)) => {
                        forwarded = true;
                        ended.push((watch.id().clone(), error));
                        break;
                    }
                }
            }
        }
        self.finish(ended, outbox, (mode, dialect), &mut broken);
        (forwarded, broken)
    }

    /// Tells what became of subscriptions that ended. A client that does not know such a message
    /// notices by the end of the connection.
    fn finish(
        &mut self,
        ended: Vec<(Text, Error)>,
        outbox: &mut Outbox,
        (mode, dialect): (WireMode, Dialect),
        broken: &mut bool,
    ) {
        for (id, error) in ended {
            tracing::warn!(subscription = %id, "a subscription ended: {error}");
            let Some(watch) = self.take(&id) else { continue };
            if dialect == Dialect::Extended {
                let resume_offset = watch.resume_offset();
                message::end(outbox.buffer(), mode, &id, resume_offset, Some(&error));
            } else {
                *broken = true;
            }
        }
    }

    /// Tells every subscriber that knows the message where to resume.
    pub(crate) fn say_goodbye(&mut self, outbox: &mut Outbox, mode: WireMode, dialect: Dialect) {
        if dialect == Dialect::Extended {
            for watch in &self.list {
                message::end(outbox.buffer(), mode, watch.id(), watch.resume_offset(), None);
            }
        }
    }
}

/// Starts a subscription. It waits for what its answer tells.
pub(crate) fn begin(
    caller: &mut Caller,
    form: &AnswerForm,
    operation: Operation,
    params: &str,
) -> WrittenAnswer {
    let begun = parse::call(caller, form.dialect, operation, params)
        .and_then(|call| caller.subscribe(call.request));
    match begun {
        Ok((outcome, events)) => {
            WrittenAnswer { watch: Some(Box::new(events)), ..form.known(Ok(&outcome)) }
        }
        Err(error) => form.known::<Value>(Err(error)),
    }
}
