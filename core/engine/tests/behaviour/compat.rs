//! Databases written by earlier builds open and hold what they held.
//!
//! `RSTMDB_WRITE_FIXTURE=format-N-COMMIT` writes those of this build first.

use std::fs;
use std::sync::Arc;

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::{repair, verify};
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

use crate::fixtures::{Old, files_of, fixtures, look, read_files, try_look, write_files};

/// All that can be read.
fn dump(engine: &Engine) -> Value {
    let list = ListInstancesRequest { limit: Some(1000), ..ListInstancesRequest::default() };
    let list = engine.list_instances(list).wait().unwrap();
    let get = |id: &Text| {
        engine.get_instance(GetInstanceRequest { instance_id: id.clone() }).wait().unwrap()
    };
    let instances: Vec<_> = list.instances.iter().map(|instance| get(&instance.id)).collect();
    let mut histories: Vec<_> = list.instances.iter().map(|instance| instance.id.clone()).collect();
    histories.push("deleted".into());
    let histories: Vec<_> = histories
        .into_iter()
        .map(|id| engine.history(HistoryRequest::new(id)).wait().unwrap())
        .collect();
    let machines = engine.list_machines(ListMachinesRequest {}).wait().unwrap();
    let log = WalReadRequest { limit: Some(1000), ..WalReadRequest::new(1) };
    json!({
        "instances": instances,
        "histories": histories,
        "machines": machines,
        "counts": engine.count_instances(CountInstancesRequest::default()).wait().unwrap().counts,
        "log": engine.wal_read(log).wait().unwrap(),
        "retry": engine.apply_event(keyed()).wait().unwrap(),
        "batch_retry": engine.batch(batch()).wait().unwrap(),
    })
}

fn keyed() -> ApplyEventRequest {
    ApplyEventRequest::new("i-1", "ADD").with_payload(json!({"n": 1.5})).with_key("once")
}

fn batch() -> BatchRequest {
    let add = |id: &str| BatchOperation::ApplyEvent(ApplyEventRequest::new(id, "ADD"));
    BatchRequest {
        mode: BatchMode::Atomic,
        ops: vec![add("i-0"), add("i-1"), add("i-0")],
        idempotency_key: Some("batch".into()),
    }
}

