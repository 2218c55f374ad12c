//! How far a replica is behind, by its own clock.

use std::collections::VecDeque;
use std::time::Duration;

use rstmdb_types::Offset;
use tokio::time::Instant;

/// Moments that are kept; of more, neighbours become one.
const MOMENTS_MAX: usize = 1024;

/// When it was heard that so much is committed.
#[derive(Debug, Default)]
pub(super) struct Lag {
    moments: VecDeque<(Instant, Offset)>,
    heard: Option<Instant>,
    newest: Offset,
    applied: Offset,
}

impl Lag {
    /// The source said how much is committed.
    pub(super) fn heard(&mut self, now: Instant, committed: Offset) {
        self.heard = Some(now);
        if committed <= self.newest {
            return;
        }
        self.newest = committed;
        if self.moments.len() >= MOMENTS_MAX {
            // The later of two goes: what is behind then seems older, never younger.
            let mut number = 0;
            self.moments.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.moments.push_back((now, committed));
    }

    /// So much is applied here.
    pub(super) fn applied(&mut self, offset: Offset) {
        self.applied = self.applied.max(offset);
        while self.moments.front().is_some_and(|(_, committed)| *committed <= self.applied) {
            self.moments.pop_front();
        }
    }

    /// After a cut, or a checkpoint, less may be applied than before.
    pub(super) fn begin(&mut self, applied: Offset) {
        *self = Lag { applied, ..Lag::default() };
    }

    /// Changes that are committed there and not applied here, as far as is known.
    pub(super) fn offsets(&self) -> u64 {
        self.newest.saturating_sub(self.applied)
    }

    /// The age of the oldest change that is not applied here; where none is known, how long nothing was heard. Nothing was
    /// ever heard: none.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let since = self.moments.front().map(|(at, _)| *at).or(self.heard);
        since.map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_oldest_change_that_is_not_applied() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut lag = Lag::default();
        assert_eq!((lag.offsets(), lag.age(at(9))), (0, None));
        lag.heard(at(1), 10);
        lag.heard(at(2), 20);
        lag.heard(at(3), 20);
        assert_eq!((lag.offsets(), lag.age(at(5))), (20, Some(Duration::from_secs(4))));
        lag.applied(10);
        assert_eq!((lag.offsets(), lag.age(at(5))), (10, Some(Duration::from_secs(3))));
        lag.applied(20);
        assert_eq!((lag.offsets(), lag.age(at(5))), (0, Some(Duration::from_secs(2))), "silence");
    }

    #[test]
    fn many_moments_take_little_room_and_never_make_a_change_younger() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut lag = Lag::default();
        for second in 1..10_000 {
            lag.heard(at(second), second);
        }
        assert!(lag.moments.len() <= MOMENTS_MAX);
        for applied in [0, 1, 77, 5_000, 9_990] {
            lag.applied(applied);
            let true_age = 10_000 - (applied + 1);
            let age = lag.age(at(10_000)).map_or(0, |age| age.as_secs());
            assert!(age <= true_age && age + 64 >= true_age, "{age} for {true_age}");
        }
    }
}
