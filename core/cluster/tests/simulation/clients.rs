//! Clients: they write with and without keys, in batches, and read, at whichever node.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};
use rstmdb_engine::Engine;
use rstmdb_engine::replication::Standing;
use rstmdb_testkit::calls::behind;
use rstmdb_testkit::cluster::oracle::Happened;
use rstmdb_testkit::sample::LOOP;
use rstmdb_types::error::reason;
use rstmdb_types::{
    ApplyEventRequest, BatchMode, BatchRequest, CreateInstanceRequest, Error, GetInstanceRequest,
    Outcome, PutMachineRequest, Request,
};
use serde_json::json;

use super::{INSTANCES, World};

/// Before things go wrong, a group takes what clients need within so long.
const FILLED: Duration = Duration::from_secs(60);

/// An event with its number.
fn event(id: &str, number: u64) -> ApplyEventRequest {
    ApplyEventRequest::new(id, "E").with_payload(json!({"n": number}))
}

/// Whether an error says for certain that nothing happened.
fn is_certain(error: &Error) -> bool {
    error.reason() == Some(reason::NOT_LEADER)
}

fn leads(engine: &Engine) -> bool {
    matches!(engine.replication().standing(), Standing::Leading { .. })
}

/// Asks, and waits for the answer, but not for ever; none as well when the node has no power any more.
macro_rules! ask {
    ($world:expr, $at:expr, $life:expr, $engine:expr, $request:expr, $patience:expr) => {{
        let pending = $engine.begin($request).held_by($engine.clone());
        wait!($world, $at, $life, pending, $patience)
    }};
}

/// Waits for an answer in the same way.
macro_rules! wait {
    ($world:expr, $at:expr, $life:expr, $pending:expr, $patience:expr) => {{
        let answer = SimRuntime::timeout($patience, $pending).await;
        answer.ok().filter(|_| $world.lives($at, $life))
    }};
}

impl World {
    /// Whether a node is still in this life.
    fn lives(&self, at: usize, life: u64) -> bool {
        let member = &self.state().members[at];
        member.life == life && member.disk.is_on()
    }

    /// Who leads, as far as anybody knows, or else anyone.
    fn somebody(&self) -> Option<(usize, u64, Arc<Engine>)> {
        let state = &mut *self.state();
        let running = |at: &usize| {
            let member = &state.members[*at];
            let node = member.node.as_ref().filter(|_| member.disk.is_on())?;
            Some((*at, member.life, node.engine()))
        };
        let all: Vec<_> = (0..state.members.len()).filter_map(|at| running(&at)).collect();
        // While one does not know that another one was elected, each of them is asked.
        let leaders: Vec<_> = all.iter().filter(|(.., engine)| leads(engine)).collect();
        if !leaders.is_empty() && state.rng.chance(850) {
            let leader = leaders[state.rng.index(leaders.len())];
            return Some(leader.clone());
        }
        let at = state.rng.index(all.len());
        all.into_iter().nth(at)
    }

    /// Puts in what events need.
    pub(super) async fn fill(&self) {
        let definition = serde_json::from_str::<serde_json::Value>(LOOP).unwrap();
        let machine = json!({"machine": "m", "version": 1, "definition": definition});
        let machine: PutMachineRequest = serde_json::from_value(machine).unwrap();
        let mut ops: Vec<Request> = vec![machine.into()];
        ops.extend((0..INSTANCES).map(|instance| {
            CreateInstanceRequest::new(format!("i{instance}").as_str(), "m", 1).into()
        }));
        let end = SimInstant::now() + FILLED;
        for request in ops {
            loop {
                assert!(SimInstant::now() < end, "nobody takes what clients need");
                SimRuntime::sleep(Duration::from_millis(10)).await;
                let Some((at, life, engine)) = self.somebody().filter(|(.., engine)| leads(engine))
                else {
                    continue;
                };
                let patience = Duration::from_secs(1);
                let answer = match request.clone() {
                    Request::PutMachine(request) => ask!(self, at, life, engine, request, patience)
                        .map(|answer| answer.map(drop)),
                    Request::CreateInstance(request) => {
                        ask!(self, at, life, engine, request, patience)
                            .map(|answer| answer.map(drop))
                    }
                    other => panic!("{other:?}"),
                };
                if matches!(answer, Some(Ok(()))) {
                    break;
                }
            }
        }
    }

    /// Asks one thing after the other until the run is over.
    pub(super) async fn client(&self) {
        loop {
            let (wait, what) = {
                let state = &mut *self.state();
                if state.is_over {
                    return;
                }
                (Duration::from_millis(1 + state.rng.below(40)), state.rng.below(100))
            };
            SimRuntime::sleep(wait).await;
            let Some((at, life, engine)) = self.somebody() else { continue };
            let patience = Duration::from_millis(200 + self.state().rng.below(2000));
            match what {
                0..=54 => self.write(at, life, engine, patience).await,
                55..=69 => self.write_two(at, life, engine, patience).await,
                _ => self.read(at, life, engine, patience).await,
            }
        }
    }

