//! Each file lost or damaged in turn, with and without others: a start, `verify` and `repair` agree,
//! what is advised is carried out, and a start that refuses changes no byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::{Cut, VerifyReport, repair, verify};
use rstmdb_engine::{Engine, Location, Options, Retention};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Crash, DiskImage, FaultyStorage};
use rstmdb_testkit::sample::*;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_types::error::reason;
use rstmdb_types::{Operation, Result};
use serde_json::{Value, json};

/// A database that stopped, and what it would hold at any offset.
struct Stopped {
    name: &'static str,
    image: DiskImage,
    last: u64,
    /// The state at offsets that were asked for.
    states: BTreeMap<u64, Value>,
    /// The same changes without anything deleted.
    whole: DiskImage,
}

const RETENTION: [Retention; 2] = [Retention::Forever, Retention::Bytes(6000)];

fn open_as(disk: &FaultyStorage, retention: Retention) -> Result<Engine> {
    Engine::open(location(disk), Options { retention, ..options(EveryWrite) })
}

fn compact(engine: &Engine) {
    call(engine, Operation::Compact, &json!({"force_snapshot": true})).unwrap();
}

/// Some events, with a checkpoint behind each of some.
fn write(disk: &FaultyStorage, checkpoints: &[u64], retention: Retention) -> (Engine, u64) {
    let engine = open_as(disk, retention).unwrap();
    begin(&engine);
    let mut last = 0;
    for number in 0..40 {
        last = apply(&engine, number).unwrap();
        if checkpoints.contains(&number) {
            compact(&engine);
        }
    }
    (engine, last)
}

fn stopped(name: &'static str, checkpoints: &[u64], keep: Retention, close: bool) -> Stopped {
    let image = |retention| {
        let disk = FaultyStorage::new(1);
        let (engine, last) = write(&disk, checkpoints, retention);
        if close {
            engine.close().unwrap();
        }
        (disk.crash(Crash::KEEP_ALL).image(), last)
    };
    let (whole, _) = image(Retention::Forever);
    let (image, last) = image(keep);
    Stopped { name, image, last, states: BTreeMap::new(), whole }
}

fn all_kinds() -> Vec<Stopped> {
    let [forever, short] = RETENTION;
    vec![
        stopped("log alone", &[], forever, true),
        stopped("log alone, killed", &[], forever, false),
        stopped("whole log and checkpoints", &[10, 25], forever, true),
        stopped("whole log and checkpoints, killed", &[10, 25], forever, false),
        stopped("short log and checkpoints", &[20, 30], short, true),
        stopped("short log and checkpoints, killed", &[20, 30], short, false),
        stopped("a checkpoint at the end", &[20, 39], short, true),
    ]
}

impl Stopped {
    fn disk(&self) -> FaultyStorage {
        self.image.restart()
    }

    /// What the database held when this was its last offset.
    fn state_at(&mut self, last: u64) -> &Value {
        let whole = &self.whole;
        self.states.entry(last).or_insert_with(|| {
            let disk = whole.restart();
            repair(&location(&disk), last, true).unwrap();
            state_of(&open_as(&disk, Retention::Forever).unwrap())
        })
    }
}

fn state_of(engine: &Engine) -> Value {
    state(&mut |operation, request| call(engine, operation, request))
}

fn files(disk: &FaultyStorage) -> BTreeMap<String, Vec<u8>> {
    let read = |path: String| (path.clone(), disk.contents(&path).unwrap());
    disk.paths().into_iter().map(read).collect()
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Gone,
    HeaderBit,
    MiddleBit,
    CutShort,
    Empty,
}

impl Harm {
    const ALL: [Harm; 5] =
        [Harm::Gone, Harm::HeaderBit, Harm::MiddleBit, Harm::CutShort, Harm::Empty];

    fn befall(self, disk: &FaultyStorage, path: &str) {
        let length = disk.contents(path).unwrap().len();
        match self {
            Harm::Gone => disk.delete(path),
            Harm::HeaderBit => disk.flip_bit(path, 20, 1),
            Harm::MiddleBit => disk.flip_bit(path, length as u64 / 2, 1),
            Harm::CutShort => edit(disk, path, |bytes| bytes.truncate(length / 2)),
            Harm::Empty => edit(disk, path, Vec::clear),
        }
    }
}

