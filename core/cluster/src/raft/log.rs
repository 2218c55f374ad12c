//! The library's log is the engine's.

use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use rstmdb_engine::Engine;
use rstmdb_engine::replication::LogFrame;

use super::slot::{EngineSlot, failed};
use super::types::{Entry, LogId, TypeConfig, Vote, last_of, log_id, vote_bytes, vote_of};

/// So much goes into one message.
const MESSAGE_BYTES: usize = 8 << 20;
/// The claim that keeps the log until the library gives it up.
const CLAIM: &str = "raft";

/// What the library was told that the log does not say.
#[derive(Debug, Default)]
struct Told {
    /// Entries up to here are given up; the files go when the engine wants it.
    floor: Option<LogId>,
    committed: Option<LogId>,
}

/// The log, to be written and read.
#[derive(Debug, Clone)]
pub struct RaftLog {
    slot: Arc<EngineSlot>,
    told: Arc<Mutex<Told>>,
}

impl RaftLog {
    /// The log of the engine in a slot.
    pub fn new(slot: Arc<EngineSlot>) -> io::Result<RaftLog> {
        let log = RaftLog { slot, told: Arc::default() };
        log.claim(&log.slot.engine())?;
        Ok(log)
    }

    /// Keeps the log behind what is given up.
    fn claim(&self, engine: &Engine) -> io::Result<()> {
        let replication = engine.replication();
        let tip = replication.tip();
        let first = self.purged(engine)?.map_or(1, |id| id.index + 2);
        let frame = match first <= tip.index {
            true => replication.frame_at(first.max(tip.first_kept)).map_err(failed)?,
            false => None,
        };
        replication.claim(CLAIM, frame.map_or(tip.offset + 1, |frame| frame.first()));
        Ok(())
    }

    /// The last entry that is given up. The first frame that is there is among them: its term is known.
    fn purged(&self, engine: &Engine) -> io::Result<Option<LogId>> {
        let replication = engine.replication();
        let tip = replication.tip();
        let gone = if tip.first_kept <= 1 {
            None
        } else if tip.first_kept > tip.index {
            last_of(&tip)
        } else {
            let frame = replication.frame_at(tip.first_kept).map_err(failed)?;
            frame.map(|frame| log_id(frame.index(), frame.term()))
        };
        Ok(gone.max(self.told.lock().floor))
    }

    /// Entries of these numbers, as far as they are there, up to about so many bytes.
    fn entries(&self, first: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let engine = self.slot.engine();
        // The first frame that is there counts as given up after a start, and may be wanted before the next.
        let kept = engine.replication().tip().first_kept.saturating_sub(1);
        let floor = self.told.lock().floor.as_ref().map_or(0, |id| id.index + 1);
        let first = first.max(kept).max(floor);
        if first >= end {
            return Ok(Vec::new());
        }
        let frames = engine.replication().frames(first + 1, end, bytes_max).map_err(failed)?;
        Ok(frames.into_iter().map(Entry::of_frame).collect())
    }

    /// What comes right behind a checkpoint waits until that is laid out.
    async fn wait_for(&self, index: u64) {
        let mut changes = self.slot.changes();
        loop {
            drop(changes.borrow_and_update());
            let floor = self.told.lock().floor.as_ref().map(|floor| floor.index + 1);
            if floor != Some(index) || self.slot.engine().replication().tip().index >= index {
                return;
            }
            // It does not end before the slot.
            let _ = changes.changed().await;
        }
    }
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(first, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start, end, MESSAGE_BYTES)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let engine = self.slot.engine();
        let replication = engine.replication();
        if let Some(bytes) = replication.read_vote() {
            let vote = vote_of(&bytes);
            return vote
                .map(Some)
                .ok_or_else(|| io::Error::other("the vote that was kept is none"));
        }
        // A database that was alone has terms in its log, and nobody is elected in those.
        let tip = replication.tip();
        Ok((tip.index > 0).then(|| Vote::new(tip.term, 0)))
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = RaftLog;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let engine = self.slot.engine();
        let purged = self.purged(&engine)?;
        let last = last_of(&engine.replication().tip());
        Ok(LogState { last_log_id: last.max(purged), last_purged_log_id: purged })
    }

    async fn get_log_reader(&mut self) -> RaftLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.slot.pause().await;
        let _held = self.slot.hold().await;
        self.slot.engine().replication().save_vote(&vote_bytes(vote)).map_err(failed)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        // Frames carry the mark, and an orderly end writes it down.
        self.told.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.told.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, told: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let frames: Vec<LogFrame> = entries.into_iter().map(Entry::into_frame).collect();
        let before = frames.first().map_or(0, |frame| frame.index() - 1);
        self.wait_for(before).await;
        let _held = self.slot.hold().await;
        self.slot.append(frames, move |synced| told.io_completed(synced.map_err(failed)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let index = last.map_or(0, |id| id.index + 1);
        let _held = self.slot.hold().await;
        self.slot.engine().replication().truncate_after(index).map_err(failed)
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        {
            let mut told = self.told.lock();
            told.floor = told.floor.take().max(Some(id));
        }
        let _held = self.slot.hold().await;
        self.claim(&self.slot.engine())
    }
}
