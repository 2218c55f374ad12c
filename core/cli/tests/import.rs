//! Imports of recorded logs: what the database holds is what a plain loop over the file counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use common::{Place, real_log};
use insta::assert_snapshot;
use serde_json::Value;

/// What a plain loop over a file finds.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    events: u64,
    cases: u64,
    labels: usize,
    counts: BTreeMap<String, u64>,
    last: BTreeMap<String, String>,
}

fn expected(path: &str, case: &str, activity: &[&str]) -> Expected {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (case, activity) = (column(case), activity.iter().map(|name| column(name)));
    let activity: Vec<usize> = activity.collect();
    let mut found = Expected::default();
    let mut labels = BTreeSet::new();
    for record in reader.records() {
        let record = record.unwrap();
        let parts: Vec<&str> = activity.iter().map(|column| &record[*column]).collect();
        let label = parts.join(" / ");
        labels.insert(label.clone());
        found.last.insert(record[case].to_owned(), label);
        found.events += 1;
    }
    for label in found.last.values() {
        *found.counts.entry(label.clone()).or_default() += 1;
    }
    found.cases = found.last.len() as u64;
    found.labels = labels.len();
    found
}

fn counts(list: &Value) -> BTreeMap<String, u64> {
    let entries = list.as_array().unwrap().iter();
    entries
        .map(|entry| {
            (entry["state"].as_str().unwrap().to_owned(), entry["count"].as_u64().unwrap())
        })
        .collect()
}

/// A log of the shape of the real ones: quoted fields, empty fields, loops, cases side by side.
fn generated(cases: u32, seed: u64) -> String {
    const STATUS: [(&str, &str); 6] = [
        ("Queued", "Awaiting Assignment"),
        ("Accepted", "In Progress"),
        ("Accepted", "Wait - User"),
        ("Accepted", "Assigned"),
        ("Completed", "Resolved"),
        ("Completed", "Closed"),
    ];
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 33) % below
    };
    let mut text = String::from("ticket,activity,changed_at,note,team,status\n");
    let mut left: Vec<(u32, u64)> = (0..cases).map(|case| (case, 1 + random(12))).collect();
    let mut minute = 0u64;
    while !left.is_empty() {
        let index = random(left.len() as u64) as usize;
        let (case, steps) = left[index];
        let (activity, status) = STATUS[random(6) as usize];
        minute += 1;
        let (day, hour, min) = (1 + minute / 1440 % 28, minute / 60 % 24, minute % 60);
        let note = ["", "\"a, b\"", "\"says \"\"no\"\"\"", "\"two\nlines\"", "plain"];
        let note = note[random(5) as usize];
        let team = ["", "V30", "G97"][random(3) as usize];
        text.push_str(&format!(
            "case {case},{activity},2012-03-{day:02}T{hour:02}:{min:02}:00+01:00,{note},{team},{status}\n"
        ));
        if steps == 1 {
            left.swap_remove(index);
        } else {
            left[index].1 -= 1;
        }
    }
    text
}

const COLUMNS: [&str; 6] =
    ["--case", "ticket", "--activity", "activity,status", "--time", "changed_at"];

fn import<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["import-log", file].into_iter().chain(COLUMNS).chain(more.iter().copied()).collect()
}

/// Imports a file and compares the database with what a plain loop counts.
fn check(place: &Place, arguments: &[&str], machine: &str, found: &Expected) -> Value {
    let report = place.json(arguments);
    assert_eq!(report["events_applied"], found.events, "{report}");
    assert_eq!(report["instances_created"], found.cases);
    assert_eq!(report["events_refused"], 0);
    assert_eq!(report["rows_malformed"], 0);
    assert_eq!(counts(&report["counts"]), found.counts);
    assert_eq!(counts(&place.json(&["count-instances", "-m", machine])["counts"]), found.counts);
    check_states(place, machine, found);
    report
}

