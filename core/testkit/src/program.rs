//! Random programs: sequences of operations that a seed determines, for comparing a database with
//! the model.
//!
//! A program is made without running it. What depends on earlier answers stands in its requests as
//! a placeholder that is filled in while it runs: `{"$offset_of": ID}` for the offset of an
//! instance's last change, `"$generated"` for the id that a create without an id got last.

use std::fmt;
use std::time::Duration;

use rstmdb_engine::{Background, FsyncPolicy, Options, Retention};
use rstmdb_types::Operation;
use serde_json::{Value, json};

use crate::faulty::Rng;
use crate::model::Settings;
use crate::target::options_of;

/// One step of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Run an operation that is not a watch.
    Call(Operation, Value),
    /// Begin a watch.
    Watch(Operation, Value),
    /// Close the database and open it again.
    Reopen,
    /// Move the clock on by so many milliseconds.
    Advance(i64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Call(operation, request) | Step::Watch(operation, request) => {
                write!(f, "{} {request}", operation.wire_name())
            }
            Step::Reopen => f.write_str("REOPEN"),
            Step::Advance(ms) => write!(f, "ADVANCE_CLOCK {ms}"),
        }
    }
}

/// A sequence of steps and how the database they run on is opened.
#[derive(Debug, Clone)]
pub struct Program {
    /// What the program was made from.
    pub seed: u64,
    /// The options that change answers.
    pub settings: Settings,
    /// The options of the engine, in agreement with `settings`.
    pub options: Options,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Program {
    /// The program that belongs to a seed.
    pub fn generate(seed: u64) -> Program {
        let mut random = Random(Rng::new(seed));
        let settings = settings(&mut random);
        let options = options(&mut random, &settings);
        let count = 20 + random.below(120);
        let mut generator = Generator { random, keyed: Vec::new() };
        let mut steps = generator.beginning();
        for _ in 0..count {
            steps.push(generator.step());
            if matches!(steps.last(), Some(Step::Call(Operation::FlushAll, _)) if settings.allow_flush_all)
            {
                steps.extend(generator.beginning());
            }
        }
        Program { seed, settings, options, steps }
    }

    /// The shortest program found by leaving steps out that still fails, in a bounded number of
    /// tries.
    pub fn shrink(&self, fails: &mut dyn FnMut(&Program) -> bool) -> Program {
        let mut tries = 0;
        let mut fails = |program: &Program| {
            tries += 1;
            tries <= SHRINK_TRIES_MAX && fails(program)
        };
        let mut best = self.clone();
        let mut piece = best.steps.len().div_ceil(2);
        loop {
            let mut start = 0;
            let before = best.steps.len();
            while start < best.steps.len() {
                let end = (start + piece).min(best.steps.len());
                let mut shorter = best.clone();
                shorter.steps.drain(start..end);
                if fails(&shorter) {
                    best = shorter;
                } else {
                    start = end;
                }
            }
            if piece == 1 && best.steps.len() == before {
                return best;
            }
            piece = piece.div_ceil(2);
        }
    }
}

/// A failure that shows only after a timeout is slow to shrink.
const SHRINK_TRIES_MAX: usize = 1000;

const DAY_MS: i64 = 24 * 3600 * 1000;
const HOUR_MS: i64 = 3600 * 1000;

fn settings(random: &mut Random) -> Settings {
    let mut settings = Settings {
        allow_flush_all: random.chance(50),
        allow_instance_recreate: random.chance(85),
        ..Settings::default()
    };
    if random.chance(30) {
        settings.idempotency_window_ms = HOUR_MS;
    }
    if random.chance(40) {
        settings.limits.name_bytes_max = 40;
        settings.limits.context_bytes_max = 120;
        settings.limits.payload_bytes_max = 90;
        settings.limits.batch_operations_max = 3;
        settings.limits.page_entries_max = 200;
        settings.limits.machine_versions_max = 1;
    }
    settings
}

/// Small pieces everywhere, so that a short program crosses every border there is.
fn options(random: &mut Random, settings: &Settings) -> Options {
    let retention = *random.pick(&[
        Retention::Forever,
        Retention::Forever,
        Retention::Bytes(0),
        Retention::Bytes(10_000),
        Retention::Age(Duration::from_millis(HOUR_MS as u64)),
    ]);
    // A log is cut only when the program says so: the model has to know where it begins.
    let checkpoint_log_bytes = match retention {
        Retention::Forever => *random.pick(&[0, 1000, 5000]),
        _ => 0,
    };
    Options {
        fsync: *random.pick(&[
            FsyncPolicy::EveryWrite,
            FsyncPolicy::EveryN(3),
            FsyncPolicy::EveryMs(5),
            FsyncPolicy::Never,
        ]),
        retention,
        segment_bytes_max: *random.pick(&[1 << 12, 1 << 14, 1 << 20]),
        checkpoint_log_bytes,
        partitions: *random.pick(&[0, 1, 2, 7]),
        watch_ring_bytes: *random.pick(&[0, 300, 1 << 20]),
        background: *random.pick(&[Background::Threads, Background::Inline]),
        ..options_of(settings)
    }
}

const IDS: &[&str] =
    &["a", "b", "ab", "", "é \"\\\n", "\u{1F680}/../x", "$generated", "$generated"];
const UNKNOWN_IDS: &[&str] = &["nobody", "A"];
const MACHINES: &[&str] = &["order", "free", "random", "", "Ω m"];
const STATES: &[&str] = &["new", "paid", "done", "", "é"];
const EVENTS: &[&str] = &["GO", "GO", "BACK", "END", "", "événement", "SET", "SET"];
const KEYS: &[&str] = &["k1", "k2", "k3", ""];
const BATCH_KEYS: &[&str] = &["b1", "b2"];
const GUARDS: &[&str] = &[
    "ctx.n > 0",
    "ctx.n",
    "!ctx.done",
    "ctx.a.b == \"x\"",
    "ctx.n >= 9007199254740993 && !ctx.s",
    "ctx.missing != 5 || ctx.l",
    "(ctx.n < 3 || ctx.s) && !(ctx.n == null)",
    "payload.ok",
    "payload.n > ctx.n",
    "state == \"new\"",
    "ctx.n >",
];
const PAYLOADS: &[&str] = &[
    "null",
    "7",
    "\"text\"",
    "[1,2]",
    "{}",
    r#"{"n":1}"#,
    r#"{"n":-1,"s":""}"#,
    r#"{"n":9007199254740993}"#,
    r#"{"n":18446744073709551615,"s":"\u0000\"\\"}"#,
    r#"{"n":1.5,"m":-0.0,"x":1e300}"#,
    r#"{"a":{"b":"x"}}"#,
    r#"{"a":{"c":null},"l":[{"é":[]}]}"#,
    r#"{"ok":true}"#,
    r#"{"done":true,"n":null}"#,
    r#"{"":0,"é\n":"😀","key":"something that takes some room in the context"}"#,
    r#"{"long":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"}"#,
];

struct Random(Rng);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0.index(end)
    }

    /// True `percent` times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items, of which there is at least one.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

