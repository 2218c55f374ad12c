//! The simulation notices when a guard is gone: some of the first seeds go wrong.
//!
//! The switches are global, so this is a test program of its own with a single test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod simulation;

use std::panic::catch_unwind;

use rstmdb_engine::guards::{Safeguard, set};
use simulation::{Plan, run};

/// A guard has to be missed within so many seeds.
const SEEDS_MAX: u64 = 2000;

/// Those that no order of the library's makes up for.
const GUARDS: [Safeguard; 2] = [Safeguard::CommitMark, Safeguard::StepDown];

#[test]
fn the_simulation_misses_these_guards() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    for guard in GUARDS {
        set(guard, false);
        let goes_wrong = |seed: &u64| catch_unwind(|| run(Plan::of(*seed), false)).is_err();
        let found = (1..=SEEDS_MAX).find(goes_wrong);
        set(guard, true);
        println!("{guard:?}: seed {found:?}");
        if found.is_none() {
            missed.push(guard);
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "the simulation does not need {missed:?}");
}
