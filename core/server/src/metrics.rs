//! Counters, gauges and histograms in the text format of Prometheus.
//!
//! Names, types and labels are those that existing dashboards ask for, with more histograms beside
//! them. Series whose labels are known are there at zero from the start: a rate has no first value otherwise.
//! Counting costs atomic additions; a connection that answers in batches counts in its [`Recorder`] and adds
//! up once per batch. What the engine knows is asked for at a scrape.

mod figures;
mod node;
mod times;

pub use figures::EngineFigures;
pub use times::{Requests, Times};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use rstmdb_protocol::WireCommand;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use self::figures::FromEngine;
use self::node::OfNode;
use crate::live::Live;
use crate::node::NodeStanding;

/// So much is recorded before it is added up.
const RECORDED_MAX: usize = 32;

/// Why a connection was refused before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// `network.max_connections` are open.
    Connections,
    /// `network.max_connections_per_address` are open from there.
    ConnectionsPerAddress,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The handshake, or the authentication, took longer than `network.handshake_timeout_secs`.
    HandshakeTimeout,
}

/// What a subscription follows.
const SUBSCRIPTION_TYPES: [&str; 2] = ["instance", "all"];

/// The label of each reason, in the order above.
const REJECTIONS: [&str; 4] =
    ["max_connections", "max_connections_per_address", "tls_handshake", "handshake_timeout"];

/// Why the log takes no writes, as errors say it; others are counted as the last.
const REFUSED_WRITES: [&str; 6] = [
    reason::DISK_FULL,
    reason::OUTCOME_UNKNOWN,
    reason::WRITES_STOPPED,
    reason::WRITE_FAILED,
    reason::REOPENING,
    "other",
];

/// The figures of one operation.
#[derive(Debug)]
pub struct OperationMetrics {
    /// Requests, elements of batches among them.
    pub requests: Arc<Requests>,
    /// From the request's last byte to its answer.
    pub duration: Arc<Times>,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections accepted.
    pub connections_total: IntCounter,
    /// Connections open now.
    pub connections_active: IntGauge,
    /// Syncs of the log.
    pub sync: Arc<Times>,
    /// How long answers waited for the commit of what they tell.
    pub commit_wait: Arc<Times>,
    rejections: [IntCounter; 4],
    operations: Vec<OperationMetrics>,
    unknown: OperationMetrics,
    errors: Vec<IntCounter>,
    unknown_error: IntCounter,
    refused_writes: [IntCounter; 6],
    subscriptions: [IntGauge; 2],
    events: [IntCounter; 2],
    tokens: IntCounterVec,
    certificate_end: IntGaugeVec,
    config_is_good: IntGauge,
    config_read_at: IntGauge,
    watches: Watches,
    engine: Mutex<FromEngine>,
    node: OfNode,
}

/// How many changes a watch has not looked at, of a log whose last one is this.
type Behind = Box<dyn Fn(Offset) -> u64 + Send>;

/// How far each open watch has come. Only the slowest is shown: watches have no names that a series could go by.
struct Watches {
    lag: IntGauge,
    numbers: AtomicU64,
    places: Mutex<BTreeMap<u64, Behind>>,
}

/// The place of one open watch, as the metrics see it; it is forgotten when this goes.
#[derive(Debug)]
pub(crate) struct WatchPlace {
    metrics: Arc<Metrics>,
    number: u64,
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let places = &self.metrics.watches.places;
        places.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watches({} behind)", self.lag.get())
    }
}

impl Watches {
    fn update(&self, latest: Offset) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = places.values().map(|behind| behind(latest)).max().unwrap_or(0);
        self.lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }
}

fn unregistered(error: prometheus::Error) -> Error {
    Error::new(ErrorCode::InternalError, format!("a metric can't be registered: {error}"))
}

