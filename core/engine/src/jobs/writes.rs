//! Writes for callers that only wait, and syncs by the clock.

use super::Job;
use crate::due::Due;
use crate::shared::Shared;

/// Writes what callers wait for. They wake its thread, so it is never due by itself.
pub(super) struct Writes;

impl Job for Writes {
    fn begin(&mut self, shared: &Shared) {
        shared.queue.become_log_thread();
    }

    fn turn(&mut self, shared: &Shared, _now_ms: i64) -> Due {
        shared.queue.write_waiting();
        Due::NEVER
    }
}

/// Syncs what was written, as the policy `every_ms` asks. Nothing is due while nothing is written.
pub(super) struct Syncs {
    every_ms: i64,
    due: Due,
}

impl Syncs {
    pub(super) fn every(ms: u32) -> Syncs {
        Syncs { every_ms: i64::from(ms), due: Due::at(i64::MIN) }
    }
}

impl Job for Syncs {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        let reach = shared.growth.reach();
        if self.due.has_come(now_ms, reach) {
            let (mut is_behind, mut next) = (false, reach.offset + 1);
            // A failure is told to those who write next; those who wait already still need this thread.
            let _ = shared.queue.try_with_sink(|sink| {
                next = sink.writer.tip().next;
                is_behind = sink.writer.synced() + 1 < next;
                sink.writer.sync_if_due()
            });
            self.due = match is_behind {
                true => Due::at(now_ms.saturating_add(self.every_ms)),
                false => Due::at_offset(next),
            };
        }
        self.due
    }
}
