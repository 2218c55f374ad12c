//! Connecting, failing to, and closing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use std::time::Duration;

use fake::{Fake, TODAY, applied, hello_result, options};
use futures_lite::future::block_on;
use rstmdb_client::{Client, Options};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::json;

#[test]
fn nobody_there_is_a_clear_error() {
    let fake = Fake::new();
    let options = fake.options();
    let endpoint = fake.endpoint().to_string();
    drop(fake);
    let error = Client::connect_blocking(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.reason(), Some(reason::CONNECTION_LOST));
    assert!(error.message().contains(&endpoint), "{error}");
    assert!(error.message().contains("is a server running there"), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let fake = Fake::new();
    let options = Options { connect_timeout: Duration::from_millis(30), ..fake.options() };
    // The system accepts; nobody answers.
    let error = Client::connect_blocking(options).unwrap_err();
    assert_eq!(error.reason(), Some(reason::CONNECTION_LOST));
    assert!(error.message().contains("30 ms"), "{error}");
}

#[test]
fn a_server_of_something_else_is_a_clear_error() {
    for (said, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "rstmdb server"),
        (b"\x15\x03\x03\x00\x02\x02\x32 and so on and on", "TLS"),
        (b"", "closed the connection"),
    ] {
        let fake = Fake::new();
        let options = fake.options();
        let connecting = std::thread::spawn(move || Client::connect_blocking(options));
        let mut peer = fake.accept();
        peer.expect("HELLO");
        peer.raw(said);
        peer.hang_up();
        let error = connecting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().contains(expected), "{error}");
    }
}

#[test]
fn a_host_that_says_nothing_holds_up_no_other() {
    let (mute, there) = (Fake::new(), Fake::new());
    // However long the first is waited for.
    let options = Options { connect_timeout: Duration::ZERO, ..options(&[&mute, &mute, &there]) };
    let (client, _peer) = there.connect(options);
    assert_eq!(client.server().unwrap().endpoint, there.endpoint());
}

#[test]
fn the_next_host_is_tried() {
    let (gone, there) = (Fake::new(), Fake::new());
    let options = options(&[&gone, &there]);
    drop(gone);
    let (client, mut peer) = there.connect(options);
    assert_eq!(client.server().unwrap().endpoint, there.endpoint());
    // And again when the connection is lost: the one that answered last comes first.
    let read = client.call(ListMachinesRequest {});
    peer.expect("LIST_MACHINES");
    peer.hang_up();
    let mut peer = there.greet();
    let asked = peer.expect("LIST_MACHINES");
    peer.ok(&asked, json!({"items": []}));
    read.wait().unwrap();
}

#[test]
fn a_lost_host_is_replaced_by_the_next() {
    let (first, second) = (Fake::new(), Fake::new());
    let (client, mut peer) = first.connect(options(&[&first, &second]));
    let read = client.call(ListMachinesRequest {});
    peer.expect("LIST_MACHINES");
    drop(first);
    peer.hang_up();
    let mut peer = second.greet();
    let asked = peer.expect("LIST_MACHINES");
    peer.ok(&asked, json!({"items": []}));
    read.wait().unwrap();
    assert_eq!(client.server().unwrap().endpoint, second.endpoint());
}

#[test]
fn all_hosts_are_named_when_none_is_there() {
    let fakes = [Fake::new(), Fake::new()];
    let options = options(&[&fakes[0], &fakes[1]]);
    let endpoints = options.endpoints.clone();
    drop(fakes);
    let error = Client::connect_blocking(options).unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
    for endpoint in endpoints {
        assert!(error.message().contains(&endpoint.to_string()), "{error}");
    }
}

#[test]
fn credentials_follow_the_hello() {
    let fake = Fake::new();
    let options = Options { token: Some("s3cret".to_owned()), ..fake.options() };
    let accept = |answer: Option<&'static str>| {
        let options = options.clone();
        let connecting = std::thread::spawn(move || Client::connect_blocking(options));
        let mut peer = fake.accept();
        // Both are there before either is answered.
        let (hello, auth) = (peer.expect("HELLO"), peer.expect("AUTH"));
        assert_eq!(hello.params["wire_modes"], json!(["binary_json"]));
        assert_eq!(auth.params, json!({"method": "bearer", "token": "s3cret"}));
        peer.ok(&hello, hello_result("9.9.9", &TODAY));
        match answer {
            None => peer.ok(&auth, json!({"authenticated": true})),
            Some(code) => peer.error(&auth, code, false),
        }
        (connecting.join().unwrap(), peer)
    };
    let (client, mut peer) = accept(None);
    let client = client.unwrap();
    assert!(!format!("{client:?}").contains("s3cret"));
    let pending = client.call(PingRequest {});
    peer.pong();
    pending.wait().unwrap();
    let error = accept(Some("AUTH_FAILED")).0.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthorized, ErrorCode::AuthFailed));
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_refused_token_ends_what_waits_for_a_connection() {
    let fake = Fake::new();
    let options = Options { token: Some("t".to_owned()), ..fake.options() };
    let connecting = std::thread::spawn(move || Client::connect_blocking(options));
    let greet = |good: bool| {
        let mut peer = fake.accept();
        let (hello, auth) = (peer.expect("HELLO"), peer.expect("AUTH"));
        peer.ok(&hello, hello_result("9.9.9", &TODAY));
        if good {
            peer.ok(&auth, json!({"authenticated": true}));
        } else {
            peer.error(&auth, "AUTH_FAILED", false);
        }
        peer
    };
    let mut peer = greet(true);
    let client = connecting.join().unwrap().unwrap();
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    peer.ok(&asked, json!({"subscription_id": "s", "wal_offset": 1}));
    let (_, mut events) = watching.wait().unwrap();
    let read = client.call(ListMachinesRequest {});
    peer.expect("LIST_MACHINES");
    peer.hang_up();
    // The token was withdrawn meanwhile: there is no use in trying on.
    greet(false);
    assert_eq!(read.wait().unwrap_err().code(), ErrorCode::AuthFailed);
    let end = events.next_blocking().unwrap().unwrap_err();
    assert_eq!(end.code(), ErrorCode::AuthFailed);
    assert!(events.next_blocking().is_none());
}

