//! The listener: holds connections to their number and encrypts them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb_cluster::net::PassedOn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Rcp;
use super::connection::{converse, serve};
use super::conversation::Conversation;
use crate::accept::{accept, ended, report};
use crate::cluster::relay::{Passed, leads};
use crate::config::NetworkConfig;
use crate::metrics::{Metrics, Rejection};

/// Open connections, in all and per address.
#[derive(Debug, Default)]
struct ConnectionCounts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection; dropping it counts it out.
struct CountedConnection {
    counts: Arc<Mutex<ConnectionCounts>>,
    metrics: Arc<Metrics>,
    address: IpAddr,
}

impl CountedConnection {
    fn take(
        counts: &Arc<Mutex<ConnectionCounts>>,
        metrics: &Arc<Metrics>,
        address: IpAddr,
        network: &NetworkConfig,
        connections_max: usize,
    ) -> Result<CountedConnection, Rejection> {
        let fits = |count: usize, limit: usize| limit == 0 || count < limit;
        let mut open = counts.lock();
        if open.all >= connections_max || !fits(open.all, network.max_connections) {
            return Err(Rejection::Connections);
        }
        let here = open.by_address.entry(address).or_default();
        if !fits(*here, network.max_connections_per_address) {
            return Err(Rejection::ConnectionsPerAddress);
        }
        *here += 1;
        open.all += 1;
        metrics.connections_total.inc();
        metrics.connections_active.inc();
        Ok(CountedConnection { counts: counts.clone(), metrics: metrics.clone(), address })
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut open = self.counts.lock();
        open.all -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
        self.metrics.connections_active.dec();
    }
}

/// Serves connections until the server stops, and those of clients that other members pass on; then waits until all of
/// them have ended.
pub(crate) async fn listen(listener: TcpListener, rcp: Arc<Rcp>, mut passed: Passed) {
    let counts = Arc::new(Mutex::new(ConnectionCounts::default()));
    let metrics = rcp.calls.metrics();
    let admit = |address: SocketAddr| {
        let live = rcp.calls.settings().load();
        let (address_ip, most) = (address.ip(), rcp.connections_max);
        match CountedConnection::take(&counts, metrics, address_ip, &live.network, most) {
            Ok(place) => Some(place),
            Err(rejection) => {
                tracing::debug!(%address, ?rejection, "connection refused");
                metrics.rejected(rejection).inc();
                None
            }
        }
    };
    let serve = |stream, address: SocketAddr, ()| {
        admit(address).map(|place| run(rcp.clone(), stream, address, place))
    };
    let take_passed = async {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = rcp.shutdown.begun() => break connections,
                Some(passed) = passed.recv() => {
                    if let Some(place) = admit(passed.session.address) {
                        connections.spawn(serve_passed(rcp.clone(), passed, place));
                    }
                }
                Some(one) = connections.join_next(), if !connections.is_empty() => report(one),
                else => std::future::pending().await,
            }
        }
    };
    let direct = accept(listener, rcp.shutdown.begun(), || std::future::ready(()), serve);
    let (direct, passed_on) = tokio::join!(direct, take_passed);
    tokio::join!(ended(direct), ended(passed_on));
}

/// Serves a client that another member passes on.
async fn serve_passed(rcp: Arc<Rcp>, passed: PassedOn, place: CountedConnection) {
    let PassedOn { session, stream } = passed;
    if leads(&rcp.calls).await {
        let address = session.address;
        tracing::debug!(%address, "a session is passed on to this node");
        let core = Conversation::passed_on(&rcp, &session, Instant::now());
        converse(rcp, stream, core).await;
    }
    drop(place);
}

async fn run(rcp: Arc<Rcp>, stream: TcpStream, address: SocketAddr, place: CountedConnection) {
    // Without it, an answer could wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let (tls, handshake_timeout) = {
        let live = rcp.calls.settings().load();
        (live.tls.clone(), live.network.handshake_timeout)
    };
    tracing::debug!(%address, "connection accepted");
    match tls {
        None => {
            serve(rcp, stream, address).await;
        }
        Some(config) => {
            let handshake = async {
                // Who connects and goes without a word, as probes of a port do, fails at nothing.
                let is_silent = !matches!(stream.peek(&mut [0]).await, Ok(1..));
                if is_silent {
                    return Ok(None);
                }
                TlsAcceptor::from(config).accept(stream).await.map(Some)
            };
            let timeout =
                if handshake_timeout.is_zero() { Duration::MAX } else { handshake_timeout };
            let stopping = rcp.shutdown.begun();
            // What encryption takes is not in connections that have none.
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(timeout, Box::pin(handshake)) => accepted,
                () = stopping => return,
            };
            match accepted {
                Ok(Ok(None)) => tracing::debug!(%address, "closed before a TLS handshake"),
                Ok(Ok(Some(stream))) => {
                    Box::pin(serve(rcp, stream, address)).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%address, "TLS handshake: {error}");
                    rcp.calls.metrics().rejected(Rejection::TlsHandshake).inc();
                }
                Err(_) => {
                    tracing::debug!(%address, "TLS handshake took too long");
                    rcp.calls.metrics().rejected(Rejection::HandshakeTimeout).inc();
                }
            }
        }
    }
    drop(place);
}
