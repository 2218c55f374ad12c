//! Watches: overflow, lost connections, ends, and servers that can't replay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use std::time::{Duration, Instant};

use fake::{Fake, Peer, framed_text};
use futures_lite::future::{block_on, poll_once};
use rstmdb_client::{Client, Options, Retry, Subscription};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

/// Begins a live watch of everything that is answered as subscription `sub-1`.
fn watch(client: &Client, peer: &mut Peer, wal_offset: u64) -> Subscription {
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(asked.params.get("from_offset"), None);
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": wal_offset}));
    watching.wait().unwrap().1
}

/// Answers the request that takes a watch up again, and gives its `from_offset`.
fn take_up(peer: &mut Peer, subscription_id: &str) -> u64 {
    let asked = peer.expect("WATCH_ALL");
    peer.ok(&asked, json!({"subscription_id": subscription_id, "wal_offset": 1000}));
    asked.params["from_offset"].as_u64().unwrap()
}

fn offsets(events: &mut Subscription, count: usize) -> Vec<u64> {
    let next = |_| events.next_blocking().unwrap().unwrap().wal_offset;
    (0..count).map(next).collect()
}

fn ping(client: &Client, peer: &mut Peer) {
    let pending = client.call(PingRequest {});
    peer.pong();
    pending.wait().unwrap();
}

fn from(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn events_behind_the_answer_in_the_same_piece_are_not_lost() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    let result = json!({"subscription_id": "sub-1", "wal_offset": 5});
    let mut bytes = fake::framed(&fake::answer(&asked, result));
    for offset in [5, 8] {
        bytes.extend(fake::framed(&json!({
            "type": "event", "subscription_id": "sub-1", "instance_id": "a", "machine": "m",
            "version": 1, "wal_offset": offset, "from_state": "s", "to_state": "s", "event": "E",
            "payload": null,
        })));
    }
    peer.raw(&bytes);
    let (result, mut events) = watching.wait().unwrap();
    assert_eq!((result.wal_offset, events.resume_offset()), (5, 5));
    assert_eq!(offsets(&mut events, 1), [5]);
    assert_eq!(events.resume_offset(), 6);
    assert_eq!(offsets(&mut events, 1), [8]);
    assert_eq!(events.resume_offset(), 9);
    assert!(events.next_timeout(Duration::from_millis(1)).unwrap().is_none());
}

#[test]
fn a_watch_goes_on_after_a_lost_connection() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    for offset in 1..4 {
        peer.event("sub-1", offset);
    }
    // Some are read before the loss, some wait in the client.
    assert_eq!(offsets(&mut events, 1), [1]);
    ping(&client, &mut peer);
    peer.hang_up();
    let mut peer = fake.greet();
    assert_eq!(take_up(&mut peer, "sub-2"), 4);
    // The server may send what was wanted and more: never twice the same.
    for offset in 3..6 {
        peer.event("sub-2", offset);
    }
    assert_eq!(offsets(&mut events, 4), [2, 3, 4, 5]);
    // Again, and this time everything was read.
    peer.hang_up();
    let mut peer = fake.greet();
    assert_eq!(take_up(&mut peer, "sub-3"), 6);
    peer.event("sub-3", 9);
    assert_eq!(offsets(&mut events, 1), [9]);
}

#[test]
fn a_watch_without_events_goes_on_where_it_began() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let all = watch(&client, &mut peer, 17);
    let watching = client.watch(WatchInstanceRequest::new("a"));
    let asked = peer.expect("WATCH_INSTANCE");
    peer.ok(
        &asked,
        json!({
            "subscription_id": "sub-a", "instance_id": "a", "current_state": "s",
            "current_wal_offset": 11,
        }),
    );
    let (_, one) = watching.wait().unwrap();
    assert_eq!((all.resume_offset(), one.resume_offset()), (17, 12));
    peer.hang_up();
    let mut peer = fake.greet();
    let mut wanted: Vec<_> = (0..2)
        .map(|_| {
            let asked = peer.next().unwrap();
            (asked.op, asked.params["from_offset"].as_u64().unwrap())
        })
        .collect();
    wanted.sort();
    assert_eq!(wanted, [("WATCH_ALL".to_owned(), 17), ("WATCH_INSTANCE".to_owned(), 12)]);
}

