//! Copies from a running server: of this version, and through a relay that hides from it what an
//! older one does not know.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::net::{SocketAddr, TcpListener};

use common::relay::{cutting, older};
use common::{ORDER, Place};
use insta::assert_snapshot;
use rstmdb_server::config::TokenHash;
use rstmdb_testkit::server::TestServer;
use serde_json::Value;

/// A server with two machines, one with two versions, and orders in all states.
fn source() -> (TestServer, Place) {
    let server = TestServer::in_memory(|_| {});
    let place = Place::on_server(server.address());
    place.add_orders();
    let other =
        ORDER.replace("\"guard\": \"payload.amount >= ctx.total\"", "\"guard\": \"ctx.ok\"");
    place.ok(&["put-machine", "-n", "order", "-v", "2", &other]);
    let door = r#"{"states":["open","shut"],"initial":"open","transitions":[
        {"from":"open","event":"SHUT","to":"shut"},{"from":"shut","event":"OPEN","to":"open"}]}"#;
    place.ok(&["put-machine", "-n", "door", "-v", "7", door]);
    place.ok(&["create-instance", "-m", "door", "-i", "früh \"1\"", "-c", r#"{"n":1.5e3}"#]);
    place.ok(&["apply-event", "-i", "früh \"1\"", "-e", "SHUT"]);
    place.ok(&["create-instance", "-m", "order", "-V", "2", "-i", "o-4"]);
    (server, place)
}

fn import(place: &Place, from: SocketAddr, more: &[&str]) -> (i32, Value) {
    let from = from.to_string();
    let arguments: Vec<&str> = ["import-peer", "--output", "json", "--from", &from]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let ran = place.run(&arguments);
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    (ran.code, report)
}

#[test]
fn everything_that_a_server_gives_away_is_copied() {
    let (server, there) = source();
    for from in [server.address(), older(server.address())] {
        let here = Place::new();
        let (code, report) = import(&here, from, &[]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(
            (&report["machines_stored"], &report["instances_created"]),
            (&3.into(), &5.into())
        );
        for command in [
            &["get-machine", "-n", "order", "-v", "1"] as &[&str],
            &["get-machine", "-n", "order", "-v", "2"],
            &["get-machine", "-n", "door", "-v", "7"],
            &["count-instances"],
        ] {
            assert_eq!(there.json(command), here.json(command), "{command:?}");
        }
        for id in ["o-1", "o-2", "o-3", "o-4", "früh \"1\""] {
            let [one, other] = [&there, &here].map(|place| place.json(&["get-instance", id]));
            for member in ["machine", "version", "state", "ctx"] {
                assert_eq!(one[member], other[member], "{id}");
            }
        }
        let history = here.json(&["history", "o-2"]);
        assert_eq!(history["events"][0]["to_state"], "paid");
        assert_eq!(history["events"].as_array().unwrap().len(), 1);
        // They live on.
        here.ok(&["apply-event", "-i", "o-2", "-e", "SHIP"]);
    }
}

#[test]
fn a_second_copy_goes_on_and_tells_what_differs() {
    let (server, there) = source();
    let from = older(server.address());
    let target = TestServer::in_memory(|_| {});
    let here = Place::on_server(target.address());
    let (code, report) = import(&here, from, &["-m", "order"]);
    assert_eq!((code, &report["instances_created"]), (0, &4.into()), "{report}");
    let (code, report) = import(&here, from, &[]);
    assert_eq!((code, &report["instances_created"]), (0, &1.into()), "{report}");
    assert_eq!(
        (&report["instances_existing"], &report["machines_existing"]),
        (&4.into(), &2.into())
    );

    there.ok(&["apply-event", "-i", "o-2", "-e", "SHIP"]);
    there.ok(&["apply-event", "-i", "o-3", "-e", "CANCEL"]);
    here.ok(&["apply-event", "-i", "o-3", "-e", "PAY", "-p", "{\"amount\":30}"]);
    let (code, report) = import(&here, from, &[]);
    assert_eq!((code, &report["instances_differing"]), (6, &2.into()), "{report}");
    assert_eq!(here.json(&["get-instance", "o-2"])["state"], "paid");

    let (code, report) = import(&here, from, &["--replace"]);
    assert_eq!((code, &report["instances_replaced"]), (6, &1.into()), "{report}");
    assert_eq!(here.json(&["get-instance", "o-2"])["state"], "shipped");
    assert_eq!(here.json(&["get-instance", "o-3"])["state"], "paid", "it was changed here");
    assert_eq!(report["instances_differing"], 1);
}

#[test]
fn what_can_not_be_copied_is_named_and_the_rest_goes_on() {
    let (server, _there) = source();
    let here = Place::new();
    let other = ORDER.replace("cancelled", "dropped");
    here.ok(&["put-machine", "-n", "order", "-v", "1", &other]);
    let from = older(server.address()).to_string();
    let ran = here.run(&["import-peer", "--from", &from]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let steady = |line: &str| match line.split_whitespace().next() {
        Some("time") => "time  …".to_owned(),
        Some("rate") => "rate  …".to_owned(),
        _ => line.replace(&from, "SOURCE").replace(env!("CARGO_PKG_VERSION"), "VERSION"),
    };
    let text: Vec<String> = ran.stdout.lines().map(steady).collect();
    assert_snapshot!(format!("{}\n--- stderr ---\n{}", text.join("\n"), ran.stderr));
    assert_eq!(here.json(&["get-instance", "o-4"])["state"], "created");
    assert_eq!(here.error(3, &["get-instance", "o-1"])["code"], "INSTANCE_NOT_FOUND");
}

#[test]
fn many_pages_are_copied_once() {
    let server = TestServer::in_memory(|_| {});
    let there = Place::on_server(server.address());
    let mut log = String::from("ticket,activity,at\n");
    for case in 0..6_000 {
        log.push_str(&format!("case-{case},{},2024-01-01\n", ["Open", "Close"][case % 2]));
    }
    let file = there.file("log.csv", log);
    let columns = ["--case", "ticket", "--activity", "activity", "--time", "at"];
    let arguments: Vec<&str> = ["import-log", &file].into_iter().chain(columns).collect();
    there.ok(&arguments);
    for from in [server.address(), older(server.address())] {
        let here = Place::new();
        let (code, report) = import(&here, from, &[]);
        assert_eq!((code, &report["instances_created"]), (0, &6_000.into()), "{report}");
        assert_eq!(here.json(&["count-instances"]), there.json(&["count-instances"]));
        let (code, report) = import(&here, from, &[]);
        assert_eq!((code, &report["instances_existing"]), (0, &6_000.into()), "{report}");
    }
}

#[test]
fn lost_answers_are_looked_up() {
    let server = TestServer::in_memory(|_| {});
    let there = Place::on_server(server.address());
    let mut log = String::from("ticket,activity,at\n");
    for case in 0..2_000 {
        log.push_str(&format!("case-{case},{},2024-01-01\n", ["Open", "Close"][case % 2]));
    }
    let file = there.file("log.csv", log);
    let columns = ["--case", "ticket", "--activity", "activity", "--time", "at"];
    let arguments: Vec<&str> = ["import-log", &file].into_iter().chain(columns).collect();
    there.ok(&arguments);

    let target = TestServer::in_memory(|_| {});
    // 500 instances are asked for, then created: the cuts fall into both.
    let cuts = (0..16).map(|number| 30_000 + number * 37_000 % 190_000).collect();
    let here = Place::on_server(cutting(target.address(), cuts));
    let from = server.address().to_string();
    let ran = here.run(&["import-peer", "--output", "json", "--from", &from]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let losses = ran.stderr.matches("looking for what was stored").count();
    assert!(losses > 0, "no answer was lost: choose other cuts");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["instances_created"], 2_000, "{report}");
    assert_eq!(here.json(&["count-instances"]), there.json(&["count-instances"]));
}

#[test]
fn tokens_and_places_are_checked() {
    let server = TestServer::in_memory(|config| {
        config.auth.required = true;
        config.auth.token_hashes = vec![TokenHash::of(None, "right")];
    });
    let address = server.address().to_string();
    let here = Place::new();
    let error = here.error(7, &["import-peer", "--from", &address]);
    assert_eq!(error["code"], "UNAUTHORIZED");
    here.error(7, &["import-peer", "--from", &address, "--from-token", "wrong"]);
    assert!(!here.path().exists(), "nothing was created for a copy that can't be read");
    here.ok(&["import-peer", "--from", &address, "--from-token", "right"]);
    here.ok(&["import-peer", "--from", &format!("rstmdb://right@{address}")]);

    let error = here.error(2, &["-s", &address, "import-peer", "--from", &address]);
    assert!(error["message"].as_str().unwrap().contains("are the same"), "{error}");
    let error = here.error(2, &["-s", &address, "import-peer", "--from", "a", "--to", "b"]);
    assert!(error["message"].as_str().unwrap().contains("--to is the same as --server"), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    here.error(8, &["import-peer", "--from", &nobody]);

    let target = TestServer::in_memory(|_| {});
    let to = target.address().to_string();
    let mut place = Place::new();
    place.environment.clear();
    place.ok(&["import-peer", "--from", &address, "--from-token", "right", "--to", &to]);
}
