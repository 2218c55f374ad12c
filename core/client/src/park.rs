//! Waiting for a future in a thread.
//!
//! It works inside the runtimes of callers too: nothing here enters or asks for one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

struct ThreadWaker(std::thread::Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
}

/// What a thread has of its own is gone when handlers of its end run: nobody can wake it then, and it
/// looks again soon.
const AT_THE_END: Duration = Duration::from_millis(1);

fn waker() -> Waker {
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::noop().clone())
}

fn park(timeout: Option<Duration>) {
    let is_ending = WAKER.try_with(|_| ()).is_err();
    match timeout {
        _ if is_ending => std::thread::park_timeout(AT_THE_END),
        Some(timeout) => std::thread::park_timeout(timeout),
        None => std::thread::park(),
    }
}

/// Waits until `future` is ready.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => park(None),
        }
    }
}

/// The deadline passed.
pub(crate) struct TimedOut;

/// Polls until something is ready or the deadline passes.
pub(crate) fn poll_until<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, TimedOut> {
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return Ok(value);
        }
        match deadline {
            None => park(None),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(TimedOut);
                }
                park(Some(left));
            }
        }
    }
}
