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
    /// The least time between two of them.
    step: Duration,
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
            self.thin_out(now);
        }
        self.push(now, committed);
    }

    /// What comes soon after another moment counts as of that one: a change seems older then, never younger.
    fn push(&mut self, at: Instant, committed: Offset) {
        match self.moments.back_mut() {
            Some((before, last)) if at.saturating_duration_since(*before) < self.step => {
                *last = committed;
            }
            _ => self.moments.push_back((at, committed)),
        }
    }

    /// Half of the room is enough for all moments then, evenly.
    fn thin_out(&mut self, now: Instant) {
        let oldest = self.moments.front().map_or(now, |(at, _)| *at);
        self.step = now.saturating_duration_since(oldest) / (MOMENTS_MAX as u32 / 2);
        for (at, committed) in std::mem::take(&mut self.moments) {
            self.push(at, committed);
        }
    }

    /// So much is applied here.
    pub(super) fn applied(&mut self, offset: Offset) {
        self.applied = self.applied.max(offset);
        while self.moments.front().is_some_and(|(_, committed)| *committed <= self.applied) {
            self.moments.pop_front();
        }
        if self.moments.is_empty() {
            self.step = Duration::ZERO;
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
            assert!(lag.moments.len() <= MOMENTS_MAX);
        }
        for applied in [0, 1, 77, 5_000, 9_990] {
            lag.applied(applied);
            let true_age = 10_000 - (applied + 1);
            let age = lag.age(at(10_000)).map_or(0, |age| age.as_secs());
            assert!((true_age..=true_age + 64).contains(&age), "{age} for {true_age}");
        }
    }
}
