//! Metrics and health over plain HTTP/1.1, without authentication.
//!
//! `/health/live` answers as long as the process does; `/health/ready` says whether a client would be
//! served, and if not, why. Connections, their headers and their age are bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rstmdb_types::{
    CountInstancesRequest, Error, ErrorCode, InfoRequest, InfoResult, OperationRequest, Result,
    WalStatsRequest,
};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::accept::accept;
use crate::calls::Calls;
use crate::metrics::EngineFigures;
use crate::node::NodeRole;

/// The most open connections; more wait in the listener's queue.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// The time for a request's headers, and for the next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The longest life of a connection: a client that takes nothing does not hold a place for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// How long the database may take to say how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the endpoint tells about.
#[derive(Debug)]
pub struct Health {
    calls: Arc<Calls>,
    stopping: AtomicBool,
    /// For each connection that may be open.
    places: Arc<Semaphore>,
}

impl Health {
    /// The health of what is behind this door.
    pub fn new(calls: Arc<Calls>) -> Health {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Health { calls, stopping: AtomicBool::new(false), places }
    }

    /// No more connections than this from now on.
    pub(crate) fn allow_connections(&self, most: usize) {
        self.places.forget_permits(CONNECTIONS_MAX.saturating_sub(most));
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
        if let Some(not_ready) = &self.calls.node().standing().not_ready {
            return Some((not_ready.status, not_ready.reason.clone()));
        }
        if !self.calls.is_in_service() {
            return Some(("starting", "the server is starting".to_owned()));
        }
        // One that takes no writes refuses them, as it should.
        let follows = !self.calls.node().standing().role.takes_writes();
        match self.info().await {
            Ok(_) if follows && self.is_followers_refusal() => None,
            Err(error) => Some(("unhealthy", error.message().to_owned())),
            Ok(InfoResult { writable: Some(true), health: Some(health), .. }) if health == "ok" => {
                None
            }
            Ok(info) => Some(("unhealthy", info.health.unwrap_or_default().to_string())),
        }
    }

    /// Whether writes are refused for no other reason than that another node takes them.
    fn is_followers_refusal(&self) -> bool {
        let refusal = self.calls.engine().and_then(|engine| engine.refusal());
        refusal.is_none_or(|error| error.code() == ErrorCode::ReadOnlyMode)
    }

    /// What this node is: `/primary`, `/leader`, `/replica?max_lag=5s`, `/read-only`, with 200 when it is that and ready.
    async fn is_role(&self, path: &str, query: &str) -> (bool, Value) {
        let standing = self.calls.node().standing();
        let obstacle = self.obstacle().await;
        let max_lag = query.split('&').find_map(|pair| pair.strip_prefix("max_lag="));
        let max_lag = max_lag.map(humantime::parse_duration);
        let age = standing.lag.and_then(|lag| lag.age());
        let is_near = match (&max_lag, age) {
            (None, _) => true,
            (Some(Ok(most)), Some(age)) => age <= *most,
            (Some(_), _) => false,
        };
        let is_it = match path {
            "/primary" => standing.role.takes_writes(),
            "/leader" => standing.role == NodeRole::Leader,
            "/replica" => !standing.role.takes_writes() && is_near,
            // Whoever serves reads.
            _ => standing.role.takes_writes() || is_near,
        };
        let mut body = serde_json::Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put("role", standing.role.name().into());
        put("epoch", standing.epoch.into());
        if let Some(age) = age {
            put("lag_ms", u64::try_from(age.as_millis()).unwrap_or(u64::MAX).into());
        }
        if let Some(lag) = standing.lag {
            put("lag_entries", lag.entries.into());
        }
        if let Some(Err(error)) = max_lag {
            put("reason", format!("max_lag: {error}; give a time such as 5s").into());
        }
        let is_ready = obstacle.is_none();
        if let Some((status, reason)) = obstacle {
            put("status", status.into());
            put("reason", reason.into());
        }
        (is_it && is_ready, body.into())
    }

