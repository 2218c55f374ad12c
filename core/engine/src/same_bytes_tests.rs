//! The same commands, marks included, write the same effects on every node: whatever its disk, its
//! partitions, its fsync policy, its restarts, with a checkpoint at the end or not, the times of its checkpoint files and its hash seed.

use std::sync::Arc;

use rstmdb_types::*;

use crate::checkpoint::begin::Begin;
use crate::log::FrameCursor;
use crate::ops::{Edge, NewId};
use crate::options::{Background, FsyncPolicy, Location, Options};
use crate::storage::testing::Solid;
use crate::storage::{SeededEntropy, Storage};
use crate::{Engine, Retention};

const SEEDS: u64 = 500;
const COMMANDS: u64 = 60;
const START_MS: i64 = 1_767_225_600_000;

/// A small generator of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = self.0 ^ (self.0 >> 29);
        (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What is fed to both nodes.
enum Fed {
    Command(Box<Command>),
    Mark { is_boundary: bool, at_ms: i64 },
    PurgeFloor { floor: Offset, at_ms: i64 },
}

fn definition(version: u32) -> Json {
    let text = format!(
        r#"{{"states":["a","b","c"],"initial":"a","meta":{{"v":{version}}},"transitions":[
        {{"from":"a","event":"GO","to":"b"}},{{"from":"b","event":"GO","to":"a"}},
        {{"from":"b","event":"END","to":"c","guard":"ctx.n > 2"}},
        {{"from":"*","event":"NOW","to":"a","guard":"now > 0"}}]}}"#
    );
    Json::parse(&text).unwrap()
}

fn key(dice: &mut Dice) -> Option<Text> {
    dice.one_in(3).then(|| format!("k{}", dice.roll(12)).into())
}

fn id(dice: &mut Dice) -> Text {
    format!("i-{}", dice.roll(9)).into()
}

