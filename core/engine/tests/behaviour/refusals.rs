//! What a refusal of the system leaves behind: who is told what, and that work goes on afterwards.

use std::io::ErrorKind;

use rstmdb_engine::{Engine, FsyncPolicy, Options, Retention};
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample::{
    apply, begin, database, everything, location, open, options, read, segment_path, segments,
};
use rstmdb_types::error::reason;
use rstmdb_types::{
    ApplyEventRequest, CompactRequest, Error, InfoRequest, SnapshotInstanceRequest,
};

fn compact(engine: &Engine) -> Result<rstmdb_types::CompactResult, Error> {
    engine.compact(CompactRequest { force_snapshot: true }).wait()
}

#[test]
fn a_segment_that_can_not_be_begun_is_begun_with_the_next_write() {
    let refused = Effect::Error(ErrorKind::PermissionDenied);
    for call in [Call::Create, Call::Remove] {
        for fsync in [FsyncPolicy::EveryWrite, FsyncPolicy::Never] {
            let (disk, engine) = database(0, fsync);
            disk.inject(Fault::new(call, refused).path("log/").times(3));
            let refused = (0..100).filter_map(|number| apply(&engine, number).err());
            let errors: Vec<Error> = refused.collect();
            assert_eq!(errors.len(), 3, "{call:?}: only those that needed it");
            for error in &errors {
                assert_eq!(error.reason(), Some(reason::WRITE_FAILED), "{error:?}");
                assert!(error.retryable(), "{error:?}");
                assert!(error.message().contains("nothing was written"), "{error}");
            }
            assert_eq!(engine.info(InfoRequest {}).wait().unwrap().writable, Some(true));
            assert!(segments(&disk).len() > 1, "there it went on");
            let shown = everything(&engine).unwrap();
            assert_eq!(shown["log"].as_array().unwrap().len(), 2 + 100 - 3);
            engine.close().unwrap();
            assert_eq!(read(&disk.crash(Crash::KEEP_NONE)).unwrap(), shown);
        }
    }
}

#[test]
fn a_compaction_whose_segment_is_refused_can_be_repeated() {
    let (disk, engine) = database(5, FsyncPolicy::EveryWrite);
    disk.inject(Fault::new(Call::Create, Effect::Error(ErrorKind::Other)).path("log/").nth(1));
    let error = compact(&engine).unwrap_err();
    assert!(error.message().contains("nothing was written"), "{error}");
    apply(&engine, 5).unwrap();
    assert_eq!(compact(&engine).unwrap().snapshots_created, 1);
}

/// The disk is broken, so writing ends; of the change that came then it is known all the same.
#[test]
fn what_fails_before_a_change_is_written_leaves_no_doubt_about_it() {
    for call in [Call::SetLen, Call::Sync, Call::SyncDir] {
        let (disk, engine) = database(0, FsyncPolicy::Never);
        disk.inject(Fault::new(call, Effect::InputOutput).path("log"));
        let fails = |number| apply(&engine, number).err().map(|error| (number, error));
        let (told, error) = (0..).find_map(fails).unwrap();
        assert_eq!(error.reason(), Some(reason::WRITES_STOPPED), "{call:?}: {error:?}");
        disk.clear_faults();
        let log = read(&disk.kill()).unwrap();
        assert_eq!(log["log"].as_array().unwrap().len() as u64, 2 + told, "{call:?}");
    }
}

#[test]
fn a_change_that_was_committed_is_never_told_as_taken_back() {
    let (disk, engine) = database(0, FsyncPolicy::EveryWrite);
    let pending = engine.apply_event(ApplyEventRequest::new("a", "E").with_key("asked-late"));
    apply(&engine, 0).unwrap();
    disk.set_capacity_bytes(Some(0));
    let big = |number: u64| {
        let payload = serde_json::json!({"text": "x".repeat(5000), "n": number});
        engine.apply_event(ApplyEventRequest::new("a", "E").with_payload(payload)).wait()
    };
    for number in 0..200 {
        assert_eq!(big(number).unwrap_err().reason(), Some(reason::DISK_FULL));
    }
    assert!(pending.wait().unwrap().applied, "a full disk is one failure, however often it is met");
}

#[test]
fn what_is_not_known_any_more_is_unknown() {
    let (disk, engine) = database(0, FsyncPolicy::EveryWrite);
    let early = engine.apply_event(ApplyEventRequest::new("a", "E").with_key("asked-late"));
    apply(&engine, 0).unwrap();
    for number in 0..200 {
        disk.inject(Fault::new(Call::Write, Effect::Error(ErrorKind::StorageFull)).nth(1));
        assert_eq!(apply(&engine, 1000 + number).unwrap_err().reason(), Some(reason::DISK_FULL));
        apply(&engine, number).unwrap();
    }
    match early.wait() {
        Ok(answer) => assert!(answer.applied),
        Err(error) => {
            assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN), "{error:?}");
            assert!(!error.retryable());
        }
    }
}

#[test]
fn closing_on_a_full_disk_is_fine_when_all_is_synced() {
    for fsync in [FsyncPolicy::EveryWrite, FsyncPolicy::Never] {
        let (disk, engine) = database(20, fsync);
        disk.set_capacity_bytes(Some(0));
        let shown = everything(&engine).unwrap();
        engine.close().unwrap();
        drop(engine);
        disk.set_capacity_bytes(None);
        assert_eq!(read(&disk.crash(Crash::KEEP_NONE)).unwrap(), shown);
    }
    // What could not be synced is still an error.
    let (disk, engine) = database(20, FsyncPolicy::Never);
    disk.inject(Fault::new(Call::Sync, Effect::Error(ErrorKind::StorageFull)));
    assert!(engine.close().is_err());
}

