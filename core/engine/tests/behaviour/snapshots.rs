//! Snapshots of single instances: files beside the log that go with their instance, whatever happens
//! between its deletion and their removal.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, mpsc};

use rstmdb_engine::storage::SystemClock;
use rstmdb_engine::{Background, Engine, FsyncPolicy, Location, Options, Purpose};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::faulty::{Call, Crash, DiskImage, Effect, Fault, FaultyStorage, When};
use rstmdb_testkit::sample::{apply, begin, database, location, open, options};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Limits, Operation, Text};
use serde_json::{Value, json};

const EVERY_WRITE: FsyncPolicy = FsyncPolicy::EveryWrite;

fn run(engine: &Engine, operation: Operation, request: Value) -> Result<Value, Error> {
    call(engine, operation, &request).map(|answer| answer.to_value())
}

fn create(engine: &Engine, id: &str) {
    let request = json!({"instance_id": id, "machine": "m", "version": 1});
    run(engine, Operation::CreateInstance, request).unwrap();
}

fn delete(engine: &Engine, id: &str) -> Result<Value, Error> {
    run(engine, Operation::DeleteInstance, json!({"instance_id": id}))
}

fn snapshot(engine: &Engine, id: &str) -> Result<Text, Error> {
    let written = run(engine, Operation::SnapshotInstance, json!({"instance_id": id}))?;
    Ok(written["snapshot_id"].as_str().unwrap().into())
}

fn drop_snapshot(engine: &Engine, id: &str) -> Result<Value, Error> {
    run(engine, Operation::DropSnapshot, json!({"snapshot_id": id}))
}

/// The ids of an instance's snapshots.
fn listed(engine: &Engine, id: &str) -> Vec<Text> {
    let list = run(engine, Operation::ListSnapshots, json!({"instance_id": id})).unwrap();
    let ids = list["snapshots"].as_array().unwrap().iter();
    ids.map(|one| one["snapshot_id"].as_str().unwrap().into()).collect()
}

/// The names in the directory of snapshots.
fn files(disk: &FaultyStorage) -> Vec<String> {
    let paths = disk.paths();
    paths.iter().filter_map(|path| path.strip_prefix("snapshots/")).map(String::from).collect()
}

fn file(id: &str) -> String {
    format!("{id}.json")
}

/// The disk before each call that changes it, from now on.
fn record(disk: &FaultyStorage) -> Arc<Mutex<Vec<DiskImage>>> {
    let moments = Arc::new(Mutex::new(Vec::new()));
    let kept = moments.clone();
    disk.observe(move |disk, when, call, _| {
        if when == When::Before && call.is_mutating() {
            kept.lock().unwrap().push(disk.image());
        }
    });
    moments
}

#[test]
fn a_snapshot_goes_with_its_instance_wherever_the_process_died() {
    let (disk, engine) = database(3, EVERY_WRITE);
    create(&engine, "b");
    let kept = snapshot(&engine, "b").unwrap();
    let gone = [snapshot(&engine, "a").unwrap(), snapshot(&engine, "a").unwrap()];
    let moments = record(&disk);
    delete(&engine, "a").unwrap();
    let deleted = moments.lock().unwrap().len();
    assert_eq!(files(&disk).len(), 3, "nobody tidies up in this test but who is asked to");
    run(&engine, Operation::Compact, json!({})).unwrap();
    assert_eq!(files(&disk), [file(&kept)]);
    engine.close().unwrap();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    assert!(moments.len() > deleted + gone.len());
    for (number, moment) in moments.iter().enumerate() {
        let crashes = Crash::variants(number as u64, 4).map(|crash| moment.crash(crash));
        for disk in crashes.chain([moment.restart()]) {
            let engine = open(&disk, EVERY_WRITE).unwrap();
            let lives = run(&engine, Operation::GetInstance, json!({"instance_id": "a"})).is_ok();
            assert!(!lives || number < deleted, "the deletion was told");
            assert_eq!(listed(&engine, "b"), std::slice::from_ref(&kept));
            let there = if lives { 3 } else { 1 };
            assert_eq!(files(&disk).len(), there, "moment {number}: {:?}", files(&disk));
        }
    }
}

#[test]
fn a_former_life_leaves_no_snapshot_to_the_next_one_whatever_the_clock_says() {
    let (disk, engine) = database(3, EVERY_WRITE);
    let former = snapshot(&engine, "a").unwrap();
    delete(&engine, "a").unwrap();
    create(&engine, "a");
    assert_eq!(drop_snapshot(&engine, &former).unwrap_err().code(), ErrorCode::NotFound);
    // The checkpoint is all that a start needs: the log that tells of the deletion is not read again.
    disk.inject(Fault::new(Call::Remove, Effect::InputOutput).path("snapshots/"));
    run(&engine, Operation::Compact, json!({})).unwrap();
    let own = snapshot(&engine, "a").unwrap();
    assert_eq!(files(&disk).len(), 2, "its removal failed");
    let killed = disk.kill();
    let engine = open(&killed, EVERY_WRITE).unwrap();
    assert_eq!(listed(&engine, "a"), std::slice::from_ref(&own));
    assert_eq!(files(&killed), [file(&own)]);
}