/// The options of a `repair` that was advised.
fn parsed(advice: &str) -> Cut {
    let mut words = advice.split(' ');
    assert_eq!(words.next(), Some("repair"), "{advice}");
    let mut cut = Cut::default();
    while let Some(option) = words.next() {
        let offset = words.next().unwrap().parse().unwrap();
        match option {
            "--to" => cut.to = Some(offset),
            "--from" => cut.from = Some(offset),
            other => panic!("{other}"),
        }
    }
    cut
}

/// Opens it and says the last offset and the state; goes on writing, twice.
fn assert_opens(disk: &FaultyStorage, place: &str) -> (u64, Value) {
    let engine =
        open_as(disk, Retention::Forever).unwrap_or_else(|error| panic!("{place}: {error}"));
    let (last, state) = (engine.position().next - 1, state_of(&engine));
    if state["instances"].as_array().unwrap().is_empty() {
        return (last, state);
    }
    assert_eq!(apply(&engine, 900).unwrap(), last + 1, "{place}");
    drop(engine);
    let disk = disk.crash(Crash::KEEP_NONE);
    let engine =
        open_as(&disk, Retention::Forever).unwrap_or_else(|error| panic!("{place}: {error}"));
    compact(&engine);
    apply(&engine, 901).unwrap();
    engine.close().unwrap();
    (last, state)
}

/// Harms some files and looks at what all three say.
fn agree(stopped: &mut Stopped, harms: &[(String, Harm)]) {
    let place = format!("{}: {harms:?}", stopped.name);
    let harmed = |stopped: &Stopped| {
        let disk = stopped.disk();
        harms.iter().for_each(|(path, harm)| harm.befall(&disk, path));
        disk
    };
    let disk = harmed(stopped);
    let before = files(&disk);
    if before.is_empty() {
        return;
    }
    let checked = verify(&location(&disk));
    assert!(files(&disk) == before, "verify changed something: {place}");
    let opened = open_as(&disk, RETENTION[0]).map(drop);
    let report = match checked {
        Ok(report) => report,
        Err(error) => {
            // No file tells which database it is of.
            assert!(matches!(error.reason(), Some(reason::CORRUPT)), "{place}: {error}");
            assert!(opened.is_err() && files(&disk) == before, "{place}");
            return;
        }
    };
    assert_eq!(opened.is_ok(), report.opens, "{place}: {report:?} {opened:?}");
    if let Err(error) = &opened {
        assert!(files(&disk) == before, "a start that refuses changed something: {place}");
        assert_eq!(error.reason(), Some(reason::CORRUPT), "{place}: {error}");
        assert!(!error.retryable(), "{place}");
        assert!(!report.ok, "{place}");
    }
    if report.opens {
        assert_eq!(report.changes_lost, 0, "{place}: {report:?}");
        let (last, state) = assert_opens(&harmed(stopped), &place);
        assert_eq!((last, &state), (report.last_offset, stopped.state_at(last)), "{place}");
    }
    if report.ok {
        return;
    }
    for problem in &report.problems {
        let told = report.advice.as_ref().map_or("a backup", |advice| advice);
        assert!(problem.remedy.contains(told), "{place}: {problem:?}");
    }
    let disk = harmed(stopped);
    let Some(advice) = &report.advice else {
        for cut in [Cut::default(), Cut::from(0), Cut::from(report.last_offset)] {
            repair(&location(&disk), cut, true).unwrap_err();
        }
        assert!(files(&disk) == before, "{place}");
        return;
    };
    let cut = parsed(advice);
    let last = carry_out(&disk, cut, &report, &place);
    assert_eq!(last.0, report.last_offset, "{place}: {report:?}");
    assert_eq!(&last.1, stopped.state_at(last.0), "{place}");
    if cut.to.is_some() {
        // It is never given up without being asked for.
        let disk = harmed(stopped);
        let error = repair(&location(&disk), Cut { to: None, ..cut }, true).unwrap_err();
        assert!(error.message().contains(&format!("--to {}", last.0)), "{place}: {error}");
        let more = Cut { to: Some(last.0 + 1), ..cut };
        repair(&location(&disk), more, true).unwrap_err();
        assert!(files(&disk) == before, "{place}");
    }
}

