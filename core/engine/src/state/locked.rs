//! The parts of the state that are locked while a change is decided and applied.
//!
//! Locks are taken in the order that [`State`] gives. Whatever an effect changes, and whatever takes
//! the change back, goes through here: live, in batches, in replay.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{MutexGuard, RwLockWriteGuard};
use rstmdb_machine::Machine;
use rstmdb_types::{Json, Offset};

use super::keys::{Answer, KeyBounds, KeyEntry, KeyTable, Owner};
use super::machines::{MachineEntry, Machines};
use super::partition::{Partition, Slot};
use super::parts::State;
use super::stamp::{KeyRef, Stamp};
use super::undo::MachineUndo;

/// An effect does not fit the state that it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misfit(pub &'static str);

/// What deciding on a change found out already; who applies it later finds it out again.
#[derive(Debug, Default)]
pub(crate) enum Known {
    #[default]
    Nothing,
    /// Where the instance is, and the context that it comes to.
    Instance { slot: u32, hash: u64, ctx: Option<Json> },
    /// The machine of a new instance.
    Birth(Arc<MachineEntry>),
    /// The parsed definition, and as it was sent.
    Machine(Box<(Machine, Json)>),
}

/// Which parts a change needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub machines: bool,
    pub global_keys: bool,
    /// Numbers of partitions.
    pub partitions: Vec<usize>,
}

/// What holds for every change under the same locks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Changes up to here need no way back; `None`: none ever does.
    pub undo_below: Option<Offset>,
    pub bounds: KeyBounds,
}

impl Needs {
    /// Asks for more.
    pub(crate) fn add(&mut self, more: Needs) {
        self.machines |= more.machines;
        self.global_keys |= more.global_keys;
        self.partitions.extend(more.partitions);
    }
}

