//! A watch, pulled from: nothing is read ahead of what was asked for, beyond the core's own bounded
//! queues. Giving up a wait loses no event.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use rstmdb::error::reason;
use rstmdb::{Error, InstanceEvent, LogPosition, Offset, Result, Subscription, json_text};

use crate::active::Active;
use crate::started::Started;
use crate::{echo, fork};

/// The most events that are handed out at once, whatever was asked for.
const EVENTS_MAX: usize = 10_000;

/// As long as most events are as text, so that it seldom moves while it grows.
const EVENT_BYTES: usize = 512;

/// Events to be pulled. Cloning gives another handle to the same watch; it ends with the last one.
#[derive(Clone, Debug)]
pub struct Watch {
    inner: Arc<SharedWatch>,
}

#[derive(Debug)]
struct SharedWatch {
    process: u64,
    active: Arc<Active>,
    state: Mutex<PullState>,
}

#[derive(Debug)]
struct PullState {
    source: WatchSource,
    /// Events that were taken for someone who then gave up, and an error that came behind events.
    returned: VecDeque<Result<InstanceEvent>>,
    /// Whether somebody waits, and how to wake them when the watch ends.
    taken: bool,
    waiter: Option<Waker>,
}

#[derive(Debug)]
enum WatchSource {
    Events(Subscription),
    Echo(Offset),
    Ended(LogPosition),
}

impl WatchSource {
    fn position(&self) -> LogPosition {
        match self {
            WatchSource::Events(events) => {
                LogPosition { next: events.resume_offset(), history_id: events.history_id() }
            }
            WatchSource::Echo(offset) => LogPosition { next: *offset, history_id: None },
            WatchSource::Ended(position) => position.clone(),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        match self {
            WatchSource::Events(events) => {
                let next = events.next();
                pin!(next).poll(context)
            }
            WatchSource::Echo(offset) => {
                *offset += 1;
                Poll::Ready(Some(Ok(echo::event(*offset))))
            }
            WatchSource::Ended(_) => Poll::Ready(None),
        }
    }
}

impl PullState {
    fn position(&self) -> LogPosition {
        match self.returned.front() {
            Some(Ok(event)) => before(event),
            _ => self.source.position(),
        }
    }
}

/// Whoever begins there gets the event first.
fn before(event: &InstanceEvent) -> LogPosition {
    LogPosition { next: event.wal_offset, history_id: event.history_id.clone() }
}

impl Drop for SharedWatch {
    fn drop(&mut self) {
        if self.process != fork::process() {
            let ended = WatchSource::Ended(LogPosition::default());
            let source = std::mem::replace(&mut self.state.get_mut().source, ended);
            std::mem::forget(source);
        }
    }
}

impl Watch {
    pub(crate) fn new(events: Subscription, active: Arc<Active>) -> Watch {
        Watch::of(WatchSource::Events(events), active)
    }

    pub(crate) fn echo(active: Arc<Active>) -> Watch {
        Watch::of(WatchSource::Echo(0), active)
    }

    fn of(source: WatchSource, active: Arc<Active>) -> Watch {
        let state = PullState { source, returned: VecDeque::new(), taken: false, waiter: None };
        let process = fork::process();
        Watch { inner: Arc::new(SharedWatch { process, active, state: Mutex::new(state) }) }
    }

    /// Waits for the next events: at least one, at most `events_max` and 10,000. `None` when the watch has ended.
    ///
    /// One wait at a time: a second one is `BAD_REQUEST`. Giving it up loses no event.
    pub fn next_start(&self, events_max: usize) -> Started<Option<Events>> {
        if self.inner.process != fork::process() {
            let message = "this watch was begun before the process forked";
            return Started::Ready(Err(crate::error::closed(message)));
        }
        {
            let mut state = self.inner.state.lock();
            if state.taken {
                let message = "somebody waits for the next event of this watch already";
                return Started::Ready(Err(Error::invalid(reason::INVALID_REQUEST, message)));
            }
            state.taken = true;
        }
        let waiting = WaitTurn(self.inner.clone());
        let events_max = events_max.clamp(1, EVENTS_MAX);
        Started::new(self.inner.active.operation(), async move {
            std::future::poll_fn(|context| waiting.poll(events_max, context)).await
        })
    }

    /// Where to resume from after the events handed out so far.
    pub fn position(&self) -> LogPosition {
        if self.inner.process != fork::process() {
            return LogPosition::default();
        }
        self.inner.state.lock().position()
    }

    /// Ends the watch; whoever waits gets `None`.
    pub fn end(&self) {
        if self.inner.process != fork::process() {
            return;
        }
        let (source, waiter) = {
            let mut state = self.inner.state.lock();
            let resume = state.position();
            state.returned.clear();
            let source = std::mem::replace(&mut state.source, WatchSource::Ended(resume));
            (source, state.waiter.take())
        };
        drop(source);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// The right to wait for the next events.
struct WaitTurn(Arc<SharedWatch>);

impl Drop for WaitTurn {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.taken = false;
        state.waiter = None;
    }
}

impl WaitTurn {
    fn poll(&self, events_max: usize, context: &mut Context<'_>) -> Poll<Result<Option<Events>>> {
        let mut state = self.0.state.lock();
        let mut events = Vec::new();
        while events.len() < events_max {
            let next = match state.returned.pop_front() {
                Some(next) => Poll::Ready(Some(next)),
                None => state.source.poll(context),
            };
            match next {
                Poll::Ready(Some(Ok(event))) => events.push(event),
                Poll::Ready(Some(Err(error))) if events.is_empty() => {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Some(error)) => {
                    // It comes after the events before it.
                    state.returned.push_front(error);
                    break;
                }
                Poll::Ready(None) if events.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(None) => break,
                Poll::Pending if events.is_empty() => {
                    state.waiter = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(Some(Events { events, watch: self.0.clone() })))
    }
}

/// Events of a watch. Dropped without being taken, they are the next ones again.
#[derive(Debug)]
pub struct Events {
    events: Vec<InstanceEvent>,
    watch: Arc<SharedWatch>,
}

impl Events {
    /// Takes the events.
    pub fn take(mut self) -> Vec<InstanceEvent> {
        std::mem::take(&mut self.events)
    }

    /// Takes the events as the text of a JSON list.
    pub fn take_json(self) -> String {
        let events = self.take();
        json_text(&events, events.len() * EVENT_BYTES).unwrap_or_else(|_| "[]".to_owned())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut state = self.watch.state.lock();
        if let WatchSource::Ended(resume) = &mut state.source {
            // Nobody received them: whoever goes on later begins with them.
            if let Some(first) = self.events.first().filter(|first| first.wal_offset < resume.next)
            {
                *resume = before(first);
            }
            return;
        }
        for event in self.events.drain(..).rev() {
            state.returned.push_front(Ok(event));
        }
    }
}
