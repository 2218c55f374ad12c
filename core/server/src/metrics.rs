//! Counters, gauges and histograms in the text format of Prometheus.
//!
//! Names, types and labels are those that existing dashboards ask for, with more histograms beside
//! them. Series whose labels are known are there at zero from the start: a rate has no first value otherwise.
//! Counting costs atomic additions; a connection that answers in batches counts in its [`Recorder`] and adds
//! up once per batch. What the engine knows is asked for at a scrape.

mod figures;

pub use figures::EngineFigures;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::local::LocalHistogram;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use rstmdb_protocol::WireCommand;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use self::figures::FromEngine;
use crate::live::Live;

/// The bounds of the request histogram: the nine that dashboards know, and finer and coarser ones.
const REQUEST_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

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
    pub requests: IntCounter,
    /// From the request's last byte to its answer, in seconds.
    pub duration: Histogram,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections accepted.
    pub connections_total: IntCounter,
    /// Connections open now.
    pub connections_active: IntGauge,
    /// Syncs of the log, in seconds.
    pub sync: Histogram,
    /// How long answers waited for the commit of what they tell, in seconds.
    pub commit_wait: Histogram,
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
}

/// How far each open watch has come. Only the slowest is shown: watches have no names that a series could go by.
#[derive(Debug)]
struct Watches {
    lag: IntGauge,
    numbers: AtomicU64,
    places: Mutex<BTreeMap<u64, Arc<AtomicU64>>>,
}

/// The place of one open watch, as the metrics see it; it is forgotten when this goes.
#[derive(Debug)]
pub(crate) struct WatchPlace {
    metrics: Arc<Metrics>,
    number: u64,
    next: Arc<AtomicU64>,
}

impl WatchPlace {
    /// The next offset that the watch looks at.
    pub(crate) fn set(&self, next: Offset) {
        self.next.store(next, Ordering::Relaxed);
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let places = &self.metrics.watches.places;
        places.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Watches {
    fn update(&self, latest: Offset) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = places.values().map(|next| next.load(Ordering::Relaxed)).min();
        let behind = slowest.map_or(0, |next| (latest + 1).saturating_sub(next));
        self.lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }
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
        registered.map_err(|error| {
            Error::new(ErrorCode::InternalError, format!("a metric can't be registered: {error}"))
        })
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

    fn times(&self, name: &str, help: &str) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(REQUEST_BUCKETS.to_vec());
        self.put(Histogram::with_opts(options))
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
        replication(&register)?;
        let rejections = register.counters(
            "rstmdb_connections_rejected_total",
            "Connections refused before their first request",
            "reason",
        )?;
        let requests = register.counters(
            "rstmdb_requests_total",
            "Requests, elements of batches among them",
            "operation",
        )?;
        let durations = HistogramOpts::new(
            "rstmdb_request_duration_seconds",
            "From a request's last byte to its answer",
        );
        let durations = durations.buckets(REQUEST_BUCKETS.to_vec());
        let durations = register.put(HistogramVec::new(durations, &["operation"]))?;
        let of_operation = |name: &str| OperationMetrics {
            requests: requests.with_label_values(&[name]),
            duration: durations.with_label_values(&[name]),
        };
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
            operations: WireCommand::all()
                .map(|command| of_operation(command.wire_name()))
                .collect(),
            unknown: of_operation("UNKNOWN"),
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
            registry,
        };
        metrics.config_was_read(true);
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
            self.certificate_ends(end);
        }
    }

    /// When the certificate ends that is presented, in seconds since 1970.
    pub fn certificate_ends(&self, end: u64) {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        self.certificate_end.with_label_values(&["rcp"]).set(end);
    }

    /// A watch that begins at an offset.
    pub(crate) fn watch_begins(self: &Arc<Metrics>, next: Offset) -> WatchPlace {
        let number = self.watches.numbers.fetch_add(1, Ordering::Relaxed);
        let next = Arc::new(AtomicU64::new(next));
        let mut places = self.watches.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(number, next.clone());
        WatchPlace { metrics: self.clone(), number, next }
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

/// What dashboards ask a server for that replicates nothing: zeros, and no series per replica.
fn replication(register: &Register<'_>) -> Result<()> {
    register.gauge("rstmdb_replication_lag_entries", "Changes this replica is behind")?;
    register.gauge("rstmdb_replication_lag_seconds", "Time this replica is behind")?;
    register.gauge("rstmdb_replication_connected_replicas", "Replicas connected")?;
    for (name, help) in [
        ("rstmdb_replication_entries_sent_total", "Changes sent to replicas"),
        ("rstmdb_replication_sync_timeouts_total", "Writes that replicas did not confirm in time"),
        ("rstmdb_replication_slow_replica_disconnects_total", "Replicas dropped as too slow"),
    ] {
        register.counter(name, help)?;
    }
    for (name, help) in [
        ("rstmdb_replication_replica_lag_entries", "Changes a replica is behind"),
        ("rstmdb_replication_replica_last_acked_sequence", "The last change a replica has"),
    ] {
        register.gauges(name, help, "replica_id")?;
    }
    Ok(())
}

/// Counts the requests of one connection without touching what others count; [`Recorder::flush`]
/// adds up, and so does dropping it.
#[derive(Debug)]
pub struct Recorder {
    metrics: Arc<Metrics>,
    operations: Vec<Option<Counted>>,
    /// The operations that have something to add.
    touched: Vec<usize>,
    commit_wait: LocalHistogram,
}

#[derive(Debug)]
struct Counted {
    requests: u64,
    duration: LocalHistogram,
}

impl Recorder {
    /// Counts for these metrics.
    pub fn new(metrics: Arc<Metrics>) -> Recorder {
        let commit_wait = metrics.commit_wait.local();
        Recorder { metrics, operations: Vec::new(), touched: Vec::new(), commit_wait }
    }

    /// The metrics counted for.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Counts a request of the command with this number. An element of a batch has no duration.
    pub fn request(&mut self, command: usize, duration: Option<Duration>) {
        let command = command.min(WireCommand::COUNT);
        if self.operations.len() <= command {
            self.operations.resize_with(command + 1, || None);
        }
        let Some(place) = self.operations.get_mut(command) else { return };
        let counted = place.get_or_insert_with(|| Counted {
            requests: 0,
            duration: self.metrics.request(command).duration.local(),
        });
        if counted.requests == 0 {
            self.touched.push(command);
        }
        counted.requests += 1;
        if let Some(duration) = duration {
            counted.duration.observe(duration.as_secs_f64());
        }
    }

    /// Counts how long an answer waited for its commit.
    pub fn commit_wait(&mut self, duration: Duration) {
        self.commit_wait.observe(duration.as_secs_f64());
    }

    /// Adds up.
    pub fn flush(&mut self) {
        for command in self.touched.drain(..) {
            if let Some(Some(counted)) = self.operations.get_mut(command) {
                self.metrics
                    .request(command)
                    .requests
                    .inc_by(std::mem::take(&mut counted.requests));
                counted.duration.flush();
            }
        }
        self.commit_wait.flush();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
