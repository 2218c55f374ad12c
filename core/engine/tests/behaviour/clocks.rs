//! The clock of the computer is set while the database is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rstmdb_engine::storage::Clock;
use rstmdb_engine::{Background, Engine, Location, Options};
use rstmdb_testkit::clock::START_MS;
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{LOOP, location};
use rstmdb_types::*;

const HOUR_MS: i64 = 3_600_000;

/// A wall clock, which people set, and one that nobody sets.
#[derive(Debug)]
struct Clocks {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

impl Clocks {
    fn new() -> Arc<Clocks> {
        Arc::new(Clocks { wall: AtomicI64::new(START_MS), monotonic: AtomicI64::new(0) })
    }

    fn pass(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
        self.monotonic.fetch_add(ms, Ordering::SeqCst);
    }

    fn set_by(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Clocks {
    fn now_ms(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> i64 {
        self.monotonic.load(Ordering::SeqCst)
    }
}

fn open(disk: &FaultyStorage, clock: &Arc<Clocks>) -> Engine {
    let options =
        Options { free_bytes_min: 0, background: Background::Inline, ..Options::default() };
    Engine::open(Location { clock: clock.clone(), ..location(disk) }, options).unwrap()
}

fn apply(engine: &Engine, key: &str) -> ApplyEventResult {
    engine.apply_event(ApplyEventRequest::new("i", "E").with_key(key)).wait().unwrap()
}

#[test]
fn keys_outlive_a_clock_that_was_wrong_for_a_while() {
    for wrong_by in [25 * HOUR_MS, 10_000 * HOUR_MS, -25 * HOUR_MS] {
        let (disk, clock) = (FaultyStorage::new(1), Clocks::new());
        let engine = open(&disk, &clock);
        let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
        engine.put_machine(machine).wait().unwrap();
        engine.create_instance(CreateInstanceRequest::new("i", "m", 1)).wait().unwrap();
        let first = apply(&engine, "before");
        clock.pass(2_000);
        clock.set_by(wrong_by);
        let during = apply(&engine, "during");
        clock.pass(2_000);
        clock.set_by(-wrong_by);
        apply(&engine, "after");
        assert_eq!(engine.clock_steps(), 2, "each is noticed");

        for _ in 0..2 {
            for (key, known) in [("before", &first), ("during", &during)] {
                let again = apply(&engine, key);
                assert_eq!((again.applied, again.wal_offset), (false, known.wal_offset));
            }
            engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
        }
        let read = engine.wal_read(WalReadRequest::new(1)).wait().unwrap().records;
        let times: Vec<_> =
            read.iter().map(|record| record.timestamp.unwrap() - START_MS).collect();
        assert!(times.is_sorted() && times.iter().all(|at| (0..60_000).contains(at)), "{times:?}");
        engine.close().unwrap();

        let engine = open(&disk, &clock);
        assert_eq!(engine.clock_steps(), 0, "it is right again");
        assert_eq!(apply(&engine, "before").wal_offset, first.wal_offset);

        // A window that really passes ends.
        clock.pass(13 * HOUR_MS);
        apply(&engine, "later");
        clock.pass(12 * HOUR_MS);
        apply(&engine, "latest");
        assert!(apply(&engine, "before").applied, "{wrong_by}");
    }
}
