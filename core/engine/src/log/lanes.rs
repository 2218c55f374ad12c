//! What is appended and not sealed yet: records in lanes, so that threads do not wait for each other.
//!
//! A thread has a lane of its own, as far as there are enough. It draws an offset from the one counter
//! while it holds its lane's lock, so whoever holds the locks of all lanes finds every offset that was
//! given out in one of them. Sealing takes the records out and merges them by offset. Log time moves on
//! under all the locks only: between two moves every effect has the same, so it never falls along offsets.

use std::collections::VecDeque;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result, TimestampMs};

use super::effects::put_record;
use super::frame::{FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX};
use super::kinds::{Stamp, put_single};
use crate::error::write_failed;
use crate::sync::{
    AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Padded, lane_hint,
    set_lane_hint,
};

/// The largest record; two of them fit a frame beside what else waits.
const RECORD_BYTES_MAX: usize = 128 << 20;
/// What a frame must have room for beside records.
const FRAME_SPARE_BYTES: usize = 1024;
/// A larger record is appended under all locks: there it is known exactly how much waits.
const NARROW_BYTES_MAX: usize = 64 << 10;
/// When more than this waits, so is every record: lanes know only about how much it is.
const NARROW_WAITING_BYTES: usize = FRAME_PAYLOAD_BYTES_MAX / 2;
/// A lane tells how much waits in it in steps of this: otherwise all threads would write one number
/// for each event.
const COUNT_BYTES: usize = if cfg!(feature = "shuttle") { 1 } else { 16 << 10 };
/// What a lane keeps of its room.
const KEPT_BYTES_MAX: usize = 1 << 20;

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

/// Offsets in a row whose records stand one behind the other.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: Offset,
    count: u32,
    /// Where its records end in the buffer.
    end: usize,
}

impl Run {
    fn next(&self) -> Offset {
        self.first + Offset::from(self.count)
    }
}

/// The records in one lane.
#[derive(Debug)]
struct Records {
    /// Room for a frame header, then the records.
    buffer: Vec<u8>,
    runs: Vec<Run>,
    /// The offsets that frames must end behind.
    cuts: Vec<Offset>,
    /// So much of the buffer is counted in what waits.
    counted: usize,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            buffer: empty_buffer(0),
            runs: Vec::new(),
            cuts: Vec::new(),
            counted: FRAME_HEADER_BYTES,
        }
    }
}

impl Records {
    /// Notes the offsets of the record that was put last.
    fn note(&mut self, first: Offset, count: u32) {
        let end = self.buffer.len();
        let is_cut = || self.cuts.last().is_some_and(|cut| cut + 1 == first);
        match self.runs.last_mut() {
            Some(run) if run.next() == first && !is_cut() => {
                run.count += count;
                run.end = end;
            }
            _ => self.runs.push(Run { first, count, end }),
        }
    }

    /// The bytes that wait.
    fn bytes(&self) -> usize {
        self.buffer.len().saturating_sub(FRAME_HEADER_BYTES)
    }

    /// Gives the buffer away.
    fn take_buffer(&mut self) -> Vec<u8> {
        let next = empty_buffer(self.buffer.len().min(KEPT_BYTES_MAX));
        std::mem::replace(&mut self.buffer, next)
    }

    /// Empties it, and keeps some room.
    fn clear(&mut self) {
        if self.buffer.capacity() > KEPT_BYTES_MAX {
            *self = Records::default();
        }
        self.buffer.truncate(FRAME_HEADER_BYTES);
        self.runs.clear();
        self.cuts.clear();
        self.counted = FRAME_HEADER_BYTES;
    }
}

