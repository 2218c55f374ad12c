//! Databases written by earlier file formats open and hold what they held.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rstmdb_engine::maintenance::{repair, verify};
use rstmdb_engine::{Background, Engine, FsyncPolicy, Location, Options};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

fn location(path: &Path) -> Location {
    Location { clock: Arc::new(TestClock::new()), ..Location::directory(path) }
}

fn open(path: &Path) -> Engine {
    let options = Options {
        background: Background::Inline,
        segment_bytes_max: 4096,
        free_bytes_min: 0,
        checkpoint_log_bytes: 0,
        ..Options::default()
    };
    Engine::open(location(path), options).unwrap()
}

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

fn write(path: &Path) {
    let engine = open(path);
    let machine = json!({
        "states": ["open", "done"], "initial": "open", "final": ["done"], "meta": {"owner": "ü"},
        "transitions": [
            {"from": "open", "event": "ADD", "to": "open"},
            {"from": "*", "event": "FINISH", "to": "done", "guard": "ctx.n > 2 || payload.force"}
        ]
    });
    engine.put_machine(PutMachineRequest::new("list", 1, machine)).wait().unwrap();
    for n in 0..5 {
        let create = CreateInstanceRequest::new(format!("i-{n}"), "list", 1);
        let create = create.with_ctx(json!({"n": n, "name": "käse \"x\""}));
        engine.create_instance(create).wait().unwrap();
    }
    engine.create_instance(CreateInstanceRequest::new("deleted", "list", 1)).wait().unwrap();
    let delete = DeleteInstanceRequest { instance_id: "deleted".into(), idempotency_key: None };
    engine.delete_instance(delete).wait().unwrap();
    engine.apply_event(keyed()).wait().unwrap();
    engine.batch(batch()).wait().unwrap();
    for round in 0..3 {
        for n in 0..40 {
            let id = format!("i-{}", n % 3);
            let add = ApplyEventRequest::new(id, "ADD").with_payload(json!({"at": n, "r": round}));
            engine.apply_event(add).wait().unwrap();
        }
        engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
    }
    let force = ApplyEventRequest::new("i-4", "FINISH").with_payload(json!({"force": true}));
    engine.apply_event(force).wait().unwrap();
    engine.close().unwrap();
}

#[test]
fn databases_of_every_format_version_hold_what_they_held() {
    if let Ok(version) = std::env::var("RSTMDB_WRITE_FIXTURE") {
        let path = fixtures().join(&version);
        assert!(!path.exists(), "{} exists; fixtures never change", path.display());
        write(&path);
        fs::remove_file(path.join("LOCK")).unwrap();
        let engine = open(&path);
        let text = serde_json::to_string_pretty(&dump(&engine)).unwrap();
        fs::write(fixtures().join(format!("{version}.json")), text + "\n").unwrap();
        engine.close().unwrap();
        fs::remove_file(path.join("LOCK")).unwrap();
    }
    let mut versions = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("MANIFEST").exists() {
            continue;
        }
        versions += 1;
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&path, copy.path());
        assert!(verify(&location(copy.path())).unwrap().ok, "{}", path.display());
        let text = fs::read_to_string(path.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let engine = open(copy.path());
        assert_eq!(dump(&engine), expected, "{}", path.display());
        // It can be written to.
        engine.apply_event(ApplyEventRequest::new("i-0", "ADD")).wait().unwrap();
        engine.close().unwrap();
    }
    assert!(versions > 0, "there are no fixtures");
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A directory as format 1 at ad84c09 left it, on a disk of the tests, and what it held.
struct Old {
    name: String,
    files: BTreeMap<String, Vec<u8>>,
    expected: Value,
}

impl Old {
    /// One for each fsync policy; where a process was killed, and where it stopped.
    fn all() -> Vec<Old> {
        let folder = fixtures().join("format-1-ad84c09");
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<Old> = entries.filter(|path| path.is_dir()).map(Old::read).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(all.len(), 4);
        all
    }

