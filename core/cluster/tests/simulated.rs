//! Groups under simulation: seeds of faults, and the same again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod simulation;

use rstmdb_testkit::seeds::{Replay, is_late, seeds_and};
use simulation::{Figures, Plan, run};

#[test]
fn a_group_keeps_its_word_under_every_fault() {
    let mut replay =
        Replay::of("rstmdb-cluster --features simulation --test simulated keeps_its_word");
    let mut figures = Figures::default();
    let mut is_late = is_late();
    for seed in seeds_and(&[], 1, 500, 20_000) {
        if is_late() {
            break;
        }
        replay.seed = seed;
        figures += run(Plan::of(seed), false).0;
    }
    println!("up to seed {}: {figures:?}", replay.seed);
}

#[test]
fn a_seed_decides_everything() {
    let mut replay = Replay::of("rstmdb-cluster --features simulation --test simulated decides");
    for seed in seeds_and(&[], 1, 100, 100) {
        replay.seed = seed;
        let [(_, first), (_, second)] = [0, 1].map(|_| run(Plan::of(seed), true));
        let parts = first.iter().zip(&second).position(|(first, second)| first != second);
        if let Some(at) = parts {
            panic!("{at}: {} and {}", first[at], second[at]);
        }
        assert_eq!(first.len(), second.len());
    }
}