/// Registers metrics under their names.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn put<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<C>,
    ) -> Result<C> {
        let registered = metric.and_then(|metric| {
            self.0.register(Box::new(metric.clone()))?;
            Ok(metric)
        });
        registered.map_err(unregistered)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.put(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.put(IntGauge::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec> {
        self.put(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec> {
        self.put(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    fn family(
        &self,
        family: prometheus::Result<impl prometheus::core::Collector + 'static>,
    ) -> Result<()> {
        let registered = family.and_then(|family| self.0.register(Box::new(family)));
        registered.map_err(unregistered)
    }

    fn times(&self, name: &str, help: &str) -> Result<Arc<Times>> {
        let times = Arc::<Times>::default();
        self.family(times::of_times((name, help), None, vec![(String::new(), times.clone())]))?;
        Ok(times)
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Result<Metrics> {
        let registry = Registry::new();
        let register = Register(&registry);
        #[cfg(target_os = "linux")]
        register_process(&registry)?;
        let build =
            register.gauges("rstmdb_build_info", "1, labelled with the version", "version")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let rejections = register.counters(
            "rstmdb_connections_rejected_total",
            "Connections refused before their first request",
            "reason",
        )?;
        let of_operation = || -> Result<OperationMetrics> {
            let duration = Arc::<Times>::default();
            let requests = Arc::new(Requests::new(&duration).map_err(unregistered)?);
            Ok(OperationMetrics { requests, duration })
        };
        let operations: Vec<_> =
            WireCommand::all().map(|_| of_operation()).collect::<Result<_>>()?;
        let unknown = of_operation()?;
        let names = WireCommand::all().map(WireCommand::wire_name).chain(["UNKNOWN"]);
        let all = names.map(str::to_owned).zip(operations.iter().chain([&unknown]));
        let all: Vec<_> = all.collect();
        register.family(times::of_requests(
            ("rstmdb_requests_total", "Requests, elements of batches among them"),
            "operation",
            all.iter().map(|(name, of)| (name.clone(), of.requests.clone())).collect(),
        ))?;
        register.family(times::of_times(
            ("rstmdb_request_duration_seconds", "From a request's last byte to its answer"),
            Some("operation"),
            all.into_iter().map(|(name, of)| (name, of.duration.clone())).collect(),
        ))?;
        let errors = register.counters("rstmdb_errors_total", "Error answers", "code")?;
        let refused_writes = register.counters(
            "rstmdb_writes_refused_total",
            "Answers that the log took no write, or may not have taken it",
            "reason",
        )?;
        let subscriptions =
            register.gauges("rstmdb_subscriptions_active", "Subscriptions open now", "type")?;
        let events = register.counters(
            "rstmdb_events_forwarded_total",
            "Events sent to subscribers",
            "type",
        )?;
        let config_is_good = register.gauge(
            "rstmdb_config_last_reload_successful",
            "1 when the configuration could be used the last time that it was read",
        )?;
        let config_read_at = register.gauge(
            "rstmdb_config_last_reload_success_timestamp_seconds",
            "When a configuration was last read that could be used",
        )?;
        let watch_lag = register
            .gauge("rstmdb_watch_lag_entries", "How far the slowest subscription is behind")?;
        let metrics = Metrics {
            connections_total: register
                .counter("rstmdb_connections_total", "Connections accepted")?,
            connections_active: register
                .gauge("rstmdb_connections_active", "Connections open now")?,
            sync: register.times("rstmdb_wal_sync_duration_seconds", "Syncs of the log")?,
            commit_wait: register.times(
                "rstmdb_commit_wait_duration_seconds",
                "How long answers waited for the commit of what they tell",
            )?,
            rejections: REJECTIONS.map(|reason| rejections.with_label_values(&[reason])),
            operations,
            unknown,
            errors: ErrorCode::ALL
                .iter()
                .map(|code| errors.with_label_values(&[code.as_str()]))
                .collect(),
            unknown_error: errors.with_label_values(&["UNKNOWN"]),
            refused_writes: REFUSED_WRITES
                .map(|reason| refused_writes.with_label_values(&[reason])),
            subscriptions: SUBSCRIPTION_TYPES.map(|kind| subscriptions.with_label_values(&[kind])),
            events: SUBSCRIPTION_TYPES.map(|kind| events.with_label_values(&[kind])),
            tokens: register.counters(
                "rstmdb_token_requests_total",
                "Requests of connections that authenticated, by the name of their token",
                "token",
            )?,
            certificate_end: register.gauges(
                "rstmdb_tls_certificate_not_after_timestamp_seconds",
                "When the certificate ends that is presented, or the first of its chain",
                "listener",
            )?,
            config_is_good,
            config_read_at,
            watches: Watches {
                lag: watch_lag,
                numbers: AtomicU64::new(0),
                places: Mutex::default(),
            },
            engine: Mutex::new(FromEngine::new(&register)?),
            node: OfNode::new(&register)?,
            registry,
        };
        metrics.config_was_read(true);
        metrics.show_node(&NodeStanding::default(), 0);
        Ok(metrics)
    }

    /// The figures of the command with this number, as `WireCommand::index` gives it.
    pub fn request(&self, command: usize) -> &OperationMetrics {
        self.operations.get(command).unwrap_or(&self.unknown)
    }

    /// Error answers with this code.
    pub fn error(&self, code: ErrorCode) -> &IntCounter {
        // The codes are numbered from 1 without gaps; a test of theirs says so.
        let place = self.errors.get((code as usize).wrapping_sub(1));
        place.unwrap_or(&self.unknown_error)
    }

    /// Answers that the log took no write, for this reason of an error.
    pub fn refused_write(&self, reason: &str) -> &IntCounter {
        let [.., other] = &self.refused_writes;
        let place = REFUSED_WRITES.iter().position(|known| *known == reason);
        place.and_then(|place| self.refused_writes.get(place)).unwrap_or(other)
    }

    /// The configuration was read again, and could be used or not.
    pub fn config_was_read(&self, is_good: bool) {
        self.config_is_good.set(i64::from(is_good));
        if is_good {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.config_read_at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Shows what other settings have to show: the tokens, and the end of the certificate.
    pub(crate) fn show_settings(&self, live: &Live) {
        for name in live.tokens.names() {
            self.tokens.with_label_values(&[name]);
        }
        if let Some(end) = live.certificate_end {
            self.certificate_ends("rcp", end);
        }
    }

    /// When the certificate ends that a listener presents, in seconds since 1970.
    pub fn certificate_ends(&self, listener: &str, end: u64) {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        self.certificate_end.with_label_values(&[listener]).set(end);
    }

    /// Shows what this server is to others, and the last change that its readers see.
    pub fn show_node(&self, node: &NodeStanding, applied: Offset) {
        self.node.update(node, applied);
    }

    /// Sessions that were carried to the node that leads.
    pub(crate) fn passed_on(&self) -> &IntCounter {
        &self.node.passed_on
    }

    /// Writes that replicas did not confirm in time.
    pub fn unconfirmed(&self) -> &IntCounter {
        &self.node.timeouts
    }

    /// A watch that begins.
    pub(crate) fn watch_begins(
        self: &Arc<Metrics>,
        behind: impl Fn(Offset) -> u64 + Send + 'static,
    ) -> WatchPlace {
        let number = self.watches.numbers.fetch_add(1, Ordering::Relaxed);
        let mut places = self.watches.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(number, Box::new(behind));
        WatchPlace { metrics: self.clone(), number }
    }

    /// Connections refused for this reason.
    pub fn rejected(&self, reason: Rejection) -> &IntCounter {
        let [connections, address, tls, time] = &self.rejections;
        match reason {
            Rejection::Connections => connections,
            Rejection::ConnectionsPerAddress => address,
            Rejection::TlsHandshake => tls,
            Rejection::HandshakeTimeout => time,
        }
    }

    /// Subscriptions open now: to all instances, or to one.
    pub fn subscriptions(&self, all: bool) -> &IntGauge {
        let [instance, every] = &self.subscriptions;
        if all { every } else { instance }
    }

    /// Events sent to subscribers: of all instances, or of one.
    pub fn events_forwarded(&self, all: bool) -> &IntCounter {
        let [instance, every] = &self.events;
        if all { every } else { instance }
    }

    /// Requests of connections that presented the token of this name. Looked up once per
    /// connection; counting is cheap then.
    pub fn token_requests(&self, name: &str) -> IntCounter {
        self.tokens.with_label_values(&[name])
    }

    /// Everything as text, version 0.0.4.
    pub fn render(&self, figures: Option<&EngineFigures>) -> Result<String> {
        // Held to the end, so that no scrape sees another one's half.
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(figures) = figures {
            engine.update(figures);
            self.watches.update(figures.wal.latest_offset);
        }
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        let internal = |error: &dyn std::fmt::Display| {
            Error::new(ErrorCode::InternalError, format!("the metrics can't be written: {error}"))
        };
        encoded.map_err(|error| internal(&error))?;
        String::from_utf8(text).map_err(|error| internal(&error))
    }
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) -> Result<()> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).map_err(|error| {
        Error::new(ErrorCode::InternalError, format!("a metric can't be registered: {error}"))
    })
}

/// Counts the requests of one connection; [`Recorder::flush`] shows them, and so does dropping it.
#[derive(Debug)]
pub struct Recorder {
    metrics: Arc<Metrics>,
    requests: Vec<(usize, Option<Duration>)>,
    waits: Vec<Duration>,
}

impl Recorder {
    /// Counts for these metrics.
    pub fn new(metrics: Arc<Metrics>) -> Recorder {
        Recorder { metrics, requests: Vec::new(), waits: Vec::new() }
    }

    /// The metrics counted for.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Counts a request of the command with this number. An element of a batch has no duration.
    pub fn request(&mut self, command: usize, duration: Option<Duration>) {
        if self.requests.len() >= RECORDED_MAX {
            self.flush();
        }
        self.requests.push((command, duration));
    }

    /// Counts how long an answer waited for its commit.
    pub fn commit_wait(&mut self, duration: Duration) {
        if self.waits.len() >= RECORDED_MAX {
            self.flush();
        }
        self.waits.push(duration);
    }

    /// Adds up.
    pub fn flush(&mut self) {
        for (command, duration) in self.requests.drain(..) {
            let of = self.metrics.request(command);
            match duration {
                Some(duration) => of.duration.record(duration),
                None => of.requests.inc(),
            }
        }
        self.waits.drain(..).for_each(|wait| self.metrics.commit_wait.record(wait));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