/// What every append reads and few write.
struct Seldom {
    /// The time of the newest effect: that of later ones is not before it.
    log_time: AtomicI64,
    /// About how much waits, in bytes.
    waiting_bytes: AtomicUsize,
    /// The last offset that was taken out.
    sealed: AtomicU64,
    /// So many lanes are in use, the first ones.
    used: AtomicUsize,
    /// Somebody has all lanes: who finds one taken need not look for another.
    is_open: AtomicBool,
    is_refused: AtomicBool,
    refusal: Mutex<Option<Error>>,
}

/// The lanes, and what their records get.
pub(crate) struct Lanes {
    first: Padded<Mutex<Records>>,
    more: Box<[Padded<Mutex<Records>>]>,
    /// The next offset: the one word that all threads write for each event.
    next: Padded<AtomicU64>,
    seldom: Padded<Seldom>,
}

impl Lanes {
    /// So many lanes, that give out offsets from `next` on and no time before `log_time`.
    pub(crate) fn new(count: usize, next: Offset, log_time: TimestampMs) -> Lanes {
        let lane = || Padded(Mutex::new(Records::default()));
        Lanes {
            first: lane(),
            more: (1..count).map(|_| lane()).collect(),
            next: Padded(AtomicU64::new(next)),
            seldom: Padded(Seldom {
                log_time: AtomicI64::new(log_time),
                waiting_bytes: AtomicUsize::new(0),
                sealed: AtomicU64::new(next - 1),
                used: AtomicUsize::new(1),
                is_open: AtomicBool::new(false),
                is_refused: AtomicBool::new(false),
                refusal: Mutex::new(None),
            }),
        }
    }

    /// The last offset given out.
    pub(crate) fn appended(&self) -> Offset {
        self.next.load(Ordering::SeqCst) - 1
    }

    /// The time of the newest effect.
    #[inline]
    pub(crate) fn log_time(&self) -> TimestampMs {
        self.seldom.log_time.load(Ordering::Acquire)
    }

