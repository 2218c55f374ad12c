//! Jobs by a clock that the test moves: each is asked as its thread would ask it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rstmdb_types::*;

use super::Job;
use super::checkpoints::Checkpoints;
use super::digests::Digests;
use super::places::Places;
use super::snapshots::SnapshotTidying;
use super::writes::Syncs;
use crate::due::Due;
use crate::options::{Background, FsyncPolicy, Location, Options};
use crate::storage::testing::Solid;
use crate::storage::{Clock, Storage};
use crate::{CheckpointPolicy, Engine, Retention};

#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Bench {
    clock: Arc<Hands>,
    storage: Arc<dyn Storage>,
    engine: Engine,
}

impl Bench {
    fn new(options: Options) -> Bench {
        let (clock, storage) = (Arc::new(Hands::default()), Solid::shared());
        let engine = open(&storage, &clock, options);
        let definition =
            r#"{"states":["a"],"initial":"a","transitions":[{"from":"a","event":"GO","to":"a"}]}"#;
        let put = PutMachineRequest::new("m", 1, Json::parse(definition).unwrap());
        engine.put_machine(put).wait().unwrap();
        engine.create_instance(CreateInstanceRequest::new("x", "m", 1)).wait().unwrap();
        Bench { clock, storage, engine }
    }

    fn apply(&self, events: usize) {
        for _ in 0..events {
            self.engine.apply_event(ApplyEventRequest::new("x", "GO")).wait().unwrap();
        }
    }

    fn turn(&self, job: &mut dyn Job) -> Due {
        job.turn(&self.engine.shared, self.clock.monotonic_ms())
    }

    fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn reach(&self) -> Offset {
        self.engine.shared.growth.reach().offset
    }

    /// The offsets of the checkpoints, newest last.
    fn checkpoints(&self) -> Vec<Offset> {
        let manifest = self.engine.shared.manifest.lock();
        manifest.checkpoints.iter().map(|checkpoint| checkpoint.offset).collect()
    }
}

fn open(storage: &Arc<dyn Storage>, clock: &Arc<Hands>, options: Options) -> Engine {
    let (storage, clock) = (storage.clone(), clock.clone());
    Engine::open(Location { storage, clock, ..Location::memory() }, options).unwrap()
}

fn options() -> Options {
    let background = Background::Inline;
    Options { checkpoint_log_bytes: 0, background, ..Options::default() }
}

#[test]
fn a_checkpoint_is_written_after_so_many_changes_and_not_before_its_time() {
    let interval = Duration::from_secs(60);
    let bench = Bench::new(Options {
        checkpoint_changes: 10,
        checkpoint_interval_min: interval,
        ..options()
    });
    bench.apply(7);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at_offset(10));
    assert!(bench.checkpoints().is_empty());
    bench.apply(1);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at_offset(20), "the mark counts for the next");
    assert_eq!(bench.checkpoints(), [11]);
    bench.apply(9);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at(60_000));
    bench.pass(59_999);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at(60_000));
    assert_eq!(bench.checkpoints(), [11]);
    bench.pass(1);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at_offset(30));
    assert_eq!(bench.checkpoints(), [11, 21]);
}

#[test]
fn another_policy_holds_from_the_next_look_on() {
    let bench = Bench::new(options());
    bench.apply(50);
    assert_eq!(bench.turn(&mut Checkpoints), Due::NEVER);
    bench.engine.set_checkpoint_policy(CheckpointPolicy { changes: 50, ..Default::default() });
    assert_eq!(bench.turn(&mut Checkpoints), Due::at_offset(102));
    assert_eq!(bench.checkpoints(), [53]);
}

#[test]
fn a_checkpoint_that_was_asked_for_counts_as_the_last() {
    let bench = Bench::new(Options { checkpoint_changes: 10, ..options() });
    bench.apply(5);
    bench.engine.compact(CompactRequest::default()).wait().unwrap();
    bench.apply(5);
    assert_eq!(bench.turn(&mut Checkpoints), Due::at_offset(17));
    assert_eq!(bench.checkpoints(), [8]);
}

