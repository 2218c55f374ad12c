//! Callbacks of a database that wait for its log, gathered: what one sync covers is called back in one go.
//!
//! The log is asked about the first alone, and one wake-up is for all that are safe by then: where a thread of callbacks
//! is free it writes itself, and then calls back without a wake-up. What callers
//! begin meanwhile, in callbacks or in a turn of their event loop, is asked for together when that turn is
//! over: one sync covers all of it. A turn that takes longer than it pays off, or than [`GATHERING_MAX`], does not
//! hold it up, whatever its thread does or waits for, and callbacks that take long hold up callbacks alone:
//! [`lookout`] asks then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb::QueuedWrite;

use crate::active::Counted;
use crate::lookout::{self, Gathering};
use crate::{callbacks, error, fork};

/// Writes are gathered for as long as the last one took, or half of that, and never longer than this.
const GATHERING_MAX: Duration = Duration::from_millis(2);
/// The first ones, when nobody knows yet how long a write takes.
const FIRST_GATHERING_MAX: Duration = Duration::from_millis(50);
/// Looked after for so many looks with nothing to see, so that a thread is not woken for each write.
const IDLE_LOOKS_MAX: u32 = 50;

/// A callback that waits for the log.
pub(crate) trait Completion: Send + Sync {
    /// Whether it can be called, or was given up.
    fn is_ready(&self) -> bool;

    /// Gets the write going and leaves a waker for its end; says whether it is ready.
    fn ask(&self, context: &mut Context<'_>) -> bool;

    /// What it waits for; nothing when it was given up.
    fn write(&self) -> Option<QueuedWrite>;

    /// Calls back, once it is ready. It is under way until what this gives is dropped.
    fn complete(&self) -> Option<Counted>;
}

/// A turn of an event loop: the writes that are begun in it, on whichever databases, begin together at its end.
#[derive(Debug, Default)]
pub struct Turn {
    of: Mutex<Vec<Arc<Completions>>>,
}

impl Turn {
    /// The turn is over.
    pub fn end(&self) {
        let of = std::mem::take(&mut *self.of.lock());
        for completions in of {
            if completions.process == fork::process() {
                completions.end_turn();
            } else {
                // A child of a fork: threads that it does not have may hold the locks.
                std::mem::forget(completions);
            }
        }
    }

    /// Whether the turn begins with this.
    fn join(&self, completions: &Arc<Completions>) -> bool {
        let mut of = self.of.lock();
        let begins = of.is_empty();
        if !of.iter().any(|known| Arc::ptr_eq(known, completions)) {
            of.push(completions.clone());
        }
        begins
    }
}

/// The callbacks of one database that wait for its log.
pub(crate) struct Completions {
    process: u64,
    gathered: Mutex<Gathered>,
    /// Whether a thread of callbacks is about to look.
    is_scheduled: AtomicBool,
}

impl std::fmt::Debug for Completions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Completions({})", self.gathered.lock().waiting.len())
    }
}

#[derive(Default)]
struct Gathered {
    waiting: VecDeque<Arc<dyn Completion>>,
    /// Since when the log works for the first of them.
    asked: Option<Instant>,
    /// How long it worked last time, once that is known.
    took: Option<Duration>,
    /// How long whoever wrote for them did.
    wrote: Option<Duration>,
    /// Groups of callbacks that run now.
    turns: usize,
    /// Whether somebody said that a turn of theirs will end.
    is_promised: bool,
    /// When the present turn began.
    since: Option<Instant>,
    /// Whether somebody looks now and then.
    is_looked_after: bool,
    /// How often nothing was to be seen.
    idle_looks: u32,
    /// The log has answered, and at the last look nobody had called back yet.
    is_left: bool,
}

impl Gathered {
    /// Whether more is to come that the same write can cover.
    fn grows(&mut self) -> bool {
        if self.turns == 0 && !self.is_promised {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let longest = match self.took {
            None => FIRST_GATHERING_MAX,
            Some(took) if self.turns > 0 => took.min(GATHERING_MAX),
            // Two threads are woken on top, in which time a disk that is quick would have written.
            Some(took) => (took / 2).min(GATHERING_MAX),
        };
        since.elapsed() <= longest
    }
}

impl Completions {
    pub(crate) fn new() -> Arc<Completions> {
        Arc::new(Completions {
            process: fork::process(),
            gathered: Mutex::default(),
            is_scheduled: AtomicBool::new(false),
        })
    }

