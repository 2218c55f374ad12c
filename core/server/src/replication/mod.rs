//! This server's part among replicas: it is followed, follows, or does both.
//!
//! [`Replicating`] serves who asks to follow, whatever this server is, and carries out orders. What it is to others it
//! is by its *part*: [`lead`](primary) takes the writes and commits them when as many replicas have them as the settings say,
//! [`follow`](replica) keeps the database that another one writes. [`driver`] goes from one to the other.

mod driver;
mod kept;
mod order;
mod place;
mod primary;
mod replica;
mod seat;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rstmdb_cluster::follow::{NodeIdentity, Source};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, InfoRequest, Outcome, Request, Result};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::calls::{Calls, Later, NodeDriver, NodeStream, make_private};
use crate::config::{Address, Config, Role};
use crate::shutdown::Shutdown;
use kept::PartName;
use order::NodeOrder;
use place::ReplicaPlace;

/// What all of this server's part has in common.
pub(crate) struct Replicating {
    calls: Arc<Calls>,
    place: ReplicaPlace,
    /// Serves who follows; another one with each part.
    source: ArcSwap<Source>,
    /// Grows with each part: who follows begins anew then.
    part: watch::Sender<u64>,
    orders: mpsc::Sender<NodeOrder>,
    shutdown: Shutdown,
}

/// Begins: the database is in service when this returns, unless it has to come from elsewhere first.
pub(crate) async fn start(
    calls: &Arc<Calls>,
    config: &Config,
    address: SocketAddr,
    shutdown: Shutdown,
) -> Result<Option<JoinHandle<()>>> {
    // Whoever brings a database of its own says nothing of a directory.
    if calls.engine().is_none() {
        make_private(&config.storage.data_dir);
    }
    let place = ReplicaPlace::new(config, calls.metrics(), address)?;
    let source = Source::new(place.identity.clone(), place.pace.clone());
    let (orders, ordered) = mpsc::channel(1);
    let replicating = Arc::new(Replicating {
        calls: calls.clone(),
        source: ArcSwap::from_pointee(source),
        part: watch::Sender::new(0),
        orders,
        place,
        shutdown,
    });
    calls.be_driven_by(replicating.clone());
    match config.replication.role {
        Role::Standalone => {
            if calls.engine().is_none() {
                calls.open(config).await?;
            }
            Ok(None)
        }
        // Whoever brings a database of its own drives it.
        Role::Primary | Role::Replica if calls.engine().is_some() => Ok(None),
        Role::Primary | Role::Replica => driver::begin(replicating, ordered).await.map(Some),
    }
}

impl Replicating {
    fn identity(&self) -> &NodeIdentity {
        &self.place.identity
    }

    /// What was ordered holds over restarts.
    fn keep(&self, role: Role, upstream: Option<&str>) {
        kept::keep(&self.place.directory, &self.place.config, PartName::new(role, upstream));
    }

    /// From now on who follows is served by this one; those that are connected come again.
    fn serve_by(&self, source: Source) -> Arc<Source> {
        let source = Arc::new(source);
        self.source.store(source.clone());
        self.part.send_modify(|part| *part += 1);
        source
    }
}

fn unheard() -> Error {
    Error::new(
        ErrorCode::ReplicationError,
        "the order was not carried out; look at REPLICATION_STATUS, and repeat it",
    )
}

impl NodeDriver for Replicating {
    fn may_be_followed(&self) -> Result<()> {
        let unsupported = |what: &str| Err(Error::invalid(reason::UNSUPPORTED, what));
        let (_, info) = self.calls.ask(InfoRequest {});
        match info {
            Ok(info) if info.backend == "memory" => unsupported(
                "a database in memory has no log that could be followed; open one in a directory",
            ),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn serve(&self, stream: Box<dyn NodeStream>, address: SocketAddr) -> Later<()> {
        let (source, engine) = (self.source.load_full(), self.calls.engine());
        let (mut part, stopping) = (self.part.subscribe(), self.shutdown.begun());
        Box::pin(async move {
            let Some(engine) = engine else { return };
            tracing::info!(%address, "a replica follows");
            tokio::select! {
                error = source.serve(&engine, stream) => {
                    tracing::warn!(%address, "a replica follows no longer: {error}");
                }
                _ = part.changed() => {
                    tracing::info!(%address, "a replica is to come again: this server has another part now");
                }
                () = stopping => {}
            }
        })
    }

    fn operate(&self, request: Request) -> Option<Later<Result<Outcome>>> {
        let is_ours = matches!(request, Request::ReplicaPromote(_) | Request::ReplicaFollow(_));
        if self.place.config.role == Role::Standalone || !is_ours {
            // The database has an answer to that.
            return None;
        }
        let (orders, calls) = (self.orders.clone(), self.calls.clone());
        Some(Box::pin(async move {
            match request {
                Request::ReplicaPromote(request) => {
                    request.check()?;
                    if let Some(hooks) = calls.hooks() {
                        hooks.may_be_promoted(&calls.node().standing()).await?;
                    }
                    let (answer, answered) = oneshot::channel();
                    let _ = orders.send(NodeOrder::Promote(request, answer)).await;
                    answered.await.unwrap_or_else(|_| Err(unheard())).map(Outcome::ReplicaPromote)
                }
                Request::ReplicaFollow(request) => {
                    let upstream = request.upstream.as_deref().map(str::parse::<Address>);
                    let upstream = upstream.transpose().map_err(|what| {
                        Error::invalid(reason::INVALID_REQUEST, format!("upstream: {what}"))
                            .with("field", "upstream")
                    })?;
                    let upstream = upstream.map(|address| address.as_str().to_owned());
                    let (answer, answered) = oneshot::channel();
                    let _ = orders.send(NodeOrder::Follow(upstream, answer)).await;
                    answered.await.unwrap_or_else(|_| Err(unheard())).map(Outcome::ReplicaFollow)
                }
                _ => Err(Error::invalid(reason::UNSUPPORTED, "this is no order")),
            }
        }))
    }
}
