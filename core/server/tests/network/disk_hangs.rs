//! A disk that hangs: stops that wait for it or not, and kills at exact steps of a compaction.

use rstmdb_testkit::process::ServerProcess;
use rstmdb_testkit::wire::{Wire, await_condition, outcome};
use serde_json::{Value, json};

use crate::failing_disk::Disk;
use crate::writers::{Log, Writing, begin, repeat};

fn instance(id: &str) -> Value {
    json!({"instance_id": id, "machine": "toggle", "version": 1})
}

fn get(wire: &mut Wire, id: &str) -> Value {
    wire.call("GET_INSTANCE", json!({ "instance_id": id })).unwrap()
}

/// A server with a request that waits for its sync, and that was told to stop.
fn stopping_on_a_disk_that_hangs(disk: &Disk) -> (ServerProcess, Wire) {
    let server = disk.launch().start();
    let mut wire = server.wire();
    begin(&mut wire);
    wire.call("CREATE_INSTANCE", instance("before")).unwrap();
    disk.set("sync", "hold", "/log/");
    wire.send("h", "CREATE_INSTANCE", &instance("hanging"));
    disk.await_held("sync");
    // Others are served meanwhile, with what is durable.
    assert_eq!(get(&mut server.wire(), "before")["state"], "even");
    server.signal("TERM");
    await_condition("it is stopping", || server.log().iter().any(|line| line.contains("stopping")));
    (server, wire)
}

#[test]
fn a_request_that_waits_for_its_sync_is_answered_before_the_end() {
    let disk = Disk::new();
    let (server, mut wire) = stopping_on_a_disk_that_hangs(&disk);
    disk.clear("sync");
    assert_eq!(outcome(wire.answer()).unwrap()["instance_id"], "hanging");
    assert!(wire.await_close().is_empty());
    let (code, said) = server.wait();
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    let server = disk.launch().start();
    assert_eq!(get(&mut server.wire(), "hanging")["state"], "even");
    server.stop();
}

#[test]
fn a_second_signal_ends_a_server_whose_disk_hangs() {
    let disk = Disk::new();
    let (server, mut wire) = stopping_on_a_disk_that_hangs(&disk);
    server.signal("TERM");
    assert!(wire.await_close().is_empty(), "nothing was acknowledged");
    let (code, said) = server.wait();
    assert_eq!(code, Some(1), "{}", said.join("\n"));
    disk.clear("sync");
    let server = disk.launch().start();
    assert_eq!(get(&mut server.wire(), "before")["state"], "even");
    server.stop();
}

#[test]
fn a_kill_at_any_step_of_an_automatic_compaction_loses_nothing() {
    let disk = Disk::new();
    let steps = [
        ("write", "/checkpoints/"),
        ("sync", "/checkpoints/"),
        ("rename", "/checkpoints/"),
        ("sync", "/MANIFEST"),
        ("rename", "/MANIFEST"),
        ("remove", "/checkpoints/"),
        ("remove", "/log/"),
    ];
    let launch = disk
        .launch()
        .set("storage.fsync_policy", "never")
        .set("storage.retention", "1MiB")
        .set("storage.wal_segment_size_mb", 1)
        .set("compaction.enabled", true)
        .set("compaction.events_threshold", 1)
        .set("compaction.min_interval_secs", 0);
    for (round, (call, part)) in (0..).zip(steps) {
        let server = launch.start();
        disk.set(call, "hold", part);
        let writing = Writing::begin(server.address(), round);
        disk.await_held(call);
        server.kill();
        disk.clear(call);
        let server = launch.start();
        let mut wire = server.wire();
        for told in writing.told() {
            assert!(told.refused.is_empty(), "{:?}", told.refused);
            // The log may begin later by now; the keys are all remembered. The last ones and some others:
            let from = told.acknowledged.len().saturating_sub(100);
            let chosen =
                told.acknowledged.iter().enumerate().filter(|(n, _)| *n >= from || n % 50 == 0);
            let there: Vec<_> = chosen.map(|(_, (key, _))| (key.clone(), true)).collect();
            let mut log = Log::default();
            log.events.extend(told.acknowledged);
            repeat(&mut wire, told.writer, &there, &log);
        }
        if round % 2 == 0 { server.stop() } else { server.kill() }
    }
}