    /// About how much waits to be sealed, in bytes.
    #[inline]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.seldom.waiting_bytes.load(Ordering::SeqCst)
    }

    /// No less than what waits to be sealed, in bytes.
    pub(crate) fn waiting_bytes_max(&self) -> usize {
        self.waiting_bytes() + self.used() * COUNT_BYTES
    }

    /// How many lanes are in use.
    pub(crate) fn used(&self) -> usize {
        self.seldom.used.load(Ordering::Relaxed)
    }

    /// Why nothing is appended any more.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match self.seldom.is_refused.load(Ordering::Acquire) {
            true => self.seldom.refusal.lock().clone(),
            false => None,
        }
    }

    /// Refuses what is appended from now on, unless it is refused already. Takes no lane's lock: who
    /// finds out why may have them.
    pub(crate) fn refuse(&self, error: Error) {
        self.seldom.refusal.lock().get_or_insert(error);
        self.seldom.is_refused.store(true, Ordering::SeqCst);
    }

    /// Refuses what is appended from now on until [`Lanes::stand_up`], unless it is refused for good.
    pub(crate) fn stand_down(&self, error: &Error) {
        let mut refusal = self.seldom.refusal.lock();
        if refusal.as_ref().is_none_or(is_passing) {
            *refusal = Some(error.clone());
        }
        self.seldom.is_refused.store(true, Ordering::SeqCst);
    }

    /// Takes what is appended again; the error says why that can't be.
    pub(crate) fn stand_up(&self) -> Result<()> {
        let mut refusal = self.seldom.refusal.lock();
        check_passing(refusal.as_ref())?;
        *refusal = None;
        self.seldom.is_refused.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Why nothing can be taken again.
    pub(crate) fn check_stand_up(&self) -> Result<()> {
        check_passing(self.seldom.refusal.lock().as_ref())
    }

    /// The last offset is this one from now on, of an effect of this time. Only while all is refused.
    pub(crate) fn adopt(&self, last: Offset, at: TimestampMs) {
        self.seldom.log_time.fetch_max(at, Ordering::AcqRel);
        self.seldom.sealed.store(last, Ordering::SeqCst);
        self.next.store(last + 1, Ordering::SeqCst);
    }

    /// Refuses what is appended from now on; nothing is on its way into a lane when this returns.
    pub(crate) fn close(&self, error: Error) {
        *self.seldom.refusal.lock() = Some(error);
        self.seldom.is_refused.store(true, Ordering::SeqCst);
        drop(self.open());
    }

    /// Appends a record of one effect, given by its first byte, its time and its fields. It says where
    /// the effect stands: its time is at least that of the one before.
    #[inline]
    pub(crate) fn append(&self, first: u8, at: TimestampMs, fields: &[u8]) -> Result<Stamp> {
        let seldom = &*self.seldom;
        let is_late = at > seldom.log_time.load(Ordering::Acquire) && self.is_late(at);
        if is_late || fields.len() > NARROW_BYTES_MAX {
            return self.open().append_one(first, at, fields);
        }
        let mut records = self.lane();
        if seldom.is_refused.load(Ordering::Acquire)
            || seldom.waiting_bytes.load(Ordering::Relaxed) > NARROW_WAITING_BYTES
        {
            drop(records);
            return self.open().append_one(first, at, fields);
        }
        // It stands still while any lane is locked.
        let at = seldom.log_time.load(Ordering::Acquire);
        put_single(&mut records.buffer, first, at, fields);
        let offset = self.next.fetch_add(1, Ordering::SeqCst);
        records.note(offset, 1);
        self.count(&mut records);
        Ok(Stamp { offset, at })
    }

    /// Whether time moves on to `at`. Of many that find so at once, one moves it.
    #[cold]
    fn is_late(&self, at: TimestampMs) -> bool {
        let _moving = self.first.lock();
        at > self.log_time()
    }

    #[inline]
    fn count(&self, records: &mut Records) {
        let uncounted = records.buffer.len() - records.counted;
        if uncounted >= COUNT_BYTES {
            self.seldom.waiting_bytes.fetch_add(uncounted, Ordering::SeqCst);
            records.counted = records.buffer.len();
        }
    }

    fn nth(&self, number: usize) -> &Mutex<Records> {
        number.checked_sub(1).and_then(|number| self.more.get(number)).unwrap_or(&self.first)
    }

    /// The lane of the calling thread, locked.
    #[inline]
    fn lane(&self) -> MutexGuard<'_, Records> {
        let hint = lane_hint();
        let number = if hint < self.used() { hint } else { 0 };
        match self.nth(number).try_lock() {
            Some(records) => records,
            None => self.move_on(number),
        }
    }

    /// Another thread has the lane: from now on this one has the next.
    #[cold]
    fn move_on(&self, number: usize) -> MutexGuard<'_, Records> {
        if self.seldom.is_open.load(Ordering::Relaxed) {
            return self.nth(number).lock();
        }
        let next = if number < self.more.len() { number + 1 } else { 0 };
        if next >= self.used() {
            // Who opens all lanes has the first one's lock when it looks how many there are.
            let first = self.first.lock();
            self.seldom.used.fetch_max(next + 1, Ordering::SeqCst);
            drop(first);
        }
        set_lane_hint(next);
        self.nth(next).lock()
    }

    /// Locks all lanes, to append several effects under offsets known beforehand.
    pub(crate) fn open(&self) -> Open<'_> {
        let first = self.first.lock();
        self.seldom.is_open.store(true, Ordering::Relaxed);
        let more = self.more.iter().take(self.used() - 1).map(|lane| lane.lock()).collect();
        Open { first, more, lanes: self }
    }

    /// Takes out everything that waits, as batches in log order: one, but for the places where frames
    /// must end.
    pub(crate) fn seal(&self, sealed: &mut Sealed) {
        let mut open = self.open();
        let first = self.seldom.sealed.load(Ordering::SeqCst) + 1;
        let last = self.appended();
        if last < first {
            return;
        }
        sealed.parts.resize_with(1 + open.more.len(), Records::default);
        for (records, part) in open.all().zip(&mut sealed.parts) {
            std::mem::swap(records, part);
        }
        // Seen by whoever leaves a waker after this looked for one.
        self.seldom.waiting_bytes.store(0, Ordering::SeqCst);
        self.seldom.sealed.store(last, Ordering::SeqCst);
        let at = self.log_time();
        drop(open);
        sealed.merge(first, last, at);
    }

    /// Forgets everything after `durable` that waits or did: its offsets are given out again.
    pub(crate) fn take_back(&self, durable: Offset) {
        let mut open = self.open();
        open.all().for_each(Records::clear);
        self.seldom.waiting_bytes.store(0, Ordering::SeqCst);
        self.seldom.sealed.store(durable, Ordering::SeqCst);
        self.next.store(durable + 1, Ordering::SeqCst);
    }
}

