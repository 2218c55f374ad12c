//! Backups of a server and of a directory, and what is made of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Place;
use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::await_condition;
use serde_json::Value;

/// A server on the directory of a place, and a place that talks to it.
fn served(place: &Place) -> (TestServer, Place) {
    let config = TestServer::config();
    let location = Location::directory(place.path().to_str().unwrap());
    let engine = Engine::open(location, config.engine_options()).unwrap();
    let server = TestServer::start(Arc::new(engine), config).unwrap();
    let remote = Place::on_server(server.address());
    (server, remote)
}

fn instances(place: &Place, directory: &str) -> Value {
    place.json(&["--path", directory, "list-instances"])
}

#[test]
fn a_server_is_backed_up_while_clients_write_and_the_copy_is_another_database() {
    let place = Place::with_orders();
    let (_server, remote) = served(&place);
    let is_over = Arc::new(AtomicBool::new(false));
    let address = remote.environment[0].1.clone();
    let writer = std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            let place = Place::on_server(address);
            let mut count = 0;
            while !is_over.load(Ordering::SeqCst) || count == 0 {
                place.ok(&["create-instance", "-m", "order", "-i", &format!("w-{count}")]);
                count += 1;
            }
        }
    });
    let written = remote.json(&["backup", "create", "-o", "one.rstmbak"]);
    is_over.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    let report = remote.json(&["backup", "verify", "one.rstmbak"]);
    assert_eq!(report["digest"], written["digest"]);
    assert_eq!(report["last_offset"], written["last_offset"]);
    let shown = remote.ok(&["restore", "one.rstmbak", "new/restored"]);
    assert!(shown.contains("restored from"), "{shown}");
    let info = |place: &Place, arguments: &[&str]| place.json(arguments)["database_id"].clone();
    let copy = info(&remote, &["--path", "new/restored", "info"]);
    assert_ne!(copy, info(&remote, &["info"]));
    let count = instances(&remote, "new/restored")["total"].as_u64().unwrap();
    assert!(count >= 3, "{count}");
    assert_eq!(remote.json(&["--path", "new/restored", "verify"])["ok"], true);
    // What is shown can be run as it is.
    assert!(shown.contains("`rstmdb --data new/restored`"), "{shown}");
}

