//! Against a server of 0.3.0: what it tells is shown, and nothing is made up for what it does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use common::Place;
use common::relay::older;
use rstmdb_testkit::server::TestServer;
use serde_json::{Value, json};

/// A place with orders on a server that talks as 0.3.0 does.
fn on_older() -> (TestServer, Place) {
    let server = TestServer::in_memory(|_| {});
    Place::on_server(server.address()).add_orders();
    let place = Place::on_server(older(server.address()));
    (server, place)
}

/// Whether a time before the first computer stands there.
fn invents_time(text: &str) -> bool {
    text.contains("1970")
}

#[test]
fn what_an_older_server_tells_is_shown_and_the_rest_left_out() {
    let (_server, place) = on_older();
    let info = place.json(&["info"]);
    assert_eq!(info["limits"], json!({"batch_operations_max": 100}));
    for unknown in [
        "instances",
        "machines",
        "latest_offset",
        "database_id",
        "writable",
        "health",
        "history_id",
    ] {
        assert_eq!(info.get(unknown), None, "{unknown} in {info}");
    }
    let shown = place.ok(&["info"]);
    assert!(shown.contains("batch_operations_max  100\n"), "{shown}");
    for unknown in ["instances", "writable", "health", "database ", "latest offset", "states_max"] {
        assert!(!shown.contains(unknown), "{unknown} in\n{shown}");
    }

    let instance = place.json(&["get-instance", "o-1"]);
    assert_eq!((instance.get("created_at"), instance.get("updated_at")), (None, None));
    let shown = place.ok(&["get-instance", "o-1"]);
    assert!(shown.contains("state     shipped\n") && !shown.contains("created "), "{shown}");
    assert!(!invents_time(&shown), "{shown}");

    let log = place.json(&["wal-read", "--limit", "2"]);
    assert!(
        log["records"].as_array().unwrap().iter().all(|record| record.get("timestamp").is_none())
    );
    let shown = place.ok(&["wal-read"]);
    assert!(shown.contains("│      1 ┆ -    ┆ put_machine"), "{shown}");
    let stats = place.json(&["wal-stats"]);
    assert_eq!((&stats["latest_offset"], stats.get("first_offset")), (&json!(7), None));
    assert!(!place.ok(&["wal-stats"]).contains("first offset"));
}

#[test]
fn lists_of_an_older_server_have_totals_and_stats_shows_what_there_is() {
    let (_server, place) = on_older();
    let page = place.run(&["list-instances", "--limit", "2"]);
    assert!(page.stdout.ends_with("2 of 3 instances\n"), "{}", page.stdout);
    assert_eq!(page.stderr, "2 of 3 shown; go on with --offset 2\n");
    let page = place.run(&["list-instances", "--limit", "2", "--offset", "2"]);
    assert!(page.stdout.contains("o-3") && page.stdout.ends_with("1 of 3 instances\n"));
    assert_eq!(page.stderr, "");

    let shown = place.ok(&["stats"]);
    for line in ["machine versions  1\n", "instances         3\n", "latest offset     7\n"] {
        assert!(shown.contains(line), "no {line:?} in\n{shown}");
    }
    assert!(!shown.contains("total") && !invents_time(&shown), "{shown}");
    let stats = place.json(&["stats"]);
    assert_eq!((&stats["info"]["instances"], stats.get("counts")), (&json!(3), None));
    assert_eq!(stats["wal"]["latest_offset"], 7);
    // A server of today tells more.
    let (server, _) = on_older();
    let here = Place::on_server(server.address());
    assert!(here.json(&["stats"])["counts"].is_array());
    assert!(here.ok(&["info"]).contains("states_max"));
}

#[test]
fn events_of_an_older_server_have_no_made_up_time() {
    let (_server, place) = on_older();
    let script = "watch-all --background\nwatch-all --background --machines nope\n\
                  a -i o-3 -e CANCEL\nping\n";
    let ran = place.run_with_input(&["shell", "--output", "json"], script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert_eq!((&lines[1]["event"], lines[1].get("timestamp")), (&json!("CANCEL"), None));
}
