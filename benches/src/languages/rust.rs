//! What every language measures, in Rust on one thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchRequest, CreateInstanceRequest, Json,
    PutMachineRequest,
};

use crate::Bench;
use crate::measure::{per_second, seconds};
use crate::workload::url;

const INSTANCES: usize = 1_000;
const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 64;
const MACHINE: &str = r#"{"states":["A","B"],"initial":"A","transitions":[
    {"from":"A","event":"FLIP","to":"B"},{"from":"B","event":"FLOP","to":"A"}]}"#;
/// 100 bytes, with the `n` that events replace.
const CONTEXT: &str = r#"{"customer":"c-0000001","n":0,"note":"------------------------------------------------","total":100}"#;

/// A database of instances that go to and fro.
struct PingPong {
    db: Database,
    /// How many events there were; each instance gets one in turn.
    sent: Cell<usize>,
}

impl PingPong {
    fn open(url: &str) -> PingPong {
        let db = Database::open(url).unwrap();
        let machine = Json::parse(MACHINE).unwrap();
        db.put_machine(PutMachineRequest::new("pingpong", 1, machine)).unwrap();
        let ops = (0..INSTANCES).map(|i| {
            let ctx = Json::parse(CONTEXT).unwrap();
            let create = CreateInstanceRequest::new(id(i), "pingpong", 1).with_ctx(ctx);
            BatchOperation::CreateInstance(create)
        });
        db.batch(BatchRequest {
            mode: BatchMode::Atomic,
            ops: ops.collect(),
            idempotency_key: None,
        })
        .unwrap();
        PingPong { db, sent: Cell::new(0) }
    }

    fn next(&self) -> ApplyEventRequest {
        let number = self.sent.get();
        self.sent.set(number + 1);
        let event = if (number / INSTANCES).is_multiple_of(2) { "FLIP" } else { "FLOP" };
        let payload = Json::parse(&format!(r#"{{"n":{number}}}"#)).unwrap();
        ApplyEventRequest::new(id(number % INSTANCES), event).with_payload(payload)
    }

    fn in_flight(&self, time: Duration) -> f64 {
        let mut pending = VecDeque::with_capacity(IN_FLIGHT);
        let (start, mut done) = (Instant::now(), 0u64);
        while start.elapsed() < time {
            while pending.len() < IN_FLIGHT {
                pending.push_back(self.db.submit_event(self.next()));
            }
            // All that one sync covered, so that the next covers as many.
            pending.pop_front().unwrap().wait().unwrap();
            done += 1;
            while pending.front().is_some_and(|next| next.is_ready()) {
                pending.pop_front().unwrap().wait().unwrap();
                done += 1;
            }
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        for late in pending {
            late.wait().unwrap();
        }
        rate
    }

    fn batch(&self) {
        let ops = (0..BATCH).map(|_| BatchOperation::ApplyEvent(self.next()));
        let request =
            BatchRequest { mode: BatchMode::Atomic, ops: ops.collect(), idempotency_key: None };
        self.db.batch(request).unwrap();
    }
}

fn id(i: usize) -> String {
    format!("instance-{i}")
}

/// One turn.
pub fn measure(bench: &Bench, time: Duration) -> Vec<(&'static str, f64)> {
    let folder = bench.folder();
    let memory = PingPong::open("mem:");
    per_second(time / 4, 32, || drop(memory.db.apply_event(memory.next()).unwrap()));
    let mem_apply = per_second(time, 32, || drop(memory.db.apply_event(memory.next()).unwrap()));
    let mem_apply_64 = memory.in_flight(time);
    let batches = PingPong::open("mem:");
    let batch_1000 = per_second(time, 1, || batches.batch()) * BATCH as f64;
    let durable = PingPong::open(&url(&folder.path().join("durable")));
    durable.in_flight(time / 4);
    let durable_apply_64 = durable.in_flight(time);
    vec![
        ("mem_apply", mem_apply),
        ("mem_apply_64", mem_apply_64),
        ("batch_1000", batch_1000),
        ("durable_apply_64", durable_apply_64),
        ("open_ms", open_ms(&folder.path().join("empty"))),
    ]
}

/// From the opening of a directory that is not there to the first answer.
fn open_ms(path: &Path) -> f64 {
    let (took, db) = seconds(|| {
        let db = Database::open(&url(path)).unwrap();
        db.ping(rstmdb::PingRequest::default()).unwrap();
        db
    });
    db.close().unwrap();
    took * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_a_hundred_bytes() {
        let context = Json::parse(CONTEXT).unwrap();
        assert_eq!(context.as_str().len(), 100, "{context:?}");
        assert_eq!(context.as_str(), CONTEXT);
    }

    #[test]
    fn instances_go_to_and_fro() {
        let pingpong = PingPong::open("mem:");
        for _ in 0..3 * INSTANCES {
            pingpong.db.apply_event(pingpong.next()).unwrap();
        }
        pingpong.batch();
        assert!(pingpong.in_flight(Duration::from_millis(1)) > 0.0);
    }
}
