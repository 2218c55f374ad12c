//! What the clients do, and the book of what they were told.
//!
//! Registers are instances that hold one number; each write has a number of its own. Between accounts amounts are moved by atomic
//! batches, so that their sum never changes.
//!
//! What a write asks for never comes again once it is gone: an account says, beside its amount, which transfer was the last. So a
//! refusal is for good, though a request that its client gave up on may reach a server long after.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rstmdb_testkit::faulty::Rng;
use serde_json::{Value, json};

use crate::client::{Client, Fate, breath};
use crate::registers::{Entry, Step, entry};

/// The accounts, and what is in each at first.
pub const ACCOUNTS: usize = 4;
/// See [`ACCOUNTS`].
pub const AMOUNT: u64 = 100;
/// Registers in use at a time.
const REGISTERS: usize = 5;
/// After so many steps a register gives way to the next: longer histories take long to explain.
const STEPS_MAX: usize = 250;
/// After so many steps without an answer it does too: each doubles the ways in which it can have come about.
const UNANSWERED_MAX: usize = 4;
/// How often a write with a key is repeated by its client, beside what the library does.
const REPETITIONS: usize = 3;

/// What is known of a write, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It was done, at these offsets.
    Done(Vec<u64>),
    /// It was not: what its client was told, in turn.
    NotDone(Vec<Fate>),
    /// It may have been.
    Perhaps,
}

/// A register in use.
#[derive(Debug, Default)]
struct Register {
    name: String,
    history: Vec<Entry>,
    unanswered: usize,
    /// The last number that somebody was told.
    hint: u64,
}

/// What all clients have seen.
#[derive(Debug)]
pub struct Book {
    began: Instant,
    /// Set when the clients are to stop.
    pub is_over: AtomicBool,
    next: AtomicU64,
    registers: Mutex<Vec<Register>>,
    filled: Mutex<Vec<(String, Vec<Entry>)>>,
    writes: Mutex<BTreeMap<u64, Known>>,
    faults: Mutex<Vec<String>>,
    /// Of the last write that was done: when it was asked for, in nanoseconds.
    last_begun: AtomicU64,
    done: AtomicU64,
}

