//! The commit queue: gives out offsets, gathers records, and tells their authors when they are safe.
//!
//! Records are appended to an open buffer under one short lock. Whoever gets the writer's lock swaps
//! the buffer and hands it to the [`Sink`] as one batch, while the next buffer fills. That is a caller
//! that waits, when nobody else is writing (no thread has to be woken for a lone writer), and the log
//! thread, when several wait. A batch is acknowledged as a whole, in log order, or taken back as a
//! whole together with everything appended after it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::task::{Context, Poll, Waker};

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result, TimestampMs};

use super::effects::put_record;
use super::frame::{FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX};
use super::kinds::{Stamp, put_single};
use crate::error::{closed, forgotten, write_failed};
use crate::sync::{
    AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, park, thread_waker,
};

/// When more bytes than this wait to be written, new changes wait until they are on their way.
const BUFFERED_BYTES_MAX: usize =
    if cfg!(feature = "shuttle") { FRAME_HEADER_BYTES + 4 } else { 32 << 20 };
/// With a volatile sink nobody waits, so the buffer is handed over at this size.
const VOLATILE_BATCH_BYTES: usize = 64 << 10;
/// The largest record; two of them fit a frame beside what else waits.
const RECORD_BYTES_MAX: usize = 128 << 20;
/// How often a caller looks whether it is its turn before it sleeps: for some microseconds.
const LOOKS: u32 = 30;
/// Between two looks, so that they do not take the lines that the other one writes to.
const PAUSES: u32 = 10;
/// Failures remembered for callers that have not asked yet; those in a row count as one.
const FAILURES_MAX: usize = 64;

/// A batch of records on its way to the log.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Room for a frame header, then the records.
    pub buffer: Vec<u8>,
    pub first: Offset,
    pub count: u32,
    /// No effect in it is younger.
    pub at: TimestampMs,
}

impl Batch {
    pub(crate) fn last(&self) -> Offset {
        self.first + Offset::from(self.count) - 1
    }
}

impl Open {
    /// Refuses a record that would make the frame larger than a reader accepts.
    pub(crate) fn check_room(&self, bytes: usize) -> Result<()> {
        if bytes > RECORD_BYTES_MAX {
            let message = format!(
                "the record of the request has {bytes} bytes, more than {RECORD_BYTES_MAX}; split it"
            );
            return Err(Error::invalid(reason::LIMIT_EXCEEDED, message)
                .with("limit", "record_bytes_max")
                .with("size", bytes));
        }
        if self.buffer.len() + bytes > FRAME_PAYLOAD_BYTES_MAX - 1024 {
            return Err(write_failed("too much waits to be written; retry"));
        }
        Ok(())
    }
}

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

/// Where batches go.
pub(crate) trait Sink {
    /// Whether a batch takes no longer than it takes to wake a thread.
    fn is_quick(&self) -> bool {
        false
    }

    /// Makes a batch as safe as the policy asks; on success all of it may be shown.
    fn write(&mut self, batch: Batch) -> SinkResult;

    /// Called when the batch may be shown that was written last.
    fn committed(&mut self) {}

    /// Undoes in memory everything after `durable`. Calls `reset` while no request is being evaluated.
    fn roll_back(&mut self, durable: Offset, reset: &mut dyn FnMut());
}

/// A place in the queue: a change, or what a reader saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub offset: Offset,
    /// Tells an offset from the same one given out again after a failure.
    pub epoch: u64,
}

/// The buffer that fills.
#[derive(Debug)]
pub(crate) struct Open {
    buffer: Vec<u8>,
    next: Offset,
    count: u32,
    /// Where frames must end.
    cuts: VecDeque<Cut>,
    /// The time of the newest effect: that of later ones is not before it.
    log_time: TimestampMs,
    refusal: Option<Error>,
}

impl Open {
    /// Takes out what is before a cut, or all of it.
    fn take(&mut self, cut: Option<Cut>) -> Batch {
        let first = self.next - Offset::from(self.count);
        let capacity = self.buffer.len().min(1 << 20);
        let mut buffer = std::mem::replace(&mut self.buffer, empty_buffer(capacity));
        let Some(Cut { end, count }) = cut else {
            return Batch {
                first,
                count: std::mem::take(&mut self.count),
                at: self.log_time,
                buffer,
            };
        };
        self.buffer.extend_from_slice(buffer.get(end..).unwrap_or_default());
        buffer.truncate(end);
        self.count -= count;
        for later in &mut self.cuts {
            later.end = later.end - end + FRAME_HEADER_BYTES;
            later.count -= count;
        }
        Batch { first, count, at: self.log_time, buffer }
    }

