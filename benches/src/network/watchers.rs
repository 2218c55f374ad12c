//! Watchers of everything, driven by one thread; each must see every event, in order. And watchers of single instances.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::rcp::{Session, first_frame, wal_offset};
use crate::workload::id;

const BUFFER_BYTES: usize = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Nothing for so long after the writer's end: what is missing will not come.
const SILENCE: Duration = Duration::from_secs(5);
/// What stands for "the writer still writes".
pub const UNKNOWN: u64 = u64::MAX;

/// What one watcher saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub events: u64,
    pub last_offset: u64,
    /// The sum of the offsets, to be compared with the writer's.
    pub offsets: u64,
    pub out_of_order: u64,
    /// The connection ended, by which the loss is at least not silent.
    pub closed: bool,
}

#[derive(Debug)]
struct Watcher {
    socket: TcpStream,
    partial: Vec<u8>,
    seen: Seen,
    /// Reads nothing before this.
    paused_until: Option<Instant>,
}

/// Subscriptions to everything, one on each connection.
#[derive(Debug)]
pub struct Watchers {
    poll: Poll,
    watchers: Vec<Watcher>,
}

impl Watchers {
    pub fn subscribe(address: SocketAddr, count: usize) -> Watchers {
        Watchers::begin(address, count, |_, session| drop(session.call("WATCH_ALL", "{}")))
    }

    /// Subscriptions to one instance each, `each` of them on a connection.
    pub fn follow(address: SocketAddr, instances: Range<usize>, each: usize) -> Watchers {
        let count = instances.len() / each;
        Watchers::begin(address, count, |connection, session| {
            let first = instances.start + connection * each;
            for instance in first..first + each {
                let id = id(instance);
                session.call("WATCH_INSTANCE", &format!(r#"{{"instance_id":"{id}"}}"#));
            }
        })
    }

    fn begin(
        address: SocketAddr,
        count: usize,
        mut begin: impl FnMut(usize, &mut Session),
    ) -> Watchers {
        let poll = Poll::new().unwrap();
        let subscribe = |token| {
            let mut session = Session::open(address).unwrap();
            begin(token, &mut session);
            let stream = session.into_stream();
            stream.set_nonblocking(true).unwrap();
            let mut socket = TcpStream::from_std(stream);
            poll.registry().register(&mut socket, Token(token), Interest::READABLE).unwrap();
            Watcher { socket, partial: Vec::new(), seen: Seen::default(), paused_until: None }
        };
        let watchers = (0..count).map(subscribe).collect();
        Watchers { poll, watchers }
    }

    /// One of them reads nothing for some time.
    pub fn pause(&mut self, watcher: usize, time: Duration) {
        self.watchers[watcher].paused_until = Some(Instant::now() + time);
    }

    /// Reads what comes until that is enough; returns how many events there were.
    pub fn drain(&mut self, is_enough: &AtomicBool) -> u64 {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        while !is_enough.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, Some(LOOK_EVERY)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.unwrap(),
            }
            for event in &events {
                self.watchers[event.token().0].receive(&mut buffer);
            }
        }
        self.watchers.iter().map(|watcher| watcher.seen.events).sum()
    }

    /// Reads until each saw `expected` events (known when the writer is done) or nothing comes any
    /// more; returns when the last event came and what each saw.
    pub fn read(&mut self, expected: &AtomicU64) -> (Instant, Vec<Seen>) {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut last = Instant::now();
        loop {
            match self.poll.poll(&mut events, Some(LOOK_EVERY)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.unwrap(),
            }
            let now = Instant::now();
            for event in &events {
                let watcher = &mut self.watchers[event.token().0];
                if watcher.paused_until.is_none() && watcher.receive(&mut buffer) {
                    last = now;
                }
            }
            for watcher in &mut self.watchers {
                // The arrivals of the pause were announced during it.
                if watcher.paused_until.is_some_and(|until| until <= now) {
                    watcher.paused_until = None;
                    watcher.receive(&mut buffer);
                    last = now;
                }
            }
            let expected = expected.load(Ordering::Acquire);
            let whole = self.watchers.iter().all(|watcher| watcher.seen.events >= expected);
            let paused = self.watchers.iter().any(|watcher| watcher.paused_until.is_some());
            let silent = expected != UNKNOWN && !paused && now - last > SILENCE;
            if whole || silent {
                let seen = self.watchers.iter().map(|watcher| watcher.seen.clone()).collect();
                return (last, seen);
            }
        }
    }
}

impl Watcher {
    /// Whether anything came.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let before = self.seen.events;
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let room = buffer.len() - kept;
            let count = match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => {
                    self.seen.closed = true;
                    break;
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.seen.closed = true;
                    break;
                }
            };
            let received = &buffer[..kept + count];
            let mut at = 0;
            while let Some((payload, end)) = first_frame(&received[at..]).unwrap() {
                self.seen.count(payload);
                at += end;
            }
            self.partial.clear();
            self.partial.extend_from_slice(&received[at..]);
            if count < room {
                break;
            }
        }
        self.seen.events > before
    }
}

impl Seen {
    /// Takes an event into account.
    pub fn count(&mut self, payload: &[u8]) {
        let offset = wal_offset(payload).unwrap_or_default();
        if offset <= self.last_offset {
            self.out_of_order += 1;
        }
        self.last_offset = offset;
        self.offsets = self.offsets.wrapping_add(offset);
        self.events += 1;
    }
}
