//! A running server: what it is made of, how it starts and how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::calls::{Calls, Engine};
use crate::cluster::{ClusterPart, relay};
use crate::condition::{self, Refusal};
use crate::config::{Address, Config, LoadedConfig};
use crate::descriptors::OpenFiles;
use crate::fence;
use crate::health::{self, Health};
use crate::hooks::Hooks;
use crate::live::LiveSettings;
use crate::metrics::Metrics;
use crate::rcp::{self, FrameMemory, Rcp};
use crate::replication;
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;

/// Connections the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// A running server. It stops in good order in [`Server::run_until`].
#[derive(Debug)]
pub struct Server {
    calls: Arc<Calls>,
    health: Arc<Health>,
    shutdown: Shutdown,
    shutdown_timeout: Duration,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    connections: JoinHandle<()>,
    endpoint: Option<JoinHandle<()>>,
    following: Vec<JoinHandle<()>>,
    sessions: Arc<Sessions>,
    refusal: watch::Receiver<Refusal>,
    membership: Option<ClusterPart>,
}

/// What becomes of a start when the address for metrics and health is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetricsAddress {
    /// Somebody chose it: it fails.
    Chosen,
    /// A default must not stand in anybody's way: it goes on without.
    Default,
}

impl Server {
    /// Opens the database and serves it.
    ///
    /// Fails when an address is taken, another process has the database open, or a file can't be used.
    pub async fn start(config: Config) -> Result<Server> {
        Server::launch(config, None, MetricsAddress::Chosen).await
    }

    /// The same, but that an address for metrics which nobody chose may be taken: that is warned about.
    pub async fn start_loaded(loaded: &LoadedConfig) -> Result<Server> {
        let metrics = match loaded.is_chosen("metrics.bind_addr") {
            true => MetricsAddress::Chosen,
            false => MetricsAddress::Default,
        };
        Server::launch(loaded.config.clone(), None, metrics).await
    }

    /// Serves an engine that is open already. The settings of the storage are not looked at.
    pub async fn start_with_engine(engine: Arc<Engine>, config: Config) -> Result<Server> {
        Server::launch(config, Some(engine), MetricsAddress::Chosen).await
    }

    async fn launch(
        config: Config,
        engine: Option<Arc<Engine>>,
        metrics_are: MetricsAddress,
    ) -> Result<Server> {
        config.validate()?;
        let settings = Arc::new(LiveSettings::new(&config)?);
        for remark in &settings.load().remarks {
            tracing::warn!("{remark}");
        }
        let metrics = Arc::new(Metrics::new()?);
        let calls = Arc::new(Calls::new(settings.clone(), metrics));
        let hooks = Hooks::start(&config.hooks);
        calls.node().tell(hooks.clone());
        calls.call_hooks(hooks);
        if config.fence.outside().is_some() {
            calls.node().needs_lease();
        }
        let health = Arc::new(Health::new(calls.clone()));
        let shutdown = Shutdown::default();
        // Taken at once, so that a taken port is known before a long recovery, and not listened on
        // until there is somebody to answer.
        let socket = reserve(&CLIENTS, &config.network.bind_addr).await?;
        let listener = match config.metrics.enabled {
            true => metrics_listener(&config.metrics.bind_addr, metrics_are).await?,
            false => None,
        };
        let metrics_address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let endpoint = listener.map(|listener| {
            tokio::spawn(health::serve(listener, health.clone(), shutdown.ended()))
        });
        let own = socket.local_addr().map_err(no_address)?;
        let (mut membership, mut driven) = (None, None);
        let (handing_over, passed) = relay::passage();
        match engine {
            None if config.cluster.enabled => {
                let peers = &config.cluster.bind_addr;
                let peers = listen(&PEERS, peers, reserve(&PEERS, peers).await?)?;
                let peers = peers.into_std().map_err(no_address)?;
                membership = Some(ClusterPart::start(&calls, &config, peers, own, handing_over)?);
            }
            engine => {
                if let Some(engine) = engine {
                    calls.install(engine);
                }
                driven = replication::start(&calls, &config, own, shutdown.clone()).await?;
            }
        }
        let listener = listen(&CLIENTS, &config.network.bind_addr, socket)?;
        let address = listener.local_addr().map_err(no_address)?;
        let files = OpenFiles::left(health::CONNECTIONS_MAX);
        health.allow_connections(files.health);
        let sessions = Arc::new(Sessions::new(settings.clone()));
        let rcp = Arc::new(Rcp {
            calls: calls.clone(),
            memory: FrameMemory::new(&config.network),
            audiences: Arc::default(),
            sessions: sessions.clone(),
            relay: membership.as_ref().and_then(ClusterPart::relay),
            connections_max: files.clients,
            shutdown: shutdown.clone(),
        });
        let connections = tokio::spawn(rcp::listen(listener, rcp, passed));
        let (told, refusal) = watch::channel(None);
        let mut following = vec![
            tokio::spawn(calls.clone().follow_settings(settings.changes())),
            tokio::spawn(condition::follow(calls.clone(), told)),
            tokio::spawn(fence::hold(config.fence.clone(), calls.clone())),
        ];
        following.extend(driven);
        Ok(Server {
            calls,
            health,
            shutdown,
            shutdown_timeout: config.server.shutdown_timeout,
            address,
            metrics_address,
            connections,
            endpoint,
            following,
            sessions,
            refusal,
            membership,
        })
    }

