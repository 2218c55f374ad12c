//! Who belongs to the group: who comes, votes, leads and goes.
//!
//! A node that comes gets the next number, which nobody had before, and is a learner at first. When as many learners that want a vote
//! have all of the log as make the number of voters odd, who leads gives it to them: two nodes that are added to one become voters
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::type_config::TypeConfigExt;
use openraft::{ChangeMembers, Instant as _, RaftMetrics, ServerState};
use rstmdb_engine::Engine;
use rstmdb_engine::replication::{GroupMembers, LeaderHint, LogTip};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use super::RaftNode;
use super::types::{MemberNode, Membership, TypeConfig, membership};

/// From this level on, members pass sessions on to who leads.
pub const RELAY_LEVEL: u32 = 2;
/// From this level on, definitions may need the second level of the language.
const ACTIONS_LEVEL: u32 = 3;
/// The level of a group of which nobody said it.
const FIRST_LEVEL: u32 = 1;
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

impl MemberState {
    /// Whether it may be elected and is not drained.
    fn may_lead(&self) -> bool {
        self.is_voter && !self.member.is_drained
    }
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
    /// The level that the group works at: what came with a later one is not used.
    pub level: u32,
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

    /// Where clients reach a member.
    fn hint(&self, id: u16) -> LeaderHint {
        let address = self.member(id).map(|of| of.member.client.clone()).unwrap_or_default();
        LeaderHint { node: id, address }
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
            is_leading: self.slot.leads(),
            is_learner: !voters.contains(&seen.id),
            level: level_of(members.nodes().map(|(_, member)| member)),
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

    /// The same for who looks at each change: who leads and who belongs to the group is told at once, all else, which
    /// each entry changes, when the pause is over.
    pub async fn changed_or_soon(&self, pause: Duration) {
        let mut metrics = self.raft.metrics();
        let roles = |now: &RaftMetrics<TypeConfig>| {
            let members = *now.membership_config.log_id();
            (now.state, now.current_term, now.current_leader, members, self.slot.leads())
        };
        let before = roles(&metrics.borrow_and_update());
        let mut pause = std::pin::pin!(TypeConfig::sleep(pause));
        let (mut has_changed, mut is_over) = (false, false);
        while !(has_changed && is_over) {
            tokio::select! {
                biased;
                changed = metrics.changed() => match changed {
                    Ok(()) if roles(&metrics.borrow_and_update()) != before => return,
                    Ok(()) => has_changed = true,
                    Err(_) => std::future::pending().await,
                },
                () = &mut pause, if !is_over => is_over = true,
            }
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
            member = member.as_known(&known.member);
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
        if let Some(what) = too_old_or_new(&member.name, member.levels, state.level) {
            return Err(refused(what).with_reason(reason::UNSUPPORTED));
        }
        let same = |other: &&MemberState| {
            other.member.peer == member.peer && other.member.uuid != member.uuid
        };
        if let Some(other) = state.members.iter().find(same) {
            return Err(refused(format!(
                "{} is the address of node {1}, which was another node: its directory was replaced or wiped. Remove it (rstmdb-cli cluster remove {1}); then the one that is there now joins with a number of its own",
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

    /// Gives a learner a vote; how many vote then.
    ///
    /// Errors: when that makes their number even, unless that is wanted all the same; when it lacks some of the log.
    pub async fn promote(&self, id: u16, is_forced: bool) -> Result<usize> {
        let _one = self.changes.lock().await;
        let state = self.deciding()?;
        let member = state.member(id).ok_or_else(|| no_node(id, &state))?;
        let count = state.voters().len() + 1;
        if member.is_voter {
            return Ok(count - 1);
        }
        self.check_heard(member)?;
        if let Some(behind) = member.behind.filter(|behind| *behind > BEHIND_MAX) {
            let what = format!(
                "node {id} still lacks {behind} frames of the log: give it a vote when it has them, as `rstmdb-cli cluster status` tells"
            );
            return Err(not_now(what).with("node", id));
        }
        if count.is_multiple_of(2) && !is_forced {
            return Err(even(
                count,
                "add another node, and both get a vote when they have the log",
            ));
        }
        self.change(ChangeMembers::AddVoterIds([u64::from(id)].into()), true).await?;
        Ok(count)
    }

    /// Removes a member, in one change with the learner that takes its place, if there is one; how many vote then.
    ///
    /// Errors: reason `not_leader` when it led: the next leader does it. When the rest could not decide, or their number is even, unless
    /// that is wanted all the same; when nobody would be left.
    pub async fn remove(&self, id: u16, is_forced: bool) -> Result<usize> {
        let _one = self.changes.lock().await;
        let state = self.deciding()?;
        let member = state.member(id).ok_or_else(|| no_node(id, &state))?;
        let mut voters = state.voters();
        if voters.iter().eq([&u64::from(id)]) {
            let what = format!(
                "node {id} is the last that votes: add another one first, or stop its server and use its directory no more"
            );
            return Err(not_now(what).with("node", id));
        }
        if id == state.id {
            return Err(self.hand_over(&state, None).await?.into_error());
        }
        // The number is never given again.
        self.say(&state, state.level).await?;
        if !member.is_voter {
            self.change(ChangeMembers::RemoveNodes([u64::from(id)].into()), false).await?;
            return Ok(voters.len());
        }
        voters.remove(&u64::from(id));
        if voters.len().is_multiple_of(2)
            && let Some(next) = self.ready(&state).first()
        {
            voters.insert(*next);
        }
        let count = voters.len();
        if !is_forced {
            let there = self.heard_of(&state, &voters);
            if there <= count / 2 {
                let what = format!(
                    "without node {id} only {there} of {count} voters answer, which is no quorum: start the others first"
                );
                return Err(not_now(what).with("node", id));
            }
            if count.is_multiple_of(2) {
                return Err(even(count, "start a new node first, which takes its place"));
            }
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        Ok(count)
    }

    /// Has the group work at this level, or else at the newest that a member knows; says which one it is then. There is no way back.
    ///
    /// Errors: reason `unsupported` when a member does not know it, or the group works at a later one.
    pub async fn upgrade(&self, to: Option<u32>) -> Result<u32> {
        let _one = self.changes.lock().await;
        let state = self.deciding()?;
        let newest = |of: &MemberState| of.member.levels.1;
        let known = state.members.iter().map(newest).max().unwrap_or(0);
        let to = to.unwrap_or(known.max(state.level));
        let refused = |what: String| Error::invalid(reason::UNSUPPORTED, what);
        if to < state.level {
            let what =
                format!("the group works at level {}, and there is no way back", state.level);
            return Err(refused(what));
        }
        let lacks = state.members.iter().find(|of| newest(of) < to);
        if let Some(of) = lacks {
            return Err(refused(format!(
                "node {} ({}) knows levels up to {}: bring it to a release that knows level {to} first",
                of.id,
                of.member.name,
                newest(of)
            )));
        }
        if to > state.level {
            self.say(&state, to).await?;
            tracing::info!("the group works at level {to} from now on");
        }
        Ok(to)
    }

    /// Has the log say what must not be forgotten when a member goes, if it does not: the highest number that was given, and the level.
    async fn say(&self, state: &GroupState, level: u32) -> Result<()> {
        let own = state.member(state.id).ok_or_else(|| no_node(state.id, state))?;
        if own.member.given >= state.given() && own.member.level >= level {
            return Ok(());
        }
        let member = MemberNode { given: state.given(), level, ..own.member.clone() };
        self.describe(state.id, member).await
    }

    /// Has another voter lead, this one or the one that has most of the log; says who leads then, and where clients reach it.
    pub async fn transfer(&self, to: Option<u16>) -> Result<LeaderHint> {
        let _one = self.changes.lock().await;
        let state = self.deciding()?;
        match to.filter(|to| *to == state.id) {
            Some(own) => Ok(state.hint(own)),
            None => self.hand_over(&state, to).await.map(|Next(leader)| leader),
        }
    }

    /// Keeps a member from leading, or lets it lead again; says who leads then, if that is known.
    ///
    /// Errors: when no other voter could lead.
    pub async fn drain(&self, id: u16, is_drained: bool) -> Result<Option<u16>> {
        let _one = self.changes.lock().await;
        let state = self.deciding()?;
        let member = state.member(id).ok_or_else(|| no_node(id, &state))?;
        let mut others = state.members.iter().filter(|member| member.id != id);
        if is_drained && !others.any(|other| other.may_lead() && self.is_heard(other)) {
            let what = format!(
                "without node {id} nobody could lead: every other voter is drained or does not answer; start one, or undo \
                 that of another one (`rstmdb-cli cluster drain NODE --undo`)"
            );
            return Err(not_now(what).with("node", id));
        }
        if member.member.is_drained != is_drained {
            let member = MemberNode { is_drained, ..member.member.clone() };
            self.describe(id, member).await?;
            tracing::info!(
                "node {id} {}",
                if is_drained { "is drained" } else { "may lead again" }
            );
        }
        if !is_drained || id != state.id {
            return Ok(state.leader);
        }
        match self.hand_over(&self.state(), None).await {
            Ok(Next(leader)) => Ok(Some(leader.node)),
            Err(error) => {
                // It goes on to try.
                tracing::info!("leadership is not handed over yet: {}", error.message());
                Ok(Some(id))
            }
        }
    }

    /// Has a node that is drained not lead while another one can. To be called now and then.
    ///
    /// What it alone has of what was committed must not be lost to the group: when nobody led for long, it leads all the same, and hands over
    /// as soon as another one has all of it.
    pub async fn hold_back(&self) {
        let state = self.state();
        let is_drained = state.member(state.id).is_some_and(|own| own.member.is_drained);
        let may_elect = !is_drained || state.is_leading || self.is_led_by_nobody();
        self.raft.runtime_config().elect(may_elect);
        if !is_drained || !state.is_leading {
            return;
        }
        let Ok(_one) = self.changes.try_lock() else { return };
        if let Err(error) = self.hand_over(&state, None).await {
            tracing::debug!("a drained node leads on: {}", error.message());
        }
    }

    /// The newest level of changes that all members know, and the one that the group works at.
    pub fn levels(&self) -> (u32, u32) {
        let state = self.state();
        let newest = state.members.iter().map(|member| member.member.levels.1).min();
        (newest.unwrap_or(state.level), state.level)
    }

    /// Has another voter lead, which has to answer.
    async fn hand_over(&self, state: &GroupState, to: Option<u16>) -> Result<Next> {
        let others = state.members.iter().filter(|member| member.id != state.id);
        let next = match to {
            None => {
                let able = others.filter(|member| member.may_lead() && self.is_heard(member));
                able.min_by_key(|member| member.behind.unwrap_or(u64::MAX)).ok_or_else(|| {
                    not_now("no other voter answers that could lead: start one, or look at its log")
                })?
            }
            Some(id) => {
                let member = state.member(id).ok_or_else(|| no_node(id, state))?;
                if !member.is_voter {
                    let what = format!(
                        "node {id} is a learner: give it a vote before it can lead (`rstmdb-cli cluster promote {id}`)"
                    );
                    return Err(not_now(what).with("node", id));
                }
                if member.member.is_drained {
                    let what = format!(
                        "node {id} is drained, and not to lead: undo that first (`rstmdb-cli cluster drain {id} --undo`)"
                    );
                    return Err(not_now(what).with("node", id));
                }
                self.check_heard(member)?;
                member
            }
        };
        self.raft.trigger().transfer_leader(next.id.into()).await.map_err(super::raft_failed)?;
        let mut metrics = self.raft.metrics();
        let leads = |seen: &openraft::RaftMetrics<TypeConfig>| {
            seen.running_state.is_err() || seen.current_leader == Some(next.id.into())
        };
        let moved = tokio::time::timeout(4 * self.patience, metrics.wait_until(leads)).await;
        if !matches!(moved, Ok(Ok(_))) {
            let what = format!("node {} did not come to lead; retry", next.id);
            return Err(not_now(what).with("node", next.id));
        }
        Ok(Next(state.hint(next.id)))
    }

    fn check_heard(&self, member: &MemberState) -> Result<()> {
        if self.is_heard(member) {
            return Ok(());
        }
        let MemberState { id, member, .. } = member;
        let what =
            format!("node {id} does not answer at {}: start it, or look at its log", member.peer);
        Err(not_now(what).with("node", *id))
    }

    /// How many of these answered a moment ago.
    fn heard_of(&self, state: &GroupState, ids: &BTreeSet<u64>) -> usize {
        let members = ids.iter().filter_map(|id| state.member(u16::try_from(*id).ok()?));
        members.filter(|member| self.is_heard(member)).count()
    }

    /// Refuses when this node does not lead, or most voters do not answer.
    pub fn check_decides(&self) -> Result<()> {
        self.deciding().map(drop)
    }

    /// The group, if this node leads it and most voters answer: else nothing would be decided, and who asked would wait.
    fn deciding(&self) -> Result<GroupState> {
        let state = self.state();
        if !state.is_leading {
            return Err(not_leader(self.leader_of(&state).as_ref()));
        }
        let voters = state.members.iter().filter(|member| member.is_voter);
        // What is slow for a moment is not gone.
        let patience = 4 * self.patience;
        let there = |of: &&MemberState| of.silence.is_some_and(|silence| silence < patience);
        let (count, there) = (voters.clone().count(), voters.filter(there).count());
        match there > count / 2 {
            true => Ok(state),
            false => Err(no_quorum(&format!("{there} of {count} voters answer"))),
        }
    }

    fn leader_of(&self, state: &GroupState) -> Option<LeaderHint> {
        let is_known = |leader: &u16| *leader != state.id && !self.is_led_by_nobody();
        let leader = state.leader.filter(is_known)?;
        state.member(leader)?;
        Some(state.hint(leader))
    }

    /// Says something else of a member.
    async fn describe(&self, id: u16, member: MemberNode) -> Result<()> {
        let nodes = BTreeMap::from([(u64::from(id), member)]);
        self.change(ChangeMembers::SetNodes(nodes), true).await
    }

    async fn change(&self, change: ChangeMembers<u64, MemberNode>, retain: bool) -> Result<()> {
        let changed = self.raft.change_membership(change, retain);
        // The library waits for ever.
        let changed = tokio::time::timeout(8 * self.patience, changed).await.map_err(|_| {
            no_quorum("it was not decided in time, and may still be when most are back")
        })?;
        match changed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                let what = format!("the members can't be changed now: {error}");
                Err(not_now(what))
            }
            Err(RaftError::APIError(_)) => Err(not_leader(self.leader_of(&self.state()).as_ref())),
            Err(error) => Err(super::raft_failed(error)),
        }
    }
}

/// The group of one member, which others join.
pub fn first_member(member: MemberNode) -> Result<Membership> {
    let member = MemberNode { given: 1, level: member.levels.1, ..member };
    let nodes = BTreeMap::from([(1, member)]);
    Membership::new(vec![[1].into()], nodes).map_err(super::raft_failed)
}

/// The level that a group of these members works at.
fn level_of<'a>(members: impl Iterator<Item = &'a MemberNode>) -> u32 {
    members.map(|member| member.level).max().unwrap_or(0).max(FIRST_LEVEL)
}

/// The level of a group, by what the log says of its members.
fn level_said(said: Option<&GroupMembers>) -> u32 {
    let members = said.and_then(|said| membership(said).ok());
    members.map_or(FIRST_LEVEL, |members| level_of(members.nodes().map(|(_, member)| member)))
}

/// The level of the group that an engine is of, by what is committed there.
pub fn group_level(engine: &Engine) -> u32 {
    level_said(engine.replication().members().as_ref())
}

/// Whether a definition that needs this level of the language may be put in a group of these members.
pub(super) fn admit_language(language: u32, said: Option<&GroupMembers>) -> Result<()> {
    let level = level_said(said);
    if language < 2 || level >= ACTIONS_LEVEL {
        return Ok(());
    }
    let what = format!(
        "the definition uses actions, or other words of language level {language}, and the group works at level \
         {level}, at which members need not know them: bring all members to a release that knows level \
         {ACTIONS_LEVEL}, then raise the level (`rstmdb-cli cluster upgrade`)"
    );
    Err(Error::invalid(reason::UNSUPPORTED, what).with("field", "definition"))
}

/// Why a node can't belong to a group that works at this level; nothing when it can.
pub fn too_old_or_new(name: &str, (from, to): (u32, u32), level: u32) -> Option<String> {
    let do_what = if to < level {
        format!("bring {name} to a release that knows level {level}")
    } else if from > level {
        "have the group work at a later level first (`rstmdb-cli cluster upgrade`)".to_owned()
    } else {
        return None;
    };
    Some(format!(
        "the group works at level {level}, and {name} knows levels {from} to {to}: {do_what}"
    ))
}

fn no_node(id: u16, state: &GroupState) -> Error {
    let ids: Vec<String> = state.members.iter().map(|member| member.id.to_string()).collect();
    let what = format!("the group has no node {id}; it has {}", ids.join(", "));
    Error::new(ErrorCode::NotFound, what).with("node", id)
}

fn even(count: usize, instead: &str) -> Error {
    let what = format!(
        "{count} voters stand no more failures than {}: {instead}; or do it all the same (--force)",
        count - 1
    );
    Error::invalid(reason::INVALID_OPTION, what).with("field", "force")
}

/// Something else has to be done first.
fn not_now(what: impl Into<String>) -> Error {
    Error::new(ErrorCode::Conflict, what)
}

/// Most voters are not there.
fn no_quorum(what: &str) -> Error {
    let what = format!(
        "the group has no quorum ({what}): start its nodes, or see to it that they reach each other; `rstmdb-cli cluster status` shows which"
    );
    Error::new(ErrorCode::ReplicationError, what)
}

/// Who leads next: whoever wants something of the leader is sent there.
struct Next(LeaderHint);

impl Next {
    fn into_error(self) -> Error {
        not_leader(Some(&self.0))
    }
}

fn not_leader(leader: Option<&LeaderHint>) -> Error {
    let what = match leader {
        Some(leader) => format!("this node does not lead: ask {}", leader.address),
        None => "no node of the group is known to lead now: most of the voters must be there and reach each other; `rstmdb-cli cluster status` \
                 shows which"
            .to_owned(),
    };
    let error = Error::new(ErrorCode::ReadOnlyMode, what).with_reason(reason::NOT_LEADER);
    match leader {
        Some(leader) => error.with("address", leader.address.as_str()).with("node", leader.node),
        None => error,
    }
}
