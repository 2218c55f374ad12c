//! Accepts connections and holds them to their number.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{Shared, serve};
use crate::config::NetworkConfig;
use crate::metrics::{Metrics, Rejection};

/// A pause after the system refused a connection, so that it can recover.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Open connections, in all and per address.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection; dropping it counts it out.
struct Place {
    counts: Arc<Mutex<Counts>>,
    metrics: Arc<Metrics>,
    address: IpAddr,
}

impl Place {
    fn take(
        counts: &Arc<Mutex<Counts>>,
        metrics: &Arc<Metrics>,
        address: IpAddr,
        network: &NetworkConfig,
    ) -> Result<Place, Rejection> {
        let fits = |count: usize, limit: usize| limit == 0 || count < limit;
        let mut open = counts.lock();
        if !fits(open.all, network.max_connections) {
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
        Ok(Place { counts: counts.clone(), metrics: metrics.clone(), address })
    }
}

impl Drop for Place {
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

/// Accepts connections until the server stops, then waits until all of them have ended.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let mut connections = JoinSet::new();
    let mut stopping = Box::pin(shared.shutdown.begun());
    loop {
        let accepted = tokio::select! {
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
            // Reaps those that ended.
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                let place = {
                    let live = shared.settings.load();
                    Place::take(&counts, &shared.served.metrics, address.ip(), &live.network)
                };
                match place {
                    Ok(place) => {
                        connections.spawn(run(shared.clone(), stream, address, place));
                    }
                    Err(rejection) => {
                        tracing::debug!(%address, ?rejection, "connection refused");
                        shared.served.metrics.rejected(rejection).inc();
                    }
                }
            }
            Err(error) => {
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// A connection that failed concerns no other, but somebody should know.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection failed inside the server: {error}");
    }
}

async fn run(shared: Arc<Shared>, stream: TcpStream, address: SocketAddr, place: Place) {
    // Without it, an answer could wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let (tls, handshake_timeout) = {
        let live = shared.settings.load();
        (live.tls.clone(), live.network.handshake_timeout)
    };
    tracing::debug!(%address, "connection accepted");
    match tls {
        None => {
            serve(&shared, stream, address).await;
        }
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            let timeout =
                if handshake_timeout.is_zero() { Duration::MAX } else { handshake_timeout };
            let stopping = shared.shutdown.begun();
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(timeout, handshake) => accepted,
                () = stopping => return,
            };
            match accepted {
                Ok(Ok(stream)) => {
                    serve(&shared, stream, address).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%address, "TLS handshake: {error}");
                    shared.served.metrics.rejected(Rejection::TlsHandshake).inc();
                }
                Err(_) => {
                    tracing::debug!(%address, "TLS handshake took too long");
                    shared.served.metrics.rejected(Rejection::HandshakeTimeout).inc();
                }
            }
        }
    }
    drop(place);
}
