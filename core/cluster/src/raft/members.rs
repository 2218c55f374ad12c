//! Who belongs to the group: who comes, votes, leads and goes.
//!
//! A node that comes gets the next number, which nobody had before, and is a learner at first. When as many learners that want a vote
//! have all of the log as make the number of voters odd, who leads gives it to them: two nodes that are added to one become voters
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _, ServerState};
use rstmdb_engine::replication::{LeaderHint, LogTip, Standing};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use super::RaftNode;
use super::types::{MemberNode, Membership, TypeConfig, membership};

/// More voters make writes slower and the group hardly safer.
const VOTERS_MAX: usize = 7;
/// A learner has all of the log, but for what is on its way.
const BEHIND_MAX: u64 = 64;

/// What becomes of a node that asked to be a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    /// It is one.
    Member {
        /// Its number.
        node: u16,
    },
    /// Somebody else takes such requests.
    Elsewhere {
        /// Where other members reach it; nothing: it is not known now.
        address: String,
    },
}

/// A member, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Its number.
    pub id: u16,
    /// What all know of it.
    pub member: MemberNode,
    /// Whether it votes.
    pub is_voter: bool,
    /// Frames that are in the log of who leads and not known to be in its; known by who leads alone.
    pub behind: Option<u64>,
    /// For how long nothing was heard of it; known by who leads alone.
    pub silence: Option<Duration>,
}

/// The group, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// This node.
    pub id: u16,
    /// Who leads, if that is known.
    pub leader: Option<u16>,
    /// The term.
    pub term: u64,
    /// Whether this node leads, and most answered it a moment ago.
    pub is_leading: bool,
    /// Whether this node is a learner.
    pub is_learner: bool,
    /// All members, by number.
    pub members: Vec<MemberState>,
    /// The end of this node's log.
    pub tip: LogTip,
}

impl GroupState {
    /// A member of this number.
    pub fn member(&self, id: u16) -> Option<&MemberState> {
        self.members.iter().find(|member| member.id == id)
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.members
            .iter()
            .filter(|member| member.is_voter)
            .map(|member| member.id.into())
            .collect()
    }

    /// The highest number that was ever given.
    fn given(&self) -> u16 {
        let given = self.members.iter().map(|member| member.id.max(member.member.given));
        given.max().unwrap_or(0)
    }
}

impl RaftNode {
    /// The group, as far as this node knows.
    pub fn state(&self) -> GroupState {
        let seen = self.raft.metrics().borrow_watched().clone();
        let engine = self.slot.engine();
        let replication = engine.replication();
        let tip = replication.tip();
        let members = seen.membership_config.membership();
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        let id = u16::try_from(seen.id).unwrap_or(0);
        let described = |(node, member): (&u64, &MemberNode)| {
            let known = seen.replication.as_ref().and_then(|known| known.get(node));
            let matched = known.map(|matched| matched.as_ref().map_or(0, |id| id.index + 1));
            let heard = seen.heartbeat.as_ref().and_then(|heard| heard.get(node));
            let is_self = *node == seen.id;
            let leads = seen.state == ServerState::Leader;
            MemberState {
                id: u16::try_from(*node).unwrap_or(0),
                member: member.clone(),
                is_voter: voters.contains(node),
                behind: match is_self && leads {
                    true => Some(0),
                    false => matched.map(|matched| tip.index.saturating_sub(matched)),
                },
                silence: match is_self && leads {
                    true => Some(Duration::ZERO),
                    false => heard.and_then(|heard| heard.as_ref()).map(|at| at.elapsed()),
                },
            }
        };
        GroupState {
            id,
            leader: seen.current_leader.and_then(|leader| u16::try_from(leader).ok()),
            term: seen.current_term,
            is_leading: matches!(replication.standing(), Standing::Leading { .. }),
            is_learner: !voters.contains(&seen.id),
            members: members.nodes().map(described).collect(),
            tip,
        }
    }

