//! A server of a later version: what it says beside the rest is skipped, what it lacks is said.
//! `tests/tests/newer.rs` and each language have the whole of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use fake::{Asked, Fake, Peer, framed_text, hello_result, instance};
use rstmdb_client::Client;
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

/// A server that lists features, and says something else before.
fn connect(fake: &Fake, features: &[&str]) -> (Client, Peer) {
    std::thread::scope(|scope| {
        let peer = scope.spawn(|| {
            let mut peer = fake.accept();
            let hello = peer.expect("HELLO");
            peer.send(&json!({"type": "notice", "text": "we move at noon"}));
            peer.ok(&hello, hello_result("99.0.0", features));
            peer
        });
        (Client::connect_blocking(fake.options()).unwrap(), peer.join().unwrap())
    })
}

#[test]
fn features_are_asked_for_and_remembered_by_name() {
    let fake = Fake::new();
    let server = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut peer = fake.accept();
            let hello = peer.expect("HELLO");
            peer.ok(&hello, hello_result("99.0.0", &["moonbeams", "extended"]));
            hello.params["features"].clone()
        });
        let client = Client::connect_blocking(fake.options()).unwrap();
        assert_eq!(asked.join().unwrap(), json!(fake::TODAY));
        client.server()
    });
    // The peer has gone, and the client may have noticed.
    if let Some(server) = server {
        assert_eq!(server.features, ["moonbeams", "extended"]);
        assert!(server.extended);
    }
}

#[test]
fn operations_of_a_feature_that_is_not_listed_are_not_sent() {
    let fake = Fake::new();
    let (client, mut peer) = connect(&fake, &["watch", "extended"]);
    let read = client.call(WalReadRequest::new(1)).wait().map(drop);
    let batch = BatchRequest { mode: BatchMode::Atomic, ops: Vec::new(), idempotency_key: None };
    let batch = client.call(batch).wait().map(drop);
    let list = client.call(ListSnapshotsRequest { instance_id: "a".into() }).wait().map(drop);
    let one = client.call(DropSnapshotRequest { snapshot_id: "snap-0".into() }).wait().map(drop);
    let backup = client.call(BackupRequest::default()).wait().map(drop);
    let verify = client.call(VerifyRequest::default()).wait().map(drop);
    for (error, operation, feature) in [
        (backup, "BACKUP", "backup"),
        (verify, "VERIFY", "verify"),
        (read, "WAL_READ", "wal_read"),
        (batch, "BATCH", "batch"),
        (list, "LIST_SNAPSHOTS", "snapshots"),
        (one, "DROP_SNAPSHOT", "snapshots"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
        assert_eq!((error.operation(), error.retryable()), (Some(operation), false));
        assert_eq!(error.context()["feature"], feature);
        assert_eq!(error.context()["server_version"], "99.0.0");
    }
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    peer.ok(&asked, json!({"subscription_id": "s", "wal_offset": 1}));
    watching.wait().unwrap();
}

#[test]
fn an_operation_that_the_server_does_not_know_is_unsupported() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let refuse = |peer: &mut Peer, operation: &str, field: &str| {
        let asked = peer.expect(operation);
        let details = json!({"reason": "invalid_request", "context": {"field": field}});
        peer.send(&json!({
            "type": "response", "id": asked.id, "status": "error",
            "error": {"code": "BAD_REQUEST", "message": "no", "retryable": false, "details": details},
        }));
    };
    let pending = client.call(HistoryRequest::new("a"));
    refuse(&mut peer, "HISTORY", "op");
    let error = pending.wait().unwrap_err();
    assert_eq!((error.code(), error.reason()), (ErrorCode::BadRequest, Some(reason::UNSUPPORTED)));
    assert_eq!((error.operation(), error.retryable()), (Some("HISTORY"), false));
    assert!(error.message().starts_with("rstmdb 9.9.9 does not know HISTORY"), "{error}");
    // Any other mistake stays what it is.
    let pending = client.call(HistoryRequest::new("a"));
    refuse(&mut peer, "HISTORY", "limit");
    assert_eq!(pending.wait().unwrap_err().reason(), Some(reason::INVALID_REQUEST));
}

#[test]
fn members_behind_a_result_are_skipped() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    // As our own servers begin, with something behind what is their end.
    let answer = |peer: &mut Peer, asked: Asked, result: Value| {
        let id = asked.id;
        peer.raw(&framed_text(&format!(
            r#"{{"type":"response","id":"{id}","status":"ok","result":{result},"meta":{{"x":[]}}}}"#
        )));
    };
    let pending = client.call(GetInstanceRequest { instance_id: "a".into() });
    let asked = peer.expect("GET_INSTANCE");
    answer(&mut peer, asked, instance(7));
    assert_eq!(pending.wait().unwrap().last_wal_offset, 7);
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    answer(&mut peer, asked, json!({"subscription_id": "s", "wal_offset": 8}));
    let (_, mut events) = watching.wait().unwrap();
    peer.event("s", 8);
    assert_eq!(events.next_blocking().unwrap().unwrap().wal_offset, 8);
}
