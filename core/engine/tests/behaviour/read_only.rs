//! A directory that can't be written to is read all the same, and nothing in it changes.

use std::io::ErrorKind;

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::verify;
use rstmdb_engine::{Engine, Options, Purpose};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample::*;
use rstmdb_types::error::reason;
use rstmdb_types::{ErrorCode, Operation, Result};
use serde_json::json;

fn open_to(disk: &FaultyStorage, purpose: Purpose) -> Result<Engine> {
    Engine::open(location(disk), Options { purpose, create: false, ..options(EveryWrite) })
}

/// From now on nothing on the disk can be changed, and no lock taken.
fn protect(disk: &FaultyStorage, kind: ErrorKind) {
    for call in [
        Call::Create,
        Call::Rename,
        Call::Remove,
        Call::CreateDir,
        Call::SyncDir,
        Call::Write,
        Call::Sync,
        Call::SetLen,
        Call::Lock,
    ] {
        disk.inject(Fault::new(call, Effect::Error(kind)));
    }
}

/// Databases that stopped cleanly, with a checkpoint, and in the middle of a write.
fn databases() -> Vec<(FaultyStorage, serde_json::Value)> {
    let (disk, engine) = database(30, EveryWrite);
    let killed = (disk.image().crash(Crash::KEEP_ALL), everything(&engine).unwrap());
    let torn = disk.image().crash(Crash::KEEP_ALL);
    let last = *segments(&torn).last().unwrap();
    let end = frames(&torn, last).last().map(|frame| frame.position + frame.bytes.len()).unwrap();
    edit(&torn, &segment_path(last), |bytes| {
        bytes.truncate(end);
        bytes.extend_from_slice(b"RFRM half a frame");
    });
    let torn = (torn, everything(&engine).unwrap());
    call(&engine, Operation::Compact, &json!({"force_snapshot": true})).unwrap();
    apply(&engine, 100).unwrap();
    let truth = everything(&engine).unwrap();
    engine.close().unwrap();
    vec![killed, torn, (disk.crash(Crash::KEEP_NONE), truth)]
}

#[test]
fn what_nobody_can_write_to_is_read_and_verified() {
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        for (disk, truth) in databases() {
            protect(&disk, kind);
            let before = disk.image();
            assert!(verify(&location(&disk)).unwrap().ok);
            let refused = open_to(&disk, Purpose::Write).unwrap_err();
            assert_eq!(refused.reason(), Some(reason::IO), "{refused}");
            let engine = open_to(&disk, Purpose::Read).unwrap();
            assert_eq!(everything(&engine).unwrap(), truth);
            let instance = json!({"instance_id": "a"});
            let one = json!({"op": "APPLY_EVENT", "params": {"instance_id": "a", "event": "E"}});
            for (operation, request) in [
                (Operation::ApplyEvent, json!({"instance_id": "a", "event": "E"})),
                (Operation::CreateInstance, json!({"machine": "m", "version": 1})),
                (Operation::DeleteInstance, instance.clone()),
                (Operation::Batch, json!({"mode": "atomic", "ops": [one]})),
                (Operation::Compact, json!({})),
                (Operation::SnapshotInstance, instance.clone()),
            ] {
                let error = call(&engine, operation, &request).unwrap_err();
                assert_eq!(error.code(), ErrorCode::ReadOnlyMode, "{operation:?}: {error}");
                assert!(error.message().contains("open for reading only"), "{error}");
            }
            assert_eq!(everything(&engine).unwrap(), truth);
            engine.close().unwrap();
            assert!(disk.image() == before, "nothing was changed");
        }
    }
}

#[test]
fn reading_takes_the_lock_where_there_is_one() {
    let (disk, engine) = database(3, EveryWrite);
    assert_eq!(open_to(&disk, Purpose::Read).unwrap_err().reason(), Some(reason::LOCKED));
    engine.close().unwrap();
    let engine = open_to(&disk, Purpose::Read).unwrap();
    apply(&engine, 7).unwrap();
    assert_eq!(open_to(&disk, Purpose::Read).unwrap_err().reason(), Some(reason::LOCKED));
    engine.close().unwrap();
}

#[test]
fn what_can_only_be_read_is_refused_when_it_is_damaged_or_not_there() {
    for (disk, _) in databases() {
        disk.flip_bit(&segment_path(1), 200, 1);
        disk.paths()
            .iter()
            .filter(|path| path.ends_with(".ckpt"))
            .for_each(|path| disk.delete(path));
        protect(&disk, ErrorKind::ReadOnlyFilesystem);
        assert_damage(&open_to(&disk, Purpose::Read).unwrap_err(), &segment_path(1));
        assert!(!verify(&location(&disk)).unwrap().ok);
    }
    let disk = FaultyStorage::new(1);
    protect(&disk, ErrorKind::ReadOnlyFilesystem);
    assert_eq!(open_to(&disk, Purpose::Read).unwrap_err().code(), ErrorCode::NotFound);
}