#[test]
fn what_was_in_no_checkpoint_at_the_opening_counts() {
    let Bench { clock, storage, engine } = {
        let bench = Bench::new(options());
        bench.apply(10);
        bench
    };
    engine.close().unwrap();
    let engine = open(&storage, &clock, Options { checkpoint_changes: 12, ..options() });
    let bench = Bench { clock, storage, engine };
    bench.turn(&mut Checkpoints);
    assert_eq!(bench.checkpoints(), [13]);
}

#[test]
fn a_checkpoint_at_the_end_adds_no_effect_and_leaves_nothing_to_replay() {
    for retention in [Retention::Forever, Retention::Bytes(0)] {
        let options = Options { checkpoint_at_close: true, retention, ..options() };
        let bench = Bench::new(options.clone());
        bench.apply(500);
        bench.engine.compact(CompactRequest::default()).wait().unwrap();
        bench.apply(1000);
        let (end, mark) = (bench.reach(), 503);
        assert_eq!(end, 1503);
        bench.engine.close().unwrap();
        assert_eq!(bench.checkpoints(), [mark, end]);
        assert_eq!(bench.engine.shared.manifest.lock().boundaries.last(), Some(&(mark - 1)));
        let engine = open(&bench.storage, &bench.clock, options);
        let again = Bench { engine, ..bench };
        assert_eq!(again.reach(), end);
        again.apply(3);
        let records = again.engine.wal_read(WalReadRequest::new(end)).wait().unwrap().records;
        assert_eq!(records.len(), 4, "the log goes on");
        let read = GetInstanceRequest { instance_id: "x".into() };
        assert_eq!(again.engine.get_instance(read).wait().unwrap().last_wal_offset, end + 3);
        again.engine.close().unwrap();
        assert_eq!(again.checkpoints(), [mark, end], "three changes are not worth it");
    }
}

#[test]
fn a_digest_comes_some_time_after_a_change_and_never_at_rest() {
    let bench = Bench::new(Options { digest: true, ..options() });
    let mut digests = Digests::default();
    bench.pass(1000);
    assert_eq!(bench.turn(&mut digests).at_ms, 11_000);
    bench.pass(9_999);
    assert_eq!(bench.turn(&mut digests).at_ms, 11_000);
    bench.pass(1);
    assert_eq!(bench.turn(&mut digests), Due::at_offset(4), "with the next change");
    assert_eq!(bench.reach(), 3);
    bench.pass(1 << 40);
    assert_eq!(bench.turn(&mut digests), Due::at_offset(4));
    assert_eq!(bench.reach(), 3, "nothing changed");
}

#[test]
fn snapshots_are_looked_at_when_something_was_written_and_not_too_often() {
    let bench = Bench::new(options());
    let mut job = SnapshotTidying::new();
    let snapshot = || {
        let request = SnapshotInstanceRequest { instance_id: "x".into() };
        bench.engine.snapshot_instance(request).wait().unwrap()
    };
    let there = || bench.engine.shared.snapshots.extent().unwrap().snapshots;
    assert_eq!(bench.turn(&mut job), Due::NEVER, "who writes one wakes it");
    bench.apply(1);
    assert_eq!(bench.turn(&mut job), Due::NEVER);
    snapshot();
    assert_eq!(bench.turn(&mut job), Due::at_offset(4));
    bench.apply(1);
    assert_eq!(bench.turn(&mut job), Due::at(20), "it has just looked");
    bench.pass(20);
    assert_eq!(bench.turn(&mut job), Due::at_offset(5));
    snapshot();
    assert_eq!(bench.turn(&mut job), Due::at(40));
    let delete = DeleteInstanceRequest { instance_id: "x".into(), idempotency_key: None };
    bench.engine.delete_instance(delete).wait().unwrap();
    assert_eq!(there(), 2);
    bench.pass(20);
    assert_eq!(bench.turn(&mut job), Due::NEVER);
    assert_eq!(there(), 0);
}