/// Does what is advised, and says what is there then.
fn carry_out(disk: &FaultyStorage, cut: Cut, report: &VerifyReport, place: &str) -> (u64, Value) {
    let before = files(disk);
    let plan = repair(&location(disk), cut, false);
    let plan = plan.unwrap_or_else(|error| panic!("{place}: {cut:?}: {error}"));
    assert!(files(disk) == before, "a plan changed something: {place}");
    assert_eq!((plan.to, plan.changes_dropped), (report.last_offset, report.changes_lost));
    let done = repair(&location(disk), cut, true).unwrap();
    assert!(done.done);
    let kept = files(disk);
    for path in done.segments_removed.iter().chain(&done.checkpoints_removed) {
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(kept.get(&format!("{}/{name}", done.copies)), before.get(path), "{place}");
        assert!(!kept.contains_key(path), "{place}");
    }
    let after = verify(&location(disk)).unwrap();
    assert!(after.ok && after.opens, "{place}: {after:?}");
    assert_eq!(after.last_offset, report.last_offset, "{place}");
    let engine = open_as(&disk.image().restart(), Retention::Forever);
    let engine = engine.unwrap_or_else(|error| panic!("{place}: {error}"));
    let from = json!({"from_offset": done.from, "limit": 1000, "entries": "all"});
    let log = call(&engine, Operation::WalRead, &from).map(|log| log.to_value());
    if done.from <= done.to {
        let log = log.unwrap_or_else(|error| panic!("{place}: {error}"));
        let records = log["records"].as_array().unwrap();
        assert_eq!(records.len() as u64, done.to + 1 - done.from, "{place}: all can be read");
    }
    drop(engine);
    assert_opens(disk, place)
}

#[test]
fn each_file_lost_or_damaged_alone() {
    for mut stopped in all_kinds() {
        for path in stopped.disk().paths() {
            for harm in Harm::ALL {
                agree(&mut stopped, &[(path.clone(), harm)]);
            }
        }
    }
}

#[test]
fn files_lost_or_damaged_together() {
    for mut stopped in all_kinds() {
        let paths = stopped.disk().paths();
        for (at, one) in paths.iter().enumerate() {
            for other in &paths[at + 1..] {
                for (harm, also) in [
                    (Harm::Gone, Harm::Gone),
                    (Harm::MiddleBit, Harm::MiddleBit),
                    (Harm::HeaderBit, Harm::Gone),
                    (Harm::Gone, Harm::MiddleBit),
                ] {
                    agree(&mut stopped, &[(one.clone(), harm), (other.clone(), also)]);
                }
                if !is_soak() {
                    continue;
                }
                for third in paths.iter().filter(|path| *path > other) {
                    let all = [one, other, third].map(|path| (path.clone(), Harm::Gone));
                    agree(&mut stopped, &all);
                }
            }
        }
        // All of a kind.
        for ending in [".seg", ".ckpt", ""] {
            let kind = paths.iter().filter(|path| path.ends_with(ending));
            for harm in [Harm::Gone, Harm::MiddleBit] {
                let mut all: Vec<_> = kind.clone().map(|path| (path.clone(), harm)).collect();
                agree(&mut stopped, &all);
                if ending == ".seg" {
                    all.push(("MANIFEST".to_owned(), harm));
                    agree(&mut stopped, &all);
                }
            }
        }
    }
}

#[test]
fn the_only_checkpoint_is_not_missed_while_the_log_reaches_back() {
    let mut stopped = stopped("one checkpoint", &[20], Retention::Forever, true);
    let checkpoint = "checkpoints/000000000001.ckpt";
    for harm in Harm::ALL {
        let disk = stopped.disk();
        harm.befall(&disk, checkpoint);
        let report = verify(&location(&disk)).unwrap();
        let found = (report.opens, report.last_offset, report.changes_lost);
        assert_eq!(found, (true, stopped.last, 0), "{report:?}");
        assert_eq!(report.advice.as_deref(), Some("repair"));
        // The harmless cut is possible, and drops nothing but the file.
        let plan = repair(&location(&disk), stopped.last, false).unwrap();
        assert_eq!((plan.changes_dropped, plan.checkpoints_removed.len()), (0, 1));
        // A start does without it, and nothing relies on it any more.
        let engine = open_as(&disk, Retention::Bytes(0)).unwrap();
        assert_eq!(&state_of(&engine), stopped.state_at(stopped.last));
        assert!(disk.contents(checkpoint).is_none());
        call(&engine, Operation::Compact, &json!({})).unwrap();
        engine.close().unwrap();
        assert!(verify(&location(&disk)).unwrap().ok);
        assert_opens(&disk, "afterwards");
    }
}

