//! Where a log is, and in which history: who is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use rstmdb_engine::{Engine, Location};
use rstmdb_protocol::{ReadMode, ReadWish, WireMode, message};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::Wire;
use serde_json::{Value, json};

fn hello(wire: &mut Wire, features: &[&str]) -> Value {
    wire.call("HELLO", json!({"protocol_version": 1, "features": features})).unwrap()
}

fn put(wire: &mut Wire) {
    let definition = json!({"states": ["a"], "initial": "a", "transitions": []});
    let params = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
}

#[test]
fn hello_tells_the_head_in_the_extended_dialect_alone() {
    let server = TestServer::in_memory(|_| ());
    let mut wire = server.wire();
    let before = hello(&mut wire, &["extended"]);
    assert_eq!((&before["latest_offset"], before.get("history_id")), (&json!(0), None));
    put(&mut wire);
    let told = hello(&mut wire, &["extended"]);
    let info = wire.call("INFO", json!({})).unwrap();
    assert_eq!(told["latest_offset"], 1);
    assert_eq!(told["history_id"].as_str().unwrap().len(), 16);
    assert_eq!(told["history_id"], info["history_id"]);
    let plain = hello(&mut server.wire(), &["watch", "history_id"]);
    let mut members: Vec<_> = plain.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let known = ["features", "protocol_version", "server_name", "server_version", "wire_mode"];
    assert_eq!((members, &plain["features"]), (known.to_vec(), &json!(["watch"])));
}

#[test]
fn a_stranger_is_not_told_where_the_log_is() {
    let server = TestServer::in_memory(|config| {
        config.auth.required = true;
        // The SHA-256 of "s3cret".
        let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
        config.auth.token_hashes = vec![hash.parse().unwrap()];
    });
    let mut wire = server.wire();
    let stranger = hello(&mut wire, &["extended"]);
    assert_eq!((stranger.get("latest_offset"), stranger.get("history_id")), (None, None));
    wire.call("AUTH", json!({"token": "s3cret"})).unwrap();
    put(&mut wire);
    assert_eq!(hello(&mut wire, &["extended"])["latest_offset"], 1);
}

#[test]
fn a_database_that_is_alone_says_so_to_those_who_may_know() {
    let server = TestServer::in_memory(|config| {
        config.auth.required = true;
        let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
        config.auth.token_hashes = vec![hash.parse().unwrap()];
    });
    let (mut extended, mut plain) = (server.wire(), server.wire());
    assert_eq!(hello(&mut extended, &["extended"]).get("cluster"), None, "a stranger");
    let told = extended.call("AUTH", json!({"token": "s3cret"})).unwrap();
    let id = extended.call("INFO", json!({})).unwrap()["database_id"].clone();
    let nodes = json!([{"id": 0, "role": "standalone"}]);
    let cluster = json!({"id": id, "epoch": 0, "node": 0, "leader": 0, "nodes": nodes});
    assert_eq!(told, json!({"authenticated": true, "cluster": cluster}));
    assert_eq!(hello(&mut extended, &["extended"])["cluster"], cluster);
    hello(&mut plain, &["watch"]);
    let told = plain.call("AUTH", json!({"token": "s3cret"})).unwrap();
    assert_eq!(told, json!({"authenticated": true}));
    assert_eq!(hello(&mut plain, &["watch"]).get("cluster"), None);
    // What a request says of its reading is for servers that have several nodes.
    let wish = ReadWish { mode: ReadMode::Session, min_offset: Some(99), max_lag_ms: Some(1) };
    let mut asked = Vec::new();
    message::reading(&mut asked, WireMode::Frames, "r", "PING", "{}", &wish);
    for wire in [&mut extended, &mut plain] {
        wire.send_bytes(&asked);
        assert_eq!(wire.answer()["result"], json!({"pong": true}));
    }
}

#[test]
fn the_plain_dialect_knows_no_histories_and_waits_for_what_is_to_come() {
    let server = TestServer::in_memory(|_| ());
    let mut wire = server.wire();
    put(&mut wire);
    wire.call("CREATE_INSTANCE", json!({"instance_id": "a", "machine": "m", "version": 1}))
        .unwrap();
    let place = json!({"from_offset": 9, "history_id": "0123456789abcdef"});
    let page = wire.call("WAL_READ", place.clone()).unwrap();
    assert_eq!(page, json!({"records": [], "next_offset": 9}));
    let all = wire.call("WATCH_ALL", place.clone()).unwrap();
    assert_eq!((&all["wal_offset"], all.get("history_id")), (&json!(3), None));
    let one = json!({"instance_id": "a", "from_offset": 9, "history_id": "x"});
    assert!(wire.call("WATCH_INSTANCE", one).unwrap().get("history_id").is_none());
    let mut extended = Wire::hello(server.address(), &["extended"]);
    for op in ["WAL_READ", "WATCH_ALL"] {
        let error = extended.call(op, place.clone()).unwrap_err();
        assert_eq!(error["details"]["reason"], "history_diverged", "{error}");
    }
}

#[test]
fn a_watch_tells_the_history_with_its_first_event_and_where_another_begins() {
    let directory = tempfile::tempdir().unwrap();
    let serve = || {
        let config = TestServer::config();
        let location = Location::directory(directory.path());
        let engine = Engine::open(location, config.engine_options()).unwrap();
        TestServer::start(Arc::new(engine), config).unwrap()
    };
    for life in 0..2 {
        let server = serve();
        let mut wire = server.wire();
        if life == 0 {
            put(&mut wire);
        }
        for n in 0..3 {
            let id = format!("{life}-{n}");
            let params = json!({"instance_id": id, "machine": "m", "version": 1});
            wire.call("CREATE_INSTANCE", params).unwrap();
        }
    }
    let server = serve();
    let mut watcher = Wire::hello(server.address(), &["extended"]);
    let all = json!({"from_offset": 2, "include_lifecycle": true});
    watcher.call("WATCH_ALL", all).unwrap();
    let told: Vec<_> =
        (0..6).map(|_| watcher.event()["history_id"].as_str().map(str::to_owned)).collect();
    let [Some(first), None, None, Some(second), None, None] = &told[..] else { panic!("{told:?}") };
    assert_ne!(first, second);
    let mut later = Wire::hello(server.address(), &["extended"]);
    later.call("WATCH_ALL", json!({"from_offset": 3, "include_lifecycle": true})).unwrap();
    assert_eq!(later.event()["history_id"], **first);
}