fn check_passing(refusal: Option<&Error>) -> Result<()> {
    match refusal.filter(|error| !is_passing(error)) {
        Some(error) => Err(error.clone()),
        None => Ok(()),
    }
}

/// Whether writing may go on one day, on this node.
fn is_passing(refusal: &Error) -> bool {
    refusal.code() == ErrorCode::ReadOnlyMode
}

/// All lanes, locked: nobody else appends.
pub(crate) struct Open<'a> {
    first: MutexGuard<'a, Records>,
    more: Vec<MutexGuard<'a, Records>>,
    lanes: &'a Lanes,
}

impl Open<'_> {
    fn all(&mut self) -> impl Iterator<Item = &mut Records> {
        std::iter::once(&mut *self.first).chain(self.more.iter_mut().map(|records| &mut **records))
    }

    /// The time of the next effect, of someone who stamped it with `at`: time in the log never falls.
    pub(crate) fn time(&self, at: TimestampMs) -> TimestampMs {
        at.max(self.lanes.log_time())
    }

    /// The offset of the next effect, unless writing is over.
    pub(crate) fn next(&self) -> Result<Offset> {
        match self.lanes.refusal() {
            Some(error) => Err(error),
            None => Ok(self.lanes.appended() + 1),
        }
    }

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
        let more: usize = self.more.iter().map(|records| records.bytes()).sum();
        if self.first.buffer.len() + more + bytes > FRAME_PAYLOAD_BYTES_MAX - FRAME_SPARE_BYTES {
            return Err(write_failed("too much waits to be written; retry"));
        }
        Ok(())
    }

    /// Appends a record of effects that were closed one by one; `at` is of [`Open::time`].
    pub(crate) fn append(&mut self, effects: u32, at: TimestampMs, bytes: &[u8]) {
        put_record(&mut self.first.buffer, effects, bytes);
        self.appended(effects, at);
    }

    /// Appends a record of one effect: see [`Lanes::append`].
    fn append_one(&mut self, first: u8, at: TimestampMs, fields: &[u8]) -> Result<Stamp> {
        let offset = self.next()?;
        self.check_room(fields.len())?;
        let at = self.time(at);
        put_single(&mut self.first.buffer, first, at, fields);
        self.appended(1, at);
        Ok(Stamp { offset, at })
    }

    /// As [`Lanes::append`], and the frame ends behind it.
    pub(crate) fn append_last(
        mut self,
        first: u8,
        at: TimestampMs,
        fields: &[u8],
    ) -> Result<Stamp> {
        let stamp = self.append_one(first, at, fields)?;
        self.first.cuts.push(stamp.offset);
        Ok(stamp)
    }

    fn appended(&mut self, effects: u32, at: TimestampMs) {
        self.lanes.seldom.log_time.store(at, Ordering::Release);
        let offset = self.lanes.next.fetch_add(effects.into(), Ordering::SeqCst);
        self.first.note(offset, effects);
        self.lanes.count(&mut self.first);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.lanes.seldom.is_open.store(false, Ordering::Relaxed);
    }
}

