//! What is queued and in flight on one connection, and whose the messages on it are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_protocol::frame::WireMode;
use rstmdb_protocol::message::{self, Incoming};
use rstmdb_protocol::{ReadMode, WireCommand};
use rstmdb_types::{Error, Offset, Text};

use super::Link;
use crate::connect::ConnectSettings;
use crate::error::{lacking, outcome_unknown, unsupported};
use crate::options::Endpoint;
use crate::request::{Outgoing, RawAnswer, Repeat, Waiter};
use crate::scan::{Look, look, subscription};
use crate::watch::{Begun, Watch};

/// About how much is written in one go. Requests behind it can still be held back or fail alone.
const WRITE_BYTES: usize = 64 << 10;
/// How many ended subscriptions are remembered. One that is forgotten may be ended twice.
const UNWATCHED_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct LaneState {
    /// What is to be sent, by `order`.
    pub queue: VecDeque<Outgoing>,
    /// What was sent, by the number in its id; holes where the answer came early.
    pub flight: VecDeque<Option<Outgoing>>,
    /// How many there are in `flight` beside the holes.
    pub flying: usize,
    /// The number of the first in `flight`.
    pub base: u64,
    pub next_order: u64,
    pub link: Option<Link>,
    /// How many connections were lost.
    pub losses: u64,
    /// The watches by their subscription ids on this connection.
    pub routes: HashMap<String, Arc<Watch>>,
    /// The subscriptions of this connection whose end was asked for.
    pub unwatched: HashSet<String>,
    pub watches: HashMap<u64, Arc<Watch>>,
    pub next_watch: u64,
    /// Nothing is sent any more here; another endpoint is tried when all answers are there.
    pub switching: bool,
    /// Which one, when it is known.
    pub towards: Option<Endpoint>,
    /// Whether to wait before.
    pub pauses: bool,
    pub closed: bool,
    pub last_sent: Instant,
    pub last_received: Instant,
    /// When the clock is looked at next.
    pub next_look: Instant,
}

/// What [`Lane::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ToSend {
    Some,
    Nothing,
    /// Everything is answered and the endpoint is to be left.
    Switch,
}

/// What a message asks to be done once the lock is free.
pub(super) enum Task {
    Success(Outgoing, RawAnswer),
    Failure(Outgoing, Box<[u8]>),
    Event(Arc<Watch>, Offset, Option<Text>, Box<[u8]>),
    Progress(Box<[u8]>),
    End(Box<[u8]>),
    Topology(Box<[u8]>),
    /// An event can't be taken, for this reason.
    Untaken(Arc<Watch>, String),
}

/// The error of a request that is not sent again: `error`, which says that nothing was changed, if
/// that is so.
pub(super) fn unanswered(outgoing: &Outgoing, error: Error) -> Error {
    match outgoing.repeat {
        repeat if outgoing.was_sent && repeat != Repeat::Always => {
            outcome_unknown(error.message(), repeat == Repeat::Keyed)
        }
        _ => error,
    }
}

/// Why a request that waits must not be sent on this connection.
fn unsendable(outgoing: &Outgoing, link: &Link) -> Option<Error> {
    let before = outgoing.refusals.as_ref();
    if let Some(before) = before.filter(|before| before.hosts.contains(&link.server.endpoint)) {
        return before.error.clone().map(|error| unanswered(outgoing, error));
    }
    if link.server.extended {
        let WireCommand::Database(operation) = outgoing.command else { return None };
        let lacks = link.server.lacks_for(operation)?;
        return Some(unanswered(outgoing, lacking(lacks, &link.server)));
    }
    if outgoing.was_sent && outgoing.repeat == Repeat::Keyed {
        return Some(outcome_unknown("the server there is now keeps no keys", true));
    }
    outgoing.needs.map(|needs| unanswered(outgoing, unsupported(needs, &link.server)))
}

impl LaneState {
    pub(super) fn new(now: Instant) -> LaneState {
        LaneState {
            queue: VecDeque::new(),
            flight: VecDeque::new(),
            flying: 0,
            base: 1,
            next_order: 1,
            link: None,
            losses: 0,
            routes: HashMap::new(),
            unwatched: HashSet::new(),
            watches: HashMap::new(),
            next_watch: 0,
            switching: false,
            towards: None,
            pauses: false,
            closed: false,
            last_sent: now,
            last_received: now,
            next_look: now,
        }
    }

