//! `bench`: how many events a second this machine and this disk do, in a scratch database.
//!
//! It never touches a database of yours: it works in a new folder, in the temporary directory or
//! below `--path`, and removes it.

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    ApplyEventRequest, ApplyEventResult, BatchMode, BatchOperation, BatchRequest,
    CreateInstanceRequest, Error, ErrorCode, GetInstanceRequest, Json, PutMachineRequest, Result,
    WalStatsRequest,
};
use serde::Serialize;
use serde_json::Value;

use crate::error::{self, CommandResult};
use crate::output::{bytes, number, rate};
use crate::screen::{Screen, fields};
use crate::session::CliSession;

const MACHINE: &str = r#"{
    "states": ["red", "green", "yellow"], "initial": "red",
    "transitions": [
        {"from": "red", "event": "NEXT", "to": "green"},
        {"from": "green", "event": "NEXT", "to": "yellow"},
        {"from": "yellow", "event": "NEXT", "to": "red"}
    ]
}"#;

/// Measure events per second in a scratch database.
///
/// The database is made in the temporary directory, in a new folder below --path when that is
/// given (so that its disk is measured), or in memory with --path mem:, and is removed at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli bench
  rstmdb-cli bench --fsync never --threads 2 --events 500000
  rstmdb-cli --path mem: bench --threads 2 --reads 90 --processes
  rstmdb-cli --path mem: bench --in-flight 1 --output json")]
pub(crate) struct Bench {
    /// How many events are applied.
    #[arg(long, default_value_t = 100_000, value_name = "COUNT")]
    events: u64,
    /// How many instances they are spread over.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..))]
    instances: u32,
    /// How many threads apply them.
    #[arg(long, default_value_t = 1, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// How many events of one thread wait for their sync at a time.
    #[arg(long, default_value_t = 256, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// How many of a hundred events are reads of an instance instead.
    #[arg(long, default_value_t = 0, value_name = "PERCENT",
        value_parser = clap::value_parser!(u32).range(0..=100))]
    reads: u32,
    /// First measure as many processes side by side, with one thread and a database of its own each,
    /// and tell what part of that the threads reach.
    #[arg(long)]
    processes: bool,
}

#[derive(Debug, Serialize)]
struct Measured {
    place: String,
    fsync: String,
    events: u64,
    instances: u32,
    threads: u32,
    in_flight: u32,
    reads: u32,
    seconds: f64,
    events_per_second: u64,
    /// From the call to the durable answer.
    latency_us: Latency,
    fsyncs: u64,
    log_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Processes>,
}

/// As many processes as there are threads, side by side.
#[derive(Debug, Serialize)]
struct Processes {
    /// Of all together.
    events_per_second: u64,
    /// What the threads do of that.
    share: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    max: u64,
}

