//! Where a history begins and ends, and what a change costs in the log.

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::{repair, verify};
use rstmdb_engine::{Engine, Options, Retention};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::faulty::{Crash, FaultyStorage};
use rstmdb_testkit::sample::*;
use rstmdb_types::{ApplyEventRequest, Operation, WalStatsRequest};
use serde_json::{Value, json};

/// The epoch frames of the log: number, history id, first offset.
fn epochs(disk: &FaultyStorage) -> Vec<[u64; 3]> {
    let all = segments(disk).into_iter().flat_map(|segment| frames(disk, segment));
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    all.filter(|frame| frame.bytes[5] == 3)
        .map(|frame| [64, 72, 80].map(|at| word(&frame.bytes, at)))
        .collect()
}

fn manifest(disk: &FaultyStorage) -> Value {
    let text = String::from_utf8(disk.contents("MANIFEST").unwrap()).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

fn listed(disk: &FaultyStorage) -> Vec<(String, u64)> {
    let manifest = manifest(disk);
    let history = manifest["history"].as_array().unwrap().iter();
    history
        .map(|begins| {
            (begins["id"].as_str().unwrap().to_owned(), begins["first"].as_u64().unwrap())
        })
        .collect()
}

fn in_manifest(epochs: &[[u64; 3]]) -> Vec<(String, u64)> {
    epochs.iter().map(|[_, id, first]| (format!("{id:016x}"), *first)).collect()
}

fn compact(engine: &Engine) {
    call(engine, Operation::Compact, &json!({"force_snapshot": true})).unwrap();
}

#[test]
fn the_first_change_after_an_opening_begins_a_history_and_opening_alone_none() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    for round in 0..3 {
        for _ in 0..2 {
            open(&disk, EveryWrite).unwrap().close().unwrap();
        }
        let engine = open(&disk, EveryWrite).unwrap();
        apply(&engine, 10 + round).unwrap();
        apply(&engine, 20 + round).unwrap();
        compact(&engine);
        engine.close().unwrap();
    }
    let all = epochs(&disk);
    let what: Vec<_> = all.iter().map(|[number, _, first]| (*number, *first)).collect();
    assert_eq!(what, [(1, 1), (2, 6), (3, 9), (4, 12)]);
    let mut ids: Vec<_> = all.iter().map(|[_, id, _]| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(listed(&disk), in_manifest(&all));
    // Without the manifest's list, checkpoint and log still tell it.
    edit(&disk, "MANIFEST", |bytes| {
        let mut manifest: Value =
            serde_json::from_str(std::str::from_utf8(bytes).unwrap().lines().next().unwrap())
                .unwrap();
        manifest["history"] = json!([]);
        let json = manifest.to_string();
        *bytes = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    });
    let engine = open(&disk, EveryWrite).unwrap();
    compact(&engine);
    let [told @ .., (_, mark)] = &listed(&disk)[..] else { panic!("no history") };
    assert_eq!(told, in_manifest(&all));
    assert_eq!(*mark, 15, "the mark of the checkpoint begins one");
}

#[test]
fn histories_reach_as_far_back_as_the_log() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    for round in 0..3 {
        let options = Options { retention: Retention::Bytes(1), ..options(EveryWrite) };
        let engine = Engine::open(location(&disk), options).unwrap();
        apply(&engine, 10 + round).unwrap();
        compact(&engine);
        engine.close().unwrap();
        let first = manifest(&disk)["first_offset"].as_u64().unwrap();
        let [.., last] = &listed(&disk)[..] else { panic!("no history") };
        assert!(last.1 <= first, "{last:?} {first}");
        assert_eq!(listed(&disk).len(), 1);
    }
}

#[test]
fn a_cut_keeps_the_database_and_ends_its_history() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    let engine = open(&disk, EveryWrite).unwrap();
    apply(&engine, 10).unwrap();
    engine.close().unwrap();
    let before = epochs(&disk);
    let id = manifest(&disk)["database_id"].clone();
    repair(&location(&disk), 5, true).unwrap();
    assert_eq!(epochs(&disk), before[..1], "an epoch is about what comes after it");
    let engine = open(&disk, EveryWrite).unwrap();
    assert_eq!(apply(&engine, 11).unwrap(), 6);
    engine.close().unwrap();
    let after = epochs(&disk);
    assert_eq!((after.len(), after[1][2]), (2, 6));
    assert_ne!(after[1][1], before[1][1]);
    assert_eq!(manifest(&disk)["database_id"], id);
    assert!(verify(&location(&disk)).unwrap().ok);
}

#[test]
fn what_a_crash_took_back_is_another_history() {
    let (disk, engine) = database(3, rstmdb_engine::FsyncPolicy::Never);
    let shown = epochs(&disk);
    let disk = disk.crash(Crash::KEEP_NONE);
    drop(engine);
    assert!(epochs(&disk).is_empty());
    let engine = open(&disk, EveryWrite).unwrap();
    begin(&engine);
    let now = epochs(&disk);
    assert_eq!((now[0][0], now[0][2]), (1, 1));
    assert_ne!(now[0][1], shown[0][1]);
}

/// Bytes of the log for each event beyond its payload: small ones, on many instances, as the
/// benchmarks have them.
fn cost(in_flight: usize) -> f64 {
    const INSTANCES: usize = 512;
    let (_disk, engine) = database(0, EveryWrite);
    let id = |number: usize| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for number in 0..INSTANCES {
        let request = json!({"instance_id": id(number), "machine": "m", "version": 1});
        call(&engine, Operation::CreateInstance, &request).unwrap();
    }
    let payload = json!({"n": 125});
    let written = || engine.wal_stats(WalStatsRequest {}).wait().unwrap().io_stats.bytes_written;
    let before = written();
    for round in 0..3 * INSTANCES / in_flight {
        let event = |number: usize| {
            let id = id((round * in_flight + number) % INSTANCES);
            engine.apply_event(ApplyEventRequest::new(id, "E").with_payload(payload.clone()))
        };
        let pending: Vec<_> = (0..in_flight).map(event).collect();
        pending.into_iter().for_each(|one| drop(one.wait().unwrap()));
    }
    let bytes = (written() - before) as f64 / (3 * INSTANCES) as f64;
    bytes - payload.to_string().len() as f64
}

#[test]
fn an_event_costs_little_beyond_its_payload() {
    let (alone, together) = (cost(1), cost(256));
    println!("alone {alone:.1}, 256 together {together:.1} bytes");
    assert!(alone <= 105.0, "{alone}");
    assert!(together <= 45.0, "{together}");
}
