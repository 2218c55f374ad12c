//! Waiting for a future in a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
}

/// What a thread has of its own is gone when handlers of its end run: nobody can wake it then, and it
/// looks again soon.
const AT_THE_END: Duration = Duration::from_millis(1);

fn park(timeout: Option<Duration>) {
    let is_ending = WAKER.try_with(|_| ()).is_err();
    match timeout {
        _ if is_ending => std::thread::park_timeout(AT_THE_END),
        Some(timeout) => std::thread::park_timeout(timeout),
        None => std::thread::park(),
    }
}

/// Waits until `future` is ready, or for `timeout`; `None` when that passed.
pub(crate) fn wait<F: Future + ?Sized>(
    mut future: Pin<&mut F>,
    timeout: Option<Duration>,
) -> Option<F::Output> {
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::noop().clone());
    let mut context = Context::from_waker(&waker);
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        let Some(deadline) = deadline else {
            park(None);
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        park(Some(left));
    }
}

/// Waits until `future` is ready.
pub(crate) fn complete<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Some(output) = wait(future.as_mut(), None) {
            return output;
        }
    }
}
