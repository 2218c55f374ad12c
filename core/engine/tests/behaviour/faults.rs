//! Disks that fail: what is answered then, what can still be read, and what is there afterwards.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use rstmdb_engine::{Engine, FsyncPolicy, Location};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage, Rng};
use rstmdb_testkit::sample::{apply, begin, database, everything, location, open, options, read};
use rstmdb_testkit::seeds::{Replay, is_soak, seeds, seeds_and};
use rstmdb_types::error::reason;
use serde_json::json;

use crate::life::{Life, small_options};
use crate::workload::{Step, Workload};

const POLICIES: [FsyncPolicy; 3] =
    [FsyncPolicy::EveryWrite, FsyncPolicy::EveryN(4), FsyncPolicy::Never];

/// How many calls of each kind a workload makes after its beginning.
fn calls_of(life: &Life) -> BTreeMap<&'static str, u64> {
    let trace = life.recorder.disk.trace();
    let names = ["Write", "Sync", "SetLen", "Create", "Rename", "Remove", "SyncDir"];
    let count = |name: &str| {
        let marked = format!(") {name} ");
        trace.lines().filter(|line| line.contains(&marked)).count() as u64
    };
    names.into_iter().map(|name| (name, count(name))).collect()
}

fn workload(seed: u64, fsync: FsyncPolicy, prepare: impl FnOnce(&Life)) -> Life {
    let mut life = Life::first(seed, small_options(fsync));
    life.is_tolerant = true;
    life.recorder.disk.start_trace();
    prepare(&life);
    let mut workload = Workload::named(seed);
    for _ in 0..if is_soak() { 120 } else { 50 } {
        life.step(workload.step());
    }
    life
}

/// What may come after a failure: all of it must find everything that was acknowledged.
fn end(mut life: Life, rng: &mut Rng) {
    let now = life.moments().pop().unwrap();
    let mut next = match rng.below(5) {
        0 => life.after_eviction(),
        1 => {
            // What the next process read from the cache and showed must be there for good.
            let killed = life.after_kill(&now);
            let then = killed.moments().pop().unwrap();
            killed.after(&then, Crash::seeded(rng.next_u64()))
        }
        2 => {
            life.reopen();
            let then = life.moments().pop().unwrap();
            life.after(&then, Crash::seeded(rng.next_u64()))
        }
        3 => life.after(&now, Crash::KEEP_NONE),
        _ => life.after(&now, Crash::seeded(rng.next_u64())),
    };
    let mut workload = Workload::named(rng.next_u64());
    for _ in 0..5 {
        next.step(workload.step());
    }
    next.reopen();
}

#[test]
fn short_and_interrupted_calls_change_nothing() {
    let mut replay = Replay::of("rstmdb-engine --test behaviour faults::short");
    for seed in seeds(1, 10, 500) {
        replay.seed = seed;
        let mut life = workload(seed, FsyncPolicy::EveryWrite, |life| {
            let interrupted = Effect::Error(ErrorKind::Interrupted);
            for call in [Call::Write, Call::Read] {
                life.recorder.disk.inject(Fault::new(call, interrupted).chance(200));
                life.recorder.disk.inject(Fault::new(call, Effect::Short).chance(400));
            }
        });
        life.is_tolerant = false;
        life.reopen();
    }
}

