//! The HTTP endpoint: metrics and health, plain HTTP/1.1 without authentication.
//!
//! `/health/live` answers as long as the process does; `/health/ready` says whether a client would be
//! served, and if not, why. Connections, their headers and their age are bounded.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rstmdb_engine::Engine;
use rstmdb_types::{Error, InfoRequest, InfoResult, Result, WalStatsRequest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::metrics::{EngineFigures, Metrics};

/// The most open connections; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// The time for a request's headers, and for the next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The longest life of a connection: a client that takes nothing does not hold a place for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// How long the engine may take to say how it is.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an accept that failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the endpoint tells about.
#[derive(Debug)]
pub struct HttpState {
    metrics: Arc<Metrics>,
    engine: OnceLock<Arc<Engine>>,
    stopping: AtomicBool,
}

impl HttpState {
    /// A server that is starting.
    pub fn new(metrics: Arc<Metrics>) -> HttpState {
        HttpState { metrics, engine: OnceLock::new(), stopping: AtomicBool::new(false) }
    }

    /// From now on it is ready, as far as the engine is.
    pub fn started(&self, engine: Arc<Engine>) {
        // Called once; a second engine would be a bug that changes nothing here.
        let _ = self.engine.set(engine);
    }

    /// From now on it is stopping.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why no client would be served now, as a word and a sentence; None when one would.
    async fn obstacle(&self) -> Option<(&'static str, String)> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some(("stopping", "the server is stopping".to_owned()));
        }
        let Some(engine) = self.engine.get() else {
            return Some(("starting", "the server is starting".to_owned()));
        };
        match info(engine).await {
            Err(error) => Some(("unhealthy", error.message().to_owned())),
            Ok(info) if !info.writable || info.health != "ok" => {
                Some(("unhealthy", info.health.to_string()))
            }
            Ok(_) => None,
        }
    }

    async fn figures(&self) -> Option<EngineFigures> {
        let engine = self.engine.get()?;
        let info = info(engine).await.ok()?;
        let wal = within(engine.wal_stats(WalStatsRequest {})).await.ok()?;
        Some(EngineFigures {
            instances: info.instances,
            machines: info.machines,
            writable: info.writable,
            wal,
        })
    }
}

async fn info(engine: &Engine) -> Result<InfoResult> {
    within(engine.info(InfoRequest {})).await
}

/// A result of the engine, or an error when its disk keeps it waiting.
async fn within<T>(result: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ENGINE_TIMEOUT, result).await.unwrap_or_else(|_| {
        Err(Error::new(
            rstmdb_types::ErrorCode::WalIoError,
            "the log was not synced within 5 seconds; look at the disk",
        ))
    })
}

/// Answers until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    state: Arc<HttpState>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        while connections.try_join_next().is_some() {}
        if let Some((stream, place)) = accepted {
            connections.spawn(connection(stream, place, state.clone()));
        }
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!("a metrics connection was not accepted: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, place: OwnedSemaphorePermit, state: Arc<HttpState>) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request.uri().path(), &state).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME, serving).await {
        tracing::debug!("a metrics connection ended: {error}");
    }
    drop(place);
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const INDEX: &str = "<!doctype html>\n<title>rstmdb</title>\n<h1>rstmdb</h1>\n\
    <p><a href=\"/metrics\">metrics</a>, <a href=\"/health/ready\">health</a></p>\n";

/// The answer to a path; hyper leaves the body out when the method is HEAD.
async fn answer(path: &str, state: &HttpState) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => match state.metrics.render(state.figures().await.as_ref()) {
            Ok(text) => respond(StatusCode::OK, METRICS, text),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        "/health" | "/healthz" | "/health/live" => respond(StatusCode::OK, TEXT, "OK".to_owned()),
        "/health/ready" => ready(state).await,
        "/" => respond(StatusCode::OK, HTML, INDEX.to_owned()),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "not found".to_owned()),
    }
}

async fn ready(state: &HttpState) -> Response<Full<Bytes>> {
    let (status, body) = match state.obstacle().await {
        None => (StatusCode::OK, serde_json::json!({ "status": "ready" })),
        Some((status, reason)) => {
            let body = serde_json::json!({ "status": status, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
    };
    respond(status, JSON, body.to_string())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
