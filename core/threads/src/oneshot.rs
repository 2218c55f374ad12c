//! The place where a value is put for the one who waits for it, in another thread. It belongs to no
//! runtime.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Takes one value from one thread to another.
// The lock is not that of parking_lot: that notes who waits in a table of the process, where a child of
// a fork would find threads that it does not have.
#[derive(Debug)]
pub struct Oneshot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Done(T),
    Taken,
}

impl<T> Oneshot<T> {
    /// A place for a value.
    pub fn new() -> Arc<Oneshot<T>> {
        Arc::new(Oneshot(Mutex::new(State::Waiting(None))))
    }

    /// Puts the value; a second one is dropped.
    pub fn put(&self, value: T) {
        let mut state = self.state();
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

    /// Whether taking it would not wait.
    pub fn is_ready(&self) -> bool {
        !matches!(*self.state(), State::Waiting(_))
    }

    /// Takes the value; nothing is ready a second time.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state();
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
    pub async fn take(&self) -> T {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// Nothing here panics under the lock, so what it guards is whole.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::park::{poll_for, wait};

    #[test]
    fn a_value_is_taken_once_and_a_second_one_is_dropped() {
        let oneshot = Oneshot::new();
        assert!(!oneshot.is_ready());
        let other = oneshot.clone();
        let thread = std::thread::spawn(move || {
            other.put(1);
            other.put(2);
        });
        assert_eq!(wait(oneshot.take()), 1);
        thread.join().unwrap();
        assert!(oneshot.is_ready());
        let again = poll_for(Some(std::time::Duration::ZERO), |context| oneshot.poll(context));
        assert_eq!(again, None);
    }
}
