//! More waits to be written than may, on a disk that hangs: who writes waits, and nobody else does.
//!
//! The server of these tests has one thread, so whatever waits on it keeps everybody waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, outcome};
use rstmdb_types::{ApplyEventRequest, Json, Operation};
use serde_json::{Value, json};
use support::gate::{Gate, Opener};

/// A server on such a disk, and what lets it go on.
fn server() -> (TestServer, Opener) {
    let gate = Arc::new(Gate::default());
    let mut config = TestServer::config();
    config.metrics.enabled = true;
    config.metrics.bind_addr = config.network.bind_addr.clone();
    let mut options = config.engine_options();
    options.free_bytes_min = 0;
    options.sync_observer = Some(gate.observer());
    let location: Location = FaultyStorage::new(1).location();
    let engine = Engine::open(location, options).unwrap();
    let server = TestServer::start(Arc::new(engine), config).unwrap();
    let mut wire = server.wire();
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    for id in ["durable", "busy", "full"] {
        let params = json!({"instance_id": id, "machine": "m", "version": 1});
        wire.call("CREATE_INSTANCE", params).unwrap();
    }
    gate.set(true);
    wire.send("first", "APPLY_EVENT", &event("busy"));
    gate.await_writer();
    let payload = Json::from_value(&json!({"x": "x".repeat(900_000)}));
    while server.engine().has_room(Operation::ApplyEvent) {
        let payload = Some(payload.clone());
        let event = ApplyEventRequest { payload, ..ApplyEventRequest::new("full", "E") };
        drop(server.engine().begin(event));
    }
    (server, Opener(gate))
}

fn event(id: &str) -> Value {
    json!({"instance_id": id, "event": "E"})
}

/// All that needs no disk.
fn is_served(server: &TestServer) {
    let mut wire = Wire::hello(server.address(), &["extended"]);
    assert_eq!(wire.call("PING", json!({})).unwrap()["pong"], true);
    let params = json!({"instance_id": "durable"});
    assert_eq!(wire.call("GET_INSTANCE", params).unwrap()["state"], "a");
    let (head, body) = support::http(server.metrics_address(), "GET", "/health/live");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
}

#[test]
fn who_writes_waits_for_a_disk_that_hangs_and_nobody_else_does() {
    let (server, disk) = server();
    is_served(&server);
    // Small ones, a large one, one of many operations, and one whose operations are run one by one.
    let large = json!({"instance_id": "busy", "event": "E", "payload": {"x": "x".repeat(100_000)}});
    let operation = json!({"op": "APPLY_EVENT", "params": event("busy")});
    let many = json!({ "ops": vec![operation.clone(); 101] });
    let each = json!({"ops": [operation, {"op": "PING"}]});
    let definition = json!({"states": ["a"], "initial": "a", "transitions": []});
    let machine = json!({"machine": "n", "version": 1, "definition": definition});
    let create = json!({"machine": "m", "version": 1});
    let requests = [
        ("APPLY_EVENT", event("busy")),
        ("APPLY_EVENT", large),
        ("BATCH", each),
        ("BATCH", many),
        ("PUT_MACHINE", machine),
        ("CREATE_INSTANCE", create),
        ("COMPACT", json!({})),
    ];
    let mut writers: Vec<Wire> = Vec::new();
    for (op, params) in &requests {
        // Who asks for the extended dialect may send more operations at once.
        let is_many = params["ops"].as_array().is_some_and(|ops| ops.len() > 100);
        let features = if is_many { &["extended"][..] } else { &[] };
        let mut wire = Wire::hello(server.address(), features);
        wire.send("write", op, params);
        wire.send("ping", "PING", &json!({}));
        writers.push(wire);
        is_served(&server);
    }
    // Nothing came to the log beyond what fitted.
    let appended = format!("{:?}", server.engine());
    drop(disk);
    for ((op, _), mut wire) in requests.iter().zip(writers) {
        let answer = wire.answer();
        assert_eq!(answer["id"], "write", "{op}: {answer}");
        outcome(answer).unwrap_or_else(|error| panic!("{op}: {error}"));
        assert_eq!(wire.answer()["id"], "ping", "{op}");
    }
    assert_ne!(format!("{:?}", server.engine()), appended);
    server.stop().unwrap();
}

#[test]
fn a_stop_ends_the_waiting_for_room() {
    let (server, disk) = server();
    let mut wire = server.wire();
    wire.send("write", "APPLY_EVENT", &event("busy"));
    is_served(&server);
    let engine = server.engine().clone();
    let closing = std::thread::spawn(move || engine.close().unwrap());
    let refused = outcome(wire.answer()).unwrap_err();
    assert_eq!(refused["details"]["reason"], "reopening", "{refused}");
    drop(disk);
    closing.join().unwrap();
    server.stop().unwrap();
}
