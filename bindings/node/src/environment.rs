//! One JavaScript thread: its tickets, its databases, and the way back to it.
//!
//! Answers of all databases of a thread gather in one queue, and one call of JavaScript takes what
//! is there. That way of calling does not keep the process alive; the package does, while a
//! ticket is open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use napi::Status;
use napi::bindgen_prelude::{Either, FnArgs};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use parking_lot::Mutex;
use rstmdb_bridge as bridge;
use rstmdb_bridge::log;

use crate::{Complete, TextOrTicket, answer};

type Batch = FnArgs<(Vec<u32>, Vec<String>)>;
/// Without an error as first argument, and without keeping the event loop alive.
type Call = ThreadsafeFunction<(), (), Batch, Status, false, true>;

/// The number of no ticket: a message of the log.
const LOG: u32 = 0;
/// So many messages wait for a busy thread; more are lost.
const LINES_MAX: usize = 10_000;

/// What the databases, watches and tickets of one JavaScript thread share.
pub(crate) struct Hub {
    call: OnceLock<Call>,
    queue: Mutex<CallbackQueue>,
    waiting: Mutex<OpenTickets>,
    /// What JavaScript begins before it comes back to its event loop.
    pub(crate) turn: bridge::Turn,
}

/// What waits for JavaScript.
#[derive(Default)]
struct CallbackQueue {
    tickets: Vec<u32>,
    answers: Vec<String>,
    /// Whether JavaScript was called and has not taken the queue yet.
    called: bool,
}

/// What waits for answers.
#[derive(Default)]
struct OpenTickets {
    last: u32,
    tickets: HashMap<u32, bridge::CallbackTicket>,
    databases: HashMap<u32, bridge::Database>,
}

impl OpenTickets {
    /// A number that no open ticket has; numbers begin anew after 2^32.
    fn number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            let taken = self.tickets.contains_key(&self.last)
                || self.databases.contains_key(&self.last)
                || self.last == LOG;
            if !taken {
                return self.last;
            }
        }
    }
}

impl Hub {
    pub(crate) fn new(complete: Complete<'_>) -> napi::Result<Arc<Hub>> {
        let hub = Arc::new(Hub {
            call: OnceLock::new(),
            queue: Mutex::default(),
            waiting: Mutex::default(),
            turn: bridge::Turn::default(),
        });
        // Not the hub itself, which owns the function.
        let back: Weak<Hub> = Arc::downgrade(&hub);
        let call = complete.build_threadsafe_function::<()>().weak::<true>().build_callback(
            move |_| {
                let batch = back.upgrade().map(|hub| hub.take()).unwrap_or_default();
                Ok(Batch::from(batch))
            },
        )?;
        drop(hub.call.set(call));
        Ok(hub)
    }

    /// The text of what is ready, or a ticket for what is not.
    pub(crate) fn outcome<T, F>(
        self: &Arc<Self>,
        started: bridge::Started<T>,
        text: F,
    ) -> TextOrTicket
    where
        T: Send + 'static,
        F: FnOnce(T) -> String + Send + 'static,
    {
        let waiting = match started {
            bridge::Started::Ready(Ok(value)) => return Either::A(text(value)),
            bridge::Started::Ready(Err(error)) => return Either::A(answer::failure(&error)),
            bridge::Started::Waiting(waiting) => waiting,
        };
        let number = self.waiting.lock().number();
        let hub = Arc::clone(self);
        // JavaScript says when its turn is over, whatever began it.
        let (ticket, _) = waiting.finish_in(&self.turn, move |result| {
            let answer = result.map_or_else(|error| answer::failure(&error), text);
            hub.complete(number, answer);
        });
        // JavaScript takes the answer later on this thread, so the ticket is there by then.
        self.waiting.lock().tickets.insert(number, ticket);
        Either::B(number)
    }

    /// Sends messages of `level` and above here.
    pub(crate) fn log(self: &Arc<Self>, level: &str) -> bridge::types::Result<()> {
        if level == "off" {
            return log::set(log::LogLevel::ERROR, None);
        }
        let parsed = level.parse().map_err(|_| {
            let known = "error, warn, info, debug, trace, off";
            let message = format!("{level:?} is no level; use one of {known}");
            bridge::types::Error::invalid("invalid_request", message)
        })?;
        let back = Arc::downgrade(self);
        let receiver = move |level: log::LogLevel, target: &str, text: &str| {
            if let Some(hub) = back.upgrade() {
                let level = level.as_str().to_lowercase();
                hub.complete(LOG, answer::texts(&[&level, target, text]));
            }
        };
        log::set(parsed, Some(Arc::new(receiver)))
    }

    fn complete(self: &Arc<Self>, number: u32, answer: String) {
        let first = {
            let mut queue = self.queue.lock();
            if number == LOG && queue.tickets.len() >= LINES_MAX {
                return;
            }
            queue.tickets.push(number);
            queue.answers.push(answer);
            !std::mem::replace(&mut queue.called, true)
        };
        if !first {
            return;
        }
        let hub = Arc::clone(self);
        // Once all are there that come together.
        if let Err(call) = bridge::after_group(Box::new(move || hub.call())) {
            call();
        }
    }

    fn call(&self) {
        if let Some(call) = self.call.get() {
            // A thread that has ended takes no answers.
            let _ = call.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// All answers that are there.
    fn take(&self) -> (Vec<u32>, Vec<String>) {
        let queue = std::mem::take(&mut *self.queue.lock());
        let mut waiting = self.waiting.lock();
        for number in &queue.tickets {
            waiting.tickets.remove(number);
        }
        (queue.tickets, queue.answers)
    }

    pub(crate) fn cancel(&self, number: u32) -> bool {
        let ticket = self.waiting.lock().tickets.remove(&number);
        ticket.is_some_and(|ticket| ticket.cancel())
    }

    /// Remembers a database, to close it when the thread ends.
    pub(crate) fn enter(&self, database: &bridge::Database) -> u32 {
        let mut waiting = self.waiting.lock();
        let number = waiting.number();
        waiting.databases.insert(number, database.clone());
        number
    }

    pub(crate) fn forget(&self, number: u32) {
        let database = self.waiting.lock().databases.remove(&number);
        drop(database);
    }

    /// The thread ends: nobody takes answers any more, and directories are free for others.
    pub(crate) fn leave(&self) {
        let left = std::mem::take(&mut *self.waiting.lock());
        for ticket in left.tickets.into_values() {
            ticket.cancel();
        }
        let closing: Vec<_> = left.databases.values().map(bridge::Database::close_start).collect();
        for closing in closing {
            // There is nobody left to tell.
            drop(closing.wait());
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("tickets", &self.waiting.lock().tickets.len()).finish()
    }
}
