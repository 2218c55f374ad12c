//! What the intact files hold.
//!
//! That is the newest intact checkpoint and the unbroken log behind it, or the log from offset 1. Opening,
//! `verify` and `repair` ask here, so they never differ: an opening takes it when it is everything, a
//! repair leaves it. Nothing is changed by asking.

use std::sync::atomic::Ordering;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Offset, Result, TimestampMs};

use crate::checkpoint::checkpoint_path;
use crate::checkpoint::load::{LoadedCheckpoint, Loading};
use crate::error::{corrupt, is_newer};
use crate::log::lineage::Lineage;
use crate::log::recovery::{KnownDecisions, LogRead, RecoveryPlan, read};
use crate::log::tip::Named;
use crate::log::{LogFiles, OFFSET_MAX};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::options::Options;
use crate::replay::Replayer;
use crate::state::State;
use crate::storage::Storage;

/// Where to look, and for what.
pub(crate) struct Search<'a> {
    pub storage: &'a dyn Storage,
    pub manifest: &'a Manifest,
    pub files: &'a LogFiles,
    pub options: &'a Options,
    /// Spreads ids in memory, in each state otherwise.
    pub hash_seed: &'a dyn Fn() -> u64,
    /// Nothing after it is wanted.
    pub limit: Option<Offset>,
    /// Where others decide about the log, up to which frame they are known to have; none: all of it counts.
    pub decided: Option<u64>,
    /// Told the stage, and the bytes done and in all.
    pub progress: &'a dyn Fn(&'static str, u64, u64),
}

/// What there is.
pub(crate) struct Held {
    pub state: State,
    /// The checkpoint it begins with; none when the log tells it all.
    pub base: Option<LoadedBase>,
    /// The log behind; none when nothing of it goes on from the checkpoint.
    pub log: Option<LogRead>,
    /// The last change.
    pub last: Offset,
    /// The last that shows: without a log, what a checkpoint has beyond that are marks.
    shown: Offset,
    /// Why this is not everything.
    pub fault: Option<Error>,
    /// The histories it went through.
    pub lineage: Lineage,
    /// Checkpoints that can't be used, with what is wrong.
    pub useless: Vec<(CheckpointEntry, Error)>,
}

/// A checkpoint that a state was loaded from.
pub(crate) struct LoadedBase {
    pub file: String,
    pub offset: Offset,
    /// The time in the log when it was written.
    pub at: TimestampMs,
    /// The newest change that is in it, in part or whole.
    pub newest: Offset,
    /// The last frame before it began.
    pub named: Option<Named>,
}

impl Held {
    fn is_more_than(&self, other: &Held) -> bool {
        let rank = |held: &Held| (held.shown, held.log.is_some());
        rank(self) > rank(other)
    }

    /// What keeps the database from being opened as it is.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        self.fault.as_ref().or_else(|| self.log.as_ref()?.history.as_ref())
    }
}

