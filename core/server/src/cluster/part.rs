//! A node that belongs to its group: what it is now, told to all who ask; and what the leader does by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rstmdb_cluster::net::{JoinAnswer, TcpNetwork, ask_to_join};
use rstmdb_cluster::raft::{
    EngineSlot, GroupState, MemberState, RaftNode, RaftTimes, group_level, too_old_or_new,
};
use rstmdb_protocol::ClusterNode;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use super::seeds::addresses;
use super::{Setup, join};
use crate::calls::Calls;
use crate::node::{
    NodeFollower, NodeLag, NodeRole, NodeStanding, NotReady, PeersTurnedAway, lag_exceeded,
};

/// How often it is looked at what has no event of its own.
const LOOK: Duration = Duration::from_millis(500);
/// What each entry changes is told this often.
const PAUSE: Duration = Duration::from_millis(20);
/// So many looks are between two that read files.
const LOOKS_OF_FILES: u32 = 10;

/// Joins, takes part, and ends only when something can't go on.
pub(super) async fn take_part(mut setup: Setup) {
    let raft = match begin(&mut setup).await {
        Ok(raft) => raft,
        Err(error) => {
            tracing::error!("the node can't take part in its group: {}", error.message());
            setup.calls.node().update(|standing| {
                let reason = error.message().to_owned();
                standing.not_ready = Some(NotReady { status: "failed", reason });
            });
            return std::future::pending().await;
        }
    };
    let works = async {
        tokio::join!(
            tell(&setup, &raft),
            announce(&setup, &raft),
            lead(&raft),
            keep_age(&setup, &raft),
            hold_back(&raft)
        )
    };
    let why = tokio::select! {
        why = setup.local.outdated() => why,
        _ = works => return,
    };
    // It must not vote: what it acknowledged counted, and is not here.
    tracing::error!("the node takes part in its group no more: {why}");
    setup.desk.takes_part(None);
    if let Err(error) = raft.stop().await {
        tracing::warn!("{}", error.message());
    }
    setup.calls.node().update(|standing| {
        (standing.leader, standing.leader_address) = (None, None);
        standing.not_ready = Some(NotReady { status: "refused", reason: why });
    });
    std::future::pending().await
}

async fn begin(setup: &mut Setup) -> Result<Arc<RaftNode>> {
    join::belong(setup).await?;
    let (id, database) = (setup.identity.node, setup.identity.database);
    let (location, options) = (setup.location.clone(), join::options(setup, id, Some(database)));
    let opened = tokio::task::spawn_blocking(move || EngineSlot::open(location, options)).await;
    let slot = opened.map_err(|error| {
        let what = format!("opening the database: {error}");
        Error::new(ErrorCode::InternalError, what)
    })??;
    let cluster = &setup.config.cluster;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let times = RaftTimes {
        heartbeat_ms: millis(cluster.heartbeat),
        election_min_ms: millis(cluster.election_min),
        election_max_ms: millis(cluster.election_max),
    };
    let level = group_level(&slot.engine());
    if let Some(what) = too_old_or_new("this node", setup.local.levels(), level) {
        return Err(Error::invalid(reason::UNSUPPORTED, what));
    }
    let slot = Arc::new(slot);
    setup.local.keeps_log_in(slot.clone());
    let network = TcpNetwork::new(setup.local.clone());
    let raft = Arc::new(RaftNode::start(id, slot, times, network).await?);
    // It was not set before.
    let _ = setup.raft.set(raft.clone());
    setup.desk.takes_part(Some(raft.clone()));
    Ok(raft)
}

