//! Requests on a connection that does what it should, and what goes wrong on one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use std::time::Duration;

use fake::{Fake, answer, applied, framed, instance, options};
use futures_lite::future::{block_on, poll_once};
use rstmdb_client::{Client, Options, Pending};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::json;

fn event(key: Option<&str>) -> ApplyEventRequest {
    let request = ApplyEventRequest::new("a", "E");
    key.map_or(request.clone(), |key| request.with_key(key))
}

fn get() -> GetInstanceRequest {
    GetInstanceRequest { instance_id: "a".into() }
}

/// Asks whether the server is there, and answers for it.
fn ping(client: &Client, peer: &mut fake::Peer) {
    let pending = client.call(PingRequest {});
    peer.pong();
    pending.wait().unwrap();
}

/// Waits until the client has noticed that its connection is gone.
fn wait_for_loss(client: &Client) {
    while client.server().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let pending: Vec<_> = (0..500)
        .map(|number| client.call(ApplyEventRequest::new(format!("i{number}"), "E")))
        .collect();
    // All are in flight before the first is answered.
    let mut asked: Vec<_> = (0..500).map(|_| peer.expect("APPLY_EVENT")).collect();
    for (number, asked) in asked.iter().enumerate() {
        assert_eq!(asked.params["instance_id"], format!("i{number}"), "requests keep their order");
    }
    asked.reverse();
    for asked in &asked {
        let number = asked.params["instance_id"].as_str().unwrap()[1..].parse().unwrap();
        peer.ok(asked, applied(number));
    }
    for (number, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait().unwrap().wal_offset, number as u64);
    }
}

#[test]
fn requests_are_sent_without_anybody_waiting_for_them() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    drop(client.call(event(None)));
    peer.expect("APPLY_EVENT");
    let pending = client.call(event(None));
    let second = peer.expect("APPLY_EVENT");
    assert!(!pending.is_ready());
    peer.ok(&second, applied(1));
    assert_eq!(pending.wait().unwrap().wal_offset, 1);
}

#[test]
fn beyond_the_bound_requests_wait_for_their_turn() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options { in_flight_max: 2, ..fake.options() });
    let first = client.call(ApplyEventRequest::new("1", "E"));
    let second = client.call(ApplyEventRequest::new("2", "E"));
    let mut third = client.call(ApplyEventRequest::new("3", "E"));
    // It was not sent: dropped, it never is.
    assert!(block_on(poll_once(&mut third)).is_none());
    drop(third);
    let fourth = client.call(ApplyEventRequest::new("4", "E"));
    for id in ["1", "2"] {
        let asked = peer.expect("APPLY_EVENT");
        assert_eq!(asked.params["instance_id"], id);
        peer.ok(&asked, applied(1));
    }
    first.wait().unwrap();
    second.wait().unwrap();
    let waiting = std::thread::spawn(move || fourth.wait());
    let asked = peer.expect("APPLY_EVENT");
    assert_eq!(asked.params["instance_id"], "4");
    peer.ok(&asked, applied(4));
    assert_eq!(waiting.join().unwrap().unwrap().wal_offset, 4);
    // A request larger than all places together is let through alone.
    let large = "x".repeat(1 << 20);
    let payload = Json::from_value(&json!({ "large": large }));
    let pending = client.call(event(None).with_payload(payload));
    let asked = peer.expect("APPLY_EVENT");
    peer.ok(&asked, applied(5));
    pending.wait().unwrap();
}

#[test]
fn what_does_not_fit_a_frame_is_refused_before_it_is_sent() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let payload = Json::from_value(&json!({ "large": "x".repeat(16 << 20) }));
    let error = client.call(event(None).with_payload(payload)).wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::LIMIT_EXCEEDED));
    assert_eq!(error.operation(), Some("APPLY_EVENT"));
    ping(&client, &mut peer);
}

#[test]
fn errors_arrive_with_code_and_operation() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let pending = client.call(get());
    let asked = peer.expect("GET_INSTANCE");
    peer.error(&asked, "INSTANCE_NOT_FOUND", false);
    let error = pending.wait().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InstanceNotFound);
    assert_eq!(error.operation(), Some("GET_INSTANCE"));
    let pending = client.call(get());
    let asked = peer.expect("GET_INSTANCE");
    peer.ok(&asked, json!({"state": 7}));
    assert_eq!(pending.wait().unwrap_err().kind(), ErrorKind::Internal);
    ping(&client, &mut peer);
}

