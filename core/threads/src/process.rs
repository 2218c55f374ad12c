//! What belongs to the process as a whole, and what becomes of it in a child made by `fork`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// Tells rstmdb that this process is a child made by `fork`: threads of its parent are not there.
///
/// Databases opened after this get threads of their own. Those that were opened before it may not be
/// used any more, nor dropped: their locks may be held by threads that do not exist. It only sets a
/// number, so it may be called where little else is allowed, as in a handler of `pthread_atfork`.
pub fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How often this process, and those it descends from, were told of a fork.
pub fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// A value of which every process has its own, made when it is first asked for.
///
/// A child makes a new one without touching what it inherited: that is neither used there nor dropped,
/// since its locks may be held for ever, and it holds what belongs to the parent's threads.
#[derive(Debug)]
pub struct PerProcess<T>(ArcSwapOption<Own<T>>);

#[derive(Debug)]
struct Own<T> {
    /// The value of [`forks`] in the process whose it is.
    process: u64,
    value: Arc<T>,
}

impl<T: Default> PerProcess<T> {
    /// Nothing yet, for a `static`.
    pub const fn new() -> PerProcess<T> {
        PerProcess(ArcSwapOption::const_empty())
    }

    /// The value of this process.
    pub fn get(&self) -> Arc<T> {
        loop {
            let found = self.0.load();
            let process = forks();
            if let Some(own) = found.as_ref().filter(|own| own.process == process) {
                return own.value.clone();
            }
            let new = Arc::new(Own { process, value: Arc::default() });
            let before = self.0.compare_and_swap(&found, Some(new));
            std::mem::forget(Guard::into_inner(before));
        }
    }
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(Arc<()>);

    impl Default for Counted {
        fn default() -> Counted {
            Counted(LIVING.with(Clone::clone))
        }
    }

    thread_local! {
        static LIVING: Arc<()> = Arc::new(());
    }

    #[test]
    fn a_child_has_a_value_of_its_own_and_does_not_drop_its_parents() {
        static VALUE: PerProcess<Counted> = PerProcess::new();
        let parent = Arc::as_ptr(&VALUE.get());
        assert_eq!(Arc::as_ptr(&VALUE.get()), parent, "one for all who ask");
        let living = || LIVING.with(Arc::strong_count);
        assert_eq!(living(), 2);
        let before = forks();
        after_fork();
        assert_eq!(forks(), before + 1);
        let child = VALUE.get();
        assert_ne!(Arc::as_ptr(&child), parent);
        assert!(Arc::ptr_eq(&child.0, &VALUE.get().0));
        assert_eq!(living(), 3, "the parent's is still there");
    }
}
