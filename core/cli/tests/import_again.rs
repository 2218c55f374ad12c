//! Imports of the same rows from other files: a row is known by what it says, not by where it stands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::collections::BTreeSet;

use common::{Place, real_log};
use serde_json::Value;

const HEADER: &str = "ticket,activity,at,by\n";

fn import<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let columns = ["--case", "ticket", "--activity", "activity", "--time", "at"];
    ["import-log", file, "--machine", "tickets"]
        .into_iter()
        .chain(columns)
        .chain(more.iter().copied())
        .collect()
}

/// Applied, there before, and refused.
fn figures(report: &Value) -> [u64; 3] {
    ["events_applied", "events_existing", "events_refused"]
        .map(|member| report[member].as_u64().unwrap())
}

/// Imports a file and says what became of its rows.
#[track_caller]
fn imported(place: &Place, file: &str, more: &[&str]) -> [u64; 3] {
    figures(&place.json(&import(file, more)))
}

/// A machine that takes all activities in any order.
fn any_order(place: &Place) -> String {
    let states = ["new", "Open", "Wait", "Close"];
    let transitions: Vec<Value> = ["Open", "Wait", "Close"]
        .iter()
        .map(|event| serde_json::json!({"from": states, "event": event, "to": event}))
        .collect();
    let definition =
        serde_json::json!({"states": states, "initial": "new", "transitions": transitions});
    place.file("any.json", definition.to_string())
}

fn history(place: &Place, id: &str) -> Vec<String> {
    let events = place.json(&["history", id, "--limit", "100"])["events"].clone();
    let text = |event: &Value| event["event"].as_str().unwrap().to_owned();
    let events = events.as_array().unwrap().iter().rev();
    events.filter(|event| event["event"].is_string()).map(text).collect()
}

const JANUARY: &str = "1,Open,2024-01-01,ann\n2,Open,2024-01-01,bob\n1,Wait,2024-01-31,ann\n";
const FEBRUARY: &str = "1,Close,2024-02-01,ann\n3,Open,2024-02-01,eve\n2,Close,2024-02-02,bob\n";

#[test]
fn parts_of_one_name_are_all_imported_and_the_whole_is_nothing_new() {
    let place = Place::new();
    let definition = any_order(&place);
    let given = ["--definition", definition.as_str()];
    for folder in ["jan", "feb"] {
        std::fs::create_dir(place.folder.path().join(folder)).unwrap();
    }
    let january = place.file("jan/log.csv", [HEADER, JANUARY].concat());
    let february = place.file("feb/log.csv", [HEADER, FEBRUARY].concat());
    assert_eq!(imported(&place, &january, &given), [3, 0, 0]);
    assert_eq!(imported(&place, &february, &given), [3, 0, 0]);
    assert_eq!(history(&place, "1"), ["Open", "Wait", "Close"]);
    for (file, known) in [(&january, 3), (&february, 3)] {
        assert_eq!(imported(&place, file, &given), [0, known, 0]);
    }
    let whole = place.file("whole.csv", [HEADER, JANUARY, FEBRUARY].concat());
    assert_eq!(imported(&place, &whole, &given), [0, 6, 0]);

    let other = Place::new();
    assert_eq!(imported(&other, &whole, &given), [6, 0, 0]);
    for part in [&february, &january] {
        assert_eq!(imported(&other, part, &given), [0, 3, 0]);
    }
}

