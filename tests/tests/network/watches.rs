//! Order over the network: answers come in the order of requests, events in the order of commits, and
//! none is missing, however slowly a watcher reads.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rstmdb_engine::{Engine, Location};
use rstmdb_protocol::WireMode;
use rstmdb_server::config::Config;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, outcome, request};
use serde_json::{Value, json};

/// A server on files.
fn on_files(directory: &Path, change: impl FnOnce(&mut Config)) -> TestServer {
    let mut config = TestServer::config();
    config.storage.free_bytes_min = 0;
    change(&mut config);
    let engine = Engine::open(Location::directory(directory), config.engine_options()).unwrap();
    TestServer::start(Arc::new(engine), config).unwrap()
}

/// A machine that goes round, and instances of it.
fn begin(server: &TestServer, instances: usize) {
    let mut wire = server.wire();
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    for n in 0..instances {
        let params = json!({"instance_id": format!("i{n}"), "machine": "loop", "version": 1});
        wire.call("CREATE_INSTANCE", params).unwrap();
    }
}

fn apply(instance: usize, n: usize) -> Value {
    json!({"instance_id": format!("i{instance}"), "event": "E", "payload": {"n": n}})
}

/// So many events, a hundred in each request and many requests on their way.
fn write_many(server: &TestServer, from: usize, count: usize) {
    let mut wire = server.wire();
    let mut sent = 0;
    for batch in (from..from + count).step_by(100) {
        let ops: Vec<Value> = (batch..(batch + 100).min(from + count))
            .map(|n| json!({"op": "APPLY_EVENT", "params": apply(0, n)}))
            .collect();
        wire.send(&batch.to_string(), "BATCH", &json!({ "ops": ops }));
        sent += 1;
        if sent > 20 {
            outcome(wire.answer()).unwrap();
            sent -= 1;
        }
    }
    for _ in 0..sent {
        outcome(wire.answer()).unwrap();
    }
}

/// What the answer to request `n` of the mixed run must be.
fn mixed(n: usize) -> (&'static str, Value) {
    let instance = n % 7;
    match n % 20 {
        0 | 4 | 8 | 12 | 16 => ("APPLY_EVENT", apply(instance, n)),
        1 | 5 | 9 => ("GET_INSTANCE", json!({"instance_id": format!("i{}", (n - 1) % 7)})),
        2 | 13 => ("PING", json!({})),
        3 => ("WAL_READ", json!({"from_offset": 1, "limit": 2})),
        6 => ("HISTORY", json!({"instance_id": format!("i{instance}"), "limit": 2})),
        7 if n % 500 == 7 => ("COMPACT", json!({"force_snapshot": true})),
        7 => ("COUNT_INSTANCES", json!({})),
        10 => ("GET_INSTANCE", json!({"instance_id": "nobody"})),
        11 => ("LIST_INSTANCES", json!({"limit": 3})),
        14 => ("BATCH", json!({"ops": [{"op": "APPLY_EVENT", "params": apply(instance, n)}]})),
        15 => ("NO_SUCH_OPERATION", json!({})),
        17 => ("GET_INSTANCE", json!({"instance_id": format!("i{}", (n - 1) % 7)})),
        18 => ("SNAPSHOT_INSTANCE", json!({"instance_id": "i0"})),
        _ => ("APPLY_EVENT", json!({"instance_id": "i0", "event": "UNKNOWN"})),
    }
}

#[test]
fn thousands_of_requests_in_one_write_are_answered_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |config| config.limits.snapshots_max = 0);
    begin(&server, 7);
    const REQUESTS: usize = 5000;
    let mut bytes = Vec::new();
    for n in 0..REQUESTS {
        let (op, params) = mixed(n);
        bytes.extend(request(WireMode::Frames, &format!("r{n}"), op, &params));
    }
    let mut wire = server.wire();
    let mut socket = wire.socket().try_clone().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut socket, &bytes));
    let mut offset = 0;
    for n in 0..REQUESTS {
        let answer = wire.answer();
        assert_eq!(answer["id"], format!("r{n}"));
        let result = outcome(answer);
        let (op, params) = mixed(n);
        match (op, n % 20) {
            // A read sees what the write before it did, though nobody waited for that.
            ("GET_INSTANCE", 1 | 5 | 9 | 17) => {
                assert_eq!(result.unwrap()["ctx"]["n"], n - 1, "{n}")
            }
            ("GET_INSTANCE", _) => assert_eq!(result.unwrap_err()["code"], "INSTANCE_NOT_FOUND"),
            ("APPLY_EVENT", 19) => assert_eq!(result.unwrap_err()["code"], "INVALID_TRANSITION"),
            ("APPLY_EVENT", _) => {
                let result = result.unwrap();
                assert_eq!(result["ctx"], params["payload"]);
                assert!(result["wal_offset"].as_u64().unwrap() > offset);
                offset = result["wal_offset"].as_u64().unwrap();
            }
            ("NO_SUCH_OPERATION", _) => assert_eq!(result.unwrap_err()["code"], "BAD_REQUEST"),
            ("BATCH", _) => assert_eq!(result.unwrap()["results"][0]["status"], "ok"),
            _ => drop(result.unwrap()),
        }
    }
    writer.join().unwrap().unwrap();
    drop(wire);
    server.await_idle();
}

