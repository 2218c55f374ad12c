//! Clients that write with many requests on their way, and the books of what they were told.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rstmdb_testkit::wire::{Wire, outcome};
use serde_json::{Value, json};

/// How many write at once, each to an instance of its own.
pub const WRITERS: u64 = 8;

/// One event: the key that no other has.
pub fn key(round: u64, writer: u64, number: u64, part: &str) -> String {
    format!("{round}-{writer}-{number}{part}")
}

/// Every fourth request is an atomic batch of two events.
fn parts(number: u64) -> &'static [&'static str] {
    if number % 4 == 3 { &["-a", "-b"] } else { &[""] }
}

fn event(writer: u64, key: &str) -> Value {
    json!({"instance_id": format!("w{writer}"), "event": "STEP", "idempotency_key": key,
        "payload": {"key": key}})
}

/// Stores the machine and the instances unless they are there.
pub fn begin(wire: &mut Wire) {
    let definition = json!({"states": ["even", "odd"], "initial": "even", "transitions": [
        {"from": "even", "event": "STEP", "to": "odd"},
        {"from": "odd", "event": "STEP", "to": "even"}]});
    let params = json!({"machine": "toggle", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", params).unwrap();
    for writer in 0..WRITERS {
        let params =
            json!({"instance_id": format!("w{writer}"), "machine": "toggle", "version": 1});
        if let Err(error) = wire.call("CREATE_INSTANCE", params) {
            assert_eq!(error["code"], "INSTANCE_EXISTS");
        }
    }
}

/// What one writer did before its connection ended.
#[derive(Debug)]
pub struct Told {
    pub writer: u64,
    /// How many requests it sent, and maybe one more.
    pub sent: u64,
    /// The key and offset of each event it was told of.
    pub acknowledged: Vec<(String, u64)>,
    /// Errors it was told of.
    pub refused: Vec<Value>,
}

/// Writes until the connection ends; `ticks` hears of every answer.
pub fn write(
    address: SocketAddr,
    round: u64,
    writer: u64,
    ticks: mpsc::Sender<()>,
) -> JoinHandle<Told> {
    // Here, so that the server is still there.
    let mut wire = Wire::connect(address);
    std::thread::spawn(move || {
        let mut told = Told { writer, sent: 0, acknowledged: Vec::new(), refused: Vec::new() };
        let in_flight = 1 + writer * 4;
        let mut answered = 0;
        loop {
            while told.sent - answered < in_flight {
                let number = told.sent;
                told.sent += 1;
                if send(&mut wire, round, writer, number).is_err() {
                    break;
                }
            }
            // After a failed request too: what the server said before is there to be read.
            let Ok(Some(answer)) = wire.try_receive() else { return told };
            assert_eq!(answer["id"], answered.to_string(), "{answer}");
            record(&mut told, round, answered, outcome(answer));
            answered += 1;
            let _ = ticks.send(());
        }
    })
}

/// Everyone who writes, until the server goes away.
pub struct Writing {
    writers: Vec<JoinHandle<Told>>,
    heard: mpsc::Receiver<()>,
}

impl Writing {
    /// Stores what they need and starts them.
    pub fn begin(address: SocketAddr, round: u64) -> Writing {
        begin(&mut Wire::connect(address));
        let (ticks, heard) = mpsc::channel();
        let start = |writer| write(address, round, writer, ticks.clone());
        Writing { writers: (0..WRITERS).map(start).collect(), heard }
    }

    /// Waits for so many answers from now on.
    pub fn await_answers(&self, count: usize) {
        self.heard.try_iter().count();
        for _ in 0..count {
            self.heard.recv().unwrap();
        }
    }

    /// What they were told, once the server is gone.
    pub fn told(self) -> Vec<Told> {
        self.writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    }
}

fn send(wire: &mut Wire, round: u64, writer: u64, number: u64) -> std::io::Result<()> {
    let events: Vec<Value> =
        parts(number).iter().map(|part| event(writer, &key(round, writer, number, part))).collect();
    let (op, params) = if let [event] = &events[..] {
        ("APPLY_EVENT", event.clone())
    } else {
        let op = |params: Value| json!({"op": "APPLY_EVENT", "params": params});
        let ops: Vec<Value> = events.into_iter().map(op).collect();
        ("BATCH", json!({"mode": "atomic", "ops": ops}))
    };
    let id = number.to_string();
    wire.try_send_bytes(&rstmdb_testkit::wire::request(wire.mode, &id, op, &params))
}

fn record(told: &mut Told, round: u64, number: u64, answer: Result<Value, Value>) {
    let result = match answer {
        Ok(result) => result,
        Err(error) => return told.refused.push(error),
    };
    for (index, part) in parts(number).iter().enumerate() {
        let one = result.get("results").map_or(&result, |results| &results[index]["result"]);
        let key = key(round, told.writer, number, part);
        assert_eq!(one["ctx"]["key"], key, "{one}");
        told.acknowledged.push((key, one["wal_offset"].as_u64().unwrap()));
    }
}

/// The log, read on as it grows.
#[derive(Debug, Default)]
pub struct Log {
    next: u64,
    /// The offset of each event by its key.
    pub events: HashMap<String, u64>,
    steps: BTreeMap<String, u64>,
}

impl Log {
    /// Reads what has come. Each event is there once, in order, and instances are where events lead.
    pub fn read(&mut self, wire: &mut Wire) {
        loop {
            let params = json!({"from_offset": self.next, "limit": 1000});
            let page = wire.call("WAL_READ", params).unwrap();
            let records = page["records"].as_array().unwrap();
            if records.is_empty() {
                break;
            }
            for record in records {
                let offset = record["offset"].as_u64().unwrap();
                assert!(offset >= self.next, "the log goes back");
                self.next = offset + 1;
                let entry = &record["entry"];
                if entry["type"] == "apply_event" {
                    let key = entry["idempotency_key"].as_str().unwrap();
                    let twice = self.events.insert(key.to_owned(), offset);
                    assert_eq!(twice, None, "{key} happened twice");
                    let instance = entry["instance_id"].as_str().unwrap();
                    *self.steps.entry(instance.to_owned()).or_default() += 1;
                }
            }
        }
        for (instance, steps) in &self.steps {
            let got = wire.call("GET_INSTANCE", json!({ "instance_id": instance })).unwrap();
            assert_eq!(got["state"], if steps % 2 == 0 { "even" } else { "odd" }, "{instance}");
        }
    }

    /// Checks one writer's books: what it was told is there, and a batch is there whole or not at all.
    /// Returns the keys nobody answered for, with whether they are there.
    pub fn check(&self, round: u64, told: &Told) -> Vec<(String, bool)> {
        for (key, offset) in &told.acknowledged {
            assert_eq!(self.events.get(key), Some(offset), "{key} was acknowledged at {offset}");
        }
        let acknowledged: HashMap<_, _> = told.acknowledged.iter().cloned().collect();
        let mut open = Vec::new();
        for number in 0..told.sent {
            let keys = parts(number).iter().map(|part| key(round, told.writer, number, part));
            let keys: Vec<(String, bool)> = keys
                .map(|key| {
                    let there = self.events.contains_key(&key);
                    (key, there)
                })
                .collect();
            assert!(keys.iter().all(|(_, there)| *there == keys[0].1), "half of a batch: {keys:?}");
            open.extend(keys.into_iter().filter(|(key, _)| !acknowledged.contains_key(key)));
        }
        open
    }
}

/// Repeats what nobody answered for, with its key: it has happened once in all.
pub fn repeat(wire: &mut Wire, writer: u64, open: &[(String, bool)], log: &Log) {
    for (key, there) in open {
        let again = wire.call("APPLY_EVENT", event(writer, key)).unwrap();
        assert_eq!(again["applied"], !there, "{key}");
        if *there {
            assert_eq!(again["wal_offset"].as_u64(), log.events.get(key).copied());
        }
    }
}
