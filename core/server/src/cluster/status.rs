//! The group at a glance: what each member says of itself, and what somebody should look at.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rstmdb_cluster::net::Inquiries;
use rstmdb_cluster::raft::{GroupState, MemberReport, MemberState, RaftNode};
use rstmdb_types::{ClusterMember, ClusterStatusResult, Text};

use crate::calls::Calls;
use crate::node::NodeRole;

/// Who does not answer within this time is told as one that does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// What this node and all others say; where it belongs to no group yet, why.
pub(super) async fn of(
    calls: &Calls,
    cluster: &str,
    raft: Option<&RaftNode>,
    inquiries: &Inquiries,
) -> ClusterStatusResult {
    let standing = calls.node().standing();
    let Some(raft) = raft else {
        let why = standing.not_ready.as_ref().map(|not_ready| not_ready.reason.as_str().into());
        return ClusterStatusResult {
            role: "joining".into(),
            cluster: Some(cluster.into()),
            problems: why.into_iter().collect(),
            ..ClusterStatusResult::default()
        };
    };
    let state = raft.state();
    let asked = state.members.iter().map(|of| ask(raft, inquiries, state.id, of));
    let reports = join_all(asked).await.into_iter().flatten();
    let reports: BTreeMap<u16, MemberReport> =
        reports.map(|report| (report.node, report)).collect();
    let (_, level) = raft.levels();
    let quorum = has_quorum(&state, &reports, raft.patience());
    told(&state, &reports, cluster, level, quorum)
}

/// How a member does; nothing where it does not say.
pub(super) async fn ask(
    raft: &RaftNode,
    inquiries: &Inquiries,
    own: u16,
    of: &MemberState,
) -> Option<MemberReport> {
    if of.id == own {
        return Some(raft.report());
    }
    match inquiries.ask(of.id, &of.member.peer, PATIENCE).await {
        Ok(report) => Some(report),
        Err(error) => {
            tracing::debug!("node {} was asked how it does: {error}", of.id);
            None
        }
    }
}

/// Of two that both say that they lead, one has not heard of the other.
fn leading(reports: &BTreeMap<u16, MemberReport>) -> Option<&MemberReport> {
    reports.values().filter(|report| report.is_leading).max_by_key(|report| report.term)
}

/// Whether somebody leads whom most voters confirmed a moment ago; who leads and was asked itself sees at once that they are gone.
fn has_quorum(
    state: &GroupState,
    reports: &BTreeMap<u16, MemberReport>,
    patience: Duration,
) -> bool {
    let Some(leads) = leading(reports) else { return false };
    let (count, there) = voters(state, reports);
    let is_recent = |ago: u64| Duration::from_millis(ago) < patience;
    leads.confirmed_ms.is_some_and(is_recent) && (leads.node != state.id || there > count / 2)
}

/// How many vote, and how many of them answer.
fn voters(state: &GroupState, reports: &BTreeMap<u16, MemberReport>) -> (usize, usize) {
    let voters = state.members.iter().filter(|of| of.is_voter);
    (voters.clone().count(), voters.filter(|of| reports.contains_key(&of.id)).count())
}

fn told(
    state: &GroupState,
    reports: &BTreeMap<u16, MemberReport>,
    cluster: &str,
    level: u32,
    has_quorum: bool,
) -> ClusterStatusResult {
    let term = reports.values().map(|report| report.term).max().unwrap_or(0).max(state.term);
    let leads = leading(reports);
    let leader = leads.map(|report| report.node);
    let own = match (leader == Some(state.id), state.is_learner) {
        (true, _) => NodeRole::Leader,
        (false, true) => NodeRole::Learner,
        (false, false) => NodeRole::Follower,
    };
    let address = leader.and_then(|leader| state.member(leader));
    let newest = leads.map(|report| report.committed_offset);
    let members = state.members.iter().map(|of| {
        let role = if leader == Some(of.id) { NodeRole::Leader } else { role(of) };
        member(of, role, reports.get(&of.id), newest)
    });
    ClusterStatusResult {
        role: own.name().into(),
        has_quorum,
        cluster: Some(cluster.into()),
        node: Some(state.id.into()),
        leader: leader.map(u64::from),
        leader_address: address.map(|of| of.member.client.as_str().into()),
        term: Some(term),
        level: Some(level.into()),
        members: members.collect(),
        problems: problems(state, reports, leader, has_quorum)
            .into_iter()
            .map(Text::from)
            .collect(),
    }
}

