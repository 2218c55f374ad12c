//! One node: its disk, its clock, and whether it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use openraft_rt::Instant;
use openraft_rt_sim::SimInstant;
use parking_lot::Mutex;
use rstmdb_cluster::raft::{EngineSlot, RaftNode, RaftTimes, SlotPace};
use rstmdb_engine::replication::Standing;
use rstmdb_engine::storage::{Clock, SeededEntropy};
use rstmdb_engine::{GroupNode, Location, NodeKind, Options, Retention};
use rstmdb_testkit::clock::START_MS;
use rstmdb_testkit::cluster::look::Look;
use rstmdb_testkit::cluster::pair::as_node;
use rstmdb_testkit::faulty::{FaultyStorage, Rng};

use super::{Plan, World, how};

const DATABASE: [u8; 16] = [9; 16];

/// The clock of a node: it goes as fast as all others, and shows another time.
struct Wall {
    skew_ms: AtomicI64,
    last: AtomicI64,
}

impl Clock for Wall {
    fn now_ms(&self) -> i64 {
        // Beyond the run it stands still.
        if let Some(now) = SimInstant::try_now() {
            let now = now.elapsed_since_start().as_millis() as i64;
            self.last.store(START_MS + now, Ordering::SeqCst);
        }
        self.last.load(Ordering::SeqCst) + self.skew_ms.load(Ordering::SeqCst)
    }
}

/// How long a disk takes.
struct Pace {
    rng: Rng,
    stalls_until: SimInstant,
    is_calm: bool,
}

pub struct Member {
    id: u16,
    pub disk: FaultyStorage,
    pub node: Option<Arc<RaftNode>>,
    pub look: Look,
    pub down_until: SimInstant,
    /// Counts its lives; what an earlier one sends goes nowhere.
    pub life: u64,
    clock: Arc<Wall>,
    pace: Arc<Mutex<Pace>>,
    seed: u64,
    compacts: bool,
}

impl Member {
    pub fn new(id: u16, rng: &mut Rng, plan: Plan) -> Member {
        let pace =
            Pace { rng: Rng::new(rng.next_u64()), stalls_until: SimInstant::now(), is_calm: false };
        let skew_ms = AtomicI64::new(rng.below(400) as i64);
        Member {
            id,
            disk: FaultyStorage::new(rng.next_u64()),
            node: None,
            look: Look::default(),
            down_until: SimInstant::now(),
            life: 0,
            clock: Arc::new(Wall { skew_ms, last: AtomicI64::new(START_MS) }),
            pace: Arc::new(Mutex::new(pace)),
            seed: rng.next_u64(),
            compacts: plan.compacts,
        }
    }

    pub fn location(&self) -> Location {
        let entropy = Arc::new(SeededEntropy::new(self.seed + self.life));
        Location { clock: self.clock.clone(), entropy, ..self.disk.location() }
    }

    pub fn options(&self) -> Options {
        let options = as_node(NodeKind::Member, self.id, Some(DATABASE));
        let node = GroupNode { kind: NodeKind::Member, id: self.id, database: Some(DATABASE) };
        let retention = if self.compacts { Retention::Bytes(0) } else { options.retention };
        Options { node: Some(node), digest: true, retention, ..options }
    }

    /// Whether it believes that it leads.
    pub fn leads(&self) -> bool {
        let standing = self.node.as_ref().map(|node| node.engine().replication().standing());
        matches!(standing, Some(Standing::Leading { .. }))
    }

    /// The disk answers nothing for a while.
    pub fn stall(&self, stall: Duration) {
        self.pace.lock().stalls_until = SimInstant::now() + stall;
    }

    /// Nothing goes wrong with its disk any more.
    pub fn calm(&mut self) {
        {
            let mut pace = self.pace.lock();
            (pace.stalls_until, pace.is_calm) = (SimInstant::now(), true);
        }
        self.disk.crash_in_call(u64::MAX);
        self.down_until = SimInstant::now();
    }

    fn pace(&self) -> SlotPace {
        let [pace, busy, refusing] = [0, 1, 2].map(|_| self.pace.clone());
        let disk = Box::new(move || {
            let mut pace = pace.lock();
            let takes = Duration::from_micros(100 + pace.rng.below(3000));
            takes + (pace.stalls_until - SimInstant::now())
        });
        // Mostly at once; now and then something else comes first.
        let proposals = Box::new(move || {
            let mut pace = busy.lock();
            let is_late = !pace.is_calm && pace.rng.chance(100);
            Duration::from_millis(if is_late { pace.rng.below(400) } else { 0 })
        });
        let refuses = Box::new(move || {
            let mut pace = refusing.lock();
            !pace.is_calm && pace.rng.chance(5)
        });
        SlotPace { disk, proposals, refuses }
    }
}

impl World {
    /// Opens what the disk kept; says whether that came well.
    pub(super) async fn start(&self, id: u16) -> bool {
        let at = usize::from(id) - 1;
        let (opened, life) = {
            let state = &mut *self.state();
            let member = &mut state.members[at];
            if !member.disk.is_on() {
                member.disk = member.disk.crash(how(&mut state.rng));
                state.figures.crashes += 1;
            }
            member.life += 1;
            let opened = EngineSlot::open(member.location(), member.options());
            (opened.map(|slot| slot.paced(member.pace())), member.life)
        };
        let slot = match opened {
            Ok(slot) => Arc::new(slot),
            Err(error) => {
                assert!(
                    !self.state().members[at].disk.is_on(),
                    "node {id} does not start: {error}"
                );
                return false;
            }
        };
        self.state().promises.kept(id, &slot.engine());
        let started = RaftNode::start(id, slot, RaftTimes::default(), self.wire(id, life)).await;
        let state = &mut *self.state();
        let member = &mut state.members[at];
        match started {
            Ok(node) => {
                state.wires.join(id, node.raft().clone());
                member.node = Some(Arc::new(node));
                member.look.restarted();
                true
            }
            Err(error) => {
                assert!(!member.disk.is_on(), "node {id} does not start: {error}");
                false
            }
        }
    }

    /// A node whose power went off does nothing more.
    pub(super) async fn stop(&self, id: u16) {
        let node = {
            let state = &mut *self.state();
            let member = &mut state.members[usize::from(id) - 1];
            member.life += 1;
            member.look.restarted();
            let down = Duration::from_millis(state.rng.below(1500));
            member.down_until = SimInstant::now() + down;
            state.wires.leave(id);
            member.node.take()
        };
        if let Some(node) = node.and_then(Arc::into_inner) {
            // Its disk is off already.
            let _ = node.stop().await;
        }
    }
}