/// Tells what this node is, and puts the engine that takes part into service.
async fn tell(setup: &Setup, raft: &RaftNode) {
    let calls = &setup.calls;
    let mut engines = raft.engines();
    let mut serving = None;
    let mut silent = BTreeSet::new();
    let mut leader = None;
    // Who was not heard of for so long is gone.
    let patience = setup.config.cluster.election_max.saturating_mul(2);
    loop {
        let number = engines.number();
        let state = raft.state();
        // First: nobody is answered as if the node were alone.
        let mut now = standing(raft, &state, &setup.facts.name);
        // Who is refused hears of no leader.
        if let (Some(not_ready), Some(why)) = (&mut now.not_ready, setup.local.refusal()) {
            *not_ready = NotReady { status: "refused", reason: why };
        }
        now.peers = PeersTurnedAway {
            refused: setup.desk.counts().refused.load(Ordering::Relaxed),
            dropped: setup.desk.counts().dropped.load(Ordering::Relaxed),
        };
        calls.node().set(now);
        if serving != Some(number) {
            calls.install(raft.engine());
            serving = Some(number);
        }
        let peers = state.members.iter().map(|of| (u64::from(of.id), of.member.peer.clone()));
        setup.local.learn(peers.collect(), state.level);
        say_silent(&state, patience, &mut silent);
        if leader != Some(state.leader) {
            match state.leader {
                Some(leader) => tracing::info!("node {leader} leads, in term {}", state.term),
                None => tracing::warn!("no node leads now"),
            }
            leader = Some(state.leader);
        }
        tokio::select! {
            () = raft.changed_or_soon(PAUSE) => {}
            () = engines.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        note_engine(calls, raft);
    }
}

/// Says once of each member that it does not answer the leader, and once that it does again.
fn say_silent(state: &GroupState, patience: Duration, silent: &mut BTreeSet<u16>) {
    if !state.is_leading {
        return silent.clear();
    }
    for of in &state.members {
        let is_silent = of.silence.is_none_or(|silence| silence > patience);
        let (id, peer) = (of.id, &of.member.peer);
        if is_silent && silent.insert(id) {
            tracing::warn!("node {id} does not answer at {peer}");
        } else if !is_silent && silent.remove(&id) {
            tracing::info!("node {id} answers again at {peer}");
        }
    }
}

/// What a member is, in the words that all transports use.
fn standing(raft: &RaftNode, state: &GroupState, name: &str) -> NodeStanding {
    let role = if state.is_leading {
        NodeRole::Leader
    } else if state.is_learner {
        NodeRole::Learner
    } else {
        NodeRole::Follower
    };
    let leader = match state.is_leading {
        true => Some(state.id),
        false => state.leader.filter(|leader| *leader != state.id),
    };
    let address = |id| state.member(id).map(|of: &MemberState| of.member.client.clone());
    let committed = state.tip.committed_offset;
    let is_drained = state.member(state.id).is_some_and(|own| own.member.is_drained);
    let problem = raft.problem();
    let reads = problem.as_ref().map(|why| lag_exceeded(format!("{why}; ask another node")));
    let led_by = leader.filter(|_| !raft.is_led_by_nobody());
    let not_ready = match (problem, led_by) {
        (Some(why), _) => Some(("failed", why)),
        (None, None) => Some((
            "no_leader",
            "no node of the group leads now: most of the voters must be there and reach each other"
                .to_owned(),
        )),
        (None, Some(_)) if state.member(state.id).is_none() => Some((
            "catching_up",
            "the part of the log that says who belongs to the group has not come yet".to_owned(),
        )),
        (None, Some(_)) if is_drained => Some((
            "drained",
            format!("the node is not to lead until `rstmdb-cli cluster drain {} --undo`", state.id),
        )),
        (None, Some(_)) => None,
    };
    let not_ready = not_ready.map(|(status, reason)| NotReady { status, reason });
    let follower = |of: &MemberState| NodeFollower {
        node: of.id,
        name: of.member.name.clone(),
        lag_entries: of.behind.unwrap_or(0),
        applied: committed.saturating_sub(of.behind.unwrap_or(0)),
    };
    let others = state.members.iter().filter(|of| state.is_leading && of.id != state.id);
    NodeStanding {
        role,
        node: state.id,
        name: name.to_owned(),
        epoch: state.term,
        level: state.level,
        leader,
        leader_address: leader.and_then(address),
        nodes: state.members.iter().map(|of| told(of, leader)).collect(),
        committed,
        lag: (!state.is_leading).then(|| lag(raft, committed)),
        followers: others.map(follower).collect(),
        not_ready,
        reads,
        ..NodeStanding::default()
    }
}

/// How far a member is behind that does not lead.
fn lag(raft: &RaftNode, committed: Offset) -> NodeLag {
    let there = raft.committed_where_led().max(committed);
    let entries = there - committed;
    NodeLag { entries, age: None, as_of: raft.as_of(), committed: there }
}

/// Asks who leads how old what this node shows is, again and again: an answer is at most so old.
async fn keep_age(setup: &Setup, raft: &RaftNode) {
    let cluster = &setup.config.cluster;
    let patience = cluster.election_max.saturating_mul(2);
    loop {
        tokio::time::sleep(cluster.heartbeat).await;
        if !setup.inquiries.ask_leader(raft, patience).await {
            continue;
        }
        let committed = raft.state().tip.committed_offset;
        let lag = lag(raft, committed);
        setup.calls.node().update(|standing| {
            if standing.lag.is_some() {
                (standing.lag, standing.committed) = (Some(lag), committed);
            }
        });
    }
}

/// Who is drained does not want to lead.
async fn hold_back(raft: &RaftNode) {
    loop {
        raft.hold_back().await;
        tokio::time::sleep(LOOK).await;
    }
}

fn told(of: &MemberState, leader: Option<u16>) -> ClusterNode {
    let role = match (leader == Some(of.id), of.is_voter) {
        (true, _) => NodeRole::Leader,
        (false, true) => NodeRole::Follower,
        (false, false) => NodeRole::Learner,
    };
    ClusterNode {
        id: of.id.into(),
        address: Some(of.member.client.clone()),
        role: role.name().to_owned(),
        zone: Some(of.member.zone.clone()).filter(|zone| !zone.is_empty()),
        lag_ms: None,
    }
}

/// What the database in service must know of the settings in force.
fn note_engine(calls: &Calls, raft: &RaftNode) {
    raft.engine().set_checkpoint_policy(calls.settings().load().compaction.policy());
}

/// Tells the leader where this node is, when the log says otherwise.
async fn announce(setup: &Setup, raft: &RaftNode) {
    loop {
        let state = raft.state();
        let own = state.member(setup.identity.node);
        let is_known =
            own.is_some_and(|own| own.member == setup.facts.clone().as_known(&own.member));
        if own.is_some() && !is_known {
            tell_leader(setup, &state).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Who leads may not know where this node is, and this node not who leads: whoever answers says that.
async fn tell_leader(setup: &Setup, state: &GroupState) {
    let others = state.members.iter().filter(|of| of.id != state.id);
    let mut unseen: Vec<String> = others.map(|of| of.member.peer.clone()).collect();
    unseen.extend(addresses(&setup.config.cluster.seeds).await);
    let mut seen = BTreeSet::new();
    while let Some(address) = unseen.pop() {
        if !seen.insert(address.clone()) {
            continue;
        }
        match ask_to_join(&setup.local, &address, &setup.facts).await {
            Ok(JoinAnswer::Member { .. }) => return,
            Ok(JoinAnswer::Elsewhere(leader)) if !leader.is_empty() => unseen.push(leader),
            Ok(_) => {}
            Err(error) => tracing::debug!("{address} was not told where this node is: {error}"),
        }
    }
}

/// What who leads does by itself: learners get a vote, and entries that a checkpoint covers are given up.
async fn lead(raft: &RaftNode) {
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = raft.promote_ready().await {
            tracing::debug!("learners were not promoted: {}", error.message());
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_OF_FILES)
            && let Err(error) = raft.note_checkpoint().await
        {
            tracing::debug!("the newest checkpoint was not noted: {}", error.message());
        }
    }
}
