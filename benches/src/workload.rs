//! What is measured: orders that go round a cycle of states behind a guard.
//!
//! Ids have 16 bytes, contexts 100, and each event carries `{"n":123}`, which is parsed and merged.

use std::collections::VecDeque;
use std::path::Path;

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchRequest, CreateInstanceRequest, Json,
    Options, PutMachineRequest, Text,
};

pub const STATES: [&str; 4] = ["created", "paid", "packed", "shipped"];
pub const GUARD: &str = "ctx.total >= 0 && ctx.paid";
pub const EVENT: &str = "NEXT";
pub const CONTEXT_BYTES: usize = 100;
const FILL_BATCH: usize = 500;

/// What transitions do where they do something.
const ACTIONS: &str =
    r#","actions":[{"assign":{"at":{"$":"now"},"tries":{"$":"coalesce(ctx.tries, 0) + 1"}}}]"#;

pub fn machine() -> Json {
    machine_with("")
}

/// The machine whose transitions have this, too.
fn machine_with(actions: &str) -> Json {
    let transitions: Vec<String> = (0..STATES.len())
        .map(|i| {
            let (from, to) = (STATES[i], STATES[(i + 1) % STATES.len()]);
            let head = format!(r#""from":"{from}","event":"{EVENT}","to":"{to}""#);
            format!(r#"{{{head},"guard":"{GUARD}"{actions}}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"states":["{}"],"initial":"{}","transitions":[{}]}}"#,
        STATES.join(r#"",""#),
        STATES[0],
        transitions.join(",")
    );
    Json::parse(&text).unwrap()
}

/// Distinct for all `i`, in an order unlike that of `i`.
///
/// Made anew for each request, as callers do: a table of ids would cost a cache miss of its own.
pub fn id(i: usize) -> Text {
    let number = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = [0; 16];
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
    }
    std::str::from_utf8(&text).unwrap().into()
}

/// The text of a context: 100 bytes, canonical.
pub fn context(i: usize) -> String {
    let head = format!(r#"{{"customer":"c-{i:07}","n":{},"note":""#, 100 + i % 900);
    let tail = format!(r#"","paid":true,"total":{}}}"#, 1000 + i % 9000);
    let note = "-".repeat(CONTEXT_BYTES - head.len() - tail.len());
    format!("{head}{note}{tail}")
}

/// The texts of payloads; all have the same length.
pub fn payloads() -> Vec<String> {
    (100..1000).map(|n| format!(r#"{{"n":{n}}}"#)).collect()
}

/// Picks instances at random, the same ones for every contestant.
#[derive(Debug, Clone)]
pub struct Picks {
    state: u64,
    count: u64,
}

impl Picks {
    pub fn new(seed: usize, count: usize) -> Picks {
        Picks { state: seed as u64 + 1, count: count as u64 }
    }

    pub fn pick(&mut self) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((u128::from(self.state) * u128::from(self.count)) >> 64) as usize
    }
}

/// A database full of orders.
#[derive(Debug)]
pub struct Orders {
    pub db: Database,
    pub count: usize,
    pub payloads: Vec<String>,
}

pub fn url(path: &Path) -> String {
    format!("file:{}", path.display())
}

impl Orders {
    /// Opens a database and creates `count` instances in it.
    pub fn create(url: &str, options: Options, count: usize) -> Orders {
        Orders::of(machine(), url, options, count)
    }

    /// The same of orders whose events assign two members.
    pub fn create_acting(url: &str, options: Options, count: usize) -> Orders {
        Orders::of(machine_with(ACTIONS), url, options, count)
    }

    fn of(machine: Json, url: &str, options: Options, count: usize) -> Orders {
        let db = Database::open_with(url, options).unwrap();
        db.put_machine(PutMachineRequest::new("order", 1, machine)).unwrap();
        fill(&db, count);
        Orders { db, count, payloads: payloads() }
    }

    pub fn picks(&self, seed: usize) -> Picks {
        Picks::new(seed, self.count)
    }

    pub fn request(&self, picks: &mut Picks) -> ApplyEventRequest {
        let i = picks.pick();
        let payload = Json::parse(&self.payloads[i % self.payloads.len()]).unwrap();
        ApplyEventRequest::new(id(i), EVENT).with_payload(payload)
    }

    /// One transition, waited for.
    pub fn apply(&self, picks: &mut Picks) {
        self.db.apply_event(self.request(picks)).unwrap();
    }

    /// Work for one of several threads: `batch` transitions, each waited for.
    pub fn blocking(&self, thread: usize, batch: u64) -> impl FnMut() -> u64 {
        let mut picks = self.picks(thread);
        move || {
            for _ in 0..batch {
                self.apply(&mut picks);
            }
            batch
        }
    }

    /// Work for one of several threads with up to `tickets` transitions in flight.
    pub fn in_flight(&self, thread: usize, tickets: usize) -> impl FnMut() -> u64 {
        let mut picks = self.picks(thread);
        let mut pending = VecDeque::with_capacity(tickets);
        move || {
            let mut done = 0;
            while pending.len() < tickets {
                pending.push_back(self.db.submit_event(self.request(&mut picks)));
            }
            if let Some(oldest) = pending.pop_front() {
                oldest.wait().unwrap();
                done += 1;
            }
            while pending.front().is_some_and(|next| next.is_ready()) {
                pending.pop_front().unwrap().wait().unwrap();
                done += 1;
            }
            done
        }
    }
}

/// Creates `count` instances, several hundred to a sync.
pub fn fill(db: &Database, count: usize) {
    for first in (0..count).step_by(FILL_BATCH) {
        let ops = (first..count.min(first + FILL_BATCH)).map(|i| {
            let ctx = Json::parse(&context(i)).unwrap();
            BatchOperation::CreateInstance(
                CreateInstanceRequest::new(id(i), "order", 1).with_ctx(ctx),
            )
        });
        let request =
            BatchRequest { mode: BatchMode::BestEffort, ops: ops.collect(), idempotency_key: None };
        let outcome = db.batch(request).unwrap();
        assert!(outcome.results.iter().all(|outcome| outcome.error.is_none()));
    }
}