#[test]
fn a_watch_that_was_not_answered_begins_on_the_next_connection() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let watching = client.watch(WatchAllRequest::default());
    peer.expect("WATCH_ALL");
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(asked.params.get("from_offset"), None);
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": 3}));
    let (_, mut events) = watching.wait().unwrap();
    peer.event("sub-1", 3);
    assert_eq!(offsets(&mut events, 1), [3]);
    ping(&client, &mut peer);
}

#[test]
fn a_slow_reader_gets_everything_and_holds_back_nobody() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options { watch_events_max: 8, ..fake.options() });
    let mut events = watch(&client, &mut peer, 1);
    for offset in 1..30 {
        peer.event("sub-1", offset);
    }
    let end = peer.expect("UNWATCH");
    assert_eq!(end.params, json!({"subscription_id": "sub-1"}));
    // Others are served while nobody reads; what still arrives for the watch is let go.
    ping(&client, &mut peer);
    for offset in 30..40 {
        peer.event("sub-1", offset);
    }
    peer.ok(&end, json!({"subscription_id": "sub-1", "removed": true}));
    ping(&client, &mut peer);
    assert_eq!(offsets(&mut events, 6), from(1..7));
    // Few are left: it is asked for the rest, from the first that did not fit.
    assert_eq!(take_up(&mut peer, "sub-2"), 9);
    for offset in 9..14 {
        peer.event("sub-2", offset);
    }
    peer.event("sub-1", 99);
    assert_eq!(offsets(&mut events, 7), from(7..14));
    // A live stream again, and one that can overflow again.
    for offset in 14..40 {
        peer.event("sub-2", offset);
    }
    peer.expect("UNWATCH");
    assert_eq!(offsets(&mut events, 8), from(14..22));
    assert_eq!(take_up(&mut peer, "sub-3"), 22);
    peer.event("sub-3", 22);
    assert_eq!(offsets(&mut events, 1), [22]);
}

#[test]
fn the_queue_is_bounded_in_bytes_too_but_takes_any_one_event() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options { watch_bytes_max: 1000, ..fake.options() });
    let mut events = watch(&client, &mut peer, 1);
    let large = |id: &str, offset: u64| {
        json!({
            "type": "event", "subscription_id": id, "instance_id": "a", "machine": "m",
            "version": 1, "wal_offset": offset, "from_state": "s", "to_state": "s", "event": "E",
            "payload": "x".repeat(2000),
        })
    };
    peer.send(&large("sub-1", 1));
    peer.send(&large("sub-1", 9));
    peer.expect("UNWATCH");
    assert_eq!(offsets(&mut events, 1), [1]);
    // What lies between them passed the server's filters by: it is not read again.
    assert_eq!(take_up(&mut peer, "sub-2"), 9);
    peer.send(&large("sub-2", 9));
    assert_eq!(offsets(&mut events, 1), [9]);
}

#[test]
fn a_slow_reader_loses_nothing_when_the_connection_goes_too() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options { watch_events_max: 4, ..fake.options() });
    let mut events = watch(&client, &mut peer, 1);
    for offset in 1..10 {
        peer.event("sub-1", offset);
    }
    peer.expect("UNWATCH");
    peer.hang_up();
    // A reader that has not caught up asks for nothing.
    let mut peer = fake.greet();
    ping(&client, &mut peer);
    assert_eq!(offsets(&mut events, 4), from(1..5));
    // The request to go on can get lost as well.
    assert_eq!(peer.expect("WATCH_ALL").params["from_offset"], 5);
    peer.hang_up();
    let mut peer = fake.greet();
    assert_eq!(take_up(&mut peer, "sub-3"), 5);
    peer.event("sub-3", 5);
    assert_eq!(offsets(&mut events, 1), [5]);
}

