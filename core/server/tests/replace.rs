//! The database of a server is replaced under open connections.
//!
//! The observer of syncs holds the log's writer: what was handed to it then is neither done nor failed,
//! as on a disk that hangs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Engine, Location, Options};
use rstmdb_server::live::Live;
use rstmdb_testkit::faulty::{Call, Effect, Fault, FaultyStorage};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, await_condition, outcome};
use serde_json::{Value, json};
use support::gate::{Gate, Opener};

fn options(gate: &Arc<Gate>) -> Options {
    let mut options = TestServer::config().engine_options();
    options.free_bytes_min = 0;
    options.sync_observer = Some(gate.observer());
    options
}

/// A server with a machine and the instance `i`.
fn server(engine: Engine) -> TestServer {
    let server = TestServer::start(Arc::new(engine), TestServer::config()).unwrap();
    let mut wire = server.wire();
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    wire.call("CREATE_INSTANCE", instance("i")).unwrap();
    server
}

fn instance(id: &str) -> Value {
    json!({"instance_id": id, "machine": "m", "version": 1})
}

fn event(n: u64) -> Value {
    json!({"instance_id": "i", "event": "E", "payload": {"n": n}})
}

/// Replaces the database while `meanwhile` runs, which begins when the old one was withdrawn.
fn replace(
    server: &TestServer,
    open: impl FnOnce() -> rstmdb_types::Result<Engine> + Send + 'static,
    meanwhile: impl FnOnce(),
) {
    let calls = server.calls().clone();
    let replacing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(calls.replace(open)).unwrap();
    });
    await_condition("the old database is withdrawn", || server.calls().engine().is_none());
    meanwhile();
    replacing.join().unwrap();
}

/// Waits until the log was given so many changes.
fn await_appended(server: &TestServer, changes: u64) {
    let appended = format!("appended {changes},");
    let given = || format!("{:?}", server.engine()).contains(&appended);
    await_condition("the log was given the changes", given);
}

/// Reason and retryability of an error.
fn of(error: &Value) -> (String, bool) {
    let reason = error["details"]["reason"].as_str().unwrap();
    (reason.to_owned(), error["retryable"].as_bool().unwrap())
}

/// Asks for what the log does not get to see: all of it can be repeated.
fn is_refused(wire: &mut Wire) {
    for (op, params) in [
        ("APPLY_EVENT", event(0)),
        ("GET_INSTANCE", json!({"instance_id": "i"})),
        ("HISTORY", json!({"instance_id": "i"})),
        ("WATCH_ALL", json!({})),
        ("BATCH", json!({"ops": [{"op": "APPLY_EVENT", "params": event(0)}]})),
    ] {
        let error = wire.call(op, params).unwrap_err();
        assert_eq!(of(&error), ("reopening".to_owned(), true), "{op}: {error}");
        assert_eq!(error["details"]["operation"], op);
    }
}

#[test]
fn sessions_go_on_with_a_database_that_was_closed_and_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let path = directory.path().to_owned();
    let (old, new) = (options(&gate), options(&gate));
    let server = server(Engine::open(Location::directory(&path), old).unwrap());
    let (mut writer, mut other) = (server.wire(), server.wire());
    let mut watcher = Wire::hello(server.address(), &["extended"]);
    let mut plain = Wire::hello(server.address(), &[]);
    let watch = json!({"include_lifecycle": true});
    watcher.call("WATCH_ALL", watch.clone()).unwrap();
    plain.call("WATCH_INSTANCE", json!({"instance_id": "i"})).unwrap();
    other.call("GET_INSTANCE", json!({"instance_id": "i"})).unwrap();

    // Handed over, while the log's writer is held.
    let _opener = Opener(gate.clone());
    gate.set(true);
    writer.send("1", "APPLY_EVENT", &event(1));
    gate.await_writer();
    writer.send("2", "APPLY_EVENT", &event(2));
    await_appended(&server, 4);
    let open = move || Engine::open(Location::directory(&path), new);
    replace(&server, open, || {
        is_refused(&mut other);
        gate.set(false);
    });

    // What the old one could still do it did, and said so.
    assert_eq!(outcome(writer.answer()).unwrap()["ctx"]["n"], 1);
    assert_eq!(outcome(writer.answer()).unwrap()["ctx"]["n"], 2);
    // Every watch ended; who knows the message learns where to resume.
    let mut seen: Vec<Value> = Vec::new();
    let end = loop {
        let said = watcher.event();
        if said["type"] == "end" {
            break said;
        }
        seen.push(said["wal_offset"].clone());
    };
    assert_eq!(of(&end["error"]), ("reopening".to_owned(), true));
    plain.await_close();
    // The connections go on, and from that place on nothing is missing and nothing comes twice.
    other.call("APPLY_EVENT", event(3)).unwrap();
    let mut resume = watch;
    resume["from_offset"] = end["resume_offset"].clone();
    watcher.call("WATCH_ALL", resume).unwrap();
    while seen.len() < 3 {
        seen.push(watcher.event()["wal_offset"].clone());
    }
    assert_eq!(seen, [3, 4, 5]);
    assert_eq!(other.call("GET_INSTANCE", json!({"instance_id": "i"})).unwrap()["ctx"]["n"], 3);
}

