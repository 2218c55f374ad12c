//! `verify` and `repair` on healthy and damaged directories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::path::PathBuf;

use common::Place;
use insta::assert_snapshot;
use serde_json::Value;

fn segment(place: &Place) -> PathBuf {
    let report = place.json(&["verify"]);
    place.path().join(report["segments"][0]["file"].as_str().unwrap())
}

/// Turns one bit in the middle of the log's bytes.
fn damage(place: &Place) {
    let report = place.json(&["verify"]);
    let path = segment(place);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = report["segments"][0]["bytes"].as_u64().unwrap() as usize / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_healthy_database_passes() {
    let place = Place::with_orders();
    place.ok(&["compact", "--force"]);
    let report = place.json(&["verify"]);
    assert_eq!((&report["ok"], &report["last_offset"]), (&true.into(), &8.into()));
    let shown = place.ok(&["verify"]);
    assert!(shown.contains("healthy            yes\n"), "{shown}");
    assert!(shown.contains("│ checkpoint"), "{shown}");
    assert_eq!(place.error(3, &["--path", "typo", "verify"])["code"], "NOT_FOUND");
}

#[test]
fn damage_is_found_and_cut_off() {
    let place = Place::with_orders();
    damage(&place);
    let error = place.error(9, &["list-instances"]);
    assert_eq!(error["kind"], "corrupt");

    let ran = place.run(&["verify", "--output", "json"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(!report["problems"].as_array().unwrap().is_empty());
    let last = report["last_offset"].to_string();
    let hint = format!("repair --to {last}");
    assert!(ran.stderr.contains(&hint), "{}", ran.stderr);

    let plan = place.json(&["repair", "--to", &last]);
    assert_eq!(plan["done"], false);
    assert_eq!(place.run(&["verify"]).code, 9, "a plan changes nothing");
    let plan = place.json(&["repair", "--to", &last, "--yes"]);
    assert_eq!(plan["done"], true);
    let names = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().any(|name| name.to_str().unwrap().starts_with("repair-")));
    assert_eq!(place.json(&["verify"])["ok"], true);
    assert_eq!(place.json(&["wal-stats"])["latest_offset"].to_string(), last);
}

#[test]
fn a_plan_is_a_screen() {
    let place = Place::with_orders();
    let ran = place.run(&["repair", "--to", "5"]);
    assert_eq!(ran.code, 0);
    assert_snapshot!(format!("{}\n--- stderr ---\n{}", ran.stdout, ran.stderr));
    let error = place.error(2, &["repair", "--to", "99"]);
    assert!(error["message"].as_str().unwrap().contains("whole only up to offset 7"), "{error}");
}
