//! A clock that stands still.

use std::sync::atomic::{AtomicI64, Ordering};

use rstmdb_engine::storage::Clock;

/// 2026-01-01T00:00:00Z, where a [`TestClock`] starts.
pub const START_MS: i64 = 1_767_225_600_000;

/// Time that passes only on request.
#[derive(Debug)]
pub struct TestClock {
    now_ms: AtomicI64,
}

impl TestClock {
    /// A clock at [`START_MS`].
    #[must_use]
    pub fn new() -> Self {
        Self::at(START_MS)
    }

    /// A clock at this time.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self { now_ms: AtomicI64::new(now_ms) }
    }

    /// Lets time pass; backwards too.
    pub fn advance_ms(&self, elapsed_ms: i64) {
        self.now_ms.fetch_add(elapsed_ms, Ordering::SeqCst);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_only_on_request() {
        let clock = TestClock::new();
        assert_eq!(clock.now_ms(), START_MS);
        clock.advance_ms(1_500);
        assert_eq!(clock.now_ms(), START_MS + 1_500);
        clock.advance_ms(-1_501);
        assert_eq!(clock.now_ms(), START_MS - 1);
    }
}