#[test]
fn old_history_can_be_given_up_alone() {
    let mut stopped = stopped("two checkpoints", &[15, 30], Retention::Forever, true);
    for harm in [Harm::Gone, Harm::HeaderBit, Harm::MiddleBit] {
        let disk = stopped.disk();
        harm.befall(&disk, &segment_path(1));
        let report = verify(&location(&disk)).unwrap();
        assert_eq!((report.last_offset, report.changes_lost), (stopped.last, 0), "{report:?}");
        let from = report.history_from.unwrap();
        assert!(from > 2 && from < stopped.last, "{report:?}");
        assert_eq!(report.advice, Some(format!("repair --from {from}")));
        // Not more than is needed, and not less.
        let error = repair(&location(&disk), Cut { from: Some(2), to: None }, true).unwrap_err();
        assert!(error.message().contains(&format!("from offset {from}")), "{error}");
        let cut = Cut { from: Some(from), to: None };
        let (last, state) = carry_out(&disk, cut, &report, "history");
        assert_eq!((last, &state), (stopped.last, stopped.state_at(last)));
    }
    // Also where nothing is damaged.
    let disk = stopped.disk();
    let plan = repair(&location(&disk), Cut { from: Some(10), to: None }, true).unwrap();
    assert!(plan.from >= 10 && !plan.segments_removed.is_empty(), "{plan:?}");
    assert!(verify(&location(&disk)).unwrap().ok);
    let mut alone = self::stopped("no checkpoint", &[], Retention::Forever, true);
    let error = repair(&location(&alone.disk()), Cut { from: Some(10), to: None }, true);
    assert!(error.unwrap_err().message().contains("no intact checkpoint"));
    alone.state_at(5);
}

#[test]
fn an_older_manifest_that_is_put_back_deletes_nothing() {
    let disk = FaultyStorage::new(1);
    let (engine, _) = write(&disk, &[5, 10], Retention::Bytes(0));
    let older = disk.contents("MANIFEST").unwrap();
    for number in 50..90 {
        apply(&engine, number).unwrap();
        if number % 10 == 0 {
            compact(&engine);
        }
    }
    let truth = state_of(&engine);
    engine.close().unwrap();
    let image = disk.image();
    let disk = image.restart();
    disk.put("MANIFEST", &older);
    let before = files(&disk);
    let error = open(&disk, EveryWrite).unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::CORRUPT), false), "{error}");
    assert!(files(&disk) == before);
    // Without it the others tell all there is.
    let report = verify(&location(&disk)).unwrap();
    assert!(!report.opens, "{report:?}");
    disk.delete("MANIFEST");
    let report = verify(&location(&disk)).unwrap();
    assert_eq!((report.changes_lost, report.advice.as_deref()), (0, Some("repair")), "{report:?}");
    assert!(repair(&location(&disk), Cut::default(), true).unwrap().manifest_rebuilt);
    assert!(verify(&location(&disk)).unwrap().ok);
    assert_eq!(state_of(&open(&disk, EveryWrite).unwrap()), truth);
}

#[test]
fn what_is_left_of_a_database_is_not_taken_for_an_empty_directory() {
    let stopped = stopped("checkpoints", &[20, 39], Retention::Forever, true);
    for kept in [".ckpt", ".seg"] {
        let disk = stopped.disk();
        disk.paths().iter().filter(|path| !path.ends_with(kept)).for_each(|path| disk.delete(path));
        let before = files(&disk);
        for create in [true, false] {
            let options = Options { create, ..options(EveryWrite) };
            let error = Engine::open(location(&disk), options).unwrap_err();
            assert_eq!(error.reason(), Some(reason::CORRUPT), "{error}");
        }
        assert!(files(&disk) == before, "{kept}");
        let report = verify(&location(&disk)).unwrap();
        let cut = parsed(report.advice.as_ref().unwrap());
        carry_out(&disk, cut, &report, kept);
    }
}

#[test]
fn a_manifest_is_made_again_only_for_a_database_that_is_alone() {
    let stopped = stopped("alone", &[20], Retention::Forever, true);
    let disk = stopped.disk();
    disk.delete("MANIFEST");
    disk.put("VOTE", b"for somebody");
    let before = files(&disk);
    let error = verify(&location(&disk)).unwrap_err();
    assert_eq!(error.reason(), Some(reason::CORRUPT));
    assert!(error.message().contains("join again"), "{error}");
    repair(&location(&disk), Cut::default(), true).unwrap_err();
    assert!(files(&disk) == before);
    disk.delete("VOTE");
    edit(&disk, &segment_path(1), |bytes| {
        bytes[104] = 7;
        seal_header(bytes);
    });
    let error = verify(&location(&disk)).unwrap_err();
    assert!(error.message().contains("join again"), "{error}");
}

