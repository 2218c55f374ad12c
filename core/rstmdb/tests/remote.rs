//! The same database on a server: TLS, tokens, restarts, and callers of every kind.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, zip};
use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::*;
use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::remote::config::{Address, Config};
use rstmdb_testkit::server::{Certificates, TestServer};

const LOOP: &str = r#"{"states":["s"],"initial":"s","transitions":[
    {"from":"s","event":"E","to":"s"},{"from":"s","event":"RARE","to":"s"}]}"#;

fn serve(directory: &Path, config: &Config) -> TestServer {
    let options = Options { free_bytes_min: 0, ..Options::default() };
    let engine = Engine::open(Location::directory(directory), options).unwrap();
    TestServer::start(Arc::new(engine), config.clone()).unwrap()
}

fn prepare(db: &Database) {
    db.put_machine(PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap())).unwrap();
    db.create_instance(CreateInstanceRequest::new("a", "m", 1)).unwrap();
}

fn event() -> ApplyEventRequest {
    ApplyEventRequest::new("a", "E")
}

#[test]
fn the_url_is_the_only_difference() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let db = Database::open(&format!("rstmdb://{}", server.address())).unwrap();
    prepare(&db);
    let pending: Vec<_> = (0..100).map(|_| db.submit_event(event())).collect();
    let offsets: Vec<_> = pending.into_iter().map(|p| p.wait().unwrap().wal_offset).collect();
    assert_eq!(offsets, (3..103).collect::<Vec<_>>());
    let info = db.info(InfoRequest {}).unwrap();
    assert_eq!((info.backend.as_str(), info.instances), ("remote", Some(1)));
    let result = db.call(Operation::Ping, &Json::empty_object()).unwrap();
    assert_eq!(result.as_str(), r#"{"pong":true}"#);
    db.close().unwrap();
    assert_eq!(db.ping(PingRequest {}).unwrap_err().kind(), ErrorKind::Closed);
    db.close().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_watch_keeps_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let url = format!("rstmdb://{}", server.address());
    let others = Database::open(&url).unwrap();
    prepare(&others);
    let (_, mut events) =
        Database::open(&url).unwrap().watch_all(WatchAllRequest::default()).unwrap();
    let (_, mut awaited) = block_on(async {
        let db = rstmdb::Database::open(&url).await.unwrap();
        db.watch_all(WatchAllRequest::default()).await.unwrap()
    });
    others.apply_event(event()).unwrap();
    assert_eq!(events.next().unwrap().unwrap().wal_offset, 3);
    assert_eq!(block_on(awaited.next()).unwrap().unwrap().wal_offset, 3);
    others.close().unwrap();
    server.stop().unwrap();
}

/// A relay to a server, and what cuts the connections through it without a word of the server's.
fn relay(server: SocketAddr) -> (SocketAddr, impl Fn()) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let open = Arc::new(Mutex::new(Vec::new()));
    let connections = open.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
            connections.lock().unwrap().extend([client, upstream]);
        }
    });
    let cut = move || {
        for connection in open.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    };
    (address, cut)
}

