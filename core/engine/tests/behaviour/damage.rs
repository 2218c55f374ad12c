//! Damaged files: what is a torn write and what is damage, and that none of it goes unseen.

use rstmdb_engine::FsyncPolicy::{self, EveryN, EveryWrite};
use rstmdb_engine::maintenance::{VerifyReport, repair, verify};
use rstmdb_testkit::faulty::{Crash, DiskImage, FaultyStorage, Rng};
use rstmdb_testkit::sample::*;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_types::error::reason;
use rstmdb_types::{Operation, Result};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

/// A machine that stopped: its disk, and all that the database said.
struct Stopped {
    image: DiskImage,
    truth: Value,
}

impl Stopped {
    fn disk(&self) -> FaultyStorage {
        self.image.restart()
    }
}

/// Several segments, the process killed after the last answer: no mark vouches for the last frame.
fn killed(fsync: FsyncPolicy) -> Stopped {
    let (disk, engine) = database(42, fsync);
    let truth = everything(&engine).unwrap();
    let image = disk.crash(Crash::KEEP_ALL).image();
    let disk = image.restart();
    assert!(segments(&disk).len() >= 3 && frames(&disk, last_segment(&disk)).len() >= 5);
    Stopped { image, truth }
}

/// The same, closed cleanly.
fn closed(checkpoint: bool) -> Stopped {
    let (disk, engine) = database(30, EveryWrite);
    if checkpoint {
        for events in [100..103, 103..106] {
            call_compact(&engine);
            for number in events {
                apply(&engine, number).unwrap();
            }
        }
    }
    let truth = everything(&engine).unwrap();
    engine.close().unwrap();
    Stopped { image: disk.crash(Crash::KEEP_NONE).image(), truth }
}

fn call_compact(engine: &rstmdb_engine::Engine) {
    let request = json!({"force_snapshot": true});
    rstmdb_testkit::calls::call(engine, Operation::Compact, &request).unwrap();
}

fn check(disk: &FaultyStorage) -> Result<VerifyReport> {
    verify(&location(disk))
}

fn last_segment(disk: &FaultyStorage) -> u64 {
    *segments(disk).last().unwrap()
}

fn end_of(truth: &Value) -> u64 {
    truth["log"].as_array().unwrap().len() as u64
}

/// Opens, expects the log to end `missing` changes early, and goes on writing.
fn assert_torn(disk: &FaultyStorage, truth: &Value, missing: u64) {
    let report = check(disk).unwrap();
    assert!(report.ok, "{report:?}");
    let engine = open(disk, EveryWrite).unwrap();
    let found = everything(&engine).unwrap();
    let log = truth["log"].as_array().unwrap();
    let kept = log.len() - missing as usize;
    assert_eq!(found["log"].as_array().unwrap()[..], log[..kept]);
    assert_eq!(apply(&engine, 500).unwrap(), kept as u64 + 1);
    drop(engine);
    let engine = open(&disk.crash(Crash::KEEP_NONE), EveryWrite).unwrap();
    assert_eq!(everything(&engine).unwrap()["log"].as_array().unwrap().len(), kept + 1);
}

/// Opening and `verify` both refuse, and name the file.
fn assert_refused(disk: &FaultyStorage, file: &str) {
    let error = read(disk).unwrap_err();
    assert_damage(&error, file);
    match check(disk) {
        Ok(report) => {
            assert!(!report.ok, "{report:?}");
            assert!(report.problems.iter().any(|problem| problem.file == file), "{report:?}");
            assert!(report.problems.iter().all(|problem| !problem.remedy.is_empty()));
        }
        Err(error) => assert_damage(&error, file),
    }
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let stopped = killed(EveryWrite);
    let disk = stopped.disk();
    let path = segment_path(last_segment(&disk));
    let last = frames(&disk, last_segment(&disk)).pop().unwrap();
    let end = last.position + last.bytes.len();
    for cut in (last.position..end).step_by(if is_soak() { 1 } else { 5 }) {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| bytes.truncate(cut));
        assert_torn(&disk, &stopped.truth, 1);
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| bytes[cut..].fill(0));
        // The checksum may end in zeros.
        let missing = u64::from(disk.contents(&path) != stopped.disk().contents(&path));
        assert_torn(&disk, &stopped.truth, missing);
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| {
            bytes.truncate(cut);
            bytes.extend((0..700u32).map(|n| (n * 7 + 13) as u8));
        });
        assert_torn(&disk, &stopped.truth, 1);
    }
}

