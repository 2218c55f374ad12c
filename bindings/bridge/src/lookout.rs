//! A thread that gets writes going that were gathered and then left: by a turn that does not end, or by
//! callbacks that do not return.
//!
//! It looks now and then while a database has writes to gather, so nobody wakes it for each of them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rstmdb_threads::process::PerProcess;

/// What has writes to gather.
pub(crate) trait Gathering: Send + Sync {
    /// Gets those going that were left; says whether to look again.
    fn look(self: Arc<Self>) -> bool;
}

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(1);

static LOOKOUT: PerProcess<Lookout> = PerProcess::new();

// Not the locks of parking_lot: see `callbacks`.
#[derive(Default)]
struct Lookout {
    new: Mutex<NewOnes>,
    has_new: Condvar,
}

#[derive(Default)]
struct NewOnes {
    of: Vec<Arc<dyn Gathering>>,
    has_thread: bool,
}

/// Looks after these until [`Gathering::look`] says that they need it no more. Says no when the system has
/// no thread for that.
pub(crate) fn look_after(gathering: Arc<dyn Gathering>) -> bool {
    let lookout = LOOKOUT.get();
    let mut new = lookout.new.lock().unwrap_or_else(PoisonError::into_inner);
    if !new.has_thread {
        let working = lookout.clone();
        let thread = std::thread::Builder::new().name("rstmdb-lookout".into());
        new.has_thread = thread.spawn(move || working.work()).is_ok();
    }
    if new.has_thread {
        new.of.push(gathering);
        lookout.has_new.notify_one();
    }
    new.has_thread
}

impl Lookout {
    fn work(&self) {
        let mut known: Vec<Arc<dyn Gathering>> = Vec::new();
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            known.append(&mut new.of);
            if known.is_empty() {
                new = self.has_new.wait(new).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.has_new.wait_timeout(new, PAUSE);
            drop(waited);
            known.retain(|gathering| gathering.clone().look());
            new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Wants so many looks.
    struct Looks(Mutex<(usize, Sender<usize>)>);

    impl Gathering for Looks {
        fn look(self: Arc<Self>) -> bool {
            let (left, told) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *left = left.saturating_sub(1);
            let _ = told.send(*left);
            *left > 0
        }
    }

    #[test]
    fn it_looks_until_nobody_wants_it_and_again_when_somebody_does() {
        for _ in 0..2 {
            let told: Vec<_> = [3, 1]
                .map(|wanted| {
                    let (sender, told) = channel();
                    assert!(look_after(Arc::new(Looks(Mutex::new((wanted, sender))))));
                    told
                })
                .into();
            // They end because what was looked after is let go.
            let looks: Vec<Vec<usize>> = told.iter().map(|told| told.iter().collect()).collect();
            assert_eq!(looks, [vec![2, 1, 0], vec![0]]);
        }
    }
}
