//! The engine's part in a group of nodes: its log is the one that they agree on.
//!
//! A *driver* outside decides: a library of consensus, or one that follows another node. The engine knows terms,
//! marks and cuts, and neither a network nor a clock of the group. All that a driver does goes through
//! [`Replication`], which [`Engine::replication`](crate::Engine::replication) gives:
//!
//! ```text
//!          append, truncate_after, save_vote                 commit                 frames
//! driver  ----------------------------------->  the log  ----------------> state  <-------- readers
//!                                                  ^
//!         <--------- Proposer::propose ---------  lead: evaluates requests, proposes what comes of them
//! ```
//!
//! **Marks.** A node that follows applies a frame when it is committed. One that leads evaluated it before, and shows
//! nothing of it until it is committed. `synced <= index`: an acknowledgement may be sent when [`Replication::append`] says that frames are on the disk.
//!
//! **A node that follows** is opened with [`Options::node`](crate::Options::node), at first into an empty directory or
//! with [`Engine::install`](crate::Engine::install). Its driver reads [`Replication::tip`], gets frames that go on from
//! there from another node's [`Replication::frames`], appends them, and commits what the other says is committed.
//! A frame that does not fit is refused with reason `log_mismatch`: then the logs differ, and the driver finds the last
//! frame that both have ([`Replication::frame_at`]) and cuts ([`Replication::truncate_after`]), which is possible
//! down to what is committed.
//!
//! **A node that leads** was told so by [`Replication::lead`], which wants all of the log committed before: a driver
//! appends and commits a blank frame of its term, or an epoch frame ([`Replication::epoch_frame`]) where a new history
//! begins. Sealed batches then go to the [`Proposer`]. The driver gives each an index and a term
//! ([`LogFrame::placed`]), appends it here as everywhere, and commits it when enough nodes have it. If it refuses one, it
//! calls [`Replication::follow`], and may lead again in a later run.
//!
//! **A frame is void** when it does not go on from the log as it is where it is appended; it takes an index and nothing
//! else. Each node finds so by the same rule, so a driver may append what it proposed in any order: what does not
//! fit has no effect anywhere.
//!
//! **A copy that has what the others do not have**, such as the former primary after a promotion, is closed, cut by
//! [`set_aside`](crate::maintenance::set_aside), which keeps copies of the files, and opened again as a node that follows.
//!
//! An engine that is alone, too, may be read from ([`Replication::frames`], [`Replication::checkpoint`],
//! [`Replication::claim`]): all that is in its log is committed.

use std::task::{Context, Poll};

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

pub use group::Proposer;
pub use install::{CheckpointFile, Installed};
pub use standing::{LeaderHint, Standing};

pub use crate::log::exchange::{FrameKind, LogFrame};
pub use crate::log::members::GroupMembers;

use crate::guards::{self, Safeguard};
use crate::log::FrameCursor;
use crate::log::exchange::mismatch;
use crate::log::lineage::{Begins, Epoch};
use crate::log::tip::Tip;
use crate::ops::Edge;
use crate::options::Background;
use crate::shared::Shared;
use apply::CommitStep;
use group::Group;
use standing::undecided;

mod apply;
pub(crate) mod group;
pub(crate) mod install;
pub(crate) mod recent;
pub(crate) mod standing;
pub(crate) mod syncs;
pub(crate) mod vote;

/// The end of a node's log, and how far it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTip {
    /// The last frame; 0 in an empty log.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The offset of the last change.
    pub offset: Offset,
    /// The hash of all changes.
    pub chain: u64,
    /// The first frame that is still there, or would be.
    pub first_kept: u64,
    /// The last frame that is on the disk for certain.
    pub synced: u64,
    /// The last frame that is committed.
    pub committed: u64,
    /// The offset of the last change that is committed.
    pub committed_offset: Offset,
}

/// What drivers do with an engine.
#[derive(Clone, Copy)]
pub struct Replication<'a> {
    shared: &'a Shared,
}

