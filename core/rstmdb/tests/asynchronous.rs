//! The async facade on an executor that is not a runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};

use futures_lite::future::{block_on, poll_once, zip};
use futures_lite::{FutureExt, StreamExt};
use rstmdb::*;
use rstmdb_engine::{Engine, SyncObserver};
use rstmdb_testkit::faulty::FaultyStorage;

const LOOP: &str =
    r#"{"states":["s"],"initial":"s","transitions":[{"from":"s","event":"E","to":"s"}]}"#;

async fn database(url: &str) -> Database {
    let db = Database::open(url).await.unwrap();
    let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
    db.put_machine(machine).await.unwrap();
    db.create_instance(CreateInstanceRequest::new("a", "m", 1)).await.unwrap();
    db
}

fn event() -> ApplyEventRequest {
    ApplyEventRequest::new("a", "E")
}

#[test]
fn handles_and_futures_can_go_to_other_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    block_on(async {
        let db = is_send(database("mem:").await);
        is_send(db.apply_event(event())).await.unwrap();
        let (_, stream) = is_send(db.watch_all(WatchAllRequest::default())).await.unwrap();
        is_send(stream);
    });
}

#[test]
fn a_watch_keeps_its_database_open() {
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().to_str().unwrap();
    let past =
        || WatchAllRequest { from_offset: Some(1), include_lifecycle: true, ..Default::default() };
    block_on(async {
        let db = database(url).await;
        let (_, mut events) = db.watch_all(past()).await.unwrap();
        drop(db);
        assert_eq!(events.next().await.unwrap().unwrap().instance_id, "a");
        assert!(poll_once(events.next()).await.is_none(), "it goes on");
        let taken = Database::open(url).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Unavailable);
        drop(events);
        let db = Database::open(url).await.unwrap().blocking();
        let (_, mut events) = db.watch_all(past()).unwrap();
        drop(db);
        assert_eq!(events.next().unwrap().unwrap().instance_id, "a");
        drop(events);
        Database::open(url).await.unwrap().close().await.unwrap();
    });
}

#[test]
fn many_durable_writes_in_flight_share_syncs() {
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let db = database(directory.path().to_str().unwrap()).await;
        let syncs = |stats: WalStatsResult| stats.io_stats.fsyncs;
        let before = syncs(db.wal_stats(WalStatsRequest {}).await.unwrap());
        let mut running: Vec<_> = (0..1000).map(|_| Box::pin(db.apply_event(event()))).collect();
        for write in &mut running {
            // Polled once each: all of them are in the log's buffer before the first is awaited.
            let _ = poll_once(write).await;
        }
        drop(running);
        let last = db.apply_event(event()).await.unwrap();
        assert_eq!(last.wal_offset, 1003);
        let used = syncs(db.wal_stats(WalStatsRequest {}).await.unwrap()) - before;
        assert!(used < 500, "{used} syncs for 1001 writes");
        db.close().await.unwrap();
    });
}

#[test]
fn what_is_begun_waits_in_the_queue_for_its_sync_and_for_nothing_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().to_str().unwrap();
    block_on(async {
        let db = database(url).await;
        let syncs =
            async || db.wal_stats(WalStatsRequest::default()).await.unwrap().io_stats.fsyncs;
        let before = syncs().await;
        let text = br#"{"instance_id":"a","event":"E"}"#;
        let begun: Vec<_> = (0..8).map(|_| db.begin_text(Operation::ApplyEvent, text)).collect();
        let mut offset = 3;
        for begun in begun {
            let Underway::Queued(queued) = begun else { panic!("{begun:?}") };
            assert_eq!(queued.is_ready(), offset > 3, "the first write covers all");
            let result: ApplyEventResult = serde_json::from_str(&queued.await.unwrap()).unwrap();
            offset += 1;
            assert_eq!(result.wal_offset, offset - 1);
        }
        assert_eq!(syncs().await, before + 1);
        db.close().await.unwrap();

        let options = Options { fsync: FsyncPolicy::Never, ..Options::default() };
        let db = Database::open_with(url, options).await.unwrap();
        let Underway::Done(result) = db.begin(event()) else { panic!("it waits") };
        assert_eq!(result.unwrap().wal_offset, 11);
        let Underway::ToCome(events) = db.begin(HistoryRequest::new("a")) else { panic!("files") };
        assert_eq!(events.await.unwrap().events.len(), 10);
    });
}