    /// Waits for something of it to change.
    pub async fn changed(&self) {
        // If the node stopped, it does not change any more, and who asks is stopped too.
        let mut metrics = self.raft.metrics();
        metrics.borrow_and_update();
        if metrics.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The highest number that was given, and the uuid of the member of this one, by what is committed; nothing while nobody is known.
    pub(crate) fn known_as(&self, node: u16) -> Option<(u16, Option<String>)> {
        let said = self.slot.engine().replication().members()?;
        let members = membership(&said).ok()?;
        let given = members.nodes().map(|(id, member)| (*id as u16).max(member.given)).max()?;
        let known = members.get_node(&u64::from(node)).map(|member| member.uuid.clone());
        Some((given, known))
    }

    /// Takes a node into the group, or notes where a member is now.
    pub(crate) async fn join(&self, words: &str, uuid: [u8; 16]) -> Result<JoinOutcome> {
        let refused = |what: String| Error::invalid(reason::INVALID_OPTION, what);
        let mut member: MemberNode = serde_json::from_str(words).map_err(|error| {
            refused(format!("what the node says of itself makes no sense: {error}"))
        })?;
        member.uuid = crate::hex(&uuid);
        let _one = self.changes.lock().await;
        let state = self.state();
        let known = state.members.iter().find(|known| known.member.uuid == member.uuid);
        if let Some(known) = known {
            member.given = known.member.given;
            if known.member == member {
                return Ok(JoinOutcome::Member { node: known.id });
            }
        }
        if !state.is_leading {
            let leader = state.leader.filter(|leader| *leader != state.id);
            let leader = leader.and_then(|leader| state.member(leader));
            let address = leader.map_or(String::new(), |leader| leader.member.peer.clone());
            return Ok(JoinOutcome::Elsewhere { address });
        }
        let same = |other: &&MemberState| {
            other.member.peer == member.peer && other.member.uuid != member.uuid
        };
        if let Some(other) = state.members.iter().find(same) {
            return Err(refused(format!(
                "{} is the address of node {1}, which was another node: its directory was replaced or wiped. Remove it (rstmdb --group \"remove {1}\" at the leader); then the one that is there now joins with a number of its own",
                member.peer, other.id
            )));
        }
        let node = match known {
            Some(known) => known.id,
            None => {
                let node = state.given().checked_add(1);
                node.ok_or_else(|| refused("all numbers of nodes were given".to_owned()))?
            }
        };
        member.given = member.given.max(node);
        tracing::info!("node {node} ({}) joins at {}", member.name, member.peer);
        let nodes = BTreeMap::from([(u64::from(node), member)]);
        let change = match known {
            Some(_) => ChangeMembers::SetNodes(nodes),
            None => ChangeMembers::AddNodes(nodes),
        };
        self.change(change, true).await?;
        Ok(JoinOutcome::Member { node })
    }

    /// Gives learners a vote that want one and have all of the log, if that makes the number of voters odd.
    pub async fn promote_ready(&self) -> Result<()> {
        let Ok(_one) = self.changes.try_lock() else { return Ok(()) };
        let state = self.state();
        let voters = state.voters();
        let ready = self.ready(&state);
        let most = VOTERS_MAX.saturating_sub(voters.len()).min(ready.len());
        let count = (0..=most).rev().find(|count| (voters.len() + count) % 2 == 1).unwrap_or(0);
        if !state.is_leading || count == 0 {
            return Ok(());
        }
        let new: BTreeSet<u64> = ready.into_iter().take(count).collect();
        tracing::info!("nodes {new:?} vote from now on");
        self.change(ChangeMembers::AddVoterIds(new), true).await
    }

    /// Learners that want a vote, have all of the log, and were heard of a moment ago.
    fn ready(&self, state: &GroupState) -> Vec<u64> {
        let ready = |member: &&MemberState| {
            !member.is_voter
                && !member.member.is_learner
                && member.behind.is_some_and(|behind| behind <= BEHIND_MAX)
                && self.is_heard(member)
        };
        state.members.iter().filter(ready).map(|member| member.id.into()).collect()
    }

    fn is_heard(&self, member: &MemberState) -> bool {
        member.silence.is_some_and(|silence| silence < self.patience)
    }

    /// Gives a learner a vote.
    ///
    /// Errors: when that makes their number even, unless that is wanted all the same.
    pub async fn promote(&self, id: u16, is_forced: bool) -> Result<()> {
        let _one = self.changes.lock().await;
        let state = self.leading()?;
        let member = state.member(id).ok_or_else(|| no_node(id, &state))?;
        if member.is_voter {
            return Ok(());
        }
        let count = state.voters().len() + 1;
        if count % 2 == 0 && !is_forced {
            return Err(even(
                count,
                "add another node, and both get a vote when they have the log",
            ));
        }
        if !self.is_heard(member) {
            let what = format!("node {id} does not answer; start it, or look at its log");
            return Err(Error::new(ErrorCode::ReplicationError, what));
        }
        self.change(ChangeMembers::AddVoterIds([u64::from(id)].into()), true).await
    }

    /// Removes a member, in one change with the learner that takes its place, if there is one.
    ///
    /// Errors: reason `not_leader` when it led: the next leader does it. When the rest could not decide, or their number is even, unless
    /// that is wanted all the same.
    pub async fn remove(&self, id: u16, is_forced: bool) -> Result<()> {
        let _one = self.changes.lock().await;
        let state = self.leading()?;
        let member = state.member(id).ok_or_else(|| no_node(id, &state))?;
        if id == state.id {
            return Err(self.hand_over(&state, None).await?);
        }
        // The number is never given again.
        let own = state.member(state.id).ok_or_else(|| no_node(state.id, &state))?;
        if own.member.given < state.given() {
            let member = MemberNode { given: state.given(), ..own.member.clone() };
            let nodes = BTreeMap::from([(u64::from(state.id), member)]);
            self.change(ChangeMembers::SetNodes(nodes), true).await?;
        }
        if !member.is_voter {
            return self.change(ChangeMembers::RemoveNodes([u64::from(id)].into()), false).await;
        }
        let mut voters = state.voters();
        voters.remove(&u64::from(id));
        if voters.len() % 2 == 0
            && let Some(next) = self.ready(&state).first()
        {
            voters.insert(*next);
        }
        if !is_forced {
            let is_there = |id: &&u64| {
                let member = u16::try_from(**id).ok().and_then(|id| state.member(id));
                member.is_some_and(|member| self.is_heard(member))
            };
            let there = voters.iter().filter(is_there).count();
            if there <= voters.len() / 2 {
                let what = format!(
                    "without node {id} only {there} of {} voters answer, which is no quorum: start the others first",
                    voters.len()
                );
                return Err(Error::new(ErrorCode::ReplicationError, what));
            }
            if voters.len() % 2 == 0 {
                return Err(even(voters.len(), "start a new node first, which takes its place"));
            }
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// Has another voter lead, this one or the one that has most of the log.
    pub async fn transfer(&self, to: Option<u16>) -> Result<()> {
        let _one = self.changes.lock().await;
        let state = self.leading()?;
        if to == Some(state.id) {
            return Ok(());
        }
        self.hand_over(&state, to).await.map(drop)
    }

    /// Has another voter lead; the answer to who wants something of the leader.
    async fn hand_over(&self, state: &GroupState, to: Option<u16>) -> Result<Error> {
        let others = state.members.iter().filter(|member| member.is_voter && member.id != state.id);
        let heard = others.filter(|member| self.is_heard(member));
        let next = match to {
            None => heard.min_by_key(|member| member.behind),
            Some(id) => {
                let member = state.member(id).ok_or_else(|| no_node(id, state))?;
                if !member.is_voter {
                    let what = format!("node {id} is a learner; promote it before it can lead");
                    return Err(Error::invalid(reason::INVALID_OPTION, what));
                }
                Some(member).filter(|member| self.is_heard(member))
            }
        };
        let Some(next) = next else {
            let what = "no other voter answers that could lead; start one, or look at its log";
            return Err(Error::new(ErrorCode::ReplicationError, what));
        };
        self.raft.trigger().transfer_leader(next.id.into()).await.map_err(super::raft_failed)?;
        let mut metrics = self.raft.metrics();
        let leads = |seen: &openraft::RaftMetrics<TypeConfig>| {
            seen.running_state.is_err() || seen.current_leader == Some(next.id.into())
        };
        let moved = tokio::time::timeout(4 * self.patience, metrics.wait_until(leads)).await;
        if !matches!(moved, Ok(Ok(_))) {
            let what = format!("node {} did not come to lead; retry", next.id);
            return Err(Error::new(ErrorCode::ReplicationError, what).with_reason(reason::TIMEOUT));
        }
        let leader = LeaderHint { node: next.id, address: next.member.client.clone() };
        Ok(not_leader(Some(&leader)))
    }

    /// The group, if this node leads it.
    fn leading(&self) -> Result<GroupState> {
        let state = self.state();
        if state.is_leading {
            return Ok(state);
        }
        Err(not_leader(self.leader_of(&state).as_ref()))
    }

    fn leader_of(&self, state: &GroupState) -> Option<LeaderHint> {
        let leader = state.leader.filter(|leader| *leader != state.id)?;
        let address = state.member(leader)?.member.client.clone();
        Some(LeaderHint { node: leader, address })
    }

    async fn change(&self, change: ChangeMembers<u64, MemberNode>, retain: bool) -> Result<()> {
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                let what = format!("the members can't be changed now: {error}");
                Err(Error::new(ErrorCode::ReplicationError, what).with_reason(reason::LOCKED))
            }
            Err(RaftError::APIError(_)) => Err(not_leader(self.leader_of(&self.state()).as_ref())),
            Err(error) => Err(super::raft_failed(error)),
        }
    }
}

/// The group of one member, which others join.
pub fn first_member(member: MemberNode) -> Result<Membership> {
    let member = MemberNode { given: 1, ..member };
    let nodes = BTreeMap::from([(1, member)]);
    Membership::new(vec![[1].into()], nodes).map_err(super::raft_failed)
}

fn no_node(id: u16, state: &GroupState) -> Error {
    let ids: Vec<String> = state.members.iter().map(|member| member.id.to_string()).collect();
    let what = format!("the group has no node {id}; it has {}", ids.join(", "));
    Error::new(ErrorCode::NotFound, what).with("node", id)
}

fn even(count: usize, instead: &str) -> Error {
    let what = format!(
        "{count} voters stand no more failures than {}: {instead}; or do it all the same (force)",
        count - 1
    );
    Error::invalid(reason::INVALID_OPTION, what).with("field", "force")
}

fn not_leader(leader: Option<&LeaderHint>) -> Error {
    let what = match leader {
        Some(leader) => format!("this node does not lead: ask {}", leader.address),
        None => "this node does not lead, and who does is not known now; retry".to_owned(),
    };
    let error = Error::new(ErrorCode::ReadOnlyMode, what).with_reason(reason::NOT_LEADER);
    match leader {
        Some(leader) => error.with("address", leader.address.as_str()).with("node", leader.node),
        None => error,
    }
}
