//! What compaction deletes, what stays readable, and what readers are told about the rest.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::storage::{MemoryStorage, Storage};
use rstmdb_engine::{Background, Engine, Location, Options, Retention};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::LOOP;
use rstmdb_types::error::reason;
use rstmdb_types::*;

struct Database {
    storage: Arc<dyn Storage>,
    clock: Arc<TestClock>,
    retention: Retention,
    engine: Engine,
}

impl Database {
    fn open(storage: Arc<dyn Storage>, retention: Retention) -> Database {
        let clock = Arc::new(TestClock::default());
        let engine = open(&storage, &clock, retention);
        Database { storage, clock, retention, engine }
    }

    fn on_disk(retention: Retention) -> Database {
        Database::open(Arc::new(FaultyStorage::new(1)), retention)
    }

    fn reopen(self) -> Database {
        self.engine.close().unwrap();
        drop(self.engine);
        let engine = open(&self.storage, &self.clock, self.retention);
        Database { engine, ..self }
    }

    fn prepare(&self) {
        let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
        self.engine.put_machine(machine).wait().unwrap();
        for id in ["a", "b"] {
            let create = CreateInstanceRequest::new(id, "m", 1)
                .with_ctx(Json::parse(r#"{"first":true}"#).unwrap());
            self.engine.create_instance(create).wait().unwrap();
        }
    }

    fn apply(&self, id: &str, count: u64) -> Offset {
        let mut last = 0;
        for n in 0..count {
            let payload = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(100));
            let request =
                ApplyEventRequest::new(id, "E").with_payload(Json::parse(&payload).unwrap());
            last = self.engine.apply_event(request).wait().unwrap().wal_offset;
        }
        last
    }

    fn compact(&self) -> CompactResult {
        self.engine.compact(CompactRequest::default()).wait().unwrap()
    }

    fn stats(&self) -> WalStatsResult {
        self.engine.wal_stats(WalStatsRequest {}).wait().unwrap()
    }

    fn history(&self, id: &str, order: HistoryOrder) -> HistoryResult {
        let request = HistoryRequest { order, limit: Some(5), ..HistoryRequest::new(id) };
        self.engine.history(request).wait().unwrap()
    }

    /// Every page of a history, oldest first; contexts must be whole.
    fn whole_history(&self, id: &str) -> Vec<Offset> {
        let mut offsets = Vec::new();
        let mut cursor = None;
        loop {
            let order = HistoryOrder::Oldest;
            let request =
                HistoryRequest { order, cursor, limit: Some(7), ..HistoryRequest::new(id) };
            let page = self.engine.history(request).wait().unwrap();
            for event in page.events {
                let ctx = event.ctx.unwrap();
                assert_eq!(ctx.root().get("first"), Some(rstmdb_types::JsonRef::Bool(true)));
                if let Some(n) = event.payload.root().get("n") {
                    assert_eq!(ctx.root().get("n"), Some(n));
                }
                offsets.push(event.wal_offset);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return offsets;
            }
        }
    }
}

fn open(storage: &Arc<dyn Storage>, clock: &Arc<TestClock>, retention: Retention) -> Engine {
    let location = Location {
        storage: storage.clone(),
        clock: clock.clone(),
        name: "test".to_owned(),
        ..Location::memory()
    };
    let options = Options {
        background: Background::Inline,
        segment_bytes_max: 8192,
        free_bytes_min: 0,
        checkpoint_log_bytes: 0,
        partitions: 2,
        retention,
        ..Options::default()
    };
    Engine::open(location, options).unwrap()
}

#[test]
fn forever_keeps_every_event() {
    let db = Database::on_disk(Retention::Forever);
    db.prepare();
    for _ in 0..4 {
        db.apply("a", 60);
        assert_eq!(db.compact().segments_deleted, 0);
    }
    let db = db.reopen();
    assert_eq!(db.whole_history("a").len(), 241);
    assert!(!db.history("a", HistoryOrder::Newest).truncated);
    assert_eq!(db.stats().first_offset, Some(1));
}

#[test]
fn a_bound_in_bytes_deletes_old_segments_and_the_rest_stands_alone() {
    let db = Database::on_disk(Retention::Bytes(20_000));
    db.prepare();
    for _ in 0..6 {
        db.apply("a", 60);
        db.apply("b", 1);
        db.compact();
    }
    let last = db.apply("a", 10);
    let before = db.stats();
    assert!(before.first_offset > Some(100) && before.total_size_bytes < 60_000, "{before:?}");
    let db = db.reopen();
    assert_eq!(db.stats().first_offset, before.first_offset);
    for id in ["a", "b"] {
        let offsets = db.whole_history(id);
        assert!(!offsets.is_empty(), "{id}");
        assert!(offsets.iter().all(|offset| Some(*offset) >= before.first_offset));
        assert!(db.history(id, HistoryOrder::Newest).truncated);
        assert!(db.history(id, HistoryOrder::Oldest).truncated);
    }
    assert_eq!(db.history("a", HistoryOrder::Newest).events[0].wal_offset, last);
    assert_eq!(Some(db.history("a", HistoryOrder::Newest).first_offset), before.first_offset);
}

#[test]
fn readers_below_the_first_offset_are_told() {
    let db = Database::on_disk(Retention::Bytes(1));
    db.prepare();
    db.apply("a", 100);
    // A watch that began while the events were there and reads them too late.
    let request = WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() };
    let (_, mut late) = db.engine.watch_all(request.clone()).unwrap();
    assert!(db.compact().segments_deleted > 0);
    let first = db.stats().first_offset.unwrap();
    assert!(first > 1);
    let error = loop {
        // What is in memory already may still come.
        if let Err(error) = late.next_blocking().unwrap() {
            break error;
        }
    };
    assert_eq!(error.reason(), Some(reason::OFFSET_COMPACTED));
    assert!(late.next_blocking().is_none());
    let error = db.engine.watch_all(request).unwrap_err();
    assert_eq!(error.context()["first_offset"], first);
    let last = db.apply("a", 1);
    let page = db.engine.wal_read(WalReadRequest::new(1)).wait().unwrap();
    // What the log begins with is the mark of the checkpoint.
    assert_eq!((first, page.records[0].offset), (last - 1, last));
    assert_eq!(page.next_offset, last + 1);
}

