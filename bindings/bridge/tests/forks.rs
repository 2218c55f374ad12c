//! A child made by `fork`: what it inherited is closed, and it can open databases of its own.
#![cfg(unix)]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

use rstmdb_bridge::Database;
use rstmdb_bridge::types::{
    CreateInstanceRequest, ErrorKind, Json, PutMachineRequest, WatchAllRequest,
};
use rstmdb_testkit::server::TestServer;

/// Runs `body` in a child; true when it returned true there.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `body` and ends, without returning into the test harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        if let Err(panic) = &good {
            let text = panic.downcast_ref::<String>();
            eprintln!("child: {text:?}");
        }
        let good = good.unwrap_or(false);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!good)) }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

fn works(database: &Database) -> bool {
    let definition = r#"{"states":["a"],"initial":"a","transitions":[]}"#;
    let definition = Json::parse(definition).unwrap();
    database.start(PutMachineRequest::new("m", 1, definition)).wait().is_ok()
        && database.start(CreateInstanceRequest::new("i", "m", 1)).wait().is_ok()
        && database.start(rstmdb_bridge::types::HistoryRequest::new("i")).wait().is_ok()
}

#[test]
fn a_child_starts_anew() {
    let server = TestServer::in_memory(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let inherited = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    let remote = Database::open(&server.url(), "").unwrap();
    assert!(works(&inherited) && works(&remote));
    let (_, watch) = remote.watch_start(WatchAllRequest::default()).wait().unwrap();
    let (inside, beside) = (inherited.clone(), remote.clone());
    let url = server.url();
    assert!(in_child(move || {
        for database in [&inside, &beside] {
            let error = database.start(rstmdb_bridge::types::PingRequest {}).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
            database.close().unwrap();
        }
        assert!(watch.next_start(1).wait().is_err());
        drop((inside, beside, watch));
        let here = Database::open(other.path().to_str().unwrap(), "").unwrap();
        let there = Database::open(&url, "").unwrap();
        let good = works(&here) && there.start(rstmdb_bridge::types::PingRequest {}).wait().is_ok();
        here.close().unwrap();
        there.close().unwrap();
        good
    }));
    // The parent noticed nothing.
    assert!(!inherited.is_closed());
    assert!(remote.start(rstmdb_bridge::types::PingRequest {}).wait().is_ok());
    inherited.close().unwrap();
    Database::open(folder.path().to_str().unwrap(), "").unwrap().close().unwrap();
}
