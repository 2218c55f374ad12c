//! What a node shows, compared with what was committed anywhere.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rstmdb_engine::{Engine, Subscription};
use rstmdb_types::error::reason;
use rstmdb_types::{GetInstanceRequest, Offset, WalReadRequest, WatchAllRequest};

use super::oracle::Oracle;
use crate::calls::behind;

/// What was compared of a node so far, and a watch that goes on wherever it is resumed.
#[derive(Debug, Default)]
pub struct Look {
    watch: Option<Subscription>,
    watched: Offset,
    compared: u64,
    read: Offset,
}

/// Asks once.
fn look<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl Look {
    /// The node has another engine.
    pub fn restarted(&mut self) {
        (self.watch, self.read) = (None, 0);
    }

    /// The watches of two nodes go on at the other one.
    pub fn swap_watches(&mut self, other: &mut Look) {
        (self.watch, other.watch) = (None, None);
        std::mem::swap(&mut self.watched, &mut other.watched);
    }

    /// Compares frames and entries of the log, and what the watch tells. Not only what is new, if it is to be full.
    pub fn compare(&mut self, engine: &Engine, oracle: &mut Oracle, is_full: bool) {
        let replication = engine.replication();
        let tip = replication.tip();
        let from = if is_full { 1 } else { self.compared + 1 };
        let from = from.min(tip.committed + 1).max(tip.first_kept);
        for frame in replication.frames(from, tip.committed, usize::MAX).unwrap() {
            oracle.committed(frame.index(), frame.encode());
        }
        self.compared = tip.committed;
        // What is not committed is another node's just as well, or that one's that comes in its place.
        for frame in replication.frames(tip.committed + 1, u64::MAX, usize::MAX).unwrap() {
            oracle.logged(frame.index(), frame.term(), frame.encode());
        }
        let kept = replication.frame_at(tip.first_kept).unwrap();
        let kept = kept.map_or(tip.offset + 1, |frame| frame.first());
        let from = if is_full { kept } else { kept.max(self.read) };
        let request = WalReadRequest { limit: Some(10_000), ..WalReadRequest::new(from) };
        if from <= tip.committed_offset + 1 {
            let request = WalReadRequest { entries: Some("all".into()), ..request };
            let page = behind(engine, request).wait();
            for record in &page.unwrap().records {
                assert!(record.offset <= tip.committed_offset, "read and not committed");
                oracle.read(record);
                self.read = record.offset + 1;
            }
        }
        oracle.check_shown();
        if oracle.last() >= tip.committed_offset {
            self.watch(engine, oracle, tip.committed_offset);
        }
    }

    /// Compares instances on a node that follows, where they are what is committed.
    pub fn compare_instances(engine: &Engine, oracle: &Oracle, instances: u64) {
        let committed = engine.replication().tip().committed_offset;
        for instance in 0..instances {
            let id = format!("i{instance}");
            let request = GetInstanceRequest { instance_id: id.as_str().into() };
            let mut pending = behind(engine, request);
            let Poll::Ready(found) = look(&mut pending) else {
                panic!("{id} has what is not committed: {engine:?}");
            };
            let found = found.ok().and_then(|found| {
                let number = found.ctx.to_value()["n"].as_u64()?;
                Some((number, found.last_wal_offset))
            });
            assert_eq!(found, oracle.expected(&id, committed), "{id}: {engine:?}");
        }
    }

    /// A watch skips nothing, repeats nothing, and shows nothing that is not committed.
    fn watch(&mut self, engine: &Engine, oracle: &Oracle, committed: Offset) {
        if self.watch.is_none() {
            let request =
                WatchAllRequest { from_offset: Some(self.watched + 1), ..Default::default() };
            match engine.watch_all(request) {
                Ok((_, watch)) => self.watch = Some(watch),
                Err(error) if error.reason() == Some(reason::OFFSET_COMPACTED) => {
                    self.watched = committed;
                }
                // It does not have so much yet.
                Err(_) => {}
            }
        }
        let Some(watch) = &mut self.watch else { return };
        loop {
            match watch.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(event))) => {
                    let offset = event.wal_offset;
                    assert!(offset > self.watched && offset <= committed.max(oracle.last()));
                    assert!(oracle.at(offset).is_some(), "watched at {offset}, not committed");
                    let first = self.watched + 1;
                    let skipped = (first..offset).find(|at| {
                        let entry =
                            oracle.at(*at).map(|record| serde_json::to_value(&record.entry));
                        entry.is_some_and(|entry| !entry.unwrap()["payload"]["n"].is_null())
                    });
                    assert_eq!(skipped, None, "the watch skips");
                    self.watched = offset;
                }
                Poll::Ready(Some(Err(error))) => {
                    assert_eq!(error.reason(), Some(reason::OFFSET_COMPACTED), "{error}");
                    self.watched = committed;
                    return self.watch = None;
                }
                Poll::Ready(None) => return self.watch = None,
                Poll::Pending if watch.needs_files() => watch.load(),
                Poll::Pending => return,
            }
        }
    }
}