#[test]
fn reads_and_writes_with_a_key_are_repeated_after_a_lost_connection() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let read = client.call(get());
    let write = client.call(event(Some("k")));
    let sent = (peer.expect("GET_INSTANCE"), peer.expect("APPLY_EVENT"));
    peer.hang_up();
    let mut peer = fake.greet();
    let again = (peer.expect("GET_INSTANCE"), peer.expect("APPLY_EVENT"));
    assert_eq!(again.0.params, sent.0.params);
    assert_eq!(again.1.params, sent.1.params);
    peer.ok(&again.0, instance(3));
    peer.ok(&again.1, applied(4));
    assert_eq!(read.wait().unwrap().last_wal_offset, 3);
    assert_eq!(write.wait().unwrap().wal_offset, 4);
}

#[test]
fn a_write_without_a_key_is_never_sent_twice() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let write = client.call(event(None));
    peer.expect("APPLY_EVENT");
    let read = client.call(get());
    peer.expect("GET_INSTANCE");
    peer.hang_up();
    let mut peer = fake.greet();
    // The next thing the server hears is the read.
    let asked = peer.expect("GET_INSTANCE");
    peer.ok(&asked, instance(3));
    read.wait().unwrap();
    let error = write.wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN));
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, false));
    assert_eq!(error.operation(), Some("APPLY_EVENT"));
}

/// The database does not change, but files of the server do.
#[test]
fn a_snapshot_is_not_taken_or_removed_twice() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let take = client.call(SnapshotInstanceRequest { instance_id: "a".into() });
    let remove = client.call(DropSnapshotRequest { snapshot_id: "snap-0".into() });
    let list = client.call(ListSnapshotsRequest { instance_id: "a".into() });
    for operation in ["SNAPSHOT_INSTANCE", "DROP_SNAPSHOT", "LIST_SNAPSHOTS"] {
        peer.expect(operation);
    }
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("LIST_SNAPSHOTS");
    peer.ok(&asked, json!({"snapshots": []}));
    assert!(list.wait().unwrap().snapshots.is_empty());
    for error in [take.wait().map(drop), remove.wait().map(drop)].map(Result::unwrap_err) {
        assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN), "{error}");
        assert!(!error.retryable(), "{error}");
    }
}

#[test]
fn what_was_never_sent_goes_to_the_next_connection() {
    let fake = Fake::new();
    let (client, peer) = fake.connect(fake.options());
    peer.hang_up();
    wait_for_loss(&client);
    let write = client.call(event(None));
    let mut peer = fake.greet();
    let asked = peer.expect("APPLY_EVENT");
    peer.ok(&asked, applied(1));
    assert_eq!(write.wait().unwrap().wal_offset, 1);
}

#[test]
fn a_server_that_drops_a_request_each_time_is_given_up() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let read = client.call(get());
    let write = client.call(event(Some("k")));
    for repetition in 0..4 {
        peer.expect("GET_INSTANCE");
        peer.expect("APPLY_EVENT");
        peer.hang_up();
        if repetition < 3 {
            peer = fake.greet();
        } else {
            break;
        }
    }
    let error = read.wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::CONNECTION_LOST));
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
    let error = write.wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN));
    assert!(error.retryable(), "the key makes it safe");
}

/// A client whose write with a key and whose read were sent, and whose server is then gone for good.
fn abandoned(change: impl FnOnce(&mut Options)) -> (Client, Pending<ApplyEventResult>, Read) {
    let fake = Fake::new();
    let mut options = fake.options();
    change(&mut options);
    let (client, mut peer) = fake.connect(options);
    let write = client.call(event(Some("k")));
    let read = client.call(get());
    peer.expect("APPLY_EVENT");
    peer.expect("GET_INSTANCE");
    drop(fake);
    peer.hang_up();
    (client, write, read)
}

type Read = Pending<GetInstanceResult>;

#[test]
fn a_write_that_was_sent_and_waits_for_a_server_has_an_unknown_outcome() {
    let patient = |options: &mut Options| options.retry.attempts = u32::MAX;
    // Time runs out while it waits to be sent again.
    let (client, write, read) = abandoned(|options| {
        patient(options);
        options.request_timeout = Duration::from_millis(60);
    });
    let error = write.wait().unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::OUTCOME_UNKNOWN), true));
    assert_eq!(read.wait().unwrap_err().reason(), Some(reason::TIMEOUT));
    wait_for_loss(&client);
    let unsent = client.call(event(Some("k"))).wait().unwrap_err();
    assert_eq!(unsent.reason(), Some(reason::TIMEOUT), "nothing was changed");
    // No server comes back.
    let (_client, write, read) = abandoned(|_| ());
    assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
    assert_eq!(read.wait().unwrap_err().reason(), Some(reason::CONNECTION_LOST));
    // The client is closed.
    let (client, write, read) = abandoned(patient);
    wait_for_loss(&client);
    client.close_blocking();
    assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
    assert_eq!(read.wait().unwrap_err().reason(), Some(reason::CLOSED));
}