fn role(of: &MemberState) -> NodeRole {
    if of.is_voter { NodeRole::Follower } else { NodeRole::Learner }
}

fn member(
    of: &MemberState,
    role: NodeRole,
    report: Option<&MemberReport>,
    newest: Option<u64>,
) -> ClusterMember {
    let (level_min, level_max) = of.member.levels;
    let committed = report.map(|report| report.committed_offset);
    let digest = report.and_then(|report| {
        report.digests.iter().rev().find(|(offset, _)| *offset <= report.committed_offset)
    });
    ClusterMember {
        node: of.id.into(),
        name: of.member.name.as_str().into(),
        role: role.name().into(),
        address: of.member.client.as_str().into(),
        peer_address: of.member.peer.as_str().into(),
        zone: Some(of.member.zone.as_str()).filter(|zone| !zone.is_empty()).map(Text::from),
        answers: report.is_some(),
        is_drained: of.member.is_drained,
        level_min: level_min.into(),
        level_max: level_max.into(),
        release: report.map(|report| report.release.as_str().into()),
        term: report.map(|report| report.term),
        committed,
        lag_entries: newest.zip(committed).map(|(newest, here)| newest.saturating_sub(here)),
        lag_ms: match role {
            NodeRole::Leader => Some(0),
            _ => report.and_then(|report| report.lag_ms),
        },
        digest: digest.map(|(_, digest)| format!("{digest:016x}").into()),
        digest_offset: digest.map(|(offset, _)| *offset),
        problem: report.and_then(|report| report.problem.as_deref()).map(Text::from),
    }
}

/// What somebody should look at, the worst first.
fn problems(
    state: &GroupState,
    reports: &BTreeMap<u16, MemberReport>,
    leader: Option<u16>,
    has_quorum: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let (count, there) = voters(state, reports);
    if !has_quorum {
        problems.push(match there > count / 2 {
            true => "no node leads that most voters answer: an election may be under way, or they do not reach each other".to_owned(),
            false => format!(
                "no quorum: {there} of {count} voters answer, and {} must; start the others, or see to it that they can be reached",
                count / 2 + 1
            ),
        });
    }
    for of in state.members.iter().filter(|of| !reports.contains_key(&of.id)) {
        let (id, peer) = (of.id, &of.member.peer);
        problems.push(format!(
            "node {id} does not answer at {peer}: start it; if it is lost for good, `rstmdb-cli cluster remove {id}`"
        ));
    }
    problems.extend(differing(reports, leader));
    // A node that has just started may know of none.
    if count > 0 && count.is_multiple_of(2) {
        problems.push(format!(
            "{count} voters stand no more failures than {}: add a node, or remove one",
            count - 1
        ));
    }
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for of in state.members.iter().filter(|of| of.is_voter) {
        *zones.entry(of.member.zone.as_str()).or_default() += 1;
    }
    let fullest = zones.into_iter().filter(|(zone, _)| !zone.is_empty()).max_by_key(|of| of.1);
    if let Some((zone, held)) = fullest.filter(|(_, held)| count > 1 && *held > count / 2) {
        problems.push(format!(
            "zone {zone} holds {held} of {count} voters: with it the group is lost; put them where they do not fail together"
        ));
    }
    problems
}

