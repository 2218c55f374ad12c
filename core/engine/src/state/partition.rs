//! One partition: instances, their order, their keys, and how to take back what is not durable yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;

use rstmdb_types::{InstanceSummary, Json, Offset, Result, Text, TimestampMs};

use super::ids::IdTable;
use super::index::{Instances, NO_LEAF, OrderedIndex};
use super::keys::{KeyBounds, KeyEntry, KeyTable, Owner};
use super::machines::MachineEntry;
use super::side::{Side, SideTable};
use crate::error::instance_not_found;

/// Instances are kept in chunks of this many, so that growing never copies them all.
const CHUNK: usize = 1024;

/// One instance, or what is remembered of a deleted one.
///
/// Exactly two cache lines that lie side by side: finding an instance in a large database is mostly
/// waiting for memory. The first has what leads on, to the context and to the leaf.
#[derive(Debug, Clone)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    pub id: Text,
    pub ctx: Json,
    pub machine: Arc<MachineEntry>,
    /// The offset of the last change.
    pub last: Offset,
    pub state: u32,
    leaf: u32,
    /// The offset of the last effect that carries the whole context; of a deleted instance that of the last
    /// keyed request to delete it again, if that is later than the deletion.
    pub anchor: Offset,
    /// Payload bytes and events logged since then.
    pub delta_bytes: u32,
    pub delta_events: u32,
    pub updated_at: TimestampMs,
    pub last_event_id: Option<Box<str>>,
    pub created_at: TimestampMs,
    /// The offset of the creation: it names this life of the id.
    pub life: Offset,
    pub deleted: bool,
    /// Whether the partition's side table has more.
    has_side: bool,
    /// Whether nothing is here: the id was purged, and the place waits for another one.
    is_free: bool,
}

const _: () = assert!(size_of::<Slot>() == 128);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(std::mem::offset_of!(Slot, anchor) == 64);

impl Slot {
    pub(crate) fn cell(&self) -> u32 {
        self.machine.cell(self.state)
    }

    /// Whether nothing is here, or what was deleted before `purge_floor`.
    pub(crate) fn is_gone(&self, purge_floor: Offset) -> bool {
        self.is_free || self.deleted && self.touched() < purge_floor
    }

    /// The offset of the last thing that happened to it.
    pub(crate) fn touched(&self) -> Offset {
        self.last.max(self.anchor)
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
            has_side: false,
            is_free: false,
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

    /// A number that differs between instances that are not the same; 0 for deleted ones.
    fn digest(&self, side: Option<&Side>) -> u64 {
        if self.deleted || self.is_free {
            return 0;
        }
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for text in [self.id.as_bytes(), self.ctx.as_str().as_bytes()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        for number in [u64::from(self.machine.number), u64::from(self.state), self.last] {
            hasher.update(&number.to_le_bytes());
        }
        if let Some(side) = side {
            let mut bytes = Vec::new();
            side.encode(&mut bytes);
            hasher.update(&bytes);
        }
        hasher.digest()
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
        side: Option<Box<Side>>,
    },
    DeleteAgain {
        slot: u32,
        anchor: Offset,
    },
    Attach {
        slot: u32,
        side: Option<Box<Side>>,
    },
    Flush(Box<Contents>),
}

/// The new values an event brings.
#[derive(Debug)]
pub(crate) struct AppliedEvent<'a> {
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
    /// Places where nothing is.
    free: Vec<u32>,
}

impl Slots {
    fn get(&self, slot: u32) -> Option<&Slot> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// Puts an instance into a free place.
    fn put(&mut self, slot: Slot) -> u32 {
        while let Some(number) = self.free.pop() {
            // A place that an undo took off the end is free no more.
            if let Some(place) = self.get_mut(number).filter(|place| place.is_free) {
                *place = slot;
                return number;
            }
        }
        self.push(slot)
    }