    async fn write(&self, at: usize, life: u64, engine: Arc<Engine>, patience: Duration) {
        let (key, id, number) = {
            let state = &mut *self.state();
            state.number += 1;
            let (number, id) = (state.number, format!("i{}", state.rng.below(INSTANCES)));
            // Some are repeated, elsewhere too, with their key.
            let key = match state.rng.below(3) {
                0 => state.oracle.open_key(&mut state.rng),
                1 => Some((format!("k{number}"), id.clone(), number)),
                _ => None,
            };
            match key {
                Some((key, id, number)) => (Some(key), id, number),
                None => (None, id, number),
            }
        };
        let mut request = event(&id, number);
        if let Some(key) = &key {
            request = request.with_key(key.as_str());
        }
        let answer = ask!(self, at, life, engine, request, patience);
        let state = &mut *self.state();
        match answer {
            Some(Ok(result)) => {
                state.raise(&id, result.wal_offset);
                let happened = Happened { id, number };
                state.oracle.acknowledge(result.wal_offset, happened, key.as_deref());
            }
            Some(Err(error)) if is_certain(&error) => state.oracle.refuse(number, key),
            _ => state.oracle.leave_open(id, number, key),
        }
    }

    /// Two events in a batch: both happen, one right behind the other, or neither.
    async fn write_two(&self, at: usize, life: u64, engine: Arc<Engine>, patience: Duration) {
        let (ids, numbers) = {
            let state = &mut *self.state();
            state.number += 2;
            let ids = [0, 1].map(|_| format!("i{}", state.rng.below(INSTANCES)));
            let numbers = [state.number - 1, state.number];
            state.oracle.belong_together(numbers);
            (ids, numbers)
        };
        let ops = [0, 1].map(|part| Request::ApplyEvent(event(&ids[part], numbers[part])));
        let request =
            BatchRequest { mode: BatchMode::Atomic, ops: ops.to_vec(), idempotency_key: None };
        let answer = ask!(self, at, life, engine, request, patience);
        let state = &mut *self.state();
        for (part, (id, number)) in ids.into_iter().zip(numbers).enumerate() {
            match &answer {
                Some(Ok(result)) => {
                    let Some(Outcome::ApplyEvent(result)) = &result.results[part].result else {
                        panic!("{result:?}");
                    };
                    state.raise(&id, result.wal_offset);
                    state.oracle.acknowledge(result.wal_offset, Happened { id, number }, None);
                }
                Some(Err(error)) if is_certain(error) => state.oracle.refuse(number, None),
                _ => state.oracle.leave_open(id, number, None),
            }
        }
    }

    /// A node that answers shows at least what was known before it was asked, unless the read may be behind; and in
    /// any case what is committed.
    async fn read(&self, at: usize, life: u64, engine: Arc<Engine>, patience: Duration) {
        let (id, floor, may_be_behind) = {
            let state = &mut *self.state();
            let id = format!("i{}", state.rng.below(INSTANCES));
            let floor = state.floors.get(&id).copied().unwrap_or(0);
            (id, floor, state.rng.chance(300))
        };
        let request = GetInstanceRequest { instance_id: id.as_str().into() };
        let pending = match may_be_behind {
            true => behind(engine, request),
            false => engine.begin(request).held_by(engine.clone()),
        };
        let answer = wait!(self, at, life, pending, patience);
        let Some(Ok(result)) = answer else { return };
        let state = &mut *self.state();
        state.figures.reads += 1;
        let offset = result.last_wal_offset;
        if !may_be_behind {
            assert!(offset >= floor, "{id} is at {floor}, and node {} shows {offset}", at + 1);
            state.raise(&id, offset);
        }
        state.oracle.show(id, &result.ctx.to_value(), offset);
    }
}

impl World {
    /// Whether who leads reads what is fresh, and writes.
    pub(super) async fn serves(&self) -> bool {
        let Some((at, life, engine)) = self.somebody().filter(|(.., engine)| leads(engine)) else {
            return false;
        };
        for instance in 0..INSTANCES {
            let request = GetInstanceRequest { instance_id: format!("i{instance}").into() };
            let answer = ask!(self, at, life, engine, request, Duration::from_secs(1));
            if !matches!(answer, Some(Ok(_))) {
                return false;
            }
        }
        let number = {
            let state = &mut *self.state();
            state.number += 1;
            state.number
        };
        let answer = ask!(self, at, life, engine, event("i0", number), Duration::from_secs(1));
        matches!(answer, Some(Ok(_)))
    }
}

impl super::State {
    /// An instance is known to have come so far.
    fn raise(&mut self, id: &str, offset: u64) {
        let floor = self.floors.entry(id.to_owned()).or_default();
        *floor = offset.max(*floor);
    }
}
