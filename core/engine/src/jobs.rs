//! What the database does by itself: jobs, each of which says when it is due.
//!
//! A job's turn does what is due, if anything, and says when it wants to be asked again: at a time, or
//! when the log has grown so far. Until the earliest of these its thread sleeps; it may be woken before,
//! so a turn that comes early does nothing. Two threads do the same with different jobs: callers wait
//! for those of the first, and those of the second may take long.

use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use rstmdb_types::Result;

use crate::due::{Due, Growth};
use crate::options::FsyncPolicy;
use crate::shared::Shared;
use crate::sync::park;

mod checkpoints;
mod digests;
mod places;
mod presence;
mod snapshots;
mod writes;

/// Work that the database does by itself.
pub(crate) trait Job: Send {
    /// Called once on the job's thread, before the database is used.
    fn begin(&mut self, _shared: &Shared) {}

    /// Does what is due at this time of the monotonic clock; says when to come again, at the latest.
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due;
}

/// The jobs of each thread.
fn jobs(shared: &Shared) -> [Vec<Box<dyn Job>>; Growth::ALARMS] {
    let mut prompt: Vec<Box<dyn Job>> = vec![Box::new(writes::Writes)];
    if let FsyncPolicy::EveryMs(ms) = shared.options.fsync {
        prompt.push(Box::new(writes::Syncs::every(ms)));
    }
    if !shared.storage.is_volatile() {
        prompt.push(Box::new(presence::Presence::new()));
        prompt.push(Box::new(places::Places::default()));
    }
    let mut long: Vec<Box<dyn Job>> =
        vec![Box::new(checkpoints::Checkpoints), Box::new(snapshots::SnapshotTidying::new())];
    if shared.options.digest {
        long.push(Box::new(digests::Digests::default()));
    }
    [prompt, long]
}

/// Starts the threads. They end when the queue is closed and they are woken.
pub(crate) fn start(shared: &Arc<Shared>, threads: &mut Vec<JoinHandle<()>>) -> Result<()> {
    for (number, mut jobs) in jobs(shared).into_iter().enumerate() {
        let shared = shared.clone();
        let begun = Arc::new(Barrier::new(2));
        let has_begun = begun.clone();
        let thread = std::thread::Builder::new().name("rstmdb-jobs".to_owned()).spawn(move || {
            shared.growth.listen(number);
            jobs.iter_mut().for_each(|job| job.begin(&shared));
            begun.wait();
            run(&shared, number, &mut jobs);
        });
        threads.push(thread.map_err(|error| crate::error::io("starting a thread", error))?);
        has_begun.wait();
    }
    Ok(())
}

fn run(shared: &Shared, number: usize, jobs: &mut [Box<dyn Job>]) {
    while !shared.queue.is_closed() {
        let now_ms = shared.time.monotonic_ms();
        let turns = jobs.iter_mut().map(|job| job.turn(shared, now_ms));
        let due = turns.fold(Due::NEVER, Due::or);
        if !shared.growth.set_alarm(number, due) {
            park(left(due, shared.time.monotonic_ms()));
        }
    }
}

/// How long it is until then; none for ever. Never nothing: a clock may stand still.
fn left(due: Due, now_ms: i64) -> Option<Duration> {
    let left = due.at_ms.saturating_sub(now_ms).max(1);
    (due.at_ms < i64::MAX).then(|| Duration::from_millis(left.unsigned_abs()))
}

#[cfg(test)]
mod tests;
