//! Opening after a stop, and checkpoints while others write.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rstmdb::blocking::Database;
use rstmdb::{CompactRequest, Options, Retention};

use super::memory::{never, short};
use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit, per_second_on, seconds, take_turns};
use crate::workload::{Orders, url};

const ROUNDS: usize = 3;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    opens(bench, &mut rows);
    slowdown(bench, &mut rows);
    Section { title: "Recovery and checkpoints", rows }
}

fn no_checkpoints() -> Options {
    Options { checkpoint_log_bytes: 0, retention: Retention::Bytes(0), ..never() }
}

fn opens(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    let (log, checkpoint) = (dir.path().join("log"), dir.path().join("checkpoint"));
    let orders = Orders::create(&url(&log), no_checkpoints(), scale.many);
    let mut work = orders.in_flight(0, 256);
    let mut done = 0;
    while done < scale.million as u64 {
        done += work();
    }
    drop(work);
    orders.db.close().unwrap();
    let orders = Orders::create(&url(&checkpoint), no_checkpoints(), scale.million);
    orders.db.compact(CompactRequest { force_snapshot: true }).unwrap();
    orders.db.close().unwrap();
    drop(orders);

    let mut samples = [const { Samples(Vec::new()) }; 4];
    for _ in 0..ROUNDS {
        let opened = [open(&log), read_all(&log), open(&checkpoint), read_all(&checkpoint)];
        for (samples, seconds) in samples.iter_mut().zip(opened) {
            samples.0.push(seconds);
        }
    }
    let [replay, read_log, load, read_checkpoint] = samples;
    let events = short(scale.million);
    rows.extend([
        Row::new(
            format!("replay {events} events on {} instances", short(scale.many)),
            Unit::Seconds,
            replay,
        )
        .against("reading the files", &read_log)
        .goal(Goal::AtMost(1.5)),
        Row::new(format!("load a checkpoint of {events} instances"), Unit::Seconds, load)
            .against("reading the files", &read_checkpoint)
            .goal(Goal::AtMost(3.0)),
    ]);
}

fn open(path: &Path) -> f64 {
    let (took, db) = seconds(|| Database::open_with(&url(path), no_checkpoints()).unwrap());
    db.close().unwrap();
    took
}

/// What nothing can beat: reading every byte.
fn read_all(path: &Path) -> f64 {
    fn read(path: &Path) -> usize {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap();
            return entries.map(|entry| read(&entry.unwrap().path())).sum();
        }
        std::fs::read(path).unwrap().len()
    }
    seconds(|| std::hint::black_box(read(path))).0
}

fn slowdown(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    let policies = [
        ("never", no_checkpoints()),
        ("every_write", Options { fsync: rstmdb::FsyncPolicy::EveryWrite, ..no_checkpoints() }),
    ];
    for (name, options) in policies {
        let orders = Orders::create(&url(&dir.path().join(name)), options, scale.million);
        let write = |time: Duration| per_second_on(1, time, |thread| orders.in_flight(thread, 256));
        let scale = crate::measure::Scale { rounds: ROUNDS.min(scale.rounds), ..*scale };
        let mut took = Samples::default();
        let [with, without] = take_turns(
            &scale,
            [&mut |time| during_checkpoints(&orders, time, &write, &mut took), &mut |time| {
                write(time * 4)
            }],
        );
        rows.push(
            Row::new(
                format!("1 writer, 256 in flight, `{name}`, while a checkpoint is written"),
                Unit::PerSecond,
                with,
            )
            .against("no checkpoint", &without)
            .goal(Goal::RatioAtLeast(0.8)),
        );
        rows.push(Row::new(
            format!("write a checkpoint of {} instances meanwhile", short(scale.million)),
            Unit::Seconds,
            took,
        ));
        orders.db.close().unwrap();
    }
}

/// The writer's speed while checkpoints are written one after the other.
fn during_checkpoints(
    orders: &Orders,
    time: Duration,
    write: &impl Fn(Duration) -> f64,
    took: &mut Samples,
) -> f64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checkpoints = scope.spawn(|| {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let compact = || orders.db.compact(CompactRequest { force_snapshot: true });
                let (seconds, result) = seconds(compact);
                result.unwrap();
                took.push(seconds);
            }
            took
        });
        let rate = write(time * 4);
        stop.store(true, Ordering::Relaxed);
        took.0.extend(checkpoints.join().unwrap());
        rate
    })
}
