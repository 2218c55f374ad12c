//! The commit queue under a model checker that tries many orders of its threads.
//!
//! A lost wake-up shows as a deadlock. The sink here fails when told to; whoever was told that a
//! record is safe must find it written, and whoever was told that it is not must not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_types::{ErrorCode, Offset};

use super::{Batch, BatchFate, NodeRefusals, Queue, Sink, SinkFailure, Ticket};
use crate::log::frame::FRAME_HEADER_BYTES;
use crate::sync::{Mutex, park, thread_waker};

const ORDERS: usize = 3000;

/// A value, and the time that its author was told.
type Value = (u8, i64);

/// What others are to decide about, the oldest first.
type Submitted = Arc<std::sync::Mutex<std::collections::VecDeque<BTreeMap<Offset, Value>>>>;

/// What was applied in memory, in parts with a lock each: offsets and values.
type Memory = Arc<[Mutex<BTreeMap<Offset, Value>>; 2]>;

/// What reached the disk. Never held over a change of threads.
type Disk = Arc<std::sync::Mutex<BTreeMap<Offset, Value>>>;

/// Values from here on are the last of their frame.
const LAST: u8 = 100;

struct FakeSink {
    memory: Memory,
    written: Disk,
    /// Where others decide, what they are to; else it is written here.
    submitted: Option<Submitted>,
    writes: u32,
    /// The write that fails, and whether for good.
    failure: Option<(u32, bool)>,
    is_stopped: bool,
}

fn error(code: ErrorCode) -> rstmdb_types::Error {
    rstmdb_types::Error::new(code, "failed")
}

impl Sink for FakeSink {
    fn may_write(&self) -> bool {
        self.submitted.as_ref().is_none_or(|open| open.lock().unwrap().is_empty())
    }

    fn write(&mut self, batch: Batch) -> std::result::Result<BatchFate, SinkFailure> {
        self.writes += 1;
        shuttle::thread::yield_now();
        let failing = self.failure.filter(|(write, _)| *write == self.writes || self.is_stopped);
        if let Some((_, for_good)) = failing {
            self.is_stopped = for_good;
            let fatal = for_good.then(|| error(ErrorCode::WalIoError));
            return Err(SinkFailure { batch: error(ErrorCode::WalIoError), fatal });
        }
        let mut written = self.written.lock().unwrap();
        let mut values = BTreeMap::new();
        let (last, (_, mut newest)) =
            written.last_key_value().map_or((0, (0, 0)), |(last, value)| (*last, *value));
        assert_eq!(batch.first, last + 1, "batches are written in order, without gap or repeat");
        // Each record is of one effect: its length, its kind, its time, its value.
        let (records, rest) = batch.buffer[FRAME_HEADER_BYTES..].as_chunks::<4>();
        assert_eq!((records.len(), rest), (batch.count as usize, &[][..]));
        for (offset, [_, _, at, value]) in (batch.first..).zip(records) {
            let at = i64::from(at >> 1);
            assert!(at >= newest && at <= batch.at, "time falls along offsets");
            newest = at;
            assert!(*value < LAST || offset == batch.last(), "the frame goes on");
            values.insert(offset, (*value, at));
        }
        Ok(match &self.submitted {
            None => {
                written.extend(values);
                BatchFate::Committed
            }
            Some(submitted) => {
                submitted.lock().unwrap().push_back(values);
                BatchFate::Submitted
            }
        })
    }

    fn roll_back(&mut self, durable: Offset, reset: &mut dyn FnMut()) {
        let mut memory: Vec<_> = self.memory.iter().map(Mutex::lock).collect();
        reset();
        for part in &mut memory {
            part.split_off(&(durable + 1));
        }
    }
}

#[derive(Clone)]
struct Run {
    queue: Arc<Queue<FakeSink>>,
    memory: Memory,
    written: Disk,
    submitted: Submitted,
}

impl Run {
    fn new(failure: Option<(u32, bool)>) -> Run {
        Run::made(failure, false)
    }

    /// Others decide about what is handed over.
    fn decided_elsewhere() -> Run {
        let run = Run::made(None, true);
        run.queue.stand_up(|_| Ok(false)).unwrap();
        run
    }

    fn made(failure: Option<(u32, bool)>, elsewhere: bool) -> Run {
        let memory = Memory::default();
        let written = Disk::default();
        let submitted = Submitted::default();
        let sink = FakeSink {
            memory: memory.clone(),
            written: written.clone(),
            submitted: elsewhere.then(|| submitted.clone()),
            writes: 0,
            failure,
            is_stopped: false,
        };
        Run { queue: Arc::new(Queue::new(sink, 1, 0, false)), memory, written, submitted }
    }

    /// Applies a value; returns its ticket, unless writing is over.
    fn append(&self, value: u8) -> Option<Ticket> {
        let mut memory = self.memory[usize::from(value % 2)].lock();
        let at = i64::from(value) * 7 % 23;
        let stamp = match value {
            LAST.. => self.queue.open().append_last(0, at, &[value]),
            _ => self.queue.append(0, at, &[value]),
        };
        let stamp = stamp.ok()?;
        assert!(stamp.at >= at);
        let twice = memory.insert(stamp.offset, (value, stamp.at));
        assert_eq!(twice, None, "an offset was given out twice");
        Some(self.queue.ticket_of_own(stamp.offset))
    }

