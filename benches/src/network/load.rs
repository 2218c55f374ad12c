//! The load: one thread drives many connections, each with so many requests in flight.
//!
//! Requests are bytes made before the clock starts and sent again and again; answers are counted,
//! and looked at just enough that errors can't pass for speed. It shares two processors with the
//! server, so it does as little as it can: one `read` and one `write` for all that is ready.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::rcp::Scanner;
use super::wire::Wire;
use crate::measure::processor_seconds;

/// Encoded requests, sent in a circle.
#[derive(Debug, Default, Clone)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where each request has the number of its stream, from its beginning, where it has one: a new one each time.
    streams: Vec<usize>,
}

impl Requests {
    pub fn push(&mut self, request: &[u8]) {
        self.bytes.extend_from_slice(request);
        self.ends.push(self.bytes.len());
    }
}

impl Requests {
    /// Requests that each have the number of a stream of HTTP/2 at these places.
    pub fn in_streams(mut self, places: &[usize]) -> Requests {
        self.streams = places.to_vec();
        self
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for Requests {
    fn from_iter<I: IntoIterator<Item = B>>(requests: I) -> Requests {
        let mut made = Requests::default();
        for request in requests {
            made.push(request.as_ref());
        }
        made
    }
}

/// One connection.
#[derive(Debug)]
struct Lane {
    socket: TcpStream,
    requests: Requests,
    /// The request to be sent next.
    next: usize,
    /// The stream that it has, where there are some.
    stream: u32,
    /// Bytes of the circle that are not sent yet: from here up to the end of the one before `next`.
    unsent_from: usize,
    unsent: usize,
    /// The beginning of an answer whose rest has not arrived.
    partial: Vec<u8>,
    /// When the unanswered requests were sent, or should have been.
    sent_at: VecDeque<Instant>,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub answers: u64,
    pub seconds: f64,
    /// In microseconds.
    pub latencies: Histogram<u64>,
    /// Processor time of the load's thread.
    pub processor_seconds: f64,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

/// One thread's connections.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    events: Events,
    lanes: Vec<Lane>,
    wire: Wire,
    buffer: Vec<u8>,
    answered: u64,
}

const BUFFER_BYTES: usize = 1 << 20;
/// No answer for so long means that something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
const TIMER: Token = Token(usize::MAX);
/// How often a paced load sends. A timer costs a wake-up, which more of them would make dear.
const TICK: Duration = Duration::from_nanos(TICK_NANOS as u64);
const TICK_NANOS: u32 = 200_000;

/// Answers in the measured interval.
struct Tally {
    latencies: Histogram<u64>,
    answers: u64,
    counts: bool,
}

impl Tally {
    fn new() -> Tally {
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 2).unwrap();
        Tally { latencies, answers: 0, counts: false }
    }
}

impl Load {
    /// Takes connections that are ready for requests, with what each is to send.
    pub fn new(
        wire: Wire,
        lanes: impl IntoIterator<Item = (std::net::TcpStream, Requests)>,
    ) -> Load {
        let poll = Poll::new().unwrap();
        let lane = |(token, (socket, requests)): (usize, (std::net::TcpStream, Requests))| {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
            let mut socket = TcpStream::from_std(socket);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(token), interest).unwrap();
            Lane {
                socket,
                requests,
                next: 0,
                stream: 1,
                unsent_from: 0,
                unsent: 0,
                partial: Vec::new(),
                sent_at: VecDeque::new(),
            }
        };
        let lanes = lanes.into_iter().enumerate().map(lane).collect();
        let (events, buffer) = (Events::with_capacity(1024), vec![0; BUFFER_BYTES]);
        Load { poll, events, lanes, wire, buffer, answered: 0 }
    }

    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Adds up the offsets in the answers from now on.
    pub fn count_offsets(&mut self) {
        self.wire = Wire::Rcp(Scanner::with_offsets());
    }

    /// All answers so far, measured or not.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Keeps `in_flight` requests of each connection unanswered for `warm_up` and `time`; counts
    /// the latter.
    pub fn run(&mut self, in_flight: usize, warm_up: Duration, time: Duration) -> Outcome {
        let mut tally = Tally::new();
        let began = Instant::now();
        for lane in &mut self.lanes {
            lane.enqueue(in_flight, began);
            lane.flush();
        }
        let mut processor = processor_seconds();
        let (mut start, mut stop) = (began, None);
        while stop.is_none() || self.waits() {
            let now = self.wait();
            if stop.is_none() {
                if !tally.counts && now - began >= warm_up {
                    (start, processor, tally.counts) = (now, processor_seconds(), true);
                }
                if tally.counts && now - start >= time {
                    tally.counts = false;
                    stop = Some((now, processor_seconds()));
                }
            }
            self.serve(&mut tally, now, stop.is_none());
        }
        let (stop, processor_stop) = stop.unwrap();
        Outcome {
            answers: tally.answers,
            seconds: (stop - start).as_secs_f64(),
            latencies: tally.latencies,
            processor_seconds: processor_stop - processor,
        }
    }

