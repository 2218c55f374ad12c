//! Waiting in a thread for what is polled.
//!
//! It works inside the runtimes of callers too: nothing here enters or asks for one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

struct ThreadWaker(Thread);

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

/// A waker that ends the next or present [`park`] of this thread.
pub fn thread_waker() -> Waker {
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::noop().clone())
}

/// Waits until this thread's waker is used, or for `timeout`; may return for no reason.
pub fn park(timeout: Option<Duration>) {
    let is_ending = WAKER.try_with(|_| ()).is_err();
    match timeout {
        _ if is_ending => std::thread::park_timeout(AT_THE_END),
        Some(timeout) => std::thread::park_timeout(timeout),
        None => std::thread::park(),
    }
}

/// Polls until something is ready, or for `timeout`; `None` when that passed.
pub fn poll_for<T>(
    timeout: Option<Duration>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        park(left);
    }
}

/// Waits until `future` is ready.
pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        // Without a timeout there is always something.
        if let Some(output) = poll_for(None, |context| future.as_mut().poll(context)) {
            return output;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_future_that_another_thread_wakes_is_waited_for() {
        let (asked, waker) = (Arc::new(Barrier::new(2)), thread_waker());
        let waking = asked.clone();
        let other = std::thread::spawn(move || {
            waking.wait();
            waker.wake();
        });
        let mut polls = 0;
        let ready = wait(poll_fn(|_| {
            polls += 1;
            if polls == 1 {
                asked.wait();
                return Poll::Pending;
            }
            Poll::Ready("ready")
        }));
        assert_eq!(ready, "ready");
        other.join().unwrap();
    }

    #[test]
    fn what_does_not_come_in_time_is_nothing() {
        let mut polls = 0;
        let never = poll_for(Some(Duration::from_nanos(1)), |_| {
            polls += 1;
            Poll::<()>::Pending
        });
        assert!(never.is_none() && polls > 0);
        assert_eq!(poll_for(Some(Duration::ZERO), |_| Poll::Ready(1)), Some(1));
        assert_eq!(poll_for(Some(Duration::MAX), |_| Poll::Ready(2)), Some(2), "for ever");
    }

    #[test]
    fn a_thread_that_ends_can_still_wait() {
        struct AtTheEnd;
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let mut polls = 0;
                wait(poll_fn(|_| {
                    polls += 1;
                    if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
                }));
            }
        }
        thread_local! {
            static LAST: AtTheEnd = const { AtTheEnd };
        }
        // Made before the waker, so dropped after it.
        let thread = std::thread::spawn(|| {
            LAST.with(|_| ());
            drop(thread_waker());
        });
        thread.join().unwrap();
    }
}
