//! The library's own suite for logs and state machines.
//!
//! It applies entries that are in no log, and begins logs in the middle. Here both are one: so the state machine under
//! test has an engine of its own, into whose log the entries are put first, and gaps are filled with blanks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftLogReader, StorageError};
use rstmdb_cluster::raft::{
    EngineSlot, Entry, LogId, Payload, RaftLog, RaftMachine, RaftSnapshot, SnapshotFile,
    SnapshotMeta, StoredMembership, TypeConfig, Vote,
};
use rstmdb_engine::NodeKind::Member;
use rstmdb_testkit::cluster::pair::as_node;
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::location;

fn slot() -> Arc<EngineSlot> {
    let options = as_node(Member, 1, Some([7; 16]));
    Arc::new(EngineSlot::open(location(&FaultyStorage::new(1)), options).unwrap())
}

/// A log into which entries are put anywhere behind its end.
struct Filled(RaftLog);

impl Filled {
    async fn fill(&mut self, first: &Entry) {
        let last = self.0.get_log_state().await.unwrap().last_log_id;
        let engine_last = {
            let entries = self.0.try_get_log_entries(0..).await.unwrap();
            entries.last().map(RaftEntry::log_id)
        };
        let (leader, from) = match engine_last {
            Some(id) => (id.leader_id, id.index + 1),
            // All of it is given up, or there is none.
            None => (LogId::default_leader(), last.map_or(0, |_| 0)),
        };
        let blanks = (from..first.index())
            .map(|index| Entry::new(LogId::new(leader, index), Payload::blank()))
            .collect::<Vec<_>>();
        if !blanks.is_empty() {
            self.0.append(blanks, IOFlushed::Noop).await.unwrap();
        }
    }
}

trait DefaultLeader {
    fn default_leader() -> openraft::vote::leader_id_std::CommittedLeaderId<u64>;
}

impl DefaultLeader for LogId {
    fn default_leader() -> openraft::vote::leader_id_std::CommittedLeaderId<u64> {
        0.into()
    }
}

impl RaftLogReader<TypeConfig> for Filled {
    async fn try_get_log_entries<
        RB: std::ops::RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    >(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.0.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.0.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for Filled {
    type LogReader = RaftLog;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> RaftLog {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.0.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, told: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.fill(&entries[0]).await;
        self.0.append(entries, told).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last).await
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        self.0.purge(id).await
    }
}

/// A state machine that has what it applies in a log of its own.
struct Apart {
    machine: RaftMachine,
    log: Filled,
}

impl RaftStateMachine<TypeConfig> for Apart {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = RaftMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut applied = Vec::new();
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.log.append([entry.clone()], IOFlushed::Noop).await?;
            applied.push(Ok((entry, responder)));
        }
        self.machine.apply(futures_util::stream::iter(applied)).await
    }

    async fn get_snapshot_builder(&mut self) -> RaftMachine {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> io::Result<()> {
        self.machine.install_snapshot(meta, file).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.machine.get_current_snapshot().await
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, Filled, Apart> for Builder {
    async fn build(&self) -> Result<((), Filled, Apart), StorageError<TypeConfig>> {
        let log = Filled(RaftLog::new(slot()).unwrap());
        let apart = slot();
        let machine = RaftMachine::new(apart.clone()).unwrap();
        let apart = Apart { machine, log: Filled(RaftLog::new(apart).unwrap()) };
        Ok(((), log, apart))
    }
}

type Tests = Suite<TypeConfig, Filled, Apart, Builder, ()>;

/// Runs tests of the suite, each with a log and a state machine of its own.
macro_rules! run {
    ($($test:ident),* $(,)?) => {
        $(
            println!(stringify!($test));
            let ((), log, machine) = Builder.build().await.unwrap();
            Tests::$test(log, machine).await.unwrap();
        )*
    };
}

/// All but `snapshot_meta` and `transfer_snapshot`: they want a checkpoint of an empty database at once. Ours begins
/// at a mark in the log, and a group's tests hand it over.
#[tokio::test(start_paused = true)]
async fn the_librarys_suite_passes() {
    run!(
        last_membership_in_log_initial,
        last_membership_in_log,
        last_membership_in_log_multi_step,
        get_membership_initial,
        get_membership_from_log_and_empty_sm,
        get_membership_from_empty_log_and_sm,
        get_membership_from_log_le_sm_last_applied,
        get_membership_from_log_gt_sm_last_applied_1,
        get_membership_from_log_gt_sm_last_applied_2,
        get_initial_state_without_init,
        get_initial_state_membership_from_empty_log_and_sm,
        get_initial_state_membership_from_sm_inlog_is_smaller,
        get_initial_state_with_state,
        get_initial_state_last_log_gt_sm,
        get_initial_state_inverted_log_order,
        get_initial_state_conflict_at_same_index,
        get_initial_state_re_apply_committed,
        save_vote,
        get_log_entries,
        limited_get_log_entries,
        leader_bounded_stream,
        entries_stream,
        try_get_log_entry,
        log_reader_reads_new_entries,
        initial_logs,
        get_log_state,
        get_log_id,
        last_id_in_log,
        last_applied_state,
        purge_logs_upto_0,
        purge_logs_upto_5,
        purge_logs_upto_20,
        delete_logs_after_11,
        delete_logs_after_5,
        delete_logs_after_0,
        delete_logs_after_none,
        append_to_log,
        snapshot_meta_optional,
        apply_single,
        apply_multiple,
        get_initial_state_membership_from_log_insm_is_smaller,
        get_initial_state_last_log_lt_sm,
        get_initial_state_log_ids,
    );
}
