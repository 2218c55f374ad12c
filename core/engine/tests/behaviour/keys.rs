//! Keys of requests that changed nothing are remembered as those of others are.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_testkit::calls::{call, submit};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample::{apply, begin, location, options};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Operation};
use serde_json::{Value, json};

struct Database {
    disk: FaultyStorage,
    clock: Arc<TestClock>,
    engine: Engine,
    events: u64,
}

fn opened(disk: &FaultyStorage, clock: &Arc<TestClock>) -> Engine {
    let options = Options {
        retention: Retention::Bytes(30_000),
        idempotency_window: Duration::from_secs(60),
        ..options(FsyncPolicy::EveryWrite)
    };
    Engine::open(Location { clock: clock.clone(), ..location(disk) }, options).unwrap()
}

impl Database {
    fn new() -> Database {
        let (disk, clock) = (FaultyStorage::new(1), Arc::new(TestClock::new()));
        let engine = opened(&disk, &clock);
        begin(&engine);
        Database { disk, clock, engine, events: 0 }
    }

    /// The same after a crash.
    fn after(self, disk: FaultyStorage) -> Database {
        let engine = opened(&disk, &self.clock);
        Database { disk, engine, ..self }
    }

    fn call(&self, operation: Operation, request: Value) -> Result<Value, Error> {
        call(&self.engine, operation, &request).map(|answer| answer.to_value())
    }

    fn create(&self, id: &str) -> u64 {
        let request = json!({"instance_id": id, "machine": "m", "version": 1});
        self.call(Operation::CreateInstance, request).unwrap()["wal_offset"].as_u64().unwrap()
    }

    fn delete(&self, id: &str, key: Option<&str>) -> Result<u64, Error> {
        let mut request = json!({"instance_id": id});
        if let Some(key) = key {
            request["idempotency_key"] = key.into();
        }
        let deleted = self.call(Operation::DeleteInstance, request)?;
        Ok(deleted["wal_offset"].as_u64().unwrap())
    }

    fn latest(&self) -> u64 {
        self.call(Operation::Info, json!({})).unwrap()["latest_offset"].as_u64().unwrap()
    }

    fn lives(&self, id: &str) -> bool {
        self.call(Operation::GetInstance, json!({"instance_id": id})).is_ok()
    }

    /// Some segments of log, and then so much time.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..50 {
            apply(&self.engine, self.events).unwrap();
            self.events += 1;
        }
        self.clock.advance_ms(seconds * 1000);
    }

    fn compact(&self) {
        self.call(Operation::Compact, json!({"force_snapshot": true})).unwrap();
    }

    fn purge_floors(&self) -> Vec<u64> {
        let request = json!({"from_offset": 0, "limit": 1000, "entries": "all"});
        let log = self.call(Operation::WalRead, request).unwrap();
        let floors = log["records"].as_array().unwrap().iter();
        floors.filter_map(|record| record["entry"]["floor"].as_u64()).collect()
    }
}

#[test]
fn a_repeated_deletion_is_remembered_as_long_as_its_key() {
    let mut database = Database::new();
    database.create("x");
    database.create("y");
    let deletion = database.delete("x", None).unwrap();
    database.delete("y", None).unwrap();
    database.pass(0);
    database.compact();
    database.pass(50);
    assert_eq!(database.delete("x", Some("k")).unwrap(), deletion);
    let noted = database.latest();
    database.pass(30);
    database.pass(0);
    database.compact();
    let floors = database.purge_floors();
    assert!(floors.iter().all(|floor| (deletion + 1..noted).contains(floor)), "{floors:?}");
    assert!(!floors.is_empty(), "y is forgotten");
    assert_eq!(database.delete("y", None).unwrap_err().code(), ErrorCode::InstanceNotFound);
    for round in 0..3 {
        assert_eq!(database.delete("x", Some("k")).unwrap(), deletion, "round {round}");
        if round == 1 {
            database.create("x");
        }
        let disk =
            if round == 0 { database.disk.kill() } else { database.disk.crash(Crash::KEEP_NONE) };
        database = database.after(disk);
        database.compact();
    }
    assert!(database.lives("x"));
    database.pass(61);
    database.pass(0);
    assert!(database.delete("x", Some("k")).unwrap() > noted, "the key is old, and x lives");
    assert!(!database.lives("x"));
}

#[test]
fn only_a_key_that_is_new_takes_an_offset() {
    let database = Database::new();
    database.create("x");
    let deletion = database.delete("x", Some("first")).unwrap();
    for key in [None, Some("first"), None] {
        assert_eq!(database.delete("x", key).unwrap(), deletion);
    }
    assert_eq!(database.latest(), deletion);
    for key in [Some("second"), Some("second"), None, Some("third"), Some("second")] {
        assert_eq!(database.delete("x", key).unwrap(), deletion);
    }
    assert_eq!(database.latest(), deletion + 2);
    let event = json!({"instance_id": "x", "event": "E", "idempotency_key": "second"});
    let reused = database.call(Operation::ApplyEvent, event).unwrap_err();
    assert_eq!(reused.reason(), Some(reason::IDEMPOTENCY_KEY_REUSED));
}

#[test]
fn a_retry_is_answered_when_what_it_repeats_is_safe() {
    let database = Database::new();
    database.create("x");
    let deletion = database.delete("x", None).unwrap();
    let request = json!({"instance_id": "x", "idempotency_key": "k"});
    let first = submit(&database.engine, Operation::DeleteInstance, &request);
    let again = submit(&database.engine, Operation::DeleteInstance, &request);
    assert!(!first.is_ready && !again.is_ready);
    for answer in [again, first] {
        assert_eq!(answer.wait().unwrap().to_value()["wal_offset"], deletion);
    }
}

#[test]
fn what_could_not_be_noted_is_no_success() {
    let mut database = Database::new();
    database.create("x");
    let deletion = database.delete("x", None).unwrap();
    let full = Effect::Error(std::io::ErrorKind::StorageFull);
    database.disk.inject(Fault::new(Call::Write, full).path("log/").nth(1));
    let refused = database.delete("x", Some("k")).unwrap_err();
    assert_eq!((refused.reason(), refused.retryable()), (Some(reason::DISK_FULL), true));
    assert_eq!(database.delete("x", Some("k")).unwrap(), deletion);
    // In an atomic batch that is refused it is taken back.
    let delete = |key| json!({"op": "DELETE_INSTANCE", "params": {"instance_id": "x", "idempotency_key": key}});
    let gone = json!({"op": "GET_INSTANCE", "params": {"instance_id": "x"}});
    let ops = json!([delete("k"), delete("batch"), gone]);
    let batch = json!({"mode": "atomic", "ops": ops});
    let refused = database.call(Operation::Batch, batch).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InstanceNotFound);
    let latest = database.latest();
    assert_eq!(latest, deletion + 1);
    assert_eq!(database.delete("x", Some("batch")).unwrap(), deletion);
    assert_eq!(database.latest(), latest + 1, "it was new");
    database.create("x");
    for key in ["k", "batch"] {
        assert_eq!(database.delete("x", Some(key)).unwrap(), deletion);
    }
    let disk = database.disk.kill();
    database = database.after(disk);
    assert!(database.lives("x"));
}