#[test]
fn who_begins_a_write_never_waits_for_the_sync_that_ends_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let syncing = Arc::new(Mutex::new(Vec::new()));
    let noted = syncing.clone();
    let note = move |_| noted.lock().unwrap().push(std::thread::current().id());
    let options = Options {
        fsync: FsyncPolicy::Never,
        segment_bytes_max: 1 << 20,
        sync_observer: Some(SyncObserver(Arc::new(note))),
        ..Options::default()
    };
    block_on(async {
        let db = Database::open_with(directory.path().to_str().unwrap(), options).await.unwrap();
        let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
        db.put_machine(machine).await.unwrap();
        db.create_instance(CreateInstanceRequest::new("a", "m", 1)).await.unwrap();
        let payload = Json::parse(&format!(r#"{{"x":"{}"}}"#, "x".repeat(5000))).unwrap();
        let (mut done, mut queued) = (0, 0);
        for _ in 0..1000 {
            match db.begin(event().with_payload(payload.clone())) {
                Underway::Done(result) => done += usize::from(result.is_ok()),
                Underway::Queued(result) => queued += usize::from(result.await.is_ok()),
                Underway::ToCome(_) => panic!("there is room"),
            }
        }
        assert_eq!(done + queued, 1000);
        assert!(done > 0, "all {queued} waited for the thread of the log");
        let syncing = syncing.lock().unwrap();
        assert!(syncing.len() >= 3, "segments ended");
        assert!(!syncing.contains(&std::thread::current().id()));
    });
}

#[test]
fn a_write_waits_for_room_without_keeping_its_executor() {
    // A sync is not over before its observer returns: a held one keeps the writer, as a disk that hangs.
    let hold = Arc::new(Mutex::new(()));
    let gate = hold.clone();
    let observer = SyncObserver(Arc::new(move |_| drop(gate.lock().unwrap())));
    let options =
        Options { free_bytes_min: 0, sync_observer: Some(observer), ..Options::default() };
    let engine = Arc::new(Engine::open(FaultyStorage::new(1).location(), options).unwrap());
    let db = blocking::Database::from_engine(engine.clone()).asynchronous();
    block_on(async {
        let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
        db.put_machine(machine).await.unwrap();
        for id in ["a", "b"] {
            db.create_instance(CreateInstanceRequest::new(id, "m", 1)).await.unwrap();
        }
    });
    let held = hold.lock().unwrap();
    let payload = Json::parse(&format!(r#"{{"x":"{}"}}"#, "x".repeat(900_000))).unwrap();
    while engine.has_room(Operation::ApplyEvent) {
        drop(engine.begin(event().with_payload(payload.clone())));
    }
    let mut writes: Vec<_> = (0..10).map(|_| Box::pin(db.apply_event(event()))).collect();
    let request = Json::parse(r#"{"instance_id":"a","event":"E"}"#).unwrap();
    let mut named = Box::pin(db.call(Operation::ApplyEvent, &request));
    block_on(async {
        for write in &mut writes {
            assert!(poll_once(write).await.is_none());
        }
        assert!(poll_once(&mut named).await.is_none());
        // What needs no disk does not wait.
        let durable = db.get_instance(GetInstanceRequest { instance_id: "b".into() });
        assert_eq!(durable.await.unwrap().state, "s");
    });
    drop(held);
    block_on(async {
        for write in writes {
            write.await.unwrap();
        }
        named.await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn a_dropped_write_still_happens() {
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let db = database(directory.path().to_str().unwrap()).await;
        let (_, mut events) = db.watch_all(WatchAllRequest::default()).await.unwrap();
        let mut write = Box::pin(db.apply_event(event()));
        let _ = poll_once(&mut write).await;
        drop(write);
        assert_eq!(events.next().await.unwrap().unwrap().wal_offset, 3);
    });
}

#[test]
fn a_watch_survives_its_future_being_dropped() {
    block_on(async {
        let db = database("mem:").await;
        let request = WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() };
        let (_, mut events) = db.watch_all(request).await.unwrap();
        for _ in 0..200 {
            db.apply_event(event()).await.unwrap();
        }
        let mut offsets = Vec::new();
        while offsets.len() < 200 {
            // Given up after one poll, again and again: no event may be lost by that.
            let next = poll_once(Box::pin(events.next())).await;
            match next {
                Some(Some(event)) => offsets.push(event.unwrap().wal_offset),
                Some(None) => panic!("the stream ended"),
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(offsets, (3..203).collect::<Vec<u64>>());
    });
}

#[test]
fn a_watch_is_a_stream_that_ends_when_the_database_closes() {
    block_on(async {
        let db = database("mem:").await;
        let (_, events) = db.watch_all(WatchAllRequest::default()).await.unwrap();
        let writer = async {
            for _ in 0..10 {
                db.apply_event(event()).await.unwrap();
            }
        };
        let taken = StreamExt::take(events, 10);
        let (count, ()) = zip(taken.count(), writer).await;
        assert_eq!(count, 10);
        let (_, mut events) = db.watch_all(WatchAllRequest::default()).await.unwrap();
        let closing = async {
            db.close().await.unwrap();
            None
        };
        assert!(events.next().or(closing).await.is_none());
        assert!(events.next().await.is_none());
        let error = db.apply_event(event()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

#[test]
fn every_operation_can_be_called_by_name() {
    block_on(async {
        let db = database("mem:").await;
        for operation in Operation::ALL {
            let mut request = serde_json::json!({
                "instance_id": "a", "event": "E", "from_offset": 1, "ops": []});
            let known = members::of(*operation);
            request.as_object_mut().unwrap().retain(|name, _| known.contains(&name.as_str()));
            let outcome = db.call(*operation, &Json::from_value(&request)).await;
            let blocking = db.blocking();
            let request = Json::parse("[]").unwrap();
            let refused = blocking.call(*operation, &request).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::BadRequest, "{operation:?}");
            if let Err(error) = outcome {
                assert_ne!(error.kind(), ErrorKind::Internal, "{operation:?}: {error}");
            }
        }
    });
}

#[test]
fn a_mistyped_member_is_refused_by_name() {
    block_on(async {
        let db = database("mem:").await;
        for (operation, request, field, like) in [
            (
                Operation::ApplyEvent,
                r#"{"instance_id":"a","event":"E","payloads":{"x":1}}"#,
                "payloads",
                "payload",
            ),
            (
                Operation::Batch,
                r#"{"ops":[{"op":"APPLY_EVENT","params":{"instance_id":"a","event":"E","idempotancy_key":"k"}}]}"#,
                "ops[0].params.idempotancy_key",
                "idempotency_key",
            ),
            (
                Operation::Batch,
                r#"{"ops":[{"op":"CREATE_INSTANCE","params":{"instanceId":"b","machine":"m","version":1}}]}"#,
                "ops[0].params.instanceId",
                "instance_id",
            ),
        ] {
            let request = Json::parse(request).unwrap();
            for error in [
                db.call(operation, &request).await.unwrap_err(),
                db.blocking().call(operation, &request).unwrap_err(),
            ] {
                assert_eq!(error.reason(), Some(error::reason::INVALID_REQUEST), "{error}");
                assert_eq!(error.operation(), Some(operation.wire_name()));
                assert_eq!(error.context()["field"], field);
                assert!(error.message().contains(&format!("did you mean {like:?}?")), "{error}");
            }
        }
        let typo = br#"{"from_ofset":1}"#;
        let error = db.watch_text(Operation::WatchAll, typo).await.map(drop).unwrap_err();
        assert_eq!(error.context()["suggestion"], "from_offset");
        let stats = db.wal_stats(WalStatsRequest {}).await.unwrap();
        assert_eq!(stats.latest_offset, 2, "nothing happened");
    });
}

#[test]
fn a_watch_is_no_call_and_a_call_is_no_watch() {
    block_on(async {
        let db = database("mem:").await;
        let request = WatchAllRequest::default();
        let refused = [
            db.run(request.clone()).await.unwrap_err(),
            db.blocking().run(request).unwrap_err(),
            db.watch(PingRequest {}).await.map(drop).unwrap_err(),
            db.call(Operation::WatchAll, &Json::empty_object()).await.unwrap_err(),
            db.watch_text(Operation::Ping, b"").await.map(drop).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.reason(), Some(error::reason::INVALID_REQUEST), "{error}");
        }
    });
}

#[test]
fn a_batch_holds_what_the_table_allows_and_its_results_can_be_read_back() {
    block_on(async {
        let db = database("mem:").await;
        let get = || GetInstanceRequest { instance_id: "b".into() };
        let delete = DeleteInstanceRequest { instance_id: "b".into(), idempotency_key: None };
        let mut batch = BatchRequest {
            mode: BatchMode::BestEffort,
            ops: vec![
                CreateInstanceRequest::new("b", "m", 1).into(),
                ApplyEventRequest::new("b", "E").into(),
                get().into(),
                delete.into(),
                get().into(),
            ],
            idempotency_key: None,
        };
        let result = db.batch(batch.clone()).await.unwrap();
        let found: Vec<_> =
            result.results.iter().map(|o| o.result.as_ref().map(Outcome::operation)).collect();
        let asked: Vec<_> = batch.ops.iter().map(|op| Some(op.operation())).collect();
        assert_eq!(found[..4], asked[..4]);
        assert_eq!(found[4], None);
        let text = serde_json::to_string(&result).unwrap();
        let read: BatchResult = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);

        batch.ops.push(Request::Ping(PingRequest {}));
        let error = db.batch(batch.clone()).await.unwrap_err();
        assert_eq!(error.context()["index"], 5);
        let text = serde_json::to_string(&batch).unwrap();
        let error = db.call_text(Operation::Batch, text.as_bytes()).await.unwrap_err();
        assert!(error.message().contains(&BatchElement::choices()), "{error}");
    });
}
