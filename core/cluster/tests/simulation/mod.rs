//! A group under simulation: the library's nodes, engines and disks on one thread, in time of its own, by a seed.
//!
//! Nodes lose power at any call of their disks, with all variants of what survives; disks stall for longer than the
//! lease; messages are late, lost, doubled, overtaken, and cut off in one direction or both. Clients write with and
//! without keys, in batches, and read. All that is committed, shown, promised or answered is compared as it comes.

mod clients;
mod members;
mod network;
mod operator;
mod promises;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft_rt::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};
use parking_lot::{Mutex, MutexGuard};
use rstmdb_cluster::raft::{MemberNode, Membership, RaftNode, begin_group};
use rstmdb_engine::Engine;
use rstmdb_engine::replication::Standing;
use rstmdb_testkit::cluster::look::Look;
use rstmdb_testkit::cluster::oracle::Oracle;
use rstmdb_testkit::cluster::pair::shown;
use rstmdb_testkit::faulty::{Crash, Rng};
use rstmdb_types::{CompactRequest, Offset};

use members::Member;
use network::Wires;
use promises::Promises;

/// Instances that events go to.
const INSTANCES: u64 = 4;
/// The clients of a group.
const CLIENTS: u64 = 4;
/// All is looked at so often.
const TICK: Duration = Duration::from_millis(5);
/// After so long without faults all nodes are the same.
const HEALED: Duration = Duration::from_secs(10);

/// What a seed asks for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// So many nodes.
    pub size: u16,
    /// So long things go wrong.
    pub faulty: Duration,
    /// Nodes lose power.
    pub crashes: bool,
    /// Messages are late, lost and doubled, and ways are cut.
    pub network: bool,
    /// Disks stall.
    pub stalls: bool,
    /// The log goes where checkpoints cover it.
    pub compacts: bool,
    /// Others vote, and lead, now and then.
    pub churns: bool,
    /// With a checkpoint comes who the node thought belongs to the group: a fault that must be noticed.
    pub keeps_members: bool,
}

impl Plan {
    /// A mixture, as the seed has it.
    pub fn of(seed: u64) -> Plan {
        Plan {
            seed,
            size: if seed.is_multiple_of(4) { 5 } else { 3 },
            faulty: Duration::from_secs(5),
            crashes: !seed.is_multiple_of(3),
            network: !seed.is_multiple_of(5),
            stalls: seed.is_multiple_of(2),
            compacts: seed.is_multiple_of(7),
            churns: seed.is_multiple_of(8),
            keeps_members: false,
        }
    }

    /// Other voters again and again, and checkpoints in place of logs that are gone.
    #[allow(dead_code)]
    pub fn of_churn(seed: u64) -> Plan {
        Plan { size: 5, network: true, compacts: true, churns: true, ..Plan::of(seed) }
    }
}

/// What was seen of a run.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub leaders: u64,
    pub reads: u64,
    pub crashes: u64,
    pub messages: u64,
    pub virtual_ms: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.leaders += other.leaders;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.messages += other.messages;
        self.virtual_ms += other.virtual_ms;
    }
}

/// What all that runs beside each other shares.
struct State {
    rng: Rng,
    members: Vec<Member>,
    wires: Wires,
    oracle: Oracle,
    promises: Promises,
    /// What readers must see at least, for each instance.
    floors: BTreeMap<String, Offset>,
    number: u64,
    is_over: bool,
    figures: Figures,
}

/// A group under simulation.
#[derive(Clone)]
struct World(Arc<Mutex<State>>);