    /// Waits with the others; says whether `turn` begins with it.
    pub(crate) fn push(
        self: &Arc<Self>,
        completion: Arc<dyn Completion>,
        turn: Option<&Turn>,
    ) -> bool {
        let begins = turn.is_some_and(|turn| turn.join(self));
        let mut gathered = self.gathered.lock();
        gathered.waiting.push_back(completion);
        gathered.is_promised |= turn.is_some();
        if !self.ask_unless_it_grows(&mut gathered) && !gathered.is_looked_after {
            gathered.is_looked_after = lookout::look_after(self.clone());
            if !gathered.is_looked_after {
                self.ask(&mut gathered);
            }
        }
        begins
    }

    /// A turn of the caller is over: what was begun in it is written now.
    pub(crate) fn end_turn(self: &Arc<Self>) {
        let mut gathered = self.gathered.lock();
        gathered.is_promised = false;
        if gathered.turns == 0 {
            gathered.since = None;
        }
        self.ask_unless_it_grows(&mut gathered);
    }

    /// Says whether the log was asked.
    fn ask_unless_it_grows(self: &Arc<Self>, gathered: &mut Gathered) -> bool {
        if gathered.asked.is_some() || gathered.waiting.is_empty() || gathered.grows() {
            return false;
        }
        self.ask(gathered);
        true
    }

    /// Asks the log about the first that it knows nothing of yet: a write covers all.
    fn ask(self: &Arc<Self>, gathered: &mut Gathered) {
        let is_again = gathered.asked.is_some();
        let asked = if is_again { gathered.waiting.back() } else { gathered.waiting.front() };
        let Some(asked) = asked.filter(|asked| !(is_again && asked.is_ready())) else { return };
        if !is_again && !asked.is_ready() && self.write(&**asked) {
            gathered.asked = Some(Instant::now());
            return;
        }
        let waker = Waker::from(self.clone());
        if asked.ask(&mut Context::from_waker(&waker)) {
            waker.wake();
        }
        gathered.asked.get_or_insert_with(Instant::now);
    }

    /// Has a thread of callbacks write, if one is free for it.
    fn write(self: &Arc<Self>, asked: &dyn Completion) -> bool {
        let Some(write) = asked.write() else { return false };
        let completions = self.clone();
        callbacks::wait(move || {
            Box::new(move || {
                let begun = Instant::now();
                let written = error::guard(|| {
                    write.wait();
                    Ok(())
                });
                if let Err(error) = written {
                    tracing::error!("{error}");
                }
                completions.gathered.lock().wrote = Some(begun.elapsed());
                completions.wake();
            })
        })
    }

    /// Runs on a thread of callbacks.
    fn deliver(self: Arc<Self>) {
        self.is_scheduled.store(false, Ordering::SeqCst);
        let ready: Vec<_> = {
            let mut gathered = self.gathered.lock();
            if let Some(asked) = gathered.asked.take() {
                gathered.took = gathered.wrote.take().or_else(|| Some(asked.elapsed()));
            }
            gathered.is_left = false;
            gathered.turns += 1;
            gathered.since.get_or_insert_with(Instant::now);
            let ready = gathered.waiting.iter().take_while(|first| first.is_ready()).count();
            gathered.waiting.drain(..ready).collect()
        };
        let counted: Vec<_> = ready.iter().filter_map(|completion| completion.complete()).collect();
        // Behind what callbacks left for the end of their group, for which closing waits too.
        let ended = move || {
            drop(counted);
            let mut gathered = self.gathered.lock();
            gathered.turns -= 1;
            if gathered.turns == 0 && !gathered.is_promised {
                gathered.since = None;
            }
            self.ask_unless_it_grows(&mut gathered);
        };
        if let Err(ended) = callbacks::after_group(Box::new(ended)) {
            ended();
        }
    }
}

impl Gathering for Completions {
    fn look(self: Arc<Self>) -> bool {
        let mut gathered = self.gathered.lock();
        if gathered.waiting.is_empty() {
            gathered.idle_looks += 1;
            gathered.is_looked_after = gathered.idle_looks < IDLE_LOOKS_MAX;
            return gathered.is_looked_after;
        }
        gathered.idle_looks = 0;
        let is_answered = gathered.asked.is_some() && self.is_scheduled.load(Ordering::SeqCst);
        let is_kept_up = gathered.asked.is_some() && !callbacks::hurry();
        if is_kept_up || (is_answered && gathered.is_left) {
            // The threads of callbacks are busy. What was begun since the log was asked need not wait for them.
            self.ask(&mut gathered);
        } else {
            self.ask_unless_it_grows(&mut gathered);
        }
        gathered.is_left = is_answered;
        true
    }
}

impl Wake for Completions {
    /// The log calls this: it takes no lock that a caller may hold.
    fn wake(self: Arc<Self>) {
        if !self.is_scheduled.swap(true, Ordering::SeqCst) {
            callbacks::run(move || self.deliver());
        }
    }
}

#[cfg(test)]
mod tests;
