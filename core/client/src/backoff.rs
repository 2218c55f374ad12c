//! Pauses between attempts: exponential, with full jitter, so that clients do not come in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::options::Retry;

/// The pause before attempt number `attempt`, counted from 0.
pub(crate) fn pause(retry: &Retry, attempt: u32) -> Duration {
    let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
    let bound = retry.backoff_min.saturating_mul(factor).min(retry.backoff_max);
    // The standard library's randomly keyed hash: random enough to spread clients.
    let random = RandomState::new().hash_one(attempt) >> 32;
    bound.mul_f64(random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_their_bounds_and_differ() {
        let retry = Retry::default();
        for attempt in [0, 1, 5, 31, 32, 1000] {
            let bound = retry.backoff_max.min(retry.backoff_min * (1 << attempt.min(10)));
            let pauses: Vec<_> = (0..50).map(|_| pause(&retry, attempt)).collect();
            assert!(pauses.iter().all(|pause| *pause <= bound), "{attempt}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{attempt}: {pauses:?}");
        }
    }
}