#[test]
fn an_answer_comes_before_its_own_event() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |_| ());
    begin(&server, 3);
    let mut wire = server.wire();
    for (op, params) in [("WATCH_ALL", json!({})), ("WATCH_INSTANCE", json!({"instance_id": "i1"}))]
    {
        wire.call(op, params).unwrap();
    }
    const REQUESTS: usize = 2000;
    for n in 0..REQUESTS {
        wire.send(&n.to_string(), "APPLY_EVENT", &apply(n % 3, n));
    }
    let mut answered = HashSet::new();
    let mut events = 0;
    // Those of the second instance come twice.
    let expected = REQUESTS + (0..REQUESTS).filter(|n| n % 3 == 1).count();
    while events < expected || answered.len() < REQUESTS {
        let message = wire.receive().unwrap();
        if message["type"] == "event" {
            assert!(answered.contains(&message["wal_offset"].as_u64().unwrap()), "{message}");
            events += 1;
        } else {
            let result = outcome(message).unwrap();
            assert!(answered.insert(result["wal_offset"].as_u64().unwrap()));
        }
    }
}

#[test]
fn a_watcher_that_stops_reading_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // Far more than the ring, the buffers of the server and those of the system hold.
    let server = on_files(directory.path(), |config| {
        config.storage.watch_ring_bytes = 64 << 10;
        config.network.max_buffered_response_bytes = 64 << 10;
        config.compaction.enabled = true;
        config.compaction.min_interval = std::time::Duration::ZERO;
    });
    begin(&server, 1);
    let count = if is_soak() { 1_000_000 } else { 100_000 };
    let mut watchers = [server.wire(), server.wire()];
    for watcher in &mut watchers {
        watcher.call("WATCH_ALL", json!({"include_ctx": false})).unwrap();
    }
    let [asleep, awake] = &mut watchers;
    std::thread::scope(|scope| {
        scope.spawn(|| write_many(&server, 0, count));
        for n in 0..count {
            assert_eq!(awake.event()["payload"]["n"], n);
        }
    });
    // The one that read has everything; the one that did not reads now, while more comes.
    std::thread::scope(|scope| {
        scope.spawn(|| write_many(&server, count, 1000));
        let mut offset = 0;
        for n in 0..count + 1000 {
            let event = asleep.event();
            assert_eq!(event["payload"]["n"], n);
            assert!(event["wal_offset"].as_u64().unwrap() > offset);
            offset = event["wal_offset"].as_u64().unwrap();
        }
    });
    assert!(asleep.events_until_pong().is_empty());
    drop(watchers);
    server.await_idle();
}

#[test]
fn nothing_comes_after_the_answer_to_unwatch() {
    let server = TestServer::in_memory(|_| ());
    begin(&server, 1);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write_many(&server, 0, 20_000));
        let mut rounds = 0;
        let mut seen = 0;
        let mut wire = server.wire();
        while !writing.is_finished() || rounds < 10 {
            let watch = wire.call("WATCH_ALL", json!({})).unwrap();
            let other = wire.call("WATCH_ALL", json!({"events": ["NONE"]})).unwrap();
            let id = watch["subscription_id"].clone();
            let asked = wire.ask("UNWATCH", &json!({ "subscription_id": id }));
            loop {
                let message = wire.receive().unwrap();
                if message["id"] == *asked {
                    break;
                }
                assert_eq!(message["subscription_id"], id);
                seen += 1;
            }
            seen += drop_kept(&mut wire, &id);
            let again = wire.call("UNWATCH", json!({ "subscription_id": id })).unwrap();
            assert_eq!(again["removed"], false);
            wire.call("UNWATCH", json!({"subscription_id": other["subscription_id"]})).unwrap();
            assert!(wire.events_until_pong().is_empty(), "an event after the end");
            rounds += 1;
        }
        println!("{rounds} subscriptions saw {seen} events");
    });
    server.await_idle();
}