/// What was taken out of the lanes, and the room that they get for it the next time.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub batches: VecDeque<Batch>,
    parts: Vec<Records>,
}

impl Sealed {
    /// Makes batches of the parts, which hold the offsets from `first` to `last`.
    fn merge(&mut self, first: Offset, last: Offset, at: TimestampMs) {
        let mut filled = self.parts.iter_mut().filter(|part| !part.runs.is_empty());
        if let (Some(part), None) = (filled.next(), filled.next())
            && let ([run], true) = (&*part.runs, part.cuts.is_empty())
        {
            let count = run.count;
            self.batches.push_back(Batch { buffer: part.take_buffer(), first, count, at });
            return part.clear();
        }
        let mut merge = Merge::new(&self.parts, first, last, at);
        self.batches.extend(std::iter::from_fn(|| merge.next_batch()));
        self.parts.iter_mut().for_each(Records::clear);
    }
}

/// The records of one part that are not merged yet.
struct Rest<'a> {
    /// The offset that it goes on with.
    head: Offset,
    buffer: &'a [u8],
    begin: usize,
    runs: std::slice::Iter<'a, Run>,
}

impl<'a> Rest<'a> {
    fn new(part: &'a Records) -> Rest<'a> {
        let mut rest = Rest {
            head: Offset::MAX,
            buffer: &part.buffer,
            begin: FRAME_HEADER_BYTES,
            runs: part.runs.iter(),
        };
        rest.look();
        rest
    }

    fn look(&mut self) {
        self.head = self.runs.as_slice().first().map_or(Offset::MAX, |run| run.first);
    }

    /// Takes the next run, and where the offsets behind it begin.
    fn take(&mut self) -> Option<(&'a [u8], Run)> {
        let run = self.runs.next()?;
        let bytes = self.buffer.get(self.begin..run.end)?;
        self.begin = run.end;
        self.look();
        Some((bytes, *run))
    }
}

/// Merges records by offset.
struct Merge<'a> {
    parts: Vec<Rest<'a>>,
    cuts: Vec<Offset>,
    next: Offset,
    last: Offset,
    at: TimestampMs,
    bytes: usize,
}