    /// Frees a place: the last one, or for the next one to come.
    fn clear(&mut self, number: u32) {
        if number + 1 == self.length {
            return self.pop();
        }
        if let Some(place) = self.get_mut(number) {
            let machine = place.machine.clone();
            *place = Slot::restored(Text::default(), machine, Json::null(), place.state);
            place.deleted = true;
            place.is_free = true;
            self.free.push(number);
        }
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
    by_id: IdTable,
    index: OrderedIndex,
    /// Instances by cell, deleted ones left out.
    counts: Vec<u64>,
    pub keys: KeyTable,
    side: SideTable,
    /// Deleted instances by the offset of their deletion, or of the last keyed request to repeat it.
    graves: BTreeMap<Offset, u32>,
    /// The sum of the digests of all instances, where it is kept.
    digest: u64,
}

/// One partition of the state.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    contents: Contents,
    seed: u64,
    keeps_digest: bool,
    /// What a way back leads to was not there.
    is_broken: bool,
    undo: VecDeque<Undo>,
}

/// The hash that finds the partition and the slot of an id.
pub(crate) fn hash_id(id: &str, seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), seed)
}

impl Partition {
    pub(crate) fn new(seed: u64, keeps_digest: bool) -> Partition {
        let contents = Contents { keys: KeyTable::new(seed), ..Contents::default() };
        Partition { contents, seed, keeps_digest, ..Partition::default() }
    }

    /// The digest of all instances, where it is kept.
    pub(crate) fn digest(&self) -> Option<u64> {
        self.keeps_digest.then_some(self.contents.digest)
    }

    /// What an instance has beside its slot.
    pub(crate) fn side(&self, number: u32) -> Option<&Side> {
        self.slot(number).filter(|slot| slot.has_side)?;
        self.contents.side.get(&number).map(|side| &**side)
    }

    /// Counts what is in a slot out of the digest, before it changes, or into it, afterwards.
    #[inline]
    fn digest_slot(&mut self, number: u32, into: bool) {
        if self.keeps_digest {
            self.count_digest(number, into);
        }
    }

    #[cold]
    fn count_digest(&mut self, number: u32, into: bool) {
        let digest = self.slot(number).map_or(0, |slot| slot.digest(self.side(number)));
        let sum = &mut self.contents.digest;
        *sum = if into { sum.wrapping_add(digest) } else { sum.wrapping_sub(digest) };
    }

    /// The slot of an id, deleted or not.
    pub(crate) fn find(&self, hash: u64, id: &str) -> Option<u32> {
        let slots = &self.contents.slots;
        self.contents.by_id.find(hash, |slot| slots.id(slot) == id)
    }