#[test]
fn a_deletion_that_is_taken_back_takes_no_snapshot_with_it() {
    let (disk, engine) = database(3, EVERY_WRITE);
    let id = snapshot(&engine, "a").unwrap();
    disk.inject(Fault::new(Call::Write, Effect::Error(ErrorKind::StorageFull)).path("log/").nth(1));
    assert_eq!(delete(&engine, "a").unwrap_err().reason(), Some(reason::DISK_FULL));
    run(&engine, Operation::Compact, json!({})).unwrap();
    assert_eq!(listed(&engine, "a"), [id]);
    apply(&engine, 3).unwrap();
}

#[test]
fn threads_remove_the_files_when_the_deletion_is_written() {
    let disk = FaultyStorage::new(1);
    let background = Background::Threads;
    let options = Options { background, allow_flush_all: true, ..options(EVERY_WRITE) };
    let clock = Arc::new(SystemClock);
    let engine = Engine::open(Location { clock, ..location(&disk) }, options).unwrap();
    let (removed, removals) = mpsc::channel();
    disk.observe(move |_, when, call, path| {
        if when == When::After && call == Call::Remove && path.starts_with("snapshots/") {
            let _ = removed.send(());
        }
    });
    for _ in 0..3 {
        begin(&engine);
        create(&engine, "b");
        let kept = snapshot(&engine, "b").unwrap();
        for _ in 0..3 {
            let gone = [snapshot(&engine, "a").unwrap(), snapshot(&engine, "a").unwrap()];
            delete(&engine, "a").unwrap();
            gone.iter().for_each(|_| removals.recv().unwrap());
            assert_eq!(files(&disk), [file(&kept)]);
            create(&engine, "a");
        }
        run(&engine, Operation::FlushAll, json!({})).unwrap();
        removals.recv().unwrap();
        assert!(files(&disk).is_empty());
    }
    engine.close().unwrap();
}

#[test]
fn a_deletion_is_on_the_disk_before_a_snapshot_is_removed_whatever_the_policy() {
    let disk = FaultyStorage::new(1);
    let background = Background::Threads;
    let options = Options { background, ..options(FsyncPolicy::Never) };
    let clock = Arc::new(SystemClock);
    let engine = Engine::open(Location { clock, ..location(&disk) }, options).unwrap();
    begin(&engine);
    snapshot(&engine, "a").unwrap();
    let (removing, removals) = mpsc::channel();
    disk.observe(move |disk, when, call, path| {
        if when == When::Before && call == Call::Remove && path.starts_with("snapshots/") {
            let _ = removing.send(disk.image());
        }
    });
    delete(&engine, "a").unwrap();
    let moment = removals.recv().unwrap();
    for crash in Crash::variants(1, 20) {
        let engine = open(&moment.crash(crash), FsyncPolicy::Never).unwrap();
        let found = run(&engine, Operation::GetInstance, json!({"instance_id": "a"}));
        let error = found.expect_err("its snapshot may be gone, so it must be");
        assert_eq!(error.code(), ErrorCode::InstanceNotFound, "{error}");
    }
    engine.close().unwrap();
}

