//! Which seeds a test runs, and how a failure is replayed.

use std::time::{Duration, Instant};

/// A number in the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Whether this is the long run.
pub fn is_soak() -> bool {
    number("RSTMDB_SOAK").is_some_and(|soak| soak > 0)
}

/// The seed asked for, or else `count` of them, `soak_count` in the long run, or as many as are asked for.
pub fn seeds(first: u64, count: u64, soak_count: u64) -> Vec<u64> {
    let count = number("RSTMDB_SEEDS").unwrap_or(if is_soak() { soak_count } else { count });
    match number("RSTMDB_SEED") {
        Some(seed) => vec![seed],
        None => (first..first + count).collect(),
    }
}

/// Tells when the minutes of a long run are over, if there is such a bound.
pub fn is_late() -> impl FnMut() -> bool {
    let minutes = number("RSTMDB_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let began = Instant::now();
    move || minutes.is_some_and(|minutes| began.elapsed() >= minutes)
}

/// The same, and those that found something once.
pub fn seeds_and(regressions: &[u64], first: u64, count: u64, soak_count: u64) -> Vec<u64> {
    let seeds = seeds(first, count, soak_count);
    let is_chosen = number("RSTMDB_SEED").is_some();
    let once = regressions.iter().copied().filter(|_| !is_chosen);
    once.chain(seeds).collect()
}

/// Prints how to repeat what failed while it is in scope.
pub struct Replay {
    /// The package, the test program and the test.
    pub test: &'static str,
    /// The seed to set.
    pub seed: u64,
    /// Where in the run it is.
    pub place: String,
}

impl Replay {
    /// For a test, before its first seed.
    pub fn of(test: &'static str) -> Replay {
        Replay { test, seed: 0, place: String::new() }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Replay { test, seed, place } = self;
            eprintln!("failed {place}\nreplay: RSTMDB_SEED={seed} cargo test -p {test}");
        }
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replay(seed {})", self.seed)
    }
}
