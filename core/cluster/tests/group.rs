//! Three nodes in one process: elections, writes and reads through the engine, crashes, cuts and checkpoints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod memory_network;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use memory_network::MemoryNetwork;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use rstmdb_cluster::raft::{EngineSlot, MemberNode, Membership, RaftNode, RaftTimes, begin_group};
use rstmdb_engine::replication::Standing;
use rstmdb_engine::{Background, Engine, NodeKind, Options, Retention};
use rstmdb_testkit::cluster::pair::{as_node, event, shown};
use rstmdb_testkit::faulty::{Crash, FaultyStorage};
use rstmdb_testkit::sample::{self, location};
use rstmdb_types::{ApplyEventRequest, CompactRequest, Error, GetInstanceRequest};

const DATABASE: [u8; 16] = [9; 16];
/// What is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(id: u16) -> Options {
    Options { background: Background::Threads, ..as_node(NodeKind::Member, id, Some(DATABASE)) }
}

struct Member {
    disk: FaultyStorage,
    node: Option<RaftNode>,
}

/// A group, and the network between its nodes.
struct Group {
    network: MemoryNetwork,
    members: Vec<Member>,
}

fn membership(ids: &[u64], voters: &[u64]) -> Membership {
    let node = |id: &u64| {
        let client = format!("node-{id}:7401");
        (*id, MemberNode { name: format!("node-{id}"), client, ..MemberNode::default() })
    };
    let nodes: std::collections::BTreeMap<_, _> = ids.iter().map(node).collect();
    Membership::new(vec![voters.iter().copied().collect()], nodes).unwrap()
}

impl Group {
    /// Nodes with nothing, of which the first begins the group.
    async fn new(size: u16) -> Group {
        Group::voted_by(size, size).await
    }

    /// The same, of which the first ones vote and the others learn.
    async fn voted_by(size: u16, voters: u16) -> Group {
        let disks = (1..=size).map(|id| FaultyStorage::new(u64::from(id)));
        let members = disks.map(|disk| Member { disk, node: None }).collect();
        let mut group = Group { network: MemoryNetwork::default(), members };
        let ids: Vec<u64> = (1..=u64::from(size)).collect();
        let first = Engine::open(location(&group.members[0].disk), options(1)).unwrap();
        let members = membership(&ids, &ids[..usize::from(voters)]);
        begin_group(&first, 1, &members).unwrap();
        begin_group(&first, 1, &members).unwrap();
        first.close().unwrap();
        drop(first);
        for id in 1..=size {
            group.start(id, options(id)).await;
        }
        group
    }

    async fn start(&mut self, id: u16, options: Options) {
        let member = &mut self.members[usize::from(id) - 1];
        let slot = Arc::new(EngineSlot::open(location(&member.disk), options).unwrap());
        let network = self.network.of(u64::from(id));
        let node = RaftNode::start(id, slot, RaftTimes::default(), network).await.unwrap();
        self.network.join(u64::from(id), node.raft().clone());
        member.node = Some(node);
    }

    /// The power goes off, and what the disk kept is there.
    async fn kill(&mut self, id: u16) {
        let member = &mut self.members[usize::from(id) - 1];
        let disk = member.disk.crash(Crash::KEEP_NONE);
        self.network.leave(u64::from(id));
        let node = member.node.take().unwrap();
        // What it writes from here on goes nowhere.
        let _ = node.stop().await;
        member.disk = disk;
    }

    fn node(&self, id: u16) -> &RaftNode {
        self.members[usize::from(id) - 1].node.as_ref().unwrap()
    }

    fn engine(&self, id: u16) -> Arc<Engine> {
        self.node(id).engine()
    }

    fn running(&self) -> impl Iterator<Item = u16> {
        let ids = (1..).zip(&self.members).filter(|(_, member)| member.node.is_some());
        ids.map(|(id, _)| id)
    }