#[test]
fn what_a_failing_disk_leaves_open_is_unknown_and_the_session_goes_on() {
    let (disk, gate) = (FaultyStorage::new(1), Arc::new(Gate::default()));
    let server = server(Engine::open(disk.location(), options(&gate)).unwrap());
    let mut wire = server.wire();
    let _opener = Opener(gate.clone());
    gate.set(true);
    wire.send("1", "APPLY_EVENT", &event(1));
    gate.await_writer();
    wire.send("2", "APPLY_EVENT", &event(2));
    await_appended(&server, 4);
    let (new, again) = (options(&gate), disk.clone());
    let open = move || {
        again.clear_faults();
        Engine::open(again.location(), new)
    };
    replace(&server, open, || {
        disk.inject(Fault::new(Call::Sync, Effect::InputOutput).path("log"));
        gate.set(false);
    });
    assert_eq!(outcome(wire.answer()).unwrap()["ctx"]["n"], 1);
    let error = outcome(wire.answer()).unwrap_err();
    assert_eq!(of(&error), ("outcome_unknown".to_owned(), false), "{error}");
    let n = wire.call("GET_INSTANCE", json!({"instance_id": "i"})).unwrap()["ctx"]["n"].clone();
    assert!(n == 1 || n == 2, "{n}");
    wire.call("APPLY_EVENT", event(3)).unwrap();
}

#[test]
fn what_a_hanging_disk_was_given_is_unknown_as_soon_as_another_database_serves() {
    let (disk, gate) = (FaultyStorage::new(1), Arc::new(Gate::default()));
    let server = server(Engine::open(disk.location(), options(&gate)).unwrap());
    let mut watcher = Wire::hello(server.address(), &["extended"]);
    let watch = watcher.call("WATCH_ALL", json!({})).unwrap();
    let (mut wire, mut batches) = (server.wire(), server.wire());
    let _opener = Opener(gate.clone());
    gate.set(true);
    wire.send("1", "APPLY_EVENT", &event(1));
    gate.await_writer();
    // Behind it: another, a read of what is not durable, and a batch that waits on a thread.
    wire.send("2", "APPLY_EVENT", &event(2));
    wire.send("3", "GET_INSTANCE", &json!({"instance_id": "i"}));
    let keyed = json!({"instance_id": "i", "event": "E", "idempotency_key": "k"});
    batches.send("4", "BATCH", &json!({"ops": [{"op": "APPLY_EVENT", "params": keyed}]}));
    await_appended(&server, 5);
    let engine = server.engine().clone();

    assert!(server.calls().withdraw().is_some());
    is_refused(&mut server.wire());
    let copy = disk.image().restart();
    let other = Engine::open(copy.location(), TestServer::config().engine_options()).unwrap();
    server.calls().install(Arc::new(other));
    for (id, reason, retryable) in
        [("1", "outcome_unknown", false), ("2", "outcome_unknown", false), ("3", "reopening", true)]
    {
        let answer = wire.answer();
        assert_eq!(answer["id"], id);
        let error = outcome(answer).unwrap_err();
        assert_eq!(of(&error), (reason.to_owned(), retryable), "{error}");
    }
    let results = outcome(batches.answer()).unwrap()["results"].clone();
    assert_eq!(of(&results[0]["error"]), ("outcome_unknown".to_owned(), false), "{results}");
    let end = watcher.event();
    assert_eq!((&end["type"], &end["resume_offset"]), (&json!("end"), &watch["wal_offset"]));
    wire.call("APPLY_EVENT", event(4)).unwrap();
    let metrics = server.metrics();
    assert_eq!(metrics.subscriptions(true).get(), 0);

    gate.set(false);
    engine.close().unwrap();
}

#[test]
fn another_compaction_policy_holds_at_once_and_for_the_database_that_takes_its_place() {
    let disk = FaultyStorage::new(5);
    let gate = Arc::new(Gate::default());
    let (old, new) = (options(&gate), options(&gate));
    let server = server(Engine::open(disk.location(), old).unwrap());
    let mut wire = server.wire();
    let mut apply =
        |events| (0..events).for_each(|n| drop(wire.call("APPLY_EVENT", event(n)).unwrap()));
    let segments = || {
        let engine = server.calls().engine().unwrap();
        engine.wal_stats(rstmdb_types::WalStatsRequest {}).wait().unwrap().segment_count
    };
    apply(10);
    assert_eq!(segments(), 1, "nobody asked for a checkpoint");
    let mut config = TestServer::config();
    config.compaction.enabled = true;
    config.compaction.events_threshold = 10;
    config.compaction.min_interval = Duration::ZERO;
    let settings = server.settings();
    settings.replace(Live::new(&config, Some(&settings.current())).unwrap());
    await_condition("the changes of before are in a checkpoint", || segments() >= 2);
    replace(&server, move || Engine::open(disk.location(), new), || ());
    apply(10);
    // One that the end cut short comes again.
    await_condition("the next are too", || segments() >= 3);
    server.stop().unwrap();
}
