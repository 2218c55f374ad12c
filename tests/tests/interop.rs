//! The published server 0.3.0: the vectors are what it says, and our client works with it.
//!
//! `make interop` installs it and runs these; they are no part of `make test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rstmdb::blocking::Database;
use rstmdb_testkit::target::EVENT_TIMEOUT;
use rstmdb_tests::peer::Peer;
use rstmdb_tests::vectors::{Form, exchanges, frames};
use rstmdb_types::*;
use serde_json::json;

fn definition() -> serde_json::Value {
    json!({"states": ["created", "paid"], "initial": "created", "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount >= 10"},
        {"from": "paid", "event": "PAY", "to": "paid"}]})
}

#[test]
#[ignore = "needs the published server; run make interop"]
fn interop_the_vectors_are_what_the_published_server_says() {
    let peer = Peer::start(&[]);
    assert_eq!(exchanges(peer.address(), Form::Frames, "interop"), 82);
    assert_eq!(frames(peer.address()), 20);
}

#[test]
#[ignore = "needs the published server; run make interop"]
fn interop_our_client_works_with_the_published_server() {
    let peer = Peer::start(&[]);
    let database = Database::open(&format!("rstmdb://{}", peer.address())).unwrap();
    let put = database.put_machine(PutMachineRequest::new("order", 1, definition())).unwrap();
    assert!(put.created);
    let again = database.put_machine(PutMachineRequest::new("order", 1, definition())).unwrap();
    assert_eq!((again.created, again.stored_checksum), (false, put.stored_checksum));

    let create = CreateInstanceRequest::new("o-1", "order", 1).with_ctx(json!({"amount": 12}));
    assert_eq!(database.create_instance(create).unwrap().state, "created");
    // A context that was not given is an object here too, though the server keeps null.
    database.create_instance(CreateInstanceRequest::new("o-2", "order", 1)).unwrap();
    let bare = database.get_instance(GetInstanceRequest { instance_id: "o-2".into() }).unwrap();
    assert_eq!(bare.ctx.to_value(), json!({}));

    let (_, mut watch) = database.watch_all(WatchAllRequest::default()).unwrap();
    let pay = || ApplyEventRequest::new("o-1", "PAY").with_payload(json!({"by": "card"}));
    let paid = database.apply_event(pay()).unwrap();
    assert_eq!((&*paid.from_state, &*paid.to_state), ("created", "paid"));
    let seen = watch.next_timeout(EVENT_TIMEOUT).unwrap().unwrap();
    assert_eq!((seen.wal_offset, &*seen.instance_id), (paid.wal_offset, "o-1"));
    let got = database.get_instance(GetInstanceRequest { instance_id: "o-1".into() }).unwrap();
    assert_eq!((&*got.state, got.instance_id.as_str()), ("paid", "o-1"));
    assert_eq!(got.ctx.to_value(), json!({"amount": 12, "by": "card"}));

    let refused = database.apply_event(ApplyEventRequest::new("o-2", "PAY")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::GuardFailed);
    let refused = database.apply_event(ApplyEventRequest::new("o-9", "PAY")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InstanceNotFound);
    let page = database.list_instances(ListInstancesRequest::default()).unwrap();
    assert_eq!(page.total, 2);
    let machines = database.list_machines(ListMachinesRequest::default()).unwrap();
    assert_eq!(machines.items.len(), 1);
    let delete = Json::from_value(&json!({"instance_id": "o-2"})).decode().unwrap();
    assert!(database.delete_instance(delete).unwrap().deleted);
    let log = Json::from_value(&json!({"from_offset": 1, "limit": 2})).decode().unwrap();
    assert_eq!(database.wal_read(log).unwrap().records.len(), 2);
    assert!(database.wal_stats(WalStatsRequest {}).unwrap().entry_count >= 4);

    // What it does not have is said to be missing, by name.
    let missing = database.count_instances(CountInstancesRequest::default()).unwrap_err();
    assert_eq!(missing.reason(), Some(error::reason::UNSUPPORTED), "{missing}");
    database.close().unwrap();
}

#[test]
#[ignore = "needs the published server; run make interop"]
fn interop_our_client_presents_its_token_to_the_published_server() {
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let peer = Peer::start(&[("RSTMDB_AUTH_REQUIRED", "true"), ("RSTMDB_AUTH_TOKEN_HASH", hash)]);
    let database = Database::open(&format!("rstmdb://secret@{}", peer.address())).unwrap();
    database.put_machine(PutMachineRequest::new("order", 1, definition())).unwrap();
    let refused = Database::open(&format!("rstmdb://wrong@{}", peer.address())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused}");
    assert!(!refused.to_string().contains("wrong"), "{refused}");
}