/// Every instance is in the state of its case's last row.
fn check_states(place: &Place, machine: &str, found: &Expected) {
    let mut states = BTreeMap::new();
    let mut cursor = None::<String>;
    loop {
        let mut arguments = vec!["list-instances", "-m", machine, "--limit", "5000"];
        arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
        let page = place.json(&arguments);
        for item in page["instances"].as_array().unwrap() {
            let text = |member: &str| item[member].as_str().unwrap().to_owned();
            states.insert(text("id"), text("state"));
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(states, found.last);
}

#[test]
fn a_generated_log_ends_where_a_plain_loop_ends() {
    let place = Place::new();
    let file = place.file("tickets.csv", generated(300, 7));
    let found = expected(&file, "ticket", &["activity", "status"]);
    let report = check(&place, &import(&file, &[]), "tickets", &found);
    assert_eq!(report["definition"], "learned");
    let definition = &place.json(&["get-machine", "-n", "tickets"])["definition"];
    assert_eq!(definition["states"].as_array().unwrap().len(), found.labels + 1);

    // Once more changes nothing, whatever else the log holds by now.
    let other =
        r#"{"states":["a"],"initial":"a","transitions":[{"from":"a","event":"E","to":"a"}]}"#;
    place.ok(&["put-machine", "-n", "other", "-v", "1", other]);
    place.ok(&["create-instance", "-m", "other", "-i", "x"]);
    let before = place.json(&["wal-stats"])["latest_offset"].clone();
    let again = place.json(&import(&file, &[]));
    assert_eq!(again["events_applied"], 0);
    assert_eq!(again["events_existing"], found.events);
    assert_eq!(again["instances_existing"], found.cases);
    assert_eq!(counts(&again["counts"]), found.counts);
    assert_eq!(place.json(&["wal-stats"])["latest_offset"], before);
}

#[test]
fn the_real_incidents_end_where_a_plain_loop_ends() {
    let Some(file) = real_log("incidents_bpic2013.csv") else { return };
    let found = expected(&file, "case_id", &["activity", "status"]);
    assert_eq!((found.events, found.cases, found.labels), (65_533, 7_554, 13));
    let place = Place::new();
    let columns = ["--case", "case_id", "--activity", "activity,status", "--time", "timestamp"];
    let arguments: Vec<&str> =
        ["import-log", &file, "--machine", "incident"].into_iter().chain(columns).collect();
    check(&place, &arguments, "incident", &found);
    let again = place.json(&arguments);
    assert_eq!(again["events_existing"], found.events);
    assert_eq!(again["events_applied"], 0);
}

#[test]
fn the_real_receipts_end_where_a_plain_loop_ends() {
    let Some(file) = real_log("receipt_wabo.csv") else { return };
    let found = expected(&file, "case_id", &["activity"]);
    assert_eq!((found.events, found.cases, found.labels), (8_577, 1_434, 27));
    let place = Place::new();
    let columns = ["--case", "case_id", "--activity", "activity", "--time", "timestamp"];
    let arguments: Vec<&str> = ["import-log", &file].into_iter().chain(columns).collect();
    check(&place, &arguments, "receipt_wabo", &found);
}

#[test]
fn payloads_are_the_other_columns_as_strings() {
    let place = Place::new();
    let text =
        "ticket,activity,changed_at,note,empty,status\nt-1,Open,2024-01-02 03:04:05,5,,New\n";
    let file = place.file("tickets.csv", text);
    place.ok(&import(&file, &[]));
    let instance = place.json(&["get-instance", "t-1"]);
    assert_eq!(instance["state"], "Open / New");
    assert_eq!(instance["ctx"].to_string(), r#"{"changed_at":"2024-01-02 03:04:05","note":"5"}"#);
    assert_eq!(instance["last_event_id"], "tickets.csv:2");
    let entry = &place.json(&["wal-read"])["records"][2]["entry"];
    let key = entry["idempotency_key"].as_str().unwrap();
    assert!(key.starts_with("row:"), "{key}");
}

#[test]
fn the_summary_is_a_screen() {
    let place = Place::new();
    let file = place.file("tickets.csv", generated(40, 3));
    let ran = place.run(&import(&file, &[]));
    let steady = |line: &str| match line.split_whitespace().next() {
        Some("time") => "time        0.00 s".to_owned(),
        Some("rate") => "rate        0 events/s".to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = ran.stderr.lines().chain(ran.stdout.lines()).map(steady).collect();
    assert_snapshot!(text.join("\n"));
}

#[test]
fn a_growing_file_is_imported_piece_by_piece() {
    let place = Place::new();
    let whole = generated(200, 11);
    let definition = {
        let other = Place::new();
        let file = other.file("tickets.csv", &whole);
        other.ok(&import(&file, &[]));
        other.json(&["get-machine", "-n", "tickets"])["definition"].to_string()
    };
    let definition = place.file("definition.json", definition);
    let file = place.file("tickets.csv", &whole);
    let found = expected(&file, "ticket", &["activity", "status"]);
    let lines: Vec<&str> = whole.lines().collect();
    for part in [3, 2, 1] {
        // A piece may end within a row; the rest of that row comes with the next one.
        let piece = lines[..lines.len() / part].join("\n");
        std::fs::write(&file, piece + "\n").unwrap();
        place.ok(&import(&file, &["--definition", &definition]));
    }
    check_states(&place, "tickets", &found);
    let report = place.json(&import(&file, &["--definition", &definition]));
    assert_eq!(report["events_existing"], found.events);
}

#[test]
fn ctrl_c_keeps_what_is_done_and_a_second_run_finishes() {
    let place = Place::new();
    let whole = generated(3_000, 5);
    let learned = {
        let other = Place::new();
        let file = other.file("tickets.csv", &whole);
        other.ok(&import(&file, &[]));
        other.json(&["get-machine", "-n", "tickets"])["definition"].to_string()
    };
    let definition = place.file("definition.json", learned);

    // A pipe in the file's place, so that the import is surely not done when Ctrl-C comes.
    let file = place.folder.path().join("tickets.csv").to_str().unwrap().to_owned();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let arguments = import(&file, &["--definition", &definition]);
    let mut command = place.command(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (first, rest) = whole.split_at(whole[..200_000].rfind("\ncase ").unwrap() + 1);
    let mut pipe = std::fs::File::create(&file).unwrap();
    pipe.write_all(first.as_bytes()).unwrap();
    let kill = ["-INT", &child.id().to_string()];
    assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
    // Rows for ever: the import stops at Ctrl-C, not at the end of the pipe.
    while pipe.write_all(b"other,Queued,2012-03-01,,,Awaiting Assignment\n").is_ok() {}
    let ran = place.ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(ran.stderr.contains("rows are done and stored; import"), "{}", ran.stderr);
    assert!(!rest.is_empty());

    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &whole).unwrap();
    if place.run(&["get-instance", "other"]).code == 0 {
        place.ok(&["delete-instance", "other"]);
    }
    let found = expected(&file, "ticket", &["activity", "status"]);
    let report = place.json(&import(&file, &["--definition", &definition]));
    let number = |member: &str| report[member].as_u64().unwrap();
    assert_eq!(number("events_applied") + number("events_existing"), found.events);
    assert!(number("events_existing") > 0, "{report}");
    assert_eq!(counts(&report["counts"]), found.counts);
    check_states(&place, "tickets", &found);
}

/// Closed tickets stay closed.
const STRICT: &str = r#"{
    "states": ["new", "Open", "Closed"], "initial": "new", "final": ["Closed"],
    "transitions": [
        {"from": ["new", "Open"], "event": "Open", "to": "Open"},
        {"from": "Open", "event": "Closed", "to": "Closed", "guard": "payload.by != null"}
    ]
}"#;

const SMALL: &str = "ticket,activity,changed_at,by\n\
    1,Open,2024-01-01,ann\n\
    1,Closed,2024-01-02,\n\
    1,Closed,2024-01-03,ann\n\
    1,Open,2024-01-04,ann\n\
    2,Reopened,2024-01-05,ann\n";

fn small<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let columns = ["--case", "ticket", "--activity", "activity", "--time", "changed_at"];
    ["import-log", file].into_iter().chain(columns).chain(more.iter().copied()).collect()
}

#[test]
fn a_given_definition_is_enforced_row_by_row() {
    let place = Place::new();
    let file = place.file("small.csv", SMALL);
    let definition = place.file("definition.json", STRICT);
    let arguments = small(&file, &["--definition", &definition, "--output", "json"]);
    let ran = place.run(&arguments);
    assert_eq!(ran.code, 0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["definition"], "given");
    assert_eq!((&report["events_applied"], &report["events_refused"]), (&2.into(), &3.into()));
    let refused: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> = refused
        .iter()
        .map(|row| (row["refused"]["line"].as_u64(), row["refused"]["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        codes,
        [
            (Some(3), "GUARD_FAILED"),
            (Some(5), "INVALID_TRANSITION"),
            (Some(6), "INVALID_TRANSITION")
        ]
    );
    assert_eq!(refused[1]["refused"]["reason"], "instance_completed");

    // Line 3 would pass now if it were tried again in the wrong place; it is not.
    let again = place.run(&small(&file, &["--definition", &definition]));
    let lines: Vec<&str> =
        again.stderr.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(
        lines,
        [" line 3, case 1, Closed", " line 5, case 1, Open", " line 6, case 2, Reopened"]
    );
    let again = place.json(&small(&file, &["--definition", &definition]));
    assert_eq!((&again["events_existing"], &again["events_refused"]), (&2.into(), &3.into()));
    assert_eq!(again["counts"], report["counts"]);
}

const MALFORMED: &str = "ticket,activity,changed_at,by\n\
    1,Open,2024-01-01,ann\n\
    1,Open\n\
    2,Open,soon,ann\n\
    3,\"Open,2024-01-01,ann\n\
    4,Open,2024-01-01,\"a\"b\n\
    ,Open,2024-01-01,ann\n\
    5,,2024-01-01,ann\n\
    6,Open,2024-01-01,ann\n";

#[test]
fn malformed_rows_are_named_counted_and_passed_over() {
    let place = Place::new();
    let file = place.file("bad.csv", MALFORMED);
    let ran = place.run(&small(&file, &[]));
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran.stderr, @r#"
    learned 1 activities and 1 steps between them
    malformed: line 3 has 2 columns, the header has 4
    malformed: line 4 has a time that is none: changed_at is "soon"
    malformed: line 5 has text after a closing quote
    malformed: line 6 has text after a closing quote
    malformed: line 7 has no case (ticket is empty)
    malformed: line 8 has no activity (activity is empty)
    "#);
    let report = place.json(&small(&file, &[]));
    assert_eq!(report["rows_malformed"], 6);
    assert_eq!(report["events_existing"], 2);
}

#[test]
fn strict_stops_at_the_first_malformed_row() {
    let place = Place::new();
    let file = place.file("bad.csv", MALFORMED);
    let error = place.error(2, &small(&file, &["--strict"]));
    assert_eq!(error["context"]["line"], 3);
    assert!(!place.path().exists(), "learning failed before anything was stored");

    let definition = place.file("definition.json", STRICT);
    let arguments = small(&file, &["--strict", "--definition", &definition]);
    let error = place.error(2, &arguments);
    assert_eq!(error["context"]["line"], 3);
    assert_eq!(place.json(&["get-instance", "1"])["state"], "Open");
}

#[test]
fn another_definition_becomes_the_next_version() {
    let place = Place::new();
    let file = place.file("small.csv", SMALL);
    let definition = place.file("definition.json", STRICT);
    place.ok(&small(&file, &["--definition", &definition]));
    let ran = place.run(&small(&file, &["--output", "json"]));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["version"], 2);
    assert!(ran.stderr.contains("this one is version 2"), "{}", ran.stderr);
    let report = place.json(&small(&file, &["--definition", &definition]));
    assert_eq!((&report["version"], &report["definition_created"]), (&1.into(), &false.into()));
    let arguments = small(&file, &["--definition", &definition, "--version", "2"]);
    assert_eq!(place.error(4, &arguments)["code"], "MACHINE_VERSION_EXISTS");
}

#[test]
fn what_can_not_be_imported_is_said_before_anything_is_stored() {
    let place = Place::new();
    let file = place.file("small.csv", SMALL);
    let columns = ["--case", "nope", "--activity", "activity", "--time", "changed_at"];
    let arguments: Vec<&str> = ["import-log", &file].into_iter().chain(columns).collect();
    let error = place.error(2, &arguments);
    assert!(error["message"].as_str().unwrap().contains("it has ticket, activity"), "{error}");
    assert_eq!(place.error(3, &small("nope.csv", &[]))["context"]["file"], "nope.csv");
    let empty = place.file("empty.csv", "");
    place.error(2, &small(&empty, &[]));
    let star = place.file("star.csv", "ticket,activity,changed_at\n1,*,2024-01-01\n");
    assert_eq!(place.error(2, &small(&star, &[]))["reason"], "invalid_definition");
    let folder = place.folder.path().to_str().unwrap();
    place.error(2, &small(folder, &[]));
    assert!(!place.path().exists());

    let header = place.file("header.csv", "ticket,activity,changed_at\n");
    let error = place.error(2, &small(&header, &[]));
    assert!(error["message"].as_str().unwrap().contains("no row behind the header"), "{error}");
    assert!(!place.path().exists());
}

#[test]
fn a_case_that_belongs_to_another_machine_is_refused() {
    let place = Place::with_orders();
    let file = place.file("small.csv", SMALL.replace("\n1,", "\no-1,"));
    let ran = place.run(&small(&file, &["--output", "json"]));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["events_applied"], &report["events_refused"]), (&1.into(), &4.into()));
    assert!(ran.stderr.contains("INSTANCE_EXISTS"), "{}", ran.stderr);
    assert_eq!(place.json(&["get-instance", "o-1"])["state"], "shipped");
}

#[test]
fn a_label_called_start_gets_another_initial_state() {
    let place = Place::new();
    let file = place.file("small.csv", SMALL.replace("Open", "start"));
    place.ok(&small(&file, &[]));
    let definition = &place.json(&["get-machine", "-n", "small"])["definition"];
    assert_eq!(definition["initial"], "(start)");
}
