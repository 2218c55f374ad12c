//! A server of 0.3.0: what it tells is there, and nothing is made up for what it does not. Every language has a
//! test with these checks, against the same server; `core/client/tests/older_server.rs` has more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rstmdb::blocking::Database;
use rstmdb::{
    GetInstanceRequest, InfoRequest, KnownLimits, ListInstancesRequest, WalReadRequest,
    WalStatsRequest, WatchAllRequest,
};
use serde_json::Value;

#[test]
fn what_an_older_server_tells_is_there_and_the_rest_is_absent() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_newer_server"))
        .arg("older")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let database =
        Database::open(&format!("rstmdb://{}", said["listening"].as_str().unwrap())).unwrap();

    let info = database.info(InfoRequest {}).unwrap();
    let limits = KnownLimits { batch_operations_max: Some(100), ..KnownLimits::default() };
    assert_eq!((info.server_version.as_str(), &info.limits), ("0.3.0", &limits));
    assert_eq!((info.instances, info.machines, info.latest_offset), (None, None, None));
    assert_eq!((info.database_id, info.writable, info.health), (None, None, None));
    let instance = database.get_instance(GetInstanceRequest { instance_id: "a".into() }).unwrap();
    assert_eq!((instance.created_at, instance.updated_at), (None, None));
    let stats = database.wal_stats(WalStatsRequest {}).unwrap();
    assert_eq!((stats.latest_offset, stats.first_offset), ((1 << 40) + 100, None));
    assert_eq!(database.wal_read(WalReadRequest::new(1)).unwrap().records[0].timestamp, None);
    let page = database.list_instances(ListInstancesRequest::default()).unwrap();
    assert_eq!((page.total, page.instances[0].created_at), (3, 1_700_000_000_000));
    let (_, mut events) = database.watch_all(WatchAllRequest::default()).unwrap();
    assert_eq!(events.next().unwrap().unwrap().timestamp, None);

    database.close().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
}
