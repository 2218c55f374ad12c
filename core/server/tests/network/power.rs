//! Power cuts with batches and keys: a server on a simulated disk that keeps what was synced, and of the
//! rest what it likes. What a policy lets go is repeated, and happens once.

use std::sync::Arc;

use rstmdb_engine::{Engine, FsyncPolicy, Options, Retention};
use rstmdb_testkit::faulty::{Crash, FaultyStorage, Rng};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::await_condition;

use crate::rounds;
use crate::writers::{Log, Told, Writing, begin, repeat};

/// How a disk looks after one and the same cut.
const VARIANTS: usize = 8;

fn serve(disk: &FaultyStorage, fsync: FsyncPolicy) -> TestServer {
    let options = Options {
        fsync,
        segment_bytes_max: 64 << 10,
        checkpoint_log_bytes: 128 << 10,
        checkpoint_at_close: true,
        retention: Retention::Forever,
        free_bytes_min: 0,
        ..Options::default()
    };
    let engine = Engine::open(disk.location(), options).unwrap();
    TestServer::start(Arc::new(engine), TestServer::config()).unwrap()
}

/// Serves eight writers; `cut` is called after some answers and has the power go off at once or soon.
fn write_until(
    disk: &FaultyStorage,
    fsync: FsyncPolicy,
    seed: u64,
    cut: impl FnOnce(),
) -> Vec<Told> {
    let server = serve(disk, fsync);
    let writing = Writing::begin(server.address(), 0);
    writing.await_answers(1 + Rng::new(seed).index(2000));
    cut();
    await_condition("the power is off", || !disk.is_on());
    // It can't end well without its disk.
    let _ = server.stop();
    writing.told()
}

/// Serves what a cut left. Returns how many acknowledged events are gone, after checking that all else
/// is whole and that what is missing can be done again.
fn gone_after(disk: &FaultyStorage, fsync: FsyncPolicy, told: &[Told]) -> usize {
    let server = serve(disk, fsync);
    let mut wire = server.wire();
    let mut log = Log::default();
    log.read(&mut wire);
    // Even these may be gone.
    begin(&mut wire);
    let mut gone = 0;
    for told in told {
        let is_there = |event: &&(String, u64)| log.events.get(&event.0) == Some(&event.1);
        let left: Vec<_> = told.acknowledged.iter().filter(is_there).cloned().collect();
        gone += told.acknowledged.len() - left.len();
        let refused = told.refused.clone();
        let told = Told { writer: told.writer, sent: told.sent, acknowledged: left, refused };
        let open = log.check(0, &told);
        // What is there of a writer is what it sent first.
        assert!(open.is_sorted_by_key(|(_, there)| !there), "{open:?}");
        repeat(&mut wire, told.writer, &open, &log);
    }
    log.read(&mut wire);
    // The server would give a client that stays a moment to read on.
    drop(wire);
    server.stop().unwrap();
    gone
}

/// Further cuts, when none took anything.
const LUCK_MAX: u64 = 60;

/// Cuts the power of servers in many ways; `allowed` is how many acknowledged events may be gone after
/// one cut. Returns how many were gone in all.
fn cut_and_check(fsync: FsyncPolicy, allowed: usize) -> usize {
    let mut total = 0;
    // Where something may be gone, it is luck what is: then a few more, until something was.
    for seed in 0..rounds(4, 200) + LUCK_MAX {
        if seed >= rounds(4, 200) && (allowed == 0 || total > 0) {
            break;
        }
        let disk = FaultyStorage::new(seed);
        let told = write_until(&disk, fsync, seed, || match seed % 2 {
            0 => disk.power_off(),
            // Within a call, which is half done.
            _ => disk.crash_in_call(disk.mutating_calls() + 1 + seed % 7),
        });
        for how in Crash::variants(seed, VARIANTS) {
            let gone = gone_after(&disk.crash(how), fsync, &told);
            assert!(gone <= allowed, "{gone} are gone, {fsync}, seed {seed}, {how:?}");
            total += gone;
        }
    }
    total
}

#[test]
fn every_write_keeps_all_that_was_acknowledged() {
    assert_eq!(cut_and_check(FsyncPolicy::EveryWrite, 0), 0);
}

#[test]
fn every_n_loses_fewer_than_that() {
    // Something is: the cuts do take what was not synced.
    assert!(cut_and_check(FsyncPolicy::EveryN(25), 24) > 0);
}

#[test]
fn never_leaves_a_whole_database() {
    assert!(cut_and_check(FsyncPolicy::Never, usize::MAX) > 0);
}

#[test]
fn never_keeps_what_a_stop_has_synced() {
    let disk = FaultyStorage::new(1);
    let server = serve(&disk, FsyncPolicy::Never);
    let writing = Writing::begin(server.address(), 0);
    writing.await_answers(500);
    server.stop().unwrap();
    let told = writing.told();
    for how in Crash::variants(1, VARIANTS) {
        assert_eq!(gone_after(&disk.crash(how), FsyncPolicy::Never, &told), 0, "{how:?}");
    }
}
