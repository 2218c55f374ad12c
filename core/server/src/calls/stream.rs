//! Watches: the events of one subscription, wherever they are read from.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rstmdb_engine::{KnownContexts, Subscription};
use rstmdb_protocol::WireCommand;
use rstmdb_types::{
    Error, ErrorCode, Execute, InstanceEvent, LogPosition, Offset, Operation, Outcome, Request,
    Result, Text, WatchAllRequest,
};
use tokio::task::JoinHandle;

use super::caller::Caller;
use super::execute::Call;
use super::failure::CountedError;
use super::hold::{Hold, News};
use super::pending::{failed, reopening, unless_closed};
use crate::metrics::{Metrics, WatchPlace};

/// The events of a watch, in order, without gap or duplicate. Each is a position in the log, so a reader
/// that does not read holds back nobody and nothing piles up for it.
#[derive(Debug)]
pub struct Events {
    id: Text,
    /// The operation that began it.
    operation: Operation,
    state: EventsSource,
    position: LogPosition,
    hold: Hold,
    news: News,
    metrics: Arc<Metrics>,
    _place: WatchPlace,
    selection: Option<Selection>,
}

/// What a watch delivers: two that have the same deliver the same events, from wherever each has come to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    /// The database.
    service: u64,
    /// What was asked for, but for the place to begin at.
    request: String,
}

impl Selection {
    /// None where nobody else is likely to want the same.
    fn of(request: &Request, hold: &Hold) -> Option<Selection> {
        let Request::WatchAll(request) = request else { return None };
        let request = WatchAllRequest { from_offset: None, history_id: None, ..request.clone() };
        let request = serde_json::to_string(&request).ok()?;
        Some(Selection { service: hold.number(), request })
    }

    #[cfg(test)]
    pub(crate) fn for_test(service: u64, request: &str) -> Selection {
        Selection { service, request: request.to_owned() }
    }
}

#[derive(Debug)]
enum EventsSource {
    Ready(Box<Subscription>),
    /// Older events are read on another thread.
    Loading(JoinHandle<Box<Subscription>>),
    Ended,
}

impl Caller {
    /// Begins a watch. Waits for what its answer tells.
    pub(crate) fn subscribe(&mut self, call: impl Into<Call>) -> Result<(Outcome, Events)> {
        let Call { request, plain_rules, .. } = call.into();
        let operation = request.operation();
        let hold = self.hold().ok_or_else(|| reopening(operation))?;
        let hold = hold.clone();
        let selection = Selection::of(&request, &hold);
        let command =
            rstmdb_types::Command { caller: self.name(), plain_rules, ..hold.command(request) };
        let begun = hold.subscribe(command);
        let (outcome, subscription) = begun.map_err(|error| unless_closed(error, operation))?;
        let id = match &outcome {
            Outcome::WatchInstance(result) => result.subscription_id.clone(),
            Outcome::WatchAll(result) => result.subscription_id.clone(),
            _ => return Err(failed()),
        };
        let metrics = self.calls().metrics().clone();
        metrics.subscriptions(is_of_all(operation)).inc();
        let position = subscription.position();
        let place = subscription.place().clone();
        let place = metrics.watch_begins(move |latest| place.behind(latest));
        let state = EventsSource::Ready(Box::new(subscription));
        let news = self.calls().news();
        Ok((
            outcome,
            Events {
                id,
                operation,
                state,
                position,
                hold,
                news,
                metrics,
                _place: place,
                selection,
            },
        ))
    }

    /// Begins a watch: its answer, and the events that come after it.
    pub async fn stream(&mut self, request: impl Into<Request>) -> Result<(Outcome, Events)> {
        let (request, began) = (request.into(), Instant::now());
        let command = WireCommand::Database(request.operation());
        let begun = self.aside(move |caller| caller.subscribe(request)).await;
        let begun = begun.unwrap_or_else(|_| Err(failed()));
        let error = begun.as_ref().err().map(CountedError::of);
        self.answered(command, began, error, Instant::now());
        begun
    }
}

impl Events {
    /// The id of the subscription.
    pub fn id(&self) -> &Text {
        &self.id
    }