    /// Decides about what was handed over, until all authors are done.
    fn decide(&self, authors: usize) {
        while Arc::strong_count(&self.queue) > authors {
            self.queue.commit(|_| {
                let batch = self.submitted.lock().unwrap().pop_front();
                let last =
                    batch.as_ref().and_then(|batch| batch.last_key_value()).map(|(at, _)| *at);
                self.written.lock().unwrap().extend(batch.into_iter().flatten());
                (last, ())
            });
            shuttle::thread::yield_now();
        }
    }

    /// Has somebody else decide from now on: what was handed over is lost, but what was written stays.
    fn step_down(&self) {
        let refusals = NodeRefusals {
            writes: error(ErrorCode::ReadOnlyMode),
            reads: Some(error(ErrorCode::ReadOnlyMode)),
        };
        self.queue.step_down(&error(ErrorCode::WalIoError), &refusals, |_| {});
        // Nobody else decides on it either.
        self.submitted.lock().unwrap().clear();
    }

    fn wait(&self, ticket: Ticket, polls: bool) -> bool {
        if !polls {
            return self.queue.wait(ticket).is_ok();
        }
        let waker = thread_waker();
        loop {
            match self.queue.poll(ticket, &mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result.is_ok(),
                Poll::Pending => park(None),
            }
        }
    }

    fn is_written(&self, offset: Offset, value: u8) -> bool {
        self.written.lock().unwrap().get(&offset).is_some_and(|(written, _)| *written == value)
    }

    /// Writes some values and checks what is said of each.
    fn writer(&self, values: std::ops::Range<u8>, polls: bool) {
        for value in values {
            let Some(ticket) = self.append(value) else { return };
            let is_safe = self.wait(ticket, polls);
            let there = self.is_written(ticket.offset, value);
            assert_eq!(is_safe, there, "value {value} at {}", ticket.offset);
        }
    }

    /// Looks at the newest value of a part; what it is told to be safe is.
    fn reader(&self) {
        let (ticket, (seen, _)) = {
            let memory = self.memory[0].lock();
            let Some((offset, value)) = memory.last_key_value() else { return };
            (self.queue.ticket(*offset), *value)
        };
        if self.queue.wait(ticket).is_ok() {
            assert!(self.is_written(ticket.offset, seen), "shown but not written");
        }
    }

