//! Counters, gauges and histograms in the text format of Prometheus.
//!
//! Names, types and labels are those that existing dashboards ask for, with more histograms beside
//! them. Series with labels appear at first use. Counting costs atomic additions; a connection that
//! answers in batches counts in its [`Recorder`] and adds up once per batch. What the engine knows is
//! asked for at a scrape.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::local::LocalHistogram;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use rstmdb_protocol::WireCommand;
use rstmdb_types::{Error, ErrorCode, Result, WalStatsResult};

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

/// The label of each reason, in the order above.
const REJECTIONS: [&str; 4] =
    ["max_connections", "max_connections_per_address", "tls_handshake", "handshake_timeout"];

/// The figures of one operation.
#[derive(Debug)]
pub struct OperationMetrics {
    /// Requests, elements of batches among them.
    pub requests: IntCounter,
    /// From the request's last byte to its answer, in seconds.
    pub duration: Histogram,
}

/// What the engine is asked for at a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFigures {
    /// Instances that are not deleted.
    pub instances: u64,
    /// Machine versions.
    pub machines: u64,
    /// Whether writes are accepted.
    pub writable: bool,
    /// How often the clock was found to be set or far off.
    pub clock_steps: u64,
    /// The log.
    pub wal: WalStatsResult,
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
    operations: Vec<OnceLock<OperationMetrics>>,
    unknown: OnceLock<OperationMetrics>,
    requests: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    errors_by_code: Vec<OnceLock<IntCounter>>,
    unknown_error: OnceLock<IntCounter>,
    subscriptions: IntGaugeVec,
    subscriptions_by_type: [OnceLock<IntGauge>; 2],
    events: IntCounterVec,
    events_by_type: [OnceLock<IntCounter>; 2],
    tokens: IntCounterVec,
    engine: Mutex<FromEngine>,
}

/// Figures that are copied from the engine when someone asks.
#[derive(Debug)]
struct FromEngine {
    instances: IntGauge,
    machines: IntGauge,
    writable: IntGauge,
    clock_steps: Total,
    entries: IntGauge,
    segments: IntGauge,
    size_bytes: IntGauge,
    bytes_written: Total,
    bytes_read: Total,
    writes: Total,
    reads: Total,
    fsyncs: Total,
}

/// A counter of what an engine counts since it was opened. Another one begins anew.
#[derive(Debug)]
struct Total {
    counter: IntCounter,
    seen: u64,
}

impl Total {
    fn update(&mut self, value: u64) {
        self.counter.inc_by(value.checked_sub(self.seen).unwrap_or(value));
        self.seen = value;
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
        let durations = HistogramOpts::new(
            "rstmdb_request_duration_seconds",
            "From a request's last byte to its answer",
        );
        let durations = durations.buckets(REQUEST_BUCKETS.to_vec());
        Ok(Metrics {
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
            operations: std::iter::repeat_with(OnceLock::new).take(WireCommand::COUNT).collect(),
            unknown: OnceLock::new(),
            requests: register.counters(
                "rstmdb_requests_total",
                "Requests, elements of batches among them",
                "operation",
            )?,
            durations: register.put(HistogramVec::new(durations, &["operation"]))?,
            errors: register.counters("rstmdb_errors_total", "Error answers", "code")?,
            errors_by_code: std::iter::repeat_with(OnceLock::new)
                .take(ErrorCode::ALL.len())
                .collect(),
            unknown_error: OnceLock::new(),
            subscriptions: register.gauges(
                "rstmdb_subscriptions_active",
                "Subscriptions open now",
                "type",
            )?,
            subscriptions_by_type: Default::default(),
            events: register.counters(
                "rstmdb_events_forwarded_total",
                "Events sent to subscribers",
                "type",
            )?,
            events_by_type: Default::default(),
            tokens: register.counters(
                "rstmdb_token_requests_total",
                "Requests of connections that authenticated, by the name of their token",
                "token",
            )?,
            engine: Mutex::new(from_engine(&register)?),
            registry,
        })
    }

    /// The figures of the command with this number, as `WireCommand::index` gives it.
    pub fn request(&self, command: usize) -> &OperationMetrics {
        let place = self.operations.get(command).unwrap_or(&self.unknown);
        place.get_or_init(|| {
            let name = WireCommand::all().nth(command).map_or("UNKNOWN", WireCommand::wire_name);
            OperationMetrics {
                requests: self.requests.with_label_values(&[name]),
                duration: self.durations.with_label_values(&[name]),
            }
        })
    }

    /// Error answers with this code.
    pub fn error(&self, code: ErrorCode) -> &IntCounter {
        // The codes are numbered from 1 without gaps; a test of theirs says so.
        let place = self.errors_by_code.get((code as usize).wrapping_sub(1));
        let place = place.unwrap_or(&self.unknown_error);
        place.get_or_init(|| self.errors.with_label_values(&[code.as_str()]))
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
        let [instance, every] = &self.subscriptions_by_type;
        let place = if all { every } else { instance };
        place.get_or_init(|| self.subscriptions.with_label_values(&[subscription_type(all)]))
    }

    /// Events sent to subscribers: of all instances, or of one.
    pub fn events_forwarded(&self, all: bool) -> &IntCounter {
        let [instance, every] = &self.events_by_type;
        let place = if all { every } else { instance };
        place.get_or_init(|| self.events.with_label_values(&[subscription_type(all)]))
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

fn subscription_type(all: bool) -> &'static str {
    if all { "all" } else { "instance" }
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

fn from_engine(register: &Register<'_>) -> Result<FromEngine> {
    let total = |name, help| register.counter(name, help).map(|counter| Total { counter, seen: 0 });
    Ok(FromEngine {
        instances: register.gauge("rstmdb_instances_total", "Instances that are not deleted")?,
        machines: register.gauge("rstmdb_machines_total", "Machine versions")?,
        writable: register.gauge("rstmdb_writable", "1 while writes are accepted")?,
        clock_steps: total(
            "rstmdb_clock_steps_total",
            "Steps of the clock that were not taken over, or found at the start",
        )?,
        entries: register.gauge("rstmdb_wal_entries", "The last offset of the log")?,
        segments: register.gauge("rstmdb_wal_segments", "Segment files of the log")?,
        size_bytes: register.gauge("rstmdb_wal_size_bytes", "The size of the log")?,
        bytes_written: total("rstmdb_wal_bytes_written_total", "Bytes written to the log")?,
        bytes_read: total("rstmdb_wal_bytes_read_total", "Bytes read from the log")?,
        writes: total("rstmdb_wal_writes_total", "Write calls to the log")?,
        reads: total("rstmdb_wal_reads_total", "Read calls to the log")?,
        fsyncs: total("rstmdb_wal_fsyncs_total", "Syncs of the log")?,
    })
}

impl FromEngine {
    fn update(&mut self, figures: &EngineFigures) {
        let gauge =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let wal = &figures.wal;
        gauge(&self.instances, figures.instances);
        gauge(&self.machines, figures.machines);
        gauge(&self.writable, u64::from(figures.writable));
        gauge(&self.entries, wal.entry_count);
        gauge(&self.segments, wal.segment_count);
        gauge(&self.size_bytes, wal.total_size_bytes);
        self.clock_steps.update(figures.clock_steps);
        self.bytes_written.update(wal.io_stats.bytes_written);
        self.bytes_read.update(wal.io_stats.bytes_read);
        self.writes.update(wal.io_stats.writes);
        self.reads.update(wal.io_stats.reads);
        self.fsyncs.update(wal.io_stats.fsyncs);
    }
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