struct Generator {
    random: Random,
    /// Requests with keys, to be sent again.
    keyed: Vec<(Operation, Value)>,
}

impl Generator {
    /// Two machines that most events succeed on, and some instances of them.
    fn beginning(&mut self) -> Vec<Step> {
        let order = json!({
            "states": ["new", "paid", "done", "lost"], "initial": "new", "final": ["done"],
            "transitions": [
                {"from": "new", "event": "GO", "to": "paid", "guard": "ctx.n > 0"},
                {"from": "new", "event": "GO", "to": "new", "guard": "payload.ok"},
                {"from": "paid", "event": "GO", "to": "done", "guard": "!ctx.done"},
                {"from": ["paid", "lost"], "event": "BACK", "to": "new"},
                {"from": "*", "event": "SET", "to": "lost"},
                {"from": "paid", "event": "SET", "to": "paid"},
                {"from": "*", "event": "END", "to": "done"}
            ],
        });
        let free = json!({
            "states": [
                "new",
                {"name": "é", "entry": [
                    {"assign": {"é.count": {"$": "coalesce(ctx[\"é\"].count, 0) + 1"}, "by": {"$": "event"}}},
                    {"emit": "entered", "data": [{"$": "instance.id"}, {"$$": {"$": 1}}]},
                    {"if": "ctx[\"é\"].count % 3 == 0", "then": [{"raise": "SET", "payload": {"third": true}}]}
                ], "exit": [{"unset": ["by", "third"]}]},
            ],
            "initial": "new", "meta": {"owner": "tests", "z": 1.0}, "merge": ["n", "é"],
            "transitions": [
                {"from": "new", "always": true, "to": "é", "guard": "ctx.third"},
                {"from": "*", "event": "GO", "to": "é"},
                {"from": ["é"], "event": "événement", "to": "new"},
                {"from": "*", "event": "SET", "to": "new"},
                {"from": "*", "event": "", "to": "é"}
            ],
        });
        let put = |name: &str, definition: &Value| {
            let request = json!({"machine": name, "version": 1, "definition": definition});
            Step::Call(Operation::PutMachine, request)
        };
        let mut steps = vec![put("order", &order), put("free", &free)];
        for id in &IDS[..5] {
            let machine = *self.random.pick(&["order", "free"]);
            let request = json!({"instance_id": id, "machine": machine, "version": 1});
            steps.push(Step::Call(Operation::CreateInstance, request));
        }
        steps
    }