impl std::fmt::Debug for Replication<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replication({}, {:?})", self.shared.name, self.tip())
    }
}

impl<'a> Replication<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Replication<'a> {
        Replication { shared }
    }

    /// What the engine does now.
    pub fn standing(&self) -> Standing {
        let node = self.shared.node.as_ref();
        node.map_or(Standing::Alone, |node| node.standing.lock().clone())
    }

    /// Where those are sent who want to write; nothing where that is not known, or here.
    pub fn writes_at(&self) -> Option<String> {
        match self.standing() {
            Standing::Following { leader } => leader.map(|leader| leader.address),
            Standing::Alone | Standing::Leading { .. } => None,
        }
    }

    /// The database's id, which all of a group share.
    pub fn database(&self) -> [u8; 16] {
        self.shared.database
    }

    /// The end of the log.
    pub fn tip(&self) -> LogTip {
        let shared = self.shared;
        let first_kept = shared.first_index();
        shared.queue.with_writer(|sink| {
            let tip = sink.writer.tip();
            let applied = sink.group.as_ref().map_or(tip, |group| group.applied);
            let synced = match &sink.group {
                Some(_) => sink.writer.synced_index(),
                None => tip.index - 1,
            };
            LogTip {
                index: tip.index - 1,
                term: tip.term,
                offset: tip.last(),
                chain: tip.chain,
                first_kept,
                synced,
                committed: applied.index - 1,
                committed_offset: applied.last(),
            }
        })
    }

    /// Appends frames, which can be read at once, and tells `done` when they are on the disk: in the order of
    /// the calls, by a thread of the engine, or here where it has none. What can't be appended is an error of
    /// reason `log_mismatch` when it does not fit the log; frames before it are there all the same. `done` must not
    /// call the engine.
    pub fn append(
        &self,
        frames: impl IntoIterator<Item = LogFrame>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        self.write(frames, done);
        if self.shared.options.background == Background::Inline {
            self.sync();
        }
    }

    /// Appends frames, and leaves it to [`sync`](Replication::sync) that they come to the disk, unless the engine has
    /// threads.
    pub fn write(
        &self,
        frames: impl IntoIterator<Item = LogFrame>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let shared = self.shared;
        let Some(node) = &shared.node else { return done(Err(is_alone())) };
        let committed = shared.queue.committed();
        let (written, is_over) = shared.queue.with_writer(|sink| {
            let mut frames = frames.into_iter();
            let written = frames.try_for_each(|frame| sink.append_frame(&frame, committed));
            (written, sink.group.as_ref().is_some_and(Group::is_over))
        });
        if is_over {
            self.follow("a frame that was not evaluated here is in the log", None);
        }
        node.syncs.add(written, Box::new(done));
    }

    /// Brings all that was written to the disk, and tells those who wait for it.
    pub fn sync(&self) {
        if let Some(syncs) = self.shared.syncs() {
            syncs.run(|| self.shared.sync_frames());
            self.shared.queue.go_on();
        }
    }

    /// Frames from an index on, up to another and to about so many bytes, but at least one; fewer when there are no more.
    ///
    /// Errors: reason `offset_compacted` when the first is no longer there.
    pub fn frames(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogFrame>> {
        let shared = self.shared;
        let first = shared.first_index();
        if from < first {
            return Err(Error::new(
                ErrorCode::NotFound,
                format!(
                    "the frame of index {from} is no longer in the log; the first it has is {first}"
                ),
            )
            .with_reason(reason::OFFSET_COMPACTED)
            .with("index", from)
            .with("first_index", first));
        }
        let recent = shared.node.as_ref().and_then(|node| node.recent.range(from, to, bytes_max));
        if let Some(frames) = recent {
            return Ok(frames);
        }
        let mut frames = Vec::new();
        let mut bytes = 0;
        let Some(mut cursor) = FrameCursor::of_index(&shared.files, from) else {
            return Ok(frames);
        };
        while let Some((frame, _)) = cursor.next_of_any(&shared.files)? {
            let index = frame.header.index;
            if index < from {
                continue;
            }
            bytes += frame.bytes();
            if index > to || (bytes > bytes_max && !frames.is_empty()) {
                break;
            }
            frames.push(LogFrame::logged(&frame));
        }
        Ok(frames)
    }

    /// The frame of an index, if it is there.
    pub fn frame_at(&self, index: u64) -> Result<Option<LogFrame>> {
        if index < self.shared.first_index() {
            return Ok(None);
        }
        Ok(self.frames(index, index, 0)?.pop())
    }

    /// Cuts off all frames behind this index; the engine follows from then on. They are gone for good when this
    /// returns.
    ///
    /// Errors: reason `log_mismatch` when some of them are committed.
    pub fn truncate_after(&self, index: u64) -> Result<()> {
        let shared = self.shared;
        let node = shared.node.as_ref().ok_or_else(is_alone)?;
        node.syncs.run(|| shared.sync_frames());
        let tip = self.tip();
        if index < tip.committed {
            let what = format!("frames up to {} are committed", tip.committed);
            return Err(mismatch(&what).with("index", index).with("committed", tip.committed));
        }
        if index >= tip.index {
            return Ok(());
        }
        self.follow("the log is cut", None);
        let (place, end) = shared.end_at(index)?;
        shared
            .queue
            .with_writer(|sink| {
                if let Some(group) = &mut sink.group {
                    group.recent.cut_after(index);
                }
                sink.writer.truncate(place, &end)
            })
            .map_err(|failure| failure.batch)
    }

    /// Makes a vote durable: it may be answered when this returns. At most 476 bytes.
    pub fn save_vote(&self, vote: &[u8]) -> Result<()> {
        let node = self.shared.node.as_ref().ok_or_else(is_alone)?;
        if vote.len() > vote::VOTE_BYTES_MAX {
            let what = format!("a vote has at most {} bytes", vote::VOTE_BYTES_MAX);
            return Err(Error::invalid(reason::LIMIT_EXCEEDED, what));
        }
        if !guards::enabled(Safeguard::UnsyncedCountsNot) {
            node.syncs.run(|| Ok(()));
        }
        node.votes.lock().save(|ballot| ballot.vote = Some(vote.to_vec()))
    }

    /// The vote that was saved last.
    pub fn read_vote(&self) -> Option<Vec<u8>> {
        self.shared.node.as_ref()?.votes.lock().ballot().vote.clone()
    }

    /// Makes durable that an epoch was heard of; lower ones are of the past. Says which is the highest so far.
    pub fn save_epoch(&self, epoch: u64) -> Result<u64> {
        let node = self.shared.node.as_ref().ok_or_else(is_alone)?;
        let mut votes = node.votes.lock();
        votes.save(|ballot| ballot.epoch = ballot.epoch.max(epoch))?;
        Ok(votes.ballot().epoch)
    }

    /// The highest epoch that was heard of.
    pub fn highest_epoch(&self) -> u64 {
        self.shared.node.as_ref().map_or(0, |node| node.votes.lock().ballot().epoch)
    }

    /// Frames up to this index are committed: they are applied, and may be shown. Says how far that came: what is not
    /// in the log yet is left.
    pub fn commit(&self, index: u64) -> Result<u64> {
        loop {
            match self.shared.queue.commit(|sink| self.shared.advance(sink, index))? {
                CommitStep::MustFollow => self.follow("another node's frame is in the log", None),
                CommitStep::Reached(reached) => {
                    let tip = self.tip();
                    if reached >= index.min(tip.index) {
                        return Ok(reached);
                    }
                }
            }
        }
    }

    /// Who belongs to the group, as the newest frame that is committed says.
    pub fn members(&self) -> Option<GroupMembers> {
        self.shared.files.members.lock().clone()
    }

    /// From now on requests are evaluated here, and what comes of them goes to the proposer.
    ///
    /// Errors: reason `log_mismatch` when not all of the log is committed, or has a later term.
    pub fn lead(&self, term: u64, run: u64, proposer: std::sync::Arc<dyn Proposer>) -> Result<()> {
        let node = self.shared.node.as_ref().ok_or_else(is_alone)?;
        let mut standing = node.standing.lock();
        self.shared.queue.stand_up(|sink| {
            sink.writer.check().map_err(|failure| failure.batch)?;
            let tip = sink.writer.tip();
            let group = sink.group.as_mut().ok_or_else(is_alone)?;
            let has_rounds = proposer.confirms();
            group.lead(term, proposer, tip).map(|()| has_rounds)
        })?;
        tracing::info!("leads in term {term}, run {run}");
        *standing = Standing::Leading { term, run };
        Ok(())
    }

    /// Begins a round when somebody waits for one, else leaves the waker, of which there is one. Whoever began it finds
    /// out whether the node still leads, and says [`confirm`](Replication::confirm), or ends the run
    /// ([`follow`](Replication::follow)).
    pub fn poll_round(&self, context: &mut Context<'_>) -> Poll<u64> {
        self.shared.queue.poll_round(context)
    }

    /// The node led in this term when this round had begun: who waits for it is answered.
    pub fn confirm(&self, term: u64, round: u64) {
        self.shared.queue.confirm(round, |sink| {
            let leading = sink.group.as_ref().and_then(|group| group.leading.as_ref());
            leading.is_none_or(|leading| leading.term != term)
        });
    }

    /// From now on frames come from elsewhere. What was evaluated and is not committed is taken back in memory, and
    /// stays in the log until somebody cuts it off or commits it. Who waits for a change that was proposed is told
    /// `outcome_unknown`, all others that the leader is elsewhere; so are those who read on a member from then on,
    /// unless they may be behind ([`Command::may_be_behind`](rstmdb_types::Command::may_be_behind)).
    pub fn follow(&self, why: &str, leader: Option<LeaderHint>) {
        self.shared.follow(why, leader);
    }

    /// A frame behind which a new history begins, to be appended where the log ends now; the number of its epoch
    /// is that of its term, `term >> 16`.
    pub fn epoch_frame(&self, term: u64) -> LogFrame {
        let tip = self.shared.queue.with_writer(|sink| sink.writer.tip());
        let begins = Begins { id: self.shared.entropy.next_u64(), first: tip.next };
        LogFrame::epoch(&tip, Epoch { number: term >> 16, begins }, term)
    }

    /// The newest checkpoint, to be handed to a node whose log ends before this one begins.
    pub fn checkpoint(&self) -> Result<Option<CheckpointFile>> {
        self.shared.newest_checkpoint_file()
    }

    /// Keeps the log from this offset on, whatever the retention, until it is claimed from another one or released.
    pub fn claim(&self, name: &str, from: Offset) {
        self.shared.claims.lock().insert(name.to_owned(), from);
    }

    /// Gives a claim up.
    pub fn release(&self, name: &str) {
        self.shared.claims.lock().remove(name);
    }

    /// Logs a digest of all instances, which every node compares with its own; the offset of that. Nothing waits for it to be
    /// committed.
    ///
    /// Errors: where the engine does not lead; when it keeps no digest (the option `digest`).
    pub fn mark(&self) -> Result<Offset> {
        let shared = self.shared;
        if !shared.options.digest {
            let what = "the database keeps no digest; open it with the option digest";
            return Err(Error::invalid(reason::INVALID_OPTION, what).with("option", "digest"));
        }
        let offset = shared.mark(false, &Edge::of(shared))?.ticket.offset;
        shared.queue.request_write();
        Ok(offset)
    }

    /// The last digests that this node came to, with their places in the log, in order. On a node that leads, some may be of places
    /// that are not committed.
    pub fn digests(&self) -> Vec<(Offset, u64)> {
        self.shared.state.digests()
    }

    /// Waits for more to be committed.
    pub fn watch(&self) -> CommitWatch<'a> {
        CommitWatch { shared: self.shared, number: self.shared.queue.add_watcher() }
    }
}

