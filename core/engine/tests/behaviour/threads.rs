//! Threads on a disk that fails: who is told what, that nobody waits for ever, and what is left.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use rstmdb_engine::FsyncPolicy::{self, EveryMs, EveryN, EveryWrite};
use rstmdb_engine::{Engine, Options};
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage, Rng, When};
use rstmdb_testkit::seeds::{Replay, seeds};
use rstmdb_testkit::target::EVENT_TIMEOUT;
use rstmdb_testkit::writer::{THREADS, begin, event, events, key, options};
use rstmdb_types::error::reason;
use rstmdb_types::{
    ApplyEventResult, CompactRequest, GetInstanceRequest, InfoRequest, ListInstancesRequest, Result,
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Awaits on this thread; nobody but the waker brings it on.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Half of the threads await, half of them block.
fn write(engine: &Engine, thread: u64, number: u64) -> Result<ApplyEventResult> {
    let pending = engine.apply_event(event(thread, 0, number));
    if thread.is_multiple_of(2) { block_on(pending) } else { pending.wait() }
}

/// Writes from all threads, each until `go_on` says no to its result; returns what was acknowledged.
fn write_all(
    engine: &Engine,
    go_on: impl Fn(u64, &Result<ApplyEventResult>) -> bool + Sync,
) -> Vec<(String, u64)> {
    std::thread::scope(|scope| {
        let run = |thread: u64| {
            let go_on = &go_on;
            scope.spawn(move || {
                let mut told = Vec::new();
                let mut number = 0;
                loop {
                    let result = write(engine, thread, number);
                    if let Ok(answer) = &result {
                        told.push((key(thread, 0, number), answer.wal_offset));
                        number += 1;
                    }
                    if !go_on(number, &result) {
                        return told;
                    }
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn open(disk: &FaultyStorage, fsync: FsyncPolicy) -> Engine {
    let options = Options { segment_bytes_max: 4096, checkpoint_log_bytes: 8192, ..options(fsync) };
    Engine::open(disk.location(), options).unwrap()
}

fn assert_all_there(disk: &FaultyStorage, fsync: FsyncPolicy, told: &[(String, u64)]) {
    let engine = open(disk, fsync);
    let found = events(&engine);
    for (key, offset) in told {
        assert_eq!(found.get(key), Some(offset), "{key}");
    }
}

#[test]
fn a_failed_sync_ends_writing_and_loses_nothing_acknowledged() {
    let mut replay = Replay::of("rstmdb-engine --test behaviour threads::failed_sync");
    for seed in seeds(1, 40, 3000) {
        replay.seed = seed;
        let mut rng = Rng::new(seed);
        let disk = FaultyStorage::new(seed);
        let engine = open(&disk, EveryWrite);
        begin(&engine);
        let effect = [Effect::DropPending, Effect::InputOutput, Effect::PartThenError];
        let nth = 1 + rng.below(60);
        disk.inject(Fault::new(Call::Sync, effect[rng.index(3)]).path("log/").nth(nth));
        let told = write_all(&engine, |_, result| {
            let Err(error) = result else { return true };
            let known = [reason::OUTCOME_UNKNOWN, reason::WRITES_STOPPED];
            assert!(known.map(Some).contains(&error.reason()), "{error:?}");
            false
        });
        // Later ones are refused, reads go on, and the database says how it is.
        let error = write(&engine, 0, 1_000_000).unwrap_err();
        assert_eq!(error.reason(), Some(reason::WRITES_STOPPED));
        let info = engine.info(InfoRequest {}).wait().unwrap();
        assert!(info.writable == Some(false) && info.health.as_deref() != Some("ok"), "{info:?}");
        assert_eq!(info.latest_offset, Some(1 + THREADS + told.len() as u64));
        engine.list_instances(ListInstancesRequest::default()).wait().unwrap();
        for thread in 0..THREADS {
            let request = GetInstanceRequest { instance_id: format!("thread-{thread}").into() };
            let last = engine.get_instance(request).wait().unwrap().last_wal_offset;
            let mine = format!("{thread}-");
            let told = told.iter().filter(|(key, _)| key.starts_with(&mine));
            assert_eq!(Some(last), told.map(|(_, offset)| *offset).max().or(Some(2 + thread)));
        }
        engine.compact(CompactRequest::default()).wait().unwrap_err();
        let _ = engine.close();
        drop(engine);
        if rng.chance(500) {
            let next = disk.kill();
            next.evict_clean();
            assert_all_there(&next, EveryWrite, &told);
        }
        let next = disk.crash(Crash::seeded(rng.next_u64()));
        assert_all_there(&next, EveryWrite, &told);
    }
}

#[test]
fn a_failed_timed_sync_leaves_nobody_waiting() {
    for seed in seeds(1, 20, 1000) {
        let disk = FaultyStorage::new(seed);
        let engine = open(&disk, EveryMs(1));
        begin(&engine);
        disk.inject(Fault::new(Call::Sync, Effect::DropPending).path("log/").nth(1 + seed % 3));
        write_all(&engine, |_, result| result.is_ok());
        let error = write(&engine, 0, 1_000_000).unwrap_err();
        assert_eq!(error.reason(), Some(reason::WRITES_STOPPED));
        assert!(engine.close().is_err());
    }
}

#[test]
fn what_came_while_the_disk_was_busy_is_written_though_nobody_waits_for_it() {
    let disk = FaultyStorage::new(1);
    let engine = Arc::new(open(&disk, EveryWrite));
    begin(&engine);
    let (syncing, syncs) = std::sync::mpsc::channel();
    let (go_on, held) = std::sync::mpsc::channel();
    let held = std::sync::Mutex::new(held);
    disk.observe(move |_, when, call, path| {
        if call == Call::Sync && when == When::Before && path.starts_with("log/") {
            let _ = syncing.send(());
            let _ = held.lock().unwrap().recv();
        }
    });
    let writer = engine.clone();
    let first = std::thread::spawn(move || {
        block_on(writer.apply_event(event(0, 0, 0))).unwrap();
    });
    syncs.recv_timeout(EVENT_TIMEOUT).expect("the first is written");
    let second = engine.apply_event(event(1, 0, 0));
    go_on.send(()).unwrap();
    syncs.recv_timeout(EVENT_TIMEOUT).expect("the second follows by itself");
    drop(go_on);
    second.wait().unwrap();
    first.join().unwrap();
}

#[test]
fn a_timer_syncs_although_no_write_follows() {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk, EveryMs(1));
    begin(&engine);
    let answer = write(&engine, 0, 0).unwrap();
    while disk.has_pending() {
        std::thread::yield_now();
    }
    let next = disk.crash(Crash::KEEP_NONE);
    assert_all_there(&next, EveryMs(1), &[(key(0, 0, 0), answer.wal_offset)]);
}

#[test]
fn a_disk_that_is_full_at_times_only_delays() {
    const EVENTS: u64 = 60;
    for seed in seeds(1, 20, 1000) {
        let fsync = [EveryWrite, EveryN(7)][seed as usize % 2];
        let disk = FaultyStorage::new(seed);
        let engine = open(&disk, fsync);
        begin(&engine);
        for call in [Call::Write, Call::Create, Call::Rename, Call::SyncDir] {
            let full = Effect::Error(ErrorKind::StorageFull);
            disk.inject(Fault::new(call, full).chance(100));
        }
        let told = write_all(&engine, |number, result| {
            if let Err(error) = result {
                assert_eq!(error.reason(), Some(reason::DISK_FULL), "{error:?}");
                assert!(error.retryable());
            }
            number < EVENTS
        });
        disk.clear_faults();
        assert_eq!(told.len() as u64, EVENTS * THREADS);
        engine.close().unwrap();
        let next = disk.crash(Crash::seeded(seed));
        assert_all_there(&next, fsync, &told);
        let engine = open(&next.kill(), fsync);
        assert_eq!(events(&engine).len() as u64, EVENTS * THREADS);
    }
}
