//! What happens to a running server's directory, disk and open files: real processes, real files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rstmdb_testkit::mounted::Mounted;
use rstmdb_testkit::process::{Launch, ServerProcess};
use rstmdb_testkit::sample::LOOP;
use rstmdb_testkit::wire::{Wire, await_condition};
use serde_json::{Value, json};

fn launch(data: &Path) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_rstmdb"), data).set("compaction.enabled", false)
}

fn hello(server: &ServerProcess) -> Wire {
    Wire::hello(server.address(), &[])
}

fn begin(wire: &mut Wire) {
    let definition: Value = serde_json::from_str(LOOP).unwrap();
    let machine = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", machine).unwrap();
    let instance = json!({"machine": "m", "version": 1, "instance_id": "a"});
    wire.call("CREATE_INSTANCE", instance).unwrap();
}

fn apply(wire: &mut Wire) -> Result<Value, Value> {
    apply_with(wire, "")
}

fn apply_with(wire: &mut Wire, text: &str) -> Result<Value, Value> {
    let payload = json!({"text": text});
    wire.call("APPLY_EVENT", json!({"instance_id": "a", "event": "E", "payload": payload}))
}

fn compact(wire: &mut Wire) -> Result<Value, Value> {
    wire.call("COMPACT", json!({"force_snapshot": true}))
}

fn latest(wire: &mut Wire) -> u64 {
    wire.call("WAL_STATS", json!({})).unwrap()["latest_offset"].as_u64().unwrap()
}

fn assert_reason(answer: Result<Value, Value>, reason: &str) -> String {
    let error = answer.unwrap_err();
    assert_eq!(error["details"]["reason"], reason, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

/// Every file below a directory, with its bytes; the lock says who has it and when.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn is_ready(server: &ServerProcess) -> bool {
    server.page("/health/ready").0 == 200
}

/// Asks it to stop; it must say that it wrote nothing.
fn stop_displaced(server: ServerProcess) {
    server.signal("TERM");
    let (code, log) = server.wait();
    let log = log.join("\n");
    assert_eq!(code, Some(8), "{log}");
    assert!(log.contains("somebody moved, replaced or deleted files"), "{log}");
}

/// A directory with a stopped database of so many changes, and room beside it.
fn prepared(folder: &Path, events: u64) -> PathBuf {
    let data = folder.join("data");
    let server = launch(&data).start();
    let mut wire = hello(&server);
    begin(&mut wire);
    (0..events).for_each(|_| drop(apply(&mut wire).unwrap()));
    server.stop();
    data
}

#[test]
fn a_backup_put_in_the_place_of_a_running_server_stays_as_it_was() {
    for idle in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let data = prepared(folder.path(), 3);
        let backup = folder.path().join("backup");
        copy(&data, &backup);
        let server = launch(&data).start();
        let mut wire = hello(&server);
        for _ in 0..1500 {
            apply(&mut wire).unwrap();
        }
        std::fs::rename(&data, folder.path().join("data.bad")).unwrap();
        copy(&backup, &data);
        let restored = files(&data);
        if idle {
            await_condition("readiness turns red by itself", || !is_ready(&server));
        } else {
            assert_reason(compact(&mut wire), "writes_stopped");
            let said = assert_reason(apply(&mut wire), "writes_stopped");
            assert!(said.contains("is not the directory that was opened"), "{said}");
            assert!(!is_ready(&server));
        }
        wire.call("GET_INSTANCE", json!({"instance_id": "a"})).unwrap();
        stop_displaced(server);
        assert_eq!(files(&data), restored);
        let server = launch(&data).start();
        assert_eq!(latest(&mut hello(&server)), 5);
        server.stop();
        // What was moved away is whole, too.
        let server = launch(&folder.path().join("data.bad")).start();
        assert_eq!(latest(&mut hello(&server)), 1505);
        server.stop();
    }
}

