//! What the database does by itself, on a thread of its own: each job says when it is due.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rstmdb_types::{CompactRequest, Offset};

use crate::ops::Edge;
use crate::options::Options;
use crate::shared::Shared;
use crate::sync::{park, thread_waker};

/// A digest is logged after this many changes, and this long after the first that none covers.
const DIGEST_EFFECTS: Offset = 65_536;
const DIGEST_TIME: Duration = Duration::from_secs(10);

/// Whether there is anything to do.
pub(crate) fn are_any(options: &Options) -> bool {
    options.checkpoint_log_bytes > 0 || options.digest
}

/// Makes the calling thread the one that is woken for jobs.
pub(crate) fn begin(shared: &Shared) {
    shared.queue.with_sink(|sink| sink.jobs = Some(thread_waker()));
}

/// Does what is due until the database is closed. Who writes wakes it now and then.
pub(crate) fn run(shared: &Shared) {
    let pause = shared.options.digest.then_some(DIGEST_TIME);
    let mut uncovered = None;
    while !shared.queue.is_closed() {
        park(pause);
        if shared.queue.is_closed() {
            return;
        }
        if is_checkpoint_due(shared) {
            write_checkpoint(shared);
        }
        if shared.options.digest {
            log_digest(shared, &mut uncovered);
        }
    }
}

/// Whether the log has grown enough since the last checkpoint.
fn is_checkpoint_due(shared: &Shared) -> bool {
    let written = shared.files.counters.bytes_written.load(Ordering::Relaxed);
    let since = written.saturating_sub(shared.checkpointed_bytes.load(Ordering::Relaxed));
    let due = shared.options.checkpoint_log_bytes;
    due > 0 && since >= due
}

fn write_checkpoint(shared: &Shared) {
    if let Err(error) = shared.compact(CompactRequest::default(), &Edge::of(shared)) {
        tracing::warn!("the automatic checkpoint failed: {error}");
        // Try again after as much log again, not at once.
        let written = shared.files.counters.bytes_written.load(Ordering::Relaxed);
        shared.checkpointed_bytes.store(written, Ordering::Relaxed);
    }
}

/// Logs a digest when there are many changes that none covers, or one for long: since `uncovered`. A
/// database at rest logs nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "when a mark is logged is decided here, once, for all nodes"
)]
fn log_digest(shared: &Shared, uncovered: &mut Option<Instant>) {
    let marked = shared.state.marked.load(Ordering::Acquire);
    let effects = shared.queue.appended().saturating_sub(marked);
    if effects == 0 {
        *uncovered = None;
        return;
    }
    let since = *uncovered.get_or_insert_with(Instant::now);
    if effects < DIGEST_EFFECTS && since.elapsed() < DIGEST_TIME {
        return;
    }
    *uncovered = None;
    if let Err(error) = shared.mark(false, &Edge::of(shared)) {
        tracing::warn!("logging a digest failed: {error}");
    }
}
