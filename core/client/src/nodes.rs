//! What a client knows of the hosts of its database: those it was given, those that servers told of, who takes
//! writes, and which of them are better left alone for a while.
//!
//! All of it is hearsay and only orders the attempts: a host is believed when it answers, and one of another
//! database is refused.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb_protocol::{Cluster, ClusterNode};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use crate::options::Endpoint;
use crate::server::ServerInfo;

/// What an elected node calls its part.
const LEADER: &str = "leader";
/// How long a host that could not be reached is left alone at first; twice as long each time.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);
/// How long a host is left alone that says it is too far behind.
const BEHIND: Duration = Duration::from_secs(1);
/// How long a host is left alone that says nothing: whoever meets several of them is not sent back to the first.
const SILENT: Duration = Duration::from_secs(5);
/// Lags that differ by less are the same.
const LAG_STEP_MS: u64 = 250;
/// So many hosts that were not given are remembered; a server that names ever more of them is not believed.
const HOSTS_MAX: usize = 64;

/// The hosts of a database.
#[derive(Debug)]
pub(crate) struct Nodes {
    given: Vec<Endpoint>,
    zone: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cluster: Option<Cluster>,
    /// The hosts that hold this database.
    members: HashSet<Endpoint>,
    /// Where nodes were reached: they may not know how they look from here.
    reached: HashMap<u64, Endpoint>,
    resting: HashMap<Endpoint, Rest>,
}

#[derive(Debug)]
struct Rest {
    since: Instant,
    until: Instant,
    failures: u32,
}

/// A host to read from. The smallest is the best.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    leads: bool,
    is_elsewhere: bool,
    lag: u64,
}

impl Rank {
    /// Whether it takes writes.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }
}

impl Nodes {
    pub(crate) fn new(given: Vec<Endpoint>, zone: Option<String>) -> Nodes {
        Nodes { given, zone, state: Mutex::default() }
    }

