//! Ids that are created and deleted one after another leave nothing behind for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Background, Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::seeds;
use rstmdb_types::error::reason;
use rstmdb_types::*;

/// Ids between two compactions.
const ROUND: u64 = 100_000;
const ROUNDS: u64 = 8;
const ROUNDS_OF_SOAK: u64 = 100;

fn open(path: &Path, clock: &Arc<TestClock>) -> Engine {
    let options = Options {
        fsync: FsyncPolicy::Never,
        retention: Retention::Bytes(0),
        idempotency_window: Duration::from_secs(1),
        background: Background::Inline,
        checkpoint_log_bytes: 0,
        ..Options::default()
    };
    let location = Location { clock: clock.clone(), ..Location::directory(path) };
    Engine::open(location, options).unwrap()
}

fn create_and_delete(engine: &Engine, from: u64, to: u64) {
    for number in from..to {
        let id = format!("instance-{number:012}");
        engine.create_instance(CreateInstanceRequest::new(&id, "m", 1)).wait().unwrap();
        let delete = DeleteInstanceRequest { instance_id: id.into(), idempotency_key: None };
        engine.delete_instance(delete).wait().unwrap();
    }
}

fn delete(engine: &Engine, number: u64) -> Result<DeleteInstanceResult> {
    let instance_id = format!("instance-{number:012}").into();
    engine.delete_instance(DeleteInstanceRequest { instance_id, idempotency_key: None }).wait()
}

/// Memory of this process that is in use, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn checkpoint_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path.join("checkpoints")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap()
}

#[test]
fn millions_of_ids_that_come_and_go_take_the_room_of_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let engine = open(folder.path(), &clock);
    let definition = Json::parse(r#"{"states":["s"],"initial":"s","transitions":[]}"#).unwrap();
    engine.put_machine(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    let begin = memory();
    let (mut first_memory, mut first_bytes) = (0, 0);
    let rounds = if seeds::is_soak() { ROUNDS_OF_SOAK } else { ROUNDS };
    for round in 0..rounds {
        create_and_delete(&engine, round * ROUND, (round + 1) * ROUND);
        let first = delete(&engine, round * ROUND).unwrap();
        assert!(first.deleted, "a repeated delete gets its first answer until the id is purged");
        if round == 0 {
            first_memory = memory() - begin;
        }
        clock.advance_ms(2_000);
        engine.compact(CompactRequest::default()).wait().unwrap();
        if round == 0 {
            first_bytes = checkpoint_bytes(folder.path());
        }
        let gone = delete(&engine, round * ROUND).unwrap_err();
        assert_eq!((gone.code(), gone.reason()), (ErrorCode::InstanceNotFound, None));
    }
    let bytes = checkpoint_bytes(folder.path());
    assert!(bytes <= 2 * first_bytes, "checkpoint: {bytes} against {first_bytes}");
    let memory = memory() - begin;
    // The allocator and the file cache of the process have their own ways.
    let most = 2 * first_memory + (8 << 20);
    assert!(memory <= most, "memory: {memory} against {first_memory} after the first round");
    engine.close().unwrap();
    drop(engine);
    let engine = open(folder.path(), &clock);
    assert_eq!(engine.info(InfoRequest {}).wait().unwrap().instances, Some(0));
    create_and_delete(&engine, 0, 10);
    assert!(delete(&engine, 3).unwrap().deleted, "an id that was forgotten can be used again");
    let log = WalReadRequest { entries: Some("all".into()), ..WalReadRequest::new(1) };
    let log = engine.wal_read(log).wait().unwrap().records;
    let is_floor = |record: &WalRecord| matches!(record.entry, WalEntry::PurgeFloor { .. });
    assert!(log.iter().any(is_floor), "the floor is in the log");
    let log = WalReadRequest { entries: Some("none".into()), ..WalReadRequest::new(1) };
    let error = engine.wal_read(log).wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::INVALID_REQUEST));
}
