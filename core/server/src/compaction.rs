//! When the server compacts by itself: after so many events or so much log, but not too often.
//!
//! A checkpoint costs in proportion to the instances there are, so an event threshold far below their
//! number would write the database over and over: at least half as many events as instances must have
//! come first.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_types::{CompactRequest, InfoRequest, WalStatsRequest};
use tokio::time::{Instant, MissedTickBehavior};

use crate::calls::Calls;
use crate::config::CompactionConfig;
use crate::live::LiveSettings;
use crate::shutdown::Shutdown;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// A database of more instances is not compacted at a stop.
const STOP_INSTANCES_MAX: u64 = 100_000;
/// Nor is one with fewer changes since the last time.
const STOP_EVENTS_MIN: u64 = 1000;

/// Where the log was at the last compaction.
#[derive(Debug, Clone, Copy)]
struct Mark {
    entries: u64,
    bytes: u64,
}

/// Compacts when it is due.
#[derive(Debug)]
pub(crate) struct Compaction {
    calls: Arc<Calls>,
    last: Mark,
}

impl Compaction {
    pub(crate) fn new(calls: Arc<Calls>) -> Compaction {
        let last = mark(&calls).unwrap_or(Mark { entries: 0, bytes: 0 });
        Compaction { calls, last }
    }

    /// Looks after the database until the server stops.
    pub(crate) async fn run(
        mut self,
        settings: Arc<LiveSettings>,
        shutdown: Shutdown,
    ) -> Compaction {
        let mut at: Option<Instant> = None;
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = Box::pin(shutdown.begun());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = &mut stopping => return self,
            }
            let config = settings.load().compaction.clone();
            let rested = at.is_none_or(|at| at.elapsed() >= config.min_interval);
            let Some(now) = mark(&self.calls).filter(|_| rested) else { continue };
            // A database that was put into service since has counted from its opening on.
            if now.bytes < self.last.bytes {
                self.last = now;
            }
            if is_due(&config, self.last, now, instances(&self.calls)) {
                self.compact(now).await;
                at = Some(Instant::now());
            }
        }
    }

    /// At a stop the next start is made quick, where that is cheap.
    pub(crate) async fn at_stop(mut self) {
        let Some(now) = mark(&self.calls) else { return };
        let events = now.entries.saturating_sub(self.last.entries);
        if events >= STOP_EVENTS_MIN && instances(&self.calls) <= STOP_INSTANCES_MAX {
            self.compact(now).await;
        }
    }

    async fn compact(&mut self, now: Mark) {
        let calls = self.calls.clone();
        let compacting = move || calls.ask(CompactRequest::default()).1;
        match tokio::task::spawn_blocking(compacting).await {
            Ok(Ok(result)) => tracing::info!(
                segments_deleted = result.segments_deleted,
                bytes_reclaimed = result.bytes_reclaimed,
                "compacted"
            ),
            Ok(Err(error)) => tracing::warn!("compacting failed: {error}"),
            Err(error) => tracing::error!("compacting failed: {error}"),
        }
        // After a failure too: trying again every second would not help.
        self.last = now;
    }
}

fn mark(calls: &Calls) -> Option<Mark> {
    let stats = calls.ask(WalStatsRequest {}).1.ok()?;
    Some(Mark { entries: stats.entry_count, bytes: stats.io_stats.bytes_written })
}

fn instances(calls: &Calls) -> u64 {
    calls.ask(InfoRequest {}).1.map_or(0, |info| info.instances)
}

fn is_due(config: &CompactionConfig, last: Mark, now: Mark, instances: u64) -> bool {
    let events = now.entries.saturating_sub(last.entries);
    let bytes = now.bytes.saturating_sub(last.bytes);
    let by_events =
        config.events_threshold > 0 && events >= config.events_threshold.max(instances / 2);
    let by_size = config.size_threshold_bytes > 0 && bytes >= config.size_threshold_bytes;
    config.enabled && (by_events || by_size)
}