    /// Puts a request to its place in the queue.
    pub(super) fn insert(&mut self, outgoing: Outgoing) {
        let place = self.queue.partition_point(|other| other.order < outgoing.order);
        self.queue.insert(place, outgoing);
    }

    /// Whether the time of a request comes before anybody would notice.
    pub(super) fn is_sooner(&self, outgoing: &Outgoing) -> bool {
        let times = [outgoing.deadline, outgoing.impatient_at];
        times.into_iter().flatten().any(|time| time < self.next_look)
    }

    pub(super) fn take(
        &mut self,
        buffer: &mut Vec<u8>,
        over: &mut Vec<(Outgoing, Error)>,
        settings: &ConnectSettings,
    ) -> ToSend {
        let Some(link) = &self.link else { return ToSend::Nothing };
        if self.switching {
            return if self.flying == 0 { ToSend::Switch } else { ToSend::Nothing };
        }
        while buffer.len() < WRITE_BYTES {
            let Some(outgoing) = self.queue.pop_front() else { break };
            if let Some(error) = unsendable(&outgoing, link) {
                over.push((outgoing, error));
                continue;
            }
            let mut digits = itoa::Buffer::new();
            let id = digits.format(self.base + self.flight.len() as u64);
            let op = outgoing.command.wire_name();
            let reword = outgoing.older.filter(|_| !link.server.extended);
            // What was written can be read.
            let reworded = reword.and_then(|reword| reword(&outgoing.params).ok());
            let params = reworded.as_deref().unwrap_or(&outgoing.params);
            if outgoing.read == ReadMode::Linearizable || !link.server.extended {
                message::request(buffer, WireMode::Frames, id, op, params);
            } else {
                let wish = settings.wish(outgoing.read);
                message::reading(buffer, WireMode::Frames, id, op, params, &wish);
            }
            self.flight.push_back(Some(outgoing));
            self.flying += 1;
        }
        if buffer.is_empty() {
            return ToSend::Nothing;
        }
        self.last_sent = Instant::now();
        ToSend::Some
    }

    /// Finds whose a message is.
    pub(super) fn sort(
        &mut self,
        payload: &[u8],
        tasks: &mut Vec<Task>,
    ) -> std::result::Result<(), String> {
        match look(payload)? {
            Look::Answer { id, success, result } => {
                let Some(outgoing) = self.answered(id) else {
                    self.answered_late(payload);
                    return Ok(());
                };
                let Some(link) = &self.link else { return Ok(()) };
                if !success {
                    tasks.push(Task::Failure(outgoing, payload.into()));
                    return Ok(());
                }
                let server = link.server.clone();
                let answer = RawAnswer { payload: payload.into(), result, server };
                if let Some(watch) = outgoing.watch().cloned() {
                    // Before the next message is looked at: it may be the first event.
                    self.begin_watch(watch, &answer)?;
                }
                tasks.push(Task::Success(outgoing, answer));
            }
            Look::Event { subscription_id, offset, history_id } => {
                match self.routes.get(&*subscription_id) {
                    Some(watch) => {
                        tasks.push(Task::Event(watch.clone(), offset, history_id, payload.into()));
                    }
                    None if self.unwatched.contains(&*subscription_id) => {}
                    // The answer that makes it known may come yet.
                    None if self.flight.iter().flatten().any(|sent| sent.watch().is_some()) => {}
                    None => self.unwatch(subscription_id.into_owned()),
                }
            }
            Look::Progress => tasks.push(Task::Progress(payload.into())),
            Look::End => tasks.push(Task::End(payload.into())),
            Look::Topology => tasks.push(Task::Topology(payload.into())),
            Look::Other => {}
        }
        Ok(())
    }

    /// Who wanted an event of which this is the front, and can't have it.
    pub(super) fn untaken(&mut self, front: &[u8], what: &str) -> Option<Task> {
        let watch = self.routes.remove(subscription(front)?)?;
        Some(Task::Untaken(watch, what.to_owned()))
    }

    fn begin_watch(
        &mut self,
        watch: Arc<Watch>,
        answer: &RawAnswer,
    ) -> std::result::Result<(), String> {
        let begun: Begun =
            answer.read(|text| serde_json::from_slice(text)).map_err(|error| error.to_string())?;
        self.unwatched.remove(&begun.subscription_id);
        if self.watches.contains_key(&watch.number) && watch.begin(&begun) {
            self.routes.insert(begun.subscription_id, watch);
        } else {
            self.unwatch(begun.subscription_id);
        }
        Ok(())
    }