#[test]
fn a_bound_in_age_keeps_what_is_young() {
    let db = Database::on_disk(Retention::Age(Duration::from_secs(3600)));
    db.prepare();
    db.apply("a", 100);
    assert_eq!(db.compact().segments_deleted, 0);
    db.clock.advance_ms(2 * 3600 * 1000);
    let young = db.apply("a", 100);
    db.compact();
    assert!(db.stats().first_offset > Some(100));
    assert!(db.stats().first_offset <= Some(young - 99));
    assert_eq!(db.whole_history("a").last(), Some(&young));
}

#[test]
fn a_database_in_memory_gives_memory_back() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let db = Database::open(storage, Retention::Bytes(20_000));
    db.prepare();
    for _ in 0..5 {
        db.apply("a", 200);
        db.compact();
    }
    assert!(db.stats().total_size_bytes < 100_000, "{:?}", db.stats());
    assert!(db.stats().first_offset > Some(100));
    let last = db.apply("a", 1);
    assert_eq!(db.whole_history("a"), [last]);
}

#[test]
fn nothing_new_means_no_new_checkpoint() {
    let db = Database::on_disk(Retention::Forever);
    db.prepare();
    assert_eq!(db.compact().snapshots_created, 2);
    assert_eq!(db.compact().snapshots_created, 0);
    let forced = db.engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
    assert_eq!((forced.snapshots_created, forced.total_snapshots), (2, 2));
}