fn event(dice: &mut Dice) -> ApplyEventRequest {
    let name = ["GO", "GO", "GO", "END", "NOW", "NO"][dice.roll(6) as usize];
    let payload = Json::parse(&format!(r#"{{"n":{},"p{}":"x"}}"#, dice.roll(5), dice.roll(40)));
    ApplyEventRequest {
        payload: (!dice.one_in(4)).then(|| payload.unwrap()),
        idempotency_key: key(dice),
        event_id: dice.one_in(5).then(|| "e".into()),
        ..ApplyEventRequest::new(id(dice), name)
    }
}

fn create(dice: &mut Dice) -> CreateInstanceRequest {
    let mut request = CreateInstanceRequest::new(id(dice), "m", 1 + dice.roll(2) as u32);
    if dice.one_in(4) {
        request.instance_id = None;
    }
    request.idempotency_key = key(dice);
    request
}

fn request(dice: &mut Dice) -> Request {
    let delete = |dice: &mut Dice| DeleteInstanceRequest {
        instance_id: id(dice),
        idempotency_key: key(dice),
    };
    match dice.roll(40) {
        0 => FlushAllRequest {}.into(),
        1..=3 => {
            let version = 1 + dice.roll(2) as u32;
            PutMachineRequest::new("m", version, definition(version)).into()
        }
        4..=12 => create(dice).into(),
        13..=16 => delete(dice).into(),
        17..=22 => {
            let element = |dice: &mut Dice| match dice.roll(4) {
                0 => BatchOperation::CreateInstance(create(dice)),
                1 => BatchOperation::DeleteInstance(delete(dice)),
                _ => BatchOperation::ApplyEvent(event(dice)),
            };
            let mode = [BatchMode::Atomic, BatchMode::BestEffort][dice.roll(2) as usize];
            let ops = (0..1 + dice.roll(4)).map(|_| element(dice)).collect();
            BatchRequest { mode, ops, idempotency_key: key(dice) }.into()
        }
        _ => event(dice).into(),
    }
}

/// One node: an engine on a disk of its own.
struct Node {
    storage: Arc<dyn Storage>,
    options: Options,
    seed: u64,
    engine: Option<Engine>,
    /// Marks whose checkpoint is not written yet.
    begun: Option<Begin>,
    checkpoints: u64,
}

impl Node {
    fn new(seed: u64, partitions: usize, fsync: FsyncPolicy, segment_bytes_max: u64) -> Node {
        let options = Options {
            fsync,
            partitions,
            segment_bytes_max,
            background: Background::Inline,
            retention: Retention::Forever,
            allow_flush_all: true,
            digest: true,
            idempotency_keys_max: 7,
            idempotency_window: std::time::Duration::from_secs(60),
            ..Options::default()
        };
        let mut node = Node {
            storage: Solid::shared(),
            options,
            seed,
            engine: None,
            begun: None,
            checkpoints: 0,
        };
        node.open();
        node
    }

    fn open(&mut self) {
        self.seed += 1;
        let location = Location {
            storage: self.storage.clone(),
            entropy: Arc::new(SeededEntropy::new(self.seed)),
            ..Location::memory()
        };
        self.engine = Some(Engine::open(location, self.options.clone()).unwrap());
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn restart(&mut self, with_checkpoint: bool) {
        self.begun = None;
        if with_checkpoint {
            self.engine().shared.checkpoint_at_close().unwrap();
            self.checkpoints += 1;
        }
        self.engine().close().unwrap();
        self.open();
    }

    /// Carries something out; says what came of it.
    fn feed(&mut self, fed: &Fed) -> String {
        let edge = |at_ms: i64| Edge { at_ms, new_id: NewId::Given(0), plain_rules: false };
        let shared = self.engine().shared.clone();
        match fed {
            Fed::Command(command) => {
                match Engine::submit(self.engine(), (**command).clone()).wait() {
                    Ok(outcome) => serde_json::to_string(&outcome).unwrap(),
                    Err(error) => format!("{:?} {}", error.code(), error.message()),
                }
            }
            Fed::Mark { is_boundary, at_ms } => {
                let begin = shared.mark(*is_boundary, &edge(*at_ms)).unwrap();
                let offset = begin.ticket.offset;
                self.begun = is_boundary.then_some(begin).or(self.begun.take());
                format!("mark {offset}")
            }
            Fed::PurgeFloor { floor, at_ms } => {
                let floor = (*floor).min(shared.queue.appended());
                shared.raise_purge_floor(floor, &edge(*at_ms)).unwrap();
                format!("floor {floor}")
            }
        }
    }

    /// Writes the checkpoint of the last boundary, however long ago that was.
    fn write_checkpoint(&mut self) {
        let Some(begin) = self.begun.take() else { return };
        let shared = self.engine().shared.clone();
        let mut manifest = shared.manifest.lock();
        if shared.checkpoint(&mut manifest, begin).unwrap().is_some() {
            self.checkpoints += 1;
        }
    }

    /// Every effect in the log, as bytes.
    fn effects(&self) -> Vec<(Offset, Vec<u8>)> {
        let shared = &self.engine().shared;
        shared.queue.flush().unwrap();
        let mut cursor = FrameCursor::new(&shared.files, 1);
        let mut effects = Vec::new();
        while let Some(frame) = cursor.next(&shared.files).unwrap() {
            for (offset, effect) in frame.effects() {
                let mut bytes = Vec::new();
                effect.encode(&mut bytes);
                effects.push((offset, bytes));
            }
        }
        effects
    }
}

fn run(seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let mut one = Node::new(seed * 1000, 1, FsyncPolicy::EveryWrite, 4096);
    let mut other = Node::new(seed * 7777 + 1, 64, FsyncPolicy::EveryN(3), 1 << 20);
    let mut now = START_MS;
    for round in 0..COMMANDS {
        now += match dice.roll(20) {
            0 => -86_400_000,
            1 => 61_000,
            _ => dice.roll(5) as i64,
        };
        let fed = match dice.roll(12) {
            0 => Fed::Mark { is_boundary: dice.one_in(2), at_ms: now },
            1 => Fed::PurgeFloor { floor: dice.roll(round + 1), at_ms: now },
            _ => {
                let request = if round < 2 {
                    let version = round as u32 + 1;
                    PutMachineRequest::new("m", version, definition(version)).into()
                } else {
                    request(&mut dice)
                };
                let command = Command::new(request, now, u128::from(seed << 32 | round << 8));
                Fed::Command(Box::new(command))
            }
        };
        let (here, there) = (one.feed(&fed), other.feed(&fed));
        assert_eq!(here, there, "seed {seed}, round {round}");
        // What follows is each node's own business.
        if dice.one_in(3) {
            one.write_checkpoint();
        }
        if dice.one_in(9) {
            other.write_checkpoint();
        }
        if dice.one_in(15) {
            one.restart(dice.one_in(2));
        }
        if dice.one_in(11) {
            other.restart(dice.one_in(2));
        }
    }
    let (here, there) = (one.effects(), other.effects());
    assert_eq!(here, there, "seed {seed}");
    assert!(here.iter().map(|(offset, _)| *offset).eq(1..=here.len() as Offset));
    one.checkpoints + other.checkpoints
}

#[test]
fn the_same_commands_give_the_same_bytes_on_nodes_that_differ() {
    let seeds: u64 =
        std::env::var("RSTMDB_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    let checkpoints: u64 = (1..=seeds).map(run).sum();
    assert!(checkpoints > seeds, "checkpoints were written: {checkpoints}");
}

#[test]
fn a_replay_finds_the_digest_that_does_not_fit() {
    let node = Node::new(1, 4, FsyncPolicy::EveryWrite, 1 << 20);
    let engine = node.engine();
    let put = PutMachineRequest::new("m", 1, definition(1));
    engine.put_machine(put).wait().unwrap();
    engine.create_instance(CreateInstanceRequest::new("x", "m", 1)).wait().unwrap();
    let shared = &engine.shared;
    let edge = Edge { at_ms: START_MS, new_id: NewId::Given(0), plain_rules: false };
    shared.mark(false, &edge).unwrap();
    // One bit of memory flips; the next mark tells what is no longer true.
    let hash = shared.state.hash("x");
    shared.state.partition(hash).flip_for_test("x", hash);
    engine.apply_event(ApplyEventRequest::new("x", "GO")).wait().unwrap();
    shared.mark(false, &edge).unwrap();
    engine.close().unwrap();
    let location = Location { storage: node.storage.clone(), ..Location::memory() };
    let error = Engine::open(location, node.options.clone()).unwrap_err();
    assert_eq!(error.reason(), Some("corrupt"), "{error}");
    assert!(error.message().contains("differ from those that the log tells of"), "{error}");
}

#[test]
fn time_in_the_log_never_falls() {
    let node = Node::new(3, 4, FsyncPolicy::EveryWrite, 1 << 20);
    let engine = node.engine();
    let submit = |request: Request, at_ms| {
        Engine::submit(engine, Command::new(request, at_ms, 0)).wait().unwrap()
    };
    submit(PutMachineRequest::new("m", 1, definition(1)).into(), START_MS);
    submit(CreateInstanceRequest::new("x", "m", 1).into(), START_MS - 86_400_000);
    submit(ApplyEventRequest::new("x", "GO").into(), START_MS - 1);
    submit(ApplyEventRequest::new("x", "GO").into(), START_MS + 1);
    let read = GetInstanceRequest { instance_id: "x".into() };
    let instance = engine.get_instance(read).wait().unwrap();
    let times = (instance.created_at, instance.updated_at);
    assert_eq!(times, (Some(START_MS), Some(START_MS + 1)));
    let log = WalReadRequest::new(1);
    let times: Vec<_> = engine.wal_read(log).wait().unwrap().records;
    let times: Vec<_> = times.iter().map(|record| record.timestamp.unwrap() - START_MS).collect();
    assert_eq!(times, [0, 0, 0, 1]);
}
