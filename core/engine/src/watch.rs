//! Subscriptions: a position in the log that moves on.
//!
//! Recent frames come from the ring in memory; a reader that is behind it reads the files. So nothing
//! is dropped for a slow reader, nothing piles up for it, and no writer waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_threads::park::poll_for;
use rstmdb_types::{
    InstanceEvent, InstanceEventKind, LogPosition, Offset, Result, Text, WatchAllRequest,
};

use crate::error::{closed, compacted, corrupt};
use crate::events::Contexts;
use crate::followers::WatchedPlace;
use crate::log::kinds::Stamp;
use crate::log::{Effect, Frame, FrameCursor};
use crate::shared::Shared;

/// Effects decoded in one go, so that a large frame does not become a large queue.
const DECODE_MAX: u64 = 1024;
/// Nor events of more than about this many bytes: many subscriptions may stand still for long.
const DECODE_BYTES: usize = 256 << 10;

/// The contexts that subscriptions have come across which read the same, one behind the other.
#[derive(Debug, Default)]
pub struct KnownContexts(Mutex<Contexts>);

/// Which events a subscription delivers.
#[derive(Debug, Default)]
pub(crate) struct EventFilter {
    instance: Option<Text>,
    /// Events before this offset are left out.
    pub after: Offset,
    machines: Vec<Text>,
    from_states: Vec<Text>,
    to_states: Vec<Text>,
    events: Vec<Text>,
    pub include_ctx: bool,
    pub include_lifecycle: bool,
}

impl EventFilter {
    pub(crate) fn instance(id: Text, after: Offset) -> EventFilter {
        EventFilter { instance: Some(id), after, ..EventFilter::default() }
    }

    pub(crate) fn all(request: WatchAllRequest) -> EventFilter {
        EventFilter {
            instance: None,
            after: 0,
            machines: request.machines,
            from_states: request.from_states,
            to_states: request.to_states,
            events: request.events,
            include_ctx: request.include_ctx,
            include_lifecycle: request.include_lifecycle,
        }
    }

    fn wants(&self, event: &InstanceEvent) -> bool {
        let lists = |list: &[Text], value: Option<&Text>| {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        };
        event.wal_offset >= self.after
            && (self.include_lifecycle || event.kind == InstanceEventKind::Applied)
            && lists(&self.machines, Some(&event.machine))
            && lists(&self.from_states, event.from_state.as_ref())
            && lists(&self.to_states, event.to_state.as_ref())
            && lists(&self.events, event.event.as_ref())
    }
}