fn short_history() -> Options {
    Options { retention: Retention::Bytes(0), ..options(FsyncPolicy::EveryWrite) }
}

#[test]
fn a_segment_that_is_gone_already_does_not_stop_retention() {
    let disk = FaultyStorage::new(1);
    let engine = Engine::open(location(&disk), short_history()).unwrap();
    begin(&engine);
    (0..100).for_each(|number| assert!(apply(&engine, number).unwrap() > 0));
    let there = segments(&disk);
    assert!(there.len() > 4);
    // The first can't be removed, so the next compaction finds it again; somebody removed another.
    disk.inject(Fault::new(Call::Remove, Effect::InputOutput).path(&segment_path(1)).times(2));
    assert!(compact(&engine).is_err());
    assert!(compact(&engine).is_err());
    let storage = &location(&disk).storage;
    for number in [1, 3] {
        storage.remove(&segment_path(number)).unwrap();
    }
    let gone = compact(&engine).unwrap();
    assert!(gone.segments_deleted > 0);
    assert_eq!(segments(&disk).len() as u64, gone.wal_segments);
    assert!(gone.wal_segments < 3, "{gone:?}");
    engine.close().unwrap();
    open(&disk, FsyncPolicy::EveryWrite).unwrap();
}

/// An event without a key, which is what checkpoints would hold.
fn plain(engine: &Engine) -> Result<(), Error> {
    let payload = serde_json::json!({"text": "x".repeat(500)});
    engine.apply_event(ApplyEventRequest::new("a", "E").with_payload(payload)).wait().map(drop)
}

/// Events until one is refused.
fn fill(engine: &Engine) -> Error {
    std::iter::repeat_with(|| plain(engine)).find_map(Result::err).unwrap()
}

/// A log that fills the disk up to what is kept back is made shorter by what is kept back.
#[test]
fn a_compaction_uses_the_space_that_is_kept_back() {
    // The second is more than the log has behind its first checkpoint, and less than it has.
    for retention in [Retention::Bytes(0), Retention::Bytes(512 << 10)] {
        win_space_back(retention);
    }
}

fn win_space_back(retention: Retention) {
    let disk = FaultyStorage::new(1);
    let kept = 256 << 10;
    let capacity = 2 << 20;
    disk.set_capacity_bytes(Some(capacity));
    let options = Options {
        free_bytes_min: kept,
        segment_bytes_max: 64 << 10,
        retention,
        ..options(FsyncPolicy::EveryWrite)
    };
    let mut engine = Engine::open(location(&disk), options.clone()).unwrap();
    begin(&engine);
    for round in 0..3 {
        let full = fill(&engine);
        assert_eq!(full.reason(), Some(reason::DISK_FULL), "{full:?}");
        if round == 1 {
            engine.close().unwrap();
            drop(engine);
            engine = Engine::open(location(&disk), options.clone()).unwrap();
            let still = fill(&engine);
            assert_eq!(still.reason(), Some(reason::DISK_FULL), "a restart does not help");
        }
        let compacted = compact(&engine).unwrap();
        assert_eq!(compacted.snapshots_created, 1);
        assert!(compacted.bytes_reclaimed > capacity / 2, "{compacted:?}");
        plain(&engine).unwrap();
    }
}

#[test]
fn a_snapshot_takes_nothing_of_the_space_that_is_kept_back_and_leaves_nothing_when_it_fails() {
    let (disk, engine) = database(3, FsyncPolicy::EveryWrite);
    engine.close().unwrap();
    drop(engine);
    let options = Options { free_bytes_min: 1000, ..options(FsyncPolicy::EveryWrite) };
    let engine = Engine::open(location(&disk), options).unwrap();
    let snapshot =
        || engine.snapshot_instance(SnapshotInstanceRequest { instance_id: "a".into() }).wait();
    disk.set_free_bytes(Some(999));
    assert_eq!(snapshot().unwrap_err().reason(), Some(reason::DISK_FULL));
    disk.set_free_bytes(Some(1000));
    for call in [Call::Write, Call::Sync, Call::Rename] {
        let full = Effect::Error(ErrorKind::StorageFull);
        disk.inject(Fault::new(call, full).path("snapshots/").nth(1));
        assert_eq!(snapshot().unwrap_err().reason(), Some(reason::DISK_FULL), "{call:?}");
    }
    assert!(!disk.paths().iter().any(|path| path.starts_with("snapshots/")), "{:?}", disk.paths());
    snapshot().unwrap();
    apply(&engine, 3).unwrap();
}

#[test]
fn what_a_checkpoint_covers_goes_before_another_is_written() {
    let disk = FaultyStorage::new(1);
    let engine = Engine::open(location(&disk), options(FsyncPolicy::EveryWrite)).unwrap();
    begin(&engine);
    (0..100).for_each(|number| assert!(apply(&engine, number).unwrap() > 0));
    compact(&engine).unwrap();
    let covered = segments(&disk).len();
    assert!(covered > 4, "all of the history is kept");
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(location(&disk), short_history()).unwrap();
    disk.inject(Fault::new(Call::Create, Effect::Error(ErrorKind::StorageFull)).path(".ckpt"));
    assert_eq!(compact(&engine).unwrap_err().reason(), Some(reason::DISK_FULL));
    assert!(segments(&disk).len() < 4);
    assert!(!disk.paths().iter().any(|path| path.ends_with(".tmp")), "{:?}", disk.paths());
    apply(&engine, 100).unwrap();
}
