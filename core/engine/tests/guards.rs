//! Each recovery guard is needed: with it a check passes, without it the same check fails.
//!
//! The switches are global, so this is a test program of its own with a single test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::catch_unwind;

use rstmdb_engine::FsyncPolicy::{EveryN, EveryWrite, Never};
use rstmdb_engine::guards::{Safeguard, set};
use rstmdb_engine::maintenance::verify;
use rstmdb_testkit::cluster::{Cluster, Faults, pair};
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample::*;
use rstmdb_types::{ApplyEventRequest, CreateInstanceRequest};

/// The first frame after an opening comes behind one of this size.
const EPOCH_FRAME_BYTES: usize = 92;

/// Those that the tests of groups miss: `mutants` of the crate `cluster`.
const OF_GROUPS: [Safeguard; 2] = [Safeguard::RefusalEndsRun, Safeguard::Fencing];

/// What must hold thanks to a guard; panics when it does not.
fn check_of(guard: Safeguard) -> fn() {
    match guard {
        Safeguard::TruncateTail => what_is_cut_off_does_not_come_back,
        Safeguard::DirectorySync => names_survive_a_power_cut,
        Safeguard::Poison => nothing_is_acknowledged_after_a_failed_sync,
        Safeguard::HeaderChecksum => a_flipped_bit_in_a_header_is_seen,
        Safeguard::SequenceGap => a_hole_in_the_log_is_seen,
        Safeguard::CommitMark
        | Safeguard::StepDown
        | Safeguard::VoidRule
        | Safeguard::SyncBeforeAnswer
        | Safeguard::LogOutlivesRun
        | Safeguard::TakenBackForGood => groups_agree,
        Safeguard::SyncedInOrder | Safeguard::UnsyncedCountsNot => {
            pair::who_waits_for_frames_is_told_in_their_order_when_they_are_on_the_disk
        }
        Safeguard::PlaceOfItsData => pair::a_checkpoint_names_the_place_that_its_data_is_of,
        Safeguard::VoteBeforeAnswer => pair::a_vote_survives_whatever_the_moment_of_a_crash,
        Safeguard::ManifestBeforeCut => {
            pair::a_log_that_differs_is_cut_and_goes_on_whatever_the_moment_of_a_crash
        }
        Safeguard::ReadAgainAfterCut => pair::readers_that_read_ahead_do_not_see_what_was_cut,
        Safeguard::WholeRecords => batches_are_whole,
        Safeguard::ReadRounds => pair::what_a_leader_shows_waits_for_a_round,
        Safeguard::RefusalEndsRun | Safeguard::Fencing => unreachable!("it is of groups"),
        Safeguard::LeaderReads => pair::who_does_not_lead_shows_what_may_be_behind_and_nothing_else,
    }
}

fn what_is_cut_off_does_not_come_back() {
    let (disk, engine) = database(8, Never);
    // A torn frame, and behind it a whole one that was written without a sync in between.
    let write = |engine: &rstmdb_engine::Engine, key: &str, text: &str| {
        let payload = serde_json::json!({"text": text});
        let request = ApplyEventRequest::new("a", "E").with_payload(payload).with_key(key);
        engine.apply_event(request).wait().unwrap().wal_offset
    };
    write(&engine, "torn", &"x".repeat(300));
    write(&engine, "next", "y");
    let disk = disk.kill();
    drop(engine);
    let torn = frames(&disk, 1).into_iter().nth_back(1).unwrap();
    disk.flip_bit(&segment_path(1), torn.position as u64 + 80, 0);
    let image = disk.image();
    // With the epoch frame before it as long as the torn one: the other would be right behind it.
    let fits = |disk: &FaultyStorage| {
        let mut all = frames(disk, 1).into_iter();
        let again = all.find(|frame| frame.position == torn.position + EPOCH_FRAME_BYTES);
        again.is_some_and(|again| again.bytes.len() + EPOCH_FRAME_BYTES == torn.bytes.len())
    };
    let (disk, engine, offset) = (0..400)
        .map(|length| {
            let disk = image.restart();
            let engine = open(&disk, Never).unwrap();
            let offset = write(&engine, "torn", &"z".repeat(length));
            (disk, engine, offset)
        })
        .find(|(disk, ..)| fits(disk))
        .unwrap();
    let disk = disk.kill();
    drop(engine);
    let log = read(&disk).unwrap()["log"].as_array().unwrap().len() as u64;
    assert_eq!(log, offset);
}

fn names_survive_a_power_cut() {
    let (disk, engine) = database(40, EveryWrite);
    let truth = everything(&engine).unwrap();
    assert!(segments(&disk).len() > 1);
    assert_eq!(read(&disk.crash(Crash::BYTES_ONLY)).unwrap(), truth);
}

fn nothing_is_acknowledged_after_a_failed_sync() {
    let (disk, engine) = database(0, EveryN(2));
    let before = apply(&engine, 0).unwrap();
    disk.inject(Fault::new(Call::Sync, Effect::DropPending).nth(1));
    apply(&engine, 1).unwrap_err();
    let later = (2..6).filter_map(|number| apply(&engine, number).ok()).last();
    let promised = later.unwrap_or(before) - 1;
    let log = read(&disk.crash(Crash::KEEP_NONE)).unwrap()["log"].as_array().unwrap().len();
    assert!(log as u64 >= promised, "{promised} promised, {log} there");
}

fn a_flipped_bit_in_a_header_is_seen() {
    let (disk, engine) = database(10, EveryWrite);
    engine.close().unwrap();
    let image = disk.crash(Crash::KEEP_NONE).image();
    let frame = &frames(&disk, 1)[4];
    for byte in 0..FRAME_HEADER_BYTES {
        let disk = image.restart();
        disk.flip_bit(&segment_path(1), (frame.position + byte) as u64, 3);
        assert!(!verify(&location(&disk)).unwrap().ok, "byte {byte} of the header");
        assert!(read(&disk).is_err(), "byte {byte} of the header");
    }
}

fn a_hole_in_the_log_is_seen() {
    let (disk, engine) = database(3, EveryWrite);
    // What nothing later goes on from is not missed by applying what comes after it.
    let hole = frames(&disk, 1).len();
    let request = CreateInstanceRequest::new("nobody", "m", 1);
    engine.create_instance(request).wait().unwrap();
    apply(&engine, 3).unwrap();
    engine.close().unwrap();
    let all = frames(&disk, 1);
    edit(&disk, &segment_path(1), |bytes| {
        bytes.drain(all[hole].position..all[hole + 1].position);
    });
    assert!(open(&disk.crash(Crash::KEEP_NONE), EveryWrite).is_err());
}

fn groups_agree() {
    for seed in 1..=100 {
        let faults = Faults { crashes: true, network: true, refusals: seed % 2 == 0 };
        Cluster::new(seed, 3, faults).run(300);
    }
}

fn batches_are_whole() {
    // Whether a reader comes in between is for the machine to say.
    (0..20).for_each(|_| pair::a_batch_is_whole_for_readers_of_a_node_that_follows());
}

#[test]
fn every_guard_is_needed() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut wrong = Vec::new();
    for guard in Safeguard::ALL.into_iter().filter(|guard| !OF_GROUPS.contains(guard)) {
        let check = check_of(guard);
        let with = catch_unwind(check).is_ok();
        set(guard, false);
        let without = catch_unwind(check).is_ok();
        set(guard, true);
        println!("{guard:?}: with {with}, without {without}");
        if (with, without) != (true, false) {
            wrong.push(guard);
        }
    }
    let _ = std::panic::take_hook();
    assert!(wrong.is_empty(), "no check needs {wrong:?}");
}
