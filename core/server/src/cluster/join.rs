//! How a node comes to belong to its group.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rstmdb_cluster::net::{JoinAnswer, ask_to_join};
use rstmdb_cluster::peer::PeerError;
use rstmdb_cluster::raft::{MemberNode, begin_group, first_member};
use rstmdb_engine::{Engine, GroupNode, NodeKind, Options};
use rstmdb_types::{ClusterInitResult, Error, ErrorCode, Result};

use super::identity::{MemberIdentity, digits};
use super::seeds::addresses;
use super::{FoundingAnswer, Setup};
use crate::config::{Config, refused};
use crate::node::NotReady;

/// Before the others are asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// How often what keeps a node from joining is logged.
const LOG_EVERY: u32 = 40;

/// What others are told of this node.
pub(super) fn facts(
    config: &Config,
    identity: &MemberIdentity,
    peers: SocketAddr,
    clients: SocketAddr,
) -> Result<MemberNode> {
    let cluster = &config.cluster;
    let peer = match &cluster.advertise {
        Some(address) => with_port(address.as_str(), peers.port()),
        None if peers.ip().is_unspecified() => {
            return Err(refused(
                "cluster.advertise",
                format!(
                    "cluster.bind_addr is {peers}, all addresses of this machine: set cluster.advertise to the one by which the other \
                     members reach it, such as node1.example:{}",
                    peers.port()
                ),
            ));
        }
        None => peers.to_string(),
    };
    let client = match &cluster.advertise_clients {
        Some(address) => with_port(address.as_str(), clients.port()),
        None if clients.ip().is_unspecified() => {
            let host = peer.rsplit_once(':').map_or(peer.as_str(), |(host, _)| host);
            format!("{host}:{}", clients.port())
        }
        None => clients.to_string(),
    };
    Ok(MemberNode {
        name: cluster.node_name.clone().unwrap_or_else(|| peer.clone()),
        peer,
        client,
        zone: cluster.zone.clone().unwrap_or_default(),
        uuid: digits(&identity.uuid),
        levels: (0, 0),
        is_learner: cluster.role == crate::config::MemberRole::Learner,
        is_drained: false,
        given: 0,
        level: 0,
    })
}

/// Port 0 stands for the one that was found.
fn with_port(address: &str, port: u16) -> String {
    match address.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => address.to_owned(),
    }
}

/// How the engine of a member is opened.
pub(super) fn options(setup: &Setup, node: u16, database: Option<[u8; 16]>) -> Options {
    let metrics = setup.calls.metrics().clone();
    let observer: std::sync::Arc<dyn Fn(Duration) + Send + Sync> =
        std::sync::Arc::new(move |took| metrics.sync.record(took));
    Options {
        node: Some(GroupNode { kind: NodeKind::Member, id: node, database }),
        // By that members find out whether they hold the same.
        digest: true,
        sync_observer: Some(rstmdb_engine::SyncObserver(observer)),
        ..setup.config.engine_options()
    }
}

/// Does what it takes until this node belongs to the group.
pub(super) async fn belong(setup: &mut Setup) -> Result<()> {
    if setup.identity.node != 0 {
        return Ok(());
    }
    let cluster = setup.config.cluster.clone();
    let mut attempt = 0_u32;
    // Gone when this node belongs to a group: nobody is left waiting.
    let Some(mut foundings) = setup.foundings.take() else { return Ok(()) };
    let mut ordered: Option<FoundingAnswer> = None;
    loop {
        let found = ask_around(setup).await;
        let begins = match &found {
            Found::Joined => {
                answer(
                    ordered,
                    &setup.config.cluster.name,
                    Err(belongs_already(setup.identity.node)),
                );
                return Ok(());
            }
            // A group of that name is there: who begins another one would tear it apart.
            Found::Group(why) => {
                answer(ordered.take(), &cluster.name, Err(is_there_already(&cluster.name, why)));
                false
            }
            Found::Nobody { uuids, .. } => {
                // What is in a directory already is not begun with by chance.
                let may_be_chosen = !setup.identity.has_data;
                cluster.bootstrap
                    || ordered.is_some()
                    || (may_be_chosen
                        && is_chosen(uuids, &setup.identity.uuid, cluster.bootstrap_expect))
            }
        };
        if begins {
            let begun = begin(setup).await;
            answer(ordered, &cluster.name, begun.clone());
            return begun;
        }
        let why = match found {
            Found::Group(why) => why,
            Found::Nobody { uuids, unproven } => match cluster.bootstrap_expect {
                _ if let Some(what) = &unproven => {
                    format!("no node of cluster.seeds belongs to a group yet that can be asked: {what}")
                }
                0 => "no node of cluster.seeds belongs to a group yet; have one begin it (`rstmdb-cli cluster init`, or cluster.bootstrap), \
                      or set cluster.bootstrap_expect on all"
                    .to_owned(),
                expected => format!(
                    "{} of {expected} nodes (cluster.bootstrap_expect) are there, this one among them",
                    uuids.len()
                ),
            },
            Found::Joined => String::new(),
        };
        if attempt.is_multiple_of(LOG_EVERY) {
            tracing::warn!("the node belongs to no group yet: {why}");
        }
        attempt = attempt.wrapping_add(1);
        setup.calls.node().update(|standing| {
            standing.not_ready = Some(NotReady { status: "joining", reason: why });
        });
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            Some(order) = foundings.recv() => ordered = Some(order),
        }
    }
}

