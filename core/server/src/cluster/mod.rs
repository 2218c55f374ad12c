//! This server as a member of a group that decides together: it finds the others, joins, and keeps what it is among them up to date.
//!
//! All of it runs on a thread of its own, so that no request keeps a heartbeat waiting. What clients, health and metrics see of it stands in
//! [`node`](crate::node); the engine in service is the one that takes part.

mod identity;
mod join;
mod orders;
mod part;
pub(crate) mod relay;
mod seeds;
mod status;
mod tls;
mod verify;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rstmdb_cluster::net::{Inquiries, PeerDesk, PeerNode, SessionDoor};
use rstmdb_cluster::raft::{MemberNode, RaftNode};
use rstmdb_engine::Location;
use rstmdb_types::{ClusterInitResult, Error, ErrorCode, Result};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::calls::Calls;
use crate::config::Config;
use crate::node::{NodeRole, NodeStanding, NotReady};
use identity::MemberIdentity;
use orders::GroupOrders;
use relay::Relay;

/// Handing over may take so long; then the others elect by themselves.
const RESIGN: Duration = Duration::from_secs(3);

/// The part of this server in its group.
pub(crate) struct ClusterPart {
    calls: Arc<Calls>,
    raft: Arc<OnceLock<Arc<RaftNode>>>,
    relay: Option<Arc<Relay>>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    address: SocketAddr,
}

impl std::fmt::Debug for ClusterPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterPart({})", self.address)
    }
}

/// What is known from the start.
struct Setup {
    calls: Arc<Calls>,
    config: Config,
    location: Location,
    identity: MemberIdentity,
    /// What others are told of this node.
    facts: MemberNode,
    local: Arc<PeerNode>,
    desk: Arc<PeerDesk>,
    raft: Arc<OnceLock<Arc<RaftNode>>>,
    inquiries: Inquiries,
    /// Who ordered that a group begins; taken while it is looked for one.
    foundings: Option<mpsc::Receiver<FoundingAnswer>>,
    stop: watch::Receiver<bool>,
}

/// Told what came of it.
type FoundingAnswer = oneshot::Sender<Result<ClusterInitResult>>;

impl ClusterPart {
    /// Begins to take part, if the settings say so. What nobody could go on with is an error; else it goes on by itself, also where the others
    /// can't be reached yet.
    pub(crate) fn start(
        calls: &Arc<Calls>,
        config: &Config,
        listener: std::net::TcpListener,
        clients: SocketAddr,
        sessions: SessionDoor,
    ) -> Result<ClusterPart> {
        let cluster = &config.cluster;
        crate::calls::make_private(&config.storage.data_dir);
        let identity = MemberIdentity::open(&config.storage.data_dir, cluster)?;
        let failed = |error: std::io::Error| {
            Error::new(ErrorCode::InternalError, format!("can't take part in a group: {error}"))
        };
        let address = listener.local_addr().map_err(failed)?;
        let facts = join::facts(config, &identity, address, clients)?;
        let tls = tls::of_peers(cluster, calls.metrics())?;
        let named = identity.named(&facts.name);
        let local = Arc::new(PeerNode::new(named, identity.database, tls));
        if cluster.level_max > 0 {
            local.know_up_to(cluster.level_max);
        }
        let facts = MemberNode { levels: local.levels(), ..facts };
        let location = Location::directory(config.storage.data_dir.clone());
        let desk = Arc::new(PeerDesk::new(local.clone(), location.clone()));
        desk.hand_sessions_to(sessions);
        desk.greet_on(tokio::runtime::Handle::current());
        let (stop, stopped) = watch::channel(false);
        let raft: Arc<OnceLock<Arc<RaftNode>>> = Arc::default();
        calls.node().set(NodeStanding {
            role: NodeRole::Follower,
            node: identity.node,
            name: facts.name.clone(),
            not_ready: Some(NotReady {
                status: "joining",
                reason: "the node looks for the others of its group".to_owned(),
            }),
            ..NodeStanding::default()
        });
        let inquiries = Inquiries::new(local.clone());
        let (founding, foundings) = mpsc::channel(1);
        calls.be_driven_by(Arc::new(GroupOrders {
            calls: calls.clone(),
            cluster: cluster.name.clone(),
            own: facts.clone(),
            raft: raft.clone(),
            inquiries: inquiries.clone(),
            founding,
        }));
        let relay = || Arc::new(Relay::new(calls.clone(), local.clone()));
        let relay = cluster.relay_plain.then(relay);
        let setup = Setup {
            calls: calls.clone(),
            config: config.clone(),
            location,
            identity,
            facts,
            local,
            desk,
            raft: raft.clone(),
            inquiries,
            foundings: Some(foundings),
            stop: stopped,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let run = move || runtime.block_on(run(setup, listener));
        let thread = std::thread::Builder::new().name("rstmdb-raft".to_owned()).spawn(run);
        let thread = Some(thread.map_err(failed)?);
        Ok(ClusterPart { calls: calls.clone(), raft, relay, stop, thread, address })
    }

    /// Where other members connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to who leads, where sessions are passed on.
    pub(crate) fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.clone()
    }

    /// Has another node lead, if this one does.
    pub(crate) async fn resign(&self) {
        let Some(raft) = self.raft.get().filter(|raft| raft.state().is_leading) else { return };
        match tokio::time::timeout(RESIGN, raft.transfer(None)).await {
            Ok(Ok(_)) => tracing::info!("another node leads"),
            Ok(Err(error)) => tracing::info!("no other node leads: {}", error.message()),
            Err(_) => tracing::warn!("no other node came to lead in time"),
        }
    }

    /// Takes part no more, and closes the database.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        let thread = self.thread.take();
        let joined = tokio::task::spawn_blocking(move || thread.map(std::thread::JoinHandle::join));
        if !matches!(joined.await, Ok(Some(Ok(())))) {
            tracing::error!("the thread of the group ended with a panic");
        }
        self.calls.close().await
    }
}

async fn run(setup: Setup, listener: std::net::TcpListener) {
    let mut stop = setup.stop.clone();
    let (desk, raft) = (setup.desk.clone(), setup.raft.clone());
    let listening = match TcpListener::from_std(listener) {
        Ok(listener) => tokio::spawn(desk.clone().listen(listener)),
        Err(error) => return tracing::error!("can't listen to other members: {error}"),
    };
    let renew = tls::renew(
        setup.config.cluster.clone(),
        setup.local.clone(),
        setup.calls.metrics().clone(),
    );
    tokio::select! {
        () = part::take_part(setup) => {}
        () = renew => {}
        _ = stop.wait_for(|is_over| *is_over) => {}
    }
    desk.takes_part(None);
    listening.abort();
    if let Some(raft) = raft.get()
        && let Err(error) = raft.stop().await
    {
        tracing::warn!("{}", error.message());
    }
}
