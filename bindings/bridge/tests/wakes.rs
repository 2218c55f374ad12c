//! Who is woken for a write that callbacks wait for. A process of its own: its threads are counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc::{Sender, channel};

use rstmdb_bridge::types::{
    ApplyEventRequest, CreateInstanceRequest, Json, PutMachineRequest, Result,
};
use rstmdb_bridge::{Database, Started};

const WRITES: u64 = 200;

/// Begins a write, whose callback begins the next, so many in all.
fn write(database: &Database, left: u64, end: Sender<Result<()>>) {
    let next = database.clone();
    let came = move |result: Result<_>| match result {
        Ok(_) if left > 1 => write(&next, left - 1, end),
        result => end.send(result.map(drop)).unwrap(),
    };
    match database.start(ApplyEventRequest::new("i", "GO")) {
        Started::Waiting(waiting) => drop(waiting.finish(came)),
        Started::Ready(result) => came(result),
    }
}

/// How often the thread went to sleep that writes for those who only wait.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::path::PathBuf| -> Option<u64> {
        let status = std::fs::read_to_string(task.join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        (field("Name:")? == "rstmdb-jobs").then_some(())?;
        field("voluntary_ctxt_switches:")?.parse().ok()
    };
    tasks.filter_map(|task| of(task.unwrap().path())).sum()
}

#[test]
fn who_calls_back_writes_and_wakes_nobody_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().to_str().unwrap(), "").unwrap();
    let definition =
        r#"{"states":["a"],"initial":"a","transitions":[{"from":"a","event":"GO","to":"a"}]}"#;
    let definition = Json::parse(definition).unwrap();
    database.start(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    database.start(CreateInstanceRequest::new("i", "m", 1)).wait().unwrap();
    let before = sleeps();
    let (end, ended) = channel();
    write(&database, WRITES, end);
    ended.recv().unwrap().unwrap();
    let more = sleeps() - before;
    // It has work of its own now and then.
    assert!(more < WRITES / 2, "{more} times for {WRITES} writes");
    database.close().unwrap();
}