    /// Hosts in the order in which to try them: where writes are taken, those that were given, beginning with
    /// number `first`, and those that servers told of. Those that rest come last; who is said to take writes does so for a
    /// moment only, since all others send a client there.
    pub(crate) fn in_order(&self, towards: Option<&Endpoint>, first: usize) -> Vec<Endpoint> {
        let state = self.state.lock();
        let count = self.given.len().max(1);
        let given = self.given.iter().cycle().skip(first % count).take(self.given.len());
        let leader = state.leader().filter(|_| self.given.len() > 1);
        let takes_writes: Vec<Endpoint> = towards.into_iter().cloned().chain(leader).collect();
        let mut hosts: Vec<Endpoint> = Vec::with_capacity(count);
        let all = takes_writes.iter().cloned().chain(given.cloned());
        for host in all.chain(state.told()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let now = Instant::now();
        hosts.sort_by_key(|host| match takes_writes.contains(host) {
            true => state.has_just_failed(host, now),
            false => state.rests(host, now),
        });
        hosts
    }

    /// How many hosts there are to try.
    pub(crate) fn count(&self) -> usize {
        self.in_order(None, 0).len()
    }

    /// The number of a host among those that were given.
    pub(crate) fn number(&self, host: &Endpoint) -> Option<usize> {
        self.given.iter().position(|given| given == host)
    }

    /// A host that answers belongs to the database, or is refused.
    ///
    /// Where it was the only one, the database there may be another by now, as after a copy was put back.
    pub(crate) fn admit(&self, host: &Endpoint, told: Option<&Cluster>) -> Result<()> {
        let Some(told) = told else { return Ok(()) };
        let mut state = self.state.lock();
        let known = state.cluster.as_ref().map(|cluster| &cluster.id);
        if let Some(known) = known.filter(|known| **known != told.id) {
            if state.members.iter().any(|member| member != host) {
                return Err(another_database(host, known, &told.id));
            }
            *state = State::default();
        }
        if state.members.len() < HOSTS_MAX {
            state.members.insert(host.clone());
        }
        // Another node may have been here before.
        state.reached.retain(|_, at| at != host);
        if let Some(node) = told.node.filter(|_| state.reached.len() < HOSTS_MAX) {
            state.reached.insert(node, host.clone());
        }
        state.learn(told);
        Ok(())
    }

    /// Takes over what a server tells, unless it is old or of another database.
    pub(crate) fn learn(&self, told: &Cluster) {
        let mut state = self.state.lock();
        if state.cluster.as_ref().is_none_or(|known| known.id == told.id) {
            state.learn(told);
        }
    }

    /// Where writes are taken, if that is known to be elsewhere, and worth a try.
    pub(crate) fn leader_beside(&self, server: &ServerInfo) -> Option<Endpoint> {
        let state = self.state.lock();
        let cluster = state.cluster.as_ref()?;
        if cluster.leader? == server.node? {
            return None;
        }
        let leader = state.leader().filter(|leader| *leader != server.endpoint)?;
        (!state.has_just_failed(&leader, Instant::now())).then_some(leader)
    }

    /// Where writes are taken.
    pub(crate) fn leader(&self) -> Option<Endpoint> {
        self.state.lock().leader()
    }

    /// Who was elected last, where nodes elect.
    pub(crate) fn elected(&self) -> Option<Endpoint> {
        let state = self.state.lock();
        let cluster = state.cluster.as_ref()?;
        let elected = cluster.find(cluster.leader?).filter(|node| node.role == LEADER)?;
        state.place(elected)
    }

    /// Whether one of several nodes is elected to take writes.
    pub(crate) fn are_led(&self) -> bool {
        let state = self.state.lock();
        let nodes = state.cluster.iter().flat_map(|cluster| &cluster.nodes);
        self.given.len() > 1 && nodes.clone().count() > 1 && nodes.clone().any(|n| n.role == LEADER)
    }

    /// Whether a server is a node that another one leads.
    pub(crate) fn is_led(&self, server: &ServerInfo) -> bool {
        let state = self.state.lock();
        let leader = state.cluster.as_ref().and_then(|cluster| cluster.leader);
        server.node.is_some() && server.node != leader
    }

    /// The hosts of nodes that do not take writes, and do not rest.
    pub(crate) fn led(&self) -> Vec<Endpoint> {
        let state = self.state.lock();
        let (leader, now) = (state.leader(), Instant::now());
        state
            .told()
            .filter(|host| Some(host) != leader.as_ref() && !state.rests(host, now))
            .collect()
    }

    /// The hosts to read from that are not resting, each with its rank.
    pub(crate) fn readers(&self) -> Vec<(Rank, Endpoint)> {
        let state = self.state.lock();
        let now = Instant::now();
        let told = state.cluster.iter().flat_map(|cluster| {
            cluster.nodes.iter().take(HOSTS_MAX).filter_map(|node| {
                let rank = Rank {
                    leads: cluster.leader == Some(node.id),
                    is_elsewhere: self.zone.is_some() && self.zone != node.zone,
                    lag: node.lag_ms.unwrap_or(0) / LAG_STEP_MS,
                };
                Some((rank, state.place(node)?))
            })
        });
        let mut readers: Vec<_> = told.collect();
        if readers.len() < 2 {
            // Of these nothing is known.
            let rank = Rank { leads: false, is_elsewhere: false, lag: 0 };
            readers = self.given.iter().map(|host| (rank.clone(), host.clone())).collect();
        }
        readers.retain(|(_, host)| !state.rests(host, now));
        readers
    }

    /// A host could not be reached.
    pub(crate) fn unreachable(&self, host: &Endpoint) {
        let mut state = self.state.lock();
        // A node that was there may be elsewhere by now, where the others say.
        state.reached.retain(|_, at| at != host);
        let failures = state.resting.get(host).map_or(0, |rest| rest.failures);
        let length = REST_MIN.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX));
        state.rest(host, length.min(REST_MAX), failures.saturating_add(1));
    }

    /// A host is too far behind to answer.
    pub(crate) fn behind(&self, host: &Endpoint) {
        self.state.lock().rest(host, BEHIND, 0);
    }

    /// A host says nothing, while others can be asked.
    pub(crate) fn silent(&self, host: &Endpoint) {
        let mut state = self.state.lock();
        let failures = state.resting.get(host).map_or(0, |rest| rest.failures);
        state.rest(host, SILENT, failures.saturating_add(1));
    }

    /// A host was reached.
    pub(crate) fn reachable(&self, host: &Endpoint) {
        self.state.lock().resting.remove(host);
    }
}

