//! Random commands that cross every border of the engine soon: segments, checkpoints, keys, flushes.

use rstmdb_testkit::faulty::Rng;
use rstmdb_types::Operation;
use serde_json::{Value, json};

/// One step of a workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Commands handed in together, waited for afterwards.
    Together(Vec<Command>),
    /// A command that works on files.
    Alone(Command),
    /// A clean stop and a start.
    Reopen,
    /// Time passes.
    Advance(i64),
}

/// An operation and its request.
pub type Command = (Operation, Value);

const IDS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const EVENTS: [&str; 4] = ["GO", "BACK", "SET", "END"];

/// Makes steps from a seed.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    /// Commands with keys, to be sent again.
    keyed: Vec<Command>,
    version: u64,
    key: u64,
    /// Whether every creation names its instance, so that its outcome can be told without an answer.
    names_all: bool,
}

impl Workload {
    /// The workload of a seed.
    pub fn new(seed: u64) -> Workload {
        Workload { rng: Rng::new(seed), keyed: Vec::new(), version: 2, key: 0, names_all: false }
    }

    /// One in which every creation names its instance.
    pub fn named(seed: u64) -> Workload {
        Workload { names_all: true, ..Workload::new(seed) }
    }

    /// The machines that the commands need.
    pub fn beginning() -> Vec<Command> {
        let order = json!({
            "states": ["new", "paid", "done"], "initial": "new", "final": ["done"],
            "transitions": [
                {"from": "new", "event": "GO", "to": "paid"},
                {"from": "paid", "event": "BACK", "to": "new", "guard": "ctx.n > 2"},
                {"from": "*", "event": "SET", "to": "new"},
                {"from": "paid", "event": "END", "to": "done"}
            ],
        });
        let free = json!({
            "states": [
                {"name": "here", "entry": [{"if": "ctx.visits > 3", "then": [{"unset": ["visits"]}]}, {"emit": "home"}]},
                {"name": "there", "entry": [
                    {"assign": {"visits": {"$": "coalesce(ctx.visits, 0) + 1"}, "by.event": {"$": "event"}}},
                    {"emit": "away", "data": {"$": "ctx.visits"}}
                ]},
            ],
            "initial": "here",
            "transitions": [
                {"from": "there", "always": true, "to": "here", "guard": "ctx.visits > 3"},
                {"from": "*", "event": "GO", "to": "there", "merge": ["n"], "actions": [{"raise": "SET"}]},
                {"from": "*", "event": "SET", "to": "here"},
                {"from": "there", "event": "BACK", "to": "here"}
            ],
        });
        let put = |name: &str, definition: Value| {
            (
                Operation::PutMachine,
                json!({"machine": name, "version": 1, "definition": definition}),
            )
        };
        vec![put("order", order), put("free", free)]
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        match self.rng.below(100) {
            0..3 => Step::Reopen,
            3..9 => {
                let request = json!({"force_snapshot": self.rng.chance(500)});
                Step::Alone((Operation::Compact, request))
            }
            9..11 => Step::Alone((Operation::SnapshotInstance, json!({"instance_id": self.id()}))),
            11..14 => {
                let order = if self.rng.chance(500) { "newest" } else { "oldest" };
                let request = json!({"instance_id": self.id(), "order": order, "limit": 100});
                Step::Alone((Operation::History, request))
            }
            14..16 => {
                Step::Alone((Operation::WalRead, json!({"from_offset": self.rng.below(200)})))
            }
            16..20 => Step::Advance([1, 40, 1000, 3_600_000][self.rng.index(4)]),
            _ => {
                let count = 1 + if self.rng.chance(500) { 0 } else { self.rng.index(6) };
                Step::Together((0..count).map(|_| self.command()).collect())
            }
        }
    }

    /// A command that can be handed in without waiting.
    pub fn command(&mut self) -> Command {
        let command = match self.rng.below(100) {
            0..12 if !self.keyed.is_empty() => return self.retry(),
            0..50 => (Operation::ApplyEvent, self.apply_event()),
            50..66 => (Operation::CreateInstance, self.create_instance()),
            66..71 => (Operation::DeleteInstance, self.delete_instance()),
            71..81 => (Operation::Batch, self.batch()),
            81..83 => return (Operation::PutMachine, self.put_machine()),
            83 => return (Operation::FlushAll, json!({})),
            84 | 85 => return Workload::beginning().swap_remove(self.rng.index(2)),
            _ => return self.read(),
        };
        if command.1.get("idempotency_key").is_some() {
            self.keyed.push(command.clone());
        }
        command
    }