#[test]
fn a_quiet_watch_goes_on_behind_what_it_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        free_bytes_min: 0,
        retention: Retention::Bytes(0),
        segment_bytes_max: 4096,
        ..Options::default()
    };
    let engine = Engine::open(Location::directory(directory.path()), options).unwrap();
    let server = TestServer::start(Arc::new(engine), TestServer::config()).unwrap();
    let db = Database::open(&server.url()).unwrap();
    prepare(&db);
    db.create_instance(CreateInstanceRequest::new("quiet", "m", 1)).unwrap();
    let (address, cut) = relay(server.address());
    let watcher = Database::open(&format!("rstmdb://{address}")).unwrap();
    let rare = WatchAllRequest { events: vec!["RARE".into()], ..WatchAllRequest::default() };
    let (_, mut all) = watcher.watch_all(rare).unwrap();
    let (_, mut one) = watcher.watch_instance(WatchInstanceRequest::new("quiet")).unwrap();

    for _ in 0..300 {
        db.apply_event(event()).unwrap();
    }
    db.compact(CompactRequest { force_snapshot: true }).unwrap();
    let first = db.wal_stats(WalStatsRequest {}).unwrap().first_offset.unwrap();
    assert!(first > 200, "the log was not cut: {first}");
    for watch in [&mut all, &mut one] {
        // An answer to a ping, or a second, tells it.
        while watch.resume_offset() < first {
            watcher.ping(PingRequest {}).unwrap();
            assert!(watch.next_timeout(Duration::from_millis(10)).unwrap().is_none());
        }
        let info = db.info(InfoRequest {}).unwrap();
        assert_eq!(watch.history_id().as_deref(), info.history_id.as_deref());
    }
    cut();
    // What they follow comes while they are away, or when they are back.
    db.apply_event(ApplyEventRequest::new("quiet", "RARE")).unwrap();
    for watch in [&mut all, &mut one] {
        let event = watch.next().unwrap().unwrap();
        assert_eq!((&*event.instance_id, event.event.as_deref()), ("quiet", Some("RARE")));
    }
}

#[test]
fn a_stopped_server_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let address = server.address();
    server.stop().unwrap();
    let url = format!("rstmdb://s3cret@{address}");
    let error = Database::open(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(&address.to_string()), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
    let error = rstmdb::maintenance::verify(&url).unwrap_err();
    assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn executors_and_threads_share_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let url = format!("rstmdb://{}", server.address());
    let db = block_on(async {
        let db = rstmdb::Database::open(&url).await.unwrap();
        prepare(&db.blocking());
        let (_, events) = db.watch_all(WatchAllRequest::default()).await.unwrap();
        let writer = async {
            for _ in 0..10 {
                db.apply_event(event()).await.unwrap();
            }
        };
        let taken = StreamExt::take(events, 10).map(|event| event.unwrap().wal_offset);
        let (offsets, ()) = zip(taken.collect::<Vec<_>>(), writer).await;
        assert_eq!(offsets, (3..13).collect::<Vec<_>>());
        assert_eq!(db.history(HistoryRequest::new("a")).await.unwrap().events.len(), 11);
        db
    });
    // Waiting is allowed where a runtime runs too: it is the caller's thread that waits.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..500 {
            db.blocking().ping(PingRequest {}).unwrap();
        }
        let blocking = Database::open(&url).unwrap();
        blocking.submit_event(event()).wait().unwrap();
        db.close().await.unwrap();
    });
    assert_eq!(db.blocking().ping(PingRequest {}).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn watches_and_keyed_writers_survive_restarts_exactly_once() {
    const WRITERS: u64 = 4;
    const EVENTS: u64 = 150;
    let directory = tempfile::tempdir().unwrap();
    let mut config = TestServer::config();
    let mut server = Some(serve(directory.path(), &config));
    // The next server comes back where this one was.
    let address = server.as_ref().unwrap().address();
    config.network.bind_addr = Address::local(address.port());
    let db = Database::open(&format!("rstmdb://{address}")).unwrap();
    prepare(&db);
    let (_, mut all) = db.watch_all(WatchAllRequest::default()).unwrap();
    let (_, mut one) = db.watch_instance(WatchInstanceRequest::new("a")).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let db = db.clone();
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        let request = event().with_key(format!("{writer}-{number}"));
                        db.apply_event(request).unwrap();
                    }
                })
            })
            .collect();
        for restart in 1..5 {
            // As far as the writers have come, not by the clock.
            let goal = restart * WRITERS * EVENTS / 6;
            while all.resume_offset() < goal {
                all.next().unwrap().unwrap();
            }
            server.take().unwrap().stop().unwrap();
            server = Some(serve(directory.path(), &config));
        }
        for writer in writers {
            writer.join().unwrap();
        }
    });
    let last = 2 + WRITERS * EVENTS;
    assert_eq!(db.wal_stats(WalStatsRequest {}).unwrap().latest_offset, last);
    let mut seen = Vec::new();
    while one.resume_offset() <= last {
        seen.push(one.next().unwrap().unwrap().wal_offset);
    }
    assert_eq!(seen, (3..=last).collect::<Vec<_>>());
    while all.resume_offset() <= last {
        all.next().unwrap().unwrap();
    }
    assert!(all.next_timeout(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_reader_that_stands_still_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(directory.path(), &TestServer::config());
    let options = RemoteOptions {
        watch_events_max: 16,
        ..RemoteOptions::new("127.0.0.1", server.address().port())
    };
    let db = Database::connect(options).unwrap();
    prepare(&db);
    let (_, mut events) = db.watch_all(WatchAllRequest::default()).unwrap();
    let pending: Vec<_> = (0..2000).map(|_| db.submit_event(event())).collect();
    pending.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    for offset in 3..2003 {
        assert_eq!(events.next().unwrap().unwrap().wal_offset, offset);
    }
}

/// A server with TLS, and the part of a URL that names its authority.
fn serve_tls(directory: &Path, config: Config) -> (TestServer, Certificates, String) {
    let certificates = Certificates::create(directory);
    let config = Config { tls: certificates.listener(), ..config };
    let server = serve(&directory.join("data"), &config);
    let ca = format!("ca={}", certificates.ca.display());
    (server, certificates, ca)
}

fn ping(url: &str) -> Result<()> {
    Database::open(url)?.ping(PingRequest {}).map(drop)
}

/// It closes at once, with TLS as without: who meets that is told what it may be.
#[test]
fn a_server_that_is_full_is_named_as_such() {
    for tls in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut config = TestServer::config();
        config.network.max_connections = 1;
        let (server, url) = if tls {
            let (server, _, ca) = serve_tls(directory.path(), config);
            let url = format!("rstmdbs://localhost:{}?{ca}", server.address().port());
            (server, url)
        } else {
            let server = serve(directory.path(), &config);
            let url = server.url();
            (server, url)
        };
        let holder = TcpStream::connect(server.address()).unwrap();
        rstmdb_testkit::wire::await_condition("the place is taken", || {
            server.metrics().connections_active.get() == 1
        });
        let error = ping(&url).unwrap_err();
        assert_eq!(error.reason(), Some(reason::CONNECTION_LOST), "{error:?}");
        assert!(error.message().contains("it may be full"), "tls {tls}: {error}");
        drop(holder);
    }
}

