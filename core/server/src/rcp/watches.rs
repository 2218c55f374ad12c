//! The subscriptions of a connection, and their events among its answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rstmdb_protocol::{Dialect, WireMode, message};
use rstmdb_types::{Error, LogPosition, Offset, Operation, Result, Text};
use serde_json::Value;

use super::audience::{Audiences, EventTexts, Seat};
use super::form::{AnswerForm, WrittenAnswer};
use super::outbox::Outbox;
use super::parse;
use super::signals::{WatchSignal, WatchSignals};
use crate::calls::{Caller, Events};

/// Events of one subscription in a row, while others have some too, unless they fill a buffer before.
const TURN_EVENTS: u64 = 256;

/// How long the place of a subscription may go untold that moved on without events.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// The subscriptions of a connection.
#[derive(Default)]
pub(crate) struct Watches {
    audiences: Arc<Audiences>,
    /// By their numbers, in the order in which they began.
    list: BTreeMap<u64, Box<Watch>>,
    next_number: u64,
    /// Those that are to be asked.
    signals: Arc<WatchSignals>,
    /// When places are to be told that no event tells.
    progress_due: Option<Instant>,
    progress_told: Option<Instant>,
}

/// A subscription, and what its client was told of it.
struct Watch {
    events: Events,
    signal: Arc<WatchSignal>,
    /// Those that are told the same, and in which dialect.
    seat: Option<(Dialect, Seat)>,
    /// What was read and is told next.
    telling: Option<Box<Telling>>,
    /// How far it has come, as far as the client knows.
    told: Offset,
    /// The history that its last event named: one that stays the same is told once.
    history: Option<Text>,
    turn: Turn,
}

/// What a subscription told in its turn, which a buffer that is full of something else only interrupts.
#[derive(Default)]
struct Turn {
    events: u64,
    bytes: usize,
}

/// Events being told.
struct Telling {
    dialect: Dialect,
    texts: Arc<EventTexts>,
    /// The next of them.
    next: usize,
    /// Where to resume behind those before it.
    at: LogPosition,
}

impl Watch {
    /// Where to resume behind what was told.
    fn position(&self) -> &LogPosition {
        self.telling.as_ref().map_or_else(|| self.events.position(), |telling| &telling.at)
    }

    fn has_moved_on(&self) -> bool {
        self.position().next > self.told
    }