#[test]
fn a_failure_at_every_call_loses_nothing_that_was_told() {
    let full = Effect::Error(ErrorKind::StorageFull);
    let all = [full, Effect::InputOutput, Effect::PartThenError];
    let dropping = [full, Effect::InputOutput, Effect::PartThenError, Effect::DropPending];
    let mut runs = 0;
    let mut replay = Replay::of("rstmdb-engine --test behaviour faults::every_call");
    for seed in seeds(1, 3, 30) {
        replay.seed = seed;
        let fsync = POLICIES[seed as usize % POLICIES.len()];
        let counts = calls_of(&workload(seed, fsync, |_| ()));
        let mut rng = Rng::new(seed);
        for (call, name) in [
            (Call::Write, "Write"),
            (Call::Sync, "Sync"),
            (Call::SetLen, "SetLen"),
            (Call::Create, "Create"),
            (Call::Rename, "Rename"),
            (Call::Remove, "Remove"),
            (Call::SyncDir, "SyncDir"),
        ] {
            let effects: &[Effect] = if call == Call::Sync { &dropping } else { &all };
            for (n, effect) in (1..=counts[name]).flat_map(|n| effects.iter().map(move |e| (n, *e)))
            {
                let times = if rng.chance(700) { 1 } else { 3 };
                replay.place = format!("{fsync}: {effect:?} from {name} {n} on, {times} times");
                let life = workload(seed, fsync, |life| {
                    life.recorder.disk.inject(Fault::new(call, effect).from_nth(n).times(times));
                });
                life.recorder.disk.clear_faults();
                end(life, &mut rng);
                runs += 1;
            }
        }
    }
    println!("{runs} runs");
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let mut replay = Replay::of("rstmdb-engine --test behaviour faults::full_disk");
    let mut refused = 0;
    for seed in seeds_and(&[581], 1, 40, 4000) {
        replay.seed = seed;
        let mut rng = Rng::new(seed);
        let mut life = Life::first(seed, small_options(POLICIES[seed as usize % 3]));
        life.is_tolerant = true;
        let disk = life.recorder.disk.clone();
        let mut workload = Workload::named(seed);
        for step in 0..120 {
            replay.place = format!("step {step}");
            if rng.chance(100) {
                let used: u64 =
                    disk.paths().iter().map(|path| disk.contents(path).unwrap().len() as u64).sum();
                disk.set_capacity_bytes(Some(used + rng.below(6) * 4096));
            } else if rng.chance(100) {
                disk.set_capacity_bytes(None);
            }
            let before = life.offset();
            life.step(match workload.step() {
                // Closing writes the manifest.
                Step::Reopen => Step::Advance(1),
                step => step,
            });
            refused += u64::from(life.offset() == before);
        }
        disk.set_capacity_bytes(None);
        // No reopening in between: there is room, so writing works.
        life.is_tolerant = false;
        for _ in 0..10 {
            life.step(workload.step());
        }
        life.reopen();
        end(life, &mut rng);
    }
    assert!(refused > 0);
}

/// After a failed sync the data may be in the system's cache only, marked as clean. A process that
/// reads it there and shows it must have made it durable first.
#[test]
fn what_a_failed_sync_dropped_is_written_again_before_it_is_shown() {
    let (disk, engine) = database(3, FsyncPolicy::EveryWrite);
    disk.inject(Fault::new(Call::Sync, Effect::DropPending).path("log/").nth(1));
    let error = apply(&engine, 3).unwrap_err();
    assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN));
    let next = disk.kill();
    drop(engine);
    let shown = read(&next).unwrap();
    assert_eq!(shown["log"].as_array().unwrap().len(), 6, "it is in the cache");
    assert_eq!(read(&next.crash(Crash::KEEP_NONE)).unwrap(), shown);
    // Dropped from the cache before anybody looked, it was never there.
    let next = disk.kill();
    next.evict_clean();
    assert_eq!(read(&next).unwrap()["log"].as_array().unwrap().len(), 5);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_timed_syncs() {
    let (disk, clock) = (FaultyStorage::new(1), Arc::new(TestClock::default()));
    let location = Location { clock: clock.clone(), ..location(&disk) };
    let engine = Engine::open(location, options(FsyncPolicy::EveryMs(50))).unwrap();
    begin(&engine);
    apply(&engine, 0).unwrap();
    clock.advance_ms(-3_600_000);
    apply(&engine, 1).unwrap();
    let log = read(&disk.crash(Crash::KEEP_NONE)).unwrap();
    assert_eq!(log["log"].as_array().unwrap().len(), 4);
}

#[test]
fn a_failure_while_opening_is_reported_and_the_next_opening_works() {
    let (stopped, engine) = database(30, FsyncPolicy::EveryWrite);
    let truth = everything(&engine).unwrap();
    let image = stopped.kill().image();
    drop(engine);
    let full = Effect::Error(ErrorKind::StorageFull);
    for call in [
        Call::Create,
        Call::Open,
        Call::Rename,
        Call::Remove,
        Call::List,
        Call::CreateDir,
        Call::SyncDir,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::Len,
        Call::SetLen,
    ] {
        for effect in [Effect::InputOutput, Effect::PartThenError, full] {
            for nth in 1..8 {
                // What was there, and a database that is only being created.
                for (disk, exists) in [(image.restart(), true), (FaultyStorage::new(nth), false)] {
                    disk.inject(Fault::new(call, effect).nth(nth));
                    if let Err(error) = open(&disk, FsyncPolicy::EveryWrite) {
                        assert_eq!(error.reason(), Some(reason::IO), "{call:?} {nth}: {error:?}");
                    }
                    disk.clear_faults();
                    let found = read(&disk).unwrap_or_else(|e| panic!("{call:?} {nth}: {e:?}"));
                    let expected = if exists { truth["log"].clone() } else { json!([]) };
                    assert_eq!(found["log"], expected, "{call:?} {effect:?} {nth}");
                }
            }
        }
    }
}