#[test]
fn the_first_database_that_was_kept_holds_what_it_held() {
    let path = fixtures().join("v1");
    let text = fs::read_to_string(path.with_extension("json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let copy = tempfile::tempdir().unwrap();
    write_files(copy.path(), &read_files(&path));
    let clock = Arc::new(TestClock::new());
    let location = Location { clock, ..Location::directory(copy.path()) };
    assert!(verify(&location).unwrap().ok);
    let options =
        Options { retention: Options::default().retention, ..sample::options(EveryWrite) };
    let engine = Engine::open(location, options).unwrap();
    assert_eq!(dump(&engine), expected);
    // It can be written to.
    engine.apply_event(ApplyEventRequest::new("i-0", "ADD")).wait().unwrap();
    engine.close().unwrap();
}

/// Opens it, finds what it held, goes on, and finds that again.
fn assert_goes_on(old: &Old, disk: &FaultyStorage) {
    let report = verify(&sample::location(disk)).unwrap();
    assert!(report.ok, "{}: {report:?}", old.name);
    let engine = sample::open(disk, EveryWrite).unwrap();
    assert_eq!(look(&engine), old.expected, "{}", old.name);
    assert_eq!(add(&engine, 1), old.last() + 1);
    drop(engine);
    let disk = disk.crash(Crash::KEEP_NONE);
    let engine = sample::open(&disk, EveryWrite).unwrap();
    assert_eq!(add(&engine, 2), old.last() + 2);
    engine.close().unwrap();
    assert!(verify(&sample::location(&disk)).unwrap().ok);
}

fn add(engine: &Engine, number: u64) -> u64 {
    let payload = json!({"added": number, "text": "x".repeat(100)});
    let request = json!({"instance_id": "o-1", "event": "ADD", "payload": payload});
    let answer = call(engine, Operation::ApplyEvent, &request).unwrap().to_value();
    answer["wal_offset"].as_u64().unwrap()
}

fn format_of(disk: &FaultyStorage) -> Value {
    let text = String::from_utf8(disk.contents("MANIFEST").unwrap()).unwrap();
    serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()["format"].clone()
}

#[test]
fn looking_at_what_an_older_build_left_changes_nothing() {
    for old in Old::all() {
        let disk = old.disk();
        let report = verify(&sample::location(&disk)).unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!((report.last_offset, report.torn_tail_bytes), (old.last(), 0));
        repair(&sample::location(&disk), old.last(), false).unwrap();
        assert_eq!(files_of(&disk), old.files);
    }
}

#[test]
fn every_format_opens_and_goes_on_as_format_2() {
    for old in [1, 2].into_iter().flat_map(Old::of) {
        let disk = old.disk();
        assert_goes_on(old, &disk);
        let disk = old.disk();
        let engine = sample::open(&disk, EveryWrite).unwrap();
        assert_eq!(format_of(&disk), 2);
        // What was there stays as it was, but for the zeros behind the last frame.
        let segments = sample::segments(&disk);
        let (newest, older) = segments.split_last().unwrap();
        assert_eq!(disk.contents(&sample::segment_path(*newest)).unwrap()[8], 2);
        for segment in older {
            let path = sample::segment_path(*segment);
            let bytes = disk.contents(&path).unwrap();
            assert_eq!((bytes[8], &bytes[..]), (old.format, &old.files[&path][..bytes.len()]));
        }
        let retry = |operation, request: Value| call(&engine, operation, &request).unwrap();
        let once = json!({"instance_id": "o-1", "event": "ADD", "payload": {"n": 1.5},
            "idempotency_key": "once", "event_id": "e-1"});
        let answer = retry(Operation::ApplyEvent, once).to_value();
        assert_eq!((&answer["applied"], answer["wal_offset"].as_u64()), (&json!(false), Some(14)));
        let late = json!({"instance_id": "o-2", "event": "ADD", "payload": {"at": 3},
            "idempotency_key": "late-3"});
        assert_eq!(retry(Operation::ApplyEvent, late).to_value()["applied"], false);
        let drop_again = json!({"instance_id": "o-3", "idempotency_key": "drop-3"});
        retry(Operation::DeleteInstance, drop_again);
        assert_eq!(look(&engine)["log"], old.expected["log"], "a retry changes nothing");

        // Histories and contexts reach over the change, batches and checkpoints work.
        add(&engine, 1);
        let compact = json!({"force_snapshot": true});
        call(&engine, Operation::Compact, &compact).unwrap();
        let apply =
            |id: &str| json!({"op": "APPLY_EVENT", "params": {"instance_id": id, "event": "ADD"}});
        let batch = json!({"mode": "atomic", "ops": [apply("o-1"), apply("o-2"), apply("o-1")]});
        call(&engine, Operation::Batch, &batch).unwrap();
        let seen = look(&engine);
        let (before, after) = (&old.expected["log"]["records"], &seen["log"]["records"]);
        let before = before.as_array().unwrap();
        assert_eq!(after.as_array().unwrap()[..before.len()], before[..]);
        assert_eq!(after.as_array().unwrap().len(), before.len() + 4);
        engine.close().unwrap();
        let disk = disk.crash(Crash::KEEP_NONE);
        assert!(verify(&sample::location(&disk)).unwrap().ok);
        let engine = sample::open(&disk, EveryWrite).unwrap();
        assert_eq!(look(&engine), seen);
    }
}

#[test]
fn a_cut_back_into_what_an_older_build_left_can_be_written_to() {
    for old in Old::all() {
        for to in [old.last(), old.last() - 1, old.last() - 3] {
            let disk = old.disk();
            drop(sample::open(&disk, EveryWrite).map(|engine| add(&engine, 1)));
            let disk = disk.kill();
            repair(&sample::location(&disk), to, true).unwrap();
            let last = *sample::segments(&disk).last().unwrap();
            let format = disk.contents(&sample::segment_path(last)).unwrap()[8];
            assert_eq!(format, old.format);
            assert_eq!(verify(&sample::location(&disk)).unwrap().last_offset, to);
            let engine = sample::open(&disk, EveryWrite).unwrap();
            assert_eq!(add(&engine, 2), to + 1);
            engine.close().unwrap();
            let report = verify(&sample::location(&disk)).unwrap();
            assert!(report.ok, "{report:?}");
        }
        // Without an opening in between, the format stays what it was.
        let disk = old.disk();
        repair(&sample::location(&disk), old.last() - 2, true).unwrap();
        assert_eq!(format_of(&disk), old.format);
        assert!(verify(&sample::location(&disk)).unwrap().ok);
    }
}

#[test]
fn the_first_opening_survives_a_crash_at_every_call() {
    let mut crashes = 0;
    // One whose process was killed, and one that stopped.
    let is_usual = |old: &&Old| ["every-write", "never"].iter().any(|end| old.name.ends_with(end));
    for old in Old::all().iter().filter(|old| is_soak() || is_usual(old)) {
        for in_call in [false, true] {
            for call in 1.. {
                let disk = old.disk();
                let cut = if in_call {
                    FaultyStorage::crash_in_call
                } else {
                    FaultyStorage::crash_at_call
                };
                cut(&disk, call);
                let opened = sample::open(&disk, EveryWrite);
                if disk.is_on() {
                    assert!(call > if old.format == 1 { 10 } else { 5 }, "it makes {call} calls");
                    break;
                }
                drop(opened);
                for crash in Crash::variants(call, 6) {
                    assert_goes_on(old, &disk.image().crash(crash));
                    crashes += 1;
                }
                assert_goes_on(old, &disk.kill());
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn a_failure_in_the_first_opening_is_reported_and_the_next_one_goes_on() {
    let full = Effect::Error(std::io::ErrorKind::StorageFull);
    for old in Old::all() {
        for kind in [
            Call::Create,
            Call::Rename,
            Call::Remove,
            Call::SyncDir,
            Call::Write,
            Call::Sync,
            Call::SetLen,
        ] {
            for effect in [Effect::InputOutput, Effect::PartThenError, full] {
                for nth in 1..9 {
                    let disk = old.disk();
                    disk.inject(Fault::new(kind, effect).nth(nth));
                    if let Err(error) = sample::open(&disk, EveryWrite) {
                        let known = [
                            reason::IO,
                            reason::DISK_FULL,
                            reason::OUTCOME_UNKNOWN,
                            reason::WRITE_FAILED,
                            reason::WRITES_STOPPED,
                        ];
                        assert!(known.contains(&error.reason().unwrap()), "{kind:?}: {error:?}");
                    }
                    disk.clear_faults();
                    assert_goes_on(old, &disk);
                }
            }
        }
    }
}

/// Wherever a bit turns, before the change and after it: the truth, or an error that says where.
#[test]
fn no_flipped_bit_of_format_1_goes_unseen() {
    let old = Old::of(1).pop().unwrap();
    let changed = old.disk();
    let engine = sample::open(&changed, EveryWrite).unwrap();
    add(&engine, 1);
    let truth = look(&engine);
    engine.close().unwrap();
    let step = if is_soak() { 1 } else { 5 };
    for (image, truth) in [(old.disk().image(), &old.expected), (changed.image(), &truth)] {
        let disk = image.restart();
        for path in disk.paths().iter().filter(|path| !path.starts_with("snapshots")) {
            for byte in (0..disk.contents(path).unwrap().len()).step_by(step) {
                let disk = image.restart();
                disk.flip_bit(path, byte as u64, (byte % 8) as u8);
                let report = verify(&sample::location(&disk));
                let torn = report.as_ref().is_ok_and(|report| report.torn_tail_bytes > 0);
                let seen = report.map_or(true, |report| !report.ok);
                let opened = sample::open(&disk, EveryWrite);
                match opened.and_then(|engine| try_look(&engine)) {
                    Ok(found) => {
                        assert_eq!(found, *truth, "{path}, byte {byte}");
                        assert!(seen || torn || path == "MANIFEST", "{path}, byte {byte}");
                    }
                    Err(error) => {
                        assert!(seen, "{path}, byte {byte}");
                        assert_eq!(error.reason(), Some(reason::CORRUPT), "{path}, byte {byte}");
                    }
                }
            }
        }
    }
}