/// Waits for changes to be committed, for those who pass them on.
pub struct CommitWatch<'a> {
    shared: &'a Shared,
    number: u64,
}

impl std::fmt::Debug for CommitWatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommitWatch({})", self.number)
    }
}

impl CommitWatch<'_> {
    /// The last change that is committed, when it is behind this offset or the engine is closed.
    pub fn poll_beyond(&self, offset: Offset, context: &mut Context<'_>) -> Poll<Offset> {
        match self.shared.queue.watch(self.number, offset + 1, context.waker()) {
            true => Poll::Ready(self.shared.queue.committed()),
            false => Poll::Pending,
        }
    }
}

impl Drop for CommitWatch<'_> {
    fn drop(&mut self) {
        self.shared.queue.remove_watcher(self.number);
    }
}

impl Shared {
    /// See [`Replication::follow`].
    pub(crate) fn follow(&self, why: &str, leader: Option<LeaderHint>) {
        let Some(node) = &self.node else { return };
        let mut standing = node.standing.lock();
        let refusals = node.refusals(leader.as_ref());
        match &*standing {
            Standing::Leading { term, run } => {
                tracing::info!("no longer leads in term {term}, run {run}: {why}");
                self.queue.step_down(&undecided(why), &refusals, |sink| {
                    if let Some(group) = &mut sink.group {
                        group.leading = None;
                    }
                });
                self.state
                    .marked
                    .fetch_min(self.queue.committed(), std::sync::atomic::Ordering::AcqRel);
                if !guards::enabled(Safeguard::LogOutlivesRun) {
                    *standing = Standing::Following { leader: None };
                    drop(standing);
                    let _ = Replication::new(self).truncate_after(self.committed_index());
                    return;
                }
            }
            _ => self.queue.restate(&refusals),
        }
        *standing = Standing::Following { leader };
    }