    /// Where other members of the group connect, when it belongs to one.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.membership.as_ref().map(ClusterPart::address)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are, when they are anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The settings in force; replacing them takes effect at once.
    pub fn settings(&self) -> Arc<LiveSettings> {
        self.calls.settings().clone()
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> Arc<Sessions> {
        self.sessions.clone()
    }

    /// Why writes are refused, none when they are accepted, and each change of that.
    pub fn refusal(&self) -> watch::Receiver<Option<String>> {
        self.refusal.clone()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.calls.metrics()
    }

    /// The door to the database.
    #[doc(hidden)]
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Serves until `stop` is done, then stops: accepts nobody else, answers what was asked, tells
    /// watchers where to resume, and closes the database.
    ///
    /// Requests that are not finished after `server.shutdown_timeout_secs` are given up.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        stop.await;
        self.health.stopping();
        if let Some(membership) = &self.membership {
            membership.resign().await;
        }
        self.shutdown.begin();
        let mut connections = self.connections;
        if tokio::time::timeout(self.shutdown_timeout, &mut connections).await.is_err() {
            tracing::warn!("some requests were not finished in time and are given up");
            connections.abort();
            let _ = connections.await;
        }
        self.following.iter().for_each(JoinHandle::abort);
        let closed = match self.membership {
            Some(membership) => membership.stop().await,
            None => self.calls.close().await,
        };
        self.shutdown.end();
        if let Some(endpoint) = self.endpoint {
            let _ = endpoint.await;
        }
        closed
    }
}

fn no_address(error: std::io::Error) -> Error {
    Error::new(ErrorCode::InternalError, format!("no local address: {error}"))
}

/// An address to listen on, for whoever must choose another one.
struct Place {
    setting: &'static str,
    /// How to choose another one.
    flag: &'static str,
}

const CLIENTS: Place = Place { setting: "network.bind_addr", flag: "--bind HOST:PORT" };
const PEERS: Place =
    Place { setting: "cluster.bind_addr", flag: "--set cluster.bind_addr=HOST:PORT" };
const METRICS: Place =
    Place { setting: "metrics.bind_addr", flag: "--metrics-bind HOST:PORT, or off" };

fn unusable(place: &Place, address: &Address, error: &std::io::Error) -> Error {
    let Place { setting, flag } = place;
    let message = format!(
        "can't listen on {address}: {error}; stop what uses it or choose another address for {setting} ({flag})"
    );
    Error::new(ErrorCode::InternalError, message).with_reason(reason::IO).with("setting", *setting)
}

/// Where metrics and health are asked for; nowhere when a default is taken.
async fn metrics_listener(address: &Address, is: MetricsAddress) -> Result<Option<TcpListener>> {
    let listener = match reserve(&METRICS, address).await {
        Ok(socket) => listen(&METRICS, address, socket),
        Err(error) => Err(error),
    };
    match listener {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is == MetricsAddress::Default => {
            let what = error.message();
            tracing::warn!("metrics and health are nowhere, as nobody chose their address: {what}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Binds to an address without listening.
async fn reserve(place: &Place, address: &Address) -> Result<TcpSocket> {
    let refused = |error: &std::io::Error| unusable(place, address, error);
    let found = tokio::net::lookup_host(address.as_str()).await.map_err(|error| refused(&error))?;
    let mut last = std::io::Error::other("the name has no address");
    for candidate in found {
        let socket = if candidate.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            // A restart need not wait for connections of the last run to time out. On Windows the
            // option would let two servers share the port.
            if cfg!(unix) {
                socket.set_reuseaddr(true)?;
            }
            socket.bind(candidate).map(|()| socket)
        });
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(refused(&last))
}

fn listen(place: &Place, address: &Address, socket: TcpSocket) -> Result<TcpListener> {
    socket.listen(BACKLOG).map_err(|error| unusable(place, address, &error))
}
