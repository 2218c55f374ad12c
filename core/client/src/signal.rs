//! Something that happens once, for any number of those who wait for it.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Raised once, and for good.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<(bool, Vec<Waker>)>);

impl Signal {
    pub(crate) fn raise(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.lock().0
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|waker| waker.will_wake(context.waker())) {
            state.1.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until it is raised, on any executor.
    pub(crate) async fn raised(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}
