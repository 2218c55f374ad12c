//! The commit queue: gathers records and tells their authors when they are safe.
//!
//! Records are appended to [`Lanes`], which give them offsets. Whoever gets the writer's lock seals what
//! is there and hands it to the [`Sink`] as one batch, while the lanes fill again. That is a caller that
//! waits, when nobody else is writing (no thread has to be woken for a lone writer), and the log thread,
//! when several wait. A batch is acknowledged as a whole, in log order, or taken back as a whole together
//! with everything appended after it.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use rstmdb_types::{Error, Offset, Result, TimestampMs};

pub(crate) use super::lanes::Batch;
use super::lanes::{Lanes, Open, Sealed};
use super::ticket::{NO_ROUND, NodeRefusals, TakenBack, Ticket};
use crate::error::{closed, forgotten};
use crate::guards::{self, Safeguard};
use crate::log::kinds::Stamp;
use crate::log::rounds::Rounds;
use crate::log::waiters::Waiters;
use crate::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Padded, lanes_max, park,
    thread_waker,
};

/// When more bytes than this wait to be written, new changes wait until they are on their way.
const BUFFERED_BYTES_MAX: usize = if cfg!(feature = "shuttle") { 4 } else { 32 << 20 };
/// With a volatile sink nobody waits, so what is open is handed over at this size a lane.
const VOLATILE_BATCH_BYTES: usize = 64 << 10;
/// How often a caller looks whether it is its turn before it sleeps: for some microseconds.
const LOOKS: u32 = 30;
/// Between two looks, so that they do not take the lines that the other one writes to.
const PAUSES: u32 = 10;
/// Failures remembered for callers that have not asked yet; those in a row count as one.
const FAILURES_MAX: usize = 64;

/// Why a batch was not kept.
#[derive(Debug)]
pub(crate) struct SinkFailure {
    /// For the authors of the batch.
    pub batch: Error,
    /// For later writes, when there can be no more.
    pub fatal: Option<Error>,
}

/// Whether a batch, or a sync, did what it should.
pub(crate) type SinkResult = std::result::Result<(), SinkFailure>;

/// What became of a batch that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchFate {
    /// All of it may be shown.
    Committed,
    /// Others decide, and [`Queue::commit`] says so: nothing of it may be shown before.
    Submitted,
}

/// Where batches go.
pub(crate) trait Sink {
    /// Whether a batch takes no longer than it takes to wake a thread.
    fn is_quick(&self) -> bool {
        false
    }

    /// Whether so many bytes can be written now without waiting for a disk, if the policy asks for no sync.
    fn is_at_once(&self, _bytes: usize) -> bool {
        false
    }

    /// Whether a batch may be handed over now. If not, somebody calls [`Queue::go_on`] when it may.
    fn may_write(&self) -> bool {
        true
    }

    /// Makes a batch as safe as the policy asks, or hands it on to those who decide.
    fn write(&mut self, batch: Batch) -> std::result::Result<BatchFate, SinkFailure>;

    /// Called when that may be shown which was written or committed last.
    fn committed(&mut self) {}

    /// Undoes in memory everything after `durable`. Calls `reset` while no request is being evaluated.
    fn roll_back(&mut self, durable: Offset, reset: &mut dyn FnMut());
}

/// What everybody reads for each event, and who writes a batch writes.
struct Marks {
    committed: AtomicU64,
    epoch: AtomicU64,
    /// Requests that may change something are evaluated elsewhere.
    stands_down: AtomicBool,
}

/// What the one has who writes.
struct Writing<S> {
    sink: S,
    sealed: Sealed,
    /// The last offset that was handed over, where others decide.
    submitted: Offset,
}

/// The queue in front of a sink.
pub(crate) struct Queue<S> {
    lanes: Lanes,
    marks: Padded<Marks>,
    rounds: Rounds,
    writing: Mutex<Writing<S>>,
    /// Callers that wait for a commit.
    waiters: Waiters,
    /// Callers that have something to append when there is room.
    applicants: Waiters,
    /// Readers that wait for the log to grow, by their number: each has one place, however often it
    /// asks while nothing happens.
    watchers: Mutex<HashMap<u64, (Offset, Waker)>>,
    watching: AtomicUsize,
    next_watcher: AtomicU64,
    failures: Mutex<Vec<TakenBack>>,
    /// Wakes the log thread, when there is one.
    log_thread: Mutex<Option<Waker>>,
    has_log_thread: AtomicBool,
    /// Whether the log thread is writing and will look for those who wait before it sleeps.
    is_at_work: AtomicBool,
    /// Whether the log thread has something to do that nobody waits for in `waiters`.
    is_asked: AtomicBool,
    /// Whether others decide.
    hands_over: AtomicBool,
    stopping: AtomicBool,
    volatile: bool,
    /// How often a caller looks again before it sleeps.
    looks: u32,
}

