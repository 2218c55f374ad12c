//! A workload on real files: threads that each push an instance of their own to and fro.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstmdb_engine::storage::SystemClock;
use rstmdb_engine::{Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_types::*;
use serde_json::json;

/// How many threads write.
pub const THREADS: u64 = 4;

/// The database on a simulated disk.
pub fn on_disk(disk: &FaultyStorage) -> Location {
    Location {
        storage: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock),
        name: "test".to_owned(),
        ..Location::memory()
    }
}

/// The database in a directory.
pub fn location(directory: &str) -> Location {
    Location::directory(directory)
}

/// Threads, small segments, a checkpoint now and then, the whole log kept.
pub fn options(fsync: FsyncPolicy) -> Options {
    Options {
        fsync,
        segment_bytes_max: 64 << 10,
        checkpoint_log_bytes: 128 << 10,
        retention: Retention::Forever,
        free_bytes_min: 0,
        ..Options::default()
    }
}

/// Stores the machine and the instances, unless they are there.
pub fn begin(engine: &Engine) {
    let definition = json!({
        "states": ["even", "odd"], "initial": "even",
        "transitions": [
            {"from": "even", "event": "STEP", "to": "odd"},
            {"from": "odd", "event": "STEP", "to": "even"},
        ],
    });
    engine.put_machine(PutMachineRequest::new("toggle", 1, definition)).wait().unwrap();
    for thread in 0..THREADS {
        let request = CreateInstanceRequest::new(instance(thread), "toggle", 1);
        match engine.create_instance(request).wait() {
            Err(error) if error.code() != ErrorCode::InstanceExists => panic!("{error}"),
            _ => {}
        }
    }
}

fn instance(thread: u64) -> String {
    format!("thread-{thread}")
}

/// The key of an event: no other event has it.
pub fn key(thread: u64, round: u64, number: u64) -> String {
    format!("{thread}-{round}-{number}")
}

/// One event of a thread.
pub fn event(thread: u64, round: u64, number: u64) -> ApplyEventRequest {
    let mut request = ApplyEventRequest::new(instance(thread), "STEP")
        .with_payload(json!({"round": round, "number": number}));
    request.idempotency_key = Some(key(thread, round, number).into());
    request
}

/// The events in the log by key, after checking that each is there once, that no offset is missing, marks included,
/// and that the instances are where the events lead.
pub fn events(engine: &Engine) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut steps = BTreeMap::new();
    let mut next = 1;
    loop {
        let request = json!({"from_offset": next, "limit": 1000, "entries": "all"});
        let page = engine.wal_read(Json::from_value(&request).decode().unwrap()).wait().unwrap();
        if page.records.is_empty() {
            break;
        }
        for record in page.records {
            assert_eq!(record.offset, next, "the log has a hole");
            next += 1;
            if let WalEntry::ApplyEvent { instance_id, idempotency_key, .. } = record.entry {
                *steps.entry(instance_id).or_insert(0) += 1;
                let twice = found.insert(idempotency_key.unwrap().to_string(), record.offset);
                assert_eq!(twice, None, "an event happened twice");
            }
        }
    }
    for (instance_id, steps) in steps {
        let request = GetInstanceRequest { instance_id };
        let state = engine.get_instance(request).wait().unwrap().state;
        assert_eq!(state, if steps % 2 == 0 { "even" } else { "odd" });
    }
    found
}
