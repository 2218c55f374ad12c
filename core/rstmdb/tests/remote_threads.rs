//! Opening and closing remote databases leaves nothing behind. Alone in its process: it counts threads.
#![cfg(all(feature = "remote", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use rstmdb::blocking::Database;
use rstmdb::*;
use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::server::TestServer;

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_thousand_databases_use_one_thread() {
    let engine = Engine::open(Location::memory(), Options::default()).unwrap();
    let server = TestServer::start(Arc::new(engine), TestServer::config()).unwrap();
    let url = format!("rstmdb://{}", server.address());
    let open_and_close = || {
        let db = Database::open(&url).unwrap();
        let (_, events) = db.watch_all(WatchAllRequest::default()).unwrap();
        db.ping(PingRequest {}).unwrap();
        db.close().unwrap();
        drop(events);
    };
    (0..10).for_each(|_| open_and_close());
    let (threads, files) = (count("/proc/self/task"), count("/proc/self/fd"));
    (0..1000).for_each(|_| open_and_close());
    // The server's threads for watches come and go.
    let now = count("/proc/self/task");
    assert!(now <= threads + 4, "{threads} threads became {now}");
    // The server may still be letting go of the last connections.
    while count("/proc/self/fd") > files + 4 {
        std::thread::yield_now();
    }
}