#[test]
fn a_server_that_stops_says_where_to_go_on() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    peer.event("sub-1", 1);
    peer.send(&json!({"type": "end", "subscription_id": "sub-1", "resume_offset": 50}));
    peer.hang_up();
    let mut peer = fake.greet();
    assert_eq!(take_up(&mut peer, "sub-2"), 50);
    peer.event("sub-2", 50);
    assert_eq!(offsets(&mut events, 2), [1, 50]);
}

/// How far a subscription has come.
fn progress(peer: &mut Peer, subscription_id: &str, place: (u64, &str)) {
    peer.send(&json!({
        "type": "progress", "subscription_id": subscription_id,
        "resume_offset": place.0, "history_id": place.1,
    }));
}

#[test]
fn a_quiet_watch_goes_on_from_where_it_was_told_to_be() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    peer.event("sub-1", 3);
    progress(&mut peer, "sub-1", (90, "0f"));
    // What is older, and what is of another subscription, means nothing.
    progress(&mut peer, "sub-1", (80, "0e"));
    progress(&mut peer, "sub-9", (500, "0e"));
    ping(&client, &mut peer);
    assert_eq!(events.resume_offset(), 1, "the event is still to be had");
    assert_eq!(offsets(&mut events, 1), [3]);
    assert!(events.next_timeout(Duration::ZERO).unwrap().is_none());
    let place = events.position().clone();
    assert_eq!((place.next, place.history_id.as_deref()), (90, Some("0f")));
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(
        (&asked.params["from_offset"], &asked.params["history_id"]),
        (&json!(90), &json!("0f"))
    );
    peer.ok(&asked, json!({"subscription_id": "sub-2", "wal_offset": 1000}));
    peer.event("sub-2", 91);
    assert_eq!(offsets(&mut events, 1), [91]);
}

#[test]
fn progress_behind_an_event_that_found_no_room_skips_nothing() {
    let fake = Fake::new();
    let options = Options { watch_events_max: 1, ..fake.options() };
    let (client, mut peer) = fake.connect(options);
    let mut events = watch(&client, &mut peer, 1);
    let mut bytes = Vec::new();
    for message in [
        json!({"type": "event", "subscription_id": "sub-1", "instance_id": "a", "machine": "m",
            "version": 1, "wal_offset": 1, "from_state": "s", "to_state": "s", "event": "E",
            "payload": null}),
        json!({"type": "event", "subscription_id": "sub-1", "instance_id": "a", "machine": "m",
            "version": 1, "wal_offset": 2, "from_state": "s", "to_state": "s", "event": "E",
            "payload": null}),
        json!({"type": "progress", "subscription_id": "sub-1", "resume_offset": 50}),
    ] {
        bytes.extend(fake::framed(&message));
    }
    peer.raw(&bytes);
    let unwatch = peer.expect("UNWATCH");
    peer.ok(&unwatch, json!({"subscription_id": "sub-1", "removed": true}));
    assert_eq!(offsets(&mut events, 1), [1]);
    assert_eq!(take_up(&mut peer, "sub-2"), 2);
}

#[test]
fn an_end_with_an_error_is_the_end() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    peer.event("sub-1", 1);
    peer.send(&json!({
        "type": "end", "subscription_id": "sub-1", "resume_offset": 2,
        "error": {"code": "NOT_FOUND", "message": "gone", "retryable": false,
            "details": {"reason": "offset_compacted"}},
    }));
    assert_eq!(offsets(&mut events, 1), [1]);
    let error = events.next_blocking().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(reason::OFFSET_COMPACTED));
    assert!(events.next_blocking().is_none());
    peer.hang_up();
    // Nobody asks for it again.
    let read = client.call(ListMachinesRequest {});
    fake.greet().expect("LIST_MACHINES");
    drop(read);
}

