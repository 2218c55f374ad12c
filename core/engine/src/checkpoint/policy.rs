//! When the database writes a checkpoint by itself: after so many changes or so much log, but not too
//! often; and at its end, where that is cheap.
//!
//! A checkpoint costs in proportion to the instances there are, so a number of changes far below
//! theirs would write the database over and over: at least half as many must have come first.

use std::time::Duration;

use crate::due::{Due, Reach};
use crate::options::Options;

/// So little log is read sooner than a checkpoint is written.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// A database of more instances gets no checkpoint at its end.
const CLOSE_INSTANCES_MAX: u64 = 100_000;
/// Nor does one with fewer changes since the last.
const CLOSE_CHANGES_MIN: u64 = 1000;

/// When the database writes a checkpoint by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// After this much log, in bytes, a mebibyte at least; 0: not by its size.
    pub log_bytes: u64,
    /// After this many changes, or half as many as there are instances where that is more; 0: not by
    /// their number.
    pub changes: u64,
    /// The time between two, at least.
    pub interval_min: Duration,
    /// Whether closing writes one, where there is something to gain and it does not take long.
    pub at_close: bool,
}

impl CheckpointPolicy {
    /// What the options ask for.
    pub fn of(options: &Options) -> CheckpointPolicy {
        CheckpointPolicy {
            log_bytes: options.checkpoint_log_bytes,
            changes: options.checkpoint_changes,
            interval_min: options.checkpoint_interval_min,
            at_close: options.checkpoint_at_close,
        }
    }
}

/// The policy in force, and where the log was at the last checkpoint.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub policy: CheckpointPolicy,
    last: Reach,
    /// When the database last ended one by itself, by the monotonic clock.
    ended_ms: Option<i64>,
}

impl Schedule {
    pub(crate) fn new(policy: CheckpointPolicy, last: Reach) -> Schedule {
        Schedule { policy, last, ended_ms: None }
    }

    /// A checkpoint begins. It need not come to anything: trying again at once would not help.
    pub(crate) fn begun(&mut self, reach: Reach) {
        self.last = reach;
    }

    /// A checkpoint that was due ended, well or not.
    pub(crate) fn ended(&mut self, now_ms: i64) {
        self.ended_ms = Some(now_ms);
    }

    /// When the next checkpoint is due, as far as that is known.
    pub(crate) fn due(&self, reach: Reach, instances: impl FnOnce() -> u64) -> Due {
        let mut due = Due::NEVER;
        if self.policy.log_bytes > 0 {
            due.bytes = self.last.bytes.saturating_add(self.policy.log_bytes.max(LOG_BYTES_MIN));
        }
        if self.policy.changes > 0 {
            due.offset = self.last.offset.saturating_add(self.policy.changes.max(instances() / 2));
        }
        if !due.has_come(i64::MIN, reach) {
            return due;
        }
        let pause = i64::try_from(self.policy.interval_min.as_millis()).unwrap_or(i64::MAX);
        Due::at(self.ended_ms.map_or(i64::MIN, |ended| ended.saturating_add(pause)))
    }

    /// Whether a checkpoint at the end of the database makes its next opening quicker, and is cheap.
    pub(crate) fn is_due_at_close(&self, reach: Reach, instances: impl FnOnce() -> u64) -> bool {
        self.policy.at_close
            && reach.offset.saturating_sub(self.last.offset) >= CLOSE_CHANGES_MIN
            && instances() <= CLOSE_INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: CheckpointPolicy = CheckpointPolicy {
        log_bytes: 0,
        changes: 0,
        interval_min: Duration::ZERO,
        at_close: false,
    };

    fn schedule(policy: CheckpointPolicy) -> Schedule {
        Schedule::new(policy, Reach { offset: 100, bytes: 1000 })
    }

    fn reach(offset: u64, bytes: u64) -> Reach {
        Reach { offset, bytes }
    }

    #[test]
    fn a_checkpoint_comes_after_so_much_log_or_so_many_changes() {
        let far = reach(1 << 40, 1 << 40);
        assert_eq!(schedule(NONE).due(far, || 0), Due::NEVER);
        let log_bytes = 2 << 20;
        let by_size = schedule(CheckpointPolicy { log_bytes, ..NONE });
        let bytes = 1000 + log_bytes;
        assert_eq!(by_size.due(reach(100, bytes - 1), || 0), Due { bytes, ..Due::NEVER });
        assert_eq!(by_size.due(reach(100, bytes), || 0), Due::at(i64::MIN));
        let small = schedule(CheckpointPolicy { log_bytes: 50, ..NONE });
        let least = Due { bytes: 1000 + LOG_BYTES_MIN, ..Due::NEVER };
        assert_eq!(small.due(reach(100, 1050), || 0), least);
        let by_number = schedule(CheckpointPolicy { changes: 10, ..NONE });
        assert_eq!(by_number.due(reach(109, 1 << 40), || 20), Due::at_offset(110));
        assert_eq!(by_number.due(reach(110, 1000), || 20), Due::at(i64::MIN));
        assert_eq!(by_number.due(reach(110, 1000), || 22), Due::at_offset(111), "half as many");
        let both = schedule(CheckpointPolicy { changes: 10, log_bytes, ..NONE });
        assert_eq!(both.due(reach(0, 0), || 0), Due { offset: 110, bytes, ..Due::NEVER });
    }

    #[test]
    fn two_checkpoints_have_their_time_between_them() {
        let interval_min = Duration::from_secs(60);
        let mut schedule = schedule(CheckpointPolicy { changes: 10, interval_min, ..NONE });
        assert_eq!(
            schedule.due(reach(110, 0), || 0),
            Due::at(i64::MIN),
            "the first waits for nothing"
        );
        schedule.begun(reach(110, 0));
        assert_eq!(schedule.due(reach(119, 0), || 0), Due::at_offset(120));
        schedule.ended(5_000);
        assert_eq!(schedule.due(reach(119, 0), || 0), Due::at_offset(120));
        assert_eq!(schedule.due(reach(120, 0), || 0), Due::at(65_000));
        schedule.policy.interval_min = Duration::MAX;
        assert_eq!(schedule.due(reach(120, 0), || 0), Due::NEVER);
    }

    #[test]
    fn the_end_gets_a_checkpoint_where_it_is_cheap_and_of_use() {
        let closing = schedule(CheckpointPolicy { at_close: true, ..NONE });
        assert!(closing.is_due_at_close(reach(1100, 0), || CLOSE_INSTANCES_MAX));
        assert!(!closing.is_due_at_close(reach(1099, 0), || 0), "there is little to gain");
        assert!(
            !closing.is_due_at_close(reach(1100, 0), || CLOSE_INSTANCES_MAX + 1),
            "it takes long"
        );
        assert!(!schedule(NONE).is_due_at_close(reach(1100, 0), || 0), "nobody asked for it");
    }
}