#[test]
fn syncs_are_due_only_while_something_is_not_synced() {
    let bench = Bench::new(Options { fsync: FsyncPolicy::EveryMs(10), ..options() });
    let mut syncs = Syncs::every(10);
    let synced = |bench: &Bench| bench.engine.shared.queue.with_sink(|sink| sink.writer.synced());
    assert_eq!(bench.turn(&mut syncs), Due::at(10));
    assert_eq!(synced(&bench), 0);
    bench.pass(9);
    assert_eq!(bench.turn(&mut syncs), Due::at(10));
    bench.pass(1);
    assert_eq!(bench.turn(&mut syncs), Due::at(20), "more may come");
    assert_eq!(synced(&bench), 2);
    bench.pass(10);
    assert_eq!(bench.turn(&mut syncs), Due::at_offset(3));
    bench.pass(5);
    bench.apply(1);
    bench.apply(1);
    assert_eq!(bench.turn(&mut syncs), Due::at(35));
}

#[test]
fn removing_snapshots_waits_for_no_compaction() {
    let bench = Bench::new(options());
    let mut tidying = SnapshotTidying::new();
    let request = SnapshotInstanceRequest { instance_id: "x".into() };
    bench.engine.snapshot_instance(request).wait().unwrap();
    let request = DeleteInstanceRequest { instance_id: "x".into(), idempotency_key: None };
    bench.engine.delete_instance(request).wait().unwrap();
    let compacting = bench.engine.shared.manifest.lock();
    assert_eq!(bench.turn(&mut tidying), Due::at(20), "it comes again");
    drop(compacting);
    bench.pass(20);
    assert_eq!(bench.turn(&mut tidying), Due::NEVER, "it is gone");
}

#[test]
fn the_time_of_the_newest_checkpoint_is_the_same_after_a_restart() {
    let bench = Bench::new(options());
    bench.pass(1000);
    bench.apply(3);
    bench.engine.compact(CompactRequest::default()).wait().unwrap();
    bench.pass(500);
    bench.apply(2);
    let before = bench.engine.condition();
    assert!(before.checkpoint_at >= 1000, "{before:?}");
    let Bench { clock, storage, engine } = bench;
    engine.close().unwrap();
    let engine = open(&storage, &clock, options());
    let after = engine.condition();
    assert_eq!(
        (after.checkpoint_offset, after.checkpoint_at),
        (before.checkpoint_offset, before.checkpoint_at)
    );
}

#[test]
fn followers_are_told_how_far_the_log_has_come_some_at_a_time() {
    #[derive(Default)]
    struct Count(AtomicI64);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let bench = Bench::new(options());
    bench.engine.create_instance(CreateInstanceRequest::new("y", "m", 1)).wait().unwrap();
    let count = Arc::new(Count::default());
    let waker = count.clone().into();
    let mut watches: Vec<_> = (0..300)
        .map(|_| bench.engine.watch_instance(WatchInstanceRequest::new("y")).unwrap().1)
        .collect();
    let mut ask_all = || {
        for watch in &mut watches {
            assert!(watch.poll_next(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        watches.iter().map(|watch| watch.resume_offset()).min().unwrap()
    };
    let woken = || count.0.swap(0, Ordering::SeqCst);
    ask_all();
    let mut job = Places::default();
    let next = bench.reach() + 1;
    assert_eq!(
        bench.turn(&mut job),
        Due::at_offset(next),
        "nothing is due while nothing is written"
    );
    bench.apply(1);
    assert_eq!((bench.turn(&mut job), woken()), (Due::at(100), 0), "a change alone wakes nobody");
    for (at, expected) in [(200, 128), (300, 128)] {
        bench.pass(100);
        assert_eq!((bench.turn(&mut job), woken()), (Due::at(at), expected));
    }
    bench.pass(100);
    assert_eq!((bench.turn(&mut job), woken()), (Due::at_offset(next + 1), 44));
    assert_eq!(ask_all(), next + 1);
    bench.apply(1);
    assert_eq!(bench.turn(&mut job), Due::at(1_100), "a second after the round before");
    // Who asks by itself needs not be told.
    assert_eq!(ask_all(), next + 2);
    bench.pass(800);
    assert_eq!((bench.turn(&mut job), woken()), (Due::at(1_200), 0));
}