    pub(crate) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.contents.slots.get(slot)
    }

    /// Begins a search early: what it looks at first is on its way from memory meanwhile.
    #[inline]
    pub(crate) fn expect(&self, hash: u64) {
        self.contents.by_id.expect(hash);
    }

    /// The slot of an id, deleted or not, to look at.
    pub(crate) fn known(&self, hash: u64, id: &str) -> Option<&Slot> {
        self.slot(self.find(hash, id)?)
    }

    /// Looks at what a change of this instance will need, so that it is on its way from memory while the
    /// change is decided: what lies apart is fetched together then, not one after the other.
    #[inline]
    pub(crate) fn expect_change(&self, slot: &Slot) {
        let context = slot.ctx.as_str().as_bytes();
        black_box((slot.anchor, context.first().copied(), context.last().copied()));
        self.contents.index.expect_change(slot.leaf);
    }

    /// The instance of an id, unless it is deleted.
    pub(crate) fn live(&self, hash: u64, id: &str) -> Result<(u32, &Slot)> {
        self.find(hash, id)
            .and_then(|number| Some((number, self.slot(number)?)))
            .filter(|(_, slot)| !slot.deleted)
            .ok_or_else(|| instance_not_found(id))
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
        if let Some(former) = &former {
            self.contents.graves.remove(&former.touched());
        }
        self.enter(slot);
        self.digest_slot(slot, true);
        (slot, UndoStep::Create { slot, former })
    }

    fn place(&mut self, hash: u64, existing: Option<u32>, new: Slot) -> (u32, Option<Box<Slot>>) {
        let Contents { slots, by_id, .. } = &mut self.contents;
        match existing.and_then(|slot| Some((slot, slots.get_mut(slot)?))) {
            Some((slot, old)) => (slot, Some(Box::new(std::mem::replace(old, new)))),
            None => {
                let slot = slots.put(new);
                let seed = self.seed;
                by_id.insert(hash, slot, |slot| hash_id(slots.id(slot), seed));
                (slot, None)
            }
        }
    }

    /// Moves an instance along a transition.
    pub(crate) fn apply(&mut self, number: u32, change: AppliedEvent<'_>) -> Option<UndoStep> {
        self.digest_slot(number, false);
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
        self.digest_slot(number, true);
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
        self.digest_slot(number, false);
        self.leave(number);
        self.contents.graves.insert(offset, number);
        let side = self.contents.side.remove(&number);
        let slot = self.contents.slots.get_mut(number)?;
        slot.deleted = true;
        slot.ctx = Json::null();
        slot.last_event_id = None;
        slot.updated_at = at;
        slot.last = offset;
        slot.has_side = false;
        Some(UndoStep::Delete { slot: number, former, side })
    }

    /// Notes that a deleted instance was to be deleted again: it is remembered as long as the key of that.
    pub(crate) fn delete_again(&mut self, number: u32, offset: Offset) -> Option<UndoStep> {
        let slot = self.contents.slots.get_mut(number)?;
        let (before, anchor) = (slot.touched(), slot.anchor);
        slot.anchor = offset;
        self.contents.graves.remove(&before);
        self.contents.graves.insert(offset, number);
        Some(UndoStep::DeleteAgain { slot: number, anchor })
    }

    /// Puts back an instance as a checkpoint has it.
    pub(crate) fn restore(&mut self, hash: u64, mut image: Slot) -> u32 {
        image.leaf = NO_LEAF;
        image.has_side = false;
        let (deleted, last) = (image.deleted, image.touched());
        let (slot, _) = self.place(hash, None, image);
        if deleted {
            self.contents.graves.insert(last, slot);
        } else {
            self.enter(slot);
        }
        self.digest_slot(slot, true);
        slot
    }

    /// Puts something beside an instance's slot, in the place of what was there.
    pub(crate) fn attach(&mut self, number: u32, side: Side) -> Option<UndoStep> {
        self.slot(number)?;
        self.digest_slot(number, false);
        let before = self.exchange_side(number, Some(Box::new(side)));
        self.digest_slot(number, true);
        Some(UndoStep::Attach { slot: number, side: before })
    }

    fn exchange_side(&mut self, number: u32, side: Option<Box<Side>>) -> Option<Box<Side>> {
        let side = side.filter(|side| !side.is_empty());
        let Contents { slots, side: table, .. } = &mut self.contents;
        if let Some(slot) = slots.get_mut(number) {
            slot.has_side = side.is_some();
        }
        match side {
            Some(side) => table.insert(number, side),
            None => table.remove(&number),
        }
    }

    /// Whether an invariant was found broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken || self.contents.index.is_broken()
    }

    /// Whether an instance that was deleted before `floor` has its place yet.
    pub(crate) fn has_graves(&self, floor: Offset) -> bool {
        self.contents.graves.first_key_value().is_some_and(|(deleted, _)| *deleted < floor)
    }

    /// Frees the places of up to `most` instances that were deleted before `floor`; says whether there
    /// are more. Nothing may need a way back to what they were.
    pub(crate) fn sweep(&mut self, floor: Offset, most: usize) -> bool {
        let mut swept = Vec::new();
        while swept.len() < most && self.has_graves(floor) {
            if let Some((_, number)) = self.contents.graves.pop_first() {
                self.remove(number);
                swept.push(number);
            }
        }
        swept.sort_unstable();
        self.contents.keys.forget_slots(&swept);
        self.has_graves(floor)
    }

    /// Empties the partition of all that is older than `offset`.
    pub(crate) fn flush(&mut self, offset: Offset, bounds: KeyBounds) -> UndoStep {
        let empty = Contents { keys: KeyTable::new(self.seed), ..Contents::default() };
        let old = std::mem::replace(&mut self.contents, empty);
        // Only in a replay over a checkpoint that was written meanwhile can anything be younger.
        let mut moved = HashMap::new();
        for (slot, number) in old.slots.chunks.iter().flatten().zip(0u32..) {
            if slot.last >= offset && !slot.is_free {
                let new = self.restore(hash_id(&slot.id, self.seed), slot.clone());
                moved.insert(number, new);
            }
        }
        for entry in old.keys.iter().filter(|entry| entry.offset >= offset) {
            if let Some(slot) = moved.get(&entry.owner.slot) {
                let owner = Owner { slot: *slot };
                self.remember(KeyEntry { owner, ..entry.clone() }, bounds);
            }
        }
        UndoStep::Flush(Box::new(old))
    }

    /// Keeps what is needed to take a change back until `durable` reaches it; `None`: nothing will.
    pub(crate) fn keep_undo(&mut self, offset: Offset, step: UndoStep, durable: Option<Offset>) {
        let Some(durable) = durable else { return };
        while self.undo.front().is_some_and(|oldest| oldest.offset <= durable) {
            self.undo.pop_front();
        }
        self.undo.push_back(Undo { offset, step });
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
                self.digest_slot(number, false);
                let Contents { slots, index, .. } = &mut self.contents;
                let Some(slot) = slots.get_mut(number) else {
                    self.is_broken = true;
                    return;
                };
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
                self.digest_slot(number, true);
            }
            UndoStep::Create { slot, former } => {
                self.digest_slot(slot, false);
                self.leave(slot);
                match former {
                    Some(former) => {
                        self.contents.graves.insert(former.touched(), slot);
                        if let Some(slot) = self.contents.slots.get_mut(slot) {
                            *slot = *former;
                            slot.leaf = NO_LEAF;
                        }
                    }
                    None => self.remove(slot),
                }
            }
            UndoStep::Delete { slot: number, former, side } => {
                if let Some(deleted) = self.slot(number).map(|slot| slot.last) {
                    self.contents.graves.remove(&deleted);
                }
                if let Some(slot) = self.contents.slots.get_mut(number) {
                    *slot = *former;
                    slot.leaf = NO_LEAF;
                }
                self.exchange_side(number, side);
                self.enter(number);
                self.digest_slot(number, true);
            }
            UndoStep::DeleteAgain { slot: number, anchor } => {
                let Contents { slots, graves, .. } = &mut self.contents;
                let Some(slot) = slots.get_mut(number) else {
                    self.is_broken = true;
                    return;
                };
                graves.remove(&slot.touched());
                slot.anchor = anchor;
                graves.insert(slot.touched(), number);
            }
            UndoStep::Attach { slot: number, side } => {
                self.digest_slot(number, false);
                self.exchange_side(number, side);
                self.digest_slot(number, true);
            }
            UndoStep::Flush(contents) => self.contents = *contents,
        }
    }

    /// Forgets an id and frees its place.
    fn remove(&mut self, number: u32) {
        let Contents { slots, by_id, .. } = &mut self.contents;
        let hash = hash_id(slots.id(number), self.seed);
        by_id.remove(hash, number);
        slots.clear(number);
    }

    /// Does to the context of an instance what a bit that flips in memory does.
    #[cfg(test)]
    pub(crate) fn flip_for_test(&mut self, id: &str, hash: u64) {
        let number = self.find(hash, id);
        if let Some(slot) = number.and_then(|number| self.contents.slots.get_mut(number)) {
            slot.ctx = Json::from_canonical(&slot.ctx.as_str().replace('}', r#""!":0}"#));
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

    /// About how many matching instances come before `id`.
    pub(crate) fn estimate_rank(&self, id: &str, filter: &super::CellFilter) -> u64 {
        self.contents.index.estimate_rank(id, filter, &self.contents.slots)
    }

    /// The id of an instance near the matching one that has `rank` matching ones before it.
    pub(crate) fn estimate_select(&self, rank: u64, filter: &super::CellFilter) -> Option<Text> {
        let slot = self.contents.index.estimate_select(rank, filter)?;
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

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
