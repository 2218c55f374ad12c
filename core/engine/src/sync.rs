//! Locks, atomics and waiting, in one place so that the commit queue can be model-checked.

#[cfg(not(feature = "shuttle"))]
pub(crate) use real::*;
#[cfg(feature = "shuttle")]
pub(crate) use simulated::*;

#[cfg(not(feature = "shuttle"))]
mod real {
    use std::cell::Cell;

    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use rstmdb_threads::park::{park, thread_waker};

    thread_local! {
        static LANE: Cell<usize> = const { Cell::new(0) };
    }

    /// The number of the lane that the calling thread appended to last.
    #[inline]
    pub(crate) fn lane_hint() -> usize {
        LANE.get()
    }

    pub(crate) fn set_lane_hint(lane: usize) {
        LANE.set(lane);
    }

    /// So many lanes let every core append by itself; a few more let threads find a free one soon.
    pub(crate) fn lanes_max() -> usize {
        match std::thread::available_parallelism().map_or(1, usize::from) {
            1 => 1,
            cores => (cores * 2).min(128),
        }
    }
}

/// Alone on its cache lines: what several cores write must not take along what others read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(feature = "shuttle")]
mod simulated {
    use std::cell::Cell;
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

    shuttle::thread_local! {
        static LANE: Cell<usize> = Cell::new(0);
    }

    pub(crate) fn lane_hint() -> usize {
        LANE.with(Cell::get)
    }

    pub(crate) fn set_lane_hint(lane: usize) {
        LANE.with(|hint| hint.set(lane));
    }

    pub(crate) fn lanes_max() -> usize {
        3
    }
}
