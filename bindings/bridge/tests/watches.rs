//! Watches of the bridge: pulled, given up without loss, ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::mpsc::channel;

use rstmdb_bridge::types::{
    ApplyEventRequest, CreateInstanceRequest, ErrorCode, Json, Operation, PutMachineRequest,
    WatchAllRequest,
};
use rstmdb_bridge::{Database, Events, Started, Watch};
use rstmdb_testkit::server::TestServer;

const DEFINITION: &str = r#"{"states":["a"],"initial":"a","transitions":[
    {"from":"a","event":"GO","to":"a"}]}"#;

fn prepare(database: &Database) -> Watch {
    let definition = Json::parse(DEFINITION).unwrap();
    database.start(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    database.start(CreateInstanceRequest::new("i", "m", 1)).wait().unwrap();
    database.watch_start(WatchAllRequest::default()).wait().unwrap().1
}

fn apply(database: &Database) -> u64 {
    database.start(ApplyEventRequest::new("i", "GO")).wait().unwrap().wal_offset
}

fn offsets(events: Option<Events>) -> Vec<u64> {
    events.unwrap().take().iter().map(|event| event.wal_offset).collect()
}

#[test]
fn events_come_in_batches_and_in_order() {
    let database = Database::open("mem:", "").unwrap();
    let watch = prepare(&database);
    let applied: Vec<u64> = (0..5).map(|_| apply(&database)).collect();
    assert_eq!(offsets(watch.next_start(3).wait().unwrap()), applied[..3]);
    assert_eq!(watch.position().next, applied[3]);
    assert_eq!(offsets(watch.next_start(100).wait().unwrap()), applied[3..]);
    assert_eq!(watch.position().next, applied[4] + 1);
}

#[test]
fn events_that_nobody_took_are_the_next_ones_again() {
    let database = Database::open("mem:", "").unwrap();
    let watch = prepare(&database);
    let applied: Vec<u64> = (0..4).map(|_| apply(&database)).collect();
    drop(watch.next_start(2).wait().unwrap());
    assert_eq!(watch.position().next, applied[0]);
    let mut seen = Vec::new();
    while seen.len() < applied.len() {
        seen.extend(offsets(watch.next_start(100).wait().unwrap()));
    }
    assert_eq!(seen, applied);
}

#[test]
fn cancelled_waits_lose_nothing() {
    let server = TestServer::in_memory(|_| {});
    let database = Database::open(&server.url(), "").unwrap();
    let watch = prepare(&database);
    let mut applied = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..300 {
        match watch.next_start(1) {
            Started::Ready(events) => seen.extend(offsets(events.unwrap())),
            Started::Waiting(waiting) => {
                let (sender, receiver) = channel();
                let ticket = waiting.finish(move |events| sender.send(events).unwrap());
                applied.push(apply(&database));
                // Cancelled, the wait is gone at once: the next one finds the place free.
                if !ticket.cancel() {
                    seen.extend(offsets(receiver.recv().unwrap().unwrap()));
                }
            }
        }
    }
    while seen.len() < applied.len() {
        seen.extend(offsets(watch.next_start(100).wait().unwrap()));
    }
    assert_eq!(seen, applied);
}

#[test]
fn events_that_nobody_took_come_after_resuming() {
    let database = Database::open("mem:", "").unwrap();
    let watch = prepare(&database);
    let applied: Vec<u64> = (0..4).map(|_| apply(&database)).collect();
    assert_eq!(offsets(watch.next_start(1).wait().unwrap()), applied[..1]);
    let untaken = watch.next_start(2).wait().unwrap();
    watch.end();
    drop(untaken);
    assert_eq!(watch.position().next, applied[1]);
}

#[test]
fn one_wait_at_a_time() {
    let database = Database::open("mem:", "").unwrap();
    let watch = prepare(&database);
    let first = watch.next_start(1);
    assert!(matches!(first, Started::Waiting(_)));
    let error = watch.next_start(1).wait().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
    let offset = apply(&database);
    assert_eq!(offsets(first.wait().unwrap()), [offset]);
}

#[test]
fn ending_and_closing_wake_who_waits() {
    for close in [false, true] {
        let database = Database::open("mem:", "").unwrap();
        let watch = prepare(&database);
        let (sender, receiver) = channel();
        let Started::Waiting(waiting) = watch.next_start(1) else { panic!() };
        waiting.finish(move |events| sender.send(events.map(|events| events.is_none())).unwrap());
        if close {
            database.close().unwrap();
        } else {
            watch.end();
        }
        assert!(receiver.recv().unwrap().unwrap());
        assert!(watch.next_start(1).wait().unwrap().is_none());
        watch.end();
    }
}

#[test]
fn json_begins_a_watch() {
    let database = Database::open("mem:", "").unwrap();
    prepare(&database);
    let begin =
        |operation, request: &str| database.watch_start_json(operation, request.as_bytes()).wait();
    let (result, watch) = begin(Operation::WatchInstance, r#"{"instance_id":"i"}"#).unwrap();
    assert!(result.contains("\"current_state\":\"a\""), "{result}");
    apply(&database);
    let events = watch.next_start(9).wait().unwrap().unwrap().take_json();
    assert!(events.starts_with("[{") && events.contains("\"to_state\":\"a\""), "{events}");
    assert_eq!(begin(Operation::Ping, "{}").unwrap_err().code(), ErrorCode::BadRequest);
    let missing = begin(Operation::WatchInstance, r#"{"instance_id":"x"}"#).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::InstanceNotFound);
}

#[test]
fn the_echo_has_events_without_end() {
    let database = Database::open("echo:", "").unwrap();
    let (_, watch) = database.watch_start_json(Operation::WatchAll, b"{}").wait().unwrap();
    let mut next = 1;
    for _ in 0..10 {
        for offset in offsets(watch.next_start(7).wait().unwrap()) {
            assert_eq!(offset, next);
            next += 1;
        }
    }
    watch.end();
    assert!(watch.next_start(1).wait().unwrap().is_none());
}
