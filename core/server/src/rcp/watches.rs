//! The subscriptions of a connection. Each is a position in the log, so a client that does not read
//! holds back nobody and nothing piles up for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::{Engine, Subscription};
use rstmdb_protocol::{Dialect, WireMode, message};
use rstmdb_types::*;
use tokio::task::JoinHandle;

use super::answer::{Answer, Form, Job, Written, decode};
use super::outbox::Outbox;
use crate::metrics::Metrics;

/// Events of one subscription in a row, while others have some too.
const TURN: usize = 256;

/// One subscription.
#[derive(Debug)]
pub(crate) struct Watch {
    id: Text,
    /// Whether it follows all instances.
    all: bool,
    state: State,
    resume_offset: Offset,
}

#[derive(Debug)]
enum State {
    Ready(Box<Subscription>),
    /// Older events are read on another thread.
    Loading(JoinHandle<Box<Subscription>>),
    Ended,
}

/// Why a subscription ended.
enum Ended {
    Closed,
    Failed(Error),
}

/// The subscriptions of a connection.
pub(crate) struct Watches<'e> {
    list: Vec<Watch>,
    /// Whose turn is next.
    turn: usize,
    metrics: &'e Metrics,
}

impl<'e> Watches<'e> {
    pub(crate) fn new(metrics: &'e Metrics) -> Watches<'e> {
        Watches { list: Vec::new(), turn: 0, metrics }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn add(&mut self, watch: Watch) {
        self.metrics.subscriptions(watch.all).inc();
        self.list.push(watch);
    }

    /// Ends a subscription; says whether there was one of this id.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        match self.list.iter().position(|watch| watch.id == id) {
            Some(place) => {
                let watch = self.list.swap_remove(place);
                self.metrics.subscriptions(watch.all).dec();
                true
            }
            None => false,
        }
    }

    /// Appends events until `bytes_max` wait to be sent. Says whether there were any, and whether the
    /// connection must end because a subscription did.
    pub(crate) fn forward(
        &mut self,
        outbox: &mut Outbox<'e>,
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
                    self.finish(&ended, outbox, (mode, dialect), &mut broken);
                    return (forwarded, broken);
                }
                match watch.poll(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(event)) => {
                        forwarded = true;
                        message::event(outbox.buffer(), mode, dialect, &watch.id, &event);
                        self.metrics.events_forwarded(watch.all).inc();
                    }
                    Poll::Ready(Err(end)) => {
                        ended.push((watch.id.clone(), watch.resume_offset, end));
                        break;
                    }
                }
            }
        }
        self.finish(&ended, outbox, (mode, dialect), &mut broken);
        (forwarded, broken)
    }

    /// Tells what became of subscriptions that ended. A client that does not know such a message
    /// notices by the end of the connection.
    fn finish(
        &mut self,
        ended: &[(Text, Offset, Ended)],
        outbox: &mut Outbox<'e>,
        (mode, dialect): (WireMode, Dialect),
        broken: &mut bool,
    ) {
        for (id, resume_offset, end) in ended {
            self.remove(id);
            let error = match end {
                Ended::Closed => None,
                Ended::Failed(error) => Some(error),
            };
            if let Some(error) = error {
                tracing::warn!(subscription = %id, "a subscription ended: {error}");
            }
            if dialect == Dialect::Extended {
                message::end(outbox.buffer(), mode, id, *resume_offset, error);
            } else {
                *broken = true;
            }
        }
    }

    /// Tells every subscriber that knows the message where to resume.
    pub(crate) fn say_goodbye(
        &mut self,
        outbox: &mut Outbox<'e>,
        mode: WireMode,
        dialect: Dialect,
    ) {
        if dialect == Dialect::Extended {
            for watch in &self.list {
                message::end(outbox.buffer(), mode, &watch.id, watch.resume_offset, None);
            }
        }
    }
}

impl Drop for Watches<'_> {
    fn drop(&mut self) {
        for watch in &self.list {
            self.metrics.subscriptions(watch.all).dec();
        }
    }
}

