//! One partition: instances, their order, their keys, and how to take back what is not durable yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;
use rstmdb_types::{InstanceSummary, Json, Offset, Text, TimestampMs};

use super::index::{Instances, NO_LEAF, OrderedIndex};
use super::keys::{KeyBounds, KeyEntry, KeyTable, Owner};
use super::machines::MachineEntry;

/// Instances are kept in chunks of this many, so that growing never copies them all.
const CHUNK: usize = 1024;

/// One instance, or what is remembered of a deleted one.
///
/// Exactly two cache lines that lie side by side: finding an instance in a large database is mostly
/// waiting for memory, and the processor fetches such a pair together.
#[derive(Debug, Clone)]
#[repr(align(128))]
pub(crate) struct Slot {
    pub id: Text,
    pub machine: Arc<MachineEntry>,
    pub ctx: Json,
    pub last_event_id: Option<Box<str>>,
    pub created_at: TimestampMs,
    pub updated_at: TimestampMs,
    /// The offset of the creation: it names this life of the id.
    pub life: Offset,
    /// The offset of the last change.
    pub last: Offset,
    /// The offset of the last effect that carries the whole context.
    pub anchor: Offset,
    /// Payload bytes and events logged since then.
    pub delta_bytes: u32,
    pub delta_events: u32,
    pub state: u32,
    pub deleted: bool,
    leaf: u32,
}

const _: () = assert!(size_of::<Slot>() == 128);

impl Slot {
    pub(crate) fn cell(&self) -> u32 {
        self.machine.cell(self.state)
    }

    /// An instance read back from a checkpoint, to be filled in.
    pub(crate) fn restored(id: Text, machine: Arc<MachineEntry>, ctx: Json, state: u32) -> Slot {
        Slot {
            id,
            machine,
            ctx,
            last_event_id: None,
            created_at: 0,
            updated_at: 0,
            life: 0,
            last: 0,
            anchor: 0,
            delta_bytes: 0,
            delta_events: 0,
            state,
            deleted: false,
            leaf: NO_LEAF,
        }
    }

    pub(crate) fn summary(&self) -> InstanceSummary {
        InstanceSummary {
            id: self.id.clone(),
            machine: self.machine.name.clone(),
            version: self.machine.version,
            state: self.machine.state_name(self.state),
            created_at: self.created_at,
            updated_at: self.updated_at,
            last_wal_offset: self.last,
        }
    }

    /// Whether the next effect should carry the whole context.
    ///
    /// It does when the payloads since the last one outgrew it, when too many events would have to be
    /// read back, and after a checkpoint (`boundary`), so that the log from there on stands alone.
    pub(crate) fn needs_anchor(&self, payload_bytes: usize, boundary: Offset) -> bool {
        let context = self.ctx.as_str().len();
        self.anchor <= boundary
            || self.delta_bytes as usize + payload_bytes >= context.max(32)
            || self.delta_events as usize >= (context / 128).max(16)
    }
}

/// What an event changed in a slot, before it did.
#[derive(Debug)]
pub(crate) struct Before {
    ctx: Json,
    last_event_id: Option<Box<str>>,
    updated_at: TimestampMs,
    last: Offset,
    anchor: Offset,
    delta_bytes: u32,
    delta_events: u32,
    state: u32,
}

/// How to take one change back.
#[derive(Debug)]
pub(crate) struct Undo {
    pub offset: Offset,
    pub step: UndoStep,
}

#[derive(Debug)]
pub(crate) enum UndoStep {
    Apply {
        slot: u32,
        before: Before,
    },
    /// `former` is what the slot held before, `None` when it is new.
    Create {
        slot: u32,
        former: Option<Box<Slot>>,
    },
    Delete {
        slot: u32,
        former: Box<Slot>,
    },
    Flush(Box<Contents>),
}

/// The new values an event brings.
#[derive(Debug)]
pub(crate) struct Transition<'a> {
    pub to: u32,
    pub ctx: Json,
    pub at: TimestampMs,
    pub offset: Offset,
    pub event_id: Option<&'a str>,
    pub payload_bytes: usize,
    pub anchored: bool,
}

