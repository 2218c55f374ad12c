//! `verify` names what is wrong and what helps; `repair` cuts only what it was told to, and keeps it.

use rstmdb_engine::maintenance::{VerifyReport, repair, verify};
use rstmdb_engine::storage::Storage;
use rstmdb_engine::{Background, Engine, Options};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{LOOP, location};
use rstmdb_types::error::reason;
use rstmdb_types::*;

fn open(disk: &FaultyStorage) -> Result<Engine> {
    let options = Options {
        background: Background::Inline,
        segment_bytes_max: 8192,
        free_bytes_min: 0,
        checkpoint_log_bytes: 0,
        partitions: 2,
        ..Options::default()
    };
    Engine::open(location(disk), options)
}

fn apply(engine: &Engine, count: u64) -> Offset {
    let mut last = 0;
    for n in 0..count {
        let payload =
            Json::parse(&format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(50))).unwrap();
        let request = ApplyEventRequest::new("a", "E").with_payload(payload);
        last = engine.apply_event(request).wait().unwrap().wal_offset;
    }
    last
}

/// A database of several segments, closed cleanly; returns its last offset.
fn database(events: u64) -> (FaultyStorage, Offset) {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk).unwrap();
    engine.put_machine(PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap())).wait().unwrap();
    engine.create_instance(CreateInstanceRequest::new("a", "m", 1)).wait().unwrap();
    let last = apply(&engine, events);
    engine.close().unwrap();
    (disk, last)
}

fn check(disk: &FaultyStorage) -> VerifyReport {
    verify(&location(disk)).unwrap()
}

fn context(engine: &Engine) -> (Offset, String) {
    let found = engine.get_instance(GetInstanceRequest { instance_id: "a".into() }).wait().unwrap();
    (found.last_wal_offset, found.ctx.as_str().to_owned())
}

#[test]
fn a_healthy_database_has_no_problems_and_is_not_changed() {
    let (disk, last) = database(200);
    let before: Vec<_> = disk.paths().into_iter().map(|path| disk.contents(&path)).collect();
    let report = check(&disk);
    assert!(report.ok, "{report:?}");
    assert_eq!((report.first_offset, report.last_offset), (1, last));
    assert!(report.segments.len() > 2);
    let changes: u64 = report.segments.iter().map(|segment| segment.changes).sum();
    assert_eq!(changes, last);
    let after: Vec<_> = disk.paths().into_iter().map(|path| disk.contents(&path)).collect();
    assert_eq!(before, after);
}

#[test]
fn an_open_database_is_left_alone() {
    let (disk, _) = database(1);
    let engine = open(&disk).unwrap();
    assert_eq!(verify(&location(&disk)).unwrap_err().reason(), Some(reason::LOCKED));
    assert_eq!(repair(&location(&disk), 1, true).unwrap_err().reason(), Some(reason::LOCKED));
    engine.close().unwrap();
}

#[test]
fn no_database_is_not_found() {
    let error = verify(&location(&FaultyStorage::new(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn damage_is_named_and_the_remedy_works_and_keeps_a_copy() {
    let (disk, last) = database(200);
    let report = check(&disk);
    let middle = report.segments[1].clone();
    let damaged_at = middle.bytes / 2;
    let original = disk.contents(&middle.file).unwrap();
    disk.flip_bit(&middle.file, damaged_at, 3);

    let refusal = open(&disk).unwrap_err();
    assert_eq!(refusal.reason(), Some(reason::CORRUPT));
    assert_eq!(refusal.context()["file"], middle.file.as_str());

    let report = check(&disk);
    assert!(!report.ok);
    let problem = &report.problems[0];
    assert_eq!(problem.file, middle.file);
    let good = problem.offset.unwrap() - 1;
    assert_eq!(good, report.last_offset);
    assert!(problem.position <= damaged_at);
    assert!(problem.remedy.contains(&format!("repair --to {good}")), "{}", problem.remedy);

    let plan = repair(&location(&disk), good, false).unwrap();
    assert!(!plan.done);
    assert!(open(&disk).is_err(), "a plan changes nothing");
    // What can be counted: the changes in intact frames behind the damage.
    assert!(plan.changes_dropped > 0 && plan.changes_dropped <= last - good);

    let done = repair(&location(&disk), good, true).unwrap();
    assert!(done.done);
    assert_eq!(done.segments_removed.len(), report.segments.len() - 2);
    let name = middle.file.rsplit('/').next().unwrap();
    let copy = disk.contents(&format!("{}/{name}", done.copies)).unwrap();
    assert_eq!(copy.len(), original.len());
    assert!(check(&disk).ok);
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine).0, good);
    assert_eq!(apply(&engine, 1), good + 1, "writing goes on after the cut");
    engine.close().unwrap();
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, _) = database(200);
    let report = check(&disk);
    let (kept, missing) = (report.segments[0].clone(), report.segments[1].clone());
    disk.delete(&missing.file);
    let error = open(&disk).unwrap_err();
    assert_eq!(error.context()["file"], missing.file.as_str());
    let problem = check(&disk).problems[0].clone();
    assert_eq!(problem.file, missing.file);
    let good = missing.first_offset - 1;
    assert!(problem.remedy.contains(&format!("--to {good}")), "{}", problem.remedy);
    repair(&location(&disk), good, true).unwrap();
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine).0, kept.first_offset + kept.changes - 1);
    engine.close().unwrap();
}

