//! What went wrong over the network once. Each test failed before its bug was fixed.

use rstmdb_protocol::WireMode;
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, frame_of, outcome, request};
use serde_json::json;

fn server() -> TestServer {
    TestServer::in_memory(|_| ())
}

fn with_instances(wire: &mut Wire, ids: &[&str]) {
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let machine = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", machine).unwrap();
    for id in ids {
        let instance = json!({"instance_id": id, "machine": "loop", "version": 1});
        wire.call("CREATE_INSTANCE", instance).unwrap();
    }
}

#[test]
fn a_page_far_behind_the_end_is_empty_at_once() {
    let server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x", "y"]);
    let page = wire.call("LIST_INSTANCES", json!({"offset": u32::MAX})).unwrap();
    assert_eq!(page, json!({"instances": [], "total": 2, "has_more": false}));
}

#[test]
fn a_batch_of_reads_stops_where_its_answer_is_full() {
    let server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x"]);
    let payload = json!({"text": "x".repeat(3 << 20)});
    wire.call("APPLY_EVENT", json!({"instance_id": "x", "event": "E", "payload": payload}))
        .unwrap();
    let read = json!({"op": "GET_INSTANCE", "params": {"instance_id": "x"}});
    let reads = vec![read; 100];
    let error = wire.call("BATCH", json!({ "ops": reads })).unwrap_err();
    assert_eq!(error["details"]["reason"], "limit_exceeded", "{error}");

    let nested = json!({"op": "BATCH", "params": {"ops": [{"op": "PING"}, reads[0]]}});
    let results = wire.call("BATCH", json!({"ops": vec![nested; 8]})).unwrap();
    let reasons: Vec<_> = results["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["error"]["details"]["reason"].as_str())
        .collect();
    assert_eq!(reasons.first(), Some(&None));
    assert_eq!(reasons.last(), Some(&Some("limit_exceeded")));
    let pings = json!({"op": "BATCH", "params": {"ops": vec![json!({"op": "PING"}); 100]}});
    let results = wire.call("BATCH", json!({"ops": vec![pings; 20]})).unwrap();
    let last = &results["results"][19];
    assert_eq!(last["error"]["details"]["reason"], "limit_exceeded", "{last}");
    assert_eq!(results["results"][0]["result"]["results"][99]["status"], "ok");
}

#[test]
fn a_client_that_fails_to_authenticate_has_a_few_tries() {
    let server = TestServer::in_memory(|config| {
        config.auth.required = true;
        config.auth.token_hashes = vec![rstmdb_server::config::TokenHash::of(None, "right")];
    });
    let mut wire = server.wire();
    for n in 0..10 {
        wire.send(&n.to_string(), "AUTH", &json!({"token": "wrong"}));
    }
    let answers = wire.await_close();
    assert_eq!(answers.len(), 10);
    assert!(answers.iter().all(|answer| answer["error"]["code"] == "AUTH_FAILED"));
    let mut wire = server.wire();
    wire.call("AUTH", json!({"token": "wrong"})).unwrap_err();
    wire.call("AUTH", json!({"token": "right"})).unwrap();
}

#[test]
fn an_answer_does_not_grow_with_what_it_quotes() {
    let server = server();
    let mut wire = server.wire();
    let long = "\u{7f}".repeat(1 << 20);
    let id = wire.ask(&long, &json!({}));
    let answer = wire.answer();
    assert_eq!(answer["id"], id.as_str());
    assert!(answer.to_string().len() < 2000, "{}", answer.to_string().len());
    let error = wire.call("GET_INSTANCE", json!({ "instance_id": long })).unwrap_err();
    assert_eq!(error["code"], "INSTANCE_NOT_FOUND");
    assert!(error.to_string().len() < 100_000, "{}", error.to_string().len());

    let id = "i".repeat(1 << 20);
    wire.send(&id, "PING", &json!({}));
    assert!(wire.await_close().is_empty());
}

#[test]
fn a_replay_echoes_the_event_id_of_its_own_request() {
    let server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x"]);
    let event = |id: Option<&str>| {
        let mut event = json!({"instance_id": "x", "event": "E", "idempotency_key": "k"});
        if let Some(id) = id {
            event["event_id"] = json!(id);
        }
        event
    };
    let first = wire.call("APPLY_EVENT", event(Some("e1"))).unwrap();
    let again = wire.call("APPLY_EVENT", event(Some("e2"))).unwrap();
    assert_eq!((&first["event_id"], &again["event_id"]), (&json!("e1"), &json!("e2")));
    let without = wire.call("APPLY_EVENT", event(None)).unwrap();
    assert!(without.get("event_id").is_none());
    assert_eq!(without["wal_offset"], first["wal_offset"]);
}

/// What 0.3.0 does in one life of an id, and keys over lives where it says nothing else.
#[test]
fn a_key_outlives_its_instance_in_the_plain_dialect_too() {
    let server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x"]);
    let event = json!({"instance_id": "x", "event": "E", "idempotency_key": "k"});
    let delete = json!({"instance_id": "x", "idempotency_key": "d"});
    let first = wire.call("APPLY_EVENT", event.clone()).unwrap();
    let deleted = wire.call("DELETE_INSTANCE", delete.clone()).unwrap();
    let missing = wire.call("APPLY_EVENT", event.clone()).unwrap_err();
    assert_eq!(missing["code"], "INSTANCE_NOT_FOUND", "as in 0.3.0, whatever the key");
    wire.call("CREATE_INSTANCE", json!({"instance_id": "x", "machine": "loop", "version": 1}))
        .unwrap();
    assert_eq!(wire.call("DELETE_INSTANCE", delete).unwrap(), deleted);
    let again = wire.call("APPLY_EVENT", event).unwrap();
    assert_eq!((&again["wal_offset"], &again["applied"]), (&first["wal_offset"], &json!(false)));
    let got = wire.call("GET_INSTANCE", json!({"instance_id": "x"})).unwrap();
    assert!(got["last_wal_offset"].as_u64() > deleted["wal_offset"].as_u64(), "it lives: {got}");
}

#[test]
fn a_quiet_watch_is_resumed_though_its_offset_was_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = TestServer::config();
    config.storage.free_bytes_min = 0;
    config.storage.retention = rstmdb_engine::Retention::Bytes(0);
    config.storage.wal_segment_bytes = 64 << 10;
    let location = rstmdb_engine::Location::directory(directory.path());
    let engine = rstmdb_engine::Engine::open(location, config.engine_options()).unwrap();
    let server = TestServer::start(std::sync::Arc::new(engine), config).unwrap();
    let mut wire = server.wire();
    with_instances(&mut wire, &["quiet", "busy"]);
    let payload = json!({"text": "x".repeat(8 << 10)});
    for _ in 0..40 {
        let event = json!({"instance_id": "busy", "event": "E", "payload": payload});
        wire.call("APPLY_EVENT", event).unwrap();
    }
    wire.call("COMPACT", json!({})).unwrap();
    let gone = wire.call("WATCH_ALL", json!({"from_offset": 3})).unwrap_err();
    assert_eq!(gone["details"]["reason"], "offset_compacted", "{gone}");

    let mut watcher = server.wire();
    let watch = json!({"instance_id": "quiet", "from_offset": 3});
    watcher.call("WATCH_INSTANCE", watch).unwrap();
    wire.call("APPLY_EVENT", json!({"instance_id": "quiet", "event": "E"})).unwrap();
    assert_eq!(watcher.event()["instance_id"], "quiet");
}

