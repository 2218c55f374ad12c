//! Removes the snapshots of instances that were deleted: when the database was opened, and whenever
//! something was written while there are snapshots.

use rstmdb_types::Offset;

use super::Job;
use crate::due::Due;
use crate::shared::Shared;

/// It looks at most so often, and more seldom where there are many snapshots: it looks at each.
const EVERY_MS: i64 = 20;
const SNAPSHOTS_A_MS: usize = 100;
/// And so long after a failure.
const AGAIN_MS: i64 = 10_000;

pub(super) struct SnapshotTidying {
    /// Up to where deletions were seen.
    compared: Offset,
    next_ms: i64,
}

impl SnapshotTidying {
    pub(super) fn new() -> SnapshotTidying {
        SnapshotTidying { compared: 0, next_ms: i64::MIN }
    }

    /// What wakes it next.
    fn due(&self, shared: &Shared) -> Due {
        match shared.snapshots.extent() {
            // Whoever writes one wakes it.
            Some(extent) if extent.snapshots == 0 => Due::NEVER,
            Some(extent) if !extent.is_new => Due::at_offset(self.compared + 1),
            _ => Due::at(self.next_ms),
        }
    }
}

impl Job for SnapshotTidying {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        let reach = shared.growth.reach();
        let due = self.due(shared);
        if !due.has_come(now_ms, reach) {
            return due;
        }
        if now_ms < self.next_ms {
            return Due::at(self.next_ms);
        }
        let read = shared.snapshots.read(&*shared.storage);
        let Some(manifest) = shared.manifest.try_lock() else {
            // A compaction removes them itself, and the jobs after this one need not wait for it.
            self.next_ms = now_ms.saturating_add(EVERY_MS);
            return Due::at(self.next_ms);
        };
        if shared.queue.is_closed() {
            return Due::NEVER;
        }
        let tidied = read.and_then(|()| shared.tidy_snapshots(&manifest));
        drop(manifest);
        let snapshots = shared.snapshots.extent().map_or(0, |extent| extent.snapshots);
        if let Err(error) = tidied {
            tracing::warn!("snapshots of deleted instances stay for now: {error}");
            self.next_ms = now_ms.saturating_add(AGAIN_MS);
            return Due::at(self.next_ms);
        }
        self.compared = reach.offset;
        let pause = EVERY_MS + (snapshots / SNAPSHOTS_A_MS) as i64;
        self.next_ms = if snapshots == 0 { i64::MIN } else { now_ms.saturating_add(pause) };
        self.due(shared)
    }
}
