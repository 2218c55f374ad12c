//! Watches: a bounded queue between a connection and a reader, and the way back when it overflows
//! or the connection ends.
//!
//! A watch knows the next offset it wants. Whenever its events stop coming (the reader was too slow,
//! the connection went away, the server stops), it asks for them from there on. So there is no gap
//! and no duplicate, and no reader holds back what others share the connection for.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::task::{Context, Waker};

use parking_lot::Mutex;
use rstmdb_protocol::WireCommand;
use rstmdb_types::{
    Error, LogPosition, Offset, Operation, Text, WatchAllRequest, WatchInstanceRequest,
};
use serde::Deserialize;

use crate::error::unreadable_event;
use crate::options::Options;

/// What an event costs in the queue beside its text.
const EVENT_BYTES: usize = 64;

/// What is followed.
#[derive(Debug, Clone)]
pub(crate) enum Follow {
    Instance(WatchInstanceRequest),
    All(WatchAllRequest),
}

/// What the connection and the reader of a watch share.
///
/// Whoever holds the lock of a lane may take this one, never the other way round.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The number the lane knows it by.
    pub number: u64,
    follow: Follow,
    events_max: usize,
    bytes_max: usize,
    state: Mutex<WatchState>,
}

#[derive(Debug)]
struct WatchState {
    queue: VecDeque<Queued>,
    bytes: usize,
    /// What is wanted next from the server; offset 0 until the first answer said where the watch begins.
    wanted: LogPosition,
    /// Where the watch began.
    start: LogPosition,
    /// How often the server ended it since an event came.
    ends: u32,
    stage: Stage,
    /// The instance is gone, so all instances are followed and the others left out here.
    by_all: bool,
    /// The reader, when it waits.
    waker: Option<Waker>,
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Queued {
    pub payload: Box<[u8]>,
    /// Whether the server sends all members.
    pub extended: bool,
    /// The history that it belongs to, as told by it or an event before.
    pub history_id: Option<Text>,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Taken {
    /// An event, and whether those that were left out can be asked for.
    Event { queued: Queued, caught_up: bool },
    /// None before this place; and when no more come, why.
    Nothing { wanted: LogPosition, ended: Option<Option<Error>> },
}

/// Where the events of a watch are.
#[derive(Debug)]
enum Stage {
    /// The first request is on its way.
    Starting,
    /// They come, under this id.
    Attached(String),
    /// They come again once there is a connection.
    Detached,
    /// They come again once the reader has caught up.
    Paused,
    /// They were asked for again.
    Asking,
    /// No more come.
    Ended(Option<Error>),
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Kept,
    /// The queue is full: the subscription of this id must end.
    Full(String),
}

/// The members of an answer that say where a watch begins.
#[derive(Deserialize)]
pub(crate) struct Begun {
    pub subscription_id: String,
    #[serde(default)]
    wal_offset: Option<Offset>,
    #[serde(default)]
    current_wal_offset: Option<Offset>,
    #[serde(default)]
    history_id: Option<Text>,
}

impl Begun {
    /// Whether it is the answer of a watch: that to its end names the subscription too.
    pub(crate) fn says_where(&self) -> bool {
        self.wal_offset.or(self.current_wal_offset).is_some()
    }
}

impl Watch {
    pub(crate) fn new(number: u64, follow: Follow, options: &Options) -> Watch {
        let (next, history_id) = match &follow {
            Follow::Instance(request) => (request.from_offset, &request.history_id),
            Follow::All(request) => (request.from_offset, &request.history_id),
        };
        let wanted = LogPosition { next: next.unwrap_or(0), history_id: history_id.clone() };
        Watch {
            number,
            follow,
            events_max: options.watch_events_max.max(1),
            bytes_max: options.watch_bytes_max,
            state: Mutex::new(WatchState {
                queue: VecDeque::new(),
                bytes: 0,
                wanted,
                start: LogPosition::default(),
                ends: 0,
                stage: Stage::Starting,
                by_all: false,
                waker: None,
            }),
        }
    }

    /// The first request, or the one that takes the watch up where it stopped; and what an older
    /// server lacks for it.
    pub(crate) fn request(&self) -> (WireCommand, String, Option<&'static str>) {
        let (LogPosition { next, history_id }, by_all) = {
            let state = self.state.lock();
            (state.wanted.clone(), state.by_all)
        };
        let from_offset = (next > 0).then_some(next);
        let needs = |lifecycle: bool| match (from_offset, lifecycle) {
            (Some(_), _) => Some("watches that begin in the past (from_offset)"),
            (None, true) => Some("watches of creation and deletion (include_lifecycle)"),
            (None, false) => None,
        };
        match &self.follow {
            Follow::Instance(request) if by_all => {
                let request = WatchAllRequest {
                    include_ctx: request.include_ctx,
                    include_lifecycle: request.include_lifecycle,
                    from_offset,
                    history_id,
                    ..WatchAllRequest::default()
                };
                (WireCommand::Database(Operation::WatchAll), text(&request), needs(false))
            }
            Follow::Instance(request) => {
                let request = WatchInstanceRequest { from_offset, history_id, ..request.clone() };
                let needs = needs(request.include_lifecycle);
                (WireCommand::Database(Operation::WatchInstance), text(&request), needs)
            }
            Follow::All(request) => {
                let request = WatchAllRequest { from_offset, history_id, ..request.clone() };
                let needs = needs(request.include_lifecycle);
                (WireCommand::Database(Operation::WatchAll), text(&request), needs)
            }
        }
    }

    /// The server accepted: events come from now on. False when they come already, or are not
    /// wanted any more: two subscriptions of one watch would leave gaps.
    pub(crate) fn begin(&self, begun: &Begun) -> bool {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Starting | Stage::Asking) {
            return false;
        }
        if state.wanted.next == 0 {
            // A live watch of all begins with the next change, one of an instance behind its last.
            let instance = begun.current_wal_offset.map(|offset| offset + 1);
            state.wanted.next = begun.wal_offset.or(instance).unwrap_or(0);
        }
        if begun.history_id.is_some() {
            state.wanted.history_id.clone_from(&begun.history_id);
        }
        if matches!(state.stage, Stage::Starting) {
            state.start = state.wanted.clone();
        }
        state.stage = Stage::Attached(begun.subscription_id.clone());
        true
    }

    /// An event arrived.
    pub(crate) fn push(
        &self,
        offset: Offset,
        history_id: Option<Text>,
        payload: Box<[u8]>,
        extended: bool,
    ) -> Pushed {
        let mut state = self.state.lock();
        let Stage::Attached(id) = &state.stage else { return Pushed::Kept };
        let id = id.clone();
        // Twice the same event.
        if offset < state.wanted.next {
            return Pushed::Kept;
        }
        state.ends = 0;
        if history_id.is_some() {
            state.wanted.history_id = history_id;
        }
        // It is the first to be asked for again, should there be no room.
        state.wanted.next = offset;
        // Of another instance than the one that is followed.
        if state.by_all && !self.is_of_instance(&payload) {
            state.wanted.next = offset + 1;
            return Pushed::Kept;
        }
        let size = payload.len() + EVENT_BYTES;
        let full = state.queue.len() >= self.events_max || state.bytes + size > self.bytes_max;
        if full && !state.queue.is_empty() {
            state.stage = Stage::Paused;
            return Pushed::Full(id);
        }
        state.bytes += size;
        state.wanted.next = offset + 1;
        let history_id = state.wanted.history_id.clone();
        state.queue.push_back(Queued { payload, extended, history_id });
        wake(state);
        Pushed::Kept
    }

    fn is_of_instance(&self, payload: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Member<'a> {
            #[serde(borrow)]
            instance_id: Cow<'a, str>,
        }
        let Follow::Instance(request) = &self.follow else { return true };
        serde_json::from_slice::<Member<'_>>(payload)
            .map_or(true, |member| *member.instance_id == *request.instance_id)
    }

