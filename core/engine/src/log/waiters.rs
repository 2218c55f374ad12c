//! Who waits for which offset.

use std::collections::BTreeMap;
use std::task::Waker;

use rstmdb_types::Offset;

use crate::sync::{AtomicUsize, Mutex, Ordering};

/// Thousands may wait at once, so finding one must not mean looking at all.
pub(crate) struct Waiters {
    list: Mutex<BTreeMap<Offset, Vec<Waker>>>,
    count: AtomicUsize,
}

impl Waiters {
    pub(crate) fn new() -> Waiters {
        Waiters { list: Mutex::new(BTreeMap::new()), count: AtomicUsize::new(0) }
    }

    /// About how many wait.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn register(&self, offset: Offset, waker: &Waker) {
        let mut list = self.list.lock();
        let wakers = list.entry(offset).or_default();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.count.store(list.len(), Ordering::SeqCst);
    }

    /// Wakes everybody whose offset has come.
    pub(crate) fn wake(&self, upto: Offset) {
        if self.count() == 0 {
            return;
        }
        let mut list = self.list.lock();
        let later = upto.checked_add(1).map(|next| list.split_off(&next)).unwrap_or_default();
        let ready = std::mem::replace(&mut *list, later);
        self.count.store(list.len(), Ordering::SeqCst);
        drop(list);
        for waker in ready.into_values().flatten() {
            waker.wake();
        }
    }
}