    fn read(path: PathBuf) -> Old {
        let mut files = BTreeMap::new();
        for folder in ["", "log", "checkpoints", "snapshots"] {
            for entry in fs::read_dir(path.join(folder)).unwrap() {
                let file = entry.unwrap();
                if file.path().is_file() {
                    let name = file.file_name().into_string().unwrap();
                    let name = format!("{folder}/{name}").trim_start_matches('/').to_owned();
                    files.insert(name, fs::read(file.path()).unwrap());
                }
            }
        }
        let text = fs::read_to_string(path.with_extension("json")).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Old { name, files, expected: serde_json::from_str(&text).unwrap() }
    }

    fn disk(&self) -> FaultyStorage {
        let disk = FaultyStorage::new(1);
        self.files.iter().for_each(|(path, bytes)| disk.put(path, bytes));
        disk
    }

    /// The offset of the last change.
    fn last(&self) -> u64 {
        self.expected["log"]["next_offset"].as_u64().unwrap() - 1
    }

    /// Opens it, finds what it held, goes on, and finds that again.
    fn assert_goes_on(&self, disk: &FaultyStorage) {
        let report = verify(&sample::location(disk)).unwrap();
        assert!(report.ok, "{}: {report:?}", self.name);
        let engine = sample::open(disk, FsyncPolicy::EveryWrite).unwrap();
        assert_eq!(look(&engine), self.expected, "{}", self.name);
        assert_eq!(add(&engine, 1), self.last() + 1);
        drop(engine);
        let disk = disk.crash(Crash::KEEP_NONE);
        let engine = sample::open(&disk, FsyncPolicy::EveryWrite).unwrap();
        assert_eq!(add(&engine, 2), self.last() + 2);
        engine.close().unwrap();
        assert!(verify(&sample::location(&disk)).unwrap().ok);
    }
}

/// What `rstmdb-cli` printed when the directories were made; an error when a part can't be read.
fn try_look(engine: &Engine) -> Result<Value> {
    let get = |operation, request: Value| Ok(call(engine, operation, &request)?.to_value());
    let list = get(Operation::ListInstances, json!({}))?;
    let ids = list["instances"].as_array().unwrap().iter().map(|item| item["id"].clone());
    let ids: Vec<_> = ids.collect();
    let each = |operation, ids: &[Value]| -> Result<Vec<Value>> {
        ids.iter().map(|id| get(operation, json!({"instance_id": id}))).collect()
    };
    let machine = |(name, version): &(&str, u64)| {
        get(Operation::GetMachine, json!({"machine": name, "version": version}))
    };
    let machines = [("light", 1), ("order", 1), ("order", 2)];
    let definitions = machines.iter().map(machine).collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "machines": get(Operation::ListMachines, json!({}))?,
        "definitions": definitions,
        "instances": each(Operation::GetInstance, &ids)?,
        "histories": each(Operation::History, &[ids, vec![json!("gone")]].concat())?,
        "counts": get(Operation::CountInstances, json!({}))?["counts"],
        "log": get(Operation::WalRead, json!({"from_offset": 1, "limit": 1000}))?,
    }))
}