    /// Runs all of it and checks the end.
    fn run(self, with_log_thread: bool, work: Vec<Box<dyn FnOnce(Run) + Send>>) {
        let log_thread = with_log_thread.then(|| {
            let run = self.clone();
            shuttle::thread::spawn(move || {
                run.queue.become_log_thread();
                while !run.queue.is_closed() {
                    run.queue.write_waiting();
                    park(None);
                }
            })
        });
        let threads: Vec<_> = work
            .into_iter()
            .map(|work| {
                let run = self.clone();
                shuttle::thread::spawn(move || work(run))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        self.queue.close();
        if let Some(thread) = log_thread {
            thread.join().unwrap();
        }
        let _ = self.queue.flush();
        let written = self.written.lock().unwrap().clone();
        let memory = self.memory.iter().flat_map(|part| part.lock().clone()).collect();
        assert_eq!(written, memory, "memory and disk differ");
        assert_eq!(self.queue.committed(), written.len() as Offset);
    }
}

fn check(work: impl Fn() + Send + Sync + 'static) {
    let work = Arc::new(work);
    let again = work.clone();
    shuttle::check_random(move || work(), ORDERS);
    shuttle::check_pct(move || again(), ORDERS, 3);
}

#[test]
fn shuttle_every_waiter_returns() {
    for with_log_thread in [false, true] {
        check(move || {
            Run::new(None).run(
                with_log_thread,
                vec![
                    Box::new(|run| run.writer(0..3, false)),
                    Box::new(|run| run.writer(10..13, true)),
                    Box::new(|run| run.writer(LAST..LAST + 2, false)),
                    Box::new(|run| run.reader()),
                ],
            );
        });
    }
}

#[test]
fn shuttle_a_failure_takes_back_exactly_what_was_not_written() {
    for (with_log_thread, for_good, write) in [
        (false, false, 1),
        (false, true, 2),
        (true, false, 2),
        (true, true, 1),
        (true, true, 2),
        (false, false, 3),
    ] {
        check(move || {
            Run::new(Some((write, for_good))).run(
                with_log_thread,
                vec![
                    Box::new(|run| run.writer(0..3, false)),
                    Box::new(|run| run.writer(LAST..LAST + 2, true)),
                    Box::new(|run| {
                        run.reader();
                        let _ = run.queue.flush();
                        run.reader();
                    }),
                ],
            );
        });
    }
}

#[test]
fn shuttle_a_watcher_is_woken() {
    for with_log_thread in [false, true] {
        check(move || {
            Run::new(None).run(
                with_log_thread,
                vec![
                    Box::new(|run| {
                        let waker = thread_waker();
                        let watcher = run.queue.add_watcher();
                        for offset in 1..=4 {
                            while !run.queue.watch(watcher, offset, &waker) {
                                park(None);
                            }
                            assert!(run.written.lock().unwrap().contains_key(&offset));
                        }
                    }),
                    Box::new(|run| run.writer(0..2, true)),
                    Box::new(|run| run.writer(10..12, false)),
                ],
            );
        });
    }
}

#[test]
fn shuttle_many_in_flight_of_one_thread() {
    for with_log_thread in [false, true] {
        check(move || {
            let pipeline = |run: Run, values: std::ops::Range<u8>, polls: bool| {
                let tickets: Vec<_> =
                    values.filter_map(|value| Some((run.append(value)?, value))).collect();
                for (ticket, value) in tickets.into_iter().rev() {
                    let is_safe = run.wait(ticket, polls);
                    assert_eq!(is_safe, run.is_written(ticket.offset, value));
                }
            };
            Run::new(Some((2, false))).run(
                with_log_thread,
                vec![
                    Box::new(move |run| pipeline(run, 0..3, true)),
                    Box::new(move |run| pipeline(run, 10..13, false)),
                    Box::new(move |run| pipeline(run, 20..22, true)),
                ],
            );
        });
    }
}

#[test]
fn shuttle_whoever_waits_for_room_gets_it() {
    for (with_log_thread, failure) in
        [(false, None), (true, None), (false, Some((2, false))), (true, Some((1, true)))]
    {
        check(move || {
            // Nobody waits for what is written, so only who wants room gets it written.
            let applicant = |run: Run, values: std::ops::Range<u8>| {
                let waker = thread_waker();
                for value in values {
                    while run.queue.poll_room(&mut Context::from_waker(&waker)).is_pending() {
                        park(None);
                    }
                    if run.append(value).is_none() {
                        return;
                    }
                }
            };
            Run::new(failure).run(
                with_log_thread,
                vec![
                    Box::new(move |run| applicant(run, 0..4)),
                    Box::new(move |run| applicant(run, 10..14)),
                    Box::new(|run| run.writer(20..22, false)),
                ],
            );
        });
    }
}

#[test]
fn shuttle_every_offset_is_in_one_frame_however_many_append() {
    for failure in [None, Some((2, false))] {
        check(move || {
            let appends = |run: Run, values: std::ops::Range<u8>| {
                for value in values {
                    run.append(value);
                }
            };
            Run::new(failure).run(
                false,
                vec![
                    Box::new(move |run| appends(run, 0..4)),
                    Box::new(move |run| appends(run, 11..15)),
                    Box::new(move |run| appends(run, LAST..LAST + 2)),
                    Box::new(|run| {
                        let _ = run.queue.flush();
                        let _ = run.queue.flush();
                    }),
                ],
            );
        });
    }
}

#[test]
fn shuttle_what_others_decide_is_told_when_they_have() {
    for with_log_thread in [false, true] {
        check(move || {
            // This thread, the log thread and who decides.
            let others = 2 + usize::from(with_log_thread);
            Run::decided_elsewhere().run(
                with_log_thread,
                vec![
                    Box::new(|run| run.writer(0..2, false)),
                    Box::new(|run| run.writer(10..12, true)),
                    Box::new(|run| run.reader()),
                    Box::new(move |run| run.decide(others)),
                ],
            );
        });
    }
}

#[test]
fn shuttle_who_steps_down_tells_everybody() {
    for with_log_thread in [false, true] {
        check(move || {
            let others = 2 + usize::from(with_log_thread);
            Run::decided_elsewhere().run(
                with_log_thread,
                vec![
                    Box::new(|run| run.writer(0..2, false)),
                    Box::new(|run| run.writer(10..12, true)),
                    Box::new(|run| run.reader()),
                    Box::new(move |run| {
                        run.step_down();
                        run.queue.stand_up(|_| Ok(false)).unwrap();
                        run.decide(others);
                    }),
                ],
            );
        });
    }
}

#[test]
fn shuttle_who_reads_while_another_one_leads_is_refused_at_every_instant() {
    check(|| {
        let run = Run::decided_elsewhere();
        run.queue.stand_up(|_| Ok(true)).unwrap();
        // Another one leads, and this one has not heard of it.
        let leader = run.clone();
        let stepping = shuttle::thread::spawn(move || leader.step_down());
        let readers: Vec<_> = (0..2)
            .map(|polls| {
                let run = run.clone();
                shuttle::thread::spawn(move || {
                    let ticket = {
                        let _memory = run.memory[0].lock();
                        run.queue.ticket(0)
                    };
                    assert!(!run.wait(ticket, polls == 1), "what it saw may be old");
                })
            })
            .collect();
        for thread in readers.into_iter().chain([stepping]) {
            thread.join().unwrap();
        }
    });
}