impl Search<'_> {
    /// Finds what the intact files hold; the one that reaches furthest, when none reaches the end.
    ///
    /// Errors: the first damage that was found, when they hold nothing; reason `newer_format` when a later release
    /// wrote any of it.
    pub(crate) fn find(&self) -> Result<Held> {
        let mut best: Option<Held> = None;
        let mut useless = Vec::new();
        let mut failure = None;
        // What any checkpoint holds was on the disk.
        let mut durable = self.manifest.durable_offset;
        let checkpoints = self.manifest.checkpoints.iter().rev();
        let wanted =
            checkpoints.filter(|entry| self.limit.is_none_or(|limit| entry.offset <= limit));
        for candidate in wanted.map(Some).chain([None]) {
            match self.from(candidate, &mut durable) {
                Ok(None) => {}
                Ok(Some(held)) => {
                    let is_whole = held.refusal().is_none();
                    if is_whole || best.as_ref().is_none_or(|best| held.is_more_than(best)) {
                        best = Some(held);
                    }
                    if is_whole {
                        break;
                    }
                }
                Err(error) if is_newer(&error) => return Err(error),
                Err(error) => {
                    match candidate {
                        Some(entry) => useless.push((entry.clone(), error.clone())),
                        None if error.reason() != Some(reason::CORRUPT) => return Err(error),
                        None => {}
                    }
                    failure.get_or_insert(error);
                }
            }
        }
        let nothing = || corrupt(MANIFEST, 0, "no checkpoint can be used");
        let mut held = best.ok_or_else(|| failure.unwrap_or_else(nothing))?;
        held.useless = useless;
        Ok(held)
    }

    /// What there is from a checkpoint on, or from the first offset; nothing when it is of no use.
    fn from(
        &self,
        candidate: Option<&CheckpointEntry>,
        durable: &mut Offset,
    ) -> Result<Option<Held>> {
        let database = self.manifest.database()?;
        let state = State::new(self.options, (self.hash_seed)());
        let mut loaded = LoadedCheckpoint::default();
        if let Some(checkpoint) = candidate {
            let progress = |done, total| (self.progress)("loading the checkpoint", done, total);
            let loading = Loading { storage: self.storage, database, progress: &progress };
            loaded = loading.load(&checkpoint.file, &state)?;
        }
        let after = loaded.offset;
        let limit = self.limit.unwrap_or(OFFSET_MAX);
        if loaded.newest > limit {
            return Ok(None);
        }
        // The log itself comes last: what it tells again is in order.
        let mut lineage = loaded.lineage;
        self.manifest.history.iter().for_each(|begins| lineage.add(*begins));
        *self.files.lineage.lock() = lineage;
        *self.files.members.lock() = loaded.members;
        let boundary = self.manifest.boundaries.last().copied().unwrap_or(0);
        state.boundary.store(boundary, Ordering::Release);
        // A checkpoint is a mark's, or of an end that asks for no other.
        state.marked.store(after, Ordering::Release);
        let plan = RecoveryPlan {
            storage: self.storage,
            database,
            files: self.files,
            first_segment: self.manifest.first_segment,
            last_segment: self.manifest.last_segment,
            after,
            durable: (*durable).max(loaded.newest),
            named: loaded.named,
            limit,
            decided: self.decided.map(|index| KnownDecisions { index, offset: loaded.newest }),
        };
        state.begin_replay(loaded.newest);
        let mut replayer = Replayer::new(&state);
        let log =
            read(&plan, &mut |offset, effect| replayer.apply(offset, effect), &|done, total| {
                (self.progress)("replaying the log", done, total)
            });
        drop(replayer);
        let lineage = self.files.lineage.lock().clone();
        let is_other = log.as_ref().is_ok_and(|log| log.is_other);
        if !is_other {
            *durable = plan.durable;
        }
        let base = candidate.map(|entry| LoadedBase {
            file: entry.file.clone(),
            offset: after,
            at: loaded.at,
            newest: loaded.newest,
            named: loaded.named,
        });
        let held = |log: Option<LogRead>, last, fault| {
            let shown = if log.is_some() { last } else { loaded.shown };
            Some(Held { state, base, log, last, shown, fault, lineage, useless: Vec::new() })
        };
        match log {
            Ok(log) if is_other => Err(log.fault.unwrap_or_else(|| missing_base(candidate))),
            // It may hold some changes of what is missing and not others.
            Ok(log) if log.last() >= loaded.newest => {
                let (last, fault) = (log.last(), log.fault.clone());
                Ok(held(Some(log), last, fault))
            }
            Ok(LogRead { fault, .. }) if loaded.newest == after => Ok(held(None, after, fault)),
            Ok(log) => Err(log.fault.unwrap_or_else(|| missing_base(candidate))),
            Err(error) if candidate.is_none() => Err(error),
            Err(error) if error.reason() == Some(reason::CORRUPT) && loaded.newest == after => {
                Ok(held(None, after, Some(error)))
            }
            Err(error) => Err(error),
        }
    }
}

fn missing_base(candidate: Option<&CheckpointEntry>) -> Error {
    let path = candidate.map_or_else(|| MANIFEST.to_owned(), |entry| checkpoint_path(&entry.file));
    corrupt(&path, 0, "it does not go with the log")
}
