//! One connection's worth of requests: those that wait, those in flight, and the watches.
//!
//! Callers put requests in; the task of the lane takes them out, in order, and hands the answers
//! back. What happens to them when the connection ends or time runs out is decided here alone.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX};
use rstmdb_protocol::message::Incoming;
use rstmdb_protocol::{FrameError, WireCommand};
use rstmdb_types::operation::Place;
use rstmdb_types::{Error, Operation, Result};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};

use crate::connect::ConnectSettings;
use crate::error::{closed, lost, malformed, passes, timeout};
use crate::options::Endpoint;
use crate::request::{Outgoing, Repeat, Waiter};
use crate::server::ServerInfo;
use crate::signal::Signal;
use crate::watch::{Follow, Pushed, Watch};

mod refused;
mod state;

pub(crate) use state::ToSend;
use state::{LaneState, Task, unanswered};

/// The bytes that a place among the requests in flight stands for.
const PLACE_BYTES: usize = 16 << 10;
/// So much of a frame that is too large is waited for, to know whose it is.
const FRONT_BYTES: usize = frame::HEADER_BYTES + 256;
/// How long the answer to a keep-alive may take when requests may take for ever.
const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Where others may be read from, a node that is asked and says nothing is left after this share of a request's time,
const PATIENCE_SHARE: u32 = 8;
/// and not later than this.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// The other lanes of a client.
pub(crate) trait Others: std::fmt::Debug + Send + Sync {
    /// Takes over a read that the node of a lane could not answer.
    fn take_over(&self, outgoing: Outgoing);

    /// Somebody else may take writes now.
    fn look_for_leader(&self);

    /// There may be nodes to hear of the leader from.
    fn listen(&self);
}

/// What a lane is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It goes where writes are taken.
    Home,
    /// It reads from this node.
    Reader(Endpoint),
    /// It hears from a node that does not lead who does: a leader that hangs tells nobody of the next one.
    Listener,
}

/// One connection, or the wish for one.
#[derive(Debug)]
pub(crate) struct Lane {
    pub settings: Arc<ConnectSettings>,
    pub part: Part,
    others: Weak<dyn Others>,
    state: Mutex<LaneState>,
    gate: Arc<Semaphore>,
    /// There is something to send, or to connect for.
    pub work: Notify,
    /// A request came that times out before the next look at the clock.
    pub sooner: Notify,
    /// Raised to close the lane.
    pub closing: Signal,
    /// Raised when it is closed.
    pub ended: Signal,
}

/// The connection there is.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub server: Arc<ServerInfo>,
    /// Notified when it does not answer any more.
    pub dead: Arc<Notify>,
}