    /// All before this place that there was for the subscription of this id has come.
    pub(crate) fn progress(&self, subscription_id: &str, position: LogPosition) {
        let mut state = self.state.lock();
        let is_its = matches!(&state.stage, Stage::Attached(id) if id == subscription_id);
        if is_its && position.next > state.wanted.next {
            state.ends = 0;
            state.wanted = position;
        }
    }

    /// The server ended the subscription, which goes on from this place: on another connection, if it is
    /// stopping, or on this one. Gives how often it did so in a row.
    pub(crate) fn leave(&self, position: LogPosition, stopping: bool) -> Option<u32> {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Attached(_)) {
            return None;
        }
        if position.next > state.wanted.next {
            state.wanted = position;
        }
        state.stage = if stopping { Stage::Detached } else { Stage::Asking };
        state.ends = state.ends.saturating_add(1);
        Some(state.ends)
    }

    /// The connection is gone.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Attached(_) | Stage::Asking) {
            state.stage = Stage::Detached;
        }
    }

    /// There is a connection: says whether the events must be asked for on it.
    pub(crate) fn attach(&self) -> bool {
        let mut state = self.state.lock();
        let detached = matches!(state.stage, Stage::Detached);
        if detached {
            state.stage = Stage::Asking;
        }
        detached
    }

    /// The reader caught up: says whether the events must be asked for at once.
    pub(crate) fn unpause(&self, connected: bool) -> bool {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Paused) {
            return false;
        }
        state.stage = if connected { Stage::Asking } else { Stage::Detached };
        connected
    }

    /// The instance is gone since: says whether its events can be had another way.
    pub(crate) fn follow_by_all(&self) -> bool {
        let mut state = self.state.lock();
        let possible = matches!(self.follow, Follow::Instance(_)) && !state.by_all;
        state.by_all |= possible;
        possible
    }

    /// No more events come; the reader gets those that are there, and the error.
    pub(crate) fn end(&self, error: Option<Error>) {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Ended(_)) {
            state.stage = Stage::Ended(error);
            wake(state);
        }
    }

    /// Its next event can't be taken, now or later.
    pub(crate) fn end_untaken(&self, what: &str) {
        let wanted = self.state.lock().wanted.next;
        self.end(Some(unreadable_event(what, wanted)));
    }

    /// The subscription to end when the reader is gone.
    pub(crate) fn subscription_id(&self) -> Option<String> {
        match &self.state.lock().stage {
            Stage::Attached(id) => Some(id.clone()),
            _ => None,
        }
    }

    /// Where it began.
    pub(crate) fn start(&self) -> LogPosition {
        self.state.lock().start.clone()
    }

    /// Takes the oldest event; without one, the reader is woken when there is.
    pub(crate) fn take(&self, context: &Context<'_>) -> Taken {
        let mut state = self.state.lock();
        if let Some(queued) = state.queue.pop_front() {
            state.bytes -= queued.payload.len() + EVENT_BYTES;
            let few = state.queue.len() <= self.events_max / 4 && state.bytes <= self.bytes_max / 4;
            let caught_up = few && matches!(state.stage, Stage::Paused);
            return Taken::Event { queued, caught_up };
        }
        let wanted = state.wanted.clone();
        if let Stage::Ended(error) = &mut state.stage {
            return Taken::Nothing { wanted, ended: Some(error.take()) };
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => state.waker = Some(context.waker().clone()),
        }
        Taken::Nothing { wanted, ended: None }
    }

    /// Whether contexts are asked for.
    pub(crate) fn include_ctx(&self) -> bool {
        match &self.follow {
            Follow::Instance(request) => request.include_ctx,
            Follow::All(request) => request.include_ctx,
        }
    }
}

/// Wakes the reader, with the lock free.
fn wake(mut state: parking_lot::MutexGuard<'_, WatchState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A request as text.
fn text(request: &impl serde::Serialize) -> String {
    // Plain data always serialises.
    serde_json::to_string(request).unwrap_or_default()
}