    /// SyncWaiters the frames that were appended, beside further ones.
    pub(crate) fn sync_frames(&self) -> Result<()> {
        let Some(begun) = self.queue.with_writer(|sink| sink.writer.begin_sync()) else {
            return self
                .queue
                .with_writer(|sink| sink.writer.check())
                .map_err(|failure| failure.batch);
        };
        let synced = begun.run();
        // It commits nothing, but the next batch may go.
        let ended = self.queue.commit(|sink| (None, sink.writer.end_sync(&begun, &synced)));
        ended.map_err(|failure| failure.batch)
    }

    /// Those who wait for frames to be synced.
    pub(crate) fn syncs(&self) -> Option<&syncs::SyncWaiters> {
        self.node.as_ref().map(|node| &node.syncs)
    }

    /// The last frame that is committed.
    pub(crate) fn committed_index(&self) -> u64 {
        self.queue.with_writer(|sink| {
            let applied = sink.group.as_ref().map(|group| group.applied);
            applied.unwrap_or_else(|| sink.writer.tip()).index - 1
        })
    }

    /// The first frame that is still there and can be handed on.
    fn first_index(&self) -> u64 {
        self.files.first_index().unwrap_or(u64::MAX)
    }

    /// Where the frame of an index ends, and the log with it.
    fn end_at(&self, index: u64) -> Result<((u64, u64), Tip)> {
        let missing = || mismatch(&format!("the frame of index {index} is not there"));
        let (mut cursor, mut tip) =
            FrameCursor::of_segment(&self.files, index).ok_or_else(missing)?;
        while tip.index <= index {
            let (frame, checksum) = cursor.next_of_any(&self.files)?.ok_or_else(missing)?;
            if frame.header.index != tip.index {
                return Err(missing());
            }
            tip.advance(&frame.header, checksum);
        }
        Ok((cursor.place(), tip))
    }
}

fn is_alone() -> Error {
    Error::invalid(
        reason::INVALID_OPTION,
        "the database is alone; open it with the option node to have it take part in a group",
    )
    .with("option", "node")
}