/// Events that came between the beginning of a subscription and the request to end it.
fn drop_kept(wire: &mut Wire, id: &Value) -> usize {
    let kept = wire.take_events();
    assert!(kept.iter().all(|event| event["subscription_id"] == *id));
    kept.len()
}

#[test]
fn a_replay_begins_with_the_offset_itself_and_zero_means_none() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |config| config.storage.watch_ring_bytes = 4096);
    begin(&server, 2);
    let mut writer = server.wire();
    let mut offsets = Vec::new();
    for n in 0..500 {
        let applied = writer.call("APPLY_EVENT", apply(n % 2, n)).unwrap();
        offsets.push(applied["wal_offset"].as_u64().unwrap());
    }
    for from in [0, 1, 250, 499] {
        let mut wire = server.wire();
        let params = json!({"from_offset": offsets[from]});
        wire.call("WATCH_ALL", params).unwrap();
        for offset in &offsets[from..] {
            assert_eq!(wire.event()["wal_offset"], *offset);
        }
        assert!(wire.events_until_pong().is_empty());
        let mut one = server.wire();
        let params = json!({"instance_id": "i1", "from_offset": offsets[from]});
        one.call("WATCH_INSTANCE", params).unwrap();
        for n in (from..500).filter(|n| n % 2 == 1) {
            assert_eq!(one.event()["payload"]["n"], n);
        }
        assert!(one.events_until_pong().is_empty());
    }
    for params in [json!({"from_offset": 0}), json!({"from_offset": null}), json!({})] {
        let mut wire = server.wire();
        wire.call("WATCH_ALL", params).unwrap();
        assert!(wire.events_until_pong().is_empty());
        assert!(wire.events_until_pong().is_empty());
        let next = writer.call("APPLY_EVENT", apply(0, 1000)).unwrap();
        assert_eq!(wire.event()["wal_offset"], next["wal_offset"]);
    }
}

#[test]
fn two_hundred_watchers_see_the_same() {
    let server = TestServer::in_memory(|_| ());
    begin(&server, 8);
    let mut watchers: Vec<Wire> = (0..200).map(|_| server.wire()).collect();
    for watcher in &mut watchers {
        watcher.call("WATCH_ALL", json!({})).unwrap();
    }
    // As much as fits into connections that nobody reads yet: from a full one some kernels take minutes to go on.
    const EACH: usize = 30;
    std::thread::scope(|scope| {
        for instance in 0..8 {
            let mut wire = server.wire();
            scope.spawn(move || {
                for n in 0..EACH {
                    wire.call("APPLY_EVENT", apply(instance, n)).unwrap();
                }
            });
        }
    });
    let seen = |watcher: &mut Wire| -> Vec<u64> {
        (0..8 * EACH).map(|_| watcher.event()["wal_offset"].as_u64().unwrap()).collect()
    };
    let first = seen(&mut watchers[0]);
    assert!(first.is_sorted_by(|a, b| a < b));
    for watcher in &mut watchers[1..] {
        assert_eq!(seen(watcher), first);
    }
    for watcher in &mut watchers {
        assert!(watcher.events_until_pong().is_empty());
    }
    drop(watchers);
    server.await_idle();
}

#[test]
fn watchers_are_told_where_to_resume_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = on_files(directory.path(), |_| ());
    begin(&server, 2);
    let mut extended = Wire::hello(server.address(), &["extended"]);
    let mut plain = Wire::hello(server.address(), &["watch"]);
    let all = extended.call("WATCH_ALL", json!({})).unwrap();
    let filtered = extended.call("WATCH_INSTANCE", json!({"instance_id": "i1"})).unwrap();
    plain.call("WATCH_ALL", json!({})).unwrap();
    let mut writer = server.wire();
    for n in 0..100 {
        writer.send(&n.to_string(), "APPLY_EVENT", &apply(0, n));
    }
    for _ in 0..100 {
        outcome(writer.answer()).unwrap();
    }
    server.begin_stop();
    let said = extended.await_close();
    let events = said.iter().filter(|message| message["type"] == "event").count();
    let resume = |id: &Value| {
        let end = said.iter().find(|m| m["type"] == "end" && m["subscription_id"] == *id);
        end.unwrap_or_else(|| panic!("no end in {said:?}"))["resume_offset"].as_u64().unwrap()
    };
    let from = resume(&all["subscription_id"]);
    resume(&filtered["subscription_id"]);
    let plain_said = plain.await_close();
    assert!(plain_said.iter().all(|message| message["type"] == "event"), "{plain_said:?}");
    drop(writer);
    server.stop().unwrap();

    // With that offset the next server goes on where this one ended.
    let server = on_files(directory.path(), |_| ());
    let mut wire = server.wire();
    wire.call("WATCH_ALL", json!({ "from_offset": from })).unwrap();
    for n in events..100 {
        assert_eq!(wire.event()["payload"]["n"], n);
    }
    assert!(wire.events_until_pong().is_empty());
}

