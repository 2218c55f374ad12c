//! A disk that fills up or fails to sync while many clients write, with many requests on their way.

use std::collections::HashSet;

use rstmdb_testkit::process::Launch;
use rstmdb_testkit::wire::{Wire, await_condition};
use serde_json::{Value, json};

use crate::failing_disk::Disk;
use crate::writers::{Log, Told, WRITERS, Writing, begin, repeat};

/// The whole log is kept, to be checked against what clients were told.
fn launch(disk: &Disk) -> Launch {
    disk.launch().set("storage.retention", "forever").set("compaction.enabled", false)
}

/// The number of a request in the key of its event.
fn number(key: &str) -> u64 {
    key.split('-').nth(2).unwrap().parse().unwrap()
}

/// The requests that were acknowledged.
fn acknowledged(told: &Told) -> HashSet<u64> {
    told.acknowledged.iter().map(|(key, _)| number(key)).collect()
}

/// Creates an instance, which needs a write.
fn create(wire: &mut Wire, id: &str) -> Result<Value, Value> {
    wire.call("CREATE_INSTANCE", json!({"instance_id": id, "machine": "toggle", "version": 1}))
}

fn state(wire: &mut Wire, id: &str) -> Value {
    wire.call("GET_INSTANCE", json!({ "instance_id": id })).unwrap()
}

/// The same, beside writers: what was read may depend on a write that is taken back, and then the
/// client is to ask again.
fn state_beside_writers(wire: &mut Wire, id: &str) -> Value {
    let mut found = None;
    await_condition("the instance is read", || {
        match wire.call("GET_INSTANCE", json!({ "instance_id": id })) {
            Ok(state) => found = Some(state),
            Err(error) => assert_refused(&error, true),
        }
        found.is_some()
    });
    found.unwrap()
}

fn assert_refused(error: &Value, retryable: bool) {
    assert_eq!(error["code"], "WAL_IO_ERROR", "{error}");
    assert_eq!(error["retryable"], retryable, "{error}");
}

/// Starts again on a disk that works: everything acknowledged is there once, and what nobody answered
/// for is repeated.
fn is_whole_after_a_restart(launch: &Launch, round: u64, told: &[Told]) -> Vec<(String, bool)> {
    let server = launch.start();
    let mut wire = server.wire();
    let mut log = Log::default();
    log.read(&mut wire);
    let mut all = Vec::new();
    for told in told {
        let open = log.check(round, told);
        repeat(&mut wire, told.writer, &open, &log);
        all.extend(open);
    }
    log.read(&mut wire);
    assert_eq!(server.page("/health/ready").0, 200);
    server.stop();
    all
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_without_a_restart() {
    let disk = Disk::new();
    let launch = launch(&disk);
    let server = launch.start();
    let writing = Writing::begin(server.address(), 0);
    let mut wire = server.wire();
    for round in 0..3 {
        writing.await_answers(300);
        disk.set("write", "ENOSPC", "/log/");
        let error = create(&mut wire, &format!("refused-{round}")).unwrap_err();
        assert_refused(&error, true);
        assert!(error["message"].as_str().unwrap().contains("full"), "{error}");
        // Everyone goes on to be answered, and reads go on.
        writing.await_answers(300);
        for writer in 0..WRITERS {
            state_beside_writers(&mut wire, &format!("w{writer}"));
        }
        disk.clear("write");
        create(&mut wire, &format!("made-{round}")).unwrap();
        assert_eq!(server.page("/health/ready").0, 200);
    }
    writing.await_answers(300);
    server.stop();
    let told = writing.told();
    let mut refused = HashSet::new();
    for told in &told {
        told.refused.iter().for_each(|error| assert_refused(error, true));
        let done = acknowledged(told);
        let answered = (done.len() + told.refused.len()) as u64;
        let not_done = (0..answered).filter(|number| !done.contains(number));
        refused.extend(not_done.map(|number| (told.writer, number)));
    }
    assert!(!refused.is_empty());
    let open = is_whole_after_a_restart(&launch, 0, &told);
    for (key, there) in &open {
        let writer = key.split('-').nth(1).unwrap().parse().unwrap();
        assert!(!(*there && refused.contains(&(writer, number(key)))), "{key} was refused");
    }
}

#[test]
fn a_checkpoint_without_room_is_given_up_and_writes_go_on() {
    let disk = Disk::new();
    let server = launch(&disk).start();
    let mut wire = server.wire();
    begin(&mut wire);
    disk.set("write", "ENOSPC", "/checkpoints/");
    let error = wire.call("COMPACT", json!({"force_snapshot": true})).unwrap_err();
    assert_refused(&error, true);
    create(&mut wire, "meanwhile").unwrap();
    assert_eq!(server.page("/health/ready").0, 200);
    disk.clear("write");
    wire.call("COMPACT", json!({"force_snapshot": true})).unwrap();
    server.stop();
    let server = launch(&disk).start();
    assert_eq!(state(&mut server.wire(), "meanwhile")["state"], "even");
    server.stop();
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_health_says_why() {
    let disk = Disk::new();
    for (round, policy) in (0..).zip(["every_write", "every_n:20", "every_ms:5"]) {
        let launch = launch(&disk).set("storage.fsync_policy", policy);
        let server = launch.start();
        let mut watcher = server.wire();
        watcher.call("WATCH_ALL", json!({})).unwrap();
        let writing = Writing::begin(server.address(), round);
        writing.await_answers(500);
        disk.set("sync", "EIO", "/log/");
        let mut wire = server.wire();
        // Where an answer does not wait for its sync, some may still be good.
        let refused = (0..).find_map(|n| create(&mut wire, &format!("{policy}-{n}")).err());
        assert_refused(&refused.unwrap(), false);
        writing.await_answers(100);
        // The disk works again, but what it holds is not known: nothing is written before a new start.
        disk.clear("sync");
        let later = create(&mut wire, &format!("{policy}-later")).unwrap_err();
        assert_refused(&later, false);
        let (status, body) = server.page("/health/ready");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"]), (503, &json!("unhealthy")), "{body}");
        assert!(body["reason"].as_str().unwrap().contains("sync"), "{body}");
        assert_eq!(server.page("/health/live").0, 200);
        let shown: Vec<Value> =
            (0..WRITERS).map(|writer| state(&mut wire, &format!("w{writer}"))).collect();
        server.signal("TERM");
        let (code, said) = server.wait();
        assert_ne!(code, Some(0), "a stop that could not sync is no good stop: {said:?}");
        let told = writing.told();
        let mut offsets = HashSet::new();
        for (told, shown) in told.iter().zip(&shown) {
            assert!(!told.refused.is_empty());
            // Again with its key after a new start, but not before.
            told.refused.iter().for_each(|error| assert_refused(error, false));
            // Good answers come first: none after a bad one.
            let done = acknowledged(told);
            assert!((0..done.len() as u64).all(|number| done.contains(&number)));
            offsets.extend(told.acknowledged.iter().map(|(_, offset)| *offset));
            let last = told.acknowledged.last().map(|(key, _)| key.as_str());
            let seen =
                shown["ctx"]["key"].as_str().filter(|key| key.starts_with(&format!("{round}-")));
            assert_eq!(seen, last, "shows what was acknowledged");
        }
        for event in watcher.await_close() {
            let offset = event["wal_offset"].as_u64().unwrap();
            assert!(offsets.contains(&offset), "an event that nobody was told of: {event}");
        }
        is_whole_after_a_restart(&launch, round, &told);
    }
}