/// Those that came to another digest than who leads, at the same place.
fn differing(reports: &BTreeMap<u16, MemberReport>, leader: Option<u16>) -> Vec<String> {
    let Some(leads) = leader.and_then(|leader| reports.get(&leader)) else { return Vec::new() };
    let differs = |report: &&MemberReport| {
        let mut shared =
            leads.digests.iter().filter(|(offset, _)| *offset <= leads.committed_offset);
        shared.any(|(offset, digest)| report.digest_at(*offset).is_some_and(|own| own != *digest))
    };
    let found = reports.values().filter(differs);
    found
        .map(|report| {
            format!(
                "node {} holds something else than node {}, which leads: `rstmdb-cli cluster verify` says who stands alone",
                report.node, leads.node
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstmdb_cluster::raft::MemberNode;
    use rstmdb_engine::replication::LogTip;

    use super::*;

    fn group(own: u16, voters: u16) -> GroupState {
        let member = |id: u16| MemberState {
            id,
            member: MemberNode { peer: format!("node{id}:7403"), ..MemberNode::default() },
            is_voter: true,
            behind: None,
            silence: None,
        };
        let tip = LogTip {
            index: 9,
            term: 3,
            offset: 9,
            chain: 0,
            first_kept: 1,
            synced: 9,
            committed: 9,
            committed_offset: 9,
        };
        GroupState {
            id: own,
            leader: Some(1),
            term: 3,
            is_leading: own == 1,
            is_learner: false,
            level: 1,
            members: (1..=voters).map(member).collect(),
            tip,
        }
    }

    /// Node 1 leads, and most confirmed that so long ago.
    fn reports(nodes: &[u16], confirmed_ms: u64) -> BTreeMap<u16, MemberReport> {
        let report = |node: &u16| MemberReport {
            node: *node,
            term: 3,
            is_leading: *node == 1,
            confirmed_ms: (*node == 1).then_some(confirmed_ms),
            committed_offset: 9,
            digests: vec![(7, 70), (9, 90)],
            ..MemberReport::default()
        };
        nodes.iter().map(|node| (*node, report(node))).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quorum_is_what_most_confirmed_a_moment_ago() {
        assert!(has_quorum(&group(1, 3), &reports(&[1, 2], 50), SECOND));
        assert!(!has_quorum(&group(1, 3), &reports(&[1, 2], 1_000), SECOND), "long ago");
        assert!(!has_quorum(&group(1, 3), &reports(&[1], 50), SECOND), "they are gone since");
        // Who was asked may reach the leader alone, whom the others reach.
        assert!(has_quorum(&group(2, 5), &reports(&[1, 2], 50), SECOND));
        assert!(!has_quorum(&group(2, 3), &reports(&[2, 3], 50), SECOND), "nobody leads");
    }

    #[test]
    fn a_node_that_has_just_started_and_knows_of_no_voter_says_that_nobody_leads() {
        let said = problems(&group(1, 0), &BTreeMap::new(), None, false);
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn what_to_look_at_is_said_with_a_way_out() {
        let said = |state: &GroupState, reports, quorum| problems(state, &reports, Some(1), quorum);
        assert_eq!(said(&group(1, 3), reports(&[1, 2, 3], 9), true), Vec::<String>::new());
        let alone = said(&group(1, 3), reports(&[1], 9), false);
        assert!(
            alone
                .iter()
                .any(|what| what.starts_with("no quorum: 1 of 3 voters answer, and 2 must"))
        );
        assert!(
            alone
                .iter()
                .any(|what| what.contains("node3:7403") && what.contains("cluster remove 3"))
        );
        let even = said(&group(1, 2), reports(&[1, 2], 9), true);
        assert!(even.iter().any(|what| what.starts_with("2 voters stand no more failures than 1")));
        // At another place it is not compared; above what is committed neither.
        let mut odd = reports(&[1, 2, 3], 9);
        odd.entry(2).and_modify(|report| report.digests = vec![(8, 1), (7, 70)]);
        assert_eq!(said(&group(1, 3), odd.clone(), true), Vec::<String>::new());
        odd.entry(3).and_modify(|report| report.digests = vec![(7, 70), (9, 91)]);
        let differ = said(&group(1, 3), odd, true);
        assert!(
            differ.iter().any(|what| what.starts_with("node 3 holds something else than node 1"))
        );
    }
}