/// An event that tells which history it is of.
fn event_of_history(peer: &mut Peer, subscription_id: &str, offset: u64, history_id: &str) {
    peer.send(&json!({
        "type": "event", "subscription_id": subscription_id, "instance_id": "a", "machine": "m",
        "version": 1, "wal_offset": offset, "history_id": history_id, "payload": null,
    }));
}

#[test]
fn a_watch_goes_on_with_the_history_of_what_it_saw_last() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(asked.params.get("history_id"), None);
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": 5, "history_id": "0a"}));
    let (result, mut events) = watching.wait().unwrap();
    assert_eq!(result.history_id.as_deref(), Some("0a"));
    let place = |next, id: &str| LogPosition { next, history_id: Some(id.into()) };
    assert_eq!(*events.position(), place(5, "0a"));
    peer.hang_up();
    let again = |peer: &mut Peer, next: u64, id: &str| {
        let asked = peer.expect("WATCH_ALL");
        let wanted = json!({"from_offset": next, "history_id": id, "include_ctx": true});
        assert_eq!(asked.params, wanted);
        asked
    };
    let mut peer = fake.greet();
    let asked = again(&mut peer, 5, "0a");
    peer.ok(&asked, json!({"subscription_id": "sub-2", "wal_offset": 6, "history_id": "0a"}));
    event_of_history(&mut peer, "sub-2", 7, "0b");
    assert_eq!(offsets(&mut events, 1), [7]);
    assert_eq!(*events.position(), place(8, "0b"));
    // What the filters left out is behind it as well, and belongs to another history.
    let end =
        json!({"type": "end", "subscription_id": "sub-2", "resume_offset": 20, "history_id": "0c"});
    peer.send(&end);
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = again(&mut peer, 20, "0c");
    peer.send(&json!({
        "type": "response", "id": asked.id, "status": "error", "error": {
            "code": "CONFLICT", "message": "another one", "retryable": false,
            "details": {"reason": "history_diverged", "context": {"safe_offset": 6}}},
    }));
    let error = events.next_blocking().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(reason::HISTORY_DIVERGED));
    assert!(events.next_blocking().is_none());
    assert_eq!(*events.position(), place(20, "0c"));
}

#[test]
fn a_history_that_stays_the_same_is_told_once_and_stands_in_each_event() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    let quiet = |peer: &mut Peer, offset: u64| {
        peer.send(&json!({
            "type": "event", "subscription_id": "sub-1", "instance_id": "a", "machine": "m",
            "version": 1, "wal_offset": offset, "payload": null,
        }));
    };
    event_of_history(&mut peer, "sub-1", 1, "0a");
    quiet(&mut peer, 2);
    event_of_history(&mut peer, "sub-1", 3, "0b");
    quiet(&mut peer, 4);
    // What is read late belongs to the history it came with.
    ping(&client, &mut peer);
    for (offset, history) in [(1, "0a"), (2, "0a"), (3, "0b"), (4, "0b")] {
        let event = events.next_blocking().unwrap().unwrap();
        assert_eq!((event.wal_offset, event.history_id.as_deref()), (offset, Some(history)));
        let place = LogPosition { next: offset + 1, history_id: Some(history.into()) };
        assert_eq!(*events.position(), place);
    }
}

#[test]
fn an_event_without_room_is_asked_for_in_its_own_history() {
    let fake = Fake::new();
    let options = Options { watch_events_max: 1, ..fake.options() };
    let (client, mut peer) = fake.connect(options);
    let mut events = watch(&client, &mut peer, 1);
    event_of_history(&mut peer, "sub-1", 1, "0a");
    event_of_history(&mut peer, "sub-1", 9, "0b");
    peer.expect("UNWATCH");
    assert_eq!(offsets(&mut events, 1), [1]);
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(
        (&asked.params["from_offset"], &asked.params["history_id"]),
        (&json!(9), &json!("0b"))
    );
}

