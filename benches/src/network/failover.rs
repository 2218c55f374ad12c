//! How long a group takes no writes when its leader is killed, hangs, or is stopped in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rstmdb::blocking::Database;
use rstmdb::{ApplyEventRequest, CreateInstanceRequest, Json};
use rustix::process::Signal;

use super::Scale;
use super::nodes::{Nodes, await_some};
use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit};
use crate::workload::{EVENT, context, id};

/// An answer that was on its way already is no answer of the next leader.
const ON_THE_WAY: Duration = Duration::from_millis(20);

/// What happens to the leader.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill,
    Hang,
    Stop,
}

pub fn run(bench: &Bench) -> Section {
    let scale = Scale::of(&bench.scale);
    let mut nodes = Nodes::ours(bench);
    (0..super::nodes::SIZE).for_each(|place| nodes.await_ready(place));
    let database = Database::open(&nodes.url()).unwrap();
    let create = CreateInstanceRequest {
        initial_ctx: Some(Json::parse(&context(0)).unwrap()),
        ..CreateInstanceRequest::new(id(0), "order", 1)
    };
    database.create_instance(create).unwrap();
    let (acknowledged, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut rows = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| write(&database, &acknowledged, &is_over));
        for (blow, what, goal) in [
            (Blow::Kill, "`kill -9`", 1500.0),
            (Blow::Hang, "the process hangs", 2000.0),
            (Blow::Stop, "a stop in order", 200.0),
        ] {
            let mut pauses: Vec<f64> = (0..scale.failovers)
                .map(|_| pause(&mut nodes, blow, &acknowledged).as_secs_f64() * 1e3)
                .collect();
            pauses.sort_by(f64::total_cmp);
            let case =
                |of: &str| format!("{of} of {} times no write is done: {what}", pauses.len());
            let p99 = pauses[(pauses.len() * 99).div_ceil(100) - 1];
            let median = Samples(pauses.clone()).median();
            rows.push(Row::new(case("median"), Unit::Millis, median));
            rows.push(
                Row::new(case("99th percentile"), Unit::Millis, p99).goal(Goal::AtMost(goal)),
            );
        }
        is_over.store(true, Ordering::Release);
    });
    Section { title: "Failover, three nodes on this machine", rows }
}

/// Writes one event after the other.
fn write(database: &Database, acknowledged: &Mutex<Vec<Instant>>, is_over: &AtomicBool) {
    let mut number = 0u64;
    while !is_over.load(Ordering::Acquire) {
        number += 1;
        let request = ApplyEventRequest::new(id(0), EVENT).with_key(format!("w-{number}"));
        database.apply_event(request).unwrap();
        acknowledged.lock().unwrap().push(Instant::now());
    }
}

/// The longest time between two writes around a blow, after which all are well again.
fn pause(nodes: &mut Nodes, blow: Blow, acknowledged: &Mutex<Vec<Instant>>) -> Duration {
    let leader = nodes.leader();
    let begin = Instant::now();
    acknowledged.lock().unwrap().clear();
    await_some("a write is done", || acknowledged.lock().unwrap().first().copied());
    let struck = Instant::now();
    let mut hanging = None;
    match blow {
        Blow::Kill => nodes.servers[leader].take().unwrap().kill(),
        Blow::Stop => drop(nodes.servers[leader].take().unwrap().stop()),
        Blow::Hang => {
            nodes.server(leader).signal(Signal::STOP);
            hanging = Some(leader);
        }
    }
    let end = struck.max(Instant::now()) + ON_THE_WAY;
    let found = await_some("another leader takes writes", || {
        let acknowledged = acknowledged.lock().unwrap();
        let is_done = acknowledged.last().is_some_and(|last| *last > end);
        is_done.then(|| acknowledged.clone())
    });
    match hanging {
        Some(place) => nodes.server(place).signal(Signal::CONT),
        None => nodes.start(leader),
    }
    nodes.await_ready(leader);
    let times = std::iter::once(begin).chain(found).collect::<Vec<_>>();
    times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
}