/// The values a new instance begins with.
#[derive(Debug)]
pub(crate) struct Birth {
    pub id: Text,
    pub machine: Arc<MachineEntry>,
    pub state: u32,
    pub ctx: Json,
    pub at: TimestampMs,
    pub offset: Offset,
}

#[derive(Debug, Default)]
struct Slots {
    chunks: Vec<Vec<Slot>>,
    length: u32,
}

impl Slots {
    fn get(&self, slot: u32) -> Option<&Slot> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    fn push(&mut self, slot: Slot) -> u32 {
        if self.length as usize == self.chunks.len() * CHUNK {
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(slot);
        }
        self.length += 1;
        self.length - 1
    }

    fn pop(&mut self) {
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.pop();
            self.length -= 1;
            if chunk.is_empty() {
                self.chunks.pop();
            }
        }
    }
}

impl Instances for Slots {
    fn id(&self, slot: u32) -> &str {
        self.get(slot).map_or("", |slot| &slot.id)
    }

    fn cell(&self, slot: u32) -> u32 {
        self.get(slot).map_or(0, Slot::cell)
    }

    fn leaf(&self, slot: u32) -> u32 {
        self.get(slot).map_or(NO_LEAF, |slot| slot.leaf)
    }

    fn set_leaf(&mut self, slot: u32, leaf: u32) {
        if let Some(slot) = self.get_mut(slot) {
            slot.leaf = leaf;
        }
    }
}

/// All that a flush empties.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    slots: Slots,
    by_id: HashTable<u32>,
    index: OrderedIndex,
    /// Instances by cell, deleted ones left out.
    counts: Vec<u64>,
    pub keys: KeyTable,
}

/// One partition of the state.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    contents: Contents,
    seed: u64,
    undo: VecDeque<Undo>,
    /// Room for encoding an effect, kept to spare the allocation.
    pub scratch: Vec<u8>,
}

/// The hash that finds the partition and the slot of an id.
pub(crate) fn hash_id(id: &str, seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), seed)
}

impl Partition {
    pub(crate) fn new(seed: u64) -> Partition {
        Partition { seed, ..Partition::default() }
    }

    /// The slot of an id, deleted or not.
    pub(crate) fn find(&self, hash: u64, id: &str) -> Option<u32> {
        let slots = &self.contents.slots;
        self.contents.by_id.find(hash, |slot| slots.id(*slot) == id).copied()
    }