#[test]
fn a_watcher_is_told_how_far_it_has_come_without_events() {
    let directory = tempfile::tempdir().unwrap();
    told_without_events(&TestServer::in_memory(|_| ()));
    told_without_events(&on_files(directory.path(), |_| ()));
}

fn told_without_events(server: &TestServer) {
    begin(server, 2);
    let mut plain = Wire::hello(server.address(), &["watch"]);
    let mut extended = Wire::hello(server.address(), &["extended"]);
    for wire in [&mut plain, &mut extended] {
        wire.call("WATCH_INSTANCE", json!({"instance_id": "i1"})).unwrap();
    }
    let all = extended.call("WATCH_ALL", json!({"events": ["NEVER"]})).unwrap();
    let mut last = 0;
    for n in 0..200 {
        let applied = server.wire().call("APPLY_EVENT", apply(0, n)).unwrap();
        last = applied["wal_offset"].as_u64().unwrap();
    }
    // It comes by itself, and not with every change that was left out.
    let mut told = Vec::new();
    while told.iter().filter(|place| **place == last + 1).count() < 2 {
        let progress = extended.progress();
        told.push(progress["resume_offset"].as_u64().unwrap());
        assert_eq!(progress["history_id"], all["history_id"], "{progress}");
    }
    assert!(told.len() < 200, "{told:?}");
    server.wire().call("APPLY_EVENT", apply(1, 200)).unwrap();
    assert_eq!(extended.event()["wal_offset"], last + 1);
    // A ping is answered, and tells it at once.
    server.wire().call("APPLY_EVENT", apply(0, 201)).unwrap();
    extended.call("PING", json!({})).unwrap();
    let both = [extended.progress(), extended.progress()];
    assert!(both.iter().all(|progress| progress["resume_offset"].as_u64() > Some(last + 1)));
    assert_eq!(plain.events_until_pong().len(), 1, "clients of RCP 0.3 hear of events alone");
}

#[test]
fn what_was_asked_before_a_stop_is_answered() {
    for round in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let mut server = on_files(directory.path(), |_| ());
        begin(&server, 1);
        let mut wire = server.wire();
        for n in 0..500 {
            wire.send(&n.to_string(), "APPLY_EVENT", &apply(0, n));
        }
        for n in 0..round * 10 {
            assert_eq!(wire.answer()["id"], n.to_string());
        }
        server.begin_stop();
        let rest = wire.await_close();
        let mut last = round * 10;
        for answer in rest {
            assert_eq!(answer["id"], last.to_string());
            outcome(answer).unwrap();
            last += 1;
        }
        server.stop().unwrap();
        // All that was answered is there, and nothing that was not asked for.
        let server = on_files(directory.path(), |_| ());
        let got = server.wire().call("GET_INSTANCE", json!({"instance_id": "i0"})).unwrap();
        let done = got["ctx"]["n"].as_u64().map_or(0, |n| n as usize + 1);
        assert!(done >= last, "{last} answers, {done} events");
    }
}

#[test]
fn those_that_follow_one_instance_are_told_its_events_alone() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |_| ());
    const INSTANCES: usize = 300;
    begin(&server, INSTANCES);
    // All on two connections, each instance on both, and one that follows all of them.
    let mut wires = [server.wire(), server.wire()];
    let mut ids = vec![Vec::new(); 2];
    for (wire, ids) in wires.iter_mut().zip(&mut ids) {
        for n in 0..INSTANCES {
            let begun = wire.call("WATCH_INSTANCE", json!({"instance_id": format!("i{n}")}));
            ids.push(begun.unwrap()["subscription_id"].clone());
        }
    }
    let mut all = server.wire();
    all.call("WATCH_ALL", json!({})).unwrap();
    let mut writer = server.wire();
    const EVENTS: usize = 1000;
    for n in 0..EVENTS {
        writer.send(&n.to_string(), "APPLY_EVENT", &apply(n * 7 % INSTANCES, n));
    }
    let offsets: Vec<u64> = (0..EVENTS)
        .map(|_| outcome(writer.answer()).unwrap()["wal_offset"].as_u64().unwrap())
        .collect();
    for offset in &offsets {
        assert_eq!(all.event()["wal_offset"], *offset);
    }
    for (wire, ids) in wires.iter_mut().zip(&ids) {
        let mut seen: Vec<u64> = Vec::new();
        let mut last = vec![0; INSTANCES];
        for _ in 0..EVENTS {
            let event = wire.event();
            let n = event["payload"]["n"].as_u64().unwrap() as usize;
            let instance = n * 7 % INSTANCES;
            assert_eq!(event["subscription_id"], ids[instance]);
            assert_eq!(event["instance_id"], format!("i{instance}"));
            let offset = event["wal_offset"].as_u64().unwrap();
            assert!(offset > last[instance], "the events of an instance are in order");
            last[instance] = offset;
            seen.push(offset);
        }
        seen.sort_unstable();
        assert_eq!(seen, offsets);
        assert!(wire.events_until_pong().is_empty());
    }
    drop((wires, all, writer));
    server.await_idle();
}