#[test]
fn a_torn_tail_is_no_problem() {
    let (disk, last) = database(3);
    let segment = check(&disk).segments[0].clone();
    let mut bytes = disk.contents(&segment.file).unwrap();
    bytes.truncate(segment.bytes as usize);
    bytes.extend_from_slice(b"RFRM half a frame that nobody was told about");
    disk.put(&segment.file, &bytes);
    let report = check(&disk);
    assert!(report.ok, "{report:?}");
    assert!(report.torn_tail_bytes > 0);
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine).0, last);
    engine.close().unwrap();
}

#[test]
fn an_acknowledged_change_cut_off_the_end_is_a_problem() {
    let (disk, last) = database(3);
    let segment = check(&disk).segments[0].clone();
    let mut bytes = disk.contents(&segment.file).unwrap();
    // The last frame loses its last byte; the manifest of the clean stop knows it was there.
    bytes.truncate(segment.bytes as usize - 1);
    disk.put(&segment.file, &bytes);
    assert_eq!(open(&disk).unwrap_err().reason(), Some(reason::CORRUPT));
    let report = check(&disk);
    assert_eq!(report.problems[0].offset, Some(last));
    repair(&location(&disk), last - 1, true).unwrap();
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine).0, last - 1);
    engine.close().unwrap();
}

#[test]
fn a_damaged_checkpoint_is_named_and_an_older_one_serves() {
    let (disk, _) = database(20);
    let engine = open(&disk).unwrap();
    engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
    apply(&engine, 20);
    engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
    apply(&engine, 20);
    let truth = context(&engine);
    engine.close().unwrap();
    let newest = check(&disk).checkpoints.last().unwrap().file.clone();
    disk.flip_bit(&newest, 100, 0);
    let report = check(&disk);
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].file, newest);
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine), truth);
    engine.close().unwrap();
}

#[test]
fn a_cut_drops_checkpoints_that_hold_later_changes() {
    let (disk, _) = database(20);
    let engine = open(&disk).unwrap();
    let early = context(&engine);
    apply(&engine, 20);
    engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
    engine.close().unwrap();
    let done = repair(&location(&disk), early.0, true).unwrap();
    assert_eq!(done.checkpoints_removed.len(), 1);
    let engine = open(&disk).unwrap();
    assert_eq!(context(&engine), early);
    engine.close().unwrap();
}

#[test]
fn a_batch_is_never_cut_in_two() {
    let (disk, last) = database(1);
    let engine = open(&disk).unwrap();
    let one = || BatchOperation::ApplyEvent(ApplyEventRequest::new("a", "E"));
    let ops = vec![one(), one(), one()];
    let request = BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };
    engine.batch(request).wait().unwrap();
    engine.close().unwrap();
    let error = repair(&location(&disk), last + 2, true).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
    assert!(error.message().contains(&format!("use {last} or {}", last + 3)), "{error}");
    let error = repair(&location(&disk), last + 4, true).unwrap_err();
    assert!(error.message().contains("whole only up to"), "{error}");
    assert!(disk.list("").unwrap().iter().all(|name| !name.starts_with("repair")));
}
