//! A group of servers, looked after from the command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

#[cfg(target_os = "linux")]
use std::{io::Write, process::Stdio};

use common::Place;
use rstmdb_testkit::server::TestMember;
use rstmdb_testkit::wire::await_condition;
use serde_json::Value;

/// Three members, the first of which begins the group.
fn group(place: &Place) -> Vec<TestMember> {
    let directory = |number: usize| place.folder.path().join(format!("member-{number}"));
    let named = |number: usize| Some(format!("node{number}"));
    let first = TestMember::start(&directory(1), |config| {
        config.cluster.bootstrap = true;
        config.cluster.node_name = named(1);
    });
    let seed = first.peer_address().to_string();
    let mut members = vec![first];
    for number in 2..=3 {
        members.push(TestMember::start(&directory(number), |config| {
            config.cluster.seeds = vec![seed.parse().unwrap()];
            config.cluster.node_name = named(number);
        }));
    }
    let at = at(&members[0]);
    await_condition("all vote", || {
        let ran = at.run(&["cluster", "status", "--output", "json"]);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let members = told["members"].as_array().cloned().unwrap_or_default();
        ran.code == 0 && members.iter().filter(|of| of["role"] != "learner").count() == 3
    });
    members
}

fn at(member: &TestMember) -> Place {
    Place::on_server(member.address())
}

/// The cells of the first row of a table that has this in it.
fn cells<'a>(shown: &'a str, part: &str) -> Vec<&'a str> {
    let row = shown.lines().find(|line| line.contains('┆') && line.contains(part)).unwrap();
    row.trim_matches('│').split('┆').map(str::trim).collect()
}

/// What a shell says in a terminal, at its end; nothing where there is no program that makes one.
#[cfg(target_os = "linux")]
fn prompt(member: &TestMember) -> Option<String> {
    let line = format!("{} -s {} shell", env!("CARGO_BIN_EXE_rstmdb-cli"), member.address());
    // `script` of util-linux runs a command in a terminal.
    let shown = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("RSTMDB_HISTORY", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut shown) = shown else {
        assert!(std::env::var_os("CI").is_none(), "script, of util-linux, is missing");
        return None;
    };
    shown.stdin.as_mut().unwrap().write_all(b"quit\n").unwrap();
    Some(String::from_utf8(shown.wait_with_output().unwrap().stdout).unwrap())
}

/// Runs it again while it is refused for what passes.
fn done(place: &Place, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    let mut result = Value::Null;
    await_condition("it is done", || {
        let ran = place.run(&arguments);
        assert!([0, 6, 8].contains(&ran.code), "{arguments:?}: {} {}", ran.code, ran.stderr);
        result = serde_json::from_str(&ran.stdout).unwrap_or_default();
        ran.code == 0
    });
    result
}

#[test]
fn a_group_is_looked_after_at_any_member() {
    let place = Place::new();
    let mut members = group(&place);
    let last = at(&members[2]);
    let lines = last.ok(&["cluster", "status", "--wide"]);
    for part in ["group   rstmdb\n", "quorum  yes, 3 of 3 voters answer\n", "level   3\n"] {
        assert!(lines.contains(part), "{lines}");
    }
    assert_eq!(
        cells(&lines, "clients"),
        ["node", "name", "role", "clients", "zone", "lag", "term", "levels", "digest", "state"]
    );
    for (number, member) in members.iter().enumerate() {
        let name = format!("node{}", number + 1);
        let row = cells(&lines, &name);
        let client = member.address().to_string();
        assert!(row[3] == client || row[3] == "SERVER", "{lines}");
        assert_eq!((row[7], row[9]), ("1-3", "ok"), "{lines}");
    }

    let verified = done(&last, &["cluster", "verify"]);
    assert_eq!((&verified["ok"], verified["members"].as_array().unwrap().len()), (&true.into(), 3));
    assert_eq!(done(&last, &["cluster", "transfer", "2"])["leader"], 2);
    #[cfg(target_os = "linux")]
    for (place, member) in members.iter().enumerate() {
        let leader = match place {
            1 => format!("rstmdb {} (leader)> ", member.address()),
            _ => format!("rstmdb {} (leader {})> ", member.address(), members[1].address()),
        };
        if let Some(shown) = prompt(member) {
            assert!(shown.contains(&leader), "{shown}");
        }
    }
    let shown = last.ok(&["cluster", "upgrade"]);
    assert!(shown.contains("3: nothing to raise"), "{shown}");
    let drained = done(&last, &["cluster", "drain", "2"]);
    assert_eq!(drained["is_drained"], true, "{drained}");
    let lines = last.ok(&["cluster", "status", "--wide"]);
    assert_eq!(cells(&lines, "node2")[9], "drained", "{lines}");
    assert_eq!(done(&last, &["cluster", "drain", "2", "--undo"])["is_drained"], false);

    // Each mistake has its exit code and a way out.
    let unknown = last.error(3, &["cluster", "remove", "9"]);
    assert_eq!(unknown["message"], "the group has no node 9; it has 1, 2, 3");
    let even = last.error(2, &["cluster", "remove", "3"]);
    assert!(even["message"].as_str().unwrap().contains("--force"), "{even}");
    let begun = last.error(6, &["cluster", "init"]);
    assert_eq!(begun.get("hint"), None, "{begun}");

    // Most are gone.
    members.truncate(1);
    let first = at(&members[0]);
    let mut ran = None;
    await_condition("there is no quorum", || {
        let now = first.run(&["cluster", "status"]);
        let code = now.code;
        ran = Some(now);
        code != 0
    });
    let ran = ran.unwrap();
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.stdout.contains("quorum  no, 1 of 3 voters answer"), "{ran:?}");
    assert!(ran.stdout.contains("no answer") && ran.stdout.contains("to look at:"), "{ran:?}");
}

#[test]
fn who_belongs_to_no_group_says_so() {
    let place = Place::with_orders();
    let shown = place.ok(&["cluster", "status"]);
    assert_eq!(shown, "this database belongs to no group: it is standalone\n");
    let refused = place.error(2, &["cluster", "verify"]);
    assert_eq!(refused["reason"], "unsupported");
}
