//! Power cuts at every call that changes the disk, in every variant, and what is left then.
//!
//! `RSTMDB_SEED` runs one seed, `RSTMDB_SOAK=1` a million crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rstmdb_engine::{FsyncPolicy, Options};
use rstmdb_testkit::faulty::{Crash, Rng};
use rstmdb_tests::life::{Life, small_options};
use rstmdb_tests::seeds::{Replay, seeds};
use rstmdb_tests::workload::Workload;

const COMMANDS: usize = 200;

fn options(seed: u64, fsync: FsyncPolicy) -> Options {
    let segment_bytes_max = [4096, 8192, 16384][seed as usize % 3];
    Options { segment_bytes_max, ..small_options(fsync) }
}

/// A life of a whole workload.
fn whole_life(seed: u64, fsync: FsyncPolicy) -> Life {
    let mut life = Life::first(seed, options(seed, fsync));
    let mut workload = Workload::new(seed);
    for _ in 0..COMMANDS {
        life.step(workload.step());
    }
    life
}

/// Goes on after a crash, and crashes again at some moment since, which may be in the recovery.
fn go_on(mut life: Life, rng: &mut Rng, generations: u64) -> u64 {
    let mut workload = Workload::new(rng.next_u64());
    for _ in 0..3 {
        life.step(workload.step());
    }
    if generations == 0 {
        return 0;
    }
    let moments = life.moments();
    let moment = &moments[rng.index(moments.len())];
    let next = life.after(moment, Crash::seeded(rng.next_u64()));
    1 + go_on(next, rng, generations - 1)
}

#[test]
fn a_crash_at_every_call_loses_nothing_that_was_told() {
    let mut crashes = 0;
    let mut replay = Replay { test: "--test crash every_call", seed: 0, place: String::new() };
    for seed in seeds(1, 1, 20) {
        replay.seed = seed;
        let life = whole_life(seed, FsyncPolicy::EveryWrite);
        let moments = life.moments();
        println!("seed {seed}: {} moments", moments.len());
        let mut rng = Rng::new(seed);
        for (number, moment) in moments.iter().enumerate() {
            for crash in Crash::variants(rng.next_u64(), 5) {
                replay.place = format!("at moment {number}, {crash:?}");
                let next = life.after(moment, crash);
                crashes += 1;
                if rng.chance(200) {
                    crashes += go_on(next, &mut rng, 2);
                }
            }
        }
    }
    println!("{crashes} crashes");
}
