//! What time it is for commands: the clock's time, unless the clock was set while the process ran.
//!
//! Log time is the running maximum of stamps, kept by the queue. Here a stamp is made. The wall clock
//! may drift and may step by a little; a larger step, either way, is not taken over: time goes on as
//! the monotonic clock does, until the database is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_types::TimestampMs;

use crate::storage::Clock;

/// A step of the wall clock up to this is taken over.
const STEP_MS: i64 = 5_000;
/// The clocks are compared when the wall clock moved on by this, or back.
const COMPARE_MS: i64 = 1_000;
/// A clock further ahead of the newest record than this is believed, but not for ageing keys.
pub(crate) const LEAP_MS: i64 = 24 * 3_600_000;

/// Makes the stamps of commands.
pub(crate) struct Time {
    clock: Arc<dyn Clock>,
    /// The last stamp that was compared with the monotonic clock.
    compared: AtomicI64,
    /// What is added to the wall clock, since it was set.
    shift: AtomicI64,
    /// The monotonic clock at the last comparison.
    monotonic: Mutex<i64>,
    steps: AtomicU64,
}

impl Time {
    /// Believes the clock. `newest` is the time of the newest record.
    pub(crate) fn new(clock: Arc<dyn Clock>, newest: Option<TimestampMs>) -> Time {
        let (now, monotonic) = (clock.now_ms(), clock.monotonic_ms());
        let mut steps = 0;
        if newest.is_some_and(|newest| now - newest > LEAP_MS || newest - now > STEP_MS) {
            let newest = newest.unwrap_or_default();
            tracing::warn!(
                "the clock is {} s from the newest record's time; time in the log goes on from there",
                (now - newest) / 1000
            );
            steps = 1;
        }
        Time {
            clock,
            compared: AtomicI64::new(now),
            shift: AtomicI64::new(0),
            monotonic: Mutex::new(monotonic),
            steps: AtomicU64::new(steps),
        }
    }

    /// How often the clock was found to be set or far off.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// The time that jobs are due by: of a clock that nobody sets.
    pub(crate) fn monotonic_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    /// The time for a new command.
    pub(crate) fn now(&self) -> TimestampMs {
        let now = self.clock.now_ms().saturating_add(self.shift.load(Ordering::Relaxed));
        let since = now.saturating_sub(self.compared.load(Ordering::Relaxed));
        if (0..COMPARE_MS).contains(&since) { now } else { self.compare() }
    }

    #[cold]
    fn compare(&self) -> TimestampMs {
        let mut monotonic = self.monotonic.lock();
        let elapsed = self.clock.monotonic_ms() - *monotonic;
        let shift = self.shift.load(Ordering::Relaxed);
        let now = self.clock.now_ms().saturating_add(shift);
        let expected = self.compared.load(Ordering::Relaxed).saturating_add(elapsed);
        let step = now.saturating_sub(expected);
        let now = if step.saturating_abs() <= STEP_MS {
            now
        } else {
            tracing::warn!(
                "the clock was set by {} s; time goes on without that until the database is opened \
                 again",
                step / 1000
            );
            self.steps.fetch_add(1, Ordering::Relaxed);
            self.shift.store(shift.saturating_sub(step), Ordering::Relaxed);
            expected
        };
        self.compared.store(now, Ordering::Relaxed);
        *monotonic += elapsed;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Set {
        wall: AtomicI64,
        monotonic: AtomicI64,
    }

    impl Clock for Set {
        fn now_ms(&self) -> i64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn monotonic_ms(&self) -> i64 {
            self.monotonic.load(Ordering::SeqCst)
        }
    }

    impl Set {
        fn pass(&self, wall: i64, monotonic: i64) {
            self.wall.fetch_add(wall, Ordering::SeqCst);
            self.monotonic.fetch_add(monotonic, Ordering::SeqCst);
        }
    }

    #[test]
    fn small_steps_are_taken_over_and_large_ones_are_not() {
        let clock = Arc::new(Set::default());
        let time = Time::new(clock.clone(), None);
        clock.pass(4_000, 500);
        assert_eq!((time.now(), time.steps()), (4_000, 0), "set forward by less than 5 s");
        clock.pass(25 * 3_600_000, 100);
        assert_eq!((time.now(), time.steps()), (4_100, 1), "25 hours are not");
        clock.pass(10, 10);
        assert_eq!(time.now(), 4_110, "and time goes on");
        clock.pass(-25 * 3_600_000, 2_000);
        assert_eq!((time.now(), time.steps()), (6_110, 2), "set right again");
        clock.pass(-86_400_000, 1);
        assert_eq!((time.now(), time.steps()), (6_111, 3), "a day back");
        clock.pass(3_600_000, 3_600_000);
        assert_eq!((time.now(), time.steps()), (3_606_111, 3), "an hour that passed");
    }

    #[test]
    fn a_clock_far_from_the_newest_record_is_believed_and_noticed() {
        let clock = Arc::new(Set::default());
        for (newest, steps) in [(0, 0), (-LEAP_MS, 0), (-LEAP_MS - 1, 1), (STEP_MS + 1, 1)] {
            let time = Time::new(clock.clone(), Some(newest));
            assert_eq!((time.now(), time.steps()), (0, steps), "{newest}");
        }
    }
}
