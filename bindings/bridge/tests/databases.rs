//! Databases of the bridge: started, called back, given up, closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rstmdb_bridge::types::{
    ApplyEventRequest, CreateInstanceRequest, ErrorCode, ErrorKind, HistoryRequest, Json,
    Operation, PutMachineRequest, Result, WalStatsRequest, WatchAllRequest,
};
use rstmdb_bridge::{CallbackTicket, Database, Started, Turn, Waiting, Watch, after_group};
use rstmdb_testkit::server::TestServer;

const DEFINITION: &str = r#"{"states":["a","b"],"initial":"a","transitions":[
    {"from":"a","event":"GO","to":"b"},{"from":"b","event":"GO","to":"a"}]}"#;

fn with_instance(database: &Database) {
    let definition = Json::parse(DEFINITION).unwrap();
    database.start(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    database.start(CreateInstanceRequest::new("i", "m", 1)).wait().unwrap();
}

fn memory() -> Database {
    let database = Database::open("mem:", "").unwrap();
    with_instance(&database);
    database
}

/// What a callback is called with. A fast disk may be done at once, and then there is no ticket.
fn finish<T: Send + 'static>(started: Started<T>) -> (Option<CallbackTicket>, Receiver<Result<T>>) {
    let (sender, receiver) = channel();
    let tell = move |result| drop(sender.send(result));
    match started {
        Started::Waiting(waiting) => (Some(waiting.finish(tell)), receiver),
        Started::Ready(result) => {
            tell(result);
            (None, receiver)
        }
    }
}

/// The echo answers later when it is asked to.
fn later(database: &Database) -> Waiting<String> {
    match database.start_json(Operation::Ping, br#"{"$wait":1}"#) {
        Started::Waiting(waiting) => waiting,
        Started::Ready(_) => panic!("ready at once"),
    }
}

#[test]
fn memory_answers_at_once_and_disks_call_back() {
    let database = memory();
    let ready = database.start(ApplyEventRequest::new("i", "GO"));
    assert!(matches!(ready, Started::Ready(Ok(result)) if result.to_state == "b"));

    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let (_, results) = finish(database.start(ApplyEventRequest::new("i", "GO")));
    assert_eq!(results.recv().unwrap().unwrap().to_state, "b");
    let (_, results) = finish(database.start(HistoryRequest::new("i")));
    assert_eq!(results.recv().unwrap().unwrap().events.len(), 2);
    database.close().unwrap();
}

