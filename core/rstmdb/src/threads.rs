//! A few threads for work on files, so that no executor waits for a disk. They begin when there is
//! work and end when there was none for a while.
//!
//! Known libraries keep such threads in a global that a fork leaves useless; here a child starts
//! anew, without touching what it inherited.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::process::forks;

/// More jobs wait for their turn: disks do not get faster by more threads.
const THREADS_MAX: usize = 64;
const IDLE: Duration = Duration::from_secs(2);

static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    /// The value of [`forks`] in the process whose threads these are.
    process: u64,
    // Not those of parking_lot: they note who waits in a table of the process, where a child of fork
    // would find threads that it does not have.
    queue: Mutex<JobQueue>,
    ready: Condvar,
}

#[derive(Default)]
struct JobQueue {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

/// Runs `work` on one of the threads. It runs to its end also when the result is not waited for.
pub(crate) fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Working<T> {
    let result = Arc::new(Mutex::new(WorkState::Working(None)));
    let place = result.clone();
    Pool::current().run(Box::new(move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        let before = std::mem::replace(&mut *locked(&place), WorkState::Done(done));
        if let WorkState::Working(Some(waker)) = before {
            waker.wake();
        }
    }));
    Working(result)
}

/// Work on another thread; awaiting it gives its result.
pub(crate) struct Working<T>(Arc<Mutex<WorkState<T>>>);

enum WorkState<T> {
    Working(Option<Waker>),
    Done(std::thread::Result<T>),
    Taken,
}

impl<T> std::fmt::Debug for Working<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Working")
    }
}

impl<T> Future for Working<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = locked(&self.0);
        if let WorkState::Working(waker) = &mut *state {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        let done = std::mem::replace(&mut *state, WorkState::Taken);
        drop(state);
        match done {
            WorkState::Done(Ok(value)) => Poll::Ready(value),
            WorkState::Done(Err(panic)) => resume_unwind(panic),
            WorkState::Working(_) | WorkState::Taken => Poll::Pending,
        }
    }
}

impl Pool {
    fn current() -> Arc<Pool> {
        loop {
            let found = POOL.load();
            if let Some(pool) = &*found
                && pool.process == forks()
            {
                return pool.clone();
            }
            let new =
                Arc::new(Pool { process: forks(), queue: Mutex::default(), ready: Condvar::new() });
            let before = POOL.compare_and_swap(&found, Some(new));
            // Jobs of the parent must not be dropped in the child: they hold its databases.
            std::mem::forget(arc_swap::Guard::into_inner(before));
        }
    }

    fn run(self: Arc<Self>, job: Job) {
        let mut queue = locked(&self.queue);
        queue.jobs.push_back(job);
        if queue.jobs.len() <= queue.idle {
            self.ready.notify_one();
            return;
        }
        if queue.threads >= THREADS_MAX {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("rstmdb-files".to_owned());
        if thread.spawn(move || pool.work()).is_err() {
            // Without a thread of its own the work is done by its caller, if by nobody else.
            locked(&self.queue).threads -= 1;
            let job = locked(&self.queue).jobs.pop_front();
            if let Some(job) = job {
                job();
            }
        }
    }

    fn work(&self) {
        let mut queue = locked(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = locked(&self.queue);
                continue;
            }
            queue.idle += 1;
            let (woken, wait) =
                self.ready.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if wait.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

/// Nothing here panics under a lock, so what it guards is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
