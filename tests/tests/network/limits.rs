//! Limits and authentication as clients meet them: each limit holds, the one who meets it is told, and
//! everybody else goes on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rstmdb_engine::{Engine, Options, SyncObserver};
use rstmdb_protocol::{WireCommand, WireMode};
use rstmdb_server::config::TokenHash;
use rstmdb_server::config::{Config, NetworkConfig};
use rstmdb_server::metrics::Rejection;
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample;
use rstmdb_testkit::server::{Certificates, TestServer};
use rstmdb_testkit::wire::{Wire, await_condition, frame_of, header_for, request};
use rstmdb_types::WalStatsRequest;
use serde_json::{Value, json};

fn server(change: impl FnOnce(&mut NetworkConfig)) -> TestServer {
    TestServer::in_memory(|config| change(&mut config.network))
}

fn ping(wire: &mut Wire) {
    assert_eq!(wire.call("PING", json!({})).unwrap(), json!({ "pong": true }));
}

/// Whether a new connection is closed without a word.
fn is_turned_away(server: &TestServer) -> bool {
    let mut wire = server.wire();
    let _ = wire.try_send_bytes(&request(WireMode::Frames, "p", "PING", &json!({})));
    wire.await_close().is_empty()
}

/// A machine that goes round, and an instance of it.
fn begin(wire: &mut Wire, instance_id: &str) {
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    let params = json!({"instance_id": instance_id, "machine": "loop", "version": 1});
    wire.call("CREATE_INSTANCE", params).unwrap();
}

#[test]
fn connections_are_counted() {
    let server = server(|network| network.max_connections = 3);
    let mut open: Vec<Wire> = (0..3).map(|_| server.wire()).collect();
    open.iter_mut().for_each(ping);
    assert!(is_turned_away(&server));
    open.iter_mut().for_each(ping);
    assert_eq!(server.metrics().rejected(Rejection::Connections).get(), 1);
    drop(open.pop());
    await_condition("one has gone", || server.metrics().connections_active.get() == 2);
    ping(&mut server.wire());
    drop(open);
    server.await_idle();
}

#[test]
fn connections_of_an_address_are_counted() {
    let server = server(|network| network.max_connections_per_address = 2);
    let mut open: Vec<Wire> = (0..2).map(|_| server.wire()).collect();
    open.iter_mut().for_each(ping);
    assert!(is_turned_away(&server));
    assert_eq!(server.metrics().rejected(Rejection::ConnectionsPerAddress).get(), 1);
    drop(open);
    await_condition("both have gone", || server.metrics().connections_active.get() == 0);
    ping(&mut server.wire());
}