/// Runs a seed to its end; panics when something is wrong. Also gives what happened, if that is asked for.
pub fn run(plan: Plan, traces: bool) -> (Figures, Vec<String>) {
    let mut runtime = SimRuntime::with_seed(plan.seed);
    if traces {
        runtime.record_trace(true);
    }
    let figures = runtime.block_on(World::live(plan));
    (figures, runtime.take_trace())
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    async fn live(plan: Plan) -> Figures {
        let mut rng = Rng::new(plan.seed);
        let members = (1..=plan.size).map(|id| Member::new(id, &mut rng, plan)).collect();
        let wires = Wires::new(plan);
        let state = State {
            rng,
            members,
            wires,
            oracle: Oracle::default(),
            promises: Promises::default(),
            floors: BTreeMap::new(),
            number: 0,
            is_over: false,
            figures: Figures::default(),
        };
        let world = World(Arc::new(Mutex::new(state)));
        world.begin(plan).await;
        let clients = (0..CLIENTS).map(|_| world.client());
        let operator = async {
            if plan.churns {
                world.operate().await;
            }
        };
        let faults = async {
            world.direct(plan).await;
            world.state().is_over = true;
        };
        futures_util::future::join3(faults, join_all(clients), operator).await;
        world.heal(plan).await;
        let mut state = world.state();
        state.oracle.end();
        let [acknowledged, refused, unknown, leaders] = state.oracle.figures();
        let virtual_ms = SimInstant::now().elapsed_since_start().as_millis() as u64;
        Figures { acknowledged, refused, unknown, leaders, virtual_ms, ..state.figures }
    }

    /// The first node begins the group; what clients need is put into it.
    async fn begin(&self, plan: Plan) {
        {
            let state = self.state();
            let node = |id| {
                (
                    u64::from(id),
                    MemberNode { client: format!("node-{id}"), ..MemberNode::default() },
                )
            };
            let nodes: BTreeMap<_, _> = (1..=plan.size).map(node).collect();
            let members = Membership::new(vec![nodes.keys().copied().collect()], nodes).unwrap();
            let first = &state.members[0];
            let engine = Engine::open(first.location(), first.options()).unwrap();
            begin_group(&engine, 1, &members).unwrap();
            engine.close().unwrap();
        }
        for id in 1..=plan.size {
            assert!(self.start(id).await);
        }
        self.fill().await;
    }

    /// Lets things go wrong for a while.
    async fn direct(&self, plan: Plan) {
        let end = SimInstant::now() + plan.faulty;
        for tick in 0.. {
            if SimInstant::now() >= end {
                return;
            }
            self.go_wrong(plan);
            self.tend(plan, tick).await;
        }
    }

    fn go_wrong(&self, plan: Plan) {
        let state = &mut *self.state();
        let node = state.rng.index(state.members.len());
        // What befalls who leads tells more.
        let leader = state.members.iter().position(Member::leads);
        let node = leader.filter(|_| state.rng.chance(500)).unwrap_or(node);
        match state.rng.below(400) {
            0..=1 if plan.network => state.wires.cut(node, &mut state.rng),
            2..=5 => state.wires.heal(),
            6 if plan.network => state.wires.disturb(&mut state.rng),
            7 if plan.crashes => state.members[node].disk.power_off(),
            8..=12 if plan.crashes => {
                let disk = &state.members[node].disk;
                disk.crash_in_call(disk.mutating_calls() + 1 + state.rng.below(12));
            }
            13..=15 if plan.stalls => {
                let stall = Duration::from_millis(100 + state.rng.below(2000));
                state.members[node].stall(stall);
            }
            16 if plan.crashes && state.rng.chance(100) => {
                state.members.iter().for_each(|member| member.disk.power_off());
            }
            17..=18 => {
                let other = state.rng.index(state.members.len());
                if node != other {
                    let [one, other] = state.members.get_disjoint_mut([node, other]).unwrap();
                    one.look.swap_watches(&mut other.look);
                }
            }
            19 => {
                // A run may end at any time, and the next one begin in the same term.
                if let Some(node) = &state.members[node].node {
                    node.engine().replication().follow("a run ends", None);
                }
            }
            _ => {}
        }
    }

    /// What is due with each look: nodes without power stop, others come back; all is compared.
    async fn tend(&self, plan: Plan, tick: u64) {
        SimRuntime::sleep(TICK).await;
        for id in 1..=plan.size {
            let at = usize::from(id) - 1;
            let (is_on, runs, is_due) = {
                let member = &self.state().members[at];
                (member.disk.is_on(), member.node.is_some(), member.down_until <= SimInstant::now())
            };
            if runs && !is_on {
                self.stop(id).await;
            } else if !runs && is_due {
                self.start(id).await;
            }
        }
        self.check(tick.is_multiple_of(40));
        if plan.compacts && tick.is_multiple_of(60) {
            self.compact().await;
        }
    }

    /// What must hold at every moment.
    fn check(&self, is_full: bool) {
        let state = &mut *self.state();
        let wrong = state.promises.wrong.first();
        assert!(wrong.is_none(), "{wrong:?}");
        for (at, member) in state.members.iter_mut().enumerate() {
            let Some(node) = member.node.as_ref().filter(|_| member.disk.is_on()) else { continue };
            let running = node.raft().metrics().borrow_watched().running_state.clone();
            assert!(running.is_ok(), "node {} ended: {running:?}", at + 1);
            let engine = node.engine();
            assert!(engine.damage().is_none(), "node {}: {:?}", at + 1, engine.damage());
            let standing = engine.replication().standing();
            if let Standing::Leading { term, .. } = standing {
                state.oracle.elected(term, at);
            }
            member.look.compare(&engine, &mut state.oracle, is_full);
            if is_full && matches!(standing, Standing::Following { .. }) {
                Look::compare_instances(&engine, &state.oracle, INSTANCES);
            }
        }
    }

    /// Who leads writes a checkpoint, and gives up the log before it.
    async fn compact(&self) {
        let leader = {
            let state = self.state();
            let mut running = state.members.iter().filter(|member| member.disk.is_on());
            let leads =
                |node: &Arc<RaftNode>| node.raft().metrics().borrow_watched().state.is_leader();
            running.find_map(|member| member.node.clone().filter(leads))
        };
        let Some(leader) = leader else { return };
        drop(leader.engine().compact(CompactRequest::default()));
        // It may lead no longer.
        let _ = SimRuntime::timeout(Duration::from_millis(200), leader.note_checkpoint()).await;
    }

    /// Ends all faults; all nodes come to the same.
    async fn heal(&self, plan: Plan) {
        {
            let state = &mut *self.state();
            state.wires.calm();
            for member in &mut state.members {
                member.calm();
                if plan.seed % 2 == 1 {
                    member.disk.power_off();
                }
            }
        }
        let end = SimInstant::now() + HEALED;
        let mut serves = false;
        for tick in 1.. {
            self.tend(Plan { compacts: false, ..plan }, tick).await;
            if self.is_same() {
                if serves {
                    break;
                }
                serves = self.serves().await;
            }
            assert!(
                SimInstant::now() < end,
                "the nodes do not come to the same, or serve nobody: {:?}",
                self.tips()
            );
        }
        self.check(true);
        let state = self.state();
        let engines =
            state.members.iter().filter_map(|member| Some(member.node.as_ref()?.engine()));
        let shown: Vec<_> = engines.map(|engine| shown(&engine)).collect();
        assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "nodes show different things");
    }

    fn tips(&self) -> Vec<Option<(rstmdb_engine::replication::LogTip, Standing)>> {
        let state = self.state();
        let tip = |member: &Member| {
            let engine = member.node.as_ref()?.engine();
            Some((engine.replication().tip(), engine.replication().standing()))
        };
        state.members.iter().map(tip).collect()
    }

    fn is_same(&self) -> bool {
        let tips: Option<Vec<_>> = self.tips().into_iter().collect();
        let Some(tips) = tips else { return false };
        let first = &tips[0].0;
        tips.iter().any(|(_, standing)| matches!(standing, Standing::Leading { .. }))
            && tips.iter().all(|(tip, _)| {
                (tip.index, tip.chain, tip.committed) == (first.index, first.chain, first.index)
            })
    }
}

/// How the power goes off.
fn how(rng: &mut Rng) -> Crash {
    match rng.below(3) {
        0 => Crash::KEEP_NONE,
        _ => Crash::seeded(rng.next_u64()),
    }
}
