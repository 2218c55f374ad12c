//! A clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rstmdb_engine::storage::Clock;

/// A clock that stands still until it is moved, for tests of what depends on time. Cloning gives
/// another handle to the same clock.
///
/// ```
/// use rstmdb::{ManualClock, Options, blocking::Database};
///
/// let clock = ManualClock::new(1_700_000_000_000);
/// let db = Database::open_with_clock("mem:", Options::default(), clock.clone())?;
/// clock.advance(60_000); // a minute later, for this database
/// db.close()?;
/// # Ok::<(), rstmdb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `now_ms`, in milliseconds since 1970.
    pub fn new(now_ms: i64) -> ManualClock {
        ManualClock(Arc::new(AtomicI64::new(now_ms)))
    }

    /// Moves the clock on by `ms` milliseconds; to the end of time at most.
    pub fn advance(&self, ms: i64) {
        let moved = |now: i64| Some(now.saturating_add(ms));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        ManualClock::now_ms(self)
    }
}
