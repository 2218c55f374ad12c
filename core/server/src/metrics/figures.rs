//! Figures of the engine, copied when someone asks.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};
use rstmdb_types::{InstanceCount, Offset, Result, TimestampMs, WalStatsResult};

use super::Register;

/// The most series of instances by machine and state; the instances of the others are counted together.
const INSTANCE_SERIES_MAX: usize = 1000;
/// What those go by.
const OTHERS: &str = "other";

/// What the engine is asked for at a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFigures {
    /// Instances that are not deleted.
    pub instances: u64,
    /// Machine versions.
    pub machines: u64,
    /// Whether writes are accepted.
    pub writable: bool,
    /// Whether stored bytes were found that are not what was written.
    pub damaged: bool,
    /// How often the clock was found to be set or far off.
    pub clock_steps: u64,
    /// The log.
    pub wal: WalStatsResult,
    /// Instances by machine, version and state.
    pub counts: Vec<InstanceCount>,
    /// What is free on the disk, where that is known.
    pub free_bytes: Option<u64>,
    /// The last change that the newest checkpoint holds; 0 without one.
    pub checkpoint_offset: Offset,
    /// The time in the log when it was written; 0 without one.
    pub checkpoint_at: TimestampMs,
    /// The time in the log at which the oldest part of it begins that is still there.
    pub oldest_at: TimestampMs,
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

#[derive(Debug)]
pub(super) struct FromEngine {
    instances: IntGauge,
    instances_by_state: IntGaugeVec,
    machines: IntGauge,
    writable: IntGauge,
    damaged: IntGauge,
    clock_steps: Total,
    entries: IntGauge,
    first_entry: IntGauge,
    oldest: IntGauge,
    checkpoint_at: IntGauge,
    checkpoint_lag: IntGauge,
    free_bytes: IntGauge,
    segments: IntGauge,
    size_bytes: IntGauge,
    bytes_written: Total,
    bytes_read: Total,
    writes: Total,
    reads: Total,
    fsyncs: Total,
}

impl FromEngine {
    pub(super) fn new(register: &Register<'_>) -> Result<FromEngine> {
        let total =
            |name, help| register.counter(name, help).map(|counter| Total { counter, seen: 0 });
        let by_state =
            Opts::new("rstmdb_instances", "Instances that are not deleted, by machine and state");
        Ok(FromEngine {
            instances: register
                .gauge("rstmdb_instances_total", "Instances that are not deleted")?,
            instances_by_state: register.put(IntGaugeVec::new(by_state, &["machine", "state"]))?,
            machines: register.gauge("rstmdb_machines_total", "Machine versions")?,
            writable: register.gauge("rstmdb_writable", "1 while writes are accepted")?,
            damaged: register
                .gauge("rstmdb_damaged", "1 once stored data was found damaged, until a restart")?,
            clock_steps: total(
                "rstmdb_clock_steps_total",
                "Steps of the clock that were not taken over, or found at the start",
            )?,
            entries: register.gauge("rstmdb_wal_entries", "The last offset of the log")?,
            first_entry: register
                .gauge("rstmdb_wal_first_entry", "The first offset that can still be read")?,
            oldest: register.gauge(
                "rstmdb_wal_oldest_timestamp_seconds",
                "When the oldest segment of the log that is kept was begun, in the log's time",
            )?,
            checkpoint_at: register.gauge(
                "rstmdb_checkpoint_timestamp_seconds",
                "When the newest checkpoint was written, in the log's time; 0 without one",
            )?,
            checkpoint_lag: register.gauge(
                "rstmdb_checkpoint_lag_entries",
                "Changes after the newest checkpoint, which a start reads again",
            )?,
            free_bytes: register.gauge(
                "rstmdb_disk_free_bytes",
                "What is free on the disk of the database; -1 when that is not known",
            )?,
            segments: register.gauge("rstmdb_wal_segments", "Segment files of the log")?,
            size_bytes: register.gauge("rstmdb_wal_size_bytes", "The size of the log")?,
            bytes_written: total("rstmdb_wal_bytes_written_total", "Bytes written to the log")?,
            bytes_read: total("rstmdb_wal_bytes_read_total", "Bytes read from the log")?,
            writes: total("rstmdb_wal_writes_total", "Write calls to the log")?,
            reads: total("rstmdb_wal_reads_total", "Read calls to the log")?,
            fsyncs: total("rstmdb_wal_fsyncs_total", "Syncs of the log")?,
        })
    }

    pub(super) fn update(&mut self, figures: &EngineFigures) {
        let wal = &figures.wal;
        set(&self.instances, figures.instances);
        self.count(&figures.counts);
        set(&self.machines, figures.machines);
        set(&self.writable, u64::from(figures.writable));
        set(&self.damaged, u64::from(figures.damaged));
        set(&self.entries, wal.entry_count);
        set(&self.first_entry, wal.first_offset.unwrap_or_default());
        self.oldest.set(figures.oldest_at / 1000);
        self.checkpoint_at.set(figures.checkpoint_at / 1000);
        set(&self.checkpoint_lag, wal.latest_offset.saturating_sub(figures.checkpoint_offset));
        let free = figures.free_bytes.map(i64::try_from);
        self.free_bytes.set(free.map_or(-1, |free| free.unwrap_or(i64::MAX)));
        set(&self.segments, wal.segment_count);
        set(&self.size_bytes, wal.total_size_bytes);
        self.clock_steps.update(figures.clock_steps);
        self.bytes_written.update(wal.io_stats.bytes_written);
        self.bytes_read.update(wal.io_stats.bytes_read);
        self.writes.update(wal.io_stats.writes);
        self.reads.update(wal.io_stats.reads);
        self.fsyncs.update(wal.io_stats.fsyncs);
    }

    /// Versions of a machine are counted together. What is gone has no series.
    fn count(&self, counts: &[InstanceCount]) {
        self.instances_by_state.reset();
        let mut kept = std::collections::BTreeSet::new();
        for count in counts {
            let place = (&*count.machine, &*count.state);
            let is_kept = kept.contains(&place) || kept.len() < INSTANCE_SERIES_MAX;
            let (machine, state) = if is_kept { place } else { (OTHERS, OTHERS) };
            if is_kept {
                kept.insert(place);
            }
            let number = i64::try_from(count.count).unwrap_or(i64::MAX);
            self.instances_by_state.with_label_values(&[machine, state]).add(number);
        }
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