impl<'a> Merge<'a> {
    fn new(parts: &'a [Records], first: Offset, last: Offset, at: TimestampMs) -> Merge<'a> {
        Merge {
            cuts: parts.iter().flat_map(|part| part.cuts.iter().copied()).collect(),
            bytes: parts.iter().map(Records::bytes).sum(),
            parts: parts.iter().map(Rest::new).collect(),
            next: first,
            last,
            at,
        }
    }

    /// The next frame's records: up to where it must end, or is full.
    fn next_batch(&mut self) -> Option<Batch> {
        if self.next > self.last {
            return None;
        }
        let first = self.next;
        let mut buffer = empty_buffer(FRAME_HEADER_BYTES + self.bytes);
        while self.next <= self.last && !(self.next > first && self.cuts.contains(&(self.next - 1)))
        {
            let part = self.parts.iter_mut().min_by_key(|part| part.head)?;
            debug_assert_eq!(part.head, self.next, "every offset is in a lane");
            let (bytes, run) = part.take()?;
            buffer.extend_from_slice(bytes);
            self.next = run.next();
        }
        self.bytes -= buffer.len() - FRAME_HEADER_BYTES;
        let count = u32::try_from(self.next - first).ok()?;
        Some(Batch { buffer, first, count, at: self.at })
    }
}

fn empty_buffer(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(capacity.max(4096));
    buffer.resize(FRAME_HEADER_BYTES, 0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(batch: &Batch) -> Vec<u8> {
        batch.buffer[FRAME_HEADER_BYTES..].chunks(4).map(|record| record[3]).collect()
    }

    fn sealed(lanes: &Lanes, sealed: &mut Sealed) -> Vec<(Offset, Vec<u8>)> {
        lanes.seal(sealed);
        sealed.batches.drain(..).map(|batch| (batch.first, values(&batch))).collect()
    }

    /// Appends to a lane as a thread does that came there.
    fn append(lanes: &Lanes, lane: usize, value: u8) -> Stamp {
        lanes.seldom.used.fetch_max(lane + 1, Ordering::SeqCst);
        set_lane_hint(lane);
        lanes.append(0, 0, &[value]).unwrap()
    }

    #[test]
    fn lanes_are_merged_by_offset() {
        let lanes = Lanes::new(3, 5, 0);
        let mut room = Sealed::default();
        for (lane, value) in [(0, 10), (1, 11), (1, 12), (2, 13), (0, 14), (1, 15)] {
            append(&lanes, lane, value);
        }
        assert_eq!(sealed(&lanes, &mut room), [(5, vec![10, 11, 12, 13, 14, 15])]);
        assert_eq!(sealed(&lanes, &mut room), []);
        append(&lanes, 2, 16);
        assert_eq!(sealed(&lanes, &mut room), [(11, vec![16])], "one lane alone");
    }

    #[test]
    fn frames_end_where_they_must() {
        let lanes = Lanes::new(2, 1, 0);
        let mut room = Sealed::default();
        append(&lanes, 1, 10);
        lanes.open().append_last(0, 0, &[11]).unwrap();
        lanes.open().append_last(0, 0, &[12]).unwrap();
        append(&lanes, 0, 13);
        append(&lanes, 1, 14);
        let frames = [(1, vec![10, 11]), (3, vec![12]), (4, vec![13, 14])];
        assert_eq!(sealed(&lanes, &mut room), frames);
    }

    #[test]
    fn what_is_taken_back_is_given_out_again_and_time_goes_on() {
        let lanes = Lanes::new(2, 1, 0);
        append(&lanes, 0, 10);
        assert_eq!(lanes.append(0, 7, &[11]).unwrap(), Stamp { offset: 2, at: 7 });
        append(&lanes, 1, 12);
        lanes.take_back(1);
        assert_eq!(append(&lanes, 1, 13), Stamp { offset: 2, at: 7 });
        assert_eq!(sealed(&lanes, &mut Sealed::default()), [(2, vec![13])]);
    }

    #[test]
    fn no_frame_grows_beyond_what_a_reader_accepts() {
        let lanes = Lanes::new(2, 1, 0);
        let mut open = lanes.open();
        assert!(open.check_room(RECORD_BYTES_MAX).is_ok());
        let error = open.check_room(RECORD_BYTES_MAX + 1).unwrap_err();
        assert_eq!(error.reason(), Some(reason::LIMIT_EXCEEDED));
        let nearly_full = FRAME_PAYLOAD_BYTES_MAX - FRAME_SPARE_BYTES - RECORD_BYTES_MAX;
        open.first.buffer.resize(nearly_full, 0);
        assert!(open.check_room(RECORD_BYTES_MAX).is_ok());
        open.first.buffer.push(0);
        let error = open.check_room(RECORD_BYTES_MAX).unwrap_err();
        assert!(error.retryable());
    }

    #[test]
    fn nothing_is_appended_after_a_refusal() {
        let lanes = Lanes::new(2, 1, 0);
        append(&lanes, 0, 10);
        // Under the locks, as a batch does that finds something broken.
        let open = lanes.open();
        lanes.refuse(write_failed("first"));
        drop(open);
        lanes.refuse(write_failed("second"));
        let error = lanes.append(0, 0, &[11]).unwrap_err();
        assert!(error.message().contains("first"), "{error}");
        assert_eq!(lanes.appended(), 1);
        lanes.close(crate::error::closed());
        assert_eq!(lanes.refusal().unwrap().code(), crate::error::closed().code());
    }
}