    async fn figures(&self) -> Option<EngineFigures> {
        let info = self.info().await.ok()?;
        let wal = self.ask(WalStatsRequest {}).await.ok()?;
        let counts = self.ask(CountInstancesRequest::default()).await.ok()?.counts;
        let engine = self.calls.engine()?;
        // Asks the file system, which may take its time.
        let condition = tokio::task::spawn_blocking(move || engine.condition()).await.ok()?;
        Some(EngineFigures {
            instances: info.instances.unwrap_or(0),
            machines: info.machines.unwrap_or(0),
            writable: info.writable.unwrap_or(false),
            damaged: self.damage().is_some(),
            clock_steps: self.calls.clock_steps(),
            wal,
            counts,
            free_bytes: condition.free_bytes,
            checkpoint_offset: condition.checkpoint_offset,
            checkpoint_at: condition.checkpoint_at,
            oldest_at: condition.oldest_at,
        })
    }

    /// What was found damaged; clients are served all the same, but for what needs it.
    fn damage(&self) -> Option<Error> {
        self.calls.engine().and_then(|engine| engine.damage())
    }

    async fn info(&self) -> Result<InfoResult> {
        self.ask(InfoRequest {}).await
    }

    /// What the database says, or an error when its disk keeps it waiting.
    async fn ask<R: OperationRequest>(&self, request: R) -> Result<R::Result> {
        let (commit, result) = self.calls.ask(request);
        match tokio::time::timeout(ANSWER_TIMEOUT, commit).await {
            Ok(settled) => settled.and(result),
            Err(_) => Err(Error::new(
                ErrorCode::WalIoError,
                "the log was not synced within 5 seconds; look at the disk",
            )),
        }
    }
}

/// Answers until `shutdown` is done.
pub async fn serve(listener: TcpListener, health: Arc<Health>, shutdown: impl Future<Output = ()>) {
    // The semaphore is never closed.
    let room = || health.places.clone().acquire_owned();
    let serve = |stream, _, place: std::result::Result<_, AcquireError>| {
        Some(connection(stream, place.ok()?, health.clone()))
    };
    accept(listener, shutdown, room, serve).await.shutdown().await;
}

async fn connection(stream: TcpStream, place: OwnedSemaphorePermit, health: Arc<Health>) {
    let service = service_fn(|request: Request<Incoming>| {
        let health = health.clone();
        async move {
            let uri = request.uri();
            Ok::<_, Infallible>(answer(uri.path(), uri.query().unwrap_or_default(), &health).await)
        }
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
async fn answer(path: &str, query: &str, health: &Health) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => {
            let (calls, figures) = (&health.calls, health.figures().await);
            let applied = calls.engine().map_or(0, |engine| engine.position().next - 1);
            calls.metrics().show_node(&calls.node().standing(), applied);
            match calls.metrics().render(figures.as_ref()) {
                Ok(text) => respond(StatusCode::OK, METRICS, text),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
            }
        }
        "/health" | "/healthz" | "/health/live" => respond(StatusCode::OK, TEXT, "OK".to_owned()),
        "/health/ready" => ready(health).await,
        "/primary" | "/leader" | "/replica" | "/read-only" => {
            let (is_it, body) = health.is_role(path, query).await;
            let status = if is_it { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, JSON, body.to_string())
        }
        "/" => respond(StatusCode::OK, HTML, INDEX.to_owned()),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "not found".to_owned()),
    }
}

async fn ready(health: &Health) -> Response<Full<Bytes>> {
    let (status, body) = match health.obstacle().await {
        None => {
            let mut body = serde_json::json!({ "status": "ready" });
            if let (Some(damage), Some(body)) = (health.damage(), body.as_object_mut()) {
                body.insert("damage".to_owned(), damage.message().into());
            }
            let is_degraded = health.calls.node().standing().is_degraded;
            if let (true, Some(body)) = (is_degraded, body.as_object_mut()) {
                let what = "writes go on without replicas that replication.sync_replicas asks for";
                body.insert("degraded".to_owned(), what.into());
            }
            (StatusCode::OK, body)
        }
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
