//! A disk that fills up and one whose syncs fail, step by step.

use rstmdb_testkit::process::ServerProcess;
use rstmdb_testkit::wire::Wire;
use serde_json::{Value, json};

use crate::failing_disk::Disk;

/// The call of a failure, its effect, and where it shows: on the whole disk.
const FULL: [&str; 3] = ["write", "ENOSPC", "/"];
const FULL_AFTER_HALF: [&str; 3] = ["write", "half", "/"];
const NO_SYNC: [&str; 3] = ["sync", "EIO", "/"];

fn fail(disk: &Disk, [call, effect, path_part]: [&str; 3]) {
    disk.set(call, effect, path_part);
}

fn begin(wire: &mut Wire) {
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    let params = json!({"instance_id": "i", "machine": "loop", "version": 1});
    wire.call("CREATE_INSTANCE", params).unwrap();
}

fn apply(wire: &mut Wire, n: u64) -> Result<Value, Value> {
    let params = json!({"instance_id": "i", "event": "E", "payload": {"n": n},
        "idempotency_key": n.to_string()});
    wire.call("APPLY_EVENT", params)
}

/// The number of the last event.
fn last(wire: &mut Wire) -> u64 {
    wire.call("GET_INSTANCE", json!({"instance_id": "i"})).unwrap()["ctx"]["n"].as_u64().unwrap()
}

/// The events in the log, each once and in order.
fn logged(wire: &mut Wire) -> Vec<u64> {
    let mut found = Vec::new();
    let mut from = 1;
    loop {
        let page = wire.call("WAL_READ", json!({"from_offset": from, "limit": 500})).unwrap();
        let records = page["records"].as_array().unwrap();
        if records.is_empty() {
            return found;
        }
        from = page["next_offset"].as_u64().unwrap();
        found.extend(records.iter().filter_map(|record| record["entry"]["payload"]["n"].as_u64()));
    }
}

/// The health page, as status and reason.
fn health(server: &ServerProcess) -> (u16, String) {
    let (status, body) = server.page("/health/ready");
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["reason"].as_str().unwrap_or_default().to_owned())
}

fn is(error: &Value, reason: &str, retryable: bool) -> bool {
    assert_eq!(error["code"], "WAL_IO_ERROR", "{error}");
    error["details"]["reason"] == reason && error["retryable"] == retryable
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_next_start() {
    let disk = Disk::new();
    let server = disk.launch().start();
    let mut wire = server.wire();
    begin(&mut wire);
    for n in 1..=50 {
        apply(&mut wire, n).unwrap();
    }
    let mut watcher = server.wire();
    watcher.call("WATCH_ALL", json!({})).unwrap();
    assert_eq!(health(&server).0, 200);
    fail(&disk, NO_SYNC);
    for n in 51..=70 {
        let params = json!({"instance_id": "i", "event": "E", "payload": {"n": n}});
        wire.send(&n.to_string(), "APPLY_EVENT", &params);
    }
    for n in 51..=70 {
        let answer = wire.answer();
        assert_eq!(answer["id"], n.to_string());
        let error = &answer["error"];
        let known = is(error, "outcome_unknown", false) || is(error, "writes_stopped", false);
        assert!(known, "{answer}");
    }
    // Syncs would succeed again, but what the failed one was for may be gone from the disk's cache.
    disk.clear("sync");
    let refused = apply(&mut wire, 80).unwrap_err();
    assert!(is(&refused, "writes_stopped", false), "{refused}");
    let (status, reason) = health(&server);
    assert_eq!(status, 503);
    assert!(reason.contains("sync") || reason.contains("log"), "{reason}");
    assert_eq!(server.page("/health/live").0, 200);
    assert_eq!(server.metric("rstmdb_writable"), 0.0);
    // What was durable can be read, and nobody was told of what was not.
    assert_eq!(last(&mut wire), 50);
    assert!(watcher.events_until_pong().is_empty());
    server.signal("TERM");
    let (code, said) = server.wait();
    assert!(code.is_some(), "{}", said.join("\n"));

    let server = disk.launch().start();
    let mut wire = server.wire();
    let found = logged(&mut wire);
    assert_eq!(found[..50], (1..=50).collect::<Vec<_>>());
    // Of the unanswered ones the first few may have happened, in order and whole.
    assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
    assert!(found.len() <= 70);
    assert_eq!(last(&mut wire), found.len() as u64);
    apply(&mut wire, 90).unwrap();
    assert_eq!(health(&server).0, 200);
    server.stop();
}

#[test]
fn a_full_disk_refuses_writes_and_they_go_on_when_there_is_room() {
    for how in [FULL, FULL_AFTER_HALF] {
        let disk = Disk::new();
        let server = disk.launch().start();
        let mut wire = server.wire();
        begin(&mut wire);
        for n in 1..=20 {
            apply(&mut wire, n).unwrap();
        }
        for round in 0..3 {
            fail(&disk, how);
            for n in 0..10 {
                let refused = apply(&mut wire, 1000 + n).unwrap_err();
                assert!(is(&refused, "disk_full", true), "{how:?}: {refused}");
            }
            // A checkpoint needs room too, and is none the worse for not getting it.
            wire.call("COMPACT", json!({"force_snapshot": true})).unwrap_err();
            assert_eq!(last(&mut wire), 20 + round);
            disk.clear(how[0]);
            assert_eq!(apply(&mut wire, 21 + round).unwrap()["applied"], true);
            wire.call("COMPACT", json!({"force_snapshot": true})).unwrap();
        }
        assert_eq!(health(&server).0, 200);
        fail(&disk, how);
        apply(&mut wire, 2000).unwrap_err();
        server.kill();
        disk.clear(how[0]);
        let server = disk.launch().start();
        let mut wire = server.wire();
        assert_eq!(logged(&mut wire), (1..=23).collect::<Vec<_>>(), "{how:?}");
        assert_eq!(last(&mut wire), 23);
        // A key that was refused has never happened.
        assert_eq!(apply(&mut wire, 2000).unwrap()["applied"], true);
        server.stop();
    }
}

#[test]
fn a_start_on_a_disk_that_fails_says_so_and_harms_nothing() {
    for (how, code) in [(FULL, 8), (NO_SYNC, 8)] {
        let disk = Disk::new();
        let server = disk.launch().start();
        let mut wire = server.wire();
        begin(&mut wire);
        apply(&mut wire, 1).unwrap();
        server.kill();
        fail(&disk, how);
        let mut said = String::new();
        match disk.launch().try_start() {
            // A start may find nothing to write.
            Ok(server) => server.kill(),
            Err((status, log)) => {
                said = log.join("\n");
                assert_eq!(status.code(), Some(code), "{said}");
            }
        }
        assert!(!said.contains("panicked"), "{said}");
        disk.clear(how[0]);
        let server = disk.launch().start();
        assert_eq!(last(&mut server.wire()), 1);
        server.stop();
    }
}