impl Watch {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<std::result::Result<InstanceEvent, Ended>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Pending,
                State::Loading(mut task) => match Pin::new(&mut task).poll(context) {
                    Poll::Pending => {
                        self.state = State::Loading(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(inner)) => self.state = State::Ready(inner),
                    Poll::Ready(Err(error)) => {
                        let message = format!("reading the log: {error}");
                        let error = Error::new(ErrorCode::InternalError, message);
                        return Poll::Ready(Err(Ended::Failed(error)));
                    }
                },
                State::Ready(mut inner) => {
                    if inner.needs_files() {
                        self.state = State::Loading(tokio::task::spawn_blocking(move || {
                            inner.load();
                            inner
                        }));
                        continue;
                    }
                    let polled = inner.poll_next(context);
                    self.resume_offset = inner.resume_offset();
                    let again = polled.is_pending() && inner.needs_files();
                    self.state = State::Ready(inner);
                    match polled {
                        Poll::Pending if again => continue,
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(Ok(event))) => return Poll::Ready(Ok(event)),
                        Poll::Ready(Some(Err(error))) => {
                            self.state = State::Ended;
                            return Poll::Ready(Err(Ended::Failed(error)));
                        }
                        Poll::Ready(None) => {
                            self.state = State::Ended;
                            return Poll::Ready(Err(Ended::Closed));
                        }
                    }
                }
            }
        }
    }
}

/// Starts a subscription. It waits for what its answer tells, so it runs on another thread.
pub(crate) fn begin(answer: Answer<'_, '_>, operation: Operation, params: String) -> Job {
    answer.job_with(move |served, form| match operation {
        Operation::WatchInstance => {
            let begun = decode(form.command, &params).and_then(|r| served.engine.watch_instance(r));
            written(
                form,
                false,
                begun.map(|(result, inner)| {
                    let id = result.subscription_id.clone();
                    (result, id, inner)
                }),
            )
        }
        _ => written(form, true, watch_all(&served.engine, form, &params)),
    })
}

fn watch_all(
    engine: &Arc<Engine>,
    form: &Form,
    params: &str,
) -> Result<(WatchAllResult, Text, Subscription)> {
    /// Null for a list means the same as its absence.
    #[derive(serde::Deserialize)]
    #[serde(default)]
    struct Loose {
        include_ctx: bool,
        from_offset: Option<Offset>,
        machines: Option<Vec<Text>>,
        from_states: Option<Vec<Text>>,
        to_states: Option<Vec<Text>>,
        events: Option<Vec<Text>>,
        include_lifecycle: bool,
    }
    impl Default for Loose {
        fn default() -> Loose {
            Loose {
                include_ctx: true,
                from_offset: None,
                machines: None,
                from_states: None,
                to_states: None,
                events: None,
                include_lifecycle: false,
            }
        }
    }
    let loose: Loose = decode(form.command, params)?;
    let (result, inner) = engine.watch_all(WatchAllRequest {
        include_ctx: loose.include_ctx,
        from_offset: loose.from_offset,
        machines: loose.machines.unwrap_or_default(),
        from_states: loose.from_states.unwrap_or_default(),
        to_states: loose.to_states.unwrap_or_default(),
        events: loose.events.unwrap_or_default(),
        include_lifecycle: loose.include_lifecycle,
    })?;
    Ok((result.clone(), result.subscription_id, inner))
}

fn written<T: rstmdb_protocol::result::WireResult>(
    form: &Form,
    all: bool,
    begun: Result<(T, Text, Subscription)>,
) -> Written {
    let mut bytes = Vec::new();
    match begun {
        Ok((result, id, inner)) => {
            let error = form.write(Ok(&result), &mut bytes);
            let resume_offset = inner.resume_offset();
            let state = State::Ready(Box::new(inner));
            Written { bytes, error, watch: Some(Watch { id, all, state, resume_offset }) }
        }
        Err(error) => {
            let error = form.write::<T>(Err(error), &mut bytes);
            Written { bytes, error, watch: None }
        }
    }
}