    /// The time of the next effect, of someone who stamped it with `at`: time in the log never falls.
    pub(crate) fn time(&self, at: TimestampMs) -> TimestampMs {
        at.max(self.log_time)
    }

    /// The offset of the next effect, unless writing is over.
    pub(crate) fn next(&self) -> Result<Offset> {
        match &self.refusal {
            Some(error) => Err(error.clone()),
            None => Ok(self.next),
        }
    }
}

/// A place in the open buffer, and how many effects are before it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    end: usize,
    count: u32,
}

/// Failures between which nothing was written: they took back the same.
struct Failure {
    epochs: RangeInclusive<u64>,
    durable: Offset,
    batch_last: Offset,
    batch: Error,
    later: Error,
}

/// What every append touches, alone on its cache lines: threads on several cores hand these lines to
/// each other, and nothing else should travel with them.
#[repr(align(128))]
struct Hot {
    open: Mutex<Open>,
    appended: AtomicU64,
    committed: AtomicU64,
    buffered: AtomicUsize,
    log_time: AtomicI64,
}

/// Who waits for which offset. Thousands may wait at once, so finding one must not mean looking at all.
type Waiters = BTreeMap<Offset, Vec<Waker>>;

/// The queue in front of a sink.
pub(crate) struct Queue<S> {
    hot: Hot,
    sink: Mutex<S>,
    epoch: AtomicU64,
    /// Callers that wait for a commit.
    waiters: Mutex<Waiters>,
    waiting: AtomicUsize,
    /// Callers that have something to append when there is room.
    applicants: Mutex<Waiters>,
    applying: AtomicUsize,
    /// Readers that wait for the log to grow, by their number: each has one place, however often it
    /// asks while nothing happens.
    watchers: Mutex<HashMap<u64, (Offset, Waker)>>,
    watching: AtomicUsize,
    next_watcher: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    /// Wakes the log thread, when there is one.
    log_thread: Mutex<Option<Waker>>,
    has_log_thread: AtomicBool,
    /// Whether the log thread has something to do that nobody waits for in `waiters`.
    is_asked: AtomicBool,
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
        let open = Open {
            buffer: empty_buffer(0),
            next,
            count: 0,
            cuts: VecDeque::new(),
            log_time,
            refusal: None,
        };
        Queue {
            looks: looks(&sink),
            hot: Hot {
                open: Mutex::new(open),
                log_time: AtomicI64::new(log_time),
                appended: AtomicU64::new(next - 1),
                committed: AtomicU64::new(next - 1),
                buffered: AtomicUsize::new(0),
            },
            sink: Mutex::new(sink),
            epoch: AtomicU64::new(0),
            waiters: Mutex::new(Waiters::new()),
            waiting: AtomicUsize::new(0),
            applicants: Mutex::new(Waiters::new()),
            applying: AtomicUsize::new(0),
            watchers: Mutex::new(HashMap::new()),
            next_watcher: AtomicU64::new(0),
            watching: AtomicUsize::new(0),
            failures: Mutex::new(Vec::new()),
            log_thread: Mutex::new(None),
            has_log_thread: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            volatile,
        }
    }

    /// The last offset given out.
    pub(crate) fn appended(&self) -> Offset {
        self.hot.appended.load(Ordering::Acquire)
    }

    /// The last offset that may be shown.
    pub(crate) fn committed(&self) -> Offset {
        self.hot.committed.load(Ordering::Acquire)
    }

    /// A ticket for what is in memory up to `offset`. Taken under the lock of what was read.
    pub(crate) fn ticket(&self, offset: Offset) -> Ticket {
        Ticket { offset, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// Keeps memory bounded where nobody waits for the sink: called before a write takes any lock.
    pub(crate) fn spill(&self) {
        if self.volatile && self.hot.buffered.load(Ordering::Relaxed) > VOLATILE_BATCH_BYTES {
            // Whoever is first hands the buffer over; the others need not wait for that.
            self.lead();
        }
    }

    /// Whether what waits to be written leaves room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.hot.buffered.load(Ordering::SeqCst) <= BUFFERED_BYTES_MAX || self.is_closed()
    }

    /// Waits until there is room, and helps to make some. For threads that serve nobody else.
    pub(crate) fn wait_for_room(&self) {
        if self.has_room() {
            return;
        }
        let mut sink = self.sink.lock();
        if !self.has_room() {
            self.write_open(&mut sink);
        }
        drop(sink);
        self.hand_over();
    }

    /// Asks for room and leaves a waker for when there is some.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        register(&self.applicants, &self.applying, 0, context.waker());
        self.request_write();
        // It may have come before the waker was there.
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn admit_applicants(&self) {
        wake(&self.applicants, &self.applying, Offset::MAX);
    }

    /// Locks the open buffer, to append several effects under offsets known beforehand.
    pub(crate) fn open(&self) -> MutexGuard<'_, Open> {
        self.hot.open.lock()
    }

    /// Appends a record of one effect, given by its first byte, its time and its fields. It says where
    /// the effect stands: its time is at least that of the one before.
    pub(crate) fn append(&self, first: u8, at: TimestampMs, fields: &[u8]) -> Result<Stamp> {
        self.append_with(first, at, fields, |_| ())
    }

    /// As [`Queue::append`], and the frame ends behind it.
    pub(crate) fn append_last(&self, first: u8, at: TimestampMs, fields: &[u8]) -> Result<Stamp> {
        self.append_with(first, at, fields, |open| {
            let (end, count) = (open.buffer.len(), open.count);
            open.cuts.push_back(Cut { end, count });
        })
    }

    fn append_with(
        &self,
        first: u8,
        at: TimestampMs,
        fields: &[u8],
        then: impl FnOnce(&mut Open),
    ) -> Result<Stamp> {
        let mut open = self.hot.open.lock();
        let offset = open.next()?;
        open.check_room(fields.len())?;
        let at = open.time(at);
        put_single(&mut open.buffer, first, at, fields);
        self.appended_to(&mut open, 1, at);
        then(&mut open);
        Ok(Stamp { offset, at })
    }

    /// The time of the newest effect.
    pub(crate) fn log_time(&self) -> TimestampMs {
        self.hot.log_time.load(Ordering::Acquire)
    }

    /// Appends a record to the buffer that was locked with [`Queue::open`]; `at` is of [`Open::time`].
    pub(crate) fn append_to(&self, open: &mut Open, effects: u32, at: TimestampMs, bytes: &[u8]) {
        put_record(&mut open.buffer, effects, bytes);
        self.appended_to(open, effects, at);
    }

    fn appended_to(&self, open: &mut Open, effects: u32, at: TimestampMs) {
        if at > open.log_time {
            open.log_time = at;
            self.hot.log_time.store(at, Ordering::Release);
        }
        open.count += effects;
        open.next += Offset::from(effects);
        self.hot.buffered.store(open.buffer.len(), Ordering::Relaxed);
        self.hot.appended.store(open.next - 1, Ordering::Release);
        if self.volatile {
            // Nothing can take it back: memory is all there is.
            self.hot.committed.store(open.next - 1, Ordering::SeqCst);
        }
    }

    /// Tells watchers about a volatile append; called without locks.
    pub(crate) fn announce(&self) {
        if self.volatile {
            self.wake_watchers(self.committed());
        }
    }

    /// Whether the ticket's fate is known, and what it is.
    pub(crate) fn settled(&self, ticket: Ticket) -> Option<Result<()>> {
        if ticket.epoch == self.epoch.load(Ordering::Acquire) {
            let done = self.hot.committed.load(Ordering::SeqCst) >= ticket.offset;
            // A failure may have come in between: then the offset could be another's by now.
            if ticket.epoch == self.epoch.load(Ordering::Acquire) {
                return done.then_some(Ok(()));
            }
        }
        let failures = self.failures.lock();
        let failure = failures.iter().find(|failure| failure.epochs.contains(&ticket.epoch));
        Some(match failure {
            Some(failure) if ticket.offset <= failure.durable => Ok(()),
            Some(failure) if ticket.offset <= failure.batch_last => Err(failure.batch.clone()),
            Some(failure) => Err(failure.later.clone()),
            // Forgotten is not failed.
            None => Err(forgotten()),
        })
    }

    /// Waits until the ticket is committed or failed, and does the writing when nobody else is.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        loop {
            if let Some(result) = self.settled(ticket) {
                return result;
            }
            if self.lead() || self.is_led_soon(ticket) {
                continue;
            }
            register(&self.waiters, &self.waiting, ticket.offset, &thread_waker());
            if self.settled(ticket).is_none() && !self.lead() {
                park(None);
            }
        }
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
        register(&self.waiters, &self.waiting, ticket.offset, context.waker());
        self.request_write();
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

    /// Writes the open buffer unless somebody else is writing; says whether it did.
    pub(crate) fn lead(&self) -> bool {
        let Some(mut sink) = self.sink.try_lock() else { return false };
        self.write_open(&mut sink);
        drop(sink);
        self.hand_over();
        true
    }

    /// Sees to it that those who came while the sink was busy are served.
    fn hand_over(&self) {
        let waiting = self.waiting.load(Ordering::SeqCst) + self.applying.load(Ordering::SeqCst);
        if waiting == 0 {
            return;
        }
        if self.has_log_thread.load(Ordering::SeqCst) {
            self.ask_log_thread();
        } else {
            wake(&self.waiters, &self.waiting, Offset::MAX);
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
        let mut sink = self.sink.lock();
        let ticket = self.ticket(self.appended());
        self.write_open(&mut sink);
        drop(sink);
        self.hand_over();
        self.settled(ticket).unwrap_or(Ok(()))
    }

    /// Runs `work` while nothing is written, after everything appended has been.
    pub(crate) fn with_sink<T>(&self, work: impl FnOnce(&mut S) -> T) -> T {
        let mut sink = self.sink.lock();
        self.write_open(&mut sink);
        let result = work(&mut sink);
        drop(sink);
        self.hand_over();
        result
    }

    /// The same for work that can fail as a batch can, such as a timed sync.
    pub(crate) fn try_with_sink(&self, work: impl FnOnce(&mut S) -> SinkResult) -> Result<()> {
        self.with_sink(work).map_err(|failure| {
            if let Some(fatal) = failure.fatal {
                self.hot.open.lock().refusal.get_or_insert(fatal);
            }
            failure.batch
        })
    }

    /// Writes everything that is appended: one batch, but for the places where frames must end.
    fn write_open(&self, sink: &mut S) {
        while self.write_batch(sink) {}
    }

    /// Writes up to the next place where a frame must end; says whether there was one.
    fn write_batch(&self, sink: &mut S) -> bool {
        let (batch, was_cut) = {
            let mut open = self.hot.open.lock();
            if open.count == 0 {
                drop(open);
                // Nothing is on its way, so everybody's fate is known. Some may have asked just after
                // it was, and of a write that was taken back the offset may not come again.
                wake(&self.waiters, &self.waiting, Offset::MAX);
                return false;
            }
            let cut = open.cuts.pop_front();
            let batch = open.take(cut);
            // What is left of an empty buffer is room for a header: nothing that waits.
            let waits = if open.count == 0 { 0 } else { open.buffer.len() };
            // Seen by whoever leaves a waker after this looked for one.
            self.hot.buffered.store(waits, Ordering::SeqCst);
            (batch, cut.is_some())
        };
        self.admit_applicants();
        let (first, last) = (batch.first, batch.last());
        match sink.write(batch) {
            Ok(()) => {
                self.hot.committed.fetch_max(last, Ordering::SeqCst);
                wake(&self.waiters, &self.waiting, last);
                sink.committed();
                self.wake_watchers(last);
                was_cut
            }
            Err(failure) => {
                self.fail(sink, first - 1, last, failure);
                false
            }
        }
    }

    /// Does what a failed write of everything that waits does.
    #[cfg(test)]
    pub(crate) fn fail_for_test(&self) {
        let mut sink = self.sink.lock();
        let batch = crate::error::write_failed("a test");
        let failure = SinkFailure { batch, fatal: None };
        self.fail(&mut sink, self.committed(), self.appended(), failure);
    }

    fn fail(&self, sink: &mut S, durable: Offset, batch_last: Offset, failure: SinkFailure) {
        let later = failure.fatal.clone().unwrap_or_else(|| failure.batch.clone());
        sink.roll_back(durable, &mut || {
            let mut open = self.hot.open.lock();
            open.buffer = empty_buffer(0);
            open.count = 0;
            open.cuts.clear();
            open.next = durable + 1;
            if open.refusal.is_none() {
                open.refusal.clone_from(&failure.fatal);
            }
            self.hot.buffered.store(0, Ordering::SeqCst);
            self.hot.appended.store(durable, Ordering::Release);
            let epoch = self.epoch.load(Ordering::Acquire);
            self.remember(Failure {
                epochs: epoch..=epoch,
                durable,
                batch_last,
                batch: failure.batch.clone(),
                later: later.clone(),
            });
            self.epoch.fetch_add(1, Ordering::AcqRel);
        });
        wake(&self.waiters, &self.waiting, Offset::MAX);
        self.admit_applicants();
    }

    fn remember(&self, failure: Failure) {
        let mut failures = self.failures.lock();
        if let Some(last) = failures.last_mut()
            && last.durable == failure.durable
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
        if self.hot.committed.load(Ordering::SeqCst) >= offset {
            return true;
        }
        let mut watchers = self.watchers.lock();
        watchers.insert(watcher, (offset, waker.clone()));
        self.watching.store(watchers.len(), Ordering::SeqCst);
        drop(watchers);
        self.hot.committed.load(Ordering::SeqCst) >= offset || self.is_closed()
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

    fn wake_watchers(&self, upto: Offset) {
        if self.watching.load(Ordering::SeqCst) == 0 {
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
        self.hot.open.lock().refusal.get_or_insert(error);
    }

    /// Refuses all further appends and wakes everybody.
    pub(crate) fn close(&self) {
        self.hot.open.lock().refusal = Some(closed());
        self.stopping.store(true, Ordering::SeqCst);
        wake(&self.waiters, &self.waiting, Offset::MAX);
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

    /// Writes what callers wait for, until there is nothing more. What nobody asked for yet is left:
    /// whoever gathers changes for one write asks when they are together.
    pub(crate) fn write_waiting(&self) {
        while self.is_asked.swap(false, Ordering::SeqCst) || self.waiting.load(Ordering::SeqCst) > 0
        {
            let mut sink = self.sink.lock();
            self.write_open(&mut sink);
            if self.is_closed() {
                return;
            }
        }
    }
}

/// Looking again pays off where somebody else can end meanwhile, and soon.
fn looks(sink: &impl Sink) -> u32 {
    let is_of_use =
        sink.is_quick() && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    if is_of_use { LOOKS } else { 0 }
}

fn empty_buffer(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(capacity.max(4096));
    buffer.resize(FRAME_HEADER_BYTES, 0);
    buffer
}

fn register(list: &Mutex<Waiters>, count: &AtomicUsize, offset: Offset, waker: &Waker) {
    let mut list = list.lock();
    let wakers = list.entry(offset).or_default();
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
    count.store(list.len(), Ordering::SeqCst);
}

/// Wakes everybody whose offset has come.
fn wake(list: &Mutex<Waiters>, count: &AtomicUsize, upto: Offset) {
    if count.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut list = list.lock();
    let later = upto.checked_add(1).map(|next| list.split_off(&next)).unwrap_or_default();
    let ready = std::mem::replace(&mut *list, later);
    count.store(list.len(), Ordering::SeqCst);
    drop(list);
    for waker in ready.into_values().flatten() {
        waker.wake();
    }
}

#[cfg(all(test, feature = "shuttle"))]
#[path = "queue_shuttle.rs"]
mod queue_shuttle;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_grows_beyond_what_a_reader_accepts() {
        let open = |length| Open {
            buffer: vec![0; length],
            next: 1,
            count: 0,
            cuts: VecDeque::new(),
            log_time: 0,
            refusal: None,
        };
        assert!(open(0).check_room(RECORD_BYTES_MAX).is_ok());
        let error = open(0).check_room(RECORD_BYTES_MAX + 1).unwrap_err();
        assert_eq!(error.reason(), Some(reason::LIMIT_EXCEEDED));
        let nearly_full = FRAME_PAYLOAD_BYTES_MAX - 1024 - RECORD_BYTES_MAX;
        assert!(open(nearly_full).check_room(RECORD_BYTES_MAX).is_ok());
        let error = open(nearly_full + 1).check_room(RECORD_BYTES_MAX).unwrap_err();
        assert!(error.retryable());
    }
}
