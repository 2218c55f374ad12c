//! Requests in flight: each is sent when it is handed over, the answers are taken in that order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

enum InFlightSlot<'a, T> {
    Answered(T),
    Waiting(Waiting<'a, T>),
}

/// A queue of requests on their way.
pub(crate) struct InFlight<'a, T> {
    queue: VecDeque<InFlightSlot<'a, T>>,
}

impl<T> std::fmt::Debug for InFlight<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight({})", self.queue.len())
    }
}

impl<'a, T> InFlight<'a, T> {
    pub(crate) fn new() -> InFlight<'a, T> {
        InFlight { queue: VecDeque::new() }
    }

    /// Sends a request, or what comes to it in a database in this process.
    pub(crate) fn push(&mut self, request: impl Future<Output = T> + 'a) {
        let mut request: Waiting<'a, T> = Box::pin(request);
        // The first poll sends; who waits for the answer polls again.
        let slot = match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => InFlightSlot::Answered(answer),
            Poll::Pending => InFlightSlot::Waiting(request),
        };
        self.queue.push_back(slot);
    }

    /// Waits for the answer to the oldest request; None when there is none.
    pub(crate) fn pop(&mut self) -> Option<T> {
        Some(match self.queue.pop_front()? {
            InFlightSlot::Answered(answer) => answer,
            InFlightSlot::Waiting(request) => futures_lite::future::block_on(request),
        })
    }
}