#[test]
fn the_newest_segment_is_missed_at_any_moment() {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk, EveryWrite).unwrap();
    begin(&engine);
    let mut missed = 0;
    for number in 0..60 {
        let last = apply(&engine, number).unwrap();
        let disk = disk.image().crash(Crash::KEEP_ALL);
        let newest = *segments(&disk).last().unwrap();
        if newest == 1 {
            continue;
        }
        missed += 1;
        let first = verify(&location(&disk)).unwrap().segments.last().unwrap().first_offset;
        disk.delete(&segment_path(newest));
        let error = open(&disk, EveryWrite).unwrap_err();
        assert_damage(&error, &segment_path(newest));
        let report = verify(&location(&disk)).unwrap();
        assert_eq!(report.advice, Some(format!("repair --to {}", first - 1)), "of {last}");
    }
    assert!(missed > 30);
    // And when the process ended right after it was created.
    let newest = *segments(&disk).last().unwrap();
    let unmarked = disk.image().restart();
    edit(&unmarked, "MANIFEST", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let [now, before] = [newest, newest - 1].map(|last| format!("\"last_segment\":{last},"));
        let json = text.lines().next().unwrap().replace(&now, &before);
        *bytes = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    });
    drop(open(&unmarked, EveryWrite).unwrap());
    unmarked.delete(&segment_path(newest));
    assert_damage(&open(&unmarked, EveryWrite).unwrap_err(), &segment_path(newest));
}

#[test]
fn a_file_that_is_gone_while_it_is_needed_is_damage_and_not_a_reason_to_try_again() {
    let disk = FaultyStorage::new(1);
    let (engine, _) = write(&disk, &[], Retention::Forever);
    engine.close().unwrap();
    let engine = open(&disk, EveryWrite).unwrap();
    disk.delete(&segment_path(2));
    let error = everything(&engine).unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::CORRUPT), false), "{error}");
}

#[test]
fn a_repair_that_is_cut_short_can_be_run_again() {
    let [forever, short] = RETENTION;
    let cases: [(Stopped, &[&str]); 4] = [
        (stopped("history", &[15, 30], forever, true), &["log/000000000001.seg"]),
        (stopped("end", &[15], forever, true), &["log/000000000004.seg"]),
        (
            stopped("both", &[15, 25], forever, true),
            &["log/000000000001.seg", "log/000000000005.seg"],
        ),
        (
            stopped("manifest", &[20, 30], short, true),
            &["MANIFEST", "checkpoints/000000000001.ckpt"],
        ),
    ];
    for (mut stopped, paths) in cases {
        let harmed = stopped.disk();
        paths.iter().for_each(|path| Harm::MiddleBit.befall(&harmed, path));
        let report = verify(&location(&harmed)).unwrap();
        let cut = parsed(report.advice.as_ref().unwrap());
        let image = harmed.image();
        for call in 1.. {
            let disk = image.restart();
            disk.crash_at_call(call);
            if repair(&location(&disk), cut, true).is_ok() {
                assert!(call > 8, "it makes {call} calls");
                break;
            }
            for crash in Crash::variants(call, 4) {
                let disk = disk.crash(crash);
                let place = format!("{} at call {call}, {crash:?}", stopped.name);
                let now = verify(&location(&disk)).unwrap();
                assert_eq!(now.last_offset, report.last_offset, "{place}: {now:?}");
                if let Some(advice) = &now.advice {
                    repair(&later(&disk), parsed(advice), true)
                        .unwrap_or_else(|error| panic!("{place}: {advice}: {error}"));
                }
                assert!(verify(&location(&disk)).unwrap().ok, "{place}");
                let (last, state) = assert_opens(&disk, &place);
                assert_eq!((last, &state), (report.last_offset, stopped.state_at(last)), "{place}");
            }
        }
    }
}

/// The database at another time, when copies get another name.
fn later(disk: &FaultyStorage) -> Location {
    let clock = TestClock::new();
    clock.advance_ms(1000);
    Location { clock: Arc::new(clock), ..disk.location() }
}
