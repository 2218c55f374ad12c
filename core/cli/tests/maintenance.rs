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

/// The commands between the marks in what was shown.
fn commands(place: &Place, shown: &str) -> Vec<String> {
    let shown = shown.replace("FOLDER", place.folder.path().to_str().unwrap());
    let marked = shown.split('`').skip(1).step_by(2);
    marked.filter(|text| text.starts_with("rstmdb-cli ")).map(str::to_owned).collect()
}

/// Runs a command as it was shown, where nothing else says which directory is meant.
fn run_as_shown(place: &Place, command: &str) -> common::Ran {
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    place.ran(place.command(&words).env_remove("RSTMDB_PATH").output().unwrap())
}

/// What befalls a directory.
type Harm<'a> = &'a dyn Fn(&Place);

#[test]
fn what_verify_advises_works_as_it_is_shown() {
    let files = |place: &Place, folder: &str| {
        let entries = std::fs::read_dir(place.path().join(folder)).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let flip = |path: &PathBuf| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let harms: &[(&str, Harm<'_>, &str)] = &[
        (
            "no manifest",
            &|place| std::fs::remove_file(place.path().join("MANIFEST")).unwrap(),
            "nothing",
        ),
        ("a bad manifest", &|place| flip(&place.path().join("MANIFEST")), "nothing"),
        ("a bad checkpoint", &|place| flip(&files(place, "checkpoints")[0]), "nothing"),
        (
            "no checkpoint",
            &|place| std::fs::remove_file(&files(place, "checkpoints")[0]).unwrap(),
            "nothing",
        ),
        ("old history", &|place| flip(&files(place, "log")[0]), "history before offset"),
        (
            "the newest segment",
            &|place| std::fs::remove_file(files(place, "log").last().unwrap()).unwrap(),
            "after offset",
        ),
        (
            "all of the log",
            &|place| std::fs::remove_dir_all(place.path().join("log")).unwrap(),
            "after offset",
        ),
    ];
    for (name, harm, lost) in harms {
        let place = Place::with_orders();
        place.ok(&["compact", "--force"]);
        place.ok(&["create-instance", "-m", "order", "-i", "o-4", "-c", "{\"total\":1}"]);
        harm(&place);
        let ran = place.run(&["verify"]);
        assert_eq!(ran.code, 9, "{name}: {}", ran.stdout);
        let told = ran.stdout.lines().find(|line| line.starts_with("lost ")).unwrap();
        assert!(told.contains(lost), "{name}: {told}");
        // A start that refuses shows the way here.
        if ran.stdout.lines().any(|line| line.starts_with("can be opened") && line.ends_with("no"))
        {
            let start = place.run(&["list-machines"]);
            let hinted = commands(&place, &start.stderr);
            assert_eq!((start.code, hinted.len()), (9, 1), "{name}: {}", start.stderr);
            assert_eq!(run_as_shown(&place, &hinted[0]).stdout, ran.stdout, "{name}: {hinted:?}");
        }
        let advised = commands(&place, &ran.stdout);
        let hinted = commands(&place, &ran.stderr);
        assert!(
            !advised.is_empty() && advised.iter().all(|command| hinted.contains(command)),
            "{name}: {ran:?}"
        );
        let plan = run_as_shown(&place, &advised[0]);
        assert_eq!(plan.code, 0, "{name}: {}", plan.stderr);
        let done = run_as_shown(&place, &commands(&place, &plan.stderr)[0]);
        assert_eq!(done.code, 0, "{name}: {}", done.stderr);
        assert_eq!(place.json(&["verify"])["ok"], true, "{name}");
        let found = place.json(&["count-instances"]);
        let count = if lost.starts_with("after") { 3 } else { 4 };
        let total = found["counts"].as_array().unwrap().iter();
        let total: u64 = total.map(|count| count["count"].as_u64().unwrap()).sum();
        assert_eq!(total, count, "{name}");
        place.ok(&["create-instance", "-m", "order", "-i", "o-5"]);
    }
}

/// A directory that belongs to somebody else, as far as who runs the tests can do that.
#[cfg(unix)]
#[test]
fn another_user_may_read_and_verify() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    let place = Place::with_orders();
    place.ok(&["compact", "--force"]);
    let binary = place.folder.path().join("rstmdb-cli");
    // By another process: a child that a test beside this one starts meanwhile would hold the copy open for
    // writing, and then it can't be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_rstmdb-cli")).arg(&binary).status();
    assert!(copied.unwrap().success());
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let folders = ["", "log", "checkpoints"].map(|name| place.path().join(name));
    allow(place.folder.path(), 0o755);
    let protect = |folder_mode, file_mode| {
        for folder in &folders {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    allow(&entry.path(), file_mode);
                }
            }
            allow(folder, folder_mode);
        }
    };
    protect(0o555, 0o444);
    let is_root = std::fs::metadata(place.path()).unwrap().uid() == 0;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(["--path", place.path().to_str().unwrap()]).args(arguments);
        command.env_clear().env("HOME", place.folder.path()).stdin(Stdio::null());
        command.current_dir(place.folder.path());
        if is_root {
            // Who may write everywhere becomes somebody who may not.
            command.uid(65534).gid(65534);
        }
        place.ran(command.output().unwrap())
    };
    let verified = run(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    for arguments in [
        &["list-instances"][..],
        &["get-instance", "o-1"],
        &["history", "o-1"],
        &["wal-read"],
        &["stats"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    }
    assert!(run(&["get-instance", "o-1"]).stdout.contains("shipped"));
    let refused = run(&["apply-event", "-i", "o-2", "-e", "SHIP"]);
    assert_eq!(refused.code, 8, "{}", refused.stderr);
    protect(0o755, 0o644);
    assert_eq!(place.json(&["verify"])["ok"], true);
    place.ok(&["apply-event", "-i", "o-2", "-e", "SHIP"]);
}