/// Tells who ordered that a group begins what came of it.
fn answer(ordered: Option<FoundingAnswer>, cluster: &str, begun: Result<()>) {
    let Some(ordered) = ordered else { return };
    let result = begun.map(|()| ClusterInitResult { cluster: cluster.into(), node: 1 });
    // It may have gone away.
    let _ = ordered.send(result);
}

/// That a node which belongs to a group begins none.
pub(super) fn belongs_already(node: u16) -> Error {
    let what = format!(
        "this server is node {node} of its group already: nothing has to begin; `rstmdb-cli cluster status` shows the others"
    );
    Error::new(ErrorCode::Conflict, what).with("node", node)
}

fn is_there_already(cluster: &str, why: &str) -> Error {
    let what =
        format!("the group {cluster:?} is there already, and this node is to join it: {why}");
    Error::new(ErrorCode::Conflict, what)
}

/// What the others said.
enum Found {
    Joined,
    /// There is a group, and this node does not belong to it now, for this reason.
    Group(String),
    /// There is none, as far as these know; this node is among them.
    Nobody {
        uuids: BTreeSet<[u8; 16]>,
        /// One answers, and one of the two does not prove who it is.
        unproven: Option<String>,
    },
}

/// The first of so many begins, when all are there, and no more.
fn is_chosen(uuids: &BTreeSet<[u8; 16]>, own: &[u8; 16], expected: u32) -> bool {
    expected > 0 && uuids.len() == expected as usize && uuids.first() == Some(own)
}

async fn ask_around(setup: &mut Setup) -> Found {
    let mut uuids = BTreeSet::from([setup.identity.uuid]);
    let (mut group, mut unproven) = (None, None);
    let mut unseen = addresses(&setup.config.cluster.seeds).await;
    unseen.extend(setup.desk.invitations());
    let mut seen = BTreeSet::new();
    while let Some(address) = unseen.pop() {
        if !seen.insert(address.clone()) {
            continue;
        }
        match ask_to_join(&setup.local, &address, &setup.facts).await {
            Ok(JoinAnswer::Member { node, database }) => {
                match setup.identity.joined(node, database) {
                    Ok(()) => {
                        setup.local.joined(node, database);
                        tracing::info!("the node belongs to the group, as node {node}");
                        return Found::Joined;
                    }
                    Err(error) => group = Some(error.message().to_owned()),
                }
            }
            Ok(JoinAnswer::Elsewhere(leader)) => {
                group.get_or_insert_with(|| "no node of the group leads now".to_owned());
                if !leader.is_empty() {
                    unseen.push(leader);
                }
            }
            Ok(JoinAnswer::NoGroup { uuid }) => drop(uuids.insert(uuid)),
            Err(PeerError::Refused(refusal)) => group = Some(refusal.message),
            Err(PeerError::Unproven(what)) => unproven = Some(what),
            Err(error @ PeerError::Refusing(_)) => group = Some(error.to_string()),
            Err(error) => tracing::debug!("{address} of cluster.seeds: {error}"),
        }
    }
    match group {
        Some(why) => Found::Group(why),
        None => Found::Nobody { uuids, unproven },
    }
}

/// Begins the group, with what is in the directory.
async fn begin(setup: &mut Setup) -> Result<()> {
    let (location, options) = (setup.location.clone(), options(setup, 1, None));
    let members = first_member(setup.facts.clone())?;
    let begun = tokio::task::spawn_blocking(move || -> Result<[u8; 16]> {
        let engine = Engine::open(location, options)?;
        let begun = begin_group(&engine, 1, &members);
        let database = engine.replication().database();
        engine.close()?;
        begun.map(|()| database)
    });
    let database = begun.await.map_err(|error| {
        Error::new(ErrorCode::InternalError, format!("beginning the group failed: {error}"))
    })??;
    setup.identity.joined(1, database)?;
    setup.local.joined(1, database);
    tracing::info!("the group {:?} begins with this node", setup.config.cluster.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_as_many_as_are_expected_begins() {
        let three: BTreeSet<[u8; 16]> = [[1; 16], [2; 16], [3; 16]].into();
        let two: BTreeSet<[u8; 16]> = [[1; 16], [2; 16]].into();
        assert!(is_chosen(&three, &[1; 16], 3));
        assert!(!is_chosen(&three, &[2; 16], 3));
        assert!(!is_chosen(&two, &[1; 16], 3), "not all are there");
        assert!(!is_chosen(&three, &[1; 16], 2), "there are more: two groups could begin");
        assert!(!is_chosen(&three, &[1; 16], 0));
    }
}