impl<S: Sink> std::fmt::Debug for Queue<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue(appended {}, committed {})", self.appended(), self.committed())
    }
}

impl<S: Sink> Queue<S> {
    /// A queue that gives out offsets from `next` on, and no time before `log_time`. Behind a volatile
    /// sink, appended is committed.
    pub(crate) fn new(sink: S, next: Offset, log_time: TimestampMs, volatile: bool) -> Queue<S> {
        Queue {
            looks: looks(&sink),
            lanes: Lanes::new(lanes_max(), next, log_time),
            marks: Padded(Marks {
                committed: AtomicU64::new(next - 1),
                epoch: AtomicU64::new(0),
                stands_down: AtomicBool::new(false),
            }),
            rounds: Rounds::default(),
            writing: Mutex::new(Writing { sink, sealed: Sealed::default(), submitted: 0 }),
            waiters: Waiters::new(),
            applicants: Waiters::new(),
            watchers: Mutex::new(HashMap::new()),
            next_watcher: AtomicU64::new(0),
            watching: AtomicUsize::new(0),
            failures: Mutex::new(Vec::new()),
            log_thread: Mutex::new(None),
            has_log_thread: AtomicBool::new(false),
            is_at_work: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            hands_over: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            volatile,
        }
    }

    /// The last offset given out.
    pub(crate) fn appended(&self) -> Offset {
        self.lanes.appended()
    }

    /// The last offset that may be shown.
    pub(crate) fn committed(&self) -> Offset {
        // In memory nothing can take it back: that is all there is.
        if self.volatile { self.appended() } else { self.marks.committed.load(Ordering::SeqCst) }
    }

    /// A ticket for what is in memory up to `offset`. Taken under the lock of what was read.
    pub(crate) fn ticket(&self, offset: Offset) -> Ticket {
        Ticket { offset, epoch: self.epoch(), wrote: false, round: self.rounds.next() }
    }

    /// A ticket for the change at `offset`, of who made it.
    pub(crate) fn ticket_of_own(&self, offset: Offset) -> Ticket {
        self.ticket(offset).of_own(true)
    }

    /// A ticket for everything that is in memory, taken without a lock.
    pub(crate) fn ticket_of_all(&self) -> Ticket {
        // The epoch first: what is taken back in between is found among the failures of that epoch, while its offset
        // may not come again in the next.
        let epoch = self.epoch();
        Ticket { offset: self.appended(), epoch, wrote: false, round: self.rounds.next() }
    }

    fn epoch(&self) -> u64 {
        self.marks.epoch.load(Ordering::Acquire)
    }

    /// Keeps memory bounded where nobody waits for the sink: called before a write takes any lock.
    pub(crate) fn spill(&self) {
        if self.volatile && self.lanes.waiting_bytes() > VOLATILE_BATCH_BYTES * self.lanes.used() {
            // Whoever is first hands it over; the others need not wait for that.
            self.lead();
        }
    }

