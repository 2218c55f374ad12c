//! What the settings say of this server's part: who it is, how patient, and where its database is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_cluster::follow::{NodeIdentity, Pace};
use rstmdb_engine::{Engine, GroupNode, Location, NodeKind, Options, SyncObserver};
use rstmdb_types::Result;

use crate::config::{Config, ReplicationConfig, Role};
use crate::metrics::Metrics;

/// A connection that is silent for so long is given up at the earliest.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// What does not change while the server runs.
pub(super) struct ReplicaPlace {
    pub identity: NodeIdentity,
    pub pace: Pace,
    pub location: Location,
    pub options: Options,
    pub config: ReplicationConfig,
    pub directory: PathBuf,
}

impl ReplicaPlace {
    pub(super) fn new(
        config: &Config,
        metrics: &Arc<Metrics>,
        address: SocketAddr,
    ) -> Result<ReplicaPlace> {
        let replication = &config.replication;
        let location = Location::directory(&config.storage.data_dir);
        let node = match replication.role {
            Role::Standalone => 0,
            Role::Primary | Role::Replica => number(replication, &location)?,
        };
        let mut options = config.engine_options();
        let observed = metrics.clone();
        options.sync_observer =
            Some(SyncObserver(Arc::new(move |took| observed.sync.record(took))));
        if node > 0 {
            options.digest = true;
            options.node = Some(GroupNode { kind: NodeKind::Replica, id: node, database: None });
        }
        Ok(ReplicaPlace {
            identity: identity(replication, &location, node, address),
            pace: pace(replication),
            location,
            options,
            config: replication.clone(),
            directory: config.storage.data_dir.clone(),
        })
    }
}

/// The number of the directory, the one that is set, or one that is drawn.
fn number(config: &ReplicationConfig, location: &Location) -> Result<u16> {
    if config.node > 0 {
        return Ok(config.node);
    }
    if let Some(node) = Engine::node_in(location)? {
        return Ok(node);
    }
    Ok(u16::try_from(1 + location.entropy.next_u64() % u64::from(u16::MAX)).unwrap_or(1))
}

fn identity(
    config: &ReplicationConfig,
    location: &Location,
    node: u16,
    address: SocketAddr,
) -> NodeIdentity {
    let own = (!address.ip().is_unspecified()).then(|| address.to_string());
    let advertised = config.advertise.as_ref().map(|address| address.as_str().to_owned());
    let address = advertised.or(own).unwrap_or_default();
    let name = config.name.clone().unwrap_or_else(|| match node {
        0 => address.clone(),
        node => format!("node-{node}"),
    });
    NodeIdentity { cluster: String::new(), node, uuid: location.entropy.salt(), name, address }
}

fn pace(config: &ReplicationConfig) -> Pace {
    Pace {
        heartbeat: config.heartbeat_interval,
        silence: (config.heartbeat_interval * 3).max(SILENCE_MIN),
        bytes_per_second: config.bytes_per_second,
        retry_min: config.reconnect_delay,
        retry_max: config.reconnect_max_delay.max(config.reconnect_delay),
        ..Pace::default()
    }
}