    /// The answer to a request that was given up: a watch must not go on for nobody.
    fn answered_late(&mut self, payload: &[u8]) {
        let Ok(Incoming::Response { outcome: Ok(Some(result)), .. }) = Incoming::parse(payload)
        else {
            return;
        };
        let Ok(begun) = serde_json::from_str::<Begun>(result.get()) else { return };
        if begun.says_where() && !self.routes.contains_key(&begun.subscription_id) {
            self.unwatch(begun.subscription_id);
        }
    }

    /// Asks, once, for the end of a subscription of this connection.
    pub(super) fn unwatch(&mut self, id: String) {
        self.routes.remove(&id);
        if self.link.is_none() || self.unwatched.contains(&id) {
            return;
        }
        let params = serde_json::json!({ "subscription_id": id }).to_string();
        let mut outgoing =
            Outgoing::new(WireCommand::Unwatch, params, Repeat::Never, Waiter::Nobody);
        outgoing.order = self.next_order;
        self.next_order += 1;
        self.queue.push_back(outgoing);
        if self.unwatched.len() >= UNWATCHED_MAX {
            self.unwatched.clear();
        }
        self.unwatched.insert(id);
    }

    /// Takes the request of this number out of the flight; none when it was given up.
    fn answered(&mut self, id: u64) -> Option<Outgoing> {
        let index = usize::try_from(id.checked_sub(self.base)?).ok()?;
        let outgoing = self.flight.get_mut(index)?.take()?;
        self.flying -= 1;
        self.close_ranks();
        Some(outgoing)
    }

    fn close_ranks(&mut self) {
        while let Some(None) = self.flight.front() {
            self.flight.pop_front();
            self.base += 1;
        }
    }

    /// Takes everything out of the flight, in order.
    pub(super) fn land(&mut self) -> impl Iterator<Item = Outgoing> + use<> {
        let flight = std::mem::take(&mut self.flight);
        self.base += flight.len() as u64;
        self.flying = 0;
        flight.into_iter().flatten().map(|mut outgoing| {
            outgoing.was_sent = true;
            outgoing
        })
    }

    /// When the reads here go to other nodes, if this one says nothing until then. Not while it is asked for what may
    /// take its time.
    pub(super) fn leaves_at(&self, patience: Duration) -> Option<Instant> {
        let flying = self.flight.iter().flatten();
        if flying.clone().any(|outgoing| outgoing.impatient_at.is_none()) {
            return None;
        }
        let first = flying.chain(&self.queue).filter_map(|outgoing| outgoing.impatient_at).min()?;
        Some(if self.link.is_some() { first.max(self.last_received + patience) } else { first })
    }

    /// Has the reads here go: at once those that wait for a connection; those on one when it is taken for dead.
    pub(super) fn leave_silent(&mut self) -> Vec<Outgoing> {
        let Some(link) = &self.link else {
            let (leaving, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue)
                .into_iter()
                .partition(|outgoing| outgoing.impatient_at.is_some());
            self.queue = left.into();
            return leaving;
        };
        link.dead.notify_one();
        // It is said once.
        self.flight.iter_mut().flatten().for_each(|outgoing| outgoing.impatient_at = None);
        Vec::new()
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let flying = self.flight.iter().flatten();
        flying.chain(&self.queue).filter_map(|outgoing| outgoing.deadline)
    }

    /// Takes out what no longer has time; true for what is in flight.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(Outgoing, bool)> {
        let late = |outgoing: &Outgoing| outgoing.deadline.is_some_and(|deadline| deadline <= now);
        let mut over = Vec::new();
        for place in &mut self.flight {
            if place.as_ref().is_some_and(late) {
                over.extend(place.take().map(|mut outgoing| {
                    outgoing.was_sent = true;
                    (outgoing, true)
                }));
                self.flying -= 1;
            }
        }
        self.close_ranks();
        if self.queue.iter().any(late) {
            for outgoing in std::mem::take(&mut self.queue) {
                if late(&outgoing) {
                    over.push((outgoing, false));
                } else {
                    self.queue.push_back(outgoing);
                }
            }
        }
        over
    }
}
