//! The place where an answer is put for the one who waits for it. It belongs to no runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Takes one value from one thread to another.
#[derive(Debug)]
pub(crate) struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Done(T),
    Taken,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Arc<Slot<T>> {
        Arc::new(Slot(Mutex::new(State::Waiting(None))))
    }

    /// Puts the value; a second one is dropped.
    pub(crate) fn put(&self, value: T) {
        let mut state = self.0.lock();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Done(value);
            // Whoever is woken must not find the lock held.
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        !matches!(*self.0.lock(), State::Waiting(_))
    }

    /// Takes the value; nothing is ready a second time.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            State::Taken => Poll::Pending,
            State::Done(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Done(value) => Poll::Ready(value),
                _ => Poll::Pending,
            },
        }
    }

    /// Waits for the value, on any executor.
    pub(crate) async fn take(&self) -> T {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}