/// A directory with many of them takes long to read.
#[test]
fn nobody_but_who_asks_for_snapshots_waits_until_their_directory_is_read() {
    let (disk, engine) = database(3, EVERY_WRITE);
    let id = snapshot(&engine, "a").unwrap();
    engine.close().unwrap();
    let (reading, begun) = mpsc::channel();
    let (go_on, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    disk.observe(move |_, when, call, path| {
        if when == When::Before && call == Call::Read && path.starts_with("snapshots/") {
            let _ = reading.send(());
            // Until the sender is gone.
            let _ = waits.lock().unwrap().recv();
        }
    });
    let options = Options { background: Background::Threads, ..options(EVERY_WRITE) };
    let clock = Arc::new(SystemClock);
    let engine = Engine::open(Location { clock, ..location(&disk) }, options).unwrap();
    begun.recv().unwrap();
    apply(&engine, 3).unwrap();
    run(&engine, Operation::Compact, json!({"force_snapshot": true})).unwrap();
    drop(go_on);
    assert_eq!(listed(&engine, "a"), [id]);
    engine.close().unwrap();
}

#[test]
fn a_close_waits_for_no_removal_that_is_over() {
    let options = Options { background: Background::Threads, ..options(EVERY_WRITE) };
    for _ in 0..300 {
        let disk = FaultyStorage::new(1);
        let clock = Arc::new(SystemClock);
        let location = Location { clock, ..location(&disk) };
        let engine = Engine::open(location, options.clone()).unwrap();
        begin(&engine);
        snapshot(&engine, "a").unwrap();
        delete(&engine, "a").unwrap();
        engine.close().unwrap();
        assert!(files(&disk).is_empty());
    }
}

#[test]
fn what_is_unfinished_goes_at_a_start_and_what_is_no_snapshot_stays() {
    let (disk, engine) = database(3, EVERY_WRITE);
    let id = snapshot(&engine, "a").unwrap();
    engine.close().unwrap();
    let damaged = "snap-damaged";
    disk.put(&format!("snapshots/{damaged}.json"), b"{\"instance_id\":\"a\",");
    disk.put("snapshots/snap-0.json.tmp", b"{");
    disk.put("snapshots/notes.txt", b"mine");
    let text = disk.contents(&format!("snapshots/{id}.json")).unwrap();
    let orphan = String::from_utf8(text).unwrap().replace("\"a\"", "\"nobody\"");
    disk.put("snapshots/snap-orphan.json", orphan.as_bytes());
    let engine = open(&disk, EVERY_WRITE).unwrap();
    assert_eq!(listed(&engine, "a"), std::slice::from_ref(&id));
    let mut expected = ["notes.txt".to_owned(), file(&id), file(damaged)];
    expected.sort();
    assert_eq!(files(&disk), expected);
    drop_snapshot(&engine, damaged).unwrap();
    for other in ["snap-orphan", damaged, "notes.txt", "../MANIFEST", "snap-../../MANIFEST", ""] {
        let error = drop_snapshot(&engine, other).unwrap_err();
        assert_eq!(error.reason(), Some(reason::SNAPSHOT_NOT_FOUND), "{other}: {error}");
    }
    drop_snapshot(&engine, &id).unwrap();
    assert_eq!(files(&disk), ["notes.txt"]);
    assert!(disk.contents("MANIFEST").is_some());
}

#[test]
fn an_instance_has_at_most_so_many_snapshots_and_zero_means_no_limit() {
    let opened = |disk: &FaultyStorage, snapshots_max| {
        let limits = Limits { snapshots_max, ..Limits::default() };
        let options = Options { limits, ..options(EVERY_WRITE) };
        Engine::open(location(disk), options).unwrap()
    };
    let (disk, engine) = database(3, EVERY_WRITE);
    let default = Limits::default().snapshots_max;
    (0..default).for_each(|_| assert!(snapshot(&engine, "a").is_ok()));
    let refused = snapshot(&engine, "a").unwrap_err();
    assert_eq!(refused.reason(), Some(reason::LIMIT_EXCEEDED));
    assert!(refused.message().contains("drop_snapshot"), "{refused}");
    engine.close().unwrap();
    let engine = opened(&disk, 0);
    snapshot(&engine, "a").unwrap();
    engine.close().unwrap();
    let engine = opened(&disk, 1);
    // More than the limit of now are listed, and what the message says helps.
    let ids = listed(&engine, "a");
    assert_eq!(ids.len(), default as usize + 1);
    assert!(snapshot(&engine, "a").is_err());
    ids.iter().for_each(|id| assert!(drop_snapshot(&engine, id).is_ok()));
    snapshot(&engine, "a").unwrap();
    assert!(snapshot(&engine, "a").is_err());
}

#[test]
fn what_takes_no_writes_is_snapshotted_and_what_can_only_be_read_tells_its_snapshots() {
    let (disk, engine) = database(3, EVERY_WRITE);
    let id = snapshot(&engine, "a").unwrap();
    disk.inject(Fault::new(Call::Sync, Effect::InputOutput).path("log/"));
    apply(&engine, 3).unwrap_err();
    assert_eq!(apply(&engine, 3).unwrap_err().reason(), Some(reason::WRITES_STOPPED));
    let second = snapshot(&engine, "a").unwrap();
    assert_eq!(listed(&engine, "a").len(), 2);
    drop_snapshot(&engine, &second).unwrap();
    let disk = disk.kill();
    let denied = Effect::Error(ErrorKind::PermissionDenied);
    for call in [Call::Write, Call::Create, Call::Remove, Call::Rename, Call::SetLen, Call::Lock] {
        disk.inject(Fault::new(call, denied).from_nth(1));
    }
    let before = disk.image();
    let reading = Options { purpose: Purpose::Read, create: false, ..options(EVERY_WRITE) };
    let engine = Engine::open(location(&disk), reading).unwrap();
    assert_eq!(listed(&engine, "a"), std::slice::from_ref(&id));
    assert_eq!(snapshot(&engine, "a").unwrap_err().code(), ErrorCode::ReadOnlyMode);
    assert_eq!(drop_snapshot(&engine, &id).unwrap_err().code(), ErrorCode::ReadOnlyMode);
    engine.close().unwrap();
    assert!(disk.image() == before, "nothing was changed");
}
