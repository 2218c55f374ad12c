//! The simulation notices when a guard is gone: some of the first seeds go wrong, and tests of what it does not run.
//!
//! Among the guards are those against faults that other systems had: entries that count before they are on a disk; a log
//! that is cut at a step-down; what was taken back and comes again in a later batch. The switches are global, so this is a test program of its own
//! with a single test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod following;
mod simulation;

use std::panic::catch_unwind;

use rstmdb_engine::guards::{Safeguard, set};
use rstmdb_testkit::seeds::seeds;
use simulation::{Plan, run};

/// A guard has to be missed within so many seeds.
const SEEDS_MAX: u64 = 2000;

/// Those that no order of the library's makes up for. The others have checks in the engine's own tests alone: their
/// faults are too rare here.
const GUARDS: [Safeguard; 9] = [
    Safeguard::CommitMark,
    Safeguard::StepDown,
    Safeguard::VoidRule,
    Safeguard::SyncBeforeAnswer,
    Safeguard::VoteBeforeAnswer,
    Safeguard::LeaderReads,
    Safeguard::RefusalEndsRun,
    Safeguard::LogOutlivesRun,
    Safeguard::TakenBackForGood,
];

/// The first seed that goes wrong.
fn missed_by(plan: fn(u64) -> Plan) -> Option<u64> {
    let goes_wrong = |seed: &u64| catch_unwind(|| run(plan(*seed), false)).is_err();
    seeds(1, SEEDS_MAX, SEEDS_MAX).into_iter().find(goes_wrong)
}

#[test]
fn the_simulation_misses_these_guards() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut unneeded: Vec<String> = Vec::new();
    for guard in GUARDS {
        set(guard, false);
        let seed = missed_by(Plan::of);
        set(guard, true);
        println!("{guard:?}: seed {seed:?}");
        if seed.is_none() {
            unneeded.push(format!("{guard:?}"));
        }
    }
    set(Safeguard::Fencing, false);
    let is_needed = catch_unwind(following::nobody_follows_who_is_of_the_past).is_err();
    set(Safeguard::Fencing, true);
    if !is_needed {
        unneeded.push("Fencing".to_owned());
    }
    let stale = missed_by(|seed| Plan { keeps_members: true, ..Plan::of_churn(seed) });
    println!("members that a checkpoint does not replace: seed {stale:?}");
    if stale.is_none() {
        unneeded.push("the members that come with a checkpoint".to_owned());
    }
    let _ = std::panic::take_hook();
    assert!(unneeded.is_empty(), "nothing needs {unneeded:?}");
}