#[test]
fn a_watch_that_ends_for_now_is_begun_again_on_the_same_connection() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    let reopening = json!({"code": "WAL_IO_ERROR", "message": "it opens", "retryable": true,
        "details": {"reason": "reopening"}});
    for round in 1..10 {
        let id = format!("sub-{round}");
        peer.event(&id, 10 * round);
        peer.send(&json!({"type": "end", "subscription_id": id, "resume_offset": 10 * round + 5,
            "error": reopening}));
        // It may take longer than a request is patient.
        for _ in 0..5 {
            let asked = peer.expect("WATCH_ALL");
            assert_eq!(asked.params["from_offset"], 10 * round + 5);
            let refusal = json!({"type": "response", "id": asked.id, "status": "error",
                "error": reopening});
            peer.send(&refusal);
        }
        assert_eq!(take_up(&mut peer, &format!("sub-{}", round + 1)), 10 * round + 5);
        assert_eq!(offsets(&mut events, 1), [10 * round]);
    }
    // One that nobody reads any more is not.
    let id = "sub-10";
    peer.send(
        &json!({"type": "end", "subscription_id": id, "resume_offset": 99, "error": reopening}),
    );
    peer.expect("WATCH_ALL");
    drop(events);
    ping(&client, &mut peer);
}

#[test]
fn what_the_log_no_longer_has_is_an_error_not_a_gap() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let mut events = watch(&client, &mut peer, 1);
    peer.event("sub-1", 1);
    ping(&client, &mut peer);
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("WATCH_ALL");
    peer.error(&asked, "NOT_FOUND", false);
    assert_eq!(offsets(&mut events, 1), [1]);
    let error = events.next_blocking().unwrap().unwrap_err();
    assert_eq!((error.code(), error.operation()), (ErrorCode::NotFound, Some("WATCH_ALL")));
    assert!(events.next_blocking().is_none());
}

#[test]
fn the_watch_of_an_instance_that_was_deleted_goes_on() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let request =
        WatchInstanceRequest { include_lifecycle: true, ..WatchInstanceRequest::new("a") };
    let watching = client.watch(request);
    let asked = peer.expect("WATCH_INSTANCE");
    let result = json!({
        "subscription_id": "sub-1", "instance_id": "a", "current_state": "s",
        "current_wal_offset": 4,
    });
    peer.ok(&asked, result);
    let (_, mut events) = watching.wait().unwrap();
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("WATCH_INSTANCE");
    assert_eq!(asked.params["from_offset"], 5);
    peer.error(&asked, "INSTANCE_NOT_FOUND", false);
    // Its last events, its deletion and its next life are found among those of all.
    let asked = peer.expect("WATCH_ALL");
    let expected = json!({"from_offset": 5, "include_ctx": true, "include_lifecycle": true});
    assert_eq!(asked.params, expected);
    peer.ok(&asked, json!({"subscription_id": "sub-2", "wal_offset": 100}));
    peer.event_of("b", "sub-2", 5);
    peer.event_of("a", "sub-2", 6);
    peer.event_of("b", "sub-2", 7);
    peer.event_of("a", "sub-2", 8);
    assert_eq!(offsets(&mut events, 2), [6, 8]);
    // A watch that begins with an instance that is not there is refused.
    let watching = client.watch(WatchInstanceRequest::new("x"));
    let asked = peer.expect("WATCH_INSTANCE");
    peer.error(&asked, "INSTANCE_NOT_FOUND", false);
    assert_eq!(watching.wait().unwrap_err().code(), ErrorCode::InstanceNotFound);
    ping(&client, &mut peer);
}

#[test]
fn dropping_a_watch_ends_it_on_the_server() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let events = watch(&client, &mut peer, 1);
    drop(events);
    assert_eq!(peer.expect("UNWATCH").params, json!({"subscription_id": "sub-1"}));
    // One that is given up before it is answered, too.
    let mut watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    assert!(block_on(poll_once(&mut watching)).is_none());
    drop(watching);
    peer.ok(&asked, json!({"subscription_id": "sub-2", "wal_offset": 1}));
    assert_eq!(peer.expect("UNWATCH").params, json!({"subscription_id": "sub-2"}));
    peer.hang_up();
    // And neither is asked for again.
    let read = client.call(ListMachinesRequest {});
    fake.greet().expect("LIST_MACHINES");
    drop(read);
}