#[test]
fn a_second_server_at_the_name_of_a_moved_directory_gets_nothing_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let data = prepared(folder.path(), 3);
    let first = launch(&data).start();
    let mut wire = hello(&first);
    apply(&mut wire).unwrap();
    let moved = folder.path().join("moved");
    std::fs::rename(&data, &moved).unwrap();
    let second = launch(&data).start();
    let mut other = hello(&second);
    begin(&mut other);
    let theirs = files(&data);
    for _ in 0..3 {
        assert_reason(apply(&mut wire), "writes_stopped");
        assert_reason(compact(&mut wire), "writes_stopped");
    }
    let snapshot = wire.call("SNAPSHOT_INSTANCE", json!({"instance_id": "a"}));
    assert_reason(snapshot, "writes_stopped");
    assert_eq!(files(&data), theirs);
    let (_, said) = launch(&moved).try_start().unwrap_err();
    assert!(said.join("\n").contains("is in use by"), "it is the first one's: {said:?}");
    stop_displaced(first);
    apply(&mut other).unwrap();
    compact(&mut other).unwrap();
    second.stop();
    for (directory, changes) in [(&data, 4), (&moved, 6)] {
        let server = launch(directory).start();
        assert_eq!(latest(&mut hello(&server)), changes);
        server.stop();
    }
}

#[test]
fn nothing_is_acknowledged_in_a_directory_that_was_deleted() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("all of it", |data| std::fs::remove_dir_all(data).unwrap()),
        ("what is in it", |data| {
            for entry in std::fs::read_dir(data).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                }
                .unwrap();
            }
        }),
        ("the log", |data| std::fs::remove_dir_all(data.join("log")).unwrap()),
    ];
    for (what, harm) in harms {
        for policy in ["every_write", "every_ms:1000"] {
            let folder = tempfile::tempdir().unwrap();
            let data = prepared(folder.path(), 3);
            let server = launch(&data).set("storage.fsync_policy", policy).start();
            let mut wire = hello(&server);
            apply(&mut wire).unwrap();
            let told = Instant::now();
            harm(&data);
            if policy != "every_write" {
                await_condition("it is noticed", || !is_ready(&server));
            }
            // Frames of one millisecond are looked after once.
            await_condition("the millisecond is over", || told.elapsed().as_millis() > 1);
            assert_reason(apply(&mut wire), "writes_stopped");
            assert!(!is_ready(&server), "{what}");
            assert_eq!(server.metric("rstmdb_writable"), 0.0);
            stop_displaced(server);
            assert!(!data.join("MANIFEST").exists() || what == "the log", "{what}");
        }
    }
}

#[test]
fn who_removes_the_lock_file_unlocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = prepared(folder.path(), 3);
    let server = launch(&data).start();
    std::fs::remove_file(data.join("LOCK")).unwrap();
    for _ in 0..2 {
        let (_, said) = launch(&data).try_start().unwrap_err();
        assert!(said.join("\n").contains("is in use by"), "{said:?}");
    }
    let mut wire = hello(&server);
    apply(&mut wire).unwrap();
    compact(&mut wire).unwrap();
    assert!(is_ready(&server));
    server.stop();
    launch(&data).start().stop();
}

#[test]
fn connections_leave_open_files_for_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let data = prepared(folder.path(), 3);
    let server = launch(&data).open_files(24).start();
    let mut wire = hello(&server);
    // As many as get in; the others are closed without a byte.
    let mut others: Vec<_> =
        (0..40).filter_map(|_| std::net::TcpStream::connect(server.address()).ok()).collect();
    await_condition("some are turned away", || {
        server.metric("rstmdb_connections_rejected_total") > 0.0
    });
    for _ in 0..5 {
        compact(&mut wire).unwrap();
        apply(&mut wire).unwrap();
    }
    assert!(is_ready(&server));
    others.clear();
    await_condition("there is room again", || {
        let mut one = Wire::connect(server.address());
        one.try_send_bytes(b"").is_ok() && server.metric("rstmdb_connections_active") < 3.0
    });
    server.stop();
}