#[test]
fn a_file_that_was_renamed_or_exported_anew_is_known() {
    let place = Place::new();
    let file = place.file("log.csv", [HEADER, JANUARY, FEBRUARY].concat());
    assert_eq!(imported(&place, &file, &[]), [6, 0, 0]);
    let renamed = place.file("renamed.csv", [HEADER, JANUARY, FEBRUARY].concat());
    assert_eq!(imported(&place, &renamed, &[]), [0, 6, 0]);
    // Other columns first, cases one after another, everything quoted, times in another zone.
    let anew = "\u{feff}by;at;activity;ticket\n\
        \"bob\";\"2024-01-01T02:00:00+02:00\";\"Open\";\"2\"\n\
        \"bob\";\"2024-02-02T02:00:00+02:00\";\"Close\";\"2\"\n\
        \"ann\";\"2024-01-01T00:00:00Z\";\"Open\";\"1\"\n\
        \"ann\";\"2024-01-31\";\"Wait\";\"1\"\n\
        \"ann\";\"2024-02-01\";\"Close\";\"1\"\n\
        \"eve\";\"2024-02-01\";\"Open\";\"3\"\n\
        \"eve\";\"2024-02-05\";\"Close\";\"3\"\n";
    let anew = place.file("anew.csv", anew);
    assert_eq!(imported(&place, &anew, &["--separator", ";"]), [1, 6, 0]);
}

#[test]
fn rows_that_say_the_same_are_counted() {
    let place = Place::new();
    let row = "1,Open,2024-01-01,ann\n";
    let file = place.file("log.csv", [HEADER, row, row].concat());
    let definition = any_order(&place);
    let given = ["--definition", definition.as_str()];
    assert_eq!(imported(&place, &file, &given), [2, 0, 0]);
    let grown = place.file("log.csv", [HEADER, row, row, row].concat());
    assert_eq!(imported(&place, &grown, &given), [1, 2, 0]);
}

#[test]
fn a_row_that_was_changed_is_reported_and_not_applied() {
    let rows = ["1,Open,2024-01-01,ann\n", "1,Wait,2024-01-02,ann\n", "2,Open,2024-01-02,bob\n"];
    for (changed, line) in [(0, 2), (1, 3), (2, 4)] {
        for name in ["log.csv", "other.csv"] {
            let place = Place::new();
            let definition = any_order(&place);
            let given = ["--definition", definition.as_str()];
            let file = place.file("log.csv", [HEADER, &rows.concat()].concat());
            assert_eq!(imported(&place, &file, &given), [3, 0, 0]);
            let mut edited: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            edited[changed] = edited[changed].replace("ann", "zoe").replace("bob", "zoe");
            let file = place.file(name, [HEADER, &edited.concat()].concat());
            let ran = place.run(&import(&file, &given));
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let expected = format!("refused: line {line}, case ");
            assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
            assert!(ran.stderr.contains("in its place that says something else"), "{}", ran.stderr);
            assert_eq!(imported(&place, &file, &given), [0, 2, 1], "{name}");
            let error = place.run(&import(&file, &[&given as &[&str], &["--strict"]].concat()));
            assert_eq!(error.code, 6, "{}", error.stderr);
        }
    }
}

#[test]
fn the_real_incidents_in_two_parts_are_the_same_incidents() {
    let Some(file) = real_log("incidents_bpic2013.csv") else { return };
    let text = std::fs::read_to_string(&file).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let at = |row: &&str| row.split(',').nth(2).unwrap() < "2012-05-01";
    let (before, behind): (Vec<&str>, Vec<&str>) = rows.lines().partition(at);
    assert!(before.len() > 1000 && behind.len() > 1000);
    let place = Place::new();
    let columns = ["--case", "case_id", "--activity", "activity,status", "--time", "timestamp"];
    let definition = {
        let other = Place::new();
        let arguments: Vec<&str> =
            ["import-log", &file, "--machine", "m"].into_iter().chain(columns).collect();
        other.ok(&arguments);
        other.json(&["get-machine", "-n", "m"])["definition"].to_string()
    };
    let definition = place.file("definition.json", definition);
    let part =
        |name: &str, rows: &[&str]| place.file(name, format!("{header}\n{}\n", rows.join("\n")));
    let run = |file: &str| {
        let machine = ["--machine", "m", "--definition", &definition];
        let arguments: Vec<&str> =
            ["import-log", file].into_iter().chain(columns).chain(machine).collect();
        figures(&place.json(&arguments))
    };
    let (first, second) = (part("part.csv", &before), before.len() as u64);
    assert_eq!(run(&first), [second, 0, 0]);
    assert_eq!(run(&part("part.csv", &behind)), [behind.len() as u64, 0, 0]);
    assert_eq!(run(&file), [0, 65_533, 0]);
}