#[test]
fn watches_that_share_what_was_read_differ_in_place_form_and_dialect() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |_| ());
    begin(&server, 2);
    let mut writer = server.wire();
    let mut write = |from: usize, count: usize| -> Vec<u64> {
        for n in from..from + count {
            writer.send(&n.to_string(), "APPLY_EVENT", &apply(n % 2, n));
        }
        let offset = |answer| outcome(answer).unwrap()["wal_offset"].as_u64().unwrap();
        (0..count).map(|_| offset(writer.answer())).collect()
    };
    let mut offsets = write(0, 100);
    let mut plain = Wire::hello(server.address(), &["watch"]);
    let mut lines = Wire::lines(server.address());
    let mut extended = Wire::hello(server.address(), &["extended"]);
    let mut late = Wire::hello(server.address(), &["extended"]);
    for wire in [&mut plain, &mut lines, &mut extended] {
        wire.call("WATCH_ALL", json!({})).unwrap();
    }
    let without = plain.call("WATCH_ALL", json!({"include_ctx": false})).unwrap();
    late.call("WATCH_ALL", json!({"from_offset": offsets[10]})).unwrap();
    offsets.extend(write(100, 100));
    let history = json!(server.engine().position().history_id);
    for (index, offset) in offsets.iter().enumerate() {
        let live = index >= 100;
        for (wire, first) in [(&mut extended, 100), (&mut late, 10)] {
            if index >= first {
                let event = wire.event();
                assert_eq!(event["wal_offset"], *offset);
                assert_eq!(event["ctx"], json!({"n": index}));
                assert_eq!(event["kind"], "applied");
                // Told with the first, as it stays the same.
                assert_eq!(event.get("history_id"), (index == first).then_some(&history));
            }
        }
        if live {
            let event = lines.event();
            assert_eq!((&event["wal_offset"], event.get("kind")), (&json!(offset), None));
        }
    }
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        let event = plain.event();
        assert_eq!((event.get("kind"), event.get("history_id")), (None, None));
        let is_without = event["subscription_id"] == without["subscription_id"];
        assert_eq!(event.get("ctx").is_none(), is_without, "{event}");
        seen[usize::from(is_without)].push(event["wal_offset"].as_u64().unwrap());
    }
    assert_eq!(seen, [&offsets[100..], &offsets[100..]]);
    // Another dialect holds from the next event on.
    let hello = json!({"protocol_version": 1, "features": ["extended"]});
    plain.call("HELLO", hello).unwrap();
    write(200, 1);
    for _ in 0..2 {
        let event = plain.event();
        assert_eq!((&event["kind"], &event["history_id"]), (&json!("applied"), &history));
    }
}

#[test]
fn a_watch_that_is_far_behind_holds_up_no_other_of_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_files(directory.path(), |_| ());
    begin(&server, 2);
    let mut watcher = Wire::hello(server.address(), &["extended"]);
    let all = watcher.call("WATCH_ALL", json!({})).unwrap();
    let one = watcher.call("WATCH_INSTANCE", json!({"instance_id": "i1"})).unwrap();
    let mut writer = server.wire();
    let large = "x".repeat(30_000);
    let mut last = Value::Null;
    // More than the system buffers for a connection, and all of it still in memory: nothing waits for a file.
    for n in 0..400 {
        let params = json!({"instance_id": "i0", "event": "E", "payload": {"n": n, "x": large}});
        last = writer.call("APPLY_EVENT", params).unwrap()["wal_offset"].clone();
    }
    writer.call("APPLY_EVENT", apply(1, 0)).unwrap();
    let mut seen_one = false;
    loop {
        let event = watcher.event();
        seen_one |= event["subscription_id"] == one["subscription_id"];
        if event["subscription_id"] == all["subscription_id"] && event["wal_offset"] == last {
            break;
        }
    }
    assert!(seen_one, "the other watch got nothing before the first was through");
}
