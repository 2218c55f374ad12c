//! Backups of a database in use, and databases made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rstmdb_engine::backup::{Archive, DirectoryBackup, RestoreReport, RestoreTo, restore};
use rstmdb_engine::storage::{File, MemoryStorage, Storage};
use rstmdb_engine::{Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::clock::{START_MS, TestClock};
use rstmdb_testkit::faulty::{Call, Crash, DiskImage, Effect, Fault, FaultyStorage, Rng, When};
use rstmdb_testkit::model::Settings;
use rstmdb_testkit::sample::{
    self, apply, begin, database, everything, location, open, options, segment_path,
};
use rstmdb_testkit::target::{ModelTarget, Target};
use rstmdb_types::error::reason;
use rstmdb_types::{
    BackupRequest, BackupResult, Error, Json, Operation, VerifyRequest, WalReadRequest,
    WatchAllRequest,
};
use serde_json::{Value, json};

const EVERY_WRITE: FsyncPolicy = FsyncPolicy::EveryWrite;

fn begun(engine: &Engine, bytes_max: u32) -> BackupResult {
    engine.run(BackupRequest { bytes_max: Some(bytes_max), ..BackupRequest::default() }).unwrap()
}

fn piece(engine: &Engine, id: &str, position: u64) -> Result<BackupResult, Error> {
    let backup_id = Some(id.into());
    engine.run(BackupRequest { backup_id, position: Some(position), bytes_max: Some(1000) })
}

/// The rest of a backup.
fn rest(engine: &Engine, first: &BackupResult) -> Result<Vec<u8>, Error> {
    let mut bytes = first.bytes().unwrap();
    let mut next = first.next_position;
    while let Some(position) = next {
        let piece = piece(engine, &first.backup_id, position)?;
        bytes.extend(piece.bytes().unwrap());
        next = piece.next_position;
    }
    assert_eq!(bytes.len() as u64, first.size_bytes);
    Ok(bytes)
}

fn taken(engine: &Engine) -> Vec<u8> {
    rest(engine, &begun(engine, 500)).unwrap()
}

fn archive(bytes: &[u8]) -> Result<Archive, Error> {
    let file = MemoryStorage::new().create("b").unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Archive::of(file as Arc<dyn File>, "b", &|_| {})
}

fn restored(archive: &Archive, to: RestoreTo) -> Result<(FaultyStorage, RestoreReport), Error> {
    let disk = FaultyStorage::new(9);
    let report = restore(archive, &location(&disk), to, &|_| {})?;
    Ok((disk, report))
}

fn state_of(engine: &Engine) -> Value {
    sample::state(&mut |operation, request| call(engine, operation, request))
}

fn log_end(engine: &Engine) -> u64 {
    let stats = call(engine, Operation::WalStats, &json!({})).unwrap().to_value();
    stats["latest_offset"].as_u64().unwrap()
}

/// Events with these numbers.
fn events(engine: &Engine, numbers: std::ops::Range<u64>) {
    for number in numbers {
        apply(engine, number).unwrap();
    }
}

fn compact(engine: &Engine) {
    call(engine, Operation::Compact, &json!({"force_snapshot": true})).unwrap();
}

/// A request that changes something, or that is refused.
fn random_request(rng: &mut Rng) -> (Operation, Value) {
    let id = format!("i-{}", rng.below(6));
    let event = json!({
        "instance_id": id, "event": "E", "payload": {"n": rng.below(100)},
        "idempotency_key": format!("k-{}", rng.below(1000)),
    });
    let create = json!({"instance_id": id, "machine": "m", "version": 1});
    match rng.below(20) {
        0..5 => (Operation::CreateInstance, create),
        5..13 => (Operation::ApplyEvent, event),
        13..15 => (Operation::DeleteInstance, json!({"instance_id": id})),
        15..18 => {
            let element = |op: &str, params: &Value| json!({"op": op, "params": params});
            let other = json!({"instance_id": format!("i-{}", rng.below(6)), "event": "E"});
            let ops = [element("APPLY_EVENT", &event), element("APPLY_EVENT", &other)];
            (Operation::Batch, json!({"mode": "atomic", "ops": ops}))
        }
        18 => (Operation::Compact, json!({"force_snapshot": true})),
        _ => (
            Operation::Batch,
            json!({"mode": "atomic", "idempotency_key": "b", "ops": [
                {"op": "CREATE_INSTANCE", "params": create}, {"op": "APPLY_EVENT", "params": event},
            ]}),
        ),
    }
}

/// What the model knew behind each request: the offset, the time, and the state.
type Past = BTreeMap<u64, (i64, Value)>;

fn random_database(seed: u64) -> (Engine, Past) {
    let mut rng = Rng::new(seed);
    let clock = Arc::new(TestClock::new());
    let disk = FaultyStorage::new(seed);
    let location = Location { clock: clock.clone(), ..disk.location() };
    let engine = Engine::open(location, options(EVERY_WRITE)).unwrap();
    let mut model = ModelTarget::new(Settings::default());
    let mut now = START_MS;
    let mut past = Past::new();
    let mut both = |operation: Operation, request: &Value| {
        let told = model.call(operation, &Json::from_value(request));
        let found = call(&engine, operation, request);
        assert_eq!(told.is_ok(), found.is_ok(), "seed {seed}: {operation:?} {request} {found:?}");
        let elapsed = i64::try_from(rng.below(3)).unwrap() * 10;
        let end = log_end(&engine);
        past.entry(end).or_insert_with(|| {
            let state = sample::state(&mut |operation, request| {
                model.call(operation, &Json::from_value(request))
            });
            (now, state)
        });
        now += elapsed;
        clock.advance_ms(elapsed);
        model.advance(elapsed);
    };
    let definition = json!({
        "states": ["s", "t"], "initial": "s",
        "transitions": [
            {"from": "s", "event": "E", "to": "t"}, {"from": "t", "event": "E", "to": "s"}
        ],
    });
    both(Operation::PutMachine, &json!({"machine": "m", "version": 1, "definition": definition}));
    let mut requests = Rng::new(seed ^ 0xb);
    for _ in 0..60 {
        let (operation, request) = random_request(&mut requests);
        both(operation, &request);
    }
    (engine, past)
}

#[test]
fn every_moment_is_that_of_the_model_and_none_is_inside_a_request() {
    let mut moments = 0;
    let mut insides = 0;
    for seed in 0..12 {
        let (engine, past) = random_database(seed);
        let archive = archive(&taken(&engine)).unwrap();
        let last = log_end(&engine);
        for offset in 0..=last + 1 {
            let (disk, report) = match restored(&archive, RestoreTo::Offset(offset)) {
                Ok(restored) => restored,
                Err(error) => {
                    let first = error.context()["first_offset"].as_u64().unwrap();
                    assert_eq!(error.context()["latest_offset"], last, "{error}");
                    assert!(error.message().contains(&format!("from offset {first} to {last}")));
                    match error.reason() {
                        Some(reason::OFFSET_AHEAD) => assert_eq!(offset, last + 1),
                        Some(reason::OFFSET_COMPACTED) => assert!(offset < first, "{error}"),
                        _ => panic!("{error:?}"),
                    }
                    continue;
                }
            };
            assert!(report.offset <= offset);
            let engine = open(&disk, EVERY_WRITE).unwrap();
            assert_eq!(log_end(&engine), report.offset);
            if report.offset < offset {
                insides += 1;
                assert!(!past.contains_key(&offset), "seed {seed}: {offset} ends a request");
                assert!(report.inside_request_to.unwrap() > offset, "{report:?}");
            }
            if let Some((at, state)) = past.get(&report.offset) {
                assert_eq!(state_of(&engine), *state, "seed {seed}, offset {offset}");
                assert!(report.at.is_none_or(|told| told == *at), "{report:?} at {at}");
                moments += 1;
            }
        }
        // By time: the last request up to then.
        let (_, (first_at, _)) = past.iter().next().unwrap();
        let times: BTreeSet<i64> = past.values().map(|(at, _)| *at).collect();
        for time in times.into_iter().chain([first_at - 1, i64::MAX]) {
            let wanted = past.iter().rev().find(|(_, (at, _))| *at <= time);
            match restored(&archive, RestoreTo::Time(time)) {
                Ok((disk, report)) => {
                    let (offset, (_, state)) = wanted.unwrap();
                    assert_eq!(report.offset, *offset, "seed {seed}, time {time}");
                    assert_eq!(state_of(&open(&disk, EVERY_WRITE).unwrap()), *state);
                }
                Err(error) => {
                    let context = error.context();
                    let is_behind = time > context["latest_at"].as_i64().unwrap();
                    let is_before =
                        context.get("first_at").is_none_or(|at| time < at.as_i64().unwrap());
                    assert!(is_behind || is_before, "{time}: {error:?}");
                }
            }
        }
    }
    assert!(moments > 150 && insides > 20, "{moments} moments, {insides} inside");
}

#[test]
fn each_damaged_byte_is_noticed_and_its_place_named() {
    let (_disk, engine) = database(30, EVERY_WRITE);
    compact(&engine);
    for number in 30..40 {
        apply(&engine, number).unwrap();
    }
    let bytes = taken(&engine);
    archive(&bytes).unwrap();
    let mut sections = vec![0, 16];
    while let Some(length) = bytes.get(sections[sections.len() - 1] + 4..) {
        let length = u32::from_le_bytes(length[..4].try_into().unwrap()) as usize;
        sections.push(sections[sections.len() - 1] + 16 + length);
        if sections[sections.len() - 1] == bytes.len() {
            break;
        }
    }
    assert!(sections.len() > 6, "{sections:?}");
    let mut rng = Rng::new(3);
    let borders = sections.iter().flat_map(|at| *at..*at + 24);
    let sampled = (0..400).map(|_| rng.index(bytes.len()));
    for at in borders.chain(sampled).filter(|at| *at < bytes.len()).collect::<BTreeSet<_>>() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << rng.below(8);
        let error = archive(&damaged).unwrap_err();
        assert_eq!(error.reason(), Some(reason::CORRUPT), "byte {at}: {error}");
        let named = error.context()["position"].as_u64().unwrap() as usize;
        let section = sections.iter().rfind(|begin| **begin <= at).unwrap();
        assert_eq!(named, *section, "byte {at}: {error}");
        assert!(at < 16 || error.message().contains("section "), "{error}");
    }
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let error = archive(&bytes[..length]).unwrap_err();
        assert_eq!(error.reason(), Some(reason::CORRUPT), "{length}: {error}");
        assert!(error.message().contains("cut off"), "{length}: {error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(archive(&longer).unwrap_err().message().contains("behind its end"));
    // Sections that are intact each, in another order.
    let [.., a, b, c, _] = sections[..] else { panic!() };
    let swapped = [&bytes[..a], &bytes[b..c], &bytes[a..b], &bytes[c..]].concat();
    assert_eq!(archive(&swapped).unwrap_err().reason(), Some(reason::CORRUPT));
    let error = archive(b"{\"not\": \"a backup\", \"but\": \"json\"}").unwrap_err();
    assert!(error.message().contains("is it one?"), "{error}");
    let mut newer = bytes.clone();
    newer[8] = 2;
    let checksum = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(archive(&newer).unwrap_err().reason(), Some(reason::NEWER_FORMAT));
}

#[test]
fn compactions_and_changes_meanwhile_take_nothing_away_and_later_they_do() {
    let clock = Arc::new(TestClock::new());
    let disk = FaultyStorage::new(1);
    let location = Location { clock: clock.clone(), ..disk.location() };
    let retention = Retention::Bytes(0);
    let options = Options { retention, free_bytes_min: 1000, ..options(EVERY_WRITE) };
    let engine = Engine::open(location, options).unwrap();
    begin(&engine);
    events(&engine, 0..30);
    compact(&engine);
    events(&engine, 30..60);
    let (expected, last) = (state_of(&engine), log_end(&engine));
    let first = begun(&engine, 500);
    assert_eq!(first.last_offset, last);
    let files = |disk: &FaultyStorage| disk.paths().len();
    for round in 0..4 {
        events(&engine, 100 + round * 30..130 + round * 30);
        compact(&engine);
        clock.advance_ms(50_000);
        // Each keeps the files for another minute.
        piece(&engine, &first.backup_id, 1000 * round).unwrap();
    }
    let many = files(&disk);
    let bytes = rest(&engine, &first).unwrap();
    let (restored, report) = restored(&archive(&bytes).unwrap(), RestoreTo::End).unwrap();
    assert_eq!((report.offset, report.changes_left_out), (last, 0));
    assert_eq!(state_of(&open(&restored, EVERY_WRITE).unwrap()), expected);
    // The last piece was fetched: nothing is kept for it.
    compact(&engine);
    assert!(files(&disk) < many, "{:?}", disk.paths());
    let error = piece(&engine, &first.backup_id, 0).unwrap_err();
    assert_eq!(error.reason(), Some(reason::BACKUP_GONE), "{error}");
    assert!(error.message().contains("begin another"), "{error}");

    // One that nobody asks for any more holds nothing up.
    events(&engine, 300..330);
    let idle = begun(&engine, 500);
    clock.advance_ms(61_000);
    for number in 0..3 {
        events(&engine, 400 + number * 30..430 + number * 30);
        compact(&engine);
    }
    let error = piece(&engine, &idle.backup_id, 500).unwrap_err();
    assert_eq!(error.reason(), Some(reason::BACKUP_GONE), "{error}");
    // Nothing is held when the disk is full, however lately it was asked for.
    let full = begun(&engine, 500);
    disk.set_free_bytes(Some(0));
    let _ = call(&engine, Operation::Compact, &json!({}));
    disk.set_free_bytes(None);
    for number in 0..3 {
        events(&engine, 500 + number * 30..530 + number * 30);
        compact(&engine);
    }
    let error = piece(&engine, &full.backup_id, 500).unwrap_err();
    assert_eq!(error.reason(), Some(reason::BACKUP_GONE), "{error}");
}

#[test]
fn a_backup_goes_on_after_a_kill_byte_by_byte() {
    let (disk, engine) = database(30, EVERY_WRITE);
    compact(&engine);
    events(&engine, 30..50);
    let whole = {
        let first = begun(&engine, 500);
        (first.clone(), rest(&engine, &first).unwrap())
    };
    let (first, bytes) = whole;
    let killed = disk.kill();
    let engine = open(&killed, EVERY_WRITE).unwrap();
    events(&engine, 50..60);
    assert_eq!(rest(&engine, &first).unwrap(), bytes);
    // Also where only the end is asked for: it has the digest of what was never asked for here.
    let again = open(&killed.kill(), EVERY_WRITE).unwrap();
    let end = first.size_bytes - 30;
    let last = piece(&again, &first.backup_id, end).unwrap();
    assert_eq!(last.bytes().unwrap(), bytes[end as usize..]);
    // Another database, a name that is none, and a history that took another way are noticed.
    let (_other, other) = database(60, EVERY_WRITE);
    let mut id = first.backup_id.to_string();
    for wrong in [id.clone(), "b".to_owned(), String::new(), id.replace('-', "")] {
        let error = piece(&other, &wrong, 0).unwrap_err();
        assert_eq!(error.reason(), Some(reason::BACKUP_GONE), "{wrong}: {error}");
    }
    id = id.replace(&format!("-{}-", first.last_offset), "-999999-");
    assert_eq!(piece(&again, &id, 0).unwrap_err().reason(), Some(reason::BACKUP_GONE));
}

#[test]
fn bad_requests_name_the_field() {
    let (_disk, engine) = database(3, EVERY_WRITE);
    let first = begun(&engine, 10);
    let id = Some(first.backup_id.clone());
    for (field, request) in [
        ("position", BackupRequest { position: Some(5), ..BackupRequest::default() }),
        ("bytes_max", BackupRequest { bytes_max: Some(0), ..BackupRequest::default() }),
        (
            "position",
            BackupRequest {
                backup_id: id.clone(),
                position: Some(first.size_bytes),
                bytes_max: None,
            },
        ),
        (
            "position",
            BackupRequest { backup_id: id, position: Some(u64::MAX), bytes_max: Some(u32::MAX) },
        ),
    ] {
        let error = engine.run(request).unwrap_err();
        assert_eq!(error.reason(), Some(reason::INVALID_REQUEST), "{error}");
        assert_eq!(error.context()["field"], field, "{error}");
    }
    let error = engine.run(VerifyRequest { next: Some("x".into()) }).unwrap_err();
    assert_eq!(error.context()["field"], "next");
}

#[test]
fn an_empty_database_and_one_in_memory_are_backed_up_too() {
    let empty = open(&FaultyStorage::new(1), EVERY_WRITE).unwrap();
    let (disk, report) = restored(&archive(&taken(&empty)).unwrap(), RestoreTo::End).unwrap();
    assert_eq!((report.offset, report.instances), (0, 0));
    assert_eq!(log_end(&open(&disk, EVERY_WRITE).unwrap()), 0);

    let options = Options { retention: Retention::Bytes(0), ..options(EVERY_WRITE) };
    let engine = Engine::open(Location::memory(), options).unwrap();
    begin(&engine);
    for round in 0..3 {
        events(&engine, round * 100..round * 100 + 100);
        compact(&engine);
    }
    let (disk, _) = restored(&archive(&taken(&engine)).unwrap(), RestoreTo::End).unwrap();
    assert_eq!(state_of(&open(&disk, EVERY_WRITE).unwrap()), state_of(&engine));
}

fn record(disk: &FaultyStorage) -> Arc<std::sync::Mutex<Vec<DiskImage>>> {
    let moments = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = moments.clone();
    disk.observe(move |disk, when, call, _| {
        if when == When::Before && call.is_mutating() {
            kept.lock().unwrap().push(disk.image());
        }
    });
    moments
}

#[test]
fn a_crash_in_a_restore_leaves_all_or_nothing_and_it_can_be_repeated() {
    let (_disk, engine) = database(20, EVERY_WRITE);
    compact(&engine);
    let expected = state_of(&engine);
    let archive = archive(&taken(&engine)).unwrap();
    let target = FaultyStorage::new(4);
    let moments = record(&target);
    restore(&archive, &location(&target), RestoreTo::End, &|_| {}).unwrap();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    assert!(moments.len() > 15);
    let (mut whole, mut refused) = (0, 0);
    for (number, moment) in moments.iter().enumerate() {
        let crashes = Crash::variants(number as u64, 6).map(|crash| moment.crash(crash));
        for disk in crashes.chain([moment.restart()]) {
            // As a server would open it, and make a new database where there is nothing.
            let names = disk.paths();
            match open(&disk, EVERY_WRITE) {
                Ok(engine) if names.iter().any(|name| name == "MANIFEST") => {
                    assert_eq!(state_of(&engine), expected, "moment {number}");
                    whole += 1;
                    continue;
                }
                // Not a byte was promised.
                Ok(_) => assert!(
                    names.iter().all(|name| name == "LOCK"),
                    "moment {number}: {names:?} was taken for an empty directory"
                ),
                Err(_) => refused += 1,
            }
            if names.iter().any(|name| name.starts_with("UNFINISHED")) {
                restore(&archive, &location(&disk), RestoreTo::End, &|_| {}).unwrap();
                assert_eq!(state_of(&open(&disk, EVERY_WRITE).unwrap()), expected);
            }
        }
    }
    assert!(whole > 5 && refused > 20, "{whole} whole, {refused} refused");
}

#[test]
fn a_full_disk_and_a_place_that_is_not_empty_are_left_as_they_were() {
    let (_disk, engine) = database(20, EVERY_WRITE);
    let archive = archive(&taken(&engine)).unwrap();
    let space = std::io::ErrorKind::StorageFull;
    let mut refusals = 0;
    for call in [Call::Write, Call::Create, Call::SyncDir, Call::Sync, Call::Rename] {
        for nth in 1..6 {
            let disk = FaultyStorage::new(1);
            disk.inject(Fault::new(call, Effect::Error(space)).nth(nth));
            let outcome = restore(&archive, &location(&disk), RestoreTo::End, &|_| {});
            disk.clear_faults();
            let Err(error) = outcome else { continue };
            refusals += 1;
            assert_eq!(error.reason(), Some(reason::DISK_FULL), "{call:?} {nth}: {error:?}");
            let left: Vec<String> = disk.paths();
            assert!(left.iter().all(|name| name == "LOCK"), "{call:?} {nth}: {left:?}");
        }
    }
    assert!(refusals > 10, "{refusals}");
    for path in ["MANIFEST", "notes.txt", "log/000000000001.seg", "checkpoints/a.ckpt"] {
        let disk = FaultyStorage::new(1);
        disk.put(path, b"mine");
        let error = restore(&archive, &location(&disk), RestoreTo::End, &|_| {}).unwrap_err();
        assert_eq!(error.reason(), Some(reason::INVALID_OPTION), "{path}: {error}");
        assert_eq!(disk.contents(path).unwrap(), b"mine");
        assert_eq!(disk.paths().len(), 1, "{:?}", disk.paths());
    }
    let memory = restore(&archive, &Location::memory(), RestoreTo::End, &|_| {}).unwrap_err();
    assert_eq!(memory.reason(), Some(reason::INVALID_OPTION));
}

#[test]
fn a_restored_copy_is_refused_by_who_follows_the_old_history() {
    let (disk, engine) = database(10, EVERY_WRITE);
    let old = engine.position();
    let archive = archive(&taken(&engine)).unwrap();
    let (copy, report) = restored(&archive, RestoreTo::End).unwrap();
    let engine_of_copy = open(&copy, EVERY_WRITE).unwrap();
    let info = call(&engine_of_copy, Operation::Info, &json!({})).unwrap().to_value();
    let before = call(&engine, Operation::Info, &json!({})).unwrap().to_value();
    assert_ne!(info["database_id"], before["database_id"]);
    assert_eq!(info["database_id"], report.database_id.as_str());
    assert_eq!(report.lineage.len(), 1);
    assert_eq!(report.lineage[0].database_id, before["database_id"]);
    assert_eq!(report.lineage[0].history_id.as_deref(), old.history_id.as_deref());
    assert_eq!(report.lineage[0].offset, report.offset);
    for _ in 0..2 {
        for from in [1, report.offset, report.offset + 1, report.offset + 2] {
            let (history_id, from_offset) = (old.history_id.clone(), Some(from));
            let watch = WatchAllRequest { from_offset, history_id, ..WatchAllRequest::default() };
            let refused = engine_of_copy.watch_all(watch).map(drop).unwrap_err();
            assert_eq!(refused.reason(), Some(reason::HISTORY_DIVERGED), "{from}: {refused}");
            let history_id = old.history_id.clone();
            let read = WalReadRequest { history_id, ..WalReadRequest::new(from) };
            let refused = engine_of_copy.run(read).unwrap_err();
            assert_eq!(refused.reason(), Some(reason::HISTORY_DIVERGED), "{from}: {refused}");
        }
        // Then also when both logs are that long.
        events(&engine_of_copy, 10..15);
    }
    // Its own are not, and its offsets go on.
    let own = engine_of_copy.position();
    assert_eq!(own.next, report.offset + 6);
    let (from_offset, history_id) = (Some(own.next), own.history_id.clone());
    let watch = WatchAllRequest { from_offset, history_id, ..WatchAllRequest::default() };
    engine_of_copy.watch_all(watch).unwrap();
    // Twice restored, it goes back twice.
    let again = super::backup::archive(&taken(&engine_of_copy)).unwrap();
    let (_, second) = restored(&again, RestoreTo::End).unwrap();
    assert_eq!(second.lineage.len(), 2);
    assert_eq!(second.lineage[0], report.lineage[0]);
    // Files of one are none of the other.
    let mixed = copy.kill();
    mixed.put(&segment_path(1), &disk.contents(&segment_path(1)).unwrap());
    assert_eq!(open(&mixed, EVERY_WRITE).map(drop).unwrap_err().reason(), Some(reason::CORRUPT));
}

/// A directory as bytes of a backup, without asking who has it open.
fn of_directory(disk: &FaultyStorage, id: Option<&str>) -> Result<(String, Vec<u8>), Error> {
    let backup = DirectoryBackup::of(&location(disk), id)?;
    let (mut bytes, mut next) = (Vec::new(), Some(0));
    while let Some(position) = next {
        let request = BackupRequest { position: Some(position), ..BackupRequest::default() };
        let piece = backup.piece(&request)?;
        bytes.extend(piece.bytes().unwrap());
        next = piece.next_position;
    }
    Ok((backup.backup_id().to_string(), bytes))
}

#[test]
fn a_directory_in_use_is_backed_up_with_all_that_was_acknowledged() {
    let (disk, engine) = database(20, EVERY_WRITE);
    for round in 0..4 {
        if round % 2 == 1 {
            compact(&engine);
        }
        apply(&engine, 100 + round).unwrap();
        let (id, bytes) = of_directory(&disk, None).unwrap();
        let archive = archive(&bytes).unwrap();
        let (restored, report) = restored(&archive, RestoreTo::End).unwrap();
        assert_eq!(report.offset, log_end(&engine));
        assert_eq!(state_of(&open(&restored, EVERY_WRITE).unwrap()), state_of(&engine));
        // It goes on where it stopped, and the open database makes the same of its name.
        apply(&engine, 200 + round).unwrap();
        assert_eq!(of_directory(&disk, Some(&id)).unwrap().1, bytes);
        let first = piece(&engine, &id, 0).unwrap();
        assert_eq!(rest(&engine, &first).unwrap(), bytes);
    }
    let damaged = disk.kill();
    let path = segment_path(*sample::segments(&damaged).last().unwrap());
    damaged.flip_bit(&path, 200, 1);
    let error = of_directory(&damaged, None).unwrap_err();
    assert_eq!(error.reason(), Some(reason::CORRUPT), "{error}");
    let nothing = of_directory(&FaultyStorage::new(1), None).unwrap_err();
    assert_eq!(nothing.code(), rstmdb_types::ErrorCode::NotFound);
}

#[test]
fn an_open_database_says_what_is_wrong_with_its_files() {
    let (disk, engine) = database(120, EVERY_WRITE);
    compact(&engine);
    apply(&engine, 999).unwrap();
    let look = || engine.run(VerifyRequest::default()).unwrap();
    let found = look();
    assert!(found.ok && found.problems.is_empty() && found.next.is_none(), "{found:?}");
    assert_eq!(found.segments.len(), sample::segments(&disk).len());
    assert_eq!(found.segments.iter().map(|segment| segment.changes).sum::<u64>(), log_end(&engine));
    assert!(found.checkpoints.iter().all(|checkpoint| checkpoint.ok));
    // Going on from a place tells the rest and nothing twice.
    let second = sample::segments(&disk)[1];
    let more = engine.run(VerifyRequest { next: Some(second.to_string().into()) }).unwrap();
    assert_eq!(more.segments, found.segments[2..]);
    let everything_before = everything(&engine).unwrap();
    let files: Vec<String> = found.segments.iter().map(|segment| segment.file.clone()).collect();
    let checkpoint = found.checkpoints[0].file.clone();
    for file in [files[0].clone(), files[files.len() - 1].clone(), checkpoint] {
        disk.flip_bit(&file, 150, 3);
        let found = look();
        assert!(!found.ok);
        assert!(found.problems.iter().all(|problem| problem.file == file), "{found:?}");
        assert!(found.problems[0].remedy.contains("rstmdb-cli compact --force"), "{found:?}");
        disk.flip_bit(&file, 150, 3);
        assert!(look().ok);
    }
    assert_eq!(everything(&engine).unwrap(), everything_before);
}

#[test]
fn files_of_more_than_one_section_come_back_whole() {
    let (_disk, engine) = database(1, EVERY_WRITE);
    for number in 0..15 {
        let request = json!({
            "instance_id": format!("large-{number}"), "machine": "m", "version": 1,
            "initial_ctx": {"text": "y".repeat(200_000 + number)},
        });
        call(&engine, Operation::CreateInstance, &request).unwrap();
    }
    compact(&engine);
    apply(&engine, 7).unwrap();
    let first = begun(&engine, 4 << 20);
    assert_eq!(first.next_position, None, "one piece, at most 4 MiB");
    let bytes = first.bytes().unwrap();
    let parts: Vec<u8> = (0..first.size_bytes.div_ceil(999_999))
        .flat_map(|number| {
            let request = BackupRequest {
                backup_id: Some(first.backup_id.clone()),
                position: Some(number * 999_999),
                bytes_max: Some(999_999),
            };
            engine.run(request).unwrap().bytes().unwrap()
        })
        .collect();
    assert_eq!(parts, bytes);
    let (restored, _) = restored(&archive(&bytes).unwrap(), RestoreTo::End).unwrap();
    assert_eq!(state_of(&open(&restored, EVERY_WRITE).unwrap()), state_of(&engine));
    let mut damaged = bytes;
    damaged[2 << 20] ^= 1;
    let error = archive(&damaged).unwrap_err();
    assert!(error.message().contains("bytes 1048576 to 2097152 of checkpoints/"), "{error}");
}
