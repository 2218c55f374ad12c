//! Watches, and output into a pipe that closes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::Place;
use rstmdb::{CompactRequest, CreateInstanceRequest, WalStatsRequest};
use rstmdb_engine::{Engine, Location, Options, Retention};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn replay_prints_the_log_and_ends() {
    let place = Place::with_orders();
    let all = lines(&place.ok(&["watch-all", "--replay"]));
    let names: Vec<_> = all.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["PAY", "PAY", "SHIP"]);
    assert_eq!(all[0]["ctx"]["amount"], 20);

    let filtered = place.ok(&["watch", "--until-idle", "--to-states", "paid", "--no-ctx"]);
    let filtered = lines(&filtered);
    assert_eq!(filtered.len(), 2);
    assert!(filtered.iter().all(|event| event.get("ctx").is_none()));

    let offset = all[1]["wal_offset"].to_string();
    let rest = place.ok(&["watch-all", "--replay", "--from-offset", &offset]);
    assert_eq!(lines(&rest), all[1..]);

    let events = ["--events", "SHIP,CANCEL", "--machines", "order", "--from-states", "paid"];
    let arguments: Vec<&str> = ["watch-all", "--replay"].into_iter().chain(events).collect();
    assert_eq!(lines(&place.ok(&arguments)).len(), 1);
    assert_eq!(place.ok(&["watch-all", "--replay", "--machines", "nope"]), "");
}

#[test]
fn a_replay_from_an_offset_that_is_gone_says_so_also_when_nothing_came_after() {
    let place = Place::with_orders();
    {
        // A log that begins behind the orders.
        let options = Options {
            retention: Retention::Bytes(0),
            segment_bytes_max: 4096,
            free_bytes_min: 0,
            ..Options::default()
        };
        let engine = Engine::open(Location::directory(place.path()), options).unwrap();
        for number in 0..100 {
            let id = format!("later-{number}");
            let create = CreateInstanceRequest::new(id, "order", 1);
            engine.create_instance(create).wait().unwrap();
        }
        engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
        assert!(engine.wal_stats(WalStatsRequest {}).wait().unwrap().first_offset > Some(10));
        engine.close().unwrap();
    }
    for arguments in [
        &["watch-all", "--replay", "--from-offset", "9"][..],
        &["watch-all", "--replay", "--from-offset", "9", "--machines", "nope"],
        // These have not changed since, and one is gone.
        &["watch-instance", "o-1", "--replay", "--from-offset", "9"],
        &["watch-instance", "o-1", "--replay", "--from-offset", "1"],
    ] {
        let error = place.error(3, arguments);
        assert_eq!(error["reason"], "offset_compacted", "{arguments:?}: {error}");
        assert!(error["context"]["first_offset"].as_u64().unwrap() > 10, "{error}");
    }
    let error = place.error(3, &["watch-instance", "o-1", "--replay", "--from-offset", "5000"]);
    assert_eq!(error["reason"], "offset_ahead", "{error}");
    assert_eq!(place.ok(&["watch-instance", "o-1", "--replay"]), "");
}

#[test]
fn lifecycle_is_reported_on_request() {
    let place = Place::with_orders();
    place.ok(&["delete-instance", "o-3"]);
    let all = lines(&place.ok(&["watch-all", "--replay", "--lifecycle"]));
    let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["created", "created", "created", "applied", "applied", "applied", "deleted"]
    );
    let one = lines(&place.ok(&["watch-instance", "o-1", "--replay", "--lifecycle"]));
    assert_eq!(one.len(), 3);
    assert!(one.iter().all(|event| event["instance_id"] == "o-1"));
    assert_eq!(place.error(3, &["watch-instance", "o-9"])["code"], "INSTANCE_NOT_FOUND");
}

#[test]
fn a_live_watch_ends_cleanly_at_ctrl_c() {
    let place = Place::with_orders();
    let mut command = place.command(&["watch-all", "--from-offset", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..3 {
        output.read_line(&mut line).unwrap();
    }
    assert_eq!(line.lines().count(), 3);
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    place.ok(&["ping"]);
}

#[test]
fn a_closed_pipe_ends_a_watch_without_a_word() {
    let place = Place::with_orders();
    let mut command = place.command(&["watch-all", "--replay"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = place.ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

fn interrupt(process: u32) {
    let status = std::process::Command::new("kill").args(["-INT", &process.to_string()]).status();
    assert!(status.unwrap().success());
}