impl State {
    fn learn(&mut self, told: &Cluster) {
        let is_news = match &self.cluster {
            None => true,
            Some(known) if known.id != told.id => true,
            // Of one epoch there is one leader, whoever says that it knows none.
            Some(known) => {
                let keeps = known.leader.is_none() || told.leader == known.leader;
                told.epoch > known.epoch || (told.epoch == known.epoch && keeps)
            }
        };
        if is_news {
            self.cluster = Some(told.clone());
        }
    }

    fn place(&self, node: &ClusterNode) -> Option<Endpoint> {
        let reached = self.reached.get(&node.id).cloned();
        reached.or_else(|| Endpoint::parse(node.address.as_deref()?))
    }

    fn leader(&self) -> Option<Endpoint> {
        let cluster = self.cluster.as_ref()?;
        self.place(cluster.find(cluster.leader?)?)
    }

    fn told(&self) -> impl Iterator<Item = Endpoint> {
        let nodes = self.cluster.iter().flat_map(|cluster| cluster.nodes.iter().take(HOSTS_MAX));
        nodes.filter_map(|node| self.place(node))
    }

    fn rests(&self, host: &Endpoint, now: Instant) -> bool {
        self.resting.get(host).is_some_and(|rest| rest.until > now)
    }

    /// It rests, and only since a moment ago.
    fn has_just_failed(&self, host: &Endpoint, now: Instant) -> bool {
        let is_new = |rest: &Rest| now < rest.until.min(rest.since + REST_MIN);
        self.resting.get(host).is_some_and(is_new)
    }

    fn rest(&mut self, host: &Endpoint, length: Duration, failures: u32) {
        if self.resting.len() >= 2 * HOSTS_MAX {
            self.resting.clear();
        }
        let since = Instant::now();
        self.resting.insert(host.clone(), Rest { since, until: since + length, failures });
    }
}

