//! A server of the future: what is not known is passed on or skipped, what is lacking is named. Every
//! language has a test with these checks, against the same server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    ApplyEventRequest, BatchRequest, Error, ErrorCode, ErrorKind, GetInstanceRequest,
    HistoryRequest, InfoRequest, InstanceEventKind, Json, PermittedRequest, PingRequest,
    ValidateMachineRequest, WalEntry, WalReadRequest, WatchAllRequest, WatchInstanceRequest,
};
use serde_json::{Value, json};

struct Server(Child, String);

impl Server {
    fn start() -> Server {
        let program = env!("CARGO_BIN_EXE_newer_server");
        let started = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Server(child, format!("rstmdb://{}", said["listening"].as_str().unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn refused(database: &Database, event: &str) -> Error {
    database.apply_event(ApplyEventRequest::new("a", event)).unwrap_err()
}

#[test]
fn members_and_features_that_are_not_known_are_skipped_or_passed_on() {
    let server = Server::start();
    let database = Database::open(&server.1).unwrap();
    assert!(database.ping(PingRequest {}).unwrap().pong);
    let info = database.info(InfoRequest {}).unwrap();
    assert!(info.features.iter().any(|name| name == "moonbeams"), "{:?}", info.features);
    assert_eq!(
        (info.health.as_deref(), info.limits.page_entries_max),
        (Some("splendid"), Some(10))
    );
    let instance = database.get_instance(GetInstanceRequest { instance_id: "a".into() }).unwrap();
    assert_eq!((instance.state.as_str(), instance.last_wal_offset), ("s", 5));
    let applied = database.apply_event(ApplyEventRequest::new("a", "GO")).unwrap();
    assert_eq!((applied.to_state.as_str(), applied.wal_offset), ("t", 6));
    let request = PermittedRequest { instance_id: "a".into(), payload: None };
    let events = database.permitted(request).unwrap().events;
    assert_eq!((events[0].permitted, events[1].permitted), (true, false));
    assert_eq!(events[1].code, Some(ErrorCode::InternalError));
    assert_eq!(events[1].message.as_deref(), Some("it is short and stout"));
}

#[test]
fn errors_that_are_not_known_say_what_they_can() {
    let server = Server::start();
    let database = Database::open(&server.1).unwrap();
    let soon = refused(&database, "SOON");
    assert_eq!((soon.code(), soon.kind()), (ErrorCode::Conflict, ErrorKind::Conflict));
    assert_eq!((soon.reason(), soon.retryable()), (Some("too_soon"), true));
    assert_eq!(soon.context()["due"], json!({"at": 7}));
    let brew = refused(&database, "BREW");
    assert_eq!((brew.code(), brew.kind()), (ErrorCode::InternalError, ErrorKind::Internal));
    assert_eq!((brew.reason(), brew.retryable()), (Some("constructor"), true));
    assert_eq!(brew.context()["code"], "TEAPOT");
    assert_eq!(brew.message(), "TEAPOT: it is short and stout");
}

#[test]
fn events_of_kinds_that_are_not_known_are_passed_on() {
    let server = Server::start();
    let database = Database::open(&server.1).unwrap();
    let other = || InstanceEventKind::Other("rescheduled".into());
    let events = database.history(HistoryRequest::new("a")).unwrap().events;
    assert_eq!((&events[0].kind, &events[1].kind), (&other(), &InstanceEventKind::Applied));
    assert_eq!(events[0].payload.as_str(), r#"{"n":18446744073709551615}"#);
    assert_eq!(serde_json::to_value(&events[0]).unwrap()["kind"], "rescheduled");
    let all = WatchAllRequest { include_lifecycle: true, ..WatchAllRequest::default() };
    let one = WatchInstanceRequest {
        instance_id: "a".into(),
        include_ctx: true,
        from_offset: None,
        history_id: None,
        include_lifecycle: true,
    };
    for mut watch in [database.watch_all(all).unwrap().1, database.watch_instance(one).unwrap().1] {
        let mut next = || watch.next().unwrap().unwrap();
        let events = [next(), next(), next()];
        assert_eq!(events[0].kind, InstanceEventKind::Applied);
        assert_eq!((&events[1].kind, events[1].wal_offset), (&other(), 6));
        assert_eq!((&events[1].event, &events[1].payload), (&None, &Json::null()));
        assert_eq!(events[2].kind, InstanceEventKind::Deleted);
    }
}

#[test]
fn entries_of_types_that_are_not_known_are_passed_on() {
    let server = Server::start();
    let database = Database::open(&server.1).unwrap();
    let page = database.wal_read(WalReadRequest::new(5)).unwrap();
    assert_eq!(page.next_offset, 7);
    assert!(matches!(&page.records[0].entry, WalEntry::ApplyEvent { event, .. } if event == "GO"));
    let WalEntry::Other { r#type, raw } = &page.records[1].entry else { panic!("{page:?}") };
    assert_eq!(r#type, "set_timer");
    assert!(raw.contains(r#""version": "two""#), "to the byte: {raw}");
    let entry: Value = serde_json::from_str(raw).unwrap();
    assert_eq!(entry["timer"]["due"], u64::MAX);
    assert_eq!(serde_json::to_value(&page.records[1]).unwrap()["entry"], entry);
}

#[test]
fn what_the_server_lacks_is_unsupported() {
    let server = Server::start();
    let database = Database::open(&server.1).unwrap();
    // It does not list the feature: nothing is sent, or the batch would succeed.
    let batch = BatchRequest { mode: Default::default(), ops: Vec::new(), idempotency_key: None };
    let error = database.batch(batch).unwrap_err();
    assert_eq!((error.code(), error.reason()), (ErrorCode::BadRequest, Some(reason::UNSUPPORTED)));
    assert_eq!((error.operation(), error.retryable()), (Some("BATCH"), false));
    assert_eq!(error.context()["feature"], "batch");
    assert_eq!(error.message(), "rstmdb 99.0.0 does not have the feature batch");
    let request = ValidateMachineRequest { definition: Json::empty_object(), strict: false };
    let error = database.validate_machine(request).unwrap_err();
    assert_eq!((error.code(), error.reason()), (ErrorCode::BadRequest, Some(reason::UNSUPPORTED)));
    assert_eq!((error.operation(), error.retryable()), (Some("VALIDATE_MACHINE"), false));
    assert_eq!(error.context()["feature"], "VALIDATE_MACHINE");
    // The connection goes on.
    assert!(database.ping(PingRequest {}).unwrap().pong);
}