#[test]
fn requests_fail_when_the_server_stays_away_and_work_when_it_is_back() {
    let fake = Fake::new();
    let endpoint = fake.endpoint();
    let (client, peer) = fake.connect(fake.options());
    drop(fake);
    peer.hang_up();
    let error = client.call(ListMachinesRequest {}).wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::CONNECTION_LOST));
    assert!(error.message().contains(&endpoint.to_string()), "{error}");
    // A write that was never sent says so, and that it may be sent again.
    let error = client.call(ApplyEventRequest::new("a", "E")).wait().unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::CONNECTION_LOST), true));
}

#[test]
fn closing_says_goodbye_and_ends_everything() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    peer.ok(&asked, json!({"subscription_id": "s", "wal_offset": 1}));
    let (_, mut events) = watching.wait().unwrap();
    let read = client.call(ListMachinesRequest {});
    let write = client.call(ApplyEventRequest::new("a", "E"));
    let answered = client.call(PingRequest {});
    peer.expect("LIST_MACHINES");
    peer.expect("APPLY_EVENT");
    peer.pong();
    answered.wait().unwrap();
    let closing = client.clone();
    let closing = std::thread::spawn(move || closing.close_blocking());
    peer.expect("BYE");
    peer.hang_up();
    closing.join().unwrap();
    client.close_blocking();
    assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(write.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
    let error = client.call(PingRequest {}).wait().unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Closed, Some(reason::CLOSED)));
    let error = client.watch(WatchAllRequest::default()).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(events.next_blocking().is_none());
    assert_eq!(events.next_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn dropping_the_last_handle_closes() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let other = client.clone();
    drop(client);
    let pending = other.call(PingRequest {});
    peer.pong();
    pending.wait().unwrap();
    drop(other);
    peer.expect("BYE");
    peer.hang_up();
}

#[test]
fn a_server_that_does_not_read_does_not_keep_the_client_from_closing() {
    let fake = Fake::new();
    let (client, peer) = fake.connect(fake.options());
    let payload = Json::from_value(&json!({ "large": "x".repeat(8 << 20) }));
    let event = ApplyEventRequest::new("a", "E").with_payload(payload);
    let pending: Vec<_> = (0..4).map(|_| client.call(event.clone())).collect();
    client.close_blocking();
    for pending in pending {
        pending.wait().unwrap_err();
    }
    drop(peer);
}

#[test]
fn patience_without_end_is_possible() {
    let fake = Fake::new();
    let mut options = fake.options();
    let times = [&mut options.connect_timeout, &mut options.request_timeout];
    times.into_iter().chain([&mut options.keep_alive]).for_each(|time| *time = Duration::MAX);
    options.retry.backoff_max = Duration::MAX;
    let (client, mut peer) = fake.connect(options);
    let pending = client.call(PingRequest {});
    peer.pong();
    pending.wait().unwrap();
}

#[test]
fn several_connections_take_turns() {
    let fake = Fake::new();
    let (client, mut one) = fake.connect(Options { pool_size: 2, ..fake.options() });
    let first = client.call(ApplyEventRequest::new("a", "E"));
    let second = client.call(ApplyEventRequest::new("b", "E"));
    let mut other = fake.greet();
    let (a, b) = (one.expect("APPLY_EVENT"), other.expect("APPLY_EVENT"));
    other.ok(&b, applied(1));
    assert_eq!(second.wait().unwrap().wal_offset, 1);
    one.ok(&a, applied(2));
    assert_eq!(first.wait().unwrap().wal_offset, 2);
}

#[test]
fn futures_run_on_any_executor() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let fake = Fake::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = fake.greet();
            peer.pong();
            peer.expect("BYE");
        });
        block_on(is_send(async {
            let client = is_send(Client::connect(fake.options())).await.unwrap();
            is_send(client.call(PingRequest {})).await.unwrap();
            is_send(client.close()).await;
        }));
    });
}