#[test]
fn a_watch_that_waits_for_patience_is_asked_for_once_on_the_next_connection() {
    let fake = Fake::new();
    let pause = Duration::from_millis(10);
    let retry = Retry { attempts: 3, backoff_min: pause, backoff_max: pause };
    let (client, mut peer) = fake.connect(Options { retry, ..fake.options() });
    let mut events = watch(&client, &mut peer, 1);
    for round in 1..21 {
        peer.hang_up();
        peer = fake.greet();
        let asked = peer.expect("WATCH_ALL");
        peer.error(&asked, "RATE_LIMITED", true);
        // Lost while the request waits to be put back.
        peer.hang_up();
        peer = fake.greet();
        let id = format!("sub-{round}");
        assert_eq!(take_up(&mut peer, &id), round);
        ping(&client, &mut peer);
        peer.event(&id, round);
        assert_eq!(offsets(&mut events, 1), [round]);
    }
}

#[test]
fn a_watch_that_begins_too_late_is_ended_on_the_server() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options {
        request_timeout: Duration::from_millis(300),
        keep_alive: Duration::from_millis(5),
        ..fake.options()
    });
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    while !watching.is_ready() {
        peer.pong();
    }
    assert_eq!(watching.wait().unwrap_err().reason(), Some(reason::TIMEOUT));
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": 1}));
    // One may have been on its way; the answer to it comes behind that of the watch.
    let mut next = peer.next().unwrap();
    for _ in 0..2 {
        if next.op == "PING" {
            peer.ok(&next, json!({"pong": true}));
            next = peer.next().unwrap();
        }
    }
    assert_eq!((&*next.op, next.params), ("UNWATCH", json!({"subscription_id": "sub-1"})));
}

#[test]
fn events_of_a_watch_that_is_not_known_yet_do_not_end_it() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    // A server may be this careless.
    peer.event("sub-1", 1);
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": 2}));
    let (_, mut events) = watching.wait().unwrap();
    ping(&client, &mut peer);
    peer.event("sub-1", 2);
    assert_eq!(offsets(&mut events, 1), [2]);
}

#[test]
fn a_request_that_is_never_answered_does_not_hold_back_the_change_of_servers() {
    let (replica, primary) = (Fake::new(), Fake::new());
    let patience = Duration::from_millis(400);
    let (client, mut peer) = replica.connect(Options {
        connect_timeout: Duration::ZERO,
        request_timeout: patience,
        ..fake::options(&[&replica, &primary])
    });
    let mut events = watch(&client, &mut peer, 1);
    let read = client.call(GetInstanceRequest { instance_id: "a".into() });
    peer.expect("GET_INSTANCE");
    // The server lives, so the connection is not given up for the one answer that is missing.
    let began = Instant::now();
    while began.elapsed() < patience / 2 {
        ping(&client, &mut peer);
    }
    let write = client.call(ApplyEventRequest::new("a", "E"));
    let asked = peer.expect("APPLY_EVENT");
    peer.error(&asked, "READ_ONLY_MODE", false);
    assert_eq!(read.wait().unwrap_err().reason(), Some(reason::TIMEOUT));
    let mut peer = primary.greet();
    assert_eq!(take_up(&mut peer, "sub-2"), 1);
    peer.event("sub-2", 1);
    assert_eq!(offsets(&mut events, 1), [1]);
    drop(write);
}