#[test]
fn zeros_and_garbage_behind_the_last_frame_are_no_damage() {
    let stopped = killed(EveryWrite);
    let disk = stopped.disk();
    let path = segment_path(last_segment(&disk));
    let end =
        frames(&disk, last_segment(&disk)).last().map(|f| f.position + f.bytes.len()).unwrap();
    for tail in [vec![], vec![0; 5000], vec![1; 5000], [vec![0; 600], vec![7; 9]].concat()] {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| {
            bytes.truncate(end);
            bytes.extend(&tail);
        });
        assert_torn(&disk, &stopped.truth, 0);
    }
}

#[test]
fn a_bad_frame_before_one_that_knew_it_is_damage() {
    for policy in [EveryWrite, EveryN(3)] {
        let stopped = killed(policy);
        let segment = last_segment(&stopped.disk());
        let all = frames(&stopped.disk(), segment);
        for (number, frame) in all.iter().enumerate() {
            // A frame knows of those before it that were synced when it was written.
            let first = frame.first();
            let is_known = all[number + 1..].iter().any(|later| later.mark() >= first);
            let disk = stopped.disk();
            disk.flip_bit(&segment_path(segment), frame.position as u64 + 50, 2);
            if is_known {
                assert_refused(&disk, &segment_path(segment));
                let error = read(&disk).unwrap_err();
                assert_eq!(error.context()["position"], frame.position as u64);
                assert_eq!(error.context()["offset"], first);
            } else {
                assert_torn(&disk, &stopped.truth, end_of(&stopped.truth) + 1 - first);
            }
        }
    }
}

#[test]
fn a_bad_frame_in_an_earlier_segment_is_damage() {
    let stopped = killed(EveryWrite);
    for segment in segments(&stopped.disk()).into_iter().rev().skip(1) {
        let all = frames(&stopped.disk(), segment);
        for frame in [&all[0], &all[all.len() - 1]] {
            let path = segment_path(segment);
            let disk = stopped.disk();
            disk.flip_bit(&path, frame.position as u64 + 44, 0);
            assert_refused(&disk, &path);
            let disk = stopped.disk();
            edit(&disk, &path, |bytes| bytes.truncate(frame.position + 10));
            assert_refused(&disk, &path);
            let disk = stopped.disk();
            edit(&disk, &path, |bytes| bytes[frame.position..].fill(0));
            assert_refused(&disk, &path);
        }
        let disk = stopped.disk();
        edit(&disk, &segment_path(segment), |bytes| bytes.extend([0; 100]));
        assert_eq!(read(&disk).unwrap_err().reason(), Some(reason::CORRUPT));
    }
}

#[test]
fn a_missing_doubled_or_foreign_segment_is_damage() {
    let stopped = closed(false);
    let all = segments(&stopped.disk());
    for segment in &all {
        let disk = stopped.disk();
        disk.delete(&segment_path(*segment));
        assert_eq!(read(&disk).unwrap_err().reason(), Some(reason::CORRUPT));
        assert!(check(&disk).map_or(true, |report| !report.ok));
        // Cut below its header, it might as well be gone.
        for length in [0, 63, 64, SEGMENT_HEADER_BYTES - 1] {
            let disk = stopped.disk();
            edit(&disk, &segment_path(*segment), |bytes| bytes.truncate(length));
            assert_refused(&disk, &segment_path(*segment));
        }
    }
    let (first, second) = (segment_path(all[0]), segment_path(all[1]));
    let disk = stopped.disk();
    let (one, other) = (disk.contents(&first).unwrap(), disk.contents(&second).unwrap());
    disk.put(&first, &other);
    disk.put(&second, &one);
    assert_refused(&disk, &first);
    let disk = stopped.disk();
    let doubled = segment_path(last_segment(&disk) + 1);
    disk.put(&doubled, &disk.contents(&second).unwrap());
    assert_refused(&disk, &doubled);
    // Even with its number set right it does not fit in.
    edit(&disk, &doubled, |bytes| {
        bytes[32..40].copy_from_slice(&(all.len() as u64 + 1).to_le_bytes());
        seal_header(bytes);
    });
    assert_eq!(read(&disk).unwrap_err().reason(), Some(reason::CORRUPT));
    assert!(!check(&disk).unwrap().ok);
    let foreign = closed(false);
    let disk = stopped.disk();
    disk.put(&second, &foreign.disk().contents(&second).unwrap());
    assert_refused(&disk, &second);
}

