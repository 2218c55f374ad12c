//! Clients that would use up the server's memory, and the memory it uses.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use rstmdb_testkit::process::ServerProcess;
use rstmdb_testkit::wire::{Wire, await_condition, frame_of, header_for, outcome};
use serde_json::{Value, json};

use crate::launch;

const MOST: u64 = 256 << 20;
const FRAME: usize = 16 << 20;

/// Begins a frame of 16 MiB and sends all but its last byte, as far as the server takes it.
struct HalfFrame {
    wire: Wire,
    sent: usize,
}

impl HalfFrame {
    fn begin(server: &ServerProcess) -> HalfFrame {
        let mut wire = server.wire();
        // A server that refuses has closed already.
        let _ = wire.try_send_bytes(&header_for(FRAME as u32));
        wire.socket().set_nonblocking(true).unwrap();
        HalfFrame { wire, sent: 0 }
    }

    /// Sends more; says whether any was taken.
    fn push(&mut self) -> bool {
        let piece = [b'x'; 64 << 10];
        let mut moved = false;
        while self.sent < FRAME - 1 {
            let most = piece.len().min(FRAME - 1 - self.sent);
            match self.wire.socket().write(&piece[..most]) {
                Ok(bytes) => {
                    self.sent += bytes;
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Closed: nothing more will be taken.
                Err(_) => break,
            }
        }
        moved
    }
}

/// The most memory the process ever had in RAM.
fn peak_bytes(server: &ServerProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn forty_half_frames(server: &ServerProcess) -> usize {
    let mut healthy = server.wire();
    let _ = healthy.call("AUTH", json!({"token": "secret"}));
    let mut halves: Vec<HalfFrame> = (0..40).map(|_| HalfFrame::begin(server)).collect();
    // Until nothing has moved for many answers to somebody else.
    let mut still = 0;
    while still < 50 {
        let moved = halves.iter_mut().fold(false, |moved, half| half.push() | moved);
        still = if moved { 0 } else { still + 1 };
        healthy.call("INFO", json!({})).unwrap();
    }
    let peak = peak_bytes(server);
    assert!(peak < MOST, "{} MiB for half frames", peak >> 20);
    let complete = halves.iter().filter(|half| half.sent == FRAME - 1).count();
    drop(halves);
    drop(healthy);
    complete
}

#[test]
fn forty_half_frames_before_authentication_take_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let server = launch(directory.path())
        .set("auth.required", true)
        .env("RSTMDB_AUTH_TOKEN_HASH", hash)
        .start();
    assert_eq!(forty_half_frames(&server), 0);
    let mut wire = server.wire();
    wire.call("AUTH", json!({"token": "secret"})).unwrap();
    wire.call("BYE", json!({})).unwrap();
    drop(wire);
    server.await_idle();
    server.stop();
}

#[test]
fn forty_half_frames_of_anybody_wait_for_their_turn() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).start();
    let complete = forty_half_frames(&server);
    assert!((1..40).contains(&complete), "{complete} of 40 were taken at once");
    server.await_idle();
    // The room they had is free again.
    let text = "x".repeat(FRAME - 100);
    for _ in 0..20 {
        let mut wire = server.wire();
        let params = json!({ "x": text });
        assert_eq!(wire.call("PING", params).unwrap()["pong"], true);
    }
    assert!(peak_bytes(&server) < MOST);
    server.stop();
}