    /// Looks whenever a node has something to tell, which a leader has with each heartbeat.
    async fn wait_until<T>(&self, mut found: impl FnMut() -> Option<T>) -> T {
        let mut all: Vec<_> = self.running().map(|id| self.node(id).raft().metrics()).collect();
        let look = async {
            loop {
                all.iter_mut().for_each(|metrics| drop(metrics.borrow_and_update()));
                if let Some(found) = found() {
                    return found;
                }
                let changes = all.iter_mut().map(|metrics| Box::pin(metrics.changed()));
                futures_util::future::select_all(changes).await.0.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("what was waited for did not come")
    }

    /// Who takes writes, among these.
    async fn leader(&self, among: &[u16]) -> u16 {
        let leads = || {
            let leads = |id: &&u16| {
                let standing = self.engine(**id).replication().standing();
                matches!(standing, Standing::Leading { .. })
            };
            among.iter().find(leads).copied()
        };
        self.wait_until(leads).await
    }

    /// Who leads among these writes a checkpoint, and gives up the log before it; says where its log begins then.
    async fn compact(&self, among: &[u16]) -> u64 {
        loop {
            let leader = self.leader(among).await;
            let engine = self.engine(leader);
            let compact = move || engine.compact(CompactRequest::default()).wait();
            match tokio::task::spawn_blocking(compact).await.unwrap() {
                Ok(_) => {
                    self.node(leader).note_checkpoint().await.unwrap();
                    return self.engine(leader).replication().tip().first_kept;
                }
                // Another one leads since.
                Err(error) => assert!(is_open(&error), "{error:?}"),
            }
        }
    }

    /// Waits until these have the same, and says what.
    async fn same(&self, among: &[u16]) -> serde_json::Value {
        let leader = self.leader(among).await;
        let tip = self.engine(leader).replication().tip();
        for id in among {
            let reached = || {
                let here = self.engine(*id).replication().tip();
                (here.committed >= tip.index).then_some(())
            };
            self.wait_until(reached).await;
        }
        let shown: Vec<_> = among.iter().map(|id| state(self.engine(*id))).collect();
        let mut all = Vec::new();
        for shown in shown {
            all.push(shown.await);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:#?}");
        all.swap_remove(0)
    }

    async fn stop(mut self) {
        for member in &mut self.members {
            if let Some(node) = member.node.take() {
                let engine = node.engine();
                node.stop().await.unwrap();
                engine.close().unwrap();
            }
        }
    }
}

async fn state(engine: Arc<Engine>) -> serde_json::Value {
    tokio::task::spawn_blocking(move || shown(&engine)).await.unwrap()
}

async fn begin(engine: Arc<Engine>) {
    tokio::task::spawn_blocking(move || sample::begin(&engine)).await.unwrap();
}

/// Writes with keys, wherever the leader is, until it is acknowledged.
async fn write(group: &Group, among: &[u16], number: u64) {
    loop {
        let engine = group.engine(group.leader(among).await);
        let request = event(number).with_key(format!("key-{number}"));
        let answer = engine.apply_event(request).held_by(engine.clone()).await;
        match answer {
            Ok(_) => return,
            Err(error) => assert!(is_open(&error), "{error:?}"),
        }
    }
}

/// Whether it may be tried again with its key.
fn is_open(error: &Error) -> bool {
    error.retryable() || error.reason() == Some("outcome_unknown")
}

async fn number(engine: &Arc<Engine>) -> Result<u64, Error> {
    let request = GetInstanceRequest { instance_id: "a".into() };
    let found = engine.begin(request).held_by(engine.clone()).await?;
    Ok(found.ctx.to_value()["n"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_the_leader_is_gone() {
    let mut group = Group::new(3).await;
    let mut all = vec![1, 2, 3];
    let first = group.leader(&all).await;
    begin(group.engine(first)).await;
    for number in 1..=40 {
        write(&group, &all, number).await;
    }
    assert_eq!(number(&group.engine(first)).await.unwrap(), 40);
    // Followers say where to write.
    let other = all.iter().copied().find(|id| *id != first).unwrap();
    let engine = group.engine(other);
    let refused = engine.apply_event(event(0)).held_by(engine.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), Some("not_leader"));
    assert_eq!(refused.context()["address"], format!("node-{first}:7401"));
    group.kill(first).await;
    all.retain(|id| *id != first);
    let second = group.leader(&all).await;
    assert_eq!(number(&group.engine(second)).await.unwrap(), 40, "all that was acknowledged");
    // The retry of what was done gets the first answer.
    write(&group, &all, 40).await;
    for number in 41..=60 {
        write(&group, &all, number).await;
    }
    group.start(first, options(first)).await;
    all.push(first);
    let shown = group.same(&all).await;
    assert!(shown.to_string().contains("60"), "{shown}");
    // All are stopped, in order, and go on from their disks.
    for id in all.clone() {
        group.kill(id).await;
    }
    for id in all.clone() {
        group.start(id, options(id)).await;
    }
    assert_eq!(group.same(&all).await, shown);
    write(&group, &all, 61).await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_tells_nothing() {
    let group = Group::new(3).await;
    let all = [1, 2, 3];
    let first = group.leader(&all).await;
    begin(group.engine(first)).await;
    write(&group, &all, 1).await;
    let others: Vec<u16> = all.into_iter().filter(|id| *id != first).collect();
    let cut_off = group.engine(first);
    group.network.cut(u64::from(first));
    // Each begins while the node believes that it leads, or is refused at once.
    let read = cut_off.begin(GetInstanceRequest { instance_id: "a".into() });
    let read = read.held_by(cut_off.clone());
    let refusal = cut_off.apply_event(ApplyEventRequest::new("a", "none"));
    let refusal = refusal.held_by(cut_off.clone());
    let known = cut_off.apply_event(event(1).with_key("key-1")).held_by(cut_off.clone());
    let written = cut_off.apply_event(event(2).with_key("key-2")).held_by(cut_off.clone());
    let (read, refusal, known, written) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(read, refusal, known, written) })
            .await
            .expect("they wait for ever");
    for (what, error) in [
        ("a read", read.map(drop).unwrap_err()),
        ("a refusal", refusal.map(drop).unwrap_err()),
        ("a known key", known.map(drop).unwrap_err()),
    ] {
        assert_eq!(error.reason(), Some("not_leader"), "{what}: {error}");
    }
    assert!(is_open(&written.unwrap_err()));
    write(&group, &others, 3).await;
    let second = group.leader(&others).await;
    assert_eq!(number(&group.engine(second)).await.unwrap(), 3);
    // It learns what happened meanwhile, and has nothing else.
    group.network.heal();
    group.same(&all).await;
    let state = group.node(first).raft().metrics().borrow_watched().state;
    assert_ne!(state, ServerState::Learner);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_a_leader_that_is_cut_off_ends() {
    let group = Group::new(3).await;
    let all = [1, 2, 3];
    let first = group.leader(&all).await;
    begin(group.engine(first)).await;
    group.network.cut(u64::from(first));
    let engine = group.engine(first);
    let written = engine.apply_event(event(1).with_key("key-1")).held_by(engine.clone());
    let written = tokio::time::timeout(PATIENCE, written).await.expect("it waits for ever");
    assert!(is_open(&written.unwrap_err()));
    group.network.heal();
    write(&group, &all, 1).await;
    group.same(&all).await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_messages_are_late_and_lost() {
    let group = Group::new(3).await;
    let all = [1, 2, 3];
    begin(group.engine(group.leader(&all).await)).await;
    group.network.disturb(11, 100, Duration::from_millis(5));
    for number in 1..=60 {
        write(&group, &all, number).await;
    }
    group.network.disturb(0, 0, Duration::ZERO);
    let shown = group.same(&all).await;
    assert!(shown.to_string().contains("60"), "{shown}");
    let tips: Vec<_> = all.iter().map(|id| group.engine(*id).replication().tip().chain).collect();
    assert!(tips.windows(2).all(|pair| pair[0] == pair[1]), "{tips:x?}");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_begins_with_a_checkpoint() {
    let mut group = Group::new(3).await;
    let all = [1, 2, 3];
    let short = |id| Options { retention: Retention::Bytes(0), ..options(id) };
    for id in all {
        group.kill(id).await;
        group.start(id, short(id)).await;
    }
    let first = group.leader(&all).await;
    begin(group.engine(first)).await;
    let behind = all.into_iter().find(|id| *id != first).unwrap();
    group.kill(behind).await;
    let others: Vec<u16> = group.running().collect();
    for number in 1..=80 {
        write(&group, &others, number).await;
    }
    let mut number = 80;
    while group.compact(&others).await <= 30 {
        number += 1;
        write(&group, &others, number).await;
    }
    group.start(behind, short(behind)).await;
    let shown = group.same(&all).await;
    assert!(shown.to_string().contains(&number.to_string()), "{shown}");
    let tip = group.engine(behind).replication().tip();
    assert!(tip.first_kept > 30, "it got a checkpoint, not all of the log: {tip:?}");
    // What the checkpoint said of the members is enough to go on.
    group.kill(behind).await;
    group.start(behind, short(behind)).await;
    write(&group, &all, number + 1).await;
    group.same(&all).await;
    group.stop().await;
}

/// Who a node believes to vote.
fn voters(group: &Group, id: u16) -> BTreeSet<u64> {
    let seen = group.node(id).raft().metrics().borrow_watched().clone();
    seen.membership_config.membership().voter_ids().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_nobody_agreed_on_go_when_a_checkpoint_takes_the_place_of_the_log() {
    let mut group = Group::voted_by(5, 3).await;
    let all = [1, 2, 3, 4, 5];
    let short = |id| Options { retention: Retention::Bytes(0), ..options(id) };
    for id in all {
        group.kill(id).await;
        group.start(id, short(id)).await;
    }
    let first = group.leader(&all).await;
    begin(group.engine(first)).await;
    write(&group, &all, 1).await;
    let others: Vec<u16> = all.into_iter().filter(|id| *id != first).collect();
    let rest: BTreeSet<u64> = [1, 2, 3].into_iter().filter(|id| *id != u64::from(first)).collect();
    // It wants to vote with two others, and nobody hears of that.
    group.network.cut(u64::from(first));
    let raft = group.node(first).raft().clone();
    let wanted = BTreeSet::from([u64::from(first), 4, 5]);
    let alone = tokio::spawn(async move { raft.change_membership(wanted, true).await });
    group.wait_until(|| voters(&group, first).contains(&5).then_some(())).await;
    // Those agree on another one in its place.
    let second = group.leader(&others).await;
    let agreed: BTreeSet<u64> = rest.into_iter().chain([4]).collect();
    group.node(second).raft().change_membership(agreed.clone(), true).await.unwrap();
    let mut number = 1;
    while group.compact(&others).await <= group.engine(first).replication().tip().index {
        number += 1;
        write(&group, &others, number).await;
    }
    group.network.heal();
    group.same(&all).await;
    assert!(group.engine(first).replication().tip().first_kept > 1, "it got a checkpoint");
    // It has no vote any more, which the library tells a moment after the engine.
    let state = || group.node(first).raft().metrics().borrow_watched().state;
    let is_told = || voters(&group, first) == agreed && state() == ServerState::Learner;
    group.wait_until(|| is_told().then_some(())).await;
    alone.abort();
    group.stop().await;
}