/// A ping of this many bytes of payload.
fn large_ping(bytes: usize) -> Vec<u8> {
    let bare = r#"{"type":"request","id":"p","op":"PING","x":""}"#.len();
    let filler = "x".repeat(bytes - bare);
    frame_of(format!(r#"{{"type":"request","id":"p","op":"PING","x":"{filler}"}}"#).as_bytes())
}

fn with_token(config: &mut Config, name: Option<&str>, token: &str) {
    config.auth.required = true;
    config.auth.token_hashes.push(TokenHash::of(name, token));
}

#[test]
fn a_frame_may_be_so_large_and_before_authentication_smaller() {
    let server = TestServer::in_memory(|config| {
        config.network.max_frame_bytes = 100_000;
        config.network.max_frame_bytes_unauthenticated = 2000;
        with_token(config, None, "secret");
    });
    let mut wire = server.wire();
    wire.send_bytes(&large_ping(2000));
    assert_eq!(wire.answer()["status"], "ok");
    wire.send_bytes(&header_for(2001));
    assert!(wire.await_close().is_empty());

    let mut wire = server.wire();
    wire.call("AUTH", json!({"token": "secret"})).unwrap();
    wire.send_bytes(&large_ping(100_000));
    assert_eq!(wire.answer()["status"], "ok");
    wire.send_bytes(&header_for(100_001));
    assert!(wire.await_close().is_empty());
    server.await_idle();
}

#[test]
fn the_largest_frame_is_taken_and_a_line_has_the_same_limit() {
    let server = server(|_| ());
    let mut wire = server.wire();
    wire.send_bytes(&large_ping(16 << 20));
    assert_eq!(wire.answer()["status"], "ok");
    let limited = self::server(|network| {
        network.max_frame_bytes = 2000;
        network.max_frame_bytes_unauthenticated = 2000;
    });
    let mut lines = Wire::lines(limited.address());
    let line = |bytes: usize| [&large_ping(bytes)[18..], b"\n"].concat();
    lines.send_bytes(&line(2000));
    assert_eq!(lines.answer()["status"], "ok");
    lines.send_bytes(&line(2001));
    assert!(lines.await_close().is_empty());
}

#[test]
fn requests_that_are_not_answered_are_bounded() {
    // A sync is not over before its observer returns, so a held one keeps answers back.
    let hold = Arc::new(Mutex::new(()));
    let disk = FaultyStorage::new(1);
    let mut config = TestServer::config();
    config.network.max_in_flight_requests = 10;
    let gate = hold.clone();
    let observer = SyncObserver(Arc::new(move |_| drop(gate.lock().unwrap())));
    let options = Options { sync_observer: Some(observer), ..config.engine_options() };
    let engine = Arc::new(Engine::open(sample::location(&disk), options).unwrap());
    let server = TestServer::start(engine.clone(), config).unwrap();
    let (mut wire, mut other) = (server.wire(), server.wire());
    begin(&mut wire, "i");
    let batch: Vec<u8> = (0..1000)
        .flat_map(|n| {
            let params = json!({"instance_id": "i", "event": "E"});
            request(WireMode::Frames, &n.to_string(), "APPLY_EVENT", &params)
        })
        .collect();
    let entries = || engine.wal_stats(WalStatsRequest {}).split().1.unwrap().entry_count;
    let before = entries();
    let held = hold.lock().unwrap();
    wire.send_bytes(&batch);
    await_condition("so many are in flight", || entries() == before + 10);
    for _ in 0..200 {
        ping(&mut other);
    }
    assert_eq!(entries(), before + 10);
    drop(held);
    for n in 0..1000 {
        let answer = wire.answer();
        assert_eq!((&answer["id"], &answer["status"]), (&json!(n.to_string()), &json!("ok")));
    }
    drop((wire, other));
    server.await_idle();
}

#[test]
fn a_client_that_does_not_read_is_held_back_alone_and_then_gets_everything_in_order() {
    let server = server(|network| network.max_buffered_response_bytes = 64 << 10);
    let mut setup = server.wire();
    begin(&mut setup, "i");
    let big = json!({"instance_id": "big", "machine": "loop", "version": 1,
        "initial_ctx": {"x": "x".repeat(20_000)}});
    setup.call("CREATE_INSTANCE", big).unwrap();
    // 10,000 answers of 20 kB each: what the system does not take, the server must not keep.
    const REQUESTS: u64 = 10_000;
    let mut slow = server.wire();
    let reader = slow.socket().try_clone().unwrap();
    let served =
        || server.metrics().request(WireCommand::from_wire_name("GET_INSTANCE").unwrap().index());
    let writer = {
        let mut socket = reader;
        std::thread::spawn(move || {
            for n in 0..REQUESTS {
                let params = json!({"instance_id": "big"});
                let bytes = request(WireMode::Frames, &n.to_string(), "GET_INSTANCE", &params);
                std::io::Write::write_all(&mut socket, &bytes).unwrap();
            }
        })
    };
    // It stands still: others are served, and no more of its requests are looked at.
    let mut last = 0;
    let mut still = 0;
    await_condition("the slow client is held back", || {
        ping(&mut setup);
        let now = served().requests.get();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still > 200
    });
    assert!(last < REQUESTS / 2, "{last} answers are kept for a client that reads none");
    for n in 0..REQUESTS {
        let answer = slow.answer();
        assert_eq!(answer["id"], n.to_string());
        assert_eq!(answer["result"]["ctx"]["x"].as_str().unwrap().len(), 20_000);
    }
    writer.join().unwrap();
    drop((slow, setup));
    server.await_idle();
}

#[test]
fn subscriptions_are_counted() {
    let server = server(|network| network.max_subscriptions = 3);
    let mut wire = server.wire();
    begin(&mut wire, "i");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let watch = wire.call("WATCH_ALL", json!({})).unwrap();
        ids.push(watch["subscription_id"].clone());
    }
    for (op, params) in [("WATCH_ALL", json!({})), ("WATCH_INSTANCE", json!({"instance_id": "i"}))]
    {
        let error = wire.call(op, params).unwrap_err();
        assert_eq!(error["code"], "BAD_REQUEST", "{error}");
        assert_eq!(error["details"]["context"]["limit"], "max_subscriptions", "{error}");
    }
    wire.call("UNWATCH", json!({"subscription_id": ids[0]})).unwrap();
    wire.call("WATCH_INSTANCE", json!({"instance_id": "i"})).unwrap();
    assert_eq!(server.metrics().subscriptions(true).get(), 2);
    assert_eq!(server.metrics().subscriptions(false).get(), 1);
    drop(wire);
    server.await_idle();
}

/// Long enough that a client which does its part is never late.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn who_does_not_authenticate_in_time_is_dropped() {
    let server = TestServer::in_memory(|config| {
        config.network.handshake_timeout = SOON;
        with_token(config, None, "secret");
    });
    let mut known = server.wire();
    known.call("AUTH", json!({"token": "secret"})).unwrap();
    let mut silent = server.wire();
    let mut chatty = server.wire();
    ping(&mut chatty);
    assert!(silent.await_close().is_empty());
    assert!(chatty.await_close().is_empty());
    // Whoever has authenticated may take any time.
    ping(&mut known);
}