#[test]
fn clients_that_do_not_read_take_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).set("storage.fsync_policy", "never").start();
    let mut wire = server.wire();
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    let params = json!({"instance_id": "i", "machine": "loop", "version": 1,
        "initial_ctx": {"x": "x".repeat(10_000)}});
    wire.call("CREATE_INSTANCE", params).unwrap();
    // Watchers whose events nobody takes, and clients that ask for far more than they read.
    let mut sleepers: Vec<Wire> = (0..50).map(|_| server.wire()).collect();
    for (n, sleeper) in sleepers.iter_mut().enumerate() {
        if n % 2 == 0 {
            sleeper.call("WATCH_ALL", json!({})).unwrap();
        } else {
            sleeper.socket().set_write_timeout(Some(Duration::from_millis(1))).unwrap();
            let asked = rstmdb_testkit::wire::request(
                sleeper.mode,
                "g",
                "GET_INSTANCE",
                &json!({"instance_id": "i"}),
            );
            let _ = sleeper.try_send_bytes(&asked.repeat(20_000));
        }
    }
    const EVENTS: usize = 5000;
    for n in 0..EVENTS {
        wire.send(
            "e",
            "APPLY_EVENT",
            &json!({"instance_id": "i", "event": "E", "payload": {"n": n}}),
        );
    }
    for _ in 0..EVENTS {
        assert_eq!(wire.answer()["status"], "ok");
    }
    let peak = peak_bytes(&server);
    assert!(peak < MOST, "{} MiB for clients that do not read", peak >> 20);
    // Nobody was forgotten.
    for n in 0..EVENTS {
        assert_eq!(sleepers[0].event()["payload"]["n"], n);
    }
    drop(sleepers);
    drop(wire);
    server.await_idle();
    server.stop();
}

#[test]
fn idle_connections_and_watchers_take_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).set("network.max_connections", 0).start();
    let before = server.resident_bytes();
    // One in eleven watches: ten thousand idle ones and a thousand watchers in the long run.
    let count = crate::rounds(1100, 11_000);
    let mut open: Vec<Wire> = (0..count).map(|_| server.wire()).collect();
    for (n, wire) in open.iter_mut().enumerate() {
        let op = if n % 11 == 0 { "WATCH_ALL" } else { "PING" };
        wire.call(op, json!({})).unwrap();
    }
    await_condition("all are counted", || {
        server.metric("rstmdb_connections_active") >= count as f64
    });
    let each = server.resident_bytes().saturating_sub(before) / count;
    println!(
        "{count} connections, {each} bytes each, {} MiB in all",
        server.resident_bytes() >> 20
    );
    assert!(each < 32 << 10, "{each} bytes for each connection");
    // The watchers among them are served.
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    open[1].call("PUT_MACHINE", params).unwrap();
    let params = json!({"instance_id": "i", "machine": "loop", "version": 1});
    open[1].call("CREATE_INSTANCE", params).unwrap();
    open[1].call("APPLY_EVENT", json!({"instance_id": "i", "event": "E"})).unwrap();
    for watcher in open.iter_mut().step_by(11) {
        assert_eq!(watcher.event()["event"], "E");
    }
    drop(open);
    server.await_idle();
    server.stop();
}

const LOOP: &str = r#"{"states":["a"],"initial":"a",
    "transitions":[{"from":"a","event":"E","to":"a"}]}"#;

fn put(wire: &mut Wire, machine: &str, version: usize, definition: &str) -> Result<Value, Value> {
    let definition: Value = serde_json::from_str(definition).unwrap();
    let params = json!({"machine": machine, "version": version, "definition": definition});
    wire.call("PUT_MACHINE", params)
}

#[test]
fn contexts_that_are_refused_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).start();
    put(&mut server.wire(), "loop", 1, LOOP).unwrap();
    let before = server.resident_bytes();
    // More than is allowed, in the order in which no canonical text is.
    let members: Vec<String> = (0..400_000).rev().map(|n| format!("\"k{n:07}\": {n}")).collect();
    let params = format!(
        r#"{{"instance_id":"i","machine":"loop","version":1,"initial_ctx":{{{}}}}}"#,
        members.join(",")
    );
    drop(members);
    let request =
        format!(r#"{{"type":"request","id":"1","op":"CREATE_INSTANCE","params":{params}}}"#);
    let request = frame_of(request.as_bytes());
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut wire = server.wire();
                wire.send_bytes(&request);
                let error = outcome(wire.answer()).unwrap_err();
                assert_eq!(error["details"]["context"]["limit"], "context_bytes_max", "{error}");
            });
        }
    });
    println!("peak {} MiB", peak_bytes(&server) >> 20);
    let kept = || server.resident_bytes().saturating_sub(before);
    println!("kept {} MiB at once", kept() >> 20);
    await_condition("it is given back", || kept() < 48 << 20);
    server.stop();
}