#[test]
fn json_goes_in_and_comes_out() {
    let database = memory();
    let request = br#"{"instance_id":"i","event":"GO","payload":{"big":18446744073709551615}}"#;
    let text = database.start_json(Operation::ApplyEvent, request).wait().unwrap();
    assert!(text.contains(r#""ctx":{"big":18446744073709551615}"#), "{text}");
    assert_eq!(text, {
        let again = database.call_json(Operation::GetInstance, br#"{"instance_id":"i"}"#).unwrap();
        assert!(again.contains(r#""state":"b""#), "{again}");
        text.clone()
    });
    assert!(database.call_json(Operation::Ping, b"").unwrap().contains("pong"));
    for bad in [&b"[]"[..], b"{", b"\xff", b"{\"instance_id\":1}", b"{}"] {
        let error = database.call_json(Operation::GetInstance, bad).unwrap_err();
        assert_eq!(error.reason(), Some("invalid_request"), "{bad:?}");
        assert_eq!(error.operation(), Some("GET_INSTANCE"), "{bad:?}");
    }
    let error = database.call_json(Operation::WatchAll, b"{}").unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
}

#[test]
fn a_mistyped_member_of_json_is_refused_by_name() {
    let database = memory();
    let event = br#"{"instance_id":"i","event":"GO","payloads":{"x":1}}"#;
    let batch = br#"{"ops":[{"op":"APPLY_EVENT","params":{"instanceId":"i","event":"GO"}}]}"#;
    for (operation, request, field, like) in [
        (Operation::ApplyEvent, &event[..], "payloads", "payload"),
        (Operation::Batch, &batch[..], "ops[0].params.instanceId", "instance_id"),
    ] {
        let called = database.call_json(operation, request).unwrap_err();
        let started = database.start_json(operation, request).wait().unwrap_err();
        for error in [called, started] {
            assert_eq!(error.reason(), Some("invalid_request"), "{error}");
            assert_eq!(
                (&error.context()["field"], &error.context()["suggestion"]),
                (&field.into(), &like.into())
            );
        }
    }
    let watch = database.watch_start_json(Operation::WatchAll, br#"{"fromOffset":1}"#).wait();
    assert_eq!(watch.map(drop).unwrap_err().context()["suggestion"], "from_offset");
    let instance = database.call_json(Operation::GetInstance, br#"{"instance_id":"i"}"#).unwrap();
    assert!(instance.contains(r#""state":"a""#), "nothing happened: {instance}");
}

#[test]
fn a_cancelled_callback_never_runs_and_the_write_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let mut cancelled = 0;
    for _ in 0..200 {
        let (ticket, results) = finish(database.start(ApplyEventRequest::new("i", "GO")));
        if ticket.is_some_and(|ticket| ticket.cancel()) {
            cancelled += 1;
            assert!(results.recv().is_err(), "it was told though it was cancelled");
        } else {
            results.recv().unwrap().unwrap();
        }
    }
    assert!(cancelled > 0, "no callback was cancelled in time");
    let stats = database.start(HistoryRequest { limit: Some(1000), ..HistoryRequest::new("i") });
    assert_eq!(stats.wait().unwrap().events.len(), 201);
}

/// The groups in which callbacks came, counted by what each of them leaves for the end of its own.
#[derive(Clone, Default)]
struct Groups(Arc<std::sync::Mutex<(Vec<usize>, usize)>>);

impl Groups {
    /// Called back once more.
    fn count(&self) {
        self.0.lock().unwrap().1 += 1;
        let groups = self.clone();
        let ended = after_group(Box::new(move || {
            let (ended, running) = &mut *groups.0.lock().unwrap();
            if *running > 0 {
                ended.push(std::mem::take(running));
            }
        }));
        assert!(ended.is_ok(), "not in a callback");
    }

    /// How many came in each group that has ended.
    fn ended(&self) -> Vec<usize> {
        self.0.lock().unwrap().0.clone()
    }
}

#[test]
fn what_is_begun_in_a_turn_comes_back_in_one_group() {
    // A machine that pauses within the turn ends it early, so one of several is enough.
    let turns: Vec<_> = (0..20).map(|_| turn_of_32()).take_while(|turn| !turn.is_one()).collect();
    assert!(turns.len() < 20, "{turns:?}");
}

/// What a turn that begins 32 writes comes to.
#[derive(Debug)]
struct TurnOutcome {
    syncs: u64,
    groups: Vec<usize>,
}

impl TurnOutcome {
    /// One sync for the turn, at most one for what came after, and one group.
    fn is_one(&self) -> bool {
        self.syncs <= 2 && self.groups == [32]
    }
}

fn turn_of_32() -> TurnOutcome {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let (turn, groups) = (Turn::default(), Groups::default());
    let synced = || {
        let stats = database.start(WalStatsRequest::default()).wait().unwrap();
        stats.io_stats.fsyncs
    };
    let before = synced();
    let mut begins = Vec::new();
    for _ in 0..32 {
        let Started::Waiting(waiting) = database.start(ApplyEventRequest::new("i", "GO")) else {
            panic!("nobody asked for the write yet");
        };
        let counted = groups.clone();
        let (ticket, begun) = waiting.finish_in(&turn, move |result| {
            result.unwrap();
            counted.count();
        });
        begins.push(begun);
        drop(ticket);
    }
    assert!(begins[0] && !begins[1..].contains(&true), "a turn begins once: {begins:?}");
    turn.end();
    database.start(ApplyEventRequest::new("i", "GO")).wait().unwrap();
    let syncs = synced() - before;
    database.close().unwrap();
    let groups = groups.ended();
    assert_eq!(groups.iter().sum::<usize>(), 32);
    TurnOutcome { syncs, groups }
}

/// Watches, in its own thread and beside callbacks.
fn watched(database: &Database) -> Watch {
    database.watch_start(WatchAllRequest::default()).wait().unwrap().1
}

#[test]
fn a_turn_that_does_not_end_holds_no_write_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let watch = watched(&database);
    let turn = Turn::default();
    for _ in 0..3 {
        let told = channel();
        let Started::Waiting(waiting) = database.start(ApplyEventRequest::new("i", "GO")) else {
            panic!("nobody asked for the write yet");
        };
        drop(waiting.finish_in(&turn, move |result| drop(told.0.send(result))));
        // Its thread waits for another that sees the event.
        assert!(watch.next_start(1).wait().unwrap().is_some());
        told.1.recv().unwrap().unwrap();
    }
    turn.end();
    database.close().unwrap();
}

#[test]
fn a_callback_that_takes_long_holds_no_write_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let watch = watched(&database);
    let seen = || assert!(watch.next_start(1).wait().unwrap().is_some());
    let apply = || database.start(ApplyEventRequest::new("i", "GO"));
    for is_of_a_write in [false, true] {
        let (entered, (go_on, wait)) = (channel(), channel::<()>());
        let slow = move || {
            entered.0.send(()).unwrap();
            let _ = wait.recv();
        };
        if is_of_a_write {
            let Started::Waiting(waiting) = apply() else { panic!("not asked for") };
            drop(waiting.finish(move |_| slow()));
            seen();
        } else {
            let echo = Database::open("echo:", "").unwrap();
            drop(later(&echo).finish(move |_| slow()));
        }
        entered.1.recv().unwrap();
        let results: Vec<_> = (0..3)
            .map(|_| {
                let (_, result) = finish(apply());
                seen();
                result
            })
            .collect();
        drop(go_on);
        for result in results {
            result.recv().unwrap().unwrap();
        }
    }
    database.close().unwrap();
}

#[test]
fn a_turn_that_nobody_ends_does_not_keep_a_database_from_closing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let (turn, told) = (Turn::default(), channel());
    let Started::Waiting(waiting) = database.start(ApplyEventRequest::new("i", "GO")) else {
        panic!("nobody asked for the write yet");
    };
    drop(waiting.finish_in(&turn, move |result| drop(told.0.send(result))));
    database.close().unwrap();
    assert_eq!(told.1.recv().unwrap().unwrap().to_state, "b");
    turn.end();
}

#[test]
fn what_a_group_leaves_may_leave_more_and_may_panic() {
    let database = Database::open("echo:", "").unwrap();
    let (told, (more, left)) = (channel(), channel());
    let leave = |run| assert!(after_group(run).is_ok(), "not in a callback");
    later(&database).finish(move |_| {
        leave(Box::new(|| panic!("on purpose")));
        leave(Box::new(move || leave(Box::new(move || more.send(()).unwrap()))));
        told.0.send(()).unwrap();
    });
    told.1.recv().unwrap();
    left.recv().expect("what was left was forgotten");
    let (_, results) = finish(Started::Waiting(later(&database)));
    results.recv().unwrap().unwrap();
}

#[test]
fn there_is_no_group_outside_of_callbacks() {
    let ran = std::rc::Rc::new(std::cell::Cell::new(false));
    let run = ran.clone();
    let Err(given_back) = after_group(Box::new(move || run.set(true))) else { panic!("taken") };
    given_back();
    assert!(ran.get());
}

#[test]
fn close_waits_for_callbacks_and_then_everything_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    with_instance(&database);
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..100 {
        let told = told.clone();
        match database.start(ApplyEventRequest::new("i", "GO")) {
            Started::Waiting(waiting) => drop(waiting.finish(move |_| {
                told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            })),
            Started::Ready(_) => drop(told.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        }
    }
    database.close().unwrap();
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 100);
    let error = database.start(ApplyEventRequest::new("i", "GO")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(database.is_closed());
    database.close().unwrap();
    // The directory is free again.
    Database::open(folder.path().to_str().unwrap(), "").unwrap().close().unwrap();
}

#[test]
fn close_inside_a_callback_is_refused() {
    let database = Database::open("echo:", "").unwrap();
    let (sender, receiver) = channel();
    let inside = database.clone();
    later(&database).finish(move |_| sender.send(inside.close()).unwrap());
    let error = receiver.recv().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
    database.close().unwrap();
}

#[test]
fn a_callback_that_panics_does_not_stop_the_next() {
    let database = Database::open("echo:", "").unwrap();
    later(&database).finish(|_| panic!("on purpose"));
    let (_, results) = finish(Started::Waiting(later(&database)));
    results.recv().unwrap().unwrap();
    database.close().unwrap();
}

#[test]
fn a_panic_of_the_core_is_an_internal_error() {
    let database = Database::open("echo:", "").unwrap();
    for request in [r#"{"$panic":1}"#, r#"{"$wait":1,"payload":{"$panic":1}}"#] {
        let error = database.start_json(Operation::Ping, request.as_bytes()).wait().unwrap_err();
        assert_eq!((error.code(), error.kind()), (ErrorCode::InternalError, ErrorKind::Internal));
    }
    let payload = Json::parse(r#"{"$panic":1}"#).unwrap();
    let error = database.start(ApplyEventRequest::new("i", "GO").with_payload(payload)).wait();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Internal);
    let (_, results) = finish(database.start_json(Operation::Ping, br#"{"$wait":1}"#));
    assert_eq!(results.recv().unwrap().unwrap(), r#"{"$wait":1}"#);
}

#[test]
fn a_handle_is_there_before_the_database_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    let (database, started) = Database::open_start(url, "").unwrap();
    let (_, results) = finish(started);
    results.recv().unwrap().unwrap();
    with_instance(&database);
    database.close().unwrap();

    let (database, started) = Database::open_start("rstmdb://127.0.0.1:1", "").unwrap();
    assert_eq!(started.wait().unwrap_err().kind(), ErrorKind::Unavailable);
    let error = database.start(ApplyEventRequest::new("i", "GO")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    database.close().unwrap();
}

#[test]
fn clocks_move_only_when_they_are_by_hand() {
    let database = Database::open("mem:", r#"{"manual_clock_ms": 1000}"#).unwrap();
    with_instance(&database);
    database.advance_clock(500).unwrap();
    database.start(ApplyEventRequest::new("i", "GO")).wait().unwrap();
    let text = database.call_json(Operation::GetInstance, br#"{"instance_id":"i"}"#).unwrap();
    assert!(text.contains("\"created_at\":1000,\"updated_at\":1500"), "{text}");
    assert_eq!(database.advance_clock(-1).unwrap_err().code(), ErrorCode::BadRequest);
    assert_eq!(memory().advance_clock(1).unwrap_err().reason(), Some("unsupported"));
}

#[test]
fn waits_can_be_interrupted() {
    let server = TestServer::in_memory(|_| {});
    let database = Database::open(&server.url(), "").unwrap();
    with_instance(&database);
    let done = database.call(ApplyEventRequest::new("i", "GO"), || false).unwrap();
    assert_eq!(done.unwrap().to_state, "b");
    // Nothing listens any more, so that the next wait is long.
    server.stop().unwrap();
    assert!(database.call(HistoryRequest::new("i"), || true).is_none_or(|result| result.is_err()));
    database.close().unwrap();
}

#[test]
fn close_waits_for_those_who_are_about_to_be_called_back() {
    let database = Database::open("echo:", "").unwrap();
    let (begun, begins) = channel();
    let (sender, receiver) = channel();
    let inside = database.clone();
    let thread = std::thread::spawn(move || {
        let waiting = later(&inside);
        begun.send(()).unwrap();
        waiting.finish(move |_| sender.send(()).unwrap());
    });
    begins.recv().unwrap();
    database.close().unwrap();
    receiver.try_recv().expect("a callback ran after close returned");
    thread.join().unwrap();
}

#[test]
fn close_waits_for_the_callback_of_another_close() {
    let database = Database::open("echo:", "").unwrap();
    let (sender, receiver) = channel();
    let waiting = later(&database);
    if let Started::Waiting(closing) = database.close_start() {
        closing.finish(move |_| sender.send(()).unwrap());
    }
    waiting.finish(drop);
    database.close().unwrap();
    receiver.try_recv().expect("a callback ran after close returned");
}

#[test]
fn a_database_that_is_closed_while_it_opens_is_closed() {
    for cancel in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().to_str().unwrap();
        for _ in 0..10 {
            let (database, started) = Database::open_start(url, "").unwrap();
            let (ticket, _results) = finish(started);
            if cancel && let Some(ticket) = ticket {
                ticket.cancel();
            }
            database.close().unwrap();
            Database::open(url, "").unwrap().close().unwrap();
        }
    }
}

#[test]
fn a_callback_may_open_and_ask() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap().to_owned();
    let database = Database::open("echo:", "").unwrap();
    let (sender, receiver) = channel();
    later(&database).finish(move |_| {
        let other = Database::open(&url, "").unwrap();
        with_instance(&other);
        let history = other.start(HistoryRequest::new("i")).wait();
        sender.send(history.map(|history| history.events.len())).unwrap();
    });
    assert_eq!(receiver.recv().unwrap().unwrap(), 1);
    database.close().unwrap();
}

#[test]
fn what_a_cancelled_callback_held_may_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let database = memory();
    let (_, watch) = database.watch_start_json(Operation::WatchAll, b"{}").wait().unwrap();
    let Started::Waiting(next) = watch.next_start(1) else { panic!("there is no event") };
    let bomb = Bomb;
    assert!(next.finish(move |_| drop(bomb)).cancel());
    let echo = Database::open("echo:", "").unwrap();
    let (_, results) = finish(Started::Waiting(later(&echo)));
    results.recv().unwrap().unwrap();
}