#[test]
fn a_frame_must_be_complete_in_time() {
    let server = server(|network| network.frame_timeout = Duration::from_millis(300));
    let mut idle = server.wire();
    ping(&mut idle);
    for part in [1, 17, 18, 30] {
        let mut wire = server.wire();
        ping(&mut wire);
        wire.send_bytes(&large_ping(100)[..part]);
        assert!(wire.await_close().is_empty());
    }
    ping(&mut idle);
    drop(idle);
    server.await_idle();
}

#[test]
fn silence_ends_a_connection_and_a_watcher_that_pings_stays() {
    let server = server(|network| network.idle_timeout = SOON);
    let mut silent = server.wire();
    let mut watcher = server.wire();
    begin(&mut watcher, "i");
    watcher.call("WATCH_ALL", json!({})).unwrap();
    let mut silent_watcher = server.wire();
    silent_watcher.call("WATCH_ALL", json!({})).unwrap();
    let mut closed = 0;
    // The silent ones are gone before the watcher, which pings, notices anything.
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| {
            assert!(silent.await_close().is_empty());
            assert!(silent_watcher.await_close().is_empty());
        });
        while !closing.is_finished() {
            ping(&mut watcher);
            closed += 1;
        }
    });
    assert!(closed > 0);
    watcher.call("APPLY_EVENT", json!({"instance_id": "i", "event": "E"})).unwrap();
    assert_eq!(watcher.event()["event"], "E");
}

#[test]
fn each_connection_has_its_rate() {
    let server = server(|network| {
        network.requests_per_second = 1;
        network.request_burst = 5;
    });
    let mut fast = server.wire();
    let answers: Vec<_> = (0..50).map(|_| fast.call("PING", json!({}))).collect();
    let limited: Vec<&Value> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(answers[..5].iter().all(Result::is_ok));
    assert!(limited.len() > 20, "{} of 50 were limited", limited.len());
    for error in limited {
        assert_eq!((&error["code"], &error["retryable"]), (&json!("RATE_LIMITED"), &json!(true)));
    }
    // Another connection has a rate of its own.
    ping(&mut server.wire());
    // And patience is rewarded.
    await_condition("the connection may ask again", || fast.call("PING", json!({})).is_ok());
}