#[test]
fn a_gap_and_a_repeat_between_frames_are_damage() {
    let stopped = killed(EveryWrite);
    let segment = last_segment(&stopped.disk());
    let all = frames(&stopped.disk(), segment);
    let path = segment_path(segment);
    let assemble = |order: &[usize]| {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| {
            bytes.truncate(SEGMENT_HEADER_BYTES);
            order.iter().for_each(|number| bytes.extend(&all[*number].bytes));
        });
        disk
    };
    let last = all.len() - 1;
    let without_second: Vec<usize> = (0..=last).filter(|number| *number != 1).collect();
    assert_refused(&assemble(&without_second), &path);
    let with_a_repeat: Vec<usize> =
        (0..=last).flat_map(|n| vec![n; 1 + usize::from(n == 1)]).collect();
    assert_refused(&assemble(&with_a_repeat), &path);
    let swapped: Vec<usize> = [1, 0].into_iter().chain(2..=last).collect();
    assert_refused(&assemble(&swapped), &path);
}

#[test]
fn a_log_that_ends_below_a_durable_mark_is_damage() {
    let stopped = closed(false);
    let segment = last_segment(&stopped.disk());
    let path = segment_path(segment);
    for frame in frames(&stopped.disk(), segment) {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| bytes.truncate(frame.position));
        assert_refused(&disk, &path);
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| bytes[frame.position + 3..].fill(0));
        assert_refused(&disk, &path);
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let stopped = closed(true);
    let refused = |disk: &FaultyStorage, file: &str| {
        let error = read(disk).unwrap_err();
        assert_eq!(error.reason(), Some(reason::NEWER_FORMAT), "{error:?}");
        assert_eq!(error.context()["file"], file);
    };
    let disk = stopped.disk();
    let path = segment_path(last_segment(&disk));
    edit(&disk, &path, |bytes| {
        bytes[8] = 3;
        seal_header(bytes);
    });
    refused(&disk, &path);

    let disk = stopped.disk();
    let mut frame = frames(&disk, last_segment(&disk)).pop().unwrap();
    frame.bytes[4] = 3;
    seal_frame(&mut frame.bytes, &database_id(&disk));
    edit(&disk, &path, |bytes| {
        bytes[frame.position..frame.position + frame.bytes.len()].copy_from_slice(&frame.bytes);
    });
    refused(&disk, &path);

    let disk = stopped.disk();
    let newest = disk.paths().into_iter().rfind(|path| path.ends_with(".ckpt")).unwrap();
    edit(&disk, &newest, |bytes| {
        bytes[8] = 3;
        seal_header(bytes);
    });
    refused(&disk, &newest);

    let disk = stopped.disk();
    edit(&disk, "MANIFEST", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let json = text.lines().next().unwrap().replace("\"format\":2", "\"format\":3");
        *bytes = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    });
    refused(&disk, "MANIFEST");
}

/// Appends a frame with this kind, flags and payload behind the last, as a later release would.
fn append(disk: &FaultyStorage, kind: u8, flags: u8, count: u32, payload: &[u8]) {
    let segment = last_segment(disk);
    let last = frames(disk, segment).pop().unwrap();
    let mut frame = last.bytes[..FRAME_HEADER_BYTES].to_vec();
    let field = |at: usize| u64::from_le_bytes(last.bytes[at..at + 8].try_into().unwrap());
    // A void frame has offsets that count for nothing.
    let next = last.first() + if last.bytes[6] & 1 == 0 { u64::from(last.bytes[12]) } else { 0 };
    (frame[5], frame[6]) = (kind, flags);
    frame[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    frame[12..16].copy_from_slice(&count.to_le_bytes());
    frame[16..24].copy_from_slice(&next.to_le_bytes());
    frame[24..32].copy_from_slice(&(field(24) + 1).to_le_bytes());
    if count > 0 && flags & 1 == 0 {
        let link = [&last.bytes[40..48], &frame[16..24], &frame[12..16]].concat();
        let link = [link, xxh3_64(payload).to_le_bytes().to_vec()].concat();
        frame[40..48].copy_from_slice(&xxh3_64(&link).to_le_bytes());
    }
    frame[60..64].copy_from_slice(&last.bytes[last.bytes.len() - 4..]);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&[0; 4]);
    seal_frame(&mut frame, &database_id(disk));
    edit(disk, &segment_path(segment), |bytes| {
        bytes.truncate(last.position + last.bytes.len());
        bytes.extend_from_slice(&frame);
        bytes.extend_from_slice(&[0; 100]);
    });
}

