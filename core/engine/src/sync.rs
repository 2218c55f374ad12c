//! Locks, atomics and waiting, in one place so that the commit queue can be model-checked.

#[cfg(not(feature = "shuttle"))]
pub(crate) use real::*;
#[cfg(feature = "shuttle")]
pub(crate) use simulated::*;

#[cfg(not(feature = "shuttle"))]
mod real {
    use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    pub(crate) use parking_lot::{Mutex, MutexGuard};

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

    /// A waker that ends the next or present [`park`] of this thread.
    pub(crate) fn thread_waker() -> Waker {
        WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::noop().clone())
    }

    /// What a thread has of its own is gone when handlers of its end run: nobody can wake it then, and
    /// it looks again soon.
    const AT_THE_END: Duration = Duration::from_millis(1);

    /// Waits until this thread's waker is used; may return for no reason.
    pub(crate) fn park(timeout: Option<Duration>) {
        let is_ending = WAKER.try_with(|_| ()).is_err();
        match timeout {
            _ if is_ending => std::thread::park_timeout(AT_THE_END),
            Some(timeout) => std::thread::park_timeout(timeout),
            None => std::thread::park(),
        }
    }
}

#[cfg(feature = "shuttle")]
mod simulated {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering,
    };

    /// A lock with the interface of the real one.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    struct ThreadWaker(shuttle::thread::Thread);

    impl Wake for ThreadWaker {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    pub(crate) fn thread_waker() -> Waker {
        Waker::from(Arc::new(ThreadWaker(shuttle::thread::current())))
    }

    pub(crate) fn park(_timeout: Option<Duration>) {
        shuttle::thread::park();
    }
}