#[test]
fn all_connections_with_one_token_share_a_rate() {
    let server = TestServer::in_memory(|config| {
        config.network.requests_per_second_per_token = 1;
        config.network.request_burst = 5;
        with_token(config, Some("ci"), "one");
        with_token(config, None, "two");
    });
    let login = |token: &str| {
        let mut wire = server.wire();
        wire.call("AUTH", json!({"method": "bearer", "token": token})).unwrap();
        wire
    };
    let mut same = [login("one"), login("one")];
    let mut limited = 0;
    for n in 0..40 {
        if let Err(error) = same[n % 2].call("PING", json!({})) {
            assert_eq!(error["code"], "RATE_LIMITED");
            limited += 1;
        }
    }
    assert!(limited > 20, "{limited} of 40 were limited");
    ping(&mut login("two"));
    drop(same);
    await_condition("the first has counted", || {
        let counted = server.metrics().token_requests("ci").get();
        counted == 40
    });
}

#[test]
fn a_context_may_nest_so_deeply() {
    let server = TestServer::in_memory(|config| config.limits.json_depth_max = 10);
    let mut wire = server.wire();
    begin(&mut wire, "i");
    let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
    for (depth, is_fine) in [(10, true), (11, false), (60, false)] {
        for (op, member) in [("CREATE_INSTANCE", "initial_ctx"), ("APPLY_EVENT", "payload")] {
            let mut params = json!({"machine": "loop", "version": 1});
            if op == "APPLY_EVENT" {
                params = json!({"instance_id": "i", "event": "E"});
            }
            params[member] = nested(depth);
            let answer = wire.call(op, params);
            assert_eq!(answer.is_ok(), is_fine, "{op} {depth}: {answer:?}");
            if let Err(error) = answer {
                assert_eq!(error["code"], "BAD_REQUEST");
            }
        }
    }
}

#[test]
fn before_authentication_only_four_commands_are_answered() {
    let server = TestServer::in_memory(|config| with_token(config, None, "secret"));
    let mut wire = server.wire();
    for command in WireCommand::all() {
        let params = json!({"protocol_version": 1, "token": "wrong", "instance_id": "i"});
        if command == WireCommand::Bye {
            continue;
        }
        let answer = wire.call(command.wire_name(), params);
        match command.wire_name() {
            "HELLO" | "PING" => drop(answer.unwrap()),
            "AUTH" => assert_eq!(answer.unwrap_err()["code"], "AUTH_FAILED"),
            name => assert_eq!(answer.unwrap_err()["code"], "UNAUTHORIZED", "{name}"),
        }
    }
    for (params, code) in [
        (json!({"method": "bearer", "token": "secret "}), "AUTH_FAILED"),
        (json!({"method": "bearer", "token": ""}), "AUTH_FAILED"),
        (json!({"method": "basic", "token": "secret"}), "AUTH_FAILED"),
        (json!({"method": "bearer"}), "BAD_REQUEST"),
        (json!({"token": 7}), "BAD_REQUEST"),
    ] {
        let error = wire.call("AUTH", params.clone()).unwrap_err();
        assert_eq!(error["code"], code, "{params}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(wire.call("INFO", json!({})).unwrap_err()["code"], "UNAUTHORIZED");
    // As the Java client does it.
    assert_eq!(wire.call("AUTH", json!({"token": "secret"})).unwrap()["authenticated"], true);
    wire.call("WATCH_ALL", json!({})).unwrap();
    // A failure afterwards takes nothing back, nor does another hello.
    wire.call("AUTH", json!({"token": "wrong"})).unwrap_err();
    wire.call("HELLO", json!({"protocol_version": 1})).unwrap();
    wire.call("INFO", json!({})).unwrap();
    let mut leaving = server.wire();
    assert_eq!(leaving.call("BYE", json!({})).unwrap()["goodbye"], true);
    assert!(leaving.await_close().is_empty());
}

#[test]
fn what_comes_behind_a_goodbye_is_not_answered() {
    let server = server(|_| ());
    let mut wire = server.wire();
    let mut bytes = Vec::new();
    for (id, op) in [("1", "PING"), ("2", "BYE"), ("3", "PING")] {
        bytes.extend(request(WireMode::Frames, id, op, &json!({})));
    }
    wire.send_bytes(&bytes);
    let ids: Vec<Value> = wire.await_close().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, ["1", "2"]);
}

#[test]
fn tls_serves_those_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let server = TestServer::in_memory(|config| config.tls = certificates.listener());
    let mut wire = Wire::connect_tls(server.address(), certificates.client(false), "localhost");
    begin(&mut wire, "i");
    wire.call("WATCH_ALL", json!({})).unwrap();
    wire.call("APPLY_EVENT", json!({"instance_id": "i", "event": "E"})).unwrap();
    assert_eq!(wire.event()["event"], "E");
    let large = json!({"instance_id": "big", "machine": "loop", "version": 1,
        "initial_ctx": {"x": "x".repeat(500_000)}});
    wire.call("CREATE_INSTANCE", large).unwrap();
    let got = wire.call("GET_INSTANCE", json!({"instance_id": "big"})).unwrap();
    assert_eq!(got["ctx"]["x"].as_str().unwrap().len(), 500_000);
    drop(wire);
    let open = || server.metrics().connections_active.get();
    await_condition("the connection is counted out", || open() == 0);
}