#[test]
fn nothing_that_went_in_is_an_error_and_strict_makes_one_of_each_refusal() {
    let place = Place::new();
    let definition = any_order(&place);
    let given = ["--definition", definition.as_str()];
    let unknown =
        place.file("log.csv", [HEADER, "1,Nope,2024-01-01,a\n2,Nope,2024-01-01,a\n"].concat());
    let ran = place.run(&import(&unknown, &given));
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("no row went in: 2 were refused"), "{}", ran.stderr);

    let mixed =
        place.file("mixed.csv", [HEADER, "3,Open,2024-01-01,a\n3,Nope,2024-01-02,a\n"].concat());
    assert_eq!(imported(&place, &mixed, &given), [1, 0, 1]);
    let ran = place.run(&import(&mixed, &[&given as &[&str], &["--strict"]].concat()));
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 rows were refused (an error because of --strict)"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_file_without_a_row_that_can_be_used_stores_nothing() {
    let place = Place::new();
    let definition = any_order(&place);
    for (rows, problem) in [
        ("", "no row behind the header"),
        ("\n\n", "no row behind the header"),
        ("1,Open,soon,a\n1,Open\n", "no row can be used"),
    ] {
        let file = place.file("log.csv", [HEADER, rows].concat());
        for more in [&[] as &[&str], &["--definition", &definition], &["--strict"]] {
            let error = place.error(2, &import(&file, more));
            let message = error["message"].as_str().unwrap();
            let expected =
                if more == ["--strict"] && rows.starts_with('1') { "line 2" } else { problem };
            assert!(message.contains(expected), "{message}");
            assert!(!place.path().exists());
        }
    }
}

#[test]
fn a_file_that_is_newest_first_is_noticed_and_goes_in_once_it_is_sorted() {
    let place = Place::new();
    let definition = any_order(&place);
    let mut rows: Vec<&str> = JANUARY.lines().chain(FEBRUARY.lines()).collect();
    rows.reverse();
    let file = place.file("log.csv", [HEADER, &rows.join("\n"), "\n"].concat());
    for more in [&[] as &[&str], &["--definition", &definition]] {
        let error = place.error(2, &import(&file, more));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("newest first"), "{message}");
        assert!(!place.path().exists());
    }
    rows.reverse();
    let sorted = place.file("log.csv", [HEADER, &rows.join("\n"), "\n"].concat());
    assert_eq!(imported(&place, &sorted, &[]), [6, 0, 0]);
    // One case out of order does not make a file newest first.
    let other = Place::new();
    let mixed =
        "1,Open,2024-01-02,a\n1,Wait,2024-01-01,a\n2,Open,2024-01-01,a\n2,Wait,2024-01-02,a\n";
    let mixed = other.file("log.csv", [HEADER, mixed].concat());
    assert_eq!(imported(&other, &mixed, &[]), [4, 0, 0]);
}

#[test]
fn columns_need_names_of_their_own() {
    let place = Place::new();
    for (header, problem) in [
        ("ticket,activity,at,by,by\n", "columns 4 and 5 are both called \"by\""),
        ("ticket,activity,at,,by\n", "column 4 has no name"),
        ("ticket,activity,at,by,\n", "column 5 has no name"),
    ] {
        let file = place.file("log.csv", [header, "1,Open,2024-01-01,a,b\n"].concat());
        let error = place.error(2, &import(&file, &[]));
        assert!(error["message"].as_str().unwrap().contains(problem), "{error}");
    }
    let file = place.file("log.csv", "ticket;activity;at\n1;Open;2024-01-01\n");
    let error = place.error(2, &import(&file, &[]));
    assert!(error["message"].as_str().unwrap().ends_with("--separator ';'"), "{error}");
    assert_eq!(imported(&place, &file, &["--separator", ";"]), [1, 0, 0]);
    let tabs = place.file("tabs.csv", "ticket\tactivity\tat\n1\tOpen\t2024-01-01\n");
    assert_eq!(imported(&place, &tabs, &["--separator", "tab"]), [0, 1, 0]);
    for separator in ["", "ab", "\"", "\n", "é"] {
        place.error(2, &import(&file, &["--separator", separator]));
    }
}

