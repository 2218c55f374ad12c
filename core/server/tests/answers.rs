//! Answers and events that do not fit a frame: refused before anything happens, and where something
//! did happen, that is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use rstmdb_engine::{Engine, Location, Options};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::Wire;
use serde_json::{Value, json};

const CONTEXT: usize = 1_000_000;

/// A server in front of an engine with other limits, and the instance `i` with a large context.
fn server(change: impl FnOnce(&mut Options)) -> TestServer {
    let config = TestServer::config();
    let mut options = config.engine_options();
    change(&mut options);
    let engine = Engine::open(Location::memory(), options).unwrap();
    let server = TestServer::start(Arc::new(engine), config).unwrap();
    let mut wire = server.wire();
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    let params = json!({"instance_id": "i", "machine": "m", "version": 1,
        "initial_ctx": {"x": "x".repeat(CONTEXT)}});
    wire.call("CREATE_INSTANCE", params).unwrap();
    server
}

fn event(n: usize) -> Value {
    json!({"op": "APPLY_EVENT", "params": {"instance_id": "i", "event": "E", "payload": {"n": n}}})
}

fn events(count: usize) -> Vec<Value> {
    (0..count).map(event).collect()
}

fn latest(wire: &mut Wire) -> u64 {
    wire.call("WAL_STATS", json!({})).unwrap()["latest_offset"].as_u64().unwrap()
}

#[test]
fn a_batch_whose_answer_would_not_fit_is_refused_before_anything_happens() {
    let server = server(|_| ());
    for features in [&[][..], &["extended"]] {
        for mode in ["atomic", "best_effort"] {
            let mut wire = Wire::hello(server.address(), features);
            let before = latest(&mut wire);
            let reads = json!({"op": "GET_INSTANCE", "params": {"instance_id": "i"}});
            let mixed = [vec![event(7)], vec![reads; 20]].concat();
            for ops in [events(40), events(16), mixed] {
                let params = json!({"mode": mode, "ops": ops});
                let error = wire.call("BATCH", params).unwrap_err();
                assert_eq!(error["code"], "BAD_REQUEST", "{error}");
                assert_eq!(error["details"]["reason"], "limit_exceeded");
                assert_eq!(error["details"]["context"]["limit"], "answer_bytes_max");
                assert!(error["message"].as_str().unwrap().contains("nothing of it was done"));
            }
            assert_eq!(latest(&mut wire), before);
            let read = wire.call("GET_INSTANCE", json!({"instance_id": "i"})).unwrap();
            assert_ne!(read["ctx"]["n"], 7);
            // What the message advises.
            let params = json!({"mode": mode, "ops": events(5)});
            let done = wire.call("BATCH", params).unwrap();
            assert!(done["results"].as_array().unwrap().iter().all(|one| one["status"] == "ok"));
            assert_eq!(latest(&mut wire), before + 5);
        }
    }
}

#[test]
fn operations_that_are_run_one_by_one_end_where_the_answer_is_full() {
    let server = server(|_| ());
    let mut wire = server.wire();
    let before = latest(&mut wire);
    let mut ops = events(40);
    for (n, op) in ops.iter_mut().enumerate() {
        op["params"]["idempotency_key"] = json!(format!("k{n}"));
    }
    let done = wire.call("BATCH", json!({ "ops": ops })).unwrap()["results"].clone();
    let done = done.as_array().unwrap();
    let applied = done.iter().take_while(|one| one["status"] == "ok").count();
    assert!((8..16).contains(&applied), "{applied}");
    for refused in &done[applied..] {
        assert_eq!(refused["error"]["details"]["reason"], "limit_exceeded", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("not run"), "{refused}");
    }
    assert_eq!(latest(&mut wire), before + applied as u64);
    // A batch inside of it is done before its size is known, and then says so.
    let nested = json!({"op": "BATCH", "params": {"ops": events(9)}});
    let ops = json!({"ops": [nested.clone(), nested.clone(), {"op": "PING"}]});
    let done = wire.call("BATCH", ops).unwrap()["results"].clone();
    assert_eq!(done[0]["status"], "ok");
    let error = &done[1]["error"];
    assert_eq!(error["details"]["reason"], "answer_too_large", "{error}");
    let last = latest(&mut wire);
    let offsets: Vec<u64> = (last - 8..=last).collect();
    assert_eq!(error["details"]["context"]["wal_offsets"], json!(offsets));
    assert!(done[2]["error"]["message"].as_str().unwrap().contains("not run"), "{}", done[2]);
}

#[test]
fn an_answer_that_can_not_be_sent_says_what_was_done() {
    let server = server(|options| options.limits.answer_bytes_max = usize::MAX);
    let mut wire = server.wire();
    let before = latest(&mut wire);
    let mut ops = events(40);
    ops[1]["params"]["event"] = json!("NO");
    let error = wire.call("BATCH", json!({ "ops": ops })).unwrap_err();
    assert_eq!((&error["code"], &error["retryable"]), (&json!("INTERNAL_ERROR"), &json!(false)));
    assert_eq!(error["details"]["reason"], "answer_too_large", "{error}");
    let context = &error["details"]["context"];
    let mut offsets: Vec<Option<u64>> = (before + 1..before + 40).map(Some).collect();
    offsets.insert(1, None);
    assert_eq!((&context["applied"], &context["wal_offsets"]), (&json!(true), &json!(offsets)));
    assert_eq!(latest(&mut wire), before + 39);
    // Of what changes nothing it is said how to get it.
    let reads = json!({"op": "GET_INSTANCE", "params": {"instance_id": "i"}});
    let error = wire.call("BATCH", json!({"ops": vec![reads; 40]})).unwrap_err();
    assert_eq!(error["details"]["reason"], "limit_exceeded");
}

#[test]
fn an_event_that_does_not_fit_ends_its_watch_alone() {
    let server = server(|options| {
        options.limits.context_bytes_max = 12 << 20;
        options.limits.payload_bytes_max = 12 << 20;
    });
    let mut wire = server.wire();
    let mut watcher = Wire::hello(server.address(), &["extended"]);
    let mut plain = Wire::hello(server.address(), &[]);
    let whole = watcher.call("WATCH_ALL", json!({})).unwrap();
    let small = watcher.call("WATCH_ALL", json!({"include_ctx": false})).unwrap();
    plain.call("WATCH_ALL", json!({})).unwrap();
    let payload = json!({"x": "x".repeat(9 << 20)});
    let params = json!({"instance_id": "i", "event": "E", "payload": payload});
    let offset = wire.call("APPLY_EVENT", params).unwrap()["wal_offset"].as_u64().unwrap();
    let (mut end, mut event) = (Value::Null, Value::Null);
    for _ in 0..2 {
        let said = watcher.event();
        let place = if said["type"] == "end" { &mut end } else { &mut event };
        *place = said;
    }
    assert_eq!(end["subscription_id"], whole["subscription_id"]);
    assert_eq!(end["error"]["details"]["reason"], "answer_too_large", "{}", end["error"]);
    assert_eq!(end["error"]["details"]["context"]["wal_offset"], offset);
    assert_eq!(end["error"]["retryable"], false);
    // The way out that it names.
    assert_eq!(event["subscription_id"], small["subscription_id"]);
    assert_eq!(event["wal_offset"], offset);
    assert_eq!(end["resume_offset"], offset + 1);
    assert!(plain.await_close().is_empty(), "a client that knows no end loses its connection");
    drop((wire, watcher, plain));
    server.await_idle();
}
