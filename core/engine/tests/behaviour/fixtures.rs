//! Databases that older builds left in `tests/compat`, and what writes those of this build there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rstmdb_engine::{Engine, FsyncPolicy, Location};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample;
use rstmdb_types::{Operation, Result};
use serde_json::{Value, json};

/// The folder they are in.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

/// The files of a directory by their paths in it.
pub fn read_files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["", "log", "checkpoints", "snapshots"] {
        for entry in fs::read_dir(directory.join(folder)).into_iter().flatten() {
            let file = entry.unwrap();
            if file.path().is_file() {
                let name = file.file_name().into_string().unwrap();
                let name = format!("{folder}/{name}").trim_start_matches('/').to_owned();
                files.insert(name, fs::read(file.path()).unwrap());
            }
        }
    }
    files
}

/// Writes files below a directory.
pub fn write_files(directory: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The files of a disk.
pub fn files_of(disk: &FaultyStorage) -> BTreeMap<String, Vec<u8>> {
    let with_bytes = |path: String| (path.clone(), disk.contents(&path).unwrap());
    disk.paths().into_iter().map(with_bytes).collect()
}

/// A directory as an older build left it, on a disk of the tests, and what it held.
pub struct Old {
    /// Its folder.
    pub name: String,
    /// The format of its files.
    pub format: u8,
    /// They, by their paths.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What was in it.
    pub expected: Value,
}

impl Old {
    /// Of each format, with several fsync policies; where a process was killed, and where it stopped.
    pub fn all() -> &'static [Old] {
        static ALL: LazyLock<Vec<Old>> = LazyLock::new(|| {
            if let Ok(name) = std::env::var("RSTMDB_WRITE_FIXTURE") {
                write(&fixtures().join(name));
            }
            let mut folders = entries(&fixtures());
            folders.retain(|path| file_name(path).starts_with("format-"));
            folders.iter().flat_map(|folder| entries(folder)).map(|path| Old::read(&path)).collect()
        });
        &ALL
    }

    /// Those of a format.
    pub fn of(format: u8) -> Vec<&'static Old> {
        let found: Vec<_> = Old::all().iter().filter(|old| old.format == format).collect();
        assert!(found.len() > 1, "there are too few databases of format {format}");
        found
    }

    /// A directory below `format-N-COMMIT`.
    fn read(path: &Path) -> Old {
        let folder = file_name(path.parent().unwrap());
        let format = folder.split('-').nth(1).unwrap().parse().unwrap();
        let name = format!("{folder}/{}", file_name(path));
        let text = fs::read_to_string(path.with_extension("json")).unwrap();
        let expected = serde_json::from_str(&text).unwrap();
        Old { name, format, files: read_files(path), expected }
    }

    pub fn disk(&self) -> FaultyStorage {
        let disk = FaultyStorage::new(1);
        self.files.iter().for_each(|(path, bytes)| disk.put(path, bytes));
        disk
    }

    /// The offset of the last change.
    pub fn last(&self) -> u64 {
        self.expected["log"]["next_offset"].as_u64().unwrap() - 1
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The folders in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

/// Writes databases as this build does: the history of the older ones, one whose process is killed
/// and one that stops.
fn write(folder: &Path) {
    assert!(!folder.exists(), "{} exists; fixtures never change", folder.display());
    for (name, fsync) in [("every-write", FsyncPolicy::EveryWrite), ("never", FsyncPolicy::Never)] {
        let (disk, clock) = (FaultyStorage::new(1), Arc::new(TestClock::new()));
        let location = Location { clock: clock.clone(), ..sample::location(&disk) };
        let engine = Engine::open(location, sample::options(fsync)).unwrap();
        for (operation, request) in history() {
            clock.advance_ms(5);
            call(&engine, operation, &request).unwrap();
        }
        let held = look(&engine);
        let disk = if fsync == FsyncPolicy::EveryWrite {
            disk.kill()
        } else {
            engine.close().unwrap();
            disk
        };
        write_files(&folder.join(name), &files_of(&disk));
        fs::write(folder.join(format!("{name}.json")), format!("{held}\n")).unwrap();
    }
}

/// Machines with versions, instances with a second life and a given state, deletions, keys, batches of
/// both modes, two checkpoints, a snapshot.
fn history() -> Vec<(Operation, Value)> {
    let text = fs::read_to_string(fixtures().join("history.jsonl")).unwrap();
    let read = |line| {
        let step: Value = serde_json::from_str(line).unwrap();
        (Operation::from_name(step["op"].as_str().unwrap()).unwrap(), step["params"].clone())
    };
    text.lines().map(read).collect()
}

/// What `rstmdb-cli` printed when the directories were made; an error when a part can't be read.
pub fn try_look(engine: &Engine) -> Result<Value> {
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
    let mut log = get(Operation::WalRead, json!({"from_offset": 1, "limit": 1000}))?;
    // Builds of then did not tell it.
    log.as_object_mut().unwrap().remove("history_id");
    let machines = [("light", 1), ("order", 1), ("order", 2)];
    let definitions = machines.iter().map(machine).collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "machines": get(Operation::ListMachines, json!({}))?,
        "definitions": definitions,
        "instances": each(Operation::GetInstance, &ids)?,
        "histories": each(Operation::History, &[ids, vec![json!("gone")]].concat())?,
        "counts": get(Operation::CountInstances, json!({}))?["counts"],
        "log": log,
    }))
}

/// The same, where all can be read.
pub fn look(engine: &Engine) -> Value {
    try_look(engine).unwrap()
}
