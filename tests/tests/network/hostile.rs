//! Bad input over the network: the connection that sends it gets what it deserves, a healthy one
//! beside it notices nothing, and afterwards nothing is left behind.

use std::time::Duration;

use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::{WireCommand, WireMode};
use rstmdb_testkit::faulty::Rng;
use rstmdb_testkit::seeds::{Replay, is_soak, seeds};
use rstmdb_testkit::server::{Certificates, TestServer};
use rstmdb_testkit::wire::{Wire, frame_of, header_for, request};
use serde_json::{Value, json};

/// What the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaction {
    /// It ends the connection and says nothing.
    Closes,
    /// It answers `BAD_REQUEST` and goes on.
    Refuses,
    /// It answers and goes on.
    Answers,
    /// It waits for more.
    Waits,
}
use Reaction::{Answers, Closes, Refuses, Waits};

fn ping() -> Vec<u8> {
    request(WireMode::Frames, "p", "PING", &json!({}))
}

/// A ping with other bytes at some place.
fn ping_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = ping();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Looks at what the server does about these bytes.
fn meet(wire: &mut Wire, bytes: &[u8], expected: Reaction, name: &str) {
    // The server may close before it has read all of it.
    let sent = wire.try_send_bytes(bytes);
    match expected {
        Waits => {
            // That it did not close shows when it takes the rest, which the caller sends.
            sent.unwrap();
        }
        Closes => assert_eq!(wire.await_close(), Vec::<Value>::new(), "{name}"),
        Refuses => {
            let answer = wire.answer();
            assert_eq!(answer["error"]["code"], "BAD_REQUEST", "{name}: {answer}");
            assert_eq!(answer["error"]["retryable"], false, "{name}: {answer}");
            assert!(answer["id"].is_string(), "{name}: {answer}");
        }
        Answers => {
            let answer = wire.answer();
            assert_eq!(answer["status"], "ok", "{name}: {answer}");
        }
    }
    if matches!(expected, Refuses | Answers) {
        assert_eq!(wire.call("PING", json!({})).unwrap()["pong"], true, "{name}");
    }
}

/// Meets each input on a connection of its own, beside a healthy connection.
fn meet_all(server: &TestServer, inputs: Vec<(String, Vec<u8>, Reaction)>) {
    let mut healthy = server.wire();
    for (name, bytes, expected) in inputs {
        meet(&mut server.wire(), &bytes, expected, &name);
        assert_eq!(healthy.call("PING", json!({})).unwrap()["pong"], true, "after {name}");
    }
    drop(healthy);
    server.await_idle();
}

#[test]
fn a_broken_frame_ends_its_connection_alone() {
    let server = TestServer::in_memory(|_| ());
    let mut inputs: Vec<(String, Vec<u8>, Reaction)> = Vec::new();
    let mut add =
        |name: &str, bytes: Vec<u8>, reaction| inputs.push((name.into(), bytes, reaction));
    for magic in [*b"RCP1", *b"rcpx", *b"GET ", [0; 4], [0xff; 4], *b"\x16\x03\x01\x02"] {
        add(&format!("magic {magic:?}"), ping_with(0, &magic), Closes);
    }
    for version in [0u16, 2, 0x0100, 0xffff] {
        add(&format!("version {version}"), ping_with(4, &version.to_be_bytes()), Closes);
    }
    for bit in 4..16 {
        let flags = (1u16 | 1 << bit).to_be_bytes();
        add(&format!("flag {bit}"), ping_with(6, &flags), Closes);
    }
    for flags in [0x0003u16, 0x0005, 0x0009, 0x000f] {
        add(&format!("flags {flags:#x}"), ping_with(6, &flags.to_be_bytes()), Answers);
    }
    let mut unchecked = ping_with(6, &[0, 0]);
    unchecked[14..18].copy_from_slice(&[1, 2, 3, 4]);
    add("no checksum", unchecked, Answers);
    add("wrong checksum", ping_with(14, &[0, 0, 0, 1]), Closes);
    for size in [PAYLOAD_BYTES_MAX as u32 + 1, 1 << 31, u32::MAX] {
        add(&format!("{size} bytes announced"), header_for(size).to_vec(), Closes);
    }
    let mut extended = ping();
    extended[8..10].copy_from_slice(&u16::MAX.to_be_bytes());
    extended.splice(18..18, [0xa5; u16::MAX as usize]);
    add("the largest extension", extended, Answers);
    add("an empty payload", frame_of(b""), Closes);
    add("blanks alone", frame_of(b"  \n "), Closes);
    add("not UTF-8", frame_of(b"\xff\xfe"), Closes);
    let half = "{\"type\":\"request\",\"id\":\"\u{e9}";
    add("half a character", frame_of(&half.as_bytes()[..half.len() - 1]), Closes);
    add("a byte order mark", frame_of("\u{feff}{}".as_bytes()), Closes);
    add("half a text", frame_of(b"{\"type\":"), Closes);
    add("a line", b"{\"type\":\"request\",\"id\":\"1\",\"op\":\"PING\"}\n".to_vec(), Closes);
    let mut then_garbage = ping();
    then_garbage.extend_from_slice(&[b'x'; 40]);
    let mut wire = server.wire();
    wire.send_bytes(&then_garbage);
    let said = wire.await_close();
    assert_eq!(said.len(), 1, "the good one is answered: {said:?}");
    assert_eq!(said[0]["result"]["pong"], true);
    meet_all(&server, inputs);
}