#[test]
fn requests_that_had_arrived_are_answered_at_a_stop() {
    let mut server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x"]);
    // Behind a request that runs elsewhere, so that the others wait in the server.
    let mut bytes = request(WireMode::Frames, "0", "COMPACT", &json!({}));
    let event = json!({"instance_id": "x", "event": "E"});
    for n in 1..100 {
        bytes.extend(request(WireMode::Frames, &n.to_string(), "APPLY_EVENT", &event));
    }
    // In one write, so that the others have arrived when the first is answered.
    wire.send_bytes(&bytes);
    let first = wire.answer();
    server.begin_stop();
    outcome(first).unwrap();
    let mut answered = 0;
    for answer in wire.await_close() {
        outcome(answer).unwrap();
        answered += 1;
    }
    let events = server.engine().info(rstmdb_types::InfoRequest {}).wait();
    // A closed engine has nothing to say; then the count of answers stands alone.
    if let Ok(info) = events {
        // Behind a machine, an instance and the mark of the compaction.
        assert_eq!(info.latest_offset, Some(3 + answered));
    }
    assert_eq!(answered, 99);
}

#[test]
fn a_history_of_large_contexts_comes_in_shorter_pages() {
    let server = server();
    let mut wire = server.wire();
    with_instances(&mut wire, &["x"]);
    let payload = json!({"text": "x".repeat(2 << 20)});
    wire.call("APPLY_EVENT", json!({"instance_id": "x", "event": "E", "payload": payload}))
        .unwrap();
    for _ in 0..20 {
        wire.call("APPLY_EVENT", json!({"instance_id": "x", "event": "E"})).unwrap();
    }
    let mut seen = 0;
    let mut cursor = json!(null);
    loop {
        let page = wire.call("HISTORY", json!({"instance_id": "x", "cursor": cursor})).unwrap();
        seen += page["events"].as_array().unwrap().len();
        match page.get("next_cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(seen, 22);
}

#[test]
fn integers_that_do_not_fit_are_floats_in_the_plain_dialect_and_refused_in_the_other() {
    let server = server();
    let mut plain = server.wire();
    with_instances(&mut plain, &["x"]);
    let mut extended = Wire::hello(server.address(), &["extended"]);
    // Numbers that no tree of values holds go over the wire as they are.
    let send = |wire: &mut Wire, op: &str, params: &str| {
        let text = format!(r#"{{"type":"request","id":"1","op":"{op}","params":{params}}}"#);
        wire.send_bytes(&frame_of(text.as_bytes()));
        outcome(wire.answer())
    };
    let guarded = r#"{"states":["a"],"initial":"a","transitions":[{"from":"a","event":"E","to":"a",
        "guard":"ctx.n >= 18446744073709551616"}],"meta":{"n":18446744073709551616}}"#;
    let meta = guarded.replace("18446744073709551616\"", "18446744073709551615\"");
    let guard = guarded.replace("18446744073709551616}", "1}");
    for (op, params, path) in [
        ("APPLY_EVENT", r#"{"instance_id":"x","event":"E","payload":{"a":[0,{"b":18446744073709551616}]}}"#.to_owned(),
            "payload.a[1].b"),
        ("CREATE_INSTANCE", r#"{"instance_id":"y","machine":"loop","version":1,"initial_ctx":{"n":-9223372036854775809}}"#
            .to_owned(), "initial_ctx.n"),
        ("BATCH", r#"{"ops":[{"op":"GET_INSTANCE","params":{"instance_id":"x"}},{"op":"APPLY_EVENT","params":
            {"instance_id":"x","event":"E","payload":{"n":99999999999999999999}}}]}"#.to_owned(), "ops[1].params.payload.n"),
        ("BATCH", r#"{"mode":"atomic","ops":[{"params":{"instance_id":"x","event":"E","payload":{"n":99999999999999999999}},
            "op":"APPLY_EVENT"}]}"#.to_owned(), "ops[0].params.payload.n"),
        ("PUT_MACHINE", format!(r#"{{"machine":"k","version":1,"definition":{meta}}}"#), "definition.meta.n"),
        ("PUT_MACHINE", format!(r#"{{"machine":"g","version":1,"definition":{guard}}}"#), "transitions[0].guard"),
        ("VALIDATE_MACHINE", format!(r#"{{"definition":{guard}}}"#), "transitions[0].guard"),
    ] {
        let error = send(&mut extended, op, &params).unwrap_err();
        assert_eq!(error["code"], "BAD_REQUEST", "{error}");
        assert_eq!(error["details"]["context"]["path"], path, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("does not fit 64 bits; write it as a string"), "{message}");
        assert!(error["details"]["context"]["column"].is_u64(), "{error}");
        let taken = send(&mut plain, op, &params).unwrap();
        assert!(!taken.to_string().contains("error\":{"), "{taken}");
    }
    let instance = extended.call("GET_INSTANCE", json!({"instance_id": "y"})).unwrap();
    assert_eq!(instance["ctx"].to_string(), r#"{"n":-9.223372036854776e+18}"#);
    // A guard that came by the plain dialect compares with the float, for events of either dialect.
    for (n, passes) in [("1e20", true), ("1.0", false), ("18000000000000000000", false)] {
        let create = format!(
            r#"{{"instance_id":"g-{n}","machine":"g","version":1,"initial_ctx":{{"n":{n}}}}}"#
        );
        send(&mut extended, "CREATE_INSTANCE", &create).unwrap();
        let event = json!({"instance_id": format!("g-{n}"), "event": "E"});
        assert_eq!(extended.call("APPLY_EVENT", event).is_ok(), passes, "{n}");
    }
    // What is no value of the user's has no large integers in any dialect.
    let error =
        send(&mut plain, "LIST_INSTANCES", r#"{"limit":18446744073709551616}"#).unwrap_err();
    assert_eq!(error["code"], "BAD_REQUEST");
}