    pub(crate) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.contents.slots.get(slot)
    }

    /// The number of slots, deleted ones included.
    pub(crate) fn slot_count(&self) -> u32 {
        self.contents.slots.length
    }

    pub(crate) fn keys(&self) -> &KeyTable {
        &self.contents.keys
    }

    /// Remembers an idempotency key.
    pub(crate) fn remember(&mut self, entry: KeyEntry, bounds: KeyBounds) {
        self.contents.keys.remember(entry, bounds);
    }

    /// The owner of an instance's keys in its present life.
    pub(crate) fn owner(&self, slot: u32) -> Owner {
        Owner { slot, life: self.slot(slot).map_or(0, |slot| slot.life) }
    }

    pub(crate) fn counts(&self) -> &[u64] {
        &self.contents.counts
    }

    fn count(&mut self, cell: u32, up: bool) {
        let counts = &mut self.contents.counts;
        if counts.len() <= cell as usize {
            counts.resize(cell as usize + 1, 0);
        }
        if let Some(count) = counts.get_mut(cell as usize) {
            *count = if up { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    fn enter(&mut self, slot: u32) {
        let Contents { slots, index, .. } = &mut self.contents;
        index.insert(slot, slots);
        let cell = slots.cell(slot);
        self.count(cell, true);
    }

    fn leave(&mut self, slot: u32) {
        let Contents { slots, index, .. } = &mut self.contents;
        let cell = slots.cell(slot);
        index.remove(slot, slots);
        self.count(cell, false);
    }

    /// Brings an instance to life. `existing` is the slot of the deleted one with this id.
    pub(crate) fn create(
        &mut self,
        hash: u64,
        existing: Option<u32>,
        birth: Birth,
    ) -> (u32, UndoStep) {
        let new = Slot {
            created_at: birth.at,
            updated_at: birth.at,
            life: birth.offset,
            last: birth.offset,
            anchor: birth.offset,
            ..Slot::restored(birth.id, birth.machine, birth.ctx, birth.state)
        };
        let (slot, former) = self.place(hash, existing, new);
        self.enter(slot);
        (slot, UndoStep::Create { slot, former })
    }

    fn place(&mut self, hash: u64, existing: Option<u32>, new: Slot) -> (u32, Option<Box<Slot>>) {
        let Contents { slots, by_id, .. } = &mut self.contents;
        match existing.and_then(|slot| Some((slot, slots.get_mut(slot)?))) {
            Some((slot, old)) => (slot, Some(Box::new(std::mem::replace(old, new)))),
            None => {
                let slot = slots.push(new);
                let seed = self.seed;
                by_id.insert_unique(hash, slot, |slot| hash_id(slots.id(*slot), seed));
                (slot, None)
            }
        }
    }

    /// Moves an instance along a transition.
    pub(crate) fn apply(&mut self, number: u32, change: Transition<'_>) -> Option<UndoStep> {
        let Contents { slots, index, .. } = &mut self.contents;
        let slot = slots.get_mut(number)?;
        let (from, to) = (slot.cell(), slot.machine.cell(change.to));
        let before = Before {
            ctx: std::mem::replace(&mut slot.ctx, change.ctx),
            last_event_id: std::mem::replace(
                &mut slot.last_event_id,
                change.event_id.map(Box::from),
            ),
            updated_at: slot.updated_at,
            last: slot.last,
            anchor: slot.anchor,
            delta_bytes: slot.delta_bytes,
            delta_events: slot.delta_events,
            state: slot.state,
        };
        slot.updated_at = change.at;
        slot.last = change.offset;
        slot.state = change.to;
        if change.anchored {
            slot.anchor = change.offset;
            slot.delta_bytes = 0;
            slot.delta_events = 0;
        } else {
            slot.delta_bytes = slot.delta_bytes.saturating_add(change.payload_bytes as u32);
            slot.delta_events = slot.delta_events.saturating_add(1);
        }
        if from != to {
            index.change_cell(slot.leaf, from, to);
            self.count(from, false);
            self.count(to, true);
        }
        Some(UndoStep::Apply { slot: number, before })
    }

    /// Marks an instance as deleted; its id and offset are remembered.
    pub(crate) fn delete(
        &mut self,
        number: u32,
        at: TimestampMs,
        offset: Offset,
    ) -> Option<UndoStep> {
        let former = Box::new(self.slot(number)?.clone());
        self.leave(number);
        let slot = self.contents.slots.get_mut(number)?;
        slot.deleted = true;
        slot.ctx = Json::null();
        slot.last_event_id = None;
        slot.updated_at = at;
        slot.last = offset;
        Some(UndoStep::Delete { slot: number, former })
    }

    /// Puts back an instance as a checkpoint has it.
    pub(crate) fn restore(&mut self, hash: u64, mut image: Slot) -> u32 {
        image.leaf = NO_LEAF;
        let deleted = image.deleted;
        let (slot, _) = self.place(hash, None, image);
        if !deleted {
            self.enter(slot);
        }
        slot
    }

    /// Empties the partition of all that is older than `offset`.
    pub(crate) fn flush(&mut self, offset: Offset, bounds: KeyBounds) -> UndoStep {
        let old = std::mem::take(&mut self.contents);
        // Only in a replay over a checkpoint that was written meanwhile can anything be younger.
        let mut moved = HashMap::new();
        for (slot, number) in old.slots.chunks.iter().flatten().zip(0u32..) {
            if slot.last >= offset {
                let new = self.restore(hash_id(&slot.id, self.seed), slot.clone());
                moved.insert(number, new);
            }
        }
        for entry in old.keys.iter().filter(|entry| entry.offset >= offset) {
            if let Some(slot) = moved.get(&entry.owner.slot) {
                let owner = Owner { slot: *slot, life: entry.owner.life };
                self.remember(KeyEntry { owner, ..entry.clone() }, bounds);
            }
        }
        UndoStep::Flush(Box::new(old))
    }

    /// Keeps what is needed to take a change back until `durable` reaches it.
    pub(crate) fn push_undo(&mut self, undo: Undo, durable: Offset) {
        while self.undo.front().is_some_and(|oldest| oldest.offset <= durable) {
            self.undo.pop_front();
        }
        self.undo.push_back(undo);
    }

    /// Takes back every change after `durable`, newest first.
    pub(crate) fn roll_back(&mut self, durable: Offset) {
        while self.undo.back().is_some_and(|newest| newest.offset > durable) {
            if let Some(undo) = self.undo.pop_back() {
                self.contents.keys.undo(undo.offset);
                self.undo_step(undo.step);
            }
        }
    }

    /// Drops all ways back.
    pub(crate) fn forget_undo(&mut self) {
        self.undo.clear();
    }

    fn undo_step(&mut self, step: UndoStep) {
        match step {
            UndoStep::Apply { slot: number, before } => {
                let Contents { slots, index, .. } = &mut self.contents;
                let Some(slot) = slots.get_mut(number) else { return };
                let from = slot.cell();
                slot.ctx = before.ctx;
                slot.last_event_id = before.last_event_id;
                slot.updated_at = before.updated_at;
                slot.last = before.last;
                slot.anchor = before.anchor;
                slot.delta_bytes = before.delta_bytes;
                slot.delta_events = before.delta_events;
                slot.state = before.state;
                let to = slot.cell();
                if from != to {
                    index.change_cell(slot.leaf, from, to);
                    self.count(from, false);
                    self.count(to, true);
                }
            }
            UndoStep::Create { slot, former } => {
                self.leave(slot);
                match former {
                    Some(former) => {
                        if let Some(slot) = self.contents.slots.get_mut(slot) {
                            *slot = *former;
                            slot.leaf = NO_LEAF;
                        }
                    }
                    None => self.remove_newest(slot),
                }
            }
            UndoStep::Delete { slot: number, former } => {
                if let Some(slot) = self.contents.slots.get_mut(number) {
                    *slot = *former;
                    slot.leaf = NO_LEAF;
                }
                self.enter(number);
            }
            UndoStep::Flush(contents) => self.contents = *contents,
        }
    }

    /// Changes are undone newest first, so a new slot is the last one.
    fn remove_newest(&mut self, slot: u32) {
        let Contents { slots, by_id, .. } = &mut self.contents;
        let hash = hash_id(slots.id(slot), self.seed);
        if let Ok(found) = by_id.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        if slot + 1 == slots.length {
            slots.pop();
        }
    }

    /// The number of matching instances.
    pub(crate) fn matching(&self, filter: &super::CellFilter) -> u64 {
        let cells = (0u32..).zip(&self.contents.counts);
        cells.filter(|(cell, _)| filter.has(*cell)).map(|(_, count)| count).sum()
    }

    /// How many matching instances come before `id`.
    pub(crate) fn rank(&self, id: &str, filter: &super::CellFilter) -> u64 {
        self.contents.index.rank(id, filter, &self.contents.slots)
    }

    /// The id of the matching instance that has `rank` matching ones before it.
    pub(crate) fn select(&self, rank: u64, filter: &super::CellFilter) -> Option<Text> {
        let slot = self.contents.index.select(rank, filter, &self.contents.slots)?;
        self.slot(slot).map(|slot| slot.id.clone())
    }

    /// Up to `limit` matching instances from `start` on (an id and whether it is left out).
    pub(crate) fn page(
        &self,
        start: Option<(&str, bool)>,
        filter: &super::CellFilter,
        limit: usize,
    ) -> VecDeque<InstanceSummary> {
        let mut page = VecDeque::with_capacity(limit.min(1024));
        if limit > 0 {
            self.contents.index.visit(start, filter, &self.contents.slots, |slot| {
                page.extend(self.slot(slot).map(Slot::summary));
                page.len() < limit
            });
        }
        page
    }
}
