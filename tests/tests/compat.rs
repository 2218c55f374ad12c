//! Databases written by earlier file formats open and hold what they held.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rstmdb_engine::maintenance::verify;
use rstmdb_engine::storage::FileStorage;
use rstmdb_engine::{Background, Engine, Location, Options};
use rstmdb_testkit::clock::TestClock;
use rstmdb_types::*;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}

fn location(path: &Path) -> Location {
    Location {
        storage: Arc::new(FileStorage::new(path.to_owned())),
        clock: Arc::new(TestClock::default()),
        name: "fixture".to_owned(),
    }
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
    let log = WalReadRequest { from_offset: 1, limit: Some(1000) };
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
        if !path.is_dir() {
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