#[test]
fn definitions_take_six_bytes_for_each_of_theirs_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let start = || launch(directory.path()).start();
    let guard = vec!["ctx.a"; 1800].join("&&");
    let of_guards = |count: usize| {
        let one = format!(r#"{{"from":"a","event":"E","to":"a","guard":"{guard}"}}"#);
        let all = vec![one; count].join(",");
        format!(r#"{{"states":["a"],"initial":"a","transitions":[{all}]}}"#)
    };
    let of_transitions = |count: usize| {
        let one = r#"{"from":"a","event":"E","to":"a","guard":"ctx.total >= 100"}"#;
        let all = vec![one; count].join(",");
        format!(r#"{{"states":["a"],"initial":"a","transitions":[{all}]}}"#)
    };
    for (name, definition) in [("guards", of_guards(280)), ("transitions", of_transitions(50_000))]
    {
        let server = start();
        let before = server.resident_bytes();
        let mut wire = server.wire();
        let mut bytes = 0;
        for version in 1..=3 {
            put(&mut wire, name, version, &definition).unwrap();
            bytes += definition.len() as u64;
        }
        let each = |server: &ServerProcess| {
            server.resident_bytes().saturating_sub(before) as f64 / bytes as f64
        };
        println!("{name}: {:.1} bytes each of {bytes} at once", each(&server));
        await_condition("only so much is kept", || each(&server) < 6.0);
        drop(wire);
        server.stop();
        let server = start();
        println!("{name}: {:.1} bytes each after a start", each(&server));
        await_condition("nor more after a start", || each(&server) < 6.0);
        // Events are decided on guards that are not kept parsed.
        let mut wire = server.wire();
        let params = json!({"instance_id": name, "machine": name, "version": 1,
            "initial_ctx": {"a": true, "total": 100}});
        wire.call("CREATE_INSTANCE", params).unwrap();
        wire.call("APPLY_EVENT", json!({"instance_id": name, "event": "E"})).unwrap();
        server.stop();
        std::fs::remove_dir_all(directory.path()).unwrap();
    }
}

#[test]
fn definitions_are_bounded_all_together() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).set("limits.machine_bytes_max", "1000").start();
    let mut wire = server.wire();
    let error = (1..20).find_map(|version| put(&mut wire, "m", version, LOOP).err()).unwrap();
    assert_eq!(error["details"]["context"]["limit"], "machine_bytes_max", "{error}");
    // One that is there already takes nothing.
    assert_eq!(put(&mut wire, "m", 1, LOOP).unwrap()["created"], false);
    server.stop();
}

#[test]
fn watchers_that_stand_still_keep_little_each() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).set("storage.fsync_policy", "never").start();
    let mut wire = server.wire();
    put(&mut wire, "loop", 1, LOOP).unwrap();
    let params = json!({"instance_id": "i", "machine": "loop", "version": 1,
        "initial_ctx": {"x": "x".repeat(10_000)}});
    wire.call("CREATE_INSTANCE", params).unwrap();
    let apply = |wire: &mut Wire| {
        let params = json!({"instance_id": "i", "event": "E", "payload": {"n": 1}});
        (0..3000).for_each(|_| wire.send("e", "APPLY_EVENT", &params));
        (0..3000).for_each(|_| assert_eq!(wire.answer()["status"], "ok"));
    };
    apply(&mut wire);
    let before = server.resident_bytes();
    let mut still: Vec<Wire> = (0..100).map(|_| server.wire()).collect();
    still.iter_mut().for_each(|wire| drop(wire.call("WATCH_ALL", json!({})).unwrap()));
    apply(&mut wire);
    let each = || server.resident_bytes().saturating_sub(before) / 100;
    println!("{} KiB for each watcher that stands still", each() >> 10);
    await_condition("each keeps little", || each() < 600 << 10);
    drop((still, wire));
    server.stop();
}