    fn retry(&mut self) -> Command {
        // Mostly a recent one.
        let recent = self.keyed.len().min(if self.rng.chance(700) { 4 } else { usize::MAX });
        let index = self.keyed.len() - 1 - self.rng.index(recent);
        let (operation, mut request) = self.keyed[index].clone();
        if self.rng.chance(100) && operation == Operation::CreateInstance {
            request["initial_ctx"] = json!({"other": true});
        }
        (operation, request)
    }

    fn read(&mut self) -> Command {
        match self.rng.below(8) {
            0 => (Operation::ListInstances, json!({})),
            1 => (Operation::CountInstances, json!({})),
            2 => (Operation::ListMachines, json!({})),
            3 => (Operation::GetMachine, json!({"machine": "order", "version": 1})),
            4 => (Operation::Permitted, json!({"instance_id": self.id()})),
            5 => {
                let request = json!({"machine": "extra", "version": 1 + self.rng.below(5)});
                (Operation::GetMachine, request)
            }
            _ => (Operation::GetInstance, json!({"instance_id": self.id()})),
        }
    }

    fn id(&mut self) -> Value {
        json!(IDS[self.rng.index(IDS.len())])
    }

    fn key(&mut self, request: &mut Value, per_mille: u32) {
        if self.rng.chance(per_mille) {
            self.key += 1;
            request["idempotency_key"] = json!(format!("key-{}", self.key));
        }
    }

    fn context(&mut self) -> Value {
        let n = self.rng.below(6);
        match self.rng.below(5) {
            0 => json!({"n": n}),
            1 => json!({"n": n, "text": "x".repeat(self.rng.index(600))}),
            2 => json!({"text": null}),
            3 => json!({"list": [1, "two", {"three": n}]}),
            _ => json!({"n": n, "more": "y".repeat(self.rng.index(40))}),
        }
    }

    fn apply_event(&mut self) -> Value {
        let mut request =
            json!({"instance_id": self.id(), "event": EVENTS[self.rng.index(EVENTS.len())]});
        if self.rng.chance(600) {
            request["payload"] = self.context();
        }
        if self.rng.chance(150) {
            request["event_id"] = json!(format!("event-{}", self.rng.below(1000)));
        }
        self.key(&mut request, 300);
        request
    }

    fn create_instance(&mut self) -> Value {
        let machine = if self.rng.chance(500) { "order" } else { "free" };
        let mut request = json!({"machine": machine, "version": 1});
        if self.names_all || self.rng.chance(750) {
            request["instance_id"] = self.id();
        }
        if self.rng.chance(600) {
            request["initial_ctx"] = self.context();
        }
        // Nothing is drawn for it: seeds that found something keep their commands.
        if request.to_string().len().is_multiple_of(4) {
            request["initial_state"] = json!(if machine == "order" { "paid" } else { "there" });
        }
        self.key(&mut request, 400);
        request
    }

    fn delete_instance(&mut self) -> Value {
        let mut request = json!({"instance_id": self.id()});
        self.key(&mut request, 300);
        request
    }

    fn batch(&mut self) -> Value {
        let count = self.rng.below(6);
        let ops: Vec<Value> = (0..count)
            .map(|_| match self.rng.below(8) {
                0..4 => json!({"op": "APPLY_EVENT", "params": self.apply_event()}),
                4 | 5 => json!({"op": "CREATE_INSTANCE", "params": self.create_instance()}),
                6 => json!({"op": "DELETE_INSTANCE", "params": self.delete_instance()}),
                _ => json!({"op": "GET_INSTANCE", "params": {"instance_id": self.id()}}),
            })
            .collect();
        let mode = if self.rng.chance(600) { "atomic" } else { "best_effort" };
        let mut request = json!({"mode": mode, "ops": ops});
        self.key(&mut request, 400);
        request
    }

    fn put_machine(&mut self) -> Value {
        self.version += 1;
        let (_, mut request) = Workload::beginning().swap_remove(0);
        request["machine"] = json!("extra");
        request["version"] = json!(1 + self.version % 5);
        request["definition"]["meta"] = json!({"padding": "z".repeat(self.rng.index(900))});
        request
    }
}