    /// Whether what waits to be written leaves room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.lanes.waiting_bytes() <= BUFFERED_BYTES_MAX || self.is_closed()
    }

    /// Waits until there is room, and helps to make some. For threads that serve nobody else.
    pub(crate) fn wait_for_room(&self) {
        if self.has_room() {
            return;
        }
        let mut writing = self.writing.lock();
        if !self.has_room() {
            self.write_open(&mut writing);
        }
        drop(writing);
        self.hand_over();
    }

    /// Asks for room and leaves a waker for when there is some.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.applicants.register(0, context.waker());
        self.request_write();
        // It may have come before the waker was there.
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn admit_applicants(&self) {
        self.applicants.wake(Offset::MAX);
    }

    /// Locks out everybody else, to append several effects under offsets known beforehand.
    pub(crate) fn open(&self) -> Open<'_> {
        self.lanes.open()
    }

    /// Appends a record of one effect: see [`Lanes::append`].
    #[inline]
    pub(crate) fn append(&self, first: u8, at: TimestampMs, fields: &[u8]) -> Result<Stamp> {
        self.lanes.append(first, at, fields)
    }

    /// The time of the newest effect.
    pub(crate) fn log_time(&self) -> TimestampMs {
        self.lanes.log_time()
    }

    /// Why nothing is appended any more.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lanes.refusal()
    }

    /// Tells watchers about a volatile append; called without locks.
    pub(crate) fn announce(&self) {
        if self.volatile && self.is_watched() {
            self.wake_watchers(self.committed());
        }
    }

    /// Whether the ticket's fate is known, and what it is.
    pub(crate) fn settled(&self, ticket: Ticket) -> Option<Result<()>> {
        if ticket.epoch == self.epoch() {
            // Who has a ticket in memory need not look at what all write.
            let committed = || self.marks.committed.load(Ordering::SeqCst);
            let is_confirmed = match ticket.round {
                0 => true,
                NO_ROUND => return Some(Err(self.leads_not())),
                round => self.rounds.is_confirmed(round),
            };
            let done = self.volatile || (committed() >= ticket.offset && is_confirmed);
            // A failure may have come in between: then the offset could be another's by now.
            if ticket.epoch == self.epoch() {
                return done.then_some(Ok(()));
            }
        }
        let failures = self.failures.lock();
        let failure = failures.iter().find(|failure| failure.epochs.contains(&ticket.epoch));
        Some(match failure {
            Some(failure) => failure.fate(ticket),
            // Forgotten is not failed.
            None => Err(forgotten()),
        })
    }

    #[cold]
    fn leads_not(&self) -> Error {
        if self.is_closed() { closed() } else { self.rounds.refusal() }
    }

    /// Waits until the ticket is committed or failed, and does the writing when nobody else is.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        loop {
            if let Some(result) = self.settled(ticket) {
                return result;
            }
            self.rounds.want(ticket.round);
            if self.lead_unless_led() || self.is_led_soon(ticket) {
                continue;
            }
            self.waiters.register(ticket.offset, &thread_waker());
            if self.settled(ticket).is_none() && !self.lead_unless_led() {
                park(None);
            }
        }
    }

    /// As [`Queue::lead`], unless the log thread is at it anyway: it would have to wait for whoever took its place.
    fn lead_unless_led(&self) -> bool {
        !self.is_at_work.load(Ordering::SeqCst) && self.lead()
    }

    /// Waits awake for who is writing, where that is quick; says whether it was.
    fn is_led_soon(&self, ticket: Ticket) -> bool {
        (0..self.looks).any(|_| {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            self.settled(ticket).is_some() || self.lead()
        })
    }

    /// Asks once and leaves a waker for the answer.
    pub(crate) fn poll(&self, ticket: Ticket, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(result) = self.settled(ticket) {
            return Poll::Ready(result);
        }
        self.waiters.register(ticket.offset, context.waker());
        self.rounds.want(ticket.round);
        // Who waits for a round alone has nothing to be written; what is handed over waits for no disk.
        let is_written = ticket.offset <= self.committed();
        if !is_written && self.hands_over.load(Ordering::Relaxed) {
            self.lead();
        } else if !is_written {
            self.request_write();
        }
        match self.settled(ticket) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    /// Gets what is appended written soon: by the log thread, else here and now.
    pub(crate) fn request_write(&self) {
        if self.has_log_thread.load(Ordering::SeqCst) {
            self.ask_log_thread();
        } else {
            self.lead();
        }
    }

    /// Writes what is appended unless somebody else is writing; says whether everybody's fate is known then.
    pub(crate) fn lead(&self) -> bool {
        let Some(mut writing) = self.writing.try_lock() else { return false };
        let is_known = self.write_open(&mut writing);
        // Who waits for what others decide is served when they have.
        if self.leave(writing) {
            self.hand_over();
        }
        is_known
    }

    /// As [`Queue::lead`], where that waits for no disk. Who is about to have written is waited for awake.
    pub(crate) fn lead_at_once(&self, ticket: Ticket) {
        for _ in 0..=self.looks {
            if let Some(mut writing) = self.writing.try_lock() {
                if writing.sink.is_at_once(self.lanes.waiting_bytes_max()) {
                    self.write_open(&mut writing);
                }
                drop(writing);
                return self.hand_over();
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            if self.settled(ticket).is_some() {
                return;
            }
        }
    }

    /// Sees to it that those who came while the sink was busy are served.
    fn hand_over(&self) {
        let waiting = self.waiters.count() + self.applicants.count();
        if waiting == 0 {
            return;
        }
        if self.has_log_thread.load(Ordering::SeqCst) {
            self.ask_log_thread();
        } else {
            self.waiters.wake(Offset::MAX);
            self.admit_applicants();
        }
    }

    fn ask_log_thread(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        self.wake_log_thread();
    }

    fn wake_log_thread(&self) {
        if let Some(waker) = &*self.log_thread.lock() {
            waker.wake_by_ref();
        }
    }

    /// Everything appended so far is committed when this returns.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        let ticket = self.ticket(self.appended()).without_round();
        self.write_open(&mut writing);
        drop(writing);
        self.hand_over();
        self.settled(ticket).unwrap_or(Ok(()))
    }

    /// Runs `work` while nothing is written.
    pub(crate) fn with_writer<T>(&self, work: impl FnOnce(&mut S) -> T) -> T {
        let mut writing = self.writing.lock();
        let result = work(&mut writing.sink);
        if self.leave(writing) {
            self.hand_over();
        }
        result
    }

    /// Lets others write; says whether there may be anything to do for them. Where others decide, most who wait do so for
    /// them, and waking the log thread would only have it find that out.
    fn leave(&self, writing: MutexGuard<'_, Writing<S>>) -> bool {
        let (may_write, submitted) = (writing.sink.may_write(), writing.submitted);
        let is_open = writing.sealed.batches.is_empty()
            && !self.volatile
            && (submitted > self.committed() || self.rounds.is_awaited());
        drop(writing);
        // Who appends after this finds the writer free.
        may_write && !(is_open && self.appended() <= submitted)
    }

    /// Runs `work` while nothing is written, after everything appended has been.
    pub(crate) fn with_sink<T>(&self, work: impl FnOnce(&mut S) -> T) -> T {
        let mut writing = self.writing.lock();
        self.write_open(&mut writing);
        let result = work(&mut writing.sink);
        drop(writing);
        self.hand_over();
        result
    }

    /// The same for work that can fail as a batch can, such as a timed sync.
    pub(crate) fn try_with_sink(&self, work: impl FnOnce(&mut S) -> SinkResult) -> Result<()> {
        self.with_sink(work).map_err(|failure| {
            if let Some(fatal) = failure.fatal {
                self.lanes.refuse(fatal);
            }
            failure.batch
        })
    }

    /// Writes everything that is appended: one batch, but for the places where frames must end. Says whether
    /// everybody's fate is known then.
    fn write_open(&self, writing: &mut Writing<S>) -> bool {
        if !writing.sink.may_write() {
            return false;
        }
        self.lanes.seal(&mut writing.sealed);
        if writing.sealed.batches.is_empty() {
            let is_open = writing.submitted > self.committed() || self.rounds.is_awaited();
            if !self.volatile && is_open {
                return false;
            }
            // Nothing is on its way, so everybody's fate is known. Some may have asked just after
            // it was, and of a write that was taken back the offset may not come again.
            self.waiters.wake(Offset::MAX);
            return true;
        }
        self.admit_applicants();
        let mut is_known = true;
        while let Some(batch) = writing.sealed.batches.pop_front() {
            is_known &= self.write_batch(writing, batch);
        }
        is_known
    }

    fn write_batch(&self, writing: &mut Writing<S>, batch: Batch) -> bool {
        let (first, last) = (batch.first, batch.last());
        match writing.sink.write(batch) {
            Ok(BatchFate::Committed) => self.show(writing, last),
            Ok(BatchFate::Submitted) => {
                writing.submitted = last;
                return false;
            }
            Err(failure) => self.fail(writing, first - 1, last, failure),
        }
        true
    }

    /// Moves the commit mark, and tells those who wait for it.
    fn show(&self, writing: &mut Writing<S>, last: Offset) {
        self.marks.committed.fetch_max(last, Ordering::SeqCst);
        self.waiters.wake(last);
        writing.sink.committed();
        self.wake_watchers(last);
    }

    /// Runs `work` while nothing is written; what it says was decided may be shown.
    pub(crate) fn commit<T>(&self, work: impl FnOnce(&mut S) -> (Option<Offset>, T)) -> T {
        let mut writing = self.writing.lock();
        let (last, result) = work(&mut writing.sink);
        if let Some(last) = last {
            self.show(&mut writing, last);
        }
        if self.leave(writing) {
            self.go_on();
        }
        result
    }

    /// Sees to what waits to be handed over: it may be possible now.
    pub(crate) fn go_on(&self) {
        let asking = self.waiters.count() + self.applicants.count();
        if asking > 0 || self.lanes.waiting_bytes() > 0 {
            self.request_write();
        }
    }

    /// What is in memory up to here came from the log, and not through this queue, at this time. Called under the
    /// locks of what it changed, while requests that may change something are refused.
    pub(crate) fn adopt(&self, last: Offset, at: TimestampMs) {
        self.lanes.adopt(last, at);
    }

    /// Refuses what may change something, and takes back in memory what is not committed: others may go on from
    /// there in another way. Who waits for a change of its own that was handed over gets `submitted`, all others
    /// that wait are refused, as are those who come later.
    pub(crate) fn step_down(
        &self,
        submitted: &Error,
        refusals: &NodeRefusals,
        ends: impl FnOnce(&mut S),
    ) {
        let mut writing = self.writing.lock();
        let durable = self.committed();
        let Writing { sink, sealed, submitted: last } = &mut *writing;
        ends(sink);
        // Before what readers see changes: none of them is answered in between.
        self.rounds.end(refusals.reads.as_ref());
        sealed.batches.clear();
        let batch_last = (*last).max(durable);
        *last = durable;
        sink.roll_back(durable, &mut || {
            self.marks.stands_down.store(true, Ordering::SeqCst);
            if guards::enabled(Safeguard::TakenBackForGood) {
                self.lanes.take_back(durable);
            }
            self.lanes.stand_down(&refusals.writes);
            let epoch = self.epoch();
            self.remember(TakenBack {
                epochs: epoch..=epoch,
                durable,
                round: self.rounds.confirmed(),
                batch_last,
                batch: submitted.clone(),
                later: refusals.writes.clone(),
                is_open: true,
            });
            self.marks.epoch.fetch_add(1, Ordering::AcqRel);
        });
        drop(writing);
        self.waiters.wake(Offset::MAX);
        self.admit_applicants();
    }

    /// Answers those that are refused otherwise, while they are.
    pub(crate) fn restate(&self, refusals: &NodeRefusals) {
        self.marks.stands_down.store(true, Ordering::SeqCst);
        self.rounds.end(refusals.reads.as_ref());
        self.lanes.stand_down(&refusals.writes);
    }

    /// Evaluates requests again, if `begins` allows it and nothing ended writing for good. It says whether readers
    /// wait for rounds then.
    pub(crate) fn stand_up(&self, begins: impl FnOnce(&mut S) -> Result<bool>) -> Result<()> {
        let mut writing = self.writing.lock();
        self.lanes.check_stand_up()?;
        let has_rounds = begins(&mut writing.sink)?;
        self.rounds.begin(has_rounds);
        writing.submitted = self.committed();
        self.lanes.stand_up()?;
        self.hands_over.store(true, Ordering::Relaxed);
        self.marks.stands_down.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Why a request that may change something is not evaluated here. Asked for under the locks of what it names:
    /// standing down takes all of them.
    #[inline]
    pub(crate) fn check_stands(&self) -> Result<()> {
        match self.marks.stands_down.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(self.refusal().unwrap_or_else(closed)),
        }
    }

    /// Begins a round when a reader waits for one.
    pub(crate) fn poll_round(&self, context: &mut Context<'_>) -> Poll<u64> {
        self.rounds.poll_begin(context)
    }

    /// A round succeeded, unless `is_over` says that it was of another time.
    pub(crate) fn confirm(&self, round: u64, is_over: impl FnOnce(&S) -> bool) {
        let writing = self.writing.lock();
        if !is_over(&writing.sink) {
            self.rounds.confirm(round);
        }
        drop(writing);
        self.waiters.wake(Offset::MAX);
    }

    /// Does what a failed write of everything that waits does.
    #[cfg(test)]
    pub(crate) fn fail_for_test(&self) {
        let mut writing = self.writing.lock();
        let batch = crate::error::write_failed("a test");
        let failure = SinkFailure { batch, fatal: None };
        self.fail(&mut writing, self.committed(), self.appended(), failure);
    }

    fn fail(
        &self,
        writing: &mut Writing<S>,
        durable: Offset,
        batch_last: Offset,
        failure: SinkFailure,
    ) {
        let later = failure.fatal.clone().unwrap_or_else(|| failure.batch.clone());
        let Writing { sink, sealed, .. } = writing;
        sealed.batches.clear();
        sink.roll_back(durable, &mut || {
            self.lanes.take_back(durable);
            if let Some(fatal) = &failure.fatal {
                self.lanes.refuse(fatal.clone());
            }
            let epoch = self.epoch();
            self.remember(TakenBack {
                epochs: epoch..=epoch,
                durable,
                round: self.rounds.confirmed(),
                batch_last,
                batch: failure.batch.clone(),
                later: later.clone(),
                is_open: false,
            });
            self.marks.epoch.fetch_add(1, Ordering::AcqRel);
        });
        self.waiters.wake(Offset::MAX);
        self.admit_applicants();
    }

    fn remember(&self, failure: TakenBack) {
        let mut failures = self.failures.lock();
        if let Some(last) = failures.last_mut()
            && (last.durable, last.round) == (failure.durable, failure.round)
            && last.is_open == failure.is_open
            && [&last.batch, &last.later, &failure.later]
                .iter()
                .all(|error| error.reason() == failure.batch.reason())
        {
            let first = *last.epochs.start();
            last.epochs = first..=*failure.epochs.end();
            return;
        }
        if failures.len() == FAILURES_MAX {
            failures.remove(0);
        }
        failures.push(failure);
    }

    /// Leaves a waker for when `offset` is committed; says whether it is already.
    pub(crate) fn watch(&self, watcher: u64, offset: Offset, waker: &Waker) -> bool {
        if self.committed() >= offset {
            return true;
        }
        let mut watchers = self.watchers.lock();
        watchers.insert(watcher, (offset, waker.clone()));
        self.watching.store(watchers.len(), Ordering::SeqCst);
        drop(watchers);
        self.committed() >= offset || self.is_closed()
    }

    /// A number for a new watcher.
    pub(crate) fn add_watcher(&self) -> u64 {
        self.next_watcher.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets a watcher and its waker.
    pub(crate) fn remove_watcher(&self, watcher: u64) {
        let mut watchers = self.watchers.lock();
        watchers.remove(&watcher);
        self.watching.store(watchers.len(), Ordering::SeqCst);
    }

    fn is_watched(&self) -> bool {
        self.watching.load(Ordering::SeqCst) > 0
    }

    fn wake_watchers(&self, upto: Offset) {
        if !self.is_watched() {
            return;
        }
        let mut watchers = self.watchers.lock();
        let ready: Vec<_> = watchers.extract_if(|_, (offset, _)| *offset <= upto).collect();
        self.watching.store(watchers.len(), Ordering::SeqCst);
        drop(watchers);
        for (_, (_, waker)) in ready {
            waker.wake();
        }
    }

    /// Refuses all further appends: what is in memory is not what the log says.
    pub(crate) fn poison(&self, error: Error) {
        self.lanes.refuse(error);
    }

    /// Refuses all further appends and wakes everybody.
    pub(crate) fn close(&self) {
        self.lanes.close(closed());
        self.stopping.store(true, Ordering::SeqCst);
        self.waiters.wake(Offset::MAX);
        self.admit_applicants();
        self.wake_watchers(Offset::MAX);
        self.wake_log_thread();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes the calling thread the one that writes for callers that only wait.
    pub(crate) fn become_log_thread(&self) {
        *self.log_thread.lock() = Some(thread_waker());
        self.has_log_thread.store(true, Ordering::SeqCst);
    }

    /// Writes what callers wait for, until there is nothing more. What came while something was written goes on its
    /// way too, though nobody waits for it yet: else all who have some under way would come to wait together.
    pub(crate) fn write_waiting(&self) {
        let (mut is_known, mut is_behind) = (true, false);
        let is_wanted = |is_known: bool| {
            self.is_asked.swap(false, Ordering::SeqCst) || (is_known && self.waiters.count() > 0)
        };
        while is_wanted(is_known) || (is_known && is_behind) {
            self.is_at_work.store(true, Ordering::SeqCst);
            let mut writing = self.writing.lock();
            let before = self.committed();
            is_known = self.write_open(&mut writing);
            let committed = self.committed();
            is_behind = committed > before && self.appended() > committed;
            drop(writing);
            // Before looking for those who wait: who comes after that writes.
            self.is_at_work.store(is_known && is_behind, Ordering::SeqCst);
            if self.is_closed() {
                break;
            }
        }
        self.is_at_work.store(false, Ordering::SeqCst);
    }
}

/// Looking again pays off where somebody else can end meanwhile, and soon.
fn looks(sink: &impl Sink) -> u32 {
    let is_of_use =
        sink.is_quick() && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    if is_of_use { LOOKS } else { 0 }
}

#[cfg(all(test, feature = "shuttle"))]
#[path = "queue_shuttle.rs"]
mod queue_shuttle;
#[cfg(all(test, not(feature = "shuttle")))]
#[path = "queue_tests.rs"]
mod queue_tests;