#[test]
fn a_moment_is_restored_by_offset_or_by_time_or_the_ends_are_named() {
    let place = Place::with_orders();
    place.ok(&["backup", "create", "-o", "b"]);
    let at = |directory: &str, more: &[&str]| {
        let arguments: Vec<&str> =
            ["restore", "b", directory].iter().chain(more).copied().collect();
        place.json(&arguments)
    };
    let all = at("all", &[]);
    assert_eq!((&all["offset"], &all["changes_left_out"]), (&7.into(), &0.into()));
    let early = at("early", &["--at-offset", "2"]);
    assert_eq!((&early["offset"], &early["instances"]), (&2.into(), &1.into()));
    assert_eq!(instances(&place, "early")["total"], 1);
    let report = place.json(&["backup", "verify", "b"]);
    let last_at = report["last_at"].as_i64().unwrap();
    assert_eq!(report["last_offset"], 7);
    let behind = place.error(3, &["restore", "b", "no", "--at-offset", "8"]);
    assert_eq!(behind["reason"], "offset_ahead");
    assert!(behind["message"].as_str().unwrap().contains("from offset 0 to 7"), "{behind}");
    let before = place.error(3, &["restore", "b", "no", "--at-time", "1999-01-01T00:00:00Z"]);
    assert_eq!(before["reason"], "offset_compacted");
    assert!(before["message"].as_str().unwrap().contains("before its begin"), "{before}");
    let late = place.error(3, &["restore", "b", "no", "--at-time", "2999-01-01T00:00:00Z"]);
    assert_eq!(
        late["context"]["latest_at"].as_i64().unwrap().max(last_at),
        late["context"]["latest_at"]
    );
    assert!(!place.folder.path().join("no").exists(), "a refusal leaves nothing");
    for words in [
        &["--at-offset", "2", "--at-time", "2026-01-01T00:00:00Z"] as &[&str],
        &["--at-offset", "-1"],
        &["--at-offset", "x"],
        &["--at-time", "2026-01-01"],
        &["--at-time", "yesterday"],
        &["--at-time", ""],
    ] {
        let arguments: Vec<&str> = ["restore", "b", "no"].iter().chain(words).copied().collect();
        let ran = place.run(&arguments);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn what_is_there_is_not_written_over_and_wrong_paths_say_so() {
    let place = Place::with_orders();
    place.file("there", "mine");
    let error = place.error(2, &["backup", "create", "-o", "there"]);
    assert!(error["message"].as_str().unwrap().contains("--force"), "{error}");
    assert_eq!(std::fs::read(place.folder.path().join("there")).unwrap(), b"mine");
    place.ok(&["backup", "create", "-o", "there", "--force"]);
    place.ok(&["backup", "verify", "there"]);
    for (out, expected) in [("nowhere/b", "nowhere"), ("data", "directory")] {
        let error = place.error(2, &["backup", "create", "-o", out]);
        assert!(error["message"].as_str().unwrap().contains(expected), "{out}: {error}");
    }
    for arguments in [
        &["backup", "create"] as &[&str],
        &["backup"],
        &["backup", "create", "-o", "x", "--rate", "50M"],
        &["backup", "create", "-o", "x", "--rate", "fast"],
        &["restore", "there"],
    ] {
        assert_eq!(place.run(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(place.error(3, &["backup", "verify", "typo"])["code"], "NOT_FOUND");
    assert_eq!(place.error(3, &["restore", "typo", "d"])["code"], "NOT_FOUND");
    assert_eq!(place.error(2, &["backup", "verify", "data"])["kind"], "invalid");
    assert_eq!(
        place.error(3, &["--path", "typo", "backup", "create", "-o", "x"])["code"],
        "NOT_FOUND"
    );
    assert!(!place.folder.path().join("x.partial").exists());
    let occupied = place.error(2, &["restore", "there", "data"]);
    assert!(occupied["message"].as_str().unwrap().contains("not empty"), "{occupied}");
    let no_backup = place.file("text", "{\"a\": 1} and more of it");
    assert_eq!(place.error(9, &["backup", "verify", &no_backup])["reason"], "corrupt");
    assert_eq!(place.error(9, &["restore", &no_backup, "d"])["reason"], "corrupt");
}

#[test]
fn damage_is_named_with_exit_code_9_and_nothing_is_restored() {
    let place = Place::with_orders();
    place.ok(&["backup", "create", "-o", "b"]);
    let path = place.folder.path().join("b");
    let bytes = std::fs::read(&path).unwrap();
    for at in [3, 20, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let error = place.error(9, &["backup", "verify", "b"]);
        assert_eq!(error["reason"], "corrupt");
        assert!(error["hint"].as_str().unwrap().contains("older backup"), "{error}");
        assert!(error["context"]["position"].as_u64().unwrap() as usize <= at, "{error}");
        place.error(9, &["restore", "b", "d"]);
        assert!(!place.folder.path().join("d").exists());
    }
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let error = place.error(9, &["backup", "verify", "b"]);
    assert!(error["message"].as_str().unwrap().contains("cut off"), "{error}");
}

/// The first bytes of a backup, as an interruption leaves them.
fn interrupted(directory: &Path, bytes: &[u8], length: usize) {
    std::fs::write(directory.join("b.partial"), &bytes[..length]).unwrap();
}

#[test]
fn an_interrupted_backup_goes_on_and_a_changed_source_is_noticed() {
    let place = Place::with_orders();
    place.ok(&["compact", "--force"]);
    let (server, remote) = served(&place);
    let folder = remote.folder.path();
    remote.ok(&["backup", "create", "-o", "whole"]);
    let bytes = std::fs::read(folder.join("whole")).unwrap();
    remote.ok(&["create-instance", "-m", "order", "-i", "later"]);
    // Anywhere, also in the middle of a section, and with rubbish behind.
    for length in [0, 7, 16, 300, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        interrupted(folder, &bytes, length);
        let written = remote.json(&["backup", "create", "-o", "b"]);
        let found = std::fs::read(folder.join("b")).unwrap();
        let resumed = written["resumed_bytes"].as_u64().unwrap();
        assert!(resumed as usize <= length);
        match resumed {
            0 => assert_eq!(written["last_offset"], 9, "begun anew, with what is new"),
            _ => assert_eq!(found, bytes, "{length}"),
        }
        remote.ok(&["backup", "verify", "b"]);
        assert!(!folder.join("b.partial").exists());
        std::fs::remove_file(folder.join("b")).unwrap();
    }
    let mut rubbish = bytes[..bytes.len() / 2].to_vec();
    rubbish.extend([7; 100]);
    interrupted(folder, &rubbish, rubbish.len());
    remote.ok(&["backup", "create", "-o", "b"]);
    assert_eq!(std::fs::read(folder.join("b")).unwrap(), bytes);
    // A directory goes on with what a server began.
    std::fs::remove_file(folder.join("b")).unwrap();
    interrupted(folder, &bytes, bytes.len() / 2);
    let data = place.path();
    remote.ok(&["--path", data.to_str().unwrap(), "backup", "create", "-o", "b"]);
    assert_eq!(std::fs::read(folder.join("b")).unwrap(), bytes);
    // Another database, another backup.
    std::fs::remove_file(folder.join("b")).unwrap();
    drop(server);
    let other = Place::with_orders();
    interrupted(other.folder.path(), &bytes, bytes.len() / 2);
    let ran = other.run(&["backup", "create", "-o", "b"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("began anew"), "{}", ran.stderr);
    let report = other.json(&["backup", "verify", "b"]);
    assert_eq!(report["database_id"], other.json(&["info"])["database_id"]);
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_what_can_be_gone_on_with() {
    let place = Place::with_orders();
    for number in 0..40 {
        let ctx = format!("{{\"text\":\"{}\"}}", "x".repeat(1000));
        place.ok(&["create-instance", "-m", "order", "-i", &format!("x-{number}"), "-c", &ctx]);
    }
    let (server, remote) = served(&place);
    let mut create = remote.command(&["backup", "create", "-o", "b", "--rate", "16KiB/s"]);
    let mut child = create.stderr(std::process::Stdio::null()).spawn().unwrap();
    let partial = remote.folder.path().join("b.partial");
    await_condition("some of it is written", || {
        std::fs::metadata(&partial).is_ok_and(|found| found.len() > 4000)
    });
    let _ = child.kill();
    child.wait().unwrap();
    drop(server);
    assert!(!remote.folder.path().join("b").exists());
    let (_server, again) = served(&place);
    let out = remote.folder.path().join("b");
    let written = again.json(&["backup", "create", "-o", out.to_str().unwrap()]);
    again.ok(&["backup", "verify", out.to_str().unwrap()]);
    assert!(written["resumed_bytes"].as_u64().is_some());
    assert!(!partial.exists());
}

#[test]
fn a_stream_is_the_file_and_a_full_disk_ends_it_with_8() {
    let place = Place::with_orders();
    let output = place.command(&["backup", "create", "-o", "-"]).output().unwrap();
    assert!(output.status.success());
    std::fs::write(place.folder.path().join("b"), &output.stdout).unwrap();
    place.ok(&["backup", "verify", "b"]);
    if Path::new("/dev/full").exists() {
        let error = place.error(8, &["backup", "create", "-o", "/dev/full", "--force"]);
        assert_eq!(error["reason"], "disk_full", "{error}");
    }
    // The reader is gone, so there is no backup, whatever a table would make of that.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = place.command(&["backup", "create", "-o", "-"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(8));
}

#[test]
fn a_server_looks_through_its_own_files() {
    let place = Place::with_orders();
    place.ok(&["compact", "--force"]);
    let (_server, remote) = served(&place);
    let shown = remote.ok(&["verify"]);
    assert!(shown.contains("healthy      yes\n"), "{shown}");
    let report = remote.json(&["verify"]);
    assert_eq!((&report["ok"], &report["last_offset"]), (&true.into(), &8.into()));
    let file = place.path().join(report["checkpoints"][0]["file"].as_str().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let ran = remote.run(&["verify"]);
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stdout.contains("checkpoints/"), "{}", ran.stdout);
    // What it says helps.
    remote.ok(&["compact", "--force"]);
    remote.ok(&["compact", "--force"]);
    remote.ok(&["verify"]);
}