impl Lane {
    pub(crate) fn new(
        settings: Arc<ConnectSettings>,
        part: Part,
        others: Weak<dyn Others>,
    ) -> Lane {
        let places = settings.options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS.min(1 << 30));
        Lane {
            gate: Arc::new(Semaphore::new(places)),
            settings,
            part,
            others,
            state: Mutex::new(LaneState::new(Instant::now())),
            work: Notify::new(),
            sooner: Notify::new(),
            closing: Signal::default(),
            ended: Signal::default(),
        }
    }

    /// The share of the bound that a request of this size takes.
    fn places(&self, bytes: usize) -> u32 {
        let places = 1 + bytes / PLACE_BYTES;
        let most = self.settings.options.in_flight_max.clamp(1, 1 << 30);
        u32::try_from(places.min(most)).unwrap_or(u32::MAX)
    }

    /// A place in flight, if there is one now.
    pub(crate) fn try_enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.gate.clone().try_acquire_many_owned(self.places(bytes)).ok()
    }

    /// Waits for a place in flight.
    pub(crate) fn enter(
        &self,
        bytes: usize,
    ) -> impl Future<Output = std::result::Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        // Without a runtime's budget: the waiting one may be a thread that no runtime polls.
        tokio::task::unconstrained(self.gate.clone().acquire_many_owned(self.places(bytes)))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let timeout = self.settings.options.request_timeout;
        if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) }
    }

    /// Puts a request behind all others.
    pub(crate) fn push(&self, mut outgoing: Outgoing) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            outgoing.answer(Err(closed()));
            return;
        }
        outgoing.order = state.next_order;
        outgoing.impatient_at = self.impatient_at(&outgoing);
        state.next_order += 1;
        let first = state.queue.is_empty();
        let sooner = state.is_sooner(&outgoing);
        state.queue.push_back(outgoing);
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
        if first {
            self.work.notify_one();
        }
    }

    /// Puts a request back to its place that was refused after so many `losses`.
    fn put_back(&self, outgoing: Outgoing, losses: u64) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            let error = unanswered(&outgoing, closed());
            outgoing.answer(Err(error));
            return;
        }
        if state.losses != losses && outgoing.resumed_watch().is_some() {
            // The next connection asks for it anew.
            drop(state);
            outgoing.forget();
            return;
        }
        let sooner = state.is_sooner(&outgoing);
        state.insert(outgoing);
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
        self.work.notify_one();
    }

    /// The server, while there is a connection.
    pub(crate) fn server(&self) -> Option<Arc<ServerInfo>> {
        self.state.lock().link.as_ref().map(|link| link.server.clone())
    }

    /// How much waits for an answer.
    pub(crate) fn load(&self) -> usize {
        let state = self.state.lock();
        state.flying + state.queue.len()
    }

    /// Whether a connection is of use.
    pub(crate) fn wants_connection(&self) -> bool {
        if self.part == Part::Listener {
            return self.settings.nodes.are_led();
        }
        let state = self.state.lock();
        !state.queue.is_empty() || !state.watches.is_empty()
    }

    /// The servers to try, in order, beginning with number `first` of those that were given.
    pub(crate) fn hosts(&self, towards: Option<&Endpoint>, first: usize) -> Vec<Endpoint> {
        match &self.part {
            Part::Home => self.settings.nodes.in_order(towards, first),
            Part::Reader(node) => vec![node.clone()],
            Part::Listener => self.settings.nodes.led(),
        }
    }

    /// Whether what is asked here can be asked of other nodes.
    pub(crate) fn reads_elsewhere(&self) -> bool {
        matches!(self.part, Part::Reader(_))
    }

    fn patience(&self) -> Duration {
        let timeout = self.settings.options.request_timeout;
        if timeout.is_zero() { PATIENCE_MAX } else { (timeout / PATIENCE_SHARE).min(PATIENCE_MAX) }
    }

    fn impatient_at(&self, outgoing: &Outgoing) -> Option<Instant> {
        let WireCommand::Database(operation) = outgoing.command else { return None };
        let is_quick = self.reads_elsewhere() && operation.place() == Place::Memory;
        is_quick.then(|| Instant::now() + self.patience())
    }

    /// Has reads go to other nodes when this one says nothing.
    fn leave_silent(&self, now: Instant) {
        let Part::Reader(node) = &self.part else { return };
        let leaving = {
            let mut state = self.state.lock();
            if state.leaves_at(self.patience()).is_none_or(|at| at > now) {
                return;
            }
            state.leave_silent()
        };
        self.settings.nodes.silent(node);
        let error = lost(node, "it says nothing");
        leaving.into_iter().for_each(|outgoing| self.reroute(outgoing, &error));
    }

    /// A connection was made: watches are taken up again on it.
    pub(crate) fn attach(&self, link: Link) {
        let mut state = self.state.lock();
        state.link = Some(link);
        state.switching = false;
        (state.towards, state.pauses) = (None, false);
        state.last_received = Instant::now();
        state.last_sent = state.last_received;
        let detached: Vec<_> =
            state.watches.values().filter(|watch| watch.attach()).cloned().collect();
        for watch in detached {
            state.insert(self.ask_again(watch));
        }
        drop(state);
        if self.part == Part::Home {
            self.others.upgrade().inspect(|others| others.listen());
        }
        // The clock was last looked at without a connection to keep alive.
        self.sooner.notify_one();
    }

    fn ask_again(&self, watch: Arc<Watch>) -> Outgoing {
        let (command, params, needs) = watch.request();
        let mut outgoing =
            Outgoing::new(command, params, Repeat::Always, Waiter::Watch(watch, None));
        outgoing.needs = needs;
        outgoing
    }

    /// Appends the frames of what is to be sent to `buffer`.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) -> ToSend {
        let mut over = Vec::new();
        let taken = self.state.lock().take(buffer, &mut over, &self.settings);
        for (outgoing, error) in over {
            outgoing.answer(Err(error));
        }
        taken
    }

    /// Reads the messages at the front of `buffer` and gives how many bytes they took.
    pub(crate) fn receive(self: &Arc<Self>, buffer: &[u8]) -> Result<usize> {
        let mut tasks = Vec::new();
        let mut at = 0;
        let (outcome, link) = {
            let mut state = self.state.lock();
            state.last_received = Instant::now();
            let mut outcome = Ok(());
            while let Some(rest) = buffer.get(at..) {
                match frame::decode(rest, PAYLOAD_BYTES_MAX) {
                    Ok(Decoded::Message { payload, consumed }) => {
                        at += consumed;
                        if let Err(what) = state.sort(payload, &mut tasks) {
                            tasks.extend(state.untaken(payload, &what));
                            outcome = Err(malformed(&what));
                            break;
                        }
                    }
                    Ok(Decoded::Incomplete { .. }) => break,
                    // Its front says whose it is.
                    Err(FrameError::TooLarge { .. }) if rest.len() < FRONT_BYTES => break,
                    Err(error) => {
                        let what = error.to_string();
                        let front = rest.get(frame::HEADER_BYTES..FRONT_BYTES);
                        if let (FrameError::TooLarge { .. }, Some(front)) = (error, front) {
                            tasks.extend(state.untaken(front, &what));
                        }
                        outcome = Err(malformed(&what));
                        break;
                    }
                }
            }
            if !state.queue.is_empty() || (state.switching && state.flying == 0) {
                self.work.notify_one();
            }
            (outcome, state.link.clone())
        };
        if let Some(link) = link {
            for task in tasks {
                self.run(task, &link);
            }
        }
        outcome.map(|()| at)
    }

    fn run(self: &Arc<Self>, task: Task, link: &Link) {
        match task {
            Task::Success(outgoing, answer) => outgoing.answer(Ok(answer)),
            Task::Failure(outgoing, payload) => self.refused(outgoing, &payload, link),
            Task::Event(watch, offset, history_id, payload) => {
                let extended = link.server.extended;
                if let Pushed::Full(id) = watch.push(offset, history_id, payload, extended) {
                    self.state.lock().unwatch(id);
                    self.work.notify_one();
                }
            }
            Task::Progress(payload) => self.progress_of_watch(&payload),
            Task::End(payload) => self.end_of_watch(&payload),
            Task::Topology(payload) => {
                if let Ok(Incoming::Topology(cluster)) = Incoming::parse(&payload) {
                    self.settings.nodes.learn(&cluster);
                    self.others.upgrade().inspect(|others| others.look_for_leader());
                }
            }
            Task::Untaken(watch, what) => watch.end_untaken(&what),
        }
    }

    fn progress_of_watch(&self, payload: &[u8]) {
        let Ok(Incoming::Progress { subscription_id, position }) = Incoming::parse(payload) else {
            return;
        };
        let watch = self.state.lock().routes.get(&*subscription_id).cloned();
        if let Some(watch) = watch {
            watch.progress(&subscription_id, position);
        }
    }

    fn end_of_watch(self: &Arc<Self>, payload: &[u8]) {
        // `look` has found it to be one.
        let Ok(Incoming::End { subscription_id, position, error }) = Incoming::parse(payload)
        else {
            return;
        };
        let watch = self.state.lock().routes.remove(&*subscription_id);
        let Some(watch) = watch else { return };
        match error {
            None => drop(watch.leave(position, true)),
            // As when the server has another database now.
            Some(error) if passes(&error) => {
                if let Some(ends) = watch.leave(position, false) {
                    let mut outgoing = self.ask_again(watch);
                    outgoing.attempts = ends - 1;
                    self.send_later(outgoing);
                }
            }
            Some(error) => watch.end(Some(error)),
        }
    }

    /// Begins a watch: `caller` gets the answer.
    pub(crate) fn watch(&self, follow: Follow) -> Arc<Watch> {
        let mut state = self.state.lock();
        let number = state.next_watch;
        state.next_watch += 1;
        let watch = Arc::new(Watch::new(number, follow, &self.settings.options));
        if !state.closed {
            state.watches.insert(number, watch.clone());
        }
        watch
    }

    /// Asks for the events of a watch again whose reader has caught up.
    pub(crate) fn resume(&self, watch: &Arc<Watch>) {
        let mut state = self.state.lock();
        let connected = state.link.is_some();
        if watch.unpause(connected) && !state.closed {
            let outgoing = self.ask_again(watch.clone());
            state.insert(outgoing);
        }
        drop(state);
        self.work.notify_one();
    }

    /// The reader of a watch is gone.
    pub(crate) fn forget(&self, watch: &Arc<Watch>) {
        let mut state = self.state.lock();
        let known = state.watches.remove(&watch.number).is_some();
        // With the lock held: the id has no meaning on another connection.
        if known && let Some(id) = watch.subscription_id() {
            state.unwatch(id);
            self.work.notify_one();
        }
        drop(state);
        watch.end(None);
    }

    /// Takes what no longer has time out, and says when to look again.
    pub(crate) fn expire(&self, now: Instant) -> Instant {
        self.leave_silent(now);
        let options = &self.settings.options;
        let wait =
            if options.request_timeout.is_zero() { PING_TIMEOUT } else { options.request_timeout };
        let (over, ping) = {
            let mut state = self.state.lock();
            let over = state.expired(now);
            let silent = now.saturating_duration_since(state.last_received) >= wait;
            if let Some(link) = &state.link
                && silent
                && over.iter().any(|(_, sent)| *sent)
            {
                link.dead.notify_one();
            }
            if state.switching && state.flying == 0 {
                self.work.notify_one();
            }
            let idle = (state.link.is_some() && !options.keep_alive.is_zero())
                .then(|| state.last_sent + options.keep_alive);
            (over, idle)
        };
        for (outgoing, _) in over {
            let refusal = outgoing.refusal().cloned();
            let late = refusal.unwrap_or_else(|| timeout(wait.as_millis()));
            let error = unanswered(&outgoing, late);
            outgoing.answer(Err(error));
        }
        let ping_due = match ping {
            Some(due) if due <= now => {
                let command = WireCommand::Database(Operation::Ping);
                let params = "{}".to_owned();
                let mut ping = Outgoing::new(command, params, Repeat::Never, Waiter::Nobody);
                ping.deadline = Some(now + wait);
                self.push(ping);
                Some(now + options.keep_alive)
            }
            due => due,
        };
        let mut state = self.state.lock();
        // What came meanwhile counts too.
        let deadlines = state.deadlines().chain(state.leaves_at(self.patience()));
        let deadlines = deadlines.chain(ping_due).chain([now + wait]);
        state.next_look = deadlines.min().unwrap_or(now + wait);
        state.next_look
    }

    /// The connection is gone: what may be sent again goes back to its place, the rest has failed.
    pub(crate) fn lose(&self, error: &Error) {
        let attempts = self.settings.options.retry.attempts;
        let (mut over, mut moved) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.lock();
            let server = state.link.take().map(|link| link.server);
            let keeps_keys = server.is_some_and(|server| server.extended);
            state.losses += 1;
            state.routes.clear();
            state.unwatched.clear();
            for outgoing in state.land() {
                let safe = match outgoing.repeat {
                    Repeat::Always => true,
                    Repeat::Keyed => keeps_keys,
                    Repeat::Never => false,
                };
                if outgoing.is_for_nobody() || outgoing.resumed_watch().is_some() {
                    outgoing.forget();
                } else if safe && self.reads_elsewhere() {
                    moved.push(outgoing);
                } else if safe && outgoing.attempts < attempts {
                    let mut outgoing = outgoing;
                    outgoing.attempts += 1;
                    state.insert(outgoing);
                } else {
                    over.push(outgoing);
                }
            }
            // What keeps a connection in order has no meaning for the next one.
            let waiting = std::mem::take(&mut state.queue);
            for outgoing in waiting {
                if outgoing.is_for_nobody() || outgoing.resumed_watch().is_some() {
                    outgoing.forget();
                } else {
                    state.queue.push_back(outgoing);
                }
            }
            state.watches.values().for_each(|watch| watch.detach());
        }
        moved.into_iter().for_each(|outgoing| self.reroute(outgoing, error));
        for outgoing in over {
            let error = unanswered(&outgoing, error.clone());
            outgoing.answer(Err(error));
        }
    }

    /// Whether to wait before another server is asked.
    pub(crate) fn pauses(&self) -> bool {
        self.state.lock().pauses
    }

    /// The server to ask in place of the one that was left, when it is known.
    pub(crate) fn towards(&self) -> Option<Endpoint> {
        self.state.lock().towards.take()
    }

    /// No connection can be made: everything that waits for one fails. When that will not change by
    /// waiting, so do the watches.
    pub(crate) fn fail_waiting(&self, error: &Error) {
        let (queue, watches) = {
            let mut state = self.state.lock();
            let watches: Vec<_> = if error.retryable() {
                Vec::new()
            } else {
                state.watches.drain().map(|(_, watch)| watch).collect()
            };
            (std::mem::take(&mut state.queue), watches)
        };
        for outgoing in queue {
            if self.reads_elsewhere() {
                self.reroute(outgoing, error);
                continue;
            }
            let refusal = outgoing.refusal().cloned();
            let error = unanswered(&outgoing, refusal.unwrap_or_else(|| error.clone()));
            outgoing.answer(Err(error));
        }
        for watch in watches {
            watch.end(Some(error.clone()));
        }
    }

    /// Nothing is taken any more.
    pub(crate) fn end(&self) {
        self.gate.close();
        let (queue, flight, watches) = {
            let mut state = self.state.lock();
            state.closed = true;
            state.link = None;
            state.routes.clear();
            let flight: Vec<_> = state.land().collect();
            let watches: Vec<_> = state.watches.drain().map(|(_, watch)| watch).collect();
            (std::mem::take(&mut state.queue), flight, watches)
        };
        for outgoing in queue.into_iter().chain(flight) {
            let error = unanswered(&outgoing, closed());
            outgoing.answer(Err(error));
        }
        watches.iter().for_each(|watch| watch.end(None));
        self.ended.raise();
    }
}