impl Bench {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let side_by_side = self.processes.then(|| self.side_by_side(session)).transpose()?;
        let parent = match session.place_given {
            true => Some(session.place.directory("bench")?),
            false => None,
        };
        let scratch = match parent {
            Some("mem:") => None,
            Some(parent) => {
                std::fs::create_dir_all(parent).map_err(|e| error::file(parent, &e))?;
                let folder = tempfile::Builder::new().prefix("rstmdb-bench-").tempdir_in(parent);
                Some(folder.map_err(|e| error::file(parent, &e))?)
            }
            None => {
                let folder = tempfile::Builder::new().prefix("rstmdb-bench-").tempdir();
                Some(folder.map_err(|e| error::file("the temporary directory", &e))?)
            }
        };
        let place = scratch.as_ref().map_or("mem:".into(), |f| f.path().display().to_string());
        let database = Database::open_with(&place, session.options(true))?;
        let measured = self.measure(&database, &place, session);
        database.close()?;
        let mut measured = measured?;
        measured.processes = side_by_side.map(|events_per_second| {
            let share = measured.events_per_second as f64 / events_per_second.max(1) as f64;
            Processes { events_per_second, share: (share * 100.0).round() / 100.0 }
        });
        session.output.show(&measured, Measured::screen)
    }

    /// Events per second of as many processes as there are threads, each with its share of the work.
    fn side_by_side(&self, session: &CliSession) -> Result<u64> {
        let program = std::env::current_exe().map_err(|e| error::file("the program", &e))?;
        let failed = |problem: &dyn std::fmt::Display| {
            let message = format!("a process to compare with: {problem}");
            Error::new(ErrorCode::InternalError, message).with_reason(reason::IO)
        };
        let mut processes = Vec::new();
        for _ in 0..self.threads {
            let mut command = Command::new(&program);
            if session.place_given {
                command.args(["--path", session.place.directory("bench")?]);
            }
            command.args(["--fsync", &session.fsync.to_string(), "--output", "json", "bench"]);
            let share = |all: u64| (all / u64::from(self.threads)).max(1).to_string();
            command.args(["--events", &share(self.events)]);
            command.args(["--instances", &share(self.instances.into())]);
            command.args(["--in-flight", &self.in_flight.to_string()]);
            command.args(["--reads", &self.reads.to_string()]);
            command.stdout(Stdio::piped());
            processes.push(command.spawn().map_err(|problem| failed(&problem))?);
        }
        let mut sum = 0;
        for process in processes {
            let output = process.wait_with_output().map_err(|problem| failed(&problem))?;
            let result: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            let rate = result.as_ref().and_then(|result| result.get("events_per_second")?.as_u64());
            sum += rate.ok_or_else(|| failed(&output.status))?;
        }
        Ok(sum)
    }

    fn measure(&self, database: &Database, place: &str, session: &CliSession) -> Result<Measured> {
        self.prepare(database)?;
        let before = database.wal_stats(WalStatsRequest {})?;
        let began = Instant::now();
        let mut latencies = self.apply(database)?;
        let took = began.elapsed();
        let after = database.wal_stats(WalStatsRequest {})?;
        latencies.sort_unstable();
        Ok(Measured {
            place: place.to_owned(),
            fsync: session.fsync.to_string(),
            events: self.events,
            instances: self.instances,
            threads: self.threads,
            in_flight: self.in_flight,
            reads: self.reads,
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            events_per_second: rate(self.events, took.as_secs_f64()),
            latency_us: Latency {
                p50: percentile(&latencies, 50),
                p99: percentile(&latencies, 99),
                max: percentile(&latencies, 100),
            },
            fsyncs: after.io_stats.fsyncs.saturating_sub(before.io_stats.fsyncs),
            log_bytes: after.io_stats.bytes_written.saturating_sub(before.io_stats.bytes_written),
            processes: None,
        })
    }

    /// The machine and the instances.
    fn prepare(&self, database: &Database) -> Result<()> {
        let definition = Json::parse(MACHINE).map_err(error::internal)?;
        database.put_machine(PutMachineRequest::new("bench", 1, definition))?;
        let mut next = 0..self.instances;
        loop {
            let create = |number| {
                let request = CreateInstanceRequest::new(instance(number), "bench", 1);
                BatchOperation::CreateInstance(request)
            };
            let ops: Vec<_> = next.by_ref().take(1000).map(create).collect();
            if ops.is_empty() {
                return Ok(());
            }
            let mode = BatchMode::Atomic;
            database.batch(BatchRequest { mode, ops, idempotency_key: None })?;
        }
    }

    /// Applies the events from all threads; the latencies of all events.
    fn apply(&self, database: &Database) -> Result<Vec<u32>> {
        std::thread::scope(|scope| {
            let spawn = |thread: u32| {
                let worker = move || self.apply_share(database, thread);
                std::thread::Builder::new().spawn_scoped(scope, worker).map_err(|problem| {
                    Error::new(ErrorCode::InternalError, format!("can't start a thread: {problem}"))
                        .with_reason(reason::IO)
                })
            };
            let threads = (0..self.threads).map(spawn).collect::<Result<Vec<_>>>()?;
            let mut all = Vec::new();
            for thread in threads {
                let share = thread.join().map_err(|_| error::internal("a thread panicked"))?;
                all.extend(share?);
            }
            Ok(all)
        })
    }

    /// The events of one thread, on instances of its own where there are enough.
    fn apply_share(&self, database: &Database, thread: u32) -> Result<Vec<u32>> {
        let threads = u64::from(self.threads);
        let share = self.events / threads + u64::from(u64::from(thread) < self.events % threads);
        let mut waiting = VecDeque::new();
        let mut latencies = Vec::new();
        let mut number = thread % self.instances;
        let is_read = |event: u64| {
            let reads = |events: u64| events * u64::from(self.reads) / 100;
            reads(event + 1) > reads(event)
        };
        for event in 0..share {
            if is_read(event) {
                let began = Instant::now();
                let instance_id = instance(number).into();
                database.get_instance(GetInstanceRequest { instance_id })?;
                latencies.push(micros(began));
                number = (number + self.threads) % self.instances;
                continue;
            }
            let request = ApplyEventRequest::new(instance(number), "NEXT");
            waiting.push_back((Instant::now(), database.submit_event(request)));
            if waiting.len() >= self.in_flight as usize
                && let Some((began, pending)) = waiting.pop_front()
            {
                latencies.push(latency(began, pending.wait())?);
            }
            number = (number + self.threads) % self.instances;
        }
        for (began, pending) in waiting {
            latencies.push(latency(began, pending.wait())?);
        }
        Ok(latencies)
    }
}

/// The time since `began` in microseconds, unless the event failed.
fn latency(began: Instant, outcome: Result<ApplyEventResult>) -> Result<u32> {
    outcome?;
    Ok(micros(began))
}

fn micros(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)
}

fn instance(number: u32) -> String {
    format!("bench-{number}")
}

/// The latency below which this part of all lies; 0 when there are none.
fn percentile(sorted: &[u32], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0).into()
}

impl Measured {
    fn screen(&self) -> Screen {
        let Latency { p50, p99, max } = &self.latency_us;
        let micros = |value: &u64| format!("{} µs", number(*value));
        let processes = self.processes.as_ref().map(|processes| {
            let rate = number(processes.events_per_second);
            let text = format!("{rate} events/s; the threads do {:.2} of that", processes.share);
            ("processes", text)
        });
        let measured = [
            ("place", self.place.clone()),
            ("fsync", self.fsync.clone()),
            ("instances", number(self.instances.into())),
            ("threads", number(self.threads.into())),
            ("in flight", number(self.in_flight.into())),
            ("reads", format!("{} %", self.reads)),
            ("events", number(self.events)),
            ("time", format!("{:.3} s", self.seconds)),
            ("rate", format!("{} events/s", number(self.events_per_second))),
            ("latency", format!("p50 {}, p99 {}, max {}", micros(p50), micros(p99), micros(max))),
            ("syncs", number(self.fsyncs)),
            ("log written", bytes(self.log_bytes)),
        ];
        fields(measured.into_iter().chain(processes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&[], 99), 0);
        assert_eq!(percentile(&[7], 50), 7);
        let all: Vec<u32> = (1..=100).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&all, percent)), [50, 99, 100]);
    }
}