#[test]
fn a_text_that_is_no_request_is_refused_where_it_has_an_id() {
    let server = TestServer::in_memory(|_| ());
    let cases: &[(&str, Reaction)] = &[
        (r#"{"type":"request","op":"PING"}"#, Closes),
        (r#"{"type":"request","id":1,"op":"PING"}"#, Closes),
        (r#"{"type":"request","id":null,"op":"PING"}"#, Closes),
        (r#"{"type":"request","id":"a","op":"PING"} x"#, Closes),
        (r#"{"type":"request","id":"a","op":"PING"}{}"#, Closes),
        (r#"["request","a","PING",{}]"#, Closes),
        ("null", Closes),
        ("17", Closes),
        ("\"PING\"", Closes),
        ("{}", Closes),
        (r#"{"id":"a","op":"PING"}"#, Refuses),
        (r#"{"type":"request","id":"a"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":7}"#, Refuses),
        (r#"{"type":"request","id":"a","op":null}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"NOPE"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"ping"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":""}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"P\u0000ING"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"PING","op":"PING"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"PING","params":{},"params":{}}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"REPLICATE","params":{}}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"GET_INSTANCE"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"GET_INSTANCE","params":[]}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"GET_INSTANCE","params":["x"]}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"GET_INSTANCE","params":"x"}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"WAL_READ","params":{"from_offset":-1}}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"WAL_READ","params":{"from_offset":1.5}}"#, Refuses),
        (r#"{"type":"request","id":"a","op":"WAL_READ","params":{"from_offset":1e400}}"#, Refuses),
        (
            r#"{"type":"request","id":"a","op":"GET_INSTANCE","params":{"instance_id":"a","instance_id":"b"}}"#,
            Refuses,
        ),
        (r#"{"type":"anything","id":"","op":"PING","params":null,"more":[1]}"#, Answers),
        (r#"  {"type":"request","id":"a","op":"PING"}  "#, Answers),
        (r#"{"type":"request","id":"a","op":"\u0050ING"}"#, Answers),
    ];
    let inputs = |(text, reaction): &(&str, Reaction)| {
        ((*text).to_owned(), frame_of(text.as_bytes()), *reaction)
    };
    meet_all(&server, cases.iter().map(inputs).collect());
}

#[test]
fn bombs_of_json_do_not_go_off() {
    let server = TestServer::in_memory(|_| ());
    let mut setup = server.wire();
    let machine = json!({"machine": "m", "version": 1, "definition":
        {"states": ["a"], "initial": "a", "transitions": []}});
    setup.call("PUT_MACHINE", machine).unwrap();
    drop(setup);
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let context = |text: &str| {
        format!(
            r#"{{"type":"request","id":"a","op":"CREATE_INSTANCE","params":{{"machine":"m","version":1,"initial_ctx":{{"x":{text}}}}}}}"#
        )
    };
    let mut inputs = Vec::new();
    let mut add = |name: &str, text: String, reaction| {
        inputs.push((name.to_owned(), frame_of(text.as_bytes()), reaction));
    };
    for deep in [125, 130, 1000, 1_000_000] {
        add("brackets in a context", context(&nested(deep)), Refuses);
        add("braces in a context", context(&objects(deep)), Refuses);
        add("a bare bomb", nested(deep), Closes);
    }
    add("just deep enough", context(&nested(20)), Answers);
    let beside = |text: &str| {
        format!(r#"{{"type":"request","id":"a","op":"PING","beside":{text},"params":{text}}}"#)
    };
    add("a bomb beside the request", beside(&nested(1_000_000)), Answers);
    let many = (0..500_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
    add("half a million members", context(&format!("{{{many}}}")), Refuses);
    let same = vec!["\"a\":0"; 500_000].join(",");
    add("one member over and over", context(&format!("{{{same}}}")), Answers);
    add("a long number", context(&"7".repeat(1_000_000)), Refuses);
    add("a number out of range", context("1e999999999"), Refuses);
    add("a long string", context(&format!("\"{}\"", "x".repeat(15 << 20))), Refuses);
    for number in ["18446744073709551616", "-9223372036854775809", "1e308", "-0.0", "5e-324"] {
        add(number, context(number), Answers);
    }
    meet_all(&server, inputs);
}

#[test]
fn guards_that_are_all_brackets_are_refused() {
    let server = TestServer::in_memory(|_| ());
    let mut wire = server.wire();
    let deep = "(".repeat(200_000);
    let closed = format!("{deep}ctx.a{}", ")".repeat(200_000));
    let nots = format!("{}ctx.a", "!".repeat(200_000));
    let digits = format!("ctx.a == {}", "9".repeat(400));
    let guards = [&deep, &closed, &nots, &digits, "ctx.a == \"\\", "ctx.a foo", "ctx.a = 1", "\0"];
    for (number, guard) in guards.into_iter().enumerate() {
        let definition = json!({"states": ["a"], "initial": "a",
            "transitions": [{"from": "a", "event": "E", "to": "a", "guard": guard}]});
        let params =
            json!({"machine": format!("m{number}"), "version": 1, "definition": definition});
        let error = wire.call("PUT_MACHINE", params).unwrap_err();
        assert_eq!(error["code"], "BAD_REQUEST", "guard {number}: {error}");
    }
    // Letters of any script are letters.
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a", "guard": "ctx.gr\u{fc}n == 1"}]});
    wire.call("PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": definition}))
        .unwrap();
    for (id, to) in [("no", json!(0)), ("yes", json!(1))] {
        let params = json!({"instance_id": id, "machine": "m", "version": 1,
            "initial_ctx": {"gr\u{fc}n": to}});
        wire.call("CREATE_INSTANCE", params).unwrap();
        let applied = wire.call("APPLY_EVENT", json!({"instance_id": id, "event": "E"}));
        assert_eq!(applied.is_ok(), id == "yes");
    }
    assert_eq!(wire.call("PING", json!({})).unwrap()["pong"], true);
}

/// Texts that go wrong where somebody counts characters, ends at a zero or trusts a script.
const TEXTS: [&str; 10] = [
    "gr\u{fc}n \u{2713}",
    "\u{65e5}\u{672c}\u{8a9e}",
    "\u{1f980}\u{200d}\u{1f525}",
    "e\u{301}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "tab\tline\nquote\"back\\slash/",
    "\u{7f}\u{80}\u{9f}",
    "\u{2028}\u{2029}\u{feff}",
    "\u{10ffff}\u{fffd}",
    " ",
];

#[test]
fn any_text_may_be_a_name_and_comes_back_as_it_was() {
    let server = TestServer::in_memory(|_| ());
    for mode in [WireMode::Frames, WireMode::Lines] {
        for text in TEXTS {
            let mut wire = match mode {
                WireMode::Frames => server.wire(),
                WireMode::Lines => Wire::lines(server.address()),
            };
            let (id, machine) = (format!("i {text} {mode:?}"), format!("m {text} {mode:?}"));
            let (state, event, key) = (text, format!("e {text}"), format!("k {text}"));
            let definition = json!({"states": [state, "b"], "initial": state, "meta": {text: text},
                "transitions": [{"from": state, "event": event, "to": "b"}]});
            let params = json!({"machine": machine, "version": 1, "definition": definition});
            wire.call("PUT_MACHINE", params).unwrap();
            let params = json!({"machine": machine, "version": 1});
            let stored = wire.call("GET_MACHINE", params).unwrap();
            assert_eq!(stored["definition"]["meta"], json!({ text: text }));
            let params = json!({"instance_id": id, "machine": machine, "version": 1,
                "initial_ctx": {text: [text]}});
            assert_eq!(wire.call("CREATE_INSTANCE", params).unwrap()["state"], state);
            let watch = wire.call("WATCH_INSTANCE", json!({ "instance_id": id })).unwrap();
            let params = json!({"instance_id": id, "event": event, "payload": {"p": text},
                "event_id": text, "idempotency_key": key, "expected_state": state});
            wire.send(text, "APPLY_EVENT", &params);
            let answer = wire.answer();
            assert_eq!(answer["id"], text);
            assert_eq!(answer["result"]["ctx"], json!({ text: [text], "p": text }));
            assert_eq!(answer["result"]["event_id"], text);
            let seen = wire.event();
            assert_eq!(seen["subscription_id"], watch["subscription_id"]);
            for (member, expected) in [
                ("instance_id", &*id),
                ("machine", &machine),
                ("from_state", state),
                ("event", &event),
            ] {
                assert_eq!(seen[member], expected, "{member}");
            }
            let got = wire.call("GET_INSTANCE", json!({ "instance_id": id })).unwrap();
            assert_eq!(got["last_event_id"], text);
            let again = wire.call("APPLY_EVENT", params).unwrap();
            assert_eq!(again["applied"], false);
        }
    }
    server.await_idle();
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let server = TestServer::in_memory(|_| ());
    let mut healthy = server.wire();
    let mut wire = server.wire();
    let mut bytes = ping();
    let params = json!({"protocol_version": 1, "wire_modes": ["jsonl"]});
    bytes.extend(request(WireMode::Frames, "h", "HELLO", &params));
    bytes.extend(ping());
    for byte in bytes {
        wire.send_bytes(&[byte]);
        healthy.call("PING", json!({})).unwrap();
    }
    assert_eq!(wire.receive().unwrap()["result"]["pong"], true);
    wire.mode = WireMode::Lines;
    assert_eq!(wire.receive().unwrap()["result"]["wire_mode"], "jsonl");
    assert_eq!(wire.receive().unwrap()["result"]["pong"], true);
    for byte in request(WireMode::Lines, "l", "PING", &json!({})) {
        wire.send_bytes(&[byte]);
        healthy.call("PING", json!({})).unwrap();
    }
    assert_eq!(wire.receive().unwrap()["id"], "l");
    // Blank lines are nothing, and a line that ends with a carriage return is one.
    wire.send_bytes(b"\n\r\n{\"type\":\"request\",\"id\":\"r\",\"op\":\"PING\"}\r\n");
    assert_eq!(wire.receive().unwrap()["id"], "r");
}

#[test]
fn a_frame_that_is_not_complete_is_waited_for() {
    let server = TestServer::in_memory(|_| ());
    let whole = ping();
    for cut in 0..whole.len() {
        let mut wire = server.wire();
        meet(&mut wire, &whole[..cut], Waits, "a part of a frame");
        meet(&mut wire, &whole[cut..], Answers, "the rest of it");
    }
    // A client that goes away within a frame leaves nothing behind.
    for cut in [1, 17, 18, whole.len() - 1] {
        let mut wire = server.wire();
        wire.send_bytes(&whole[..cut]);
    }
    server.await_idle();
}

/// The requests that inputs are made from: each command, and ones with everything set.
fn originals() -> Vec<Vec<u8>> {
    let mut texts: Vec<Value> = WireCommand::all()
        .map(|command| {
            json!({"type": "request", "id": "x", "op": command.wire_name(), "params": {
            "instance_id": "i", "machine": "m", "version": 1, "event": "E", "from_offset": 1,
            "limit": 3, "protocol_version": 1, "token": "t", "subscription_id": "s"}})
        })
        .collect();
    let apply = json!({"instance_id": "i", "event": "E", "payload": {"a": [1, 2.5, null, "x"]},
        "expected_state": "a", "event_id": "e", "idempotency_key": "k"});
    let definition = json!({"states": ["a", "b"], "initial": "a", "meta": {"x": 1}, "transitions":
        [{"from": ["a", "b"], "event": "E", "to": "a", "guard": "ctx.a >= 1.5 && !(ctx.b == \"x\")"}]});
    for (op, params) in [
        ("APPLY_EVENT", apply.clone()),
        ("PUT_MACHINE", json!({"machine": "n", "version": 2, "definition": definition})),
        (
            "CREATE_INSTANCE",
            json!({"instance_id": "j", "machine": "m", "version": 1,
            "initial_ctx": {"a": 1}, "idempotency_key": "c"}),
        ),
        (
            "WATCH_ALL",
            json!({"machines": ["m"], "events": ["E"], "from_states": [], "to_states":
            null, "include_ctx": false, "from_offset": 2}),
        ),
        (
            "BATCH",
            json!({"mode": "atomic", "ops": [{"op": "APPLY_EVENT", "params": apply},
            {"op": "BATCH", "params": {"ops": [{"op": "PING"}]}}]}),
        ),
        ("LIST_INSTANCES", json!({"machine": "m", "state": "a", "limit": 5, "offset": 0})),
        (
            "HELLO",
            json!({"protocol_version": 1, "client_name": "c", "wire_modes": ["jsonl"],
            "features": ["extended", "batch"]}),
        ),
    ] {
        texts.push(json!({"type": "request", "id": "y", "op": op, "params": params}));
    }
    texts.iter().map(|text| text.to_string().into_bytes()).collect()
}

/// Damages a text: bytes, pieces doubled or dropped, pieces of another one, odd values.
fn damage(rng: &mut Rng, originals: &[Vec<u8>]) -> Vec<u8> {
    const ODD: [&[u8]; 12] = [
        b"null",
        b"-1",
        b"1e999",
        b"18446744073709551616",
        b"\"\\ud800\"",
        b"[[[[",
        b"{}",
        b"\"\"",
        b"\xff",
        b"\0",
        b",",
        b"\"\\u0000\"",
    ];
    let mut text = originals[rng.index(originals.len())].clone();
    for _ in 0..=rng.below(3) {
        let at = rng.index(text.len().max(1)).min(text.len());
        let end = (at + rng.index(12)).min(text.len());
        match rng.below(6) {
            0 if at < text.len() => text[at] ^= 1 << rng.below(8),
            1 => drop(text.drain(at..end)),
            2 => drop(text.splice(at..at, text[at..end].to_vec())),
            3 => drop(text.splice(at..end, ODD[rng.index(ODD.len())].iter().copied())),
            4 => {
                let other = &originals[rng.index(originals.len())];
                let from = rng.index(other.len());
                drop(text.splice(at..end, other[from..].iter().copied().take(20)));
            }
            // A value for a value, which is more often a request still.
            _ => {
                if let Some(colon) = text[at..].iter().position(|byte| *byte == b':') {
                    let begin = at + colon + 1;
                    let length = text[begin..].iter().position(|byte| b",}".contains(byte));
                    let odd = ODD[rng.index(ODD.len())].iter().copied();
                    drop(text.splice(begin..begin + length.unwrap_or(0), odd));
                }
            }
        }
    }
    text
}

/// The text as bytes of the wire, now and then with a broken header.
fn wrap(rng: &mut Rng, text: &[u8]) -> Vec<u8> {
    let mut frame = frame_of(text);
    if rng.chance(100) {
        let at = rng.index(18);
        frame[at] ^= 1 << rng.below(8);
    }
    frame
}

#[test]
fn tens_of_thousands_of_damaged_requests_harm_nobody() {
    let inputs = if is_soak() { 1_000_000 } else { 26_000 };
    for seed in seeds(1, 1, 10) {
        let replay = Replay {
            test: "rstmdb-tests --test network hostile::tens",
            seed,
            place: String::new(),
        };
        damaged_requests(seed, inputs);
        println!("seed {seed}: {inputs} inputs");
        drop(replay);
    }
}

fn damaged_requests(seed: u64, inputs: u64) {
    let server = TestServer::in_memory(|_| ());
    let mut rng = Rng::new(seed);
    let originals = originals();
    let mut healthy = server.wire();
    let mut wire = server.wire();
    let mut closed = 0;
    for input in 0..inputs {
        let text = damage(&mut rng, &originals);
        let bytes = wrap(&mut rng, &text);
        let id = format!("after {input}");
        // Lines and frames are told apart by their first byte, whatever was agreed on.
        wire.mode = WireMode::Lines;
        let _ = wire.try_send_bytes(&bytes);
        let _ = wire.try_send_bytes(&request(WireMode::Frames, &id, "PING", &json!({})));
        // A header that announces more than there is waits for it; the end of the sending side tells
        // the server that nothing comes.
        if bytes[..18] != frame_of(&text)[..18] || rng.chance(5) {
            let _ = wire.socket().shutdown(std::net::Shutdown::Write);
        }
        let ended = loop {
            match wire.try_receive() {
                Ok(Some(message)) if message["id"] == *id => break false,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break true,
            }
        };
        if ended || bytes[..18] != frame_of(&text)[..18] || input % 500 == 499 {
            closed += u64::from(ended);
            wire = server.wire();
        }
        if input % 100 == 0 {
            healthy.call("PING", json!({})).unwrap();
        }
    }
    assert!(closed > inputs / 100 && closed < inputs, "{closed} of {inputs} ended a connection");
    drop((wire, healthy));
    server.await_idle();
}

#[test]
fn a_flood_of_connections_passes() {
    let server = TestServer::in_memory(|config| config.network.max_connections = 100);
    let mut healthy = server.wire();
    healthy.call("PING", json!({})).unwrap();
    for round in 0..5 {
        let mut flood: Vec<Wire> = (0..300).map(|_| server.wire()).collect();
        for (number, wire) in flood.iter_mut().enumerate() {
            let _ = match (number + round) % 4 {
                0 => wire.try_send_bytes(&header_for(1000)),
                1 => wire.try_send_bytes(b"RC"),
                2 => wire.try_send_bytes(&ping()),
                _ => Ok(()),
            };
        }
        assert_eq!(healthy.call("PING", json!({})).unwrap()["pong"], true);
        drop(flood);
    }
    drop(healthy);
    rstmdb_testkit::wire::await_condition("there is room again", || {
        server.metrics().connections_active.get() == 0
    });
    server.await_idle();
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let server = TestServer::in_memory(|config| {
        config.tls = certificates.listener();
        config.network.handshake_timeout = Duration::from_secs(2);
    });
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let beginnings: [&[u8]; 3] = [b"", b"\x16", hello];
    let mut silent: Vec<Wire> = beginnings.map(|_| Wire::connect(server.address())).into();
    for (wire, beginning) in silent.iter_mut().zip(beginnings) {
        wire.send_bytes(beginning);
    }
    let mut healthy = Wire::connect_tls(server.address(), certificates.client(false), "localhost");
    healthy.call("PING", json!({})).unwrap();
    for wire in &mut silent {
        // A TLS alert is no message of ours, so the bytes are only waited out.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut wire.socket(), &mut rest);
    }
    assert_eq!(healthy.call("PING", json!({})).unwrap()["pong"], true);
    drop(healthy);
    let open = || server.metrics().connections_active.get();
    rstmdb_testkit::wire::await_condition("all have gone", || open() == 0);
}

#[test]
fn plain_bytes_on_a_tls_listener_get_an_alert() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let server = TestServer::in_memory(|config| config.tls = certificates.listener());
    let wire = Wire::connect(server.address());
    std::io::Write::write_all(&mut wire.socket(), &ping()).unwrap();
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut wire.socket(), &mut said);
    assert_eq!(said[..3], [0x15, 0x03, 0x03], "{said:?}");
    let mut healthy = Wire::connect_tls(server.address(), certificates.client(false), "localhost");
    healthy.call("PING", json!({})).unwrap();
}