#[test]
fn filters_and_replays_are_asked_for_as_they_are() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let request = WatchAllRequest {
        from_offset: Some(3),
        machines: vec!["m".into()],
        include_ctx: false,
        ..WatchAllRequest::default()
    };
    let watching = client.watch(request);
    let asked = peer.expect("WATCH_ALL");
    let expected = json!({"from_offset": 3, "machines": ["m"], "include_ctx": false});
    assert_eq!(asked.params, expected);
    peer.ok(&asked, json!({"subscription_id": "sub-1", "wal_offset": 90}));
    let (result, events) = watching.wait().unwrap();
    assert_eq!((result.wal_offset, events.resume_offset()), (90, 3));
    peer.hang_up();
    // Nothing came: it begins where it was asked to.
    assert_eq!(fake.greet().expect("WATCH_ALL").params, expected);
}

#[test]
fn an_older_server_can_not_close_a_gap_and_that_is_said() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect_old(fake.options());
    let mut events = watch(&client, &mut peer, 1 << 40);
    peer.send(&old_event(1 << 40));
    ping(&client, &mut peer);
    peer.hang_up();
    let mut peer = fake.greet_as_old();
    let event = events.next_blocking().unwrap().unwrap();
    assert_eq!((event.wal_offset, event.timestamp), (1 << 40, None));
    assert_eq!(event.ctx, Some(Json::empty_object()));
    let error = events.next_blocking().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
    assert!(error.message().contains("0.3.0"), "{error}");
    assert!(events.next_blocking().is_none());
    // Nothing of it was sent.
    ping(&client, &mut peer);
}

#[test]
fn a_slow_reader_of_an_older_server_is_told_that_it_was_too_slow() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect_old(Options { watch_events_max: 2, ..fake.options() });
    let mut events = watch(&client, &mut peer, 1);
    for offset in 1..5 {
        peer.send(&old_event(offset));
    }
    peer.expect("UNWATCH");
    assert_eq!(offsets(&mut events, 2), [1, 2]);
    let error = events.next_blocking().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
    assert!(events.next_blocking().is_none());
    ping(&client, &mut peer);
}

/// As version 0.3.0 writes it, with a context of null.
fn old_event(offset: u64) -> Value {
    json!({
        "type": "event", "subscription_id": "sub-1", "instance_id": "a", "machine": "m",
        "version": 1, "wal_offset": offset, "from_state": "s", "to_state": "s", "event": "E",
        "payload": null, "ctx": null,
    })
}

#[test]
fn an_event_that_can_not_be_taken_ends_its_watch_and_no_other() {
    let front =
        |id: &str| format!(r#"{{"type":"event","subscription_id":"{id}","instance_id":"a""#);
    // It announces more than a frame may hold.
    let mut large = framed_text(&format!("{},{}", front("sub-1"), " ".repeat(1000)));
    large[10..14].copy_from_slice(&((16 << 20) + 1_u32).to_be_bytes());
    let no_offset = framed_text(&format!("{},\"machine\":\"m\"}}", front("sub-1")));
    for bytes in [large, no_offset] {
        let fake = Fake::new();
        let (client, mut peer) = fake.connect(fake.options());
        let mut events = watch(&client, &mut peer, 5);
        let watching = client.watch(WatchAllRequest::default());
        let asked = peer.expect("WATCH_ALL");
        peer.ok(&asked, json!({"subscription_id": "sub-2", "wal_offset": 5}));
        let (_, mut other) = watching.wait().unwrap();
        peer.event("sub-1", 6);
        peer.raw(&bytes);
        // Only the other one comes back.
        let mut peer = fake.greet();
        assert_eq!(take_up(&mut peer, "sub-3"), 5);
        peer.event("sub-3", 6);
        assert_eq!(offsets(&mut other, 1), [6]);
        assert_eq!(offsets(&mut events, 1), [6]);
        let error = events.next_blocking().unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(reason::ANSWER_TOO_LARGE), "{error}");
        assert_eq!(error.context()["wanted_offset"], 7);
        assert!(!error.retryable());
        assert!(events.next_blocking().is_none());
        ping(&client, &mut peer);
    }
}