impl Book {
    /// An empty one.
    pub fn new() -> Book {
        Book {
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            next: AtomicU64::new(1),
            registers: Mutex::default(),
            filled: Mutex::default(),
            writes: Mutex::default(),
            faults: Mutex::default(),
            last_begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes something that should not be.
    pub fn fault(&self, what: String) {
        eprintln!("chaos: FAULT: {what}");
        self.faults.lock().unwrap().push(what);
    }

    /// All that should not be.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// Waits for a write that is begun from now on to be done; how long that took.
    pub fn await_progress(&self, patience: Duration) -> Option<Duration> {
        let begin = self.now();
        while self.now() - begin < patience {
            if u128::from(self.last_begun.load(Ordering::Acquire)) >= begin.as_nanos() {
                return Some(self.now() - begin);
            }
            breath();
        }
        None
    }

    /// How many writes were done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// All histories, after the clients have stopped.
    pub fn histories(&self) -> Vec<(String, Vec<Entry>)> {
        let mut all = std::mem::take(&mut *self.filled.lock().unwrap());
        let left = std::mem::take(&mut *self.registers.lock().unwrap());
        all.extend(left.into_iter().map(|register| (register.name, register.history)));
        all
    }

    /// What is known of writes.
    pub fn writes(&self) -> BTreeMap<u64, Known> {
        self.writes.lock().unwrap().clone()
    }

    /// The register at a place, if it is not worn; else the fresh one, if there is one, which takes its place.
    fn register(&self, at: usize, fresh: Option<String>) -> Option<(String, u64)> {
        let mut registers = self.registers.lock().unwrap();
        let is_worn = |register: &Register| {
            register.history.len() >= STEPS_MAX || register.unanswered >= UNANSWERED_MAX
        };
        if let Some(register) = registers.get(at).filter(|register| !is_worn(register)) {
            return Some((register.name.clone(), register.hint));
        }
        let register = Register { name: fresh?, ..Register::default() };
        let name = register.name.clone();
        if at < registers.len() {
            let worn = std::mem::replace(&mut registers[at], register);
            self.filled.lock().unwrap().push((worn.name, worn.history));
        } else {
            registers.push(register);
        }
        Some((name, 0))
    }

    fn note(&self, number: u64, begun: Duration, known: Known) {
        if let Known::Done(_) = known {
            let begun = u64::try_from(begun.as_nanos()).unwrap_or(u64::MAX);
            self.last_begun.fetch_max(begun, Ordering::AcqRel);
            self.done.fetch_add(1, Ordering::AcqRel);
        }
        self.writes.lock().unwrap().insert(number, known);
    }

    /// Adds what a client saw of a register, which may have given way meanwhile.
    fn add(&self, name: &str, entry: Entry) {
        let mut registers = self.registers.lock().unwrap();
        if let Some(register) = registers.iter_mut().find(|register| register.name == name) {
            register.unanswered += usize::from(entry.return_time == i64::MAX);
            if let Step::Read(number) | Step::Write(number) | Step::Swap(_, number) = entry.op {
                register.hint = number;
            }
            register.history.push(entry);
            return;
        }
        let mut filled = self.filled.lock().unwrap();
        let (_, history) = filled.iter_mut().rfind(|(of, _)| of == name).unwrap();
        history.push(entry);
    }
}

impl Default for Book {
    fn default() -> Book {
        Book::new()
    }
}

/// The name of an account.
pub fn account(number: usize) -> String {
    format!("account{number}")
}

/// One client with what it needs to decide what to do.
#[derive(Debug)]
pub struct Worker<'a> {
    /// Its number.
    pub number: usize,
    /// What the others have seen, too.
    pub book: &'a Book,
    /// The client.
    pub client: Client,
    /// Decides.
    pub rng: Rng,
    /// In steps of it so many milliseconds pass.
    pub pause: Duration,
}

impl Worker<'_> {
    /// Makes the machine and the accounts.
    pub fn prepare(&mut self) {
        let definition = json!({
            "states": ["r"], "initial": "r",
            "transitions": [
                {"from": "r", "event": "SET", "to": "r"},
                {"from": "r", "event": "SWAP", "to": "r", "guard": "ctx.n == payload.was"},
                {"from": "r", "event": "MOVE", "to": "r", "guard": "ctx.t == payload.last"},
            ],
        });
        self.insist("PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": definition}));
        for number in 0..ACCOUNTS {
            self.create(&account(number), json!({"v": AMOUNT, "t": 0}));
        }
    }

    fn create(&mut self, name: &str, ctx: Value) {
        let args = json!({"instance_id": name, "machine": "m", "version": 1, "initial_ctx": ctx,
            "idempotency_key": name});
        self.insist("CREATE_INSTANCE", args);
    }

    /// Asks until it is done, as may be done with what has a key.
    fn insist(&mut self, op: &str, args: Value) {
        let step = json!({"op": op, "args": args});
        while !self.book.is_over.load(Ordering::Acquire) {
            match self.fate(&step) {
                Fate::Done(_) => return,
                Fate::Odd(answer) => return self.book.fault(format!("{step} got {answer}")),
                _ => breath(),
            }
        }
    }

    fn fate(&mut self, step: &Value) -> Fate {
        match self.client.ask(step) {
            Ok(answer) => Fate::of(answer),
            Err(error) => {
                self.book.is_over.store(true, Ordering::Release);
                Fate::Odd(format!("client {} is gone: {error}", self.number))
            }
        }
    }

    /// What comes of a step that is repeated where nobody knows, if it has a key.
    fn settled(&mut self, step: &Value, has_key: bool) -> (Fate, Vec<Fate>) {
        let mut told = Vec::new();
        for _ in 0..if has_key { REPETITIONS } else { 1 } {
            let fate = self.fate(step);
            let is_open = told.contains(&Fate::Unknown);
            told.push(fate.clone());
            match fate {
                Fate::Unknown => {}
                Fate::Nothing(_) if is_open => {}
                Fate::Odd(answer) => {
                    self.book.fault(format!("client {}: {step} got {answer}", self.number));
                    return (Fate::Unknown, told);
                }
                other => return (other, told),
            }
        }
        (Fate::Unknown, told)
    }

    /// Goes on until all is over.
    pub fn work(&mut self) {
        while !self.book.is_over.load(Ordering::Acquire) {
            match self.rng.below(100) {
                0..15 => self.transfer(),
                15..20 => self.sum(),
                _ => self.register(),
            }
            std::thread::park_timeout(self.pause);
        }
    }

    /// A register in use, and the last that is known of it; none when all is over.
    fn pick(&mut self) -> Option<(String, u64)> {
        let at = self.rng.index(REGISTERS);
        if let Some(found) = self.book.register(at, None) {
            return Some(found);
        }
        // Others see it when it is there.
        let name = format!("r{}", self.book.next.fetch_add(1, Ordering::AcqRel));
        self.create(&name, json!({"n": 0}));
        match self.book.is_over.load(Ordering::Acquire) {
            true => None,
            false => self.book.register(at, Some(name)),
        }
    }

    fn register(&mut self) {
        let Some((name, hint)) = self.pick() else { return };
        let begun = self.book.now();
        let choice = self.rng.below(100);
        if choice < 45 {
            // The second is a read that goes the way of writes.
            let step = match choice < 35 {
                true => json!({"op": "GET_INSTANCE", "args": {"instance_id": name}}),
                false => json!({"op": "BATCH", "args": {"mode": "atomic", "ops": [
                    {"op": "GET_INSTANCE", "params": {"instance_id": name}}]}}),
            };
            match self.fate(&step) {
                Fate::Done(answer) => {
                    let ctx =
                        answer.pointer("/ctx/n").or(answer.pointer("/results/0/result/ctx/n"));
                    let Some(number) = ctx.and_then(Value::as_u64) else {
                        return self.book.fault(format!("{step} got {answer}"));
                    };
                    let now = Some(self.book.now());
                    self.book.add(&name, entry(self.number, begun, now, Step::Read(number)));
                }
                Fate::Odd(answer) => self.book.fault(format!("{step} got {answer}")),
                _ => {}
            }
            return;
        }
        let number = self.book.next.fetch_add(1, Ordering::AcqRel);
        let (event, payload, was) = match choice < 75 {
            true => ("SET", json!({"n": number}), None),
            false => ("SWAP", json!({"n": number, "was": hint}), Some(hint)),
        };
        let mut args = json!({"instance_id": name, "event": event, "payload": payload});
        let has_key = self.rng.below(100) < 70;
        if has_key {
            args["idempotency_key"] = json!(format!("key{number}"));
        }
        let (fate, told) = self.settled(&json!({"op": "APPLY_EVENT", "args": args}), has_key);
        let now = self.book.now();
        let (step, end) = match (&fate, was) {
            (Fate::Done(_), None) => (Step::Write(number), Some(now)),
            (Fate::Done(_), Some(was)) => (Step::Swap(was, number), Some(now)),
            (Fate::Refused, Some(was)) => (Step::Differs(was), Some(now)),
            (Fate::Unknown, None) => (Step::PerhapsWrite(number), None),
            (Fate::Unknown, Some(was)) => (Step::PerhapsSwap(was, number), None),
            _ => return self.book.note(number, begun, Known::NotDone(told)),
        };
        self.book.add(&name, entry(self.number, begun, end, step));
        self.book.note(number, begun, known(&fate, told, &["/wal_offset"]));
    }

    /// What is in all accounts at one moment, and the last transfer of each.
    fn amounts(&mut self) -> Option<Vec<(u64, u64)>> {
        let names = (0..ACCOUNTS).map(account);
        let reads: Vec<Value> = names
            .map(|name| json!({"op": "GET_INSTANCE", "params": {"instance_id": name}}))
            .collect();
        let step = json!({"op": "BATCH", "args": {"mode": "atomic", "ops": reads}});
        match self.fate(&step) {
            Fate::Done(answer) => {
                let of = |at| {
                    let ctx = answer.pointer(&format!("/results/{at}/result/ctx"))?;
                    Some((ctx["v"].as_u64()?, ctx["t"].as_u64()?))
                };
                (0..ACCOUNTS).map(of).collect()
            }
            Fate::Odd(answer) => {
                self.book.fault(format!("{step} got {answer}"));
                None
            }
            _ => None,
        }
    }

    fn sum(&mut self) {
        if let Some(amounts) = self.amounts()
            && amounts.iter().map(|(amount, _)| amount).sum::<u64>() != AMOUNT * ACCOUNTS as u64
        {
            self.book.fault(format!("a batch was read in part: the accounts have {amounts:?}"));
        }
    }

    fn transfer(&mut self) {
        let Some(amounts) = self.amounts() else { return };
        let from = self.rng.index(ACCOUNTS);
        let to = (from + 1 + self.rng.index(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = self.rng.below(amounts[from].0.min(9) + 1);
        let begun = self.book.now();
        let number = self.book.next.fetch_add(1, Ordering::AcqRel);
        let half = |at: usize, becomes: u64| {
            let (was, last) = amounts[at];
            json!({"op": "APPLY_EVENT", "params": {"instance_id": account(at), "event": "MOVE",
                "payload": {"v": becomes, "was": was, "t": number, "last": last}}})
        };
        let ops = [half(from, amounts[from].0 - amount), half(to, amounts[to].0 + amount)];
        let args = json!({"mode": "atomic", "ops": ops, "idempotency_key": format!("key{number}")});
        let (fate, told) = self.settled(&json!({"op": "BATCH", "args": args}), true);
        let offsets = ["/results/0/result/wal_offset", "/results/1/result/wal_offset"];
        self.book.note(number, begun, known(&fate, told, &offsets));
    }
}

fn known(fate: &Fate, told: Vec<Fate>, offsets: &[&str]) -> Known {
    match fate {
        Fate::Done(answer) => {
            let at = |path: &&str| answer.pointer(path).and_then(Value::as_u64);
            Known::Done(offsets.iter().filter_map(at).collect())
        }
        Fate::Refused | Fate::Nothing(_) => Known::NotDone(told),
        Fate::Unknown | Fate::Odd(_) => Known::Perhaps,
    }
}