fn another_database(host: &Endpoint, known: &str, told: &str) -> Error {
    let message = format!(
        "{host} holds another database ({told}) than the other hosts ({known}); name the hosts of one \
         database, or open it again if all were replaced"
    );
    Error::new(ErrorCode::Conflict, message)
        .with_reason(reason::HISTORY_DIVERGED)
        .with("endpoint", host.to_string())
        .with("database_id", told)
        .with("expected_database_id", known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstmdb_protocol::Cluster;
    use serde_json::json;

    use super::*;

    fn host(name: &str) -> Endpoint {
        Endpoint::new(name, 7401)
    }

    fn nodes(given: &[&str], zone: Option<&str>) -> Nodes {
        Nodes::new(given.iter().map(|name| host(name)).collect(), zone.map(str::to_owned))
    }

    fn told(epoch: u64, leader: Option<u64>) -> Cluster {
        Cluster::read(&json!({
            "id": "x", "epoch": epoch, "leader": leader, "nodes": [
                {"id": 1, "address": "a", "role": "leader", "zone": "east"},
                {"id": 2, "address": "b", "role": "follower", "zone": "west", "lag_ms": 9},
                {"id": 3, "address": "c", "role": "follower", "zone": "east", "lag_ms": 5000},
                {"id": 4, "role": "learner"},
                {"id": 5, "address": "no port here:x", "role": "learner"},
            ],
        }))
        .unwrap()
    }

    fn names(hosts: Vec<Endpoint>) -> String {
        hosts.into_iter().map(|host| host.host).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hosts_are_tried_in_turn_and_those_that_rest_last() {
        let nodes = nodes(&["s", "t", "u"], None);
        assert_eq!(names(nodes.in_order(None, 4)), "t u s");
        nodes.unreachable(&host("u"));
        assert_eq!(names(nodes.in_order(None, 1)), "t s u");
        nodes.reachable(&host("u"));
        nodes.learn(&told(1, Some(2)));
        assert_eq!(names(nodes.in_order(Some(&host("z")), 0)), "z b s t u a c");
    }

    #[test]
    fn who_is_said_to_take_writes_is_tried_again_soon() {
        let nodes = nodes(&["a", "b", "c"], None);
        nodes.learn(&told(1, Some(2)));
        // All were gone for a while, and the others are back first.
        for _ in 0..6 {
            nodes.unreachable(&host("b"));
            nodes.unreachable(&host("c"));
        }
        assert_eq!(names(nodes.in_order(Some(&host("b")), 0)), "a b c");
        for rest in nodes.state.lock().resting.values_mut() {
            rest.since -= REST_MIN;
        }
        assert_eq!(names(nodes.in_order(Some(&host("b")), 0)), "b a c");
        assert_eq!(names(nodes.in_order(None, 0)), "b a c");
        assert_eq!(names(nodes.in_order(Some(&host("c")), 0)), "c b a");
    }

    #[test]
    fn what_is_old_is_not_believed() {
        let nodes = nodes(&["a", "b"], None);
        for (epoch, leader, expected) in [
            (5, None, None),
            (5, Some(2), Some("b")),
            // Of one epoch there is one leader.
            (5, Some(1), Some("b")),
            (5, None, Some("b")),
            (4, Some(3), Some("b")),
            (6, Some(3), Some("c")),
            (7, Some(4), None),
            (8, Some(5), None),
            (9, Some(77), None),
        ] {
            nodes.learn(&told(epoch, leader));
            let leader = nodes.leader().map(|leader| leader.host);
            assert_eq!(leader.as_deref(), expected, "{epoch} {leader:?}");
        }
    }

    #[test]
    fn a_node_that_is_gone_from_where_it_was_reached_is_where_the_others_say() {
        let nodes = nodes(&["old", "b"], None);
        let by = |node| Some(Cluster { node: Some(node), ..told(1, Some(1)) });
        nodes.admit(&host("old"), by(1).as_ref()).unwrap();
        // It may not know how it looks from here.
        assert_eq!(nodes.leader().unwrap().host, "old");
        nodes.unreachable(&host("old"));
        assert_eq!(nodes.leader().unwrap().host, "a");
        nodes.admit(&host("old"), by(1).as_ref()).unwrap();
        assert_eq!(nodes.leader().unwrap().host, "old");
        // Another node has its address now.
        nodes.admit(&host("old"), by(2).as_ref()).unwrap();
        assert_eq!(nodes.leader().unwrap().host, "a");
    }

    #[test]
    fn reads_go_to_the_own_zone_and_to_the_leader_last() {
        let best = |zone: Option<&str>, away: &[&str]| {
            let nodes = nodes(&["s"], zone);
            nodes.learn(&told(1, Some(1)));
            away.iter().for_each(|name| nodes.behind(&host(name)));
            let best = nodes.readers().into_iter().min_by_key(|(rank, _)| rank.clone());
            best.map(|(_, host)| host.host)
        };
        assert_eq!(best(None, &[]).as_deref(), Some("b"), "the least behind");
        assert_eq!(best(Some("east"), &[]).as_deref(), Some("c"), "though it is behind");
        assert_eq!(best(Some("east"), &["c"]).as_deref(), Some("b"));
        assert_eq!(best(Some("east"), &["c", "b"]).as_deref(), Some("a"), "the leader last");
        assert_eq!(best(None, &["a", "b", "c"]), None);
    }

    #[test]
    fn a_host_of_another_database_is_refused_where_there_are_others() {
        let nodes = nodes(&["a", "b"], None);
        let other = Cluster { id: "y".to_owned(), ..told(9, Some(2)) };
        nodes.admit(&host("a"), Some(&told(1, Some(1)))).unwrap();
        // Nothing else is known to hold the first.
        nodes.admit(&host("a"), Some(&other)).unwrap();
        nodes.admit(&host("b"), None).unwrap();
        let error = nodes.admit(&host("b"), Some(&told(1, Some(1)))).unwrap_err();
        assert_eq!(error.reason(), Some(reason::HISTORY_DIVERGED));
        assert!(error.message().contains("b:7401 holds another database (x)"), "{error}");
        nodes.learn(&told(99, Some(3)));
        assert_eq!(nodes.leader().unwrap().host, "b", "what another database tells is nothing");
    }
}