    /// Tells the next event.
    fn tell(
        &mut self,
        out: &mut Vec<u8>,
        (mode, dialect): (WireMode, Dialect),
        audiences: &Arc<Audiences>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        if self.telling.as_ref().is_none_or(|telling| telling.dialect != dialect) {
            ready!(self.read(dialect, audiences, context))?;
        }
        let Watch { events, telling: place, told, history, .. } = self;
        let Some(telling) = place else { return Poll::Pending };
        let Telling { texts, next, at, .. } = &mut **telling;
        let Some(event) = texts.get(*next) else { return Poll::Pending };
        // Behind the event also where it can't be told.
        *next += 1;
        at.next = event.offset + 1;
        *told = at.next;
        let of_event = &texts.end.history_id;
        at.history_id.clone_from(of_event);
        let is_news = dialect == Dialect::Extended && history != of_event;
        let named = of_event.as_deref().filter(|_| is_news);
        message::event(out, mode, events.id(), event, named)?;
        if is_news {
            history.clone_from(of_event);
        }
        if *next == texts.len() {
            *place = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on, or takes what another watch of the same read.
    fn read(
        &mut self,
        dialect: Dialect,
        audiences: &Arc<Audiences>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let Watch { events, seat, telling, .. } = self;
        if let Some(telling) = telling.take() {
            // Another dialect was agreed on meanwhile.
            events.go_to(&telling.at);
        }
        if seat.as_ref().is_none_or(|(of, _)| *of != dialect) {
            let place = events.position().next;
            let join = |selection| (dialect, audiences.join(selection, dialect, place));
            *seat = events.selection().map(join);
        }
        let mut seat = seat.as_mut().map(|(_, seat)| seat);
        loop {
            ready!(events.poll_more(context))?;
            let at = events.position().clone();
            let texts = match seat.as_mut().and_then(|seat| seat.find(at.next)) {
                Some(texts) => {
                    events.go_to(&texts.end);
                    texts
                }
                None => {
                    let contexts = seat.as_ref().and_then(|seat| seat.contexts(at.next));
                    let read = ready!(events.poll_read(context, contexts))?;
                    let end = events.position().clone();
                    let texts = Arc::new(EventTexts::write(at.next, end, dialect, &read));
                    if let Some(seat) = &mut seat {
                        seat.leave(&texts);
                    }
                    texts
                }
            };
            if texts.len() > 0 {
                *telling = Some(Box::new(Telling { dialect, texts, next: 0, at }));
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Watches {
    pub(crate) fn new(audiences: Arc<Audiences>) -> Watches {
        Watches { audiences, ..Watches::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn add(&mut self, events: Events) {
        let (told, number) = (events.resume_offset(), self.next_number);
        self.next_number += 1;
        let signal = WatchSignal::new(number, &self.signals);
        signal.give();
        let watch = Watch {
            told,
            events,
            signal,
            seat: None,
            telling: None,
            history: None,
            turn: Turn::default(),
        };
        self.list.insert(number, Box::new(watch));
    }

    /// Takes the subscription of this id away; says whether there was one.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.take(id).is_some()
    }

    fn take(&mut self, id: &str) -> Option<Box<Watch>> {
        let (number, _) = self.list.iter().find(|(_, watch)| watch.events.id() == id)?;
        let number = *number;
        self.list.remove(&number)
    }

    /// All are asked at the next turn, also those that nothing happened to.
    pub(crate) fn ask_all(&self) {
        for watch in self.list.values() {
            watch.signal.give();
        }
    }

    /// Appends events until `bytes_max` wait to be sent. Says whether there were any, or an end,
    /// and whether the connection must end because of that.
    pub(crate) fn forward(
        &mut self,
        outbox: &mut Outbox,
        form: (WireMode, Dialect),
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> (bool, bool) {
        let (mut forwarded, mut broken) = (false, false);
        let mut ended = Vec::new();
        self.signals.listen(context.waker());
        while outbox.waiting_bytes() < bytes_max
            && let Some(number) = self.signals.take()
        {
            let Some(watch) = self.list.get_mut(&number) else { continue };
            watch.signal.take();
            let waker = watch.signal.clone().into();
            let context = &mut Context::from_waker(&waker);
            let is_over = |turn: &Turn| turn.events >= TURN_EVENTS || turn.bytes >= bytes_max;
            let (mut told, mut has_more) = (0, true);
            while has_more && !is_over(&watch.turn) && outbox.waiting_bytes() < bytes_max {
                let begin = outbox.buffer().len();
                match watch.tell(outbox.buffer(), form, &self.audiences, context) {
                    Poll::Pending => {
                        has_more = false;
                        if watch.has_moved_on() {
                            Self::expect_progress(&mut self.progress_due, self.progress_told);
                        }
                    }
                    Poll::Ready(Ok(())) => {
                        told += 1;
                        watch.turn.events += 1;
                        watch.turn.bytes += outbox.buffer().len() - begin;
                    }
                    Poll::Ready(Err(error)) => {
                        has_more = false;
                        ended.push((watch.events.id().clone(), error));
                    }
                }
            }
            watch.events.count_told(told);
            forwarded |= told > 0;
            if has_more && !is_over(&watch.turn) {
                watch.signal.give_again();
                continue;
            }
            watch.turn = Turn::default();
            if has_more {
                watch.signal.give();
            }
        }
        forwarded |= !ended.is_empty();
        self.finish(ended, outbox, form, &mut broken);
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
        self.ask_all();
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
        for watch in self.list.values_mut().filter(|watch| watch.has_moved_on()) {
            message::progress(outbox.buffer(), mode, watch.events.id(), watch.position());
            watch.told = watch.position().next;
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
            for watch in self.list.values() {
                message::end(outbox.buffer(), mode, watch.events.id(), watch.position(), None);
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