#[test]
fn a_write_that_was_sent_and_is_refused_later_has_an_unknown_outcome() {
    for code in [
        "RATE_LIMITED",
        "READ_ONLY_MODE",
        "WAL_IO_ERROR",
        "REPLICATION_ERROR",
        "INTERNAL_ERROR",
        "UNAUTHORIZED",
    ] {
        let fake = Fake::new();
        let mut options = fake.options();
        options.retry.attempts = 1;
        let (client, mut peer) = fake.connect(options);
        let write = client.call(event(Some("k")));
        peer.expect("APPLY_EVENT");
        peer.hang_up();
        // This refusal says nothing about the first time.
        let mut peer = fake.greet();
        let asked = peer.expect("APPLY_EVENT");
        peer.error(&asked, code, true);
        assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN), "{code}");
        ping(&client, &mut peer);
    }
}

#[test]
fn a_write_is_not_repeated_on_a_server_that_keeps_no_keys() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let write = client.call(event(Some("k")));
    peer.expect("APPLY_EVENT");
    peer.hang_up();
    let mut peer = fake.greet_as_old();
    ping(&client, &mut peer);
    assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
}

#[test]
fn an_older_server_forgets_keys_so_nothing_is_repeated_there() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect_old(fake.options());
    let write = client.call(event(Some("k")));
    let read = client.call(get());
    peer.expect("APPLY_EVENT");
    peer.expect("GET_INSTANCE");
    peer.hang_up();
    let mut peer = fake.greet_as_old();
    let asked = peer.expect("GET_INSTANCE");
    peer.ok(&asked, instance(1));
    read.wait().unwrap();
    assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
}

#[test]
fn half_answers_and_noise_count_as_a_lost_connection() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let read = client.call(get());
    let asked = peer.expect("GET_INSTANCE");
    let whole = framed(&answer(&asked, instance(1)));
    peer.raw(&whole[..whole.len() - 3]);
    peer.hang_up();
    let mut peer = fake.greet();
    let asked = peer.expect("GET_INSTANCE");
    let mut damaged = framed(&answer(&asked, instance(2)));
    *damaged.last_mut().unwrap() ^= 1;
    peer.raw(&damaged);
    let mut peer = fake.greet();
    peer.expect("GET_INSTANCE");
    peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let mut peer = fake.greet();
    let asked = peer.expect("GET_INSTANCE");
    // An answer in single bytes is an answer.
    for byte in framed(&answer(&asked, instance(4))) {
        peer.raw(&[byte]);
    }
    assert_eq!(read.wait().unwrap().last_wal_offset, 4);
}

#[test]
fn messages_that_mean_nothing_are_passed_over() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let read = client.call(get());
    let asked = peer.expect("GET_INSTANCE");
    // Twice: the subscription is ended, once.
    peer.event("sub-unknown", 7);
    peer.event("sub-unknown", 8);
    peer.send(&json!({"type": "news", "id": "x"}));
    peer.send(&json!({"type": "response", "id": "999999", "status": "ok", "result": {}}));
    peer.send(&json!({"type": "end", "subscription_id": "sub-unknown", "resume_offset": 1}));
    peer.ok(&asked, instance(1));
    peer.ok(&asked, instance(2));
    assert_eq!(read.wait().unwrap().last_wal_offset, 1);
    assert_eq!(peer.expect("UNWATCH").params, json!({"subscription_id": "sub-unknown"}));
    ping(&client, &mut peer);
}