#[test]
fn certificates_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, ca) = serve_tls(directory.path(), TestServer::config());
    let port = server.address().port();
    ping(&format!("rstmdbs://localhost:{port}?{ca}")).unwrap();
    ping(&format!("rstmdb://127.0.0.1:{port}?tls=true&{ca}")).unwrap();
    ping(&format!("rstmdbs://127.0.0.1:{port}?{ca}&server_name=localhost")).unwrap();
    ping(&format!("rstmdbs://127.0.0.1:{port}?insecure=true")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let strangers = Certificates::create(other.path()).ca;
    for url in [
        format!("rstmdbs://localhost:{port}?ca={}", strangers.display()),
        format!("rstmdbs://localhost:{port}?{ca}&server_name=elsewhere"),
    ] {
        let error = ping(&url).unwrap_err();
        assert_eq!(error.reason(), Some(reason::INVALID_OPTION), "{error:?}");
        assert!(error.message().contains("certificate"), "{error}");
        assert!(!error.retryable());
    }
    // Without TLS on one side.
    let error = ping(&format!("rstmdb://localhost:{port}")).unwrap_err();
    assert!(error.message().contains("TLS"), "{error}");
    let plain = serve(&directory.path().join("plain"), &TestServer::config());
    let error = ping(&format!("rstmdbs://{}?{ca}", plain.address())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    // Files that are not there or hold something else.
    for parameter in ["ca=/nowhere.pem".to_owned(), format!("{ca}&cert=/no.pem&key=/no.key")] {
        let error = ping(&format!("rstmdbs://localhost:{port}?{parameter}")).unwrap_err();
        assert_eq!(error.reason(), Some(reason::INVALID_OPTION), "{error:?}");
    }
}

/// An address where nobody listens.
fn nobody(host: &str) -> String {
    let listener = TcpListener::bind((host, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn of_several_hosts_one_that_is_there_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, ca) = serve_tls(directory.path(), TestServer::config());
    let port = server.address().port();
    // Each by the name that it has in the URL: the first is in no certificate.
    let dead = nobody("127.0.0.2");
    for hosts in [format!("{dead},localhost:{port}"), format!("127.0.0.1:{port},{dead}")] {
        ping(&format!("rstmdbs://{hosts}?{ca}&read=any&zone=here")).unwrap();
        ping(&format!("rstmdbs://{hosts}?{ca}&read=bounded&max_lag=1s")).unwrap();
    }
    let error = ping(&format!("rstmdbs://{dead},127.0.0.2:{port}?{ca}")).unwrap_err();
    assert!(error.message().contains(&dead), "{error}");
    let plain = serve(&directory.path().join("plain"), &TestServer::config());
    let db = Database::open(&format!("rstmdb://{dead},{}?read=session", plain.address())).unwrap();
    prepare(&db);
    assert_eq!(
        db.get_instance(GetInstanceRequest { instance_id: "a".into() }).unwrap().last_wal_offset,
        2
    );
}

#[test]
fn hosts_of_different_databases_are_not_mixed_up() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = directories.each_ref().map(|d| serve(d.path(), &TestServer::config()));
    let url = format!("rstmdb://{},{}", one.address(), other.address());
    let db = Database::open(&url).unwrap();
    prepare(&db);
    one.stop().unwrap();
    let error = db.ping(PingRequest {}).unwrap_err();
    assert!(error.message().contains("holds another database"), "{error:?}");
    assert!(error.message().contains(&other.address().to_string()), "{error}");
    // Alone, a server may get another database, as ever.
    let url = format!("rstmdb://{}", other.address());
    prepare(&Database::open(&url).unwrap());
}

#[test]
fn a_server_may_ask_for_the_clients_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let mut config = TestServer::config();
    config.tls = certificates.listener();
    config.tls.require_client_cert = true;
    config.tls.client_ca_path = Some(certificates.ca.clone());
    let server = serve(&directory.path().join("data"), &config);
    let url = format!("rstmdbs://{}?ca={}", server.address(), certificates.ca.display());
    let client = |certificates: &Certificates| {
        let Certificates { client_cert, client_key, .. } = certificates;
        format!("&cert={}&key={}", client_cert.display(), client_key.display())
    };
    ping(&format!("{url}{}", client(&certificates))).unwrap();
    let other = tempfile::tempdir().unwrap();
    let stranger = client(&Certificates::create(other.path()));
    for parameters in [String::new(), stranger] {
        let error = ping(&format!("{url}{parameters}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
        assert!(error.message().contains("certificate"), "{error}");
    }
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = TestServer::config();
    config.auth.required = true;
    // The SHA-256 of "s3cret".
    let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    config.auth.token_hashes = vec![hash.parse().unwrap()];
    let server = serve(directory.path(), &config);
    let address = server.address();
    let db = Database::open(&format!("rstmdb://s3cret@{address}")).unwrap();
    db.info(InfoRequest {}).unwrap();
    assert!(!format!("{db:?}").contains("s3cret"));
    ping(&format!("rstmdb://{address}?token=s3cret")).unwrap();
    let error = ping(&format!("rstmdb://wr0ng@{address}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!format!("{error:?}").contains("wr0ng"));
    let db = Database::open(&format!("rstmdb://{address}")).unwrap();
    let error = db.info(InfoRequest {}).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unauthorized);
}
