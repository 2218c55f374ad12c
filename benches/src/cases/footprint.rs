//! Bytes in memory and in the log.
//!
//! Memory is what the system counts as resident, in a process of its own for each measurement.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use rstmdb::blocking::Database;
use rstmdb::{CompactRequest, CountInstancesRequest, Options, PutMachineRequest, WalStatsRequest};

use super::memory::{never, short};
use crate::Bench;
use crate::measure::{Goal, Row, Section, Unit, resident_bytes};
use crate::workload::{CONTEXT_BYTES, Orders, context, fill, id, machine, payloads, url};

const INSTANCE_BYTES_MAX: f64 = 205.0;
const EVENT_BYTES_MAX: f64 = 120.0;

pub fn run(bench: &Bench) -> Section {
    let count = bench.scale.million;
    let dir = bench.folder();
    let database = dir.path().join("orders");
    let in_child = |what: &str| measure_in_child(what, count, &database);
    let created = in_child("create");
    let loaded = in_child("load");
    let map = in_child("map");
    let case =
        |what: &str| format!("per instance beyond its context, {} instances {what}", short(count));
    let mut rows = vec![
        Row::new(case("created"), Unit::Bytes, created)
            .against("hash map and ordered map", &map.into())
            .goal(Goal::AtMost(INSTANCE_BYTES_MAX)),
        Row::new(case("loaded from a checkpoint"), Unit::Bytes, loaded)
            .goal(Goal::AtMost(INSTANCE_BYTES_MAX)),
    ];
    log(bench, &mut rows);
    Section { title: "Memory and log", rows }
}

fn log(bench: &Bench, rows: &mut Vec<Row>) {
    let dir = bench.folder();
    let orders = Orders::create(&url(&dir.path().join("log")), never(), bench.scale.many);
    let payload_bytes = payloads()[0].len() as f64;
    let events = 3 * bench.scale.many;
    let per_event = |work: &mut dyn FnMut() -> u64| {
        let stats = || {
            // Waits until everything appended is written.
            orders.db.count_instances(CountInstancesRequest::default()).unwrap();
            let stats = orders.db.wal_stats(WalStatsRequest::default()).unwrap();
            (stats.io_stats.bytes_written as f64, stats.latest_offset as f64)
        };
        let (bytes, offset) = stats();
        let mut done = 0;
        while done < events as u64 {
            done += work();
        }
        let (bytes_after, offset_after) = stats();
        (bytes_after - bytes) / (offset_after - offset) - payload_bytes
    };
    let alone = per_event(&mut orders.blocking(0, 1));
    let grouped = per_event(&mut orders.in_flight(0, 256));
    let goal = Goal::AtMost(EVENT_BYTES_MAX);
    rows.extend([
        Row::new(
            "log per event beyond its payload, each in a write of its own",
            Unit::Bytes,
            alone,
        )
        .goal(goal),
        Row::new("log per event beyond its payload, 256 in flight", Unit::Bytes, grouped)
            .goal(goal),
    ]);
}

fn measure_in_child(what: &str, count: usize, database: &Path) -> f64 {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--child", what, &count.to_string()])
        .arg(database)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    text.trim().parse().unwrap_or_else(|_| panic!("child {what}: {text} {complaint}"))
}

/// What the process that was started by [`measure_in_child`] does.
pub fn child(arguments: &[String]) {
    let [what, count, database] = arguments else { panic!("--child WHAT COUNT DIRECTORY") };
    let count: usize = count.parse().unwrap();
    let database = PathBuf::from(database);
    let options = Options { checkpoint_log_bytes: 0, ..never() };
    let before;
    let after;
    match what.as_str() {
        "create" => {
            let db = Database::open_with(&url(&database), options).unwrap();
            db.put_machine(PutMachineRequest::new("order", 1, machine())).unwrap();
            before = resident_bytes("/proc/self/status");
            fill(&db, count);
            after = resident_bytes("/proc/self/status");
            db.compact(CompactRequest { force_snapshot: true }).unwrap();
            db.close().unwrap();
        }
        "load" => {
            before = resident_bytes("/proc/self/status");
            let db = Database::open_with(&url(&database), options).unwrap();
            after = resident_bytes("/proc/self/status");
            db.close().unwrap();
        }
        "map" => {
            before = resident_bytes("/proc/self/status");
            let map: HashMap<String, (u32, String)> =
                (0..count).map(|i| (id(i).to_string(), (0, context(i)))).collect();
            let order: BTreeMap<&str, u32> = map.keys().map(|id| (id.as_str(), 0)).collect();
            after = resident_bytes("/proc/self/status");
            assert_eq!(order.len(), count);
        }
        other => panic!("unknown measurement {other}"),
    }
    println!("{}", (after - before) / count as f64 - CONTEXT_BYTES as f64);
}