    /// Sends every request once; returns how long it took.
    pub fn run_once(&mut self, in_flight: usize) -> f64 {
        let mut tally = Tally::new();
        let began = Instant::now();
        let mut left: Vec<usize> = Vec::new();
        for lane in &mut self.lanes {
            let count = lane.requests.ends.len();
            lane.enqueue(in_flight.min(count), began);
            lane.flush();
            left.push(count - in_flight.min(count));
        }
        while self.waits() {
            let now = self.wait();
            for event in &self.events {
                let Token(token) = event.token();
                let lane = &mut self.lanes[token];
                let answered = lane.receive(&mut self.wire, &mut self.buffer, &mut tally, now);
                self.answered += answered as u64;
                let more = answered.min(left[token]);
                left[token] -= more;
                lane.enqueue(more, now);
                lane.flush();
            }
        }
        began.elapsed().as_secs_f64()
    }

    /// Sends `rate` requests a second whatever happens; a latency begins at the tick when its
    /// request was due, not when it could be sent.
    pub fn run_paced(&mut self, rate: f64, warm_up: Duration, time: Duration) -> Outcome {
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .unwrap();
        let period = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK_NANOS) };
        let every = Itimerspec { it_interval: period, it_value: period };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&timer);
        let mut source = mio::unix::SourceFd(&fd);
        self.poll.registry().register(&mut source, TIMER, Interest::READABLE).unwrap();

        let mut tally = Tally::new();
        let (began, processor) = (Instant::now(), processor_seconds());
        let (mut sent, mut tick) = (0, 0);
        let ticks = ticks_in(warm_up + time);
        while tick < ticks || self.waits() {
            let now = self.wait();
            let elapsed = now - began;
            tally.counts = elapsed >= warm_up;
            if self.events.iter().any(|event| event.token() == TIMER) {
                let mut expirations = [0; 8];
                // Only to be told of the next one; how many it were does not matter.
                let _ = rustix::io::read(&timer, &mut expirations);
            }
            self.serve(&mut tally, now, false);
            while tick < ticks_in(elapsed).min(ticks) {
                tick += 1;
                let due_at = began + TICK * tick;
                let due = (TICK * tick).as_secs_f64() * rate;
                while (sent as f64) < due {
                    let lane = sent % self.lanes.len();
                    self.lanes[lane].enqueue(1, due_at);
                    sent += 1;
                }
            }
            for lane in &mut self.lanes {
                lane.flush();
            }
        }
        self.poll.registry().deregister(&mut source).unwrap();
        Outcome {
            answers: tally.answers,
            seconds: time.as_secs_f64(),
            latencies: tally.latencies,
            processor_seconds: processor_seconds() - processor,
        }
    }

    fn waits(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.sent_at.is_empty())
    }

    fn wait(&mut self) -> Instant {
        loop {
            match self.poll.poll(&mut self.events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("poll: {error}"),
                Ok(()) => break,
            }
        }
        assert!(!self.events.is_empty(), "no answer for {PATIENCE:?}");
        Instant::now()
    }

    /// Reads what there is and, if told so, sends as many new requests as were answered.
    fn serve(&mut self, tally: &mut Tally, now: Instant, more: bool) {
        for event in &self.events {
            let Token(token) = event.token();
            let Some(lane) = self.lanes.get_mut(token) else { continue };
            let answered = lane.receive(&mut self.wire, &mut self.buffer, tally, now);
            self.answered += answered as u64;
            if more {
                lane.enqueue(answered, now);
            }
            lane.flush();
        }
    }
}

fn ticks_in(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() / u128::from(TICK_NANOS)).unwrap()
}

impl Lane {
    fn enqueue(&mut self, count: usize, now: Instant) {
        for _ in 0..count {
            let begin = self.next.checked_sub(1).map_or(0, |before| self.requests.ends[before]);
            self.unsent += self.requests.ends[self.next] - begin;
            for place in &self.requests.streams {
                let at = begin + place;
                self.requests.bytes[at..at + 4].copy_from_slice(&self.stream.to_be_bytes());
            }
            self.stream += 2;
            self.next = (self.next + 1) % self.requests.ends.len();
            self.sent_at.push_back(now);
        }
    }

    fn flush(&mut self) {
        while self.unsent > 0 {
            let circle = &self.requests.bytes;
            let end = circle.len().min(self.unsent_from + self.unsent);
            match self.socket.write(&circle[self.unsent_from..end]) {
                Ok(count) => {
                    self.unsent -= count;
                    self.unsent_from = (self.unsent_from + count) % circle.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("write: {error}"),
            }
        }
    }

    /// Returns how many answers arrived.
    fn receive(
        &mut self,
        wire: &mut Wire,
        buffer: &mut [u8],
        tally: &mut Tally,
        now: Instant,
    ) -> usize {
        let mut answered = 0;
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let room = buffer.len() - kept;
            let count = match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("read: {error}"),
            };
            let received = &buffer[..kept + count];
            let used = match wire.scan(received, &mut answered) {
                Ok(used) => used,
                Err(problem) => panic!("the server answered: {problem}"),
            };
            self.partial.clear();
            self.partial.extend_from_slice(&received[used..]);
            // A short read emptied the socket, and the next arrival is announced.
            if count < room {
                break;
            }
        }
        for _ in 0..answered {
            let sent_at = self.sent_at.pop_front().unwrap();
            if tally.counts {
                tally.answers += 1;
                let micros = now.saturating_duration_since(sent_at).as_micros();
                tally.latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
        }
        answered
    }
}
