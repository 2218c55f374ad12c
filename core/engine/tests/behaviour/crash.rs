//! Power cuts at every call that changes the disk, in every variant, and what is left then.
//!
//! `RSTMDB_SEED` runs one seed, `RSTMDB_SOAK=1` a million crashes.

use rstmdb_engine::{FsyncPolicy, Options};
use rstmdb_testkit::faulty::{Crash, Rng};
use rstmdb_testkit::seeds::{Replay, seeds};

use crate::life::{Life, small_options};
use crate::workload::Workload;

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

/// Crashes a life at some moments, and the lives after it too; returns how often.
fn crash_somewhere(life: &Life, rng: &mut Rng, count: u64, replay: &mut Replay) -> u64 {
    let moments = life.moments();
    let mut crashes = 0;
    while crashes < count {
        let number = rng.index(moments.len());
        let crash = Crash::seeded(rng.next_u64());
        replay.place = format!("at moment {number}, {crash:?}");
        let next = life.after(&moments[number], crash);
        let generations = rng.below(4);
        crashes += 1 + go_on(next, rng, generations);
    }
    crashes
}

#[test]
fn every_call_can_be_the_last() {
    let mut crashes = 0;
    let mut replay = Replay::of("rstmdb-engine --test behaviour crash::every_call");
    for seed in seeds(1, 1, 20) {
        replay.seed = seed;
        let life = whole_life(seed, FsyncPolicy::EveryWrite);
        assert!(life.first_offset() > 1, "no segment was deleted");
        let moments = life.moments();
        let mut rng = Rng::new(seed);
        for (number, moment) in moments.iter().enumerate() {
            for crash in Crash::variants(rng.next_u64(), 6) {
                replay.place = format!("at moment {number}, {crash:?}");
                let next = life.after(moment, crash);
                crashes += 1;
                if rng.chance(150) {
                    crashes += go_on(next, &mut rng, 2);
                }
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn any_moment_can_be_the_last() {
    let mut crashes = 0;
    let mut replay = Replay::of("rstmdb-engine --test behaviour crash::any_moment");
    for seed in seeds(1000, 25, 6000) {
        replay.seed = seed;
        let life = whole_life(seed, FsyncPolicy::EveryWrite);
        crashes += crash_somewhere(&life, &mut Rng::new(seed), 150, &mut replay);
    }
    println!("{crashes} crashes");
}

#[test]
fn weaker_policies_lose_no_more_than_they_say() {
    let policies = [
        FsyncPolicy::EveryN(1),
        FsyncPolicy::EveryN(5),
        FsyncPolicy::EveryMs(50),
        FsyncPolicy::Never,
    ];
    let mut crashes = 0;
    let mut replay = Replay::of("rstmdb-engine --test behaviour crash::weaker");
    for seed in seeds(5000, 10, 400) {
        replay.seed = seed;
        for policy in policies {
            let life = whole_life(seed, policy);
            crashes += crash_somewhere(&life, &mut Rng::new(seed), 50, &mut replay);
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn a_killed_process_loses_nothing() {
    let policies = [
        FsyncPolicy::EveryWrite,
        FsyncPolicy::EveryN(5),
        FsyncPolicy::EveryMs(50),
        FsyncPolicy::Never,
    ];
    let mut kills = 0;
    let mut replay = Replay::of("rstmdb-engine --test behaviour crash::killed");
    for seed in seeds(8000, 10, 400) {
        replay.seed = seed;
        for policy in policies {
            let life = whole_life(seed, policy);
            let moments = life.moments();
            let mut rng = Rng::new(seed);
            for _ in 0..25 {
                let number = rng.index(moments.len());
                replay.place = format!("{policy}, killed at moment {number}");
                let next = life.after_kill(&moments[number]);
                // What the new process shows, a power cut may not take back.
                let crash = Crash::seeded(rng.next_u64());
                let now = next.moments().pop().unwrap();
                replay.place = format!("{policy}, killed at moment {number}, then {crash:?}");
                go_on(next.after(&now, crash), &mut rng, 1);
                kills += 1;
            }
        }
    }
    println!("{kills} kills");
}