/// The page on operations, carried out: what it says of a full disk.
#[test]
fn a_full_disk_is_left_as_the_guide_says() {
    let folder = tempfile::tempdir().unwrap();
    let disk = match Mounted::memory(folder.path(), 16 << 10) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("a_full_disk_is_left_as_the_guide_says skipped: {why}"),
    };
    let data = folder.path().join("data");
    let launch = launch(&data).set("storage.free_bytes_min", 4 << 20);
    let launch = launch.set("storage.wal_segment_size_mb", 1);
    let text = "x".repeat(60 << 10);
    let fill = |wire: &mut Wire| loop {
        if let Err(error) = apply_with(wire, &text) {
            return error;
        }
    };
    let server = launch.start();
    let mut wire = hello(&server);
    begin(&mut wire);
    let refused = fill(&mut wire);
    assert_eq!(refused["details"]["reason"], "disk_full", "{refused}");
    assert_eq!(refused["retryable"], true, "{refused}");
    assert!(!is_ready(&server), "a client that writes would not be served");
    wire.call("GET_INSTANCE", json!({"instance_id": "a"})).unwrap();
    // All of the history is asked for, so there is nothing to delete; the checkpoint is written.
    assert_eq!(compact(&mut wire).unwrap()["segments_deleted"], 0);
    assert_reason(apply_with(&mut wire, &text), "disk_full");
    server.stop();
    // A lower retention, after a restart, frees some with the next compaction.
    let server = launch.clone().set("storage.retention", "2MiB").start();
    let mut wire = hello(&server);
    assert_reason(apply_with(&mut wire, &text), "disk_full");
    let compacted = compact(&mut wire).unwrap();
    assert!(compacted["bytes_reclaimed"].as_u64().unwrap() > 4 << 20, "{compacted}");
    apply_with(&mut wire, &text).unwrap();
    server.stop();
    drop(disk);
}

#[test]
fn a_stop_on_a_disk_without_a_byte_left_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let _disk = match Mounted::memory(folder.path(), 4 << 10) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("a_stop_on_a_disk_without_a_byte_left skipped: {why}"),
    };
    let data = folder.path().join("data");
    let server = launch(&data).start();
    let mut wire = hello(&server);
    begin(&mut wire);
    // So many that the stop would like to write a checkpoint.
    (0..1500).for_each(|_| drop(apply(&mut wire).unwrap()));
    let mut junk = std::fs::File::create(folder.path().join("junk")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(7), &mut junk).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    server.stop();
    let server = launch(&data).start();
    assert_eq!(latest(&mut hello(&server)), 1502);
    server.stop();
}

#[test]
fn directories_that_can_not_be_written_are_named_at_the_start() {
    for name in ["log", "checkpoints", ""] {
        let folder = tempfile::tempdir().unwrap();
        let data = prepared(folder.path(), 3);
        let before = files(&data);
        let locked = data.join(name);
        let mounted = Mounted::read_only(&locked);
        if let Err(why) = &mounted {
            // Who is not root is stopped by the permissions alone.
            let mut rights = std::fs::metadata(&locked).unwrap().permissions();
            rights.set_readonly(true);
            std::fs::set_permissions(&locked, rights).unwrap();
            let probe = locked.join("probe");
            if std::fs::write(&probe, "").is_ok() {
                std::fs::remove_file(probe).unwrap();
                return eprintln!("directories_that_can_not_be_written skipped: {why}");
            }
        }
        let (status, said) = launch(&data).try_start().unwrap_err();
        let said = said.join("\n");
        assert_eq!(status.code(), Some(8), "{said}");
        assert!(said.contains(&locked.display().to_string()), "{name:?} is named: {said}");
        assert_eq!(files(&data), before);
        drop(mounted);
    }
}