fn look(engine: &Engine) -> Value {
    try_look(engine).unwrap()
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
fn looking_at_format_1_changes_nothing() {
    for old in Old::all() {
        let disk = old.disk();
        let report = verify(&sample::location(&disk)).unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!((report.last_offset, report.torn_tail_bytes), (old.last(), 0));
        repair(&sample::location(&disk), old.last(), false).unwrap();
        let found = disk.paths().into_iter().map(|path| (disk.contents(&path).unwrap(), path));
        assert_eq!(found.map(|(bytes, path)| (path, bytes)).collect::<BTreeMap<_, _>>(), old.files);
    }
}

#[test]
fn format_1_opens_and_goes_on_as_format_2() {
    for old in Old::all() {
        let disk = old.disk();
        old.assert_goes_on(&disk);
        let disk = old.disk();
        let engine = sample::open(&disk, FsyncPolicy::EveryWrite).unwrap();
        assert_eq!(format_of(&disk), 2);
        // What was there stays as it was, but for the zeros behind the last frame.
        let segments = sample::segments(&disk);
        let (newest, older) = segments.split_last().unwrap();
        assert_eq!(disk.contents(&sample::segment_path(*newest)).unwrap()[8], 2);
        for segment in older {
            let path = sample::segment_path(*segment);
            let bytes = disk.contents(&path).unwrap();
            assert_eq!((bytes[8], &bytes[..]), (1, &old.files[&path][..bytes.len()]));
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
        let engine = sample::open(&disk, FsyncPolicy::EveryWrite).unwrap();
        assert_eq!(look(&engine), seen);
    }
}

#[test]
fn a_cut_back_into_format_1_changes_the_format_again() {
    for old in Old::all() {
        for to in [old.last(), old.last() - 1, old.last() - 3] {
            let disk = old.disk();
            drop(sample::open(&disk, FsyncPolicy::EveryWrite).map(|engine| add(&engine, 1)));
            let disk = disk.kill();
            repair(&sample::location(&disk), to, true).unwrap();
            let last = *sample::segments(&disk).last().unwrap();
            let format = disk.contents(&sample::segment_path(last)).unwrap()[8];
            assert_eq!(format, 1);
            assert_eq!(verify(&sample::location(&disk)).unwrap().last_offset, to);
            let engine = sample::open(&disk, FsyncPolicy::EveryWrite).unwrap();
            assert_eq!(add(&engine, 2), to + 1);
            engine.close().unwrap();
            let report = verify(&sample::location(&disk)).unwrap();
            assert!(report.ok, "{report:?}");
        }
        // Without an opening in between, it stays what it was.
        let disk = old.disk();
        repair(&sample::location(&disk), old.last() - 2, true).unwrap();
        assert_eq!(format_of(&disk), 1);
        assert!(verify(&sample::location(&disk)).unwrap().ok);
    }
}

#[test]
fn the_change_of_format_survives_a_crash_at_every_call() {
    let mut crashes = 0;
    // One whose process was killed, and one that stopped.
    for old in Old::all().into_iter().skip(if is_soak() { 0 } else { 2 }) {
        for in_call in [false, true] {
            for call in 1.. {
                let disk = old.disk();
                let cut = if in_call {
                    FaultyStorage::crash_in_call
                } else {
                    FaultyStorage::crash_at_call
                };
                cut(&disk, call);
                let opened = sample::open(&disk, FsyncPolicy::EveryWrite);
                if disk.is_on() {
                    assert!(call > 10, "the change makes {call} calls");
                    break;
                }
                drop(opened);
                for crash in Crash::variants(call, 6) {
                    old.assert_goes_on(&disk.image().crash(crash));
                    crashes += 1;
                }
                old.assert_goes_on(&disk.kill());
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn a_failure_during_the_change_of_format_is_reported_and_the_next_opening_goes_on() {
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
                    if let Err(error) = sample::open(&disk, FsyncPolicy::EveryWrite) {
                        let known = [reason::IO, reason::DISK_FULL, reason::OUTCOME_UNKNOWN];
                        assert!(known.contains(&error.reason().unwrap()), "{kind:?}: {error:?}");
                    }
                    disk.clear_faults();
                    old.assert_goes_on(&disk);
                }
            }
        }
    }
}

/// Wherever a bit turns, before the change and after it: the truth, or an error that says where.
#[test]
fn no_flipped_bit_of_format_1_goes_unseen() {
    let old = Old::all().pop().unwrap();
    let changed = old.disk();
    let engine = sample::open(&changed, FsyncPolicy::EveryWrite).unwrap();
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
                let opened = sample::open(&disk, FsyncPolicy::EveryWrite);
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
