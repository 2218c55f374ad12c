//! Notices that the directory was moved, replaced or deleted when nobody writes.

use super::Job;
use crate::due::Due;
use crate::shared::Shared;

/// How often it looks.
const EVERY_MS: i64 = 1_000;

pub(super) struct Presence {
    due_ms: i64,
}

impl Presence {
    pub(super) fn new() -> Presence {
        Presence { due_ms: i64::MIN }
    }
}

impl Job for Presence {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        if now_ms < self.due_ms {
            return Due::at(self.due_ms);
        }
        // The clocks are compared also while nobody writes.
        let _ = shared.now();
        if shared.check_directory().is_err() {
            // It stays that way.
            self.due_ms = i64::MAX;
            return Due::NEVER;
        }
        self.due_ms = now_ms.saturating_add(EVERY_MS);
        Due::at(self.due_ms)
    }
}