/// Open, `verify` and `repair` say that a later release wrote it, and change nothing.
fn assert_newer(disk: &FaultyStorage, file: &str, what: &str) {
    let before: Vec<_> = disk.paths().into_iter().map(|path| disk.contents(&path)).collect();
    let errors = [
        read(disk).unwrap_err(),
        check(disk).unwrap_err(),
        repair(&location(disk), 3, true).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.reason(), Some(reason::NEWER_FORMAT), "{error:?}");
        assert_eq!(error.context()["file"], file);
        assert!(error.message().contains(what), "{error}");
    }
    let after: Vec<_> = disk.paths().into_iter().map(|path| disk.contents(&path)).collect();
    assert!(before == after, "{what}");
}

#[test]
fn what_a_later_release_wrote_is_never_called_damage() {
    let stopped = closed(true);
    let path = segment_path(last_segment(&stopped.disk()));
    let batch = [&[0x0d, 2, 2][..], &[0x06, 0], &[2, 0x1c, 7]].concat();
    for (kind, flags, count, payload, what) in [
        (9, 0, 0, &b"members"[..], "a frame of the unknown kind 9"),
        (77, 0, 5, b"", "a frame of the unknown kind 77"),
        (0, 2, 1, b"\x04\x06\0", "the unknown flags 0x2"),
        (0, 5, 1, b"\x04\x06\0", "the unknown flags 0x4"),
        (0, 0, 1, b"\x06\x0c\0\0", "an effect of the unknown kind 0xc"),
        // A step with a section that is not known.
        (0, 0, 1, b"\x0e\x0a\0\x01\x01a\0\x08", "an effect of the unknown kind 0xa"),
        (0, 0, 1, b"\x04\x26\0", "an effect of the unknown kind 0x26"),
        (0, 0, 2, &batch, "an effect of the unknown kind 0x1c"),
    ] {
        let disk = stopped.disk();
        append(&disk, kind, flags, count, payload);
        assert_newer(&disk, &path, what);
        // Nor when it stands behind something that is damaged: then it is not cut off with it.
        let before = frames(&disk, last_segment(&disk)).into_iter().nth_back(1).unwrap();
        disk.flip_bit(&path, before.position as u64 + 70, 1);
        if kind != 0 || flags != 0 {
            assert_newer(&disk, &path, what);
        }
    }
    for (at, value, what) in [(12, 1, "key 1"), (106, 2, "is not alone"), (8, 3, "format 3")] {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| {
            bytes[at] = value;
            seal_header(bytes);
        });
        assert_newer(&disk, &path, what);
    }
    let disk = stopped.disk();
    let newest = disk.paths().into_iter().rfind(|path| path.ends_with(".ckpt")).unwrap();
    edit(&disk, &newest, |bytes| {
        bytes[128 + 4] = 5;
        let length = u32::from_le_bytes(bytes[128..132].try_into().unwrap()) as usize;
        let head = crc32c::crc32c(&bytes[128..140]);
        let checksum = crc32c::crc32c_append(head, &bytes[144..144 + length]);
        bytes[140..144].copy_from_slice(&checksum.to_le_bytes());
    });
    assert_newer(&disk, &newest, "a block of the unknown kind 5");
    let disk = stopped.disk();
    edit(&disk, "MANIFEST", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let json = text.lines().next().unwrap().replace("\"alone\"", "\"member\"");
        *bytes = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    });
    assert_newer(&disk, "MANIFEST", "is not alone");
}

#[test]
fn frames_that_hold_nothing_are_stepped_over_and_counted() {
    let stopped = closed(false);
    let disk = stopped.disk();
    append(&disk, 1, 0, 0, b"");
    append(&disk, 0, 1, 7, b"whatever was proposed in vain");
    append(&disk, 1, 0, 0, b"a blank may say something");
    let report = check(&disk).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.last_offset, report.torn_tail_bytes), (end_of(&stopped.truth), 0));
    assert_torn(&disk, &stopped.truth, 0);
}