enum Partitions<'a> {
    /// The common case, without a list.
    One(usize, MutexGuard<'a, Partition>),
    /// By number.
    Many(Vec<(usize, MutexGuard<'a, Partition>)>),
}

/// What is locked.
pub(crate) struct Locked<'a> {
    pub state: &'a State,
    machines: Option<RwLockWriteGuard<'a, Machines>>,
    global_keys: Option<MutexGuard<'a, KeyTable>>,
    partitions: Partitions<'a>,
    pub undo_below: Option<Offset>,
    window_ms: i64,
}

impl<'a> Locked<'a> {
    /// Locks one partition.
    pub(crate) fn one(state: &'a State, hash: u64, global_keys: bool) -> Locked<'a> {
        let global_keys = global_keys.then(|| state.global_keys.lock());
        let partition = state.partition(hash);
        partition.expect(hash);
        let partitions = Partitions::One(state.partition_number(hash), partition);
        Locked::new(state, None, global_keys, partitions)
    }

    /// Locks what is needed, in order.
    pub(crate) fn of(state: &'a State, needs: &Needs) -> Locked<'a> {
        let machines = needs.machines.then(|| state.machines.write());
        let global_keys = needs.global_keys.then(|| state.global_keys.lock());
        let mut numbers = needs.partitions.clone();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| Some((number, state.partitions.get(number)?.lock()));
        let partitions = numbers.into_iter().filter_map(lock).collect();
        Locked::new(state, machines, global_keys, Partitions::Many(partitions))
    }

    /// Locks everything.
    pub(crate) fn all(state: &'a State) -> Locked<'a> {
        let partitions = (0..state.partitions.len()).collect();
        Locked::of(state, &Needs { machines: true, global_keys: true, partitions })
    }

    fn new(
        state: &'a State,
        machines: Option<RwLockWriteGuard<'a, Machines>>,
        global_keys: Option<MutexGuard<'a, KeyTable>>,
        partitions: Partitions<'a>,
    ) -> Locked<'a> {
        let window_ms = state.key_window_ms;
        Locked { state, machines, global_keys, partitions, undo_below: None, window_ms }
    }

    /// Keeps ways back for changes after `undo_below`.
    pub(crate) fn undoing(mut self, undo_below: Option<Offset>) -> Locked<'a> {
        self.undo_below = undo_below;
        self
    }

    /// Which keys are remembered, and what needs a way back.
    #[inline]
    pub(crate) fn rules(&self) -> Rules {
        Rules { undo_below: self.undo_below, bounds: self.state.key_budget.bounds(self.window_ms) }
    }

    /// The partition of a hash, which must be locked.
    #[inline]
    pub(crate) fn partition(&mut self, hash: u64) -> Result<(&mut Partition, Rules), Misfit> {
        let rules = self.rules();
        let number = self.state.partition_number(hash);
        let found = match &mut self.partitions {
            Partitions::One(locked, partition) => (*locked == number).then_some(partition),
            Partitions::Many(list) => {
                place(list, number).and_then(|at| list.get_mut(at)).map(|(_, partition)| partition)
            }
        };
        found.map(|partition| (&mut **partition, rules)).ok_or(Misfit("its instance is not locked"))
    }

    /// The partition of a hash, to look at.
    #[inline]
    pub(crate) fn look(&self, hash: u64) -> Option<&Partition> {
        let number = self.state.partition_number(hash);
        match &self.partitions {
            Partitions::One(locked, partition) => (*locked == number).then_some(partition),
            Partitions::Many(list) => {
                list.get(place(list, number)?).map(|(_, partition)| &**partition)
            }
        }
    }

    /// What is known of an id: its instance, or that it was deleted.
    pub(crate) fn find(&self, hash: u64, id: &str) -> Option<(u32, &Slot)> {
        let partition = self.look(hash)?;
        let number = partition.find(hash, id)?;
        let slot = partition.slot(number)?;
        (!self.state.is_purged(slot)).then_some((number, slot))
    }

    /// Whether a single partition is locked, and nothing else.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.partitions, Partitions::One(..)) && self.global_keys.is_none()
    }

    /// Takes back everything after `to` in what is locked.
    pub(crate) fn take_back(&mut self, to: Offset) {
        for partition in self.partitions() {
            partition.roll_back(to);
        }
        if let Some(keys) = self.global_keys.as_deref_mut() {
            keys.undo_after(to);
        }
        self.state.key_budget.undo_after(to);
    }

    /// Drops all ways back.
    pub(crate) fn forget_undo(&mut self) {
        for partition in self.partitions() {
            partition.forget_undo();
        }
    }

    /// Every locked partition.
    pub(crate) fn partitions(&mut self) -> impl Iterator<Item = &mut Partition> {
        let (one, many) = match &mut self.partitions {
            Partitions::One(_, partition) => (Some(&mut **partition), None),
            Partitions::Many(list) => (None, Some(list)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(_, partition)| &mut **partition))
    }

    /// Finds what was broken on the way: nothing of it is passed over.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Misfit> {
        let is_broken = match &self.partitions {
            Partitions::One(_, partition) => partition.is_broken(),
            Partitions::Many(list) => list.iter().any(|(_, partition)| partition.is_broken()),
        };
        if is_broken { Err(Misfit("a partition is broken")) } else { Ok(()) }
    }

    /// The keys that belong to no instance.
    pub(crate) fn global_keys(&self) -> Option<&KeyTable> {
        self.global_keys.as_deref()
    }

    /// The machines, to change them.
    pub(crate) fn machines(&mut self) -> Result<&mut Machines, Misfit> {
        self.machines.as_deref_mut().ok_or(Misfit("the machines are not locked"))
    }

    /// A machine by its number.
    pub(crate) fn machine(&self, number: u32) -> Result<Arc<MachineEntry>, Misfit> {
        let found = match &self.machines {
            Some(machines) => machines.by_number(number).cloned(),
            None => self.state.machines.read().by_number(number).cloned(),
        };
        found.ok_or(Misfit("its machine is missing"))
    }

    /// Remembers the answer to a request with a key: of an instance, given by its hash, or of the database.
    pub(crate) fn remember(
        &mut self,
        owner: Option<(u64, Owner)>,
        key: KeyRef<'_>,
        stamp: Stamp,
        answer: Answer,
    ) -> Result<(), Misfit> {
        let undo_below = self.undo_below.unwrap_or(stamp.offset);
        self.state.key_budget.add(stamp.offset, undo_below);
        let bounds = self.rules().bounds;
        let entry = KeyEntry {
            owner: owner.map_or(Owner::DATABASE, |(_, owner)| owner),
            key: key.key.into(),
            fingerprint: key.fingerprint,
            at: stamp.at,
            offset: stamp.offset,
            answer,
        };
        match owner {
            Some((hash, _)) => self.partition(hash)?.0.remember(entry, bounds),
            None => {
                let keys = self.global_keys.as_deref_mut();
                keys.ok_or(Misfit("the keys are not locked"))?.remember(entry, bounds);
            }
        }
        Ok(())
    }

    /// Removes all that is older than `stamp`.
    pub(crate) fn flush(&mut self, stamp: Stamp) -> Result<(), Misfit> {
        let Rules { undo_below, bounds } = self.rules();
        self.state.flushes.fetch_add(1, Ordering::SeqCst);
        for partition in self.partitions() {
            let undo = partition.flush(stamp.offset, bounds);
            partition.keep_undo(stamp.offset, undo, undo_below);
        }
        let machines = self.machines()?.flush(stamp.offset);
        let keys = self.global_keys.as_deref_mut().ok_or(Misfit("the keys are not locked"))?;
        let keys = keys.flush(stamp.offset, bounds);
        if let Some(durable) = undo_below {
            let undo = MachineUndo::Flush { machines, keys };
            self.state.push_machine_undo(stamp.offset, undo, durable);
        }
        Ok(())
    }

    /// From here on every instance's first effect carries its whole context.
    pub(crate) fn move_boundary(&mut self, offset: Offset) {
        let before = self.state.boundary.swap(offset, Ordering::AcqRel);
        if let Some(durable) = self.undo_below {
            self.state.push_machine_undo(offset, MachineUndo::Boundary(before), durable);
        }
    }

    /// Deleted instances that last changed before `floor` are forgotten from here on.
    pub(crate) fn raise_purge_floor(
        &mut self,
        offset: Offset,
        floor: Offset,
    ) -> Result<(), Misfit> {
        if floor > offset {
            return Err(Misfit("its floor is ahead of it"));
        }
        let before = self.state.purge_floor();
        self.state.move_purge_floor(floor.max(before));
        if let Some(durable) = self.undo_below {
            self.state.push_machine_undo(offset, MachineUndo::PurgeFloor(before), durable);
        }
        Ok(())
    }

    /// The digest of all instances, where it is kept.
    pub(crate) fn digest(&mut self) -> Option<u64> {
        let parts = self.partitions().map(|partition| partition.digest());
        parts.reduce(|sum, part| Some(sum?.wrapping_add(part?))).flatten()
    }

    /// Compares the digest of all instances with one in the log.
    pub(crate) fn compare_digest(&mut self, offset: Offset, digest: u64) -> Result<(), Misfit> {
        if offset <= self.state.digest_from.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(kept) = self.digest() else { return Ok(()) };
        self.state.note_digest(offset, kept);
        match kept == digest {
            true => Ok(()),
            false => Err(Misfit("the instances differ from those that the log tells of")),
        }
    }
}

/// Where a partition is among those that are locked: in its own place when all are.
fn place(list: &[(usize, MutexGuard<'_, Partition>)], number: usize) -> Option<usize> {
    match list.get(number) {
        Some((found, _)) if *found == number => Some(number),
        _ => list.binary_search_by_key(&number, |(number, _)| *number).ok(),
    }
}