#[test]
fn a_client_certificate_is_demanded_where_the_settings_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let others = tempfile::tempdir().unwrap();
    let strangers = Certificates::create(others.path());
    let server = TestServer::in_memory(|config| {
        config.tls = certificates.listener();
        config.tls.require_client_cert = true;
        config.tls.client_ca_path = Some(certificates.ca.clone());
    });
    let mut known = Wire::connect_tls(server.address(), certificates.client(true), "localhost");
    ping(&mut known);
    let mut stranger = certificates.clone();
    (stranger.client_cert, stranger.client_key) = (strangers.client_cert, strangers.client_key);
    for config in [certificates.client(false), stranger.client(true)] {
        let mut wire = Wire::connect_tls(server.address(), config, "localhost");
        let _ = wire.try_send_bytes(&request(WireMode::Frames, "p", "PING", &json!({})));
        assert!(wire.await_close().is_empty());
    }
    ping(&mut known);
    assert_eq!(server.metrics().rejected(Rejection::TlsHandshake).get(), 2);
}

#[test]
fn who_asks_for_nothing_in_time_is_turned_away_also_where_no_token_is_asked_for() {
    let server = server(|network| network.handshake_timeout = Duration::from_millis(200));
    let mut asked = server.wire();
    ping(&mut asked);
    // Nothing at all, the front of a frame, and bytes that are no request.
    for bytes in [&b""[..], b"RCPX\0\x01", &header_for(100), &[&header_for(0)[..]; 2].concat()] {
        let mut silent = server.wire();
        silent.send_bytes(bytes);
        let said = silent.await_close();
        assert!(said.is_empty(), "{said:?}");
    }
    assert!(server.metrics().rejected(Rejection::HandshakeTimeout).get() >= 3);
    ping(&mut asked);
}

#[test]
fn frames_that_announce_much_and_bring_little_keep_nobody_out() {
    let server = server(|network| network.frame_timeout = Duration::from_secs(3600));
    let mut halves: Vec<Wire> = (0..50).map(|_| server.wire()).collect();
    for half in &mut halves {
        ping(half);
        half.send_bytes(&[&header_for(16 << 20)[..], &[b' '; 1000]].concat());
    }
    let mut lines: Vec<Wire> = (0..50).map(|_| Wire::lines(server.address())).collect();
    lines.iter_mut().for_each(|line| line.send_bytes(&[b' '; 1000]));
    for bytes in [100_000, 16 << 20] {
        let mut wire = server.wire();
        wire.send_bytes(&large_ping(bytes));
        assert_eq!(wire.answer()["status"], "ok");
    }
}

#[test]
fn large_frames_become_whole_one_after_the_other_where_there_is_no_room_for_all() {
    let server = server(|network| {
        network.frame_timeout = Duration::from_secs(3600);
        network.max_frame_bytes = 1 << 20;
        network.frame_memory_bytes = (1 << 20) + (200 << 10);
    });
    let mut begun: Vec<Wire> = (0..8).map(|_| server.wire()).collect();
    let bytes = large_ping(1 << 20);
    begun.iter_mut().for_each(|wire| wire.send_bytes(&bytes[..150_000]));
    std::thread::scope(|scope| {
        for wire in &mut begun {
            let bytes = &bytes;
            scope.spawn(move || {
                wire.send_bytes(&bytes[150_000..]);
                assert_eq!(wire.answer()["status"], "ok");
            });
        }
    });
}
