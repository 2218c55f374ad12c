//! The place where an answer is put for the one who waits for it. It belongs to no runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Takes one value from one thread to another.
#[derive(Debug)]
pub(crate) struct Oneshot<T>(Mutex<OneshotState<T>>);

#[derive(Debug)]
enum OneshotState<T> {
    Waiting(Option<Waker>),
    Done(T),
    Taken,
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Arc<Oneshot<T>> {
        Arc::new(Oneshot(Mutex::new(OneshotState::Waiting(None))))
    }

    /// Puts the value; a second one is dropped.
    pub(crate) fn put(&self, value: T) {
        let mut state = self.0.lock();
        if let OneshotState::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = OneshotState::Done(value);
            // Whoever is woken must not find the lock held.
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        !matches!(*self.0.lock(), OneshotState::Waiting(_))
    }

    /// Takes the value; nothing is ready a second time.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock();
        match &mut *state {
            OneshotState::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            OneshotState::Taken => Poll::Pending,
            OneshotState::Done(_) => match std::mem::replace(&mut *state, OneshotState::Taken) {
                OneshotState::Done(value) => Poll::Ready(value),
                _ => Poll::Pending,
            },
        }
    }

    /// Waits for the value, on any executor.
    pub(crate) async fn take(&self) -> T {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}