#[test]
fn an_index_a_term_and_a_chain_that_do_not_go_on_are_damage() {
    let stopped = closed(false);
    let segment = last_segment(&stopped.disk());
    let path = segment_path(segment);
    for at in [24, 32, 40] {
        let disk = stopped.disk();
        let mut frame = frames(&disk, segment).pop().unwrap();
        let value = u64::from_le_bytes(frame.bytes[at..at + 8].try_into().unwrap()) - 1;
        frame.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        seal_frame(&mut frame.bytes, &database_id(&disk));
        edit(&disk, &path, |bytes| {
            bytes[frame.position..frame.position + frame.bytes.len()].copy_from_slice(&frame.bytes);
        });
        assert_refused(&disk, &path);
    }
    for at in [64, 72, 80] {
        let disk = stopped.disk();
        edit(&disk, &path, |bytes| {
            bytes[at] ^= 1;
            seal_header(bytes);
        });
        assert_refused(&disk, &path);
    }
}

#[test]
fn a_missing_manifest_is_damage_and_not_a_new_database() {
    let disk = closed(true).disk();
    disk.delete("MANIFEST");
    assert_refused(&disk, "MANIFEST");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let stopped = closed(true);
    let paths = stopped.disk().paths();
    let checkpoints: Vec<_> = paths.into_iter().filter(|path| path.ends_with(".ckpt")).collect();
    assert_eq!(checkpoints.len(), 2);
    for damaged in [&checkpoints[1..], &checkpoints[..1]] {
        let disk = stopped.disk();
        damaged.iter().for_each(|path| disk.flip_bit(path, 100, 1));
        assert!(!check(&disk).unwrap().ok);
        assert_eq!(read(&disk).unwrap(), stopped.truth);
        let disk = stopped.disk();
        damaged.iter().for_each(|path| disk.delete(path));
        assert!(!check(&disk).unwrap().ok);
        assert_eq!(read(&disk).unwrap(), stopped.truth);
    }
    let harmed = || {
        let disk = stopped.disk();
        checkpoints.iter().for_each(|path| disk.flip_bit(path, 100, 1));
        disk
    };
    assert!(!check(&harmed()).unwrap().ok);
    assert_eq!(read(&harmed()).unwrap(), stopped.truth, "the log tells it all");
    let disk = harmed();
    disk.delete(&segment_path(1));
    assert_refused(&disk, &checkpoints[1]);
}

/// Wherever a bit turns: the truth, or an error that says where. Never anything else.
#[test]
fn no_flipped_bit_goes_unseen() {
    let mut rng = Rng::new(1);
    let mut flips = 0;
    for (stopped, is_closed) in [(closed(true), true), (killed(EveryWrite), false)] {
        let disk = stopped.disk();
        let tail_segment = segment_path(last_segment(&disk));
        let last = frames(&disk, last_segment(&disk)).pop().unwrap();
        let end = last.position + last.bytes.len();
        for path in disk.paths() {
            let length = disk.contents(&path).unwrap().len();
            let step = if is_soak() { 1 } else { 11 };
            for byte in (0..length).filter(|byte| byte % step == 0 || *byte < 128) {
                let bit = rng.below(8) as u8;
                let disk = stopped.disk();
                disk.flip_bit(&path, byte as u64, bit);
                let in_tail = path == tail_segment && byte >= end;
                let in_last = path == tail_segment && byte >= last.position;
                let seen = check(&disk).map_or(true, |report| !report.ok);
                let torn = check(&disk).is_ok_and(|report| report.torn_tail_bytes > 0);
                let place = format!("{path}, byte {byte}, bit {bit}");
                flips += 1;
                match read(&disk) {
                    Ok(found) if in_last && !is_closed && !in_tail => {
                        assert!(torn, "{place}");
                        let (found, truth) = (&found["log"], stopped.truth["log"].as_array());
                        let truth = truth.unwrap();
                        assert_eq!(found.as_array().unwrap()[..], truth[..truth.len() - 1]);
                    }
                    Ok(found) => {
                        assert_eq!(found, stopped.truth, "{place}");
                        // Only the case of a hex digit makes no difference.
                        assert!(seen || torn || path == "MANIFEST", "{place} was not seen");
                    }
                    Err(error) => {
                        assert!(seen, "verify did not see what refused the start: {place}");
                        let file = error.context().get("file").and_then(Value::as_str);
                        assert_eq!(error.reason(), Some(reason::CORRUPT), "{place}: {error:?}");
                        assert!(file.is_some(), "{place}: {error:?}");
                        assert!(error.context()["position"].is_u64(), "{place}: {error:?}");
                    }
                }
            }
        }
    }
    println!("{flips} flips");
}
