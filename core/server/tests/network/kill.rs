//! A server that is killed while clients write, again and again on the same data.

use std::sync::mpsc;

use rstmdb_testkit::faulty::Rng;
use rstmdb_testkit::wire::{Wire, await_condition, request};
use serde_json::json;

use crate::writers::{Log, WRITERS, begin, repeat, write};
use crate::{launch, rounds};

const POLICIES: [&str; 4] = ["every_write", "every_n:20", "every_ms:5", "never"];

/// Who makes the server compact meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compaction {
    Off,
    Asked,
    Automatic,
}

fn kill_loop(seed: u64, rounds: u64, compaction: Compaction) {
    let directory = tempfile::tempdir().unwrap();
    let mut launch = launch(directory.path())
        .set("storage.wal_segment_size_mb", 1)
        .set("storage.retention", "forever")
        .set("compaction.enabled", compaction == Compaction::Automatic)
        .set("compaction.events_threshold", 200)
        .set("compaction.min_interval_secs", 0)
        .on_own_address();
    let mut rng = Rng::new(seed);
    let mut log = Log::default();
    let (mut acknowledged, mut unanswered, mut compactions) = (0, 0, 0);
    // With compactions long enough that some end and the kill comes anywhere in the next.
    let acknowledgements = if compaction == Compaction::Off { 2000 } else { 8000 };
    for round in 0..rounds {
        let policy = POLICIES[round as usize % POLICIES.len()];
        launch = launch.set("storage.fsync_policy", policy);
        let server = launch.start();
        let mut wire = server.wire();
        begin(&mut wire);
        let (ticks, heard) = mpsc::channel();
        let address = server.address();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| write(address, round, writer, ticks.clone())).collect();
        let compacting = (compaction == Compaction::Asked).then(|| compact(server.wire()));
        if compaction == Compaction::Automatic {
            let compacted = || server.log().iter().any(|line| line.contains("\"compacted\""));
            await_condition("the server has compacted by itself", compacted);
            heard.try_iter().count();
        }
        for _ in 0..=rng.below(acknowledgements) {
            heard.recv().unwrap();
        }
        server.kill();
        let told: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        compactions += compacting.map_or(0, |compacting| compacting.join().unwrap());

        let server = launch.start();
        let mut wire = server.wire();
        log.read(&mut wire);
        for told in &told {
            assert!(told.refused.is_empty(), "{:?}", told.refused);
            acknowledged += told.acknowledged.len();
            let open = log.check(round, told);
            unanswered += open.len();
            repeat(&mut wire, told.writer, &open, &log);
        }
        log.read(&mut wire);
        // Half of the rounds stop in good order, the others are killed at rest.
        if rng.chance(500) { server.stop() } else { server.kill() }
    }
    println!("{rounds} kills: {acknowledged} acknowledged events, {unanswered} repeated");
    assert!(acknowledged > 0 && unanswered > 0);
    assert_eq!(compactions > 0, compaction == Compaction::Asked);
}

/// Asks for one compaction after the other until the connection ends; says how many there were.
fn compact(mut wire: Wire) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let asked = request(wire.mode, "c", "COMPACT", &json!({"force_snapshot": true}));
        for count in 0.. {
            let answer = wire.try_send_bytes(&asked).and_then(|()| wire.try_receive());
            let Ok(Some(answer)) = answer else { return count };
            assert_eq!(answer["status"], "ok", "{answer}");
        }
        unreachable!()
    })
}

#[test]
fn each_acknowledged_event_is_there_once_after_a_kill() {
    kill_loop(1, rounds(20, 500), Compaction::Off);
}

#[test]
fn a_kill_during_a_compaction_loses_nothing() {
    kill_loop(2, rounds(5, 100), Compaction::Asked);
}

#[test]
fn a_kill_with_automatic_compaction_loses_nothing() {
    kill_loop(3, rounds(5, 100), Compaction::Automatic);
}
