//! The subscriptions of a connection, and their events among its answers.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rstmdb_protocol::{Dialect, WireMode, message};
use rstmdb_types::{Error, Offset, Operation, Text};
use serde_json::Value;

use super::form::{AnswerForm, WrittenAnswer};
use super::outbox::Outbox;
use super::parse;
use crate::calls::{Caller, Events};

/// Events of one subscription in a row, while others have some too.
const TURN: usize = 256;

/// How long the place of a subscription may go untold that moved on without events.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// The subscriptions of a connection.
#[derive(Default)]
pub(crate) struct Watches {
    list: Vec<Watch>,
    /// Whose turn is next.
    turn: usize,
    /// When places are to be told that no event tells.
    progress_due: Option<Instant>,
    progress_told: Option<Instant>,
}

/// A subscription, and what its client was told of it.
struct Watch {
    events: Events,
    /// How far it has come.
    told: Offset,
    /// The history that its last event named: one that stays the same is told once.
    history: Option<Text>,
}

impl Watch {
    fn has_moved_on(&self) -> bool {
        self.events.resume_offset() > self.told
    }
}

impl Watches {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn add(&mut self, events: Events) {
        self.list.push(Watch { told: events.resume_offset(), events, history: None });
    }

    /// Takes the subscription of this id away.
    pub(crate) fn take(&mut self, id: &str) -> Option<Events> {
        let place = self.list.iter().position(|watch| watch.events.id() == id);
        place.map(|place| self.list.swap_remove(place).events)
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
                let Watch { events, told, history } = watch;
                match events.poll_next(context) {
                    Poll::Pending => {
                        if watch.has_moved_on() {
                            Self::expect_progress(&mut self.progress_due, self.progress_told);
                        }
                        break;
                    }
                    Poll::Ready(Ok(mut event)) => {
                        forwarded = true;
                        *told = events.resume_offset();
                        if event.history_id == *history {
                            event.history_id = None;
                        } else {
                            history.clone_from(&event.history_id);
                        }
                        let (out, id) = (outbox.buffer(), events.id());
                        if let Err(error) = message::event(out, mode, dialect, id, &event) {
                            ended.push((id.clone(), error));
                            break;
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        forwarded = true;
                        ended.push((events.id().clone(), error));
                        break;
                    }
                }
            }
        }
        self.finish(ended, outbox, (mode, dialect), &mut broken);
        (forwarded, broken)
    }

    /// Places are told soon, but not with every change that a subscription leaves out.
    fn expect_progress(due: &mut Option<Instant>, told: Option<Instant>) {
        due.get_or_insert_with(|| {
            let now = Instant::now();
            told.map_or(now, |told| now.max(told + PROGRESS_PAUSE))
        });
    }

    /// When [`Watches::tell_progress`] has something to say.
    pub(crate) fn progress_due(&self) -> Option<Instant> {
        self.progress_due.filter(|_| !self.list.is_empty())
    }

    /// Places are told now: the client asks for a sign of life.
    pub(crate) fn hurry_progress(&mut self, now: Instant) {
        self.progress_due = Some(now);
    }

    /// Tells, when it is time, the places that moved on without events: a client that lost its connection then
    /// neither reads again what was passed over for it, nor asks for what the log has no more. Says whether
    /// there were any.
    pub(crate) fn tell_progress(
        &mut self,
        outbox: &mut Outbox,
        mode: WireMode,
        now: Instant,
    ) -> bool {
        if self.progress_due.is_none_or(|due| due > now) {
            return false;
        }
        self.progress_due = None;
        let mut told_any = false;
        for Watch { events, told, .. } in self.list.iter_mut().filter(|watch| watch.has_moved_on())
        {
            message::progress(outbox.buffer(), mode, events.id(), events.position());
            *told = events.resume_offset();
            told_any = true;
        }
        if told_any {
            self.progress_told = Some(now);
        }
        told_any
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
                message::end(outbox.buffer(), mode, &id, watch.position(), Some(&error));
            } else {
                *broken = true;
            }
        }
    }

    /// Tells every subscriber that knows the message where to resume.
    pub(crate) fn say_goodbye(&mut self, outbox: &mut Outbox, mode: WireMode, dialect: Dialect) {
        if dialect == Dialect::Extended {
            for Watch { events, .. } in &self.list {
                message::end(outbox.buffer(), mode, events.id(), events.position(), None);
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
        .and_then(|call| caller.subscribe(call));
    match begun {
        Ok((outcome, events)) => {
            WrittenAnswer { watch: Some(Box::new(events)), ..form.known(Ok(&outcome)) }
        }
        Err(error) => form.known::<Value>(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_without_watches_leaves_nothing_due() {
        let mut watches = Watches::default();
        watches.hurry_progress(Instant::now());
        // What is due and never done would keep the connection's task awake.
        assert_eq!(watches.progress_due(), None);
    }
}
