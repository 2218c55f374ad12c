//! Writes a checkpoint, and deletes log that nobody is promised, when the policy says so.

use rstmdb_types::{CompactRequest, CompactResult, Result};

use super::Job;
use crate::due::Due;
use crate::ops::Edge;
use crate::shared::Shared;

pub(super) struct Checkpoints;

impl Job for Checkpoints {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        let due = next(shared);
        if !due.has_come(now_ms, shared.growth.reach()) {
            return due;
        }
        // Whatever comes of it: what counts from here on comes later.
        shared.schedule.lock().begun(shared.growth.reach());
        let compacted = shared.compact(CompactRequest::default(), &Edge::of(shared));
        shared.schedule.lock().ended(shared.time.monotonic_ms());
        report(shared, &compacted);
        next(shared)
    }
}

fn next(shared: &Shared) -> Due {
    shared.schedule.lock().due(shared.growth.reach(), || shared.state.instance_count())
}

fn report(shared: &Shared, compacted: &Result<CompactResult>) {
    match compacted {
        Ok(result) => tracing::info!(
            segments_deleted = result.segments_deleted,
            bytes_reclaimed = result.bytes_reclaimed,
            "compacted"
        ),
        // The end of the database ends what goes on.
        Err(_) if shared.queue.is_closed() => {}
        Err(error) => tracing::warn!("compacting failed: {error}"),
    }
}
