//! Watches of a server that gets another database: the same one, opened again, or a copy put back.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use rstmdb::blocking::{Database, Subscription};
use rstmdb::error::reason;
use rstmdb::*;
use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::remote::config::{Address, Config};
use rstmdb_testkit::server::TestServer;

const LOOP: &str =
    r#"{"states":["s"],"initial":"s","transitions":[{"from":"s","event":"E","to":"s"}]}"#;

fn open(directory: &Path) -> Engine {
    let options = Options { free_bytes_min: 0, ..Options::default() };
    Engine::open(Location::directory(directory), options).unwrap()
}

fn serve(directory: &Path, config: &Config) -> TestServer {
    TestServer::start(Arc::new(open(directory)), config.clone()).unwrap()
}

/// A machine, an instance and three events: the log ends at offset 5.
fn prepare(db: &Database) {
    db.put_machine(PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap())).unwrap();
    db.create_instance(CreateInstanceRequest::new("a", "m", 1)).unwrap();
    apply(db, 3..6);
}

fn apply(db: &Database, offsets: std::ops::Range<u64>) {
    for offset in offsets {
        let applied = db.apply_event(ApplyEventRequest::new("a", "E")).unwrap();
        assert_eq!(applied.wal_offset, offset);
    }
}

fn seen(watch: &mut Subscription, count: usize) -> Vec<u64> {
    watch.take(count).map(|event| event.unwrap().wal_offset).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts a database in the place of the one that is served.
fn replace(server: &TestServer, directory: &Path) {
    let (calls, directory) = (server.calls().clone(), directory.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(calls.replace(move || Ok(open(&directory)))).unwrap();
}

#[test]
fn a_watch_ends_when_a_copy_was_put_back_and_never_skips() {
    for reopened in [false, true] {
        let (home, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = TestServer::config();
        let mut server = serve(home.path(), &config);
        // The servers that follow come back where this one was.
        config.network.bind_addr = Address::local(server.address().port());
        let db = Database::open(&server.url()).unwrap();
        prepare(&db);
        copy(home.path(), backup.path());
        if reopened {
            server.stop().unwrap();
            server = serve(home.path(), &config);
        }
        let (_, mut all) = db.watch_all(WatchAllRequest::default()).unwrap();
        let (_, mut one) = db.watch_instance(WatchInstanceRequest::new("a")).unwrap();
        apply(&db, 6..9);
        let history = db.info(InfoRequest {}).unwrap().history_id;
        for watch in [&mut all, &mut one] {
            assert_eq!(seen(watch, 3), [6, 7, 8]);
            assert_eq!((watch.resume_offset(), watch.history_id()), (9, history.clone()));
        }
        server.stop().unwrap();

        // The copy knows nothing of these three, and goes on beyond them before anybody looks.
        let restored = open(backup.path());
        for _ in 0..30 {
            restored.apply_event(ApplyEventRequest::new("a", "E")).wait().unwrap();
        }
        restored.close().unwrap();
        let _server = serve(backup.path(), &config);
        for watch in [&mut all, &mut one] {
            let error = watch.next().unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(reason::HISTORY_DIVERGED), "{error}");
            assert_eq!((error.code(), error.retryable()), (ErrorCode::Conflict, false));
            // What the copy shares with what was is known as long as it knows that history.
            let safe = error.context().get("safe_offset").and_then(|safe| safe.as_u64());
            assert_eq!(safe, (!reopened).then_some(5));
            assert!(watch.next().is_none());
        }
    }
}

#[test]
fn a_watch_goes_on_by_itself_when_the_database_of_its_server_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let db = Database::open(&server.url()).unwrap();
    prepare(&db);
    let (_, mut all) = db.watch_all(WatchAllRequest::default()).unwrap();
    let (_, mut one) = db.watch_instance(WatchInstanceRequest::new("a")).unwrap();
    for round in 1..4 {
        let next = 3 + 3 * round;
        apply(&db, next..next + 2);
        replace(&server, directory.path());
        apply(&db, next + 2..next + 3);
        for watch in [&mut all, &mut one] {
            assert_eq!(seen(watch, 3), [next, next + 1, next + 2]);
        }
    }
    assert_eq!(server.metrics().connections_active.get(), 1, "the connection stayed");
}

#[test]
fn a_watch_ends_when_another_database_takes_the_place_of_its_own() {
    let (home, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(home.path(), &TestServer::config());
    let db = Database::open(&server.url()).unwrap();
    prepare(&db);
    copy(home.path(), backup.path());
    let (_, mut watch) = db.watch_all(WatchAllRequest::default()).unwrap();
    apply(&db, 6..8);
    // What has not come yet when the databases change is in none any more.
    assert_eq!(seen(&mut watch, 2), [6, 7]);
    replace(&server, backup.path());
    let error = watch.next().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(reason::HISTORY_DIVERGED), "{error}");
    assert_eq!(error.context()["safe_offset"], 5);
    // From there on everything that is there now can be had.
    let request = WatchAllRequest { from_offset: Some(6), ..WatchAllRequest::default() };
    let (_, mut watch) = db.watch_all(request).unwrap();
    apply(&db, 6..7);
    assert_eq!(seen(&mut watch, 1), [6]);
}

#[test]
fn a_watch_here_is_resumed_with_its_history() {
    let (home, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = Database::open(home.path().to_str().unwrap()).unwrap();
    prepare(&db);
    copy(home.path(), backup.path());
    let (began, mut watch) = db.watch_all(WatchAllRequest::default()).unwrap();
    assert_eq!(began.history_id, db.info(InfoRequest {}).unwrap().history_id);
    apply(&db, 6..9);
    assert_eq!(seen(&mut watch, 3), [6, 7, 8]);
    let resume = WatchAllRequest {
        from_offset: Some(watch.resume_offset()),
        history_id: watch.history_id(),
        ..WatchAllRequest::default()
    };
    assert!(resume.history_id.is_some());
    let (_, mut again) = db.watch_all(resume.clone()).unwrap();
    apply(&db, 9..10);
    assert_eq!(seen(&mut again, 1), [9]);
    db.close().unwrap();
    let restored = Database::open(backup.path().to_str().unwrap()).unwrap();
    apply(&restored, 6..36);
    let error = restored.watch_all(resume).unwrap_err();
    assert_eq!(error.reason(), Some(reason::HISTORY_DIVERGED), "{error}");
}