    fn step(&mut self) -> Step {
        if !self.keyed.is_empty() && self.random.chance(15) {
            return self.retry();
        }
        match self.random.below(100) {
            0..36 => self.write(Operation::ApplyEvent),
            36..50 => self.write(Operation::CreateInstance),
            50..56 => self.write(Operation::DeleteInstance),
            56..66 => self.batch(),
            66..71 => Step::Call(Operation::PutMachine, self.put_machine()),
            71..73 => Step::Reopen,
            73..75 => Step::Call(Operation::Compact, json!({"force_snapshot": true})),
            75..78 => self.advance(),
            78 => Step::Call(Operation::FlushAll, json!({})),
            79..84 => self.watch(),
            _ => self.read(),
        }
    }

    /// A request with a key once more, as it was or with a change.
    fn retry(&mut self) -> Step {
        let (operation, mut request) = self.random.pick(&self.keyed).clone();
        if self.random.chance(20) {
            match operation {
                Operation::ApplyEvent => request["event"] = self.name(EVENTS),
                Operation::CreateInstance => request["initial_ctx"] = self.payload(),
                Operation::DeleteInstance => {
                    let event = self.name(EVENTS);
                    request["event"] = event;
                    return Step::Call(Operation::ApplyEvent, request);
                }
                _ => request["ops"].as_array_mut().unwrap().truncate(1),
            }
        }
        Step::Call(operation, request)
    }

    fn write(&mut self, operation: Operation) -> Step {
        let request = match operation {
            Operation::ApplyEvent => self.apply_event(),
            Operation::CreateInstance => self.create_instance(),
            _ => self.delete_instance(),
        };
        if request.get("idempotency_key").is_some() {
            self.keyed.push((operation, request.clone()));
        }
        Step::Call(operation, request)
    }

    fn apply_event(&mut self) -> Value {
        let id = self.id();
        let mut request = json!({"instance_id": id, "event": self.name(EVENTS)});
        if self.random.chance(60) {
            request["payload"] = self.payload();
        }
        if self.random.chance(10) {
            request["expected_state"] = self.name(STATES);
        }
        if self.random.chance(10) {
            request["expected_wal_offset"] = match self.random.chance(80) {
                true => json!({"$offset_of": request["instance_id"]}),
                false => json!(self.random.below(30)),
            };
        }
        if self.random.chance(20) {
            request["event_id"] = json!(format!("event-{}", self.random.below(100)));
        }
        self.key(&mut request, 25, KEYS);
        request
    }

