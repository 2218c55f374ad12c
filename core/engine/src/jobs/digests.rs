//! Logs a digest of all instances when there are many changes that none covers, or one for long. A
//! database at rest logs nothing.

use std::sync::atomic::Ordering;

use rstmdb_types::Offset;

use super::Job;
use crate::due::Due;
use crate::ops::Edge;
use crate::shared::Shared;

/// A digest is logged after this many changes, and this long after the first that none covers.
const EFFECTS: Offset = 65_536;
const TIME_MS: i64 = 10_000;

#[derive(Default)]
pub(super) struct Digests {
    /// When the first change was seen that no digest covers.
    uncovered_ms: Option<i64>,
}

impl Job for Digests {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        let marked = shared.state.marked.load(Ordering::Acquire);
        let reach = shared.growth.reach();
        if reach.offset <= marked {
            self.uncovered_ms = None;
            return Due::at_offset(marked + 1);
        }
        let since_ms = *self.uncovered_ms.get_or_insert(now_ms);
        let due = Due { at_ms: since_ms + TIME_MS, ..Due::at_offset(marked + EFFECTS) };
        if !due.has_come(now_ms, reach) {
            return due;
        }
        if shared.queue.check_stands().is_err() {
            // Who leads does.
            self.uncovered_ms = None;
            return Due::at(now_ms + TIME_MS);
        }
        match shared.mark(false, &Edge::of(shared)) {
            Ok(begin) => {
                self.uncovered_ms = None;
                // Nobody waits for it.
                shared.queue.request_write();
                Due::at_offset(begin.ticket.offset + 1)
            }
            Err(error) => {
                tracing::warn!("logging a digest failed: {error}");
                self.uncovered_ms = Some(now_ms);
                Due::at(now_ms + TIME_MS)
            }
        }
    }
}