    /// The offset to resume from after the events so far.
    pub fn resume_offset(&self) -> Offset {
        self.position.next
    }

    /// That offset, and the history that the change before it belongs to.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// Waits for the next event. An error is the last item.
    pub async fn next(&mut self) -> Result<InstanceEvent> {
        let mut news = self.news.clone();
        loop {
            tokio::select! {
                biased;
                event = poll_fn(|context| self.poll_next(context)) => return event,
                // The poll that follows looks whether this watch is over.
                _ = news.changed() => {}
            }
        }
    }

    /// What it delivers, where others may want the same.
    pub(crate) fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// Asks for the next event. An error is the last item. Who polls must do so again when another
    /// database takes the place of this one.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<InstanceEvent>> {
        let event = ready!(self.poll(context, |inner, context| inner.poll_next(context)))?;
        self.count_told(1);
        Poll::Ready(Ok(event))
    }

    /// Asks whether there is something to read. As for the next event.
    pub(crate) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll(context, |inner, context| inner.poll_more(context))
    }

    /// Asks for the events that are read in one go, which may be none, with what those know who read the same. As
    /// for the next event; who tells them counts them.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        contexts: Option<&KnownContexts>,
    ) -> Poll<Result<VecDeque<InstanceEvent>>> {
        self.poll(context, |inner, context| inner.poll_read(context, contexts))
    }

    /// Goes on from another place: see [`Subscription::go_to`].
    pub(crate) fn go_to(&mut self, position: &LogPosition) {
        // One that is away has handed out nothing that it could go back behind.
        if let EventsSource::Ready(inner) = &mut self.state {
            inner.go_to(position.clone());
            self.position.clone_from(position);
        }
    }

    /// Counts events that were told.
    pub(crate) fn count_told(&self, events: u64) {
        if events > 0 {
            self.metrics.events_forwarded(is_of_all(self.operation)).inc_by(events);
        }
    }

    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        ask: impl FnMut(&mut Subscription, &mut Context<'_>) -> Poll<Option<Result<T>>>,
    ) -> Poll<Result<T>> {
        let polled = ready!(self.poll_source(context, ask));
        if let Err(error) = &polled {
            if let Some(counted) = CountedError::of_end(error) {
                self.metrics.error(counted.code).inc();
            }
            self.state = EventsSource::Ended;
        }
        Poll::Ready(polled)
    }

    fn poll_source<T>(
        &mut self,
        context: &mut Context<'_>,
        mut ask: impl FnMut(&mut Subscription, &mut Context<'_>) -> Poll<Option<Result<T>>>,
    ) -> Poll<Result<T>> {
        loop {
            if self.hold.is_over() {
                return Poll::Ready(Err(reopening(self.operation)));
            }
            match &mut self.state {
                EventsSource::Ended => return Poll::Ready(Err(reopening(self.operation))),
                EventsSource::Loading(task) => match ready!(Pin::new(task).poll(context)) {
                    Ok(inner) => self.state = EventsSource::Ready(inner),
                    Err(error) => {
                        let message = format!("reading the log: {error}");
                        return Poll::Ready(Err(Error::new(ErrorCode::InternalError, message)));
                    }
                },
                EventsSource::Ready(inner) if inner.needs_files() => {
                    let EventsSource::Ready(mut inner) =
                        std::mem::replace(&mut self.state, EventsSource::Ended)
                    else {
                        continue;
                    };
                    self.state = EventsSource::Loading(tokio::task::spawn_blocking(move || {
                        inner.load();
                        inner
                    }));
                }
                EventsSource::Ready(inner) => {
                    let polled = ask(inner, context);
                    self.position = inner.position();
                    match polled {
                        Poll::Pending if inner.needs_files() => {}
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(told)) => return Poll::Ready(told),
                        // Only a database that was withdrawn is closed.
                        Poll::Ready(None) => return Poll::Ready(Err(reopening(self.operation))),
                    }
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.metrics.subscriptions(is_of_all(self.operation)).dec();
    }
}

/// Whether a watch follows all instances.
fn is_of_all(operation: Operation) -> bool {
    operation == Operation::WatchAll
}
