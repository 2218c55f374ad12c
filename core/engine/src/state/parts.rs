//! The whole state: its parts, each behind its lock, and what belongs to none of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rstmdb_types::Offset;

use super::keys::{KeyBudget, KeyTable};
use super::machines::Machines;
use super::partition::{Partition, Slot, hash_id};
use super::undo::MachineUndo;
use crate::options::Options;
use crate::sync::Padded;

/// Digests that are remembered: who compares them asks a little later.
const DIGESTS_MAX: usize = 16;

/// Everything in memory that changes follow.
///
/// Locks are taken in this order: machines, global keys, partitions by number, the queue's lanes.
pub(crate) struct State {
    pub machines: RwLock<Machines>,
    /// Idempotency keys that belong to no instance.
    pub global_keys: Mutex<KeyTable>,
    pub key_budget: KeyBudget,
    pub partitions: Box<[Padded<Mutex<Partition>>]>,
    /// The last checkpoint's offset: see [`Slot::needs_anchor`].
    pub boundary: AtomicU64,
    /// Counts flushes: a checkpoint that saw one begin and not end is of no use.
    pub flushes: AtomicU64,
    /// Deleted instances that last changed before this offset are forgotten.
    purge_floor: AtomicU64,
    /// The last mark.
    pub marked: AtomicU64,
    /// Digests in the log are compared behind this offset: before it, a checkpoint may be ahead.
    pub digest_from: AtomicU64,
    /// The last digests that this node came to, at the places where the log has some, in order.
    digests: Mutex<VecDeque<(Offset, u64)>>,
    /// The time of the newest change that was loaded or replayed.
    pub log_time: AtomicI64,
    pub key_window_ms: i64,
    machine_undo: Mutex<Vec<(Offset, MachineUndo)>>,
    hash_seed: u64,
}

impl State {
    /// An empty state. The seed spreads ids and keys: what it is changes no effect.
    pub(crate) fn new(options: &Options, hash_seed: u64) -> State {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = match options.partitions {
            0 => (cores * 8).clamp(16, 256),
            count => count.min(4096),
        };
        let count = count.next_power_of_two();
        let partition = |_| Padded(Mutex::new(Partition::new(hash_seed, options.digest)));
        State {
            machines: RwLock::default(),
            global_keys: Mutex::new(KeyTable::new(hash_seed)),
            key_budget: KeyBudget::new(options.idempotency_keys_max),
            flushes: AtomicU64::new(0),
            purge_floor: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            digest_from: AtomicU64::new(0),
            digests: Mutex::default(),
            log_time: AtomicI64::new(0),
            key_window_ms: i64::try_from(options.idempotency_window.as_millis())
                .unwrap_or(i64::MAX),
            partitions: (0..count).map(partition).collect(),
            boundary: AtomicU64::new(0),
            machine_undo: Mutex::default(),
            hash_seed,
        }
    }

    /// This node came to a digest at a place in the log; what it came to there or behind it before is of the past.
    pub(crate) fn note_digest(&self, offset: Offset, digest: u64) {
        let mut digests = self.digests.lock();
        digests.retain(|(at, _)| *at < offset);
        digests.push_back((offset, digest));
        if digests.len() > DIGESTS_MAX {
            digests.pop_front();
        }
    }

    /// The last digests, with their places in the log.
    pub(crate) fn digests(&self) -> Vec<(Offset, u64)> {
        self.digests.lock().iter().copied().collect()
    }

    pub(crate) fn hash(&self, id: &str) -> u64 {
        hash_id(id, self.hash_seed)
    }

    /// The number of the partition of a hash. The table inside uses the other half of the hash.
    pub(crate) fn partition_number(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.partitions.len() - 1)
    }

    pub(crate) fn partition(&self, hash: u64) -> MutexGuard<'_, Partition> {
        let number = self.partition_number(hash);
        // The mask keeps the number in range; the first partition always exists.
        match self.partitions.get(number) {
            Some(partition) => partition.lock(),
            None => unreachable_partition(&self.partitions),
        }
    }

    pub(crate) fn lock_all(&self) -> Vec<MutexGuard<'_, Partition>> {
        self.partitions.iter().map(|partition| partition.lock()).collect()
    }

    /// Deleted instances that last changed before this offset are forgotten.
    pub(crate) fn purge_floor(&self) -> Offset {
        self.purge_floor.load(Ordering::Acquire)
    }

    /// Whether an instance is forgotten, though its place may not be free yet.
    pub(crate) fn is_purged(&self, slot: &Slot) -> bool {
        slot.deleted && slot.is_gone(self.purge_floor())
    }

    /// Moves the purge floor; returns the former one.
    pub(crate) fn move_purge_floor(&self, floor: Offset) -> Offset {
        self.purge_floor.swap(floor, Ordering::AcqRel)
    }

    pub(crate) fn push_machine_undo(&self, offset: Offset, undo: MachineUndo, durable: Offset) {
        let mut list = self.machine_undo.lock();
        list.retain(|(offset, _)| *offset > durable);
        list.push((offset, undo));
    }

    /// Takes back everything after `durable`.
    pub(crate) fn roll_back(&self, durable: Offset, reset: &mut dyn FnMut()) {
        let mut machines = self.machines.write();
        let mut keys = self.global_keys.lock();
        let mut partitions = self.lock_all();
        reset();
        for partition in &mut partitions {
            partition.roll_back(durable);
        }
        let mut undo = self.machine_undo.lock();
        while undo.last().is_some_and(|(offset, _)| *offset > durable) {
            match undo.pop() {
                Some((_, MachineUndo::Insert)) => machines.undo_insert(),
                Some((_, MachineUndo::Flush { machines: flushed, keys: old })) => {
                    machines.undo_flush(flushed);
                    *keys = old;
                }
                Some((_, MachineUndo::Boundary(before))) => {
                    self.boundary.store(before, Ordering::Release);
                }
                Some((_, MachineUndo::PurgeFloor(before))) => {
                    self.move_purge_floor(before);
                }
                None => {}
            }
        }
        // Last: a flush that was taken back brings the keys of before it, some as young.
        keys.undo_after(durable);
        self.key_budget.undo_after(durable);
    }

    /// What was loaded holds no change after `newest`; the log's are applied next.
    pub(crate) fn begin_replay(&self, newest: Offset) {
        self.digest_from.store(newest, Ordering::Release);
        let mut offsets: Vec<Offset> =
            self.global_keys.lock().iter().map(|entry| entry.offset).collect();
        for partition in &self.partitions {
            offsets.extend(partition.lock().keys().iter().map(|entry| entry.offset));
        }
        self.key_budget.load(offsets);
    }

    /// Instances that are not deleted.
    pub(crate) fn instance_count(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.lock().counts().iter().sum::<u64>()).sum()
    }
}

#[expect(clippy::indexing_slicing, reason = "a state has at least one partition")]
fn unreachable_partition(partitions: &[Padded<Mutex<Partition>>]) -> MutexGuard<'_, Partition> {
    partitions[0].lock()
}