#[test]
fn standard_input_is_a_file_too() {
    let place = Place::new();
    let text = [HEADER, JANUARY].concat();
    let ran = place.run_with_input(&import("-", &["--output", "json"]), &text);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(figures(&serde_json::from_str(&ran.stdout).unwrap()), [3, 0, 0]);
    let definition = any_order(&place);
    let more = ["--definition", definition.as_str(), "--output", "json"];
    let ran = place.run_with_input(&import("-", &more), &text);
    assert_eq!(figures(&serde_json::from_str(&ran.stdout).unwrap()), [0, 3, 0]);

    let columns = ["--case", "ticket", "--activity", "activity", "--time", "at"];
    let arguments: Vec<&str> = ["import-log", "-"].into_iter().chain(columns).collect();
    let ran = place.run(&arguments);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("give --machine"), "{}", ran.stderr);
}

#[test]
fn a_guard_can_compare_what_a_column_of_numbers_holds() {
    let place = Place::new();
    let definition = r#"{"states": ["new", "big"], "initial": "new", "transitions": [
        {"from": ["new", "big"], "event": "Pay", "to": "big", "guard": "payload.amount > 100"}]}"#;
    let definition = place.file("definition.json", definition);
    let text = "ticket,activity,at,amount\n\
        1,Pay,2024-01-01,250\n2,Pay,2024-01-01,99.5\n3,Pay,2024-01-01,1000\n4,Pay,2024-01-01,x\n";
    let file = place.file("log.csv", text);
    let more = ["--definition", definition.as_str(), "--number", "amount"];
    let report = place.json(&import(&file, &more));
    assert_eq!(figures(&report), [2, 0, 1]);
    assert_eq!(report["rows_malformed"], 1);
    assert_eq!(place.json(&["get-instance", "3"])["ctx"]["amount"], 1000);
    let error = place.error(2, &import(&file, &["--number", "amuont"]));
    assert!(error["message"].as_str().unwrap().contains("no column \"amuont\""), "{error}");
    place.error(2, &import(&file, &["--number", "at"]));
}

#[test]
fn instances_of_an_older_version_are_told_of_and_can_be_imported_anew() {
    let place = Place::new();
    let file = place.file("log.csv", [HEADER, JANUARY].concat());
    assert_eq!(imported(&place, &file, &[]), [3, 0, 0]);
    // The step to Close was not seen before.
    let grown = place.file("log.csv", [HEADER, JANUARY, FEBRUARY].concat());
    let ran = place.run(&import(&grown, &[]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in [
        "this one is version 2; the 2 instances that exist keep theirs",
        "those it does not allow are refused",
        "refused: line 5, case 1, Close: INVALID_TRANSITION",
        "keeps version 1, the definition of this import is version 2",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(history(&place, "1"), ["Open", "Wait"]);
    // What the note says helps.
    for id in ["1", "2"] {
        place.ok(&["delete-instance", id]);
    }
    assert_eq!(imported(&place, &grown, &[]), [5, 1, 0]);
    let both_lives = ["Open", "Wait", "Open", "Wait", "Close"];
    assert_eq!(history(&place, "1"), both_lives);
    let versions: BTreeSet<_> = ["1", "2", "3"]
        .map(|id| place.json(&["get-instance", id])["version"].as_u64().unwrap())
        .into();
    assert_eq!(versions, [2].into());
}

#[test]
fn encodings_that_are_not_read_are_named() {
    let place = Place::new();
    let text = [HEADER, JANUARY].concat();
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let file = place.file("utf16.csv", utf16);
    let error = place.error(2, &import(&file, &[]));
    assert!(error["message"].as_str().unwrap().contains("is UTF-16 (little-endian)"), "{error}");
    let file = place.file("utf8.csv", ["\u{feff}", &text].concat());
    assert_eq!(imported(&place, &file, &[]), [3, 0, 0]);
}