    fn create_instance(&mut self) -> Value {
        let (machine, version) = self.machine();
        let mut request = json!({"machine": machine, "version": version});
        if self.random.chance(75) {
            request["instance_id"] = self.id();
        }
        if self.random.chance(50) {
            request["initial_ctx"] = self.payload();
        }
        if self.random.chance(20) {
            request["initial_state"] = self.name(STATES);
        }
        self.key(&mut request, 30, KEYS);
        request
    }

    fn delete_instance(&mut self) -> Value {
        let mut request = json!({"instance_id": self.id()});
        self.key(&mut request, 35, KEYS);
        request
    }

    fn batch(&mut self) -> Step {
        let count = self.random.below(5);
        let element = |generator: &mut Generator| match generator.random.below(10) {
            0..5 => json!({"op": "APPLY_EVENT", "params": generator.apply_event()}),
            5 | 6 => json!({"op": "CREATE_INSTANCE", "params": generator.create_instance()}),
            7 => json!({"op": "DELETE_INSTANCE", "params": generator.delete_instance()}),
            _ => json!({"op": "GET_INSTANCE", "params": {"instance_id": generator.id()}}),
        };
        let ops: Vec<Value> = (0..count).map(|_| element(self)).collect();
        let mode = *self.random.pick(&["atomic", "best_effort"]);
        let mut request = json!({"mode": mode, "ops": ops});
        self.key(&mut request, 30, BATCH_KEYS);
        if request.get("idempotency_key").is_some() {
            self.keyed.push((Operation::Batch, request.clone()));
        }
        Step::Call(Operation::Batch, request)
    }

    fn put_machine(&mut self) -> Value {
        let (machine, version) = self.machine();
        let mut states: Vec<&str> = STATES.to_vec();
        states.truncate(1 + self.random.below(STATES.len()));
        if self.random.chance(5) {
            states.push("*");
        }
        let count = self.random.below(7);
        let transitions: Vec<Value> = (0..count)
            .map(|_| {
                let from = match self.random.below(4) {
                    0 => json!("*"),
                    1 => json!([self.random.pick(&states), self.random.pick(&states)]),
                    _ => json!(self.random.pick(&states)),
                };
                let event = self.name(EVENTS);
                let to = if self.random.chance(3) { &"nowhere" } else { self.random.pick(&states) };
                let mut transition = json!({"from": from, "event": event, "to": to});
                if self.random.chance(40) {
                    transition["guard"] = self.name(GUARDS);
                }
                if self.random.chance(30) {
                    transition["actions"] = json!([self.action(), self.action()]);
                }
                if self.random.chance(10) {
                    transition["merge"] = json!(false);
                }
                if self.random.chance(5) {
                    transition.as_object_mut().unwrap().remove("to");
                }
                transition
            })
            .collect();
        let mut definition = json!({
            "states": states, "initial": self.random.pick(&states), "transitions": transitions,
        });
        if self.random.chance(20) {
            let (entry, exit) = (json!([self.action()]), json!([self.action()]));
            definition["states"][0] = json!({"name": states[0], "entry": entry, "exit": exit});
        }
        if self.random.chance(15) {
            definition["final"] = json!([states.last()]);
        }
        if self.random.chance(10) {
            definition["unknown"] = json!(1);
        }
        let strict = self.random.chance(10);
        json!({"machine": machine, "version": version, "definition": definition, "strict": strict})
    }

    /// An action, most of which can be done.
    fn action(&mut self) -> Value {
        let event = self.name(EVENTS);
        self.random
            .pick(&[
                json!({"assign": {"n": {"$": "coalesce(ctx.n, 0) + 1"}, "at": {"$": "now"}}}),
                json!({"assign": {"deep.list": {"$": "append(coalesce(ctx.deep.list, []), payload)"}}}),
                json!({"assign": {"n.deep": 1}}),
                json!({"unset": ["n", "deep.list", "nothing"]}),
                json!({"emit": "said", "data": {"$": "payload"}}),
                json!({"raise": event, "payload": {"raised": true}}),
                json!({"if": "ctx.n > 2", "then": [{"unset": ["n"]}], "else": [{"emit": "few"}]}),
                json!({"say": "wrong"}),
            ])
            .clone()
    }

