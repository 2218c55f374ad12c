//! The load counts what it should, and lets no error pass for an answer.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::load::{Load, Requests};
use super::site::connect;
use super::watchers::{Seen, Watchers};
use super::wire::Wire;
use super::{null, postgres, rcp, redis};

fn server_that_answers(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || null::serve_on(listener, answer));
    address
}

fn load(address: SocketAddr, connections: usize, each: usize) -> Load {
    let requests = |lane: usize| -> Requests {
        (0..each).map(|i| rcp::apply(lane * each + i, r#"{"n":1}"#)).collect()
    };
    Load::new(Wire::rcp(), (0..connections).map(|lane| (connect(address), requests(lane))))
}

#[test]
fn a_run_counts_each_answer_and_its_latency_once() {
    let address = server_that_answers(rcp::answer(7));
    let mut load = load(address, 3, 10);
    let time = Duration::from_millis(20);
    let outcome = load.run(4, Duration::ZERO, time);
    assert!(outcome.answers > 0);
    assert_eq!(outcome.answers, outcome.latencies.len());
    assert!(outcome.seconds >= time.as_secs_f64());
    assert!(load.answered() >= outcome.answers);
}

#[test]
fn a_run_that_sends_everything_once_gets_as_many_answers() {
    let address = server_that_answers(rcp::answer(7));
    for in_flight in [1, 7, 1000] {
        let mut load = load(address, 3, 100);
        load.run_once(in_flight);
        assert_eq!(load.answered(), 300);
    }
}

#[test]
fn a_paced_run_sends_as_many_as_are_due() {
    let address = server_that_answers(rcp::answer(7));
    let mut load = load(address, 4, 10);
    load.run_paced(5_000.0, Duration::ZERO, Duration::from_millis(40));
    assert_eq!(load.answered(), 200);
}

#[test]
#[should_panic(expected = "GUARD_FAILED")]
fn an_error_is_no_answer() {
    let refusal =
        r#"{"type":"response","id":"1","status":"error","error":{"code":"GUARD_FAILED"}}"#;
    let address = server_that_answers(rcp::frame(refusal));
    let requests = [rcp::get(1)].into_iter().collect();
    let stream = std::net::TcpStream::connect(address).unwrap();
    Load::new(Wire::rcp(), [(stream, requests)]).run_once(1);
}

#[test]
fn answers_in_pieces_are_counted_when_they_are_whole() {
    let mut wires = [
        (Wire::rcp(), [rcp::answer(1), rcp::got(2)].concat()),
        (Wire::Resp, b"+OK\r\n$4\r\npaid\r\n".to_vec()),
        (
            Wire::Postgres(postgres::Scanner),
            b"C\0\0\0\x0fINSERT 0 1\0Z\0\0\0\x05IZ\0\0\0\x05I".to_vec(),
        ),
    ];
    for (wire, bytes) in &mut wires {
        let (mut from, mut answers) = (0, 0);
        for end in 1..=bytes.len() {
            from += wire.scan(&bytes[from..end], &mut answers).unwrap();
        }
        assert_eq!((from, answers), (bytes.len(), 2), "{wire:?}");
    }
}

#[test]
fn refusals_of_redis_and_postgresql_are_seen() {
    assert!(redis::scan(b"-INVALID_TRANSITION\r\n", &mut 0).is_err());
    let nothing_updated = b"C\0\0\0\x0fINSERT 0 0\0";
    assert!(Wire::Postgres(postgres::Scanner).scan(nothing_updated, &mut 0).is_err());
}

#[test]
fn offsets_of_answers_are_added_up() {
    let mut scanner = rcp::Scanner::with_offsets();
    let answers = [rcp::answer(1), rcp::answer(2)].concat();
    assert_eq!(scanner.scan(&answers, &mut 0), Ok(answers.len()));
    assert_eq!(scanner.offsets(), 2 * 1_099_511_627_776);
}

#[test]
fn a_watcher_notices_a_repeated_event() {
    let mut seen = Seen::default();
    for offset in [5, 6, 6, 9] {
        seen.count(format!(r#"{{"type":"event","wal_offset":{offset}}}"#).as_bytes());
    }
    assert_eq!((seen.events, seen.out_of_order, seen.offsets), (4, 1, 26));
}

#[test]
fn watchers_subscribe_one_on_each_connection() {
    let address = server_that_answers(rcp::answer(7));
    let mut watchers = Watchers::subscribe(address, 3);
    let (_, seen) = watchers.read(&std::sync::atomic::AtomicU64::new(0));
    assert_eq!(seen.len(), 3);
}