/// A stream of events in log order, without gap or duplicate. Dropping it ends it.
pub struct Subscription {
    shared: Arc<Shared>,
    /// The number that the queue knows this subscription by.
    watcher: u64,
    filter: EventFilter,
    /// The next offset to look at.
    next: Offset,
    /// The next offset to hand out: events before it were.
    resume_offset: Offset,
    /// The history of what was looked at last, and the term of its frame: the same term, the same history.
    history_id: Option<Text>,
    term: Option<u64>,
    ready: VecDeque<InstanceEvent>,
    frame: Option<Arc<Frame>>,
    cursor: Option<FrameCursor>,
    contexts: Contexts,
    needs_files: bool,
    failure: Option<rstmdb_types::Error>,
    ended: bool,
    place: Arc<WatchedPlace>,
    /// Of one that follows an instance: what it looks at itself. Of what comes behind, it is told what concerns it.
    looks_until: Option<Offset>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription(at {})", self.resume_offset)
    }
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, position: Offset) -> Subscription {
        shared.ring.subscribe();
        let LogPosition { next, history_id } = shared.position(position);
        Subscription {
            watcher: shared.queue.add_watcher(),
            shared,
            filter: EventFilter::default(),
            next,
            resume_offset: next,
            history_id,
            term: None,
            ready: VecDeque::new(),
            frame: None,
            cursor: None,
            contexts: Contexts::default(),
            needs_files: false,
            failure: None,
            ended: false,
            place: Arc::default(),
            looks_until: None,
        }
    }

    pub(crate) fn set_filter(&mut self, filter: EventFilter) {
        self.filter = filter;
        let Shared { followers, queue, storage, .. } = &*self.shared;
        // In memory, what is committed may not be in a frame yet: those look at everything.
        if let Some(instance) = &self.filter.instance
            && !storage.is_volatile()
            && self.looks_until.is_none()
        {
            followers.add(instance, self.watcher, &self.place, queue.committed());
            // What is being written may have been looked at before.
            self.looks_until = Some(queue.appended());
        }
        self.place.set(self.next);
    }

    pub(crate) fn start_at(&mut self, position: LogPosition) {
        self.next = position.next;
        self.resume_offset = position.next;
        self.history_id = position.history_id;
    }

    /// The offset to resume from after the events received so far.
    pub fn resume_offset(&self) -> Offset {
        self.resume_offset
    }

    /// That offset, and the history that the change before it belongs to.
    pub fn position(&self) -> LogPosition {
        LogPosition { next: self.resume_offset, history_id: self.history_id.clone() }
    }

    /// The same for others to see, while it lasts.
    pub fn place(&self) -> &Arc<WatchedPlace> {
        &self.place
    }

    /// Whether the next events must be read from files: call [`Subscription::load`] where blocking
    /// is fine, then poll again.
    pub fn needs_files(&self) -> bool {
        self.needs_files
    }

    /// Asks for the next event; the stream ends when the database is closed.
    ///
    /// Pending without a wake-up to come when [`Subscription::needs_files`] is true afterwards.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.resume_offset = event.wal_offset + 1;
                self.place.set(self.resume_offset);
                return Poll::Ready(Some(Ok(event)));
            }
            match ready!(self.poll_decode(context, None)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Asks for all events that are read in one go, which may be none: some changes were looked at. What others
    /// know of contexts who read the same is used, if any do. Otherwise as [`Subscription::poll_next`].
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        contexts: Option<&KnownContexts>,
    ) -> Poll<Option<Result<VecDeque<InstanceEvent>>>> {
        if self.ready.is_empty() {
            match ready!(self.poll_decode(context, contexts)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.resume_offset = self.next;
        Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))))
    }

    /// Asks whether there is something to read behind what was handed out. Otherwise as
    /// [`Subscription::poll_next`].
    pub fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(())));
        }
        loop {
            self.resume_offset = self.next;
            self.place.set(self.next);
            if let Some(error) = self.failure.take() {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            if self.ended || self.shared.queue.is_closed() {
                return Poll::Ready(None);
            }
            if self.needs_files || !self.is_worth_while(context) {
                return Poll::Pending;
            }
            if self.next <= self.looked_at_until() {
                return Poll::Ready(Some(Ok(())));
            }
        }
    }

    fn poll_decode(
        &mut self,
        context: &mut Context<'_>,
        contexts: Option<&KnownContexts>,
    ) -> Poll<Option<Result<()>>> {
        loop {
            match ready!(self.poll_more(context)) {
                Some(Ok(())) if self.advance(contexts) => return Poll::Ready(Some(Ok(()))),
                Some(Ok(())) => self.needs_files = true,
                ended => return Poll::Ready(ended),
            }
        }
    }

    /// Goes on from another place: another watch that delivers the same was told all before it, or this one was not
    /// told what is behind it.
    pub fn go_to(&mut self, position: LogPosition) {
        self.ready.clear();
        self.term = None;
        self.start_at(position);
        self.place.set(self.next);
    }

    /// Whether it is worth while to look again; if not, the waker stays for when it is.
    fn is_worth_while(&mut self, context: &mut Context<'_>) -> bool {
        if self.looks_until.is_none_or(|until| self.next <= until) {
            return self.shared.queue.watch(self.watcher, self.next, context.waker());
        }
        // In this order: all before the place is noticed.
        let seen = self.shared.followers.seen();
        match self.shared.followers.poll(&self.place, seen, context.waker()) {
            Some((first, last)) => {
                self.pass(first, None);
                self.looks_until = Some(last);
                // It is noticed a moment before it is committed.
                self.shared.queue.watch(self.watcher, self.next, context.waker())
            }
            None => {
                self.pass(seen.reached + 1, Some(seen.term));
                self.place.set(0);
                // Closed just now: nobody else wakes this.
                self.shared.queue.is_closed()
            }
        }
    }

    /// What may be looked at now.
    fn looked_at_until(&self) -> Offset {
        let committed = self.shared.queue.committed();
        self.looks_until.map_or(committed, |until| until.min(committed))
    }

    /// Goes on from a place before which nothing concerns this; the term is that of the change before it, where it is
    /// known.
    fn pass(&mut self, next: Offset, term: Option<u64>) {
        if next <= self.next {
            return;
        }
        self.next = next;
        self.resume_offset = next;
        let is_known = term.is_some() && self.term == term;
        self.term = term;
        if !is_known && let Some(id) = self.shared.position(next).history_id {
            self.history_id = Some(id);
        }
    }

    /// Decodes the next effects if their frame is in memory; says whether it was.
    fn advance(&mut self, contexts: Option<&KnownContexts>) -> bool {
        let position = self.next;
        let holds =
            |frame: &Arc<Frame>| frame.header.first <= position && position <= frame.header.last();
        let frame = match self.frame.take().filter(|frame| holds(frame)) {
            Some(frame) => Some(frame),
            None => self.shared.ring.get(position),
        };
        let Some(frame) = frame else { return false };
        self.decode(&frame, contexts);
        // One that is done with would stay as long as the reader stands still.
        let end = frame.header.last().min(self.looked_at_until());
        self.frame = (self.next <= end).then_some(frame);
        true
    }

    /// Reads the next frame from the files. Blocks; a failure is the stream's next and last item.
    pub fn load(&mut self) {
        self.needs_files = false;
        let next = self.next;
        let missing = || corrupt("log", 0, &format!("offset {next} is missing"));
        match self.read().and_then(|frame| frame.ok_or_else(missing)) {
            Ok(frame) => self.frame = Some(Arc::new(frame)),
            Err(error) => {
                self.failure = Some(self.shared.unless_compacted(self.next, error));
            }
        }
    }

    fn read(&mut self) -> Result<Option<Frame>> {
        let first = self.shared.first_offset();
        if self.next < first {
            return Err(compacted(self.next, first));
        }
        let mut cursor = match self.cursor.take().filter(|cursor| cursor.next == self.next) {
            Some(cursor) => cursor,
            None => FrameCursor::new(&self.shared.files, self.next),
        };
        let mut frame = cursor.next(&self.shared.files)?;
        if frame.is_none() {
            // In memory, what is committed may not have been handed over yet; and the segment at
            // whose end the cursor stood may have been deleted.
            self.shared.queue.flush()?;
            cursor = FrameCursor::new(&self.shared.files, self.next);
            frame = cursor.next(&self.shared.files)?;
        }
        self.cursor = Some(cursor);
        Ok(frame)
    }

    fn decode(&mut self, frame: &Frame, contexts: Option<&KnownContexts>) {
        if self.term.replace(frame.header.term) != Some(frame.header.term)
            && let Some(id) = self.shared.position(frame.header.first + 1).history_id
        {
            self.history_id = Some(id);
        }
        let end = self.next.saturating_add(DECODE_MAX).min(self.looked_at_until() + 1);
        let mut bytes = 0;
        for (offset, effect) in frame.effects() {
            if offset < self.next {
                continue;
            }
            if offset >= end || bytes > DECODE_BYTES {
                break;
            }
            match self.event(offset, &effect, contexts) {
                Ok(event) => {
                    bytes += event.as_ref().map_or(0, event_bytes);
                    self.ready.extend(event);
                }
                Err(error) => {
                    // The offset stays the next one: nobody was given its event.
                    self.failure = Some(error);
                    return;
                }
            }
            self.next = offset + 1;
        }
    }

    /// The event that an effect is, if it is one to deliver.
    fn event(
        &mut self,
        offset: Offset,
        effect: &Effect<'_>,
        contexts: Option<&KnownContexts>,
    ) -> Result<Option<InstanceEvent>> {
        let other = |wanted: &Text| effect.body.instance() != Some(wanted.as_str());
        if self.filter.instance.as_ref().is_some_and(other) {
            return Ok(None);
        }
        let stamp = Stamp { offset, at: effect.at };
        let event = effect.body.event(&self.shared.state.machines.read(), stamp);
        let Some(mut event) = event.filter(|event| self.filter.wants(event)) else {
            return Ok(None);
        };
        event.history_id.clone_from(&self.history_id);
        if self.filter.include_ctx {
            event.ctx = match contexts {
                Some(known) => known.0.lock().after(&self.shared, offset, &effect.body)?,
                None => self.contexts.after(&self.shared, offset, &effect.body)?,
            };
        }
        Ok(Some(event))
    }

    /// Waits for the next event; `None` when the database was closed.
    pub fn next_blocking(&mut self) -> Option<Result<InstanceEvent>> {
        self.next_within(None).flatten()
    }

    /// Waits at most `timeout` for the next event; `None` when none came in time.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<InstanceEvent>> {
        match self.next_within(Some(timeout)) {
            Some(Some(event)) => event.map(Some),
            Some(None) => Err(closed()),
            None => Ok(None),
        }
    }

    /// As the above; none at all when none came in time.
    fn next_within(&mut self, timeout: Option<Duration>) -> Option<Option<Result<InstanceEvent>>> {
        poll_for(timeout, |context| {
            loop {
                let polled = self.poll_next(context);
                if polled.is_ready() || !self.needs_files {
                    return polled;
                }
                self.load();
            }
        })
    }
}

/// About how much memory an event takes.
fn event_bytes(event: &InstanceEvent) -> usize {
    let ctx = event.ctx.as_ref().map_or(0, |ctx| ctx.as_str().len());
    size_of::<InstanceEvent>() + ctx + event.payload.as_str().len()
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.queue.remove_watcher(self.watcher);
        if let (Some(instance), Some(_)) = (&self.filter.instance, self.looks_until) {
            self.shared.followers.remove(instance, self.watcher, &self.place);
        }
        self.shared.ring.unsubscribe();
    }
}