    fn advance(&mut self) -> Step {
        let steps = [1, 1000, HOUR_MS - 1, HOUR_MS, DAY_MS - 1, DAY_MS];
        Step::Advance(*self.random.pick(&steps))
    }

    fn watch(&mut self) -> Step {
        let mut request = json!({});
        if self.random.chance(60) {
            request["from_offset"] = json!(self.random.below(60));
        }
        if self.random.chance(30) {
            request["include_ctx"] = json!(false);
        }
        if self.random.chance(50) {
            request["include_lifecycle"] = json!(true);
        }
        if self.random.chance(40) {
            request["instance_id"] = self.id();
            return Step::Watch(Operation::WatchInstance, request);
        }
        for (member, names) in [
            ("machines", MACHINES),
            ("from_states", STATES),
            ("to_states", STATES),
            ("events", EVENTS),
        ] {
            if self.random.chance(20) {
                request[member] = json!([self.name(names), self.name(names)]);
            }
        }
        Step::Watch(Operation::WatchAll, request)
    }

    fn read(&mut self) -> Step {
        let id = json!({"instance_id": self.id()});
        let (machine, version) = self.machine();
        let count = [0, 1, 2, 3, 100, 201, 10_001];
        let mut filter = json!({});
        for (member, value) in [
            ("machine", machine.clone()),
            ("version", version.clone()),
            ("state", self.name(STATES)),
        ] {
            if self.random.chance(25) {
                filter[member] = value;
            }
        }
        let (operation, request) = match self.random.below(12) {
            0 | 1 => (Operation::GetInstance, id),
            2 => (Operation::Permitted, self.permitted(id)),
            3 => (Operation::CountInstances, filter),
            4 => (Operation::GetMachine, json!({"machine": machine, "version": version})),
            5 => (Operation::ListMachines, json!({})),
            6 => (Operation::Info, json!({})),
            7 => match self.random.below(8) {
                0..4 => (Operation::SnapshotInstance, id),
                4..7 => (Operation::ListSnapshots, id),
                _ => (Operation::DropSnapshot, json!({"snapshot_id": "snap-0"})),
            },
            8 => {
                if self.random.chance(50) {
                    filter["limit"] = json!(self.random.pick(&count));
                }
                if self.random.chance(30) {
                    filter["offset"] = json!(self.random.below(5));
                }
                (Operation::ListInstances, filter)
            }
            9 => (Operation::WalStats, json!({})),
            10 => {
                let from = self.random.below(80);
                let limit = self.random.pick(&count);
                (Operation::WalRead, json!({"from_offset": from, "limit": limit}))
            }
            _ => {
                let mut request = id;
                request["order"] = json!(self.random.pick(&["newest", "oldest"]));
                request["limit"] = json!(self.random.pick(&count));
                (Operation::History, request)
            }
        };
        Step::Call(operation, request)
    }

    fn permitted(&mut self, mut request: Value) -> Value {
        if self.random.chance(50) {
            request["payload"] = self.payload();
        }
        request
    }

    fn id(&mut self) -> Value {
        match self.random.below(40) {
            0 => json!("x".repeat(41)),
            1 | 2 => self.name(UNKNOWN_IDS),
            _ => self.name(IDS),
        }
    }

    fn machine(&mut self) -> (Value, Value) {
        match self.random.chance(60) {
            true => (json!(self.random.pick(&["order", "free"])), json!(1)),
            false => (self.name(MACHINES), json!(self.random.below(4))),
        }
    }

    fn payload(&mut self) -> Value {
        let text = *self.random.pick(PAYLOADS);
        serde_json::from_str(text).unwrap()
    }

    fn name(&mut self, names: &[&str]) -> Value {
        json!(self.random.pick(names))
    }

    fn key(&mut self, request: &mut Value, percent: usize, keys: &[&str]) {
        if self.random.chance(percent) {
            request["idempotency_key"] = self.name(keys);
        }
    }
}
