//! The tools around the operations: diagrams, help, bench, demo.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use common::Place;
use insta::assert_snapshot;

#[test]
fn diagrams_in_both_languages() {
    let place = Place::with_orders();
    let mermaid = place.ok(&["diagram", "order", "--counts"]);
    let dot = place.ok(&["diagram", "order", "-V", "1", "--format", "dot"]);
    assert_snapshot!(format!("{mermaid}\n{dot}"));
    let json = place.json(&["diagram", "order"]);
    assert_eq!(json["format"], "mermaid");
    assert!(json["diagram"].as_str().unwrap().starts_with("stateDiagram-v2\n"));
    assert_eq!(place.error(3, &["diagram", "nope"])["code"], "MACHINE_NOT_FOUND");
}

#[test]
fn the_reference_of_all_commands() {
    assert_snapshot!(Place::new().ok(&["help-markdown"]));
}

#[test]
fn help_of_every_command_has_examples() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    // clap leaves blanks on its empty lines.
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    assert_snapshot!(lines.join("\n"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    for command in commands {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Examples:\n  rstmdb-cli "), "{command}:\n{help}");
    }
}

#[test]
fn bench_works_beside_the_data_and_cleans_up() {
    let place = Place::new();
    let small = ["--events", "500", "--instances", "10", "--in-flight", "16", "--threads", "2"];
    for path in ["disk", "mem:"] {
        let arguments: Vec<&str> = ["--path", path, "bench"].into_iter().chain(small).collect();
        let result = place.json(&arguments);
        assert_eq!((result["events"].as_u64(), result["threads"].as_u64()), (Some(500), Some(2)));
        assert_eq!(result["fsync"], "every_write");
        assert!(result["events_per_second"].as_u64().unwrap() > 0, "{result}");
        let table = place.ok(&arguments);
        assert!(table.contains("events/s") && table.contains("p99"), "{table}");
    }
    let beside = ["--reads", "50", "--processes"];
    for path in ["disk", "mem:"] {
        let arguments: Vec<&str> =
            ["--path", path, "bench"].into_iter().chain(small).chain(beside).collect();
        let result = place.json(&arguments);
        assert_eq!(result["reads"], 50);
        let (threads, processes) = (&result["events_per_second"], &result["processes"]);
        let share = threads.as_f64().unwrap() / processes["events_per_second"].as_f64().unwrap();
        assert!((share - processes["share"].as_f64().unwrap()).abs() < 0.01, "{result}");
        let table = place.ok(&arguments);
        assert!(table.contains("the threads do ") && table.contains("50 %"), "{table}");
    }
    let left = std::fs::read_dir(place.folder.path().join("disk")).unwrap().count();
    assert_eq!(left, 0, "the scratch database is still there");
    assert!(!place.path().exists(), "RSTMDB_PATH is left alone");
}

#[test]
fn the_demo_repeats_and_refuses_other_databases() {
    let place = Place::new();
    for (run, total) in [(1, "200"), (2, "400")] {
        let shown = place.ok(&["demo", "--orders", "200"]);
        for text in [
            "== A machine ==",
            "live: offset",
            "the watch saw all 100 deliveries",
            "events applied in",
            "error: ",
            "GUARD_FAILED",
            "stateDiagram-v2",
            "counts, history and context are the same",
            "== What to try next ==",
        ] {
            assert!(shown.contains(text), "no {text:?} in\n{shown}");
        }
        assert!(shown.contains(&format!("order-{run}-00009")), "{shown}");
        assert!(shown.contains(&format!("all {total} orders")), "{shown}");
        // What it proposes works.
        let commands = shown.lines().skip_while(|line| !line.starts_with("== What to try"));
        for line in commands.skip(1).filter(|line| !line.ends_with(" shell") && !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').skip(1).collect();
            place.ok(&words);
        }
    }
    let in_memory = place.ok(&["--path", "mem:", "demo", "--orders", "10"]);
    assert!(in_memory.contains("no restart"), "{in_memory}");

    let place = Place::with_orders();
    let path = place.path();
    let error = place.error(2, &["--path", path.to_str().unwrap(), "demo"]);
    assert!(error["message"].as_str().unwrap().contains("not the demo's"), "{error}");
}
