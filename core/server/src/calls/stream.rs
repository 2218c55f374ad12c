//! Watches: the events of one subscription, wherever they are read from.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rstmdb_engine::Subscription;
use rstmdb_protocol::WireCommand;
use rstmdb_types::{
    Error, ErrorCode, Execute, InstanceEvent, LogPosition, Offset, Operation, Outcome, Request,
    Result, Text,
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
    place: WatchPlace,
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
        let Call { request, plain_rules } = call.into();
        let operation = request.operation();
        let hold = self.hold().ok_or_else(|| reopening(operation))?;
        let hold = hold.clone();
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
        let state = EventsSource::Ready(Box::new(subscription));
        let news = self.calls().news();
        let place = metrics.watch_begins(position.next);
        Ok((outcome, Events { id, operation, state, position, hold, news, metrics, place }))
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

    /// Asks for the next event. An error is the last item. Who polls must do so again when another
    /// database takes the place of this one.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<InstanceEvent>> {
        let polled = ready!(self.poll(context));
        match &polled {
            Ok(_) => self.metrics.events_forwarded(is_of_all(self.operation)).inc(),
            Err(error) => {
                if let Some(counted) = CountedError::of_end(error) {
                    self.metrics.error(counted.code).inc();
                }
                self.state = EventsSource::Ended;
            }
        }
        Poll::Ready(polled)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<InstanceEvent>> {
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
                    let polled = inner.poll_next(context);
                    self.position = inner.position();
                    self.place.set(self.position.next);
                    match polled {
                        Poll::Pending if inner.needs_files() => {}
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(event)) => return Poll::Ready(event),
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
