//! The power goes while clients write over the network: what each fsync policy promised is there.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rstmdb_engine::{Engine, FsyncPolicy, Retention};
use rstmdb_testkit::faulty::{Crash, FaultyStorage, Rng};
use rstmdb_testkit::seeds::{Replay, seeds};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, await_condition, outcome};
use serde_json::{Value, json};

const WRITERS: u64 = 4;

fn start(disk: &FaultyStorage, policy: FsyncPolicy) -> TestServer {
    let mut config = TestServer::config();
    config.storage.fsync_policy = policy;
    config.storage.wal_segment_bytes = 64 << 10;
    config.storage.retention = Retention::Forever;
    config.storage.free_bytes_min = 0;
    let engine = Engine::open(disk.location(), config.engine_options()).unwrap();
    TestServer::start(Arc::new(engine), config).unwrap()
}

fn begin(wire: &mut Wire) {
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let params = json!({"machine": "loop", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    for writer in 0..WRITERS {
        let params = json!({"instance_id": format!("w{writer}"), "machine": "loop", "version": 1});
        wire.call("CREATE_INSTANCE", params).unwrap();
    }
}

/// Writes with several requests on their way until the connection ends or a request is refused;
/// every offset it is told goes to `told`.
fn write(address: SocketAddr, writer: u64, told: mpsc::Sender<u64>) -> JoinHandle<()> {
    let mut wire = Wire::connect(address);
    std::thread::spawn(move || {
        let in_flight = 1 + writer * 5;
        let (mut sent, mut answered) = (0, 0);
        loop {
            while sent - answered < in_flight {
                let params = json!({"instance_id": format!("w{writer}"), "event": "E",
                    "payload": {"n": sent}});
                let id = sent.to_string();
                let bytes = rstmdb_testkit::wire::request(wire.mode, &id, "APPLY_EVENT", &params);
                if wire.try_send_bytes(&bytes).is_err() {
                    return;
                }
                sent += 1;
            }
            let Ok(Some(answer)) = wire.try_receive() else { return };
            let Ok(result) = outcome(answer) else { return };
            answered += 1;
            if told.send(result["wal_offset"].as_u64().unwrap()).is_err() {
                return;
            }
        }
    })
}

/// The offsets in the log, which has no hole, and whose events lead to what the instances are.
fn recovered(server: &TestServer) -> u64 {
    let mut wire = server.wire();
    let mut next = 1;
    let mut counts = [0; WRITERS as usize];
    loop {
        let page = wire.call("WAL_READ", json!({"from_offset": next, "limit": 1000})).unwrap();
        let records = page["records"].as_array().unwrap();
        if records.is_empty() {
            break;
        }
        for record in records {
            assert_eq!(record["offset"], next, "the log has a hole");
            next += 1;
            let entry = &record["entry"];
            if entry["type"] == "apply_event" {
                let writer: usize = entry["instance_id"].as_str().unwrap()[1..].parse().unwrap();
                assert_eq!(entry["payload"]["n"], counts[writer], "{entry}");
                counts[writer] += 1;
            }
        }
    }
    for (writer, count) in counts.iter().enumerate() {
        let got = wire.call("GET_INSTANCE", json!({"instance_id": format!("w{writer}")}));
        match got {
            Ok(got) if *count > 0 => assert_eq!(got["ctx"]["n"], count - 1),
            Ok(got) => assert_eq!(got["ctx"], json!({})),
            // Without a sync not even the instance needs to be there.
            Err(error) => {
                assert_eq!((error["code"].as_str(), *count), (Some("INSTANCE_NOT_FOUND"), 0))
            }
        }
    }
    next - 1
}

fn syncs(wire: &mut Wire) -> u64 {
    let stats: Value = wire.call("WAL_STATS", json!({})).unwrap();
    stats["io_stats"]["fsyncs"].as_u64().unwrap()
}

/// Cuts the power in the midst of writing; returns the highest offset that was promised and how many
/// acknowledged ones are missing afterwards.
fn cut(seed: u64, policy: FsyncPolicy, settle: impl Fn(&mut Wire)) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let disk = FaultyStorage::new(seed);
    let server = start(&disk, policy);
    let mut wire = server.wire();
    begin(&mut wire);
    let (told, heard) = mpsc::channel();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| write(server.address(), writer, told.clone())).collect();
    let wanted = 1 + rng.below(600);
    let mut highest = 0;
    for _ in 0..wanted {
        highest = heard.recv().unwrap().max(highest);
    }
    settle(&mut wire);
    // All that was heard so far was answered before this moment.
    let image = disk.image();
    disk.power_off();
    drop(heard);
    drop(wire);
    drop(server);
    for writer in writers {
        writer.join().unwrap();
    }
    let after = start(&image.crash(Crash::seeded(rng.next_u64())), policy);
    let there = recovered(&after);
    let mut wire = after.wire();
    if there > WRITERS {
        wire.call("APPLY_EVENT", json!({"instance_id": "w0", "event": "E"})).unwrap();
    }
    (highest, highest.saturating_sub(there))
}

fn rounds(policy: FsyncPolicy, settle: impl Fn(&mut Wire), missing_max: u64) {
    let mut lost = 0;
    for seed in seeds(1, 8, 300) {
        let _replay = Replay {
            test: "rstmdb-tests --test network power",
            seed,
            place: format!("with {policy}"),
        };
        let (highest, missing) = cut(seed, policy, &settle);
        assert!(missing <= missing_max, "{missing} of {highest} acknowledged events are missing");
        lost += missing;
    }
    println!("{policy}: {lost} lost");
}

#[test]
fn every_write_loses_nothing_it_answered() {
    rounds(FsyncPolicy::EveryWrite, |_| (), 0);
}

#[test]
fn every_n_loses_fewer_than_that() {
    rounds(FsyncPolicy::EveryN(25), |_| (), 24);
}

#[test]
fn every_ms_keeps_what_is_older_than_the_sync_before() {
    // The second sync from here on begins when the first is done, and covers what was heard.
    let two_syncs = |wire: &mut Wire| {
        let before = syncs(wire);
        await_condition("the log was synced twice", || syncs(wire) >= before + 2);
    };
    rounds(FsyncPolicy::EveryMs(5), two_syncs, 0);
}

#[test]
fn never_keeps_a_log_without_holes() {
    rounds(FsyncPolicy::Never, |_| (), u64::MAX);
}