#[test]
fn a_server_that_asks_for_patience_is_asked_again() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    // It refused before it did anything, so this holds for a write without a key too.
    let write = client.call(event(None));
    for _ in 0..3 {
        let asked = peer.expect("APPLY_EVENT");
        peer.error(&asked, "RATE_LIMITED", true);
    }
    let asked = peer.expect("APPLY_EVENT");
    peer.ok(&asked, applied(1));
    write.wait().unwrap();
    let write = client.call(event(None));
    for _ in 0..4 {
        let asked = peer.expect("APPLY_EVENT");
        peer.error(&asked, "RATE_LIMITED", true);
    }
    assert_eq!(write.wait().unwrap_err().code(), ErrorCode::RateLimited);
    // So did one that is just about to open its database.
    let write = client.call(event(None));
    let asked = peer.expect("APPLY_EVENT");
    peer.refuse(&asked, "WAL_IO_ERROR", reason::REOPENING, None);
    let asked = peer.expect("APPLY_EVENT");
    peer.ok(&asked, applied(2));
    write.wait().unwrap();
    // Other errors are the caller's business, also those that may pass.
    let write = client.call(event(Some("k")));
    let asked = peer.expect("APPLY_EVENT");
    peer.error(&asked, "WAL_IO_ERROR", true);
    assert!(write.wait().unwrap_err().retryable());
    ping(&client, &mut peer);
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let fake = Fake::new();
    let patience = Duration::from_millis(40);
    let (client, mut peer) = fake.connect(Options { request_timeout: patience, ..fake.options() });
    let read = client.call(get());
    let keyed = client.call(event(Some("k")));
    let unkeyed = client.call(event(None));
    peer.expect("GET_INSTANCE");
    let error = read.wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::TIMEOUT));
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
    let error = keyed.wait().unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::OUTCOME_UNKNOWN), true));
    let error = unkeyed.wait().unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::OUTCOME_UNKNOWN), false));
    // Nothing came in all that time: the client tries another connection.
    wait_for_loss(&client);
    let options = client.call(event(Some("again")));
    let mut peer = fake.greet();
    let asked = peer.expect("APPLY_EVENT");
    peer.ok(&asked, applied(1));
    options.wait().unwrap();
}

#[test]
fn a_silent_connection_is_asked_whether_it_lives() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options {
        keep_alive: Duration::from_millis(5),
        request_timeout: Duration::from_millis(40),
        ..fake.options()
    });
    peer.pong();
    peer.pong();
    // No answer any more.
    peer.expect("PING");
    wait_for_loss(&client);
}

#[test]
fn keep_alive_does_not_wait_as_long_as_requests_may() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(Options {
        keep_alive: Duration::from_millis(5),
        request_timeout: Duration::from_secs(3600),
        ..fake.options()
    });
    peer.pong();
    peer.pong();
    drop(client);
}

#[test]
fn writes_go_to_a_server_that_takes_them_in_their_order() {
    let (replica, primary) = (Fake::new(), Fake::new());
    // Who is asked twice says nothing, and would be waited for.
    let options = Options { connect_timeout: Duration::ZERO, ..options(&[&replica, &primary]) };
    let (client, mut peer) = replica.connect(options);
    let read = client.call(get());
    let one = client.call(ApplyEventRequest::new("1", "E"));
    let two = client.call(ApplyEventRequest::new("2", "E"));
    let asked = peer.expect("GET_INSTANCE");
    let refused = (peer.expect("APPLY_EVENT"), peer.expect("APPLY_EVENT"));
    peer.error(&refused.1, "READ_ONLY_MODE", false);
    peer.error(&refused.0, "READ_ONLY_MODE", false);
    // What is in flight there is answered there, before the connection is left.
    peer.ok(&asked, instance(1));
    read.wait().unwrap();
    let mut peer = primary.greet();
    for (offset, refused) in [(1, &refused.0), (2, &refused.1)] {
        let asked = peer.expect("APPLY_EVENT");
        assert_eq!(asked.params, refused.params);
        peer.ok(&asked, applied(offset));
    }
    assert_eq!(one.wait().unwrap().wal_offset, 1);
    assert_eq!(two.wait().unwrap().wal_offset, 2);
    ping(&client, &mut peer);
}

#[test]
fn when_no_server_takes_writes_each_is_asked_once() {
    let fakes = [Fake::new(), Fake::new()];
    let (client, mut peer) = fakes[0].connect(options(&[&fakes[0], &fakes[1]]));
    let write = client.call(event(None));
    let asked = peer.expect("APPLY_EVENT");
    peer.error(&asked, "READ_ONLY_MODE", false);
    let mut peer = fakes[1].greet();
    let asked = peer.expect("APPLY_EVENT");
    peer.error(&asked, "READ_ONLY_MODE", false);
    assert_eq!(write.wait().unwrap_err().code(), ErrorCode::ReadOnlyMode);
    ping(&client, &mut peer);
}
