//! Idempotency keys and the answers they stand for.
//!
//! Bounded in time and number: the oldest give way. A table knows its entries by age and by
//! (owner, key), so remembering, finding and forgetting cost the same however many there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;
use rstmdb_types::{Json, Offset, Text, TimestampMs};

/// Whose key it is: that of an id, in all its lives, or of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub slot: u32,
}

impl Owner {
    /// The owner of keys that belong to no instance.
    pub(crate) const DATABASE: Owner = Owner { slot: u32::MAX };
}

/// The remembered answer of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Create {
        id: Text,
        state: Text,
    },
    Apply {
        from: Text,
        to: Text,
        ctx: Json,
        event_id: Option<Text>,
    },
    /// With the offset of the deletion: of a repeated one, of the first.
    Delete {
        deletion: Offset,
    },
    Batch {
        results: Json,
    },
}

/// A remembered request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyEntry {
    pub owner: Owner,
    pub key: Text,
    pub fingerprint: u64,
    pub at: TimestampMs,
    pub offset: Offset,
    pub answer: Answer,
}

/// The remembered requests of one partition, or of the database.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    /// By age; a forgotten one leaves a hole until it is the oldest.
    entries: VecDeque<Option<KeyEntry>>,
    /// The number of the oldest entry: an entry's number never changes.
    base: u64,
    by_key: HashTable<u64>,
    /// Nobody can choose keys that collide without knowing it.
    seed: u64,
}

/// Which keys count as remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyBounds {
    pub window_ms: i64,
    /// Keys remembered before this offset had to give way.
    pub first: Offset,
    /// Those before this one did so for good: what made them give way is durable.
    pub gone: Offset,
}

impl KeyBounds {
    fn is_young(self, entry: &KeyEntry, now: TimestampMs) -> bool {
        now.saturating_sub(entry.at) < self.window_ms
    }
}

/// Holds the number of keys in the whole database to its bound: the newest by offset stay, so every
/// node forgets the same ones, and a restart too.
#[derive(Debug)]
pub(crate) struct KeyBudget {
    /// The offsets of the keys that count and of those that may have to count again, oldest first.
    offsets: Mutex<VecDeque<Offset>>,
    count_max: usize,
    first: AtomicU64,
    gone: AtomicU64,
}

impl KeyBudget {
    pub(crate) fn new(count_max: usize) -> KeyBudget {
        let (first, gone) = (AtomicU64::new(0), AtomicU64::new(0));
        KeyBudget { offsets: Mutex::default(), count_max, first, gone }
    }

    /// Which keys are remembered when they are kept for `window_ms`.
    pub(crate) fn bounds(&self, window_ms: i64) -> KeyBounds {
        let (first, gone) = (self.first.load(Ordering::Acquire), self.gone.load(Ordering::Acquire));
        KeyBounds { window_ms, first, gone }
    }

    /// Counts a key. One that gave way counts again if those after `durable` are taken back.
    pub(crate) fn add(&self, offset: Offset, durable: Offset) {
        let mut offsets = self.offsets.lock();
        // Keys of one batch or of concurrent writers may come in slightly out of order.
        match offsets.back() {
            Some(newest) if *newest >= offset => {
                let at = offsets.partition_point(|other| *other < offset);
                if offsets.get(at) != Some(&offset) {
                    offsets.insert(at, offset);
                }
            }
            _ => offsets.push_back(offset),
        }
        // What makes the oldest give way is durable: it never counts again.
        while offsets.get(self.count_max).is_some_and(|at| *at <= durable) {
            if let Some(oldest) = offsets.pop_front() {
                self.gone.fetch_max(oldest + 1, Ordering::AcqRel);
            }
        }
        self.settle(&offsets);
    }

    /// Takes back the keys after `durable`.
    pub(crate) fn undo_after(&self, durable: Offset) {
        let mut offsets = self.offsets.lock();
        let keep = offsets.partition_point(|offset| *offset <= durable);
        offsets.truncate(keep);
        self.settle(&offsets);
    }

    fn settle(&self, offsets: &VecDeque<Offset>) {
        let surplus = offsets.len().saturating_sub(self.count_max);
        let first = match surplus {
            0 => self.gone.load(Ordering::Acquire),
            _ => offsets.get(surplus - 1).map_or(0, |last_to_give_way| last_to_give_way + 1),
        };
        self.first.store(first, Ordering::Release);
    }

    /// Counts what was loaded, in any order.
    pub(crate) fn load(&self, mut loaded: Vec<Offset>) {
        loaded.sort_unstable();
        loaded.dedup();
        let newest = loaded.pop();
        *self.offsets.lock() = loaded.into();
        if let Some(newest) = newest {
            self.add(newest, newest);
        }
    }
}

impl KeyTable {
    pub(crate) fn new(seed: u64) -> KeyTable {
        KeyTable { seed, ..KeyTable::default() }
    }

    fn hash(seed: u64, owner: Owner, key: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), seed ^ u64::from(owner.slot))
    }

    fn entry(&self, number: u64) -> Option<&KeyEntry> {
        self.entries.get(usize::try_from(number.checked_sub(self.base)?).ok()?)?.as_ref()
    }

    fn number_of(&self, owner: Owner, key: &str) -> Option<u64> {
        let hash = KeyTable::hash(self.seed, owner, key);
        let found = self.by_key.find(hash, |number| {
            self.entry(*number).is_some_and(|entry| entry.owner == owner && entry.key == key)
        });
        found.copied()
    }

    /// The remembered request, unless its window has passed at `now`.
    pub(crate) fn find(
        &self,
        owner: Owner,
        key: &str,
        now: TimestampMs,
        bounds: KeyBounds,
    ) -> Option<&KeyEntry> {
        if self.by_key.is_empty() {
            return None;
        }
        let entry = self.entry(self.number_of(owner, key)?)?;
        (bounds.is_young(entry, now) && entry.offset >= bounds.first).then_some(entry)
    }

    /// Remembers a request, and forgets what is out of bounds.
    ///
    /// A request that is remembered already (seen in a checkpoint and again in the log) stays.
    pub(crate) fn remember(&mut self, entry: KeyEntry, bounds: KeyBounds) {
        let now = entry.at;
        if let Some(number) = self.number_of(entry.owner, &entry.key) {
            if self.entry(number).is_some_and(|known| known.offset >= entry.offset) {
                return;
            }
            // It stays by age, in case the new one is taken back.
            self.unlink(number);
        }
        let number = self.base + self.entries.len() as u64;
        self.entries.push_back(Some(entry));
        self.link(number);
        self.trim(now, bounds);
    }

    /// Makes the entry of a number the one that its key finds.
    fn link(&mut self, number: u64) {
        let Some(entry) = self.entry(number) else { return };
        let hash = KeyTable::hash(self.seed, entry.owner, &entry.key);
        let (entries, base, seed) = (&self.entries, self.base, self.seed);
        self.by_key.insert_unique(hash, number, |number| {
            let entry = entries.get((*number - base) as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| KeyTable::hash(seed, entry.owner, &entry.key))
        });
    }

    fn unlink(&mut self, number: u64) {
        let Some(entry) = self.entry(number) else { return };
        let hash = KeyTable::hash(self.seed, entry.owner, &entry.key);
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == number) {
            found.remove();
        }
    }

    fn trim(&mut self, now: TimestampMs, bounds: KeyBounds) {
        while let Some(oldest) = self.entries.front() {
            let keep = oldest
                .as_ref()
                .is_some_and(|entry| entry.offset >= bounds.gone && bounds.is_young(entry, now));
            if keep {
                break;
            }
            self.forget(self.base);
            self.entries.pop_front();
            self.base += 1;
        }
    }

    fn forget(&mut self, number: u64) {
        self.unlink(number);
        let place = number.checked_sub(self.base).and_then(|at| self.entries.get_mut(at as usize));
        if let Some(place) = place {
            *place = None;
        }
    }

    /// Takes back what was remembered at `offset`, the newest entry.
    pub(crate) fn undo(&mut self, offset: Offset) {
        let newest = self.base + self.entries.len() as u64;
        let is_it = matches!(self.entries.back(), Some(Some(entry)) if entry.offset == offset);
        if is_it && newest > self.base {
            self.unlink(newest - 1);
            if let Some(Some(undone)) = self.entries.pop_back() {
                self.link_former(&undone);
            }
        }
    }

    /// After `undone` was taken back its key finds again what it found before.
    fn link_former(&mut self, undone: &KeyEntry) {
        let same = |entry: &KeyEntry| entry.owner == undone.owner && entry.key == undone.key;
        let former = self.entries.iter().rposition(|entry| entry.as_ref().is_some_and(same));
        if let Some(place) = former {
            self.link(self.base + place as u64);
        }
    }

    /// Takes back everything remembered after `durable`.
    pub(crate) fn undo_after(&mut self, durable: Offset) {
        while let Some(newest) = self.entries.back() {
            match newest.as_ref().map(|entry| entry.offset) {
                // A hole: what was there gave way to an entry after it.
                None => drop(self.entries.pop_back()),
                Some(offset) if offset > durable => self.undo(offset),
                Some(_) => break,
            }
        }
    }

    /// Forgets everything remembered before `offset`; returns the table as it was.
    pub(crate) fn flush(&mut self, offset: Offset, bounds: KeyBounds) -> KeyTable {
        let old = std::mem::replace(self, KeyTable::new(self.seed));
        for entry in old.iter().filter(|entry| entry.offset >= offset) {
            self.remember(entry.clone(), bounds);
        }
        old
    }

    /// Forgets the keys of some instances, given by their sorted slots.
    pub(crate) fn forget_slots(&mut self, slots: &[u32]) {
        if slots.is_empty() || self.entries.is_empty() {
            return;
        }
        let of_them = |entry: &KeyEntry| slots.binary_search(&entry.owner.slot).is_ok();
        let numbers: Vec<u64> = (self.base..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.as_ref().is_some_and(of_them))
            .map(|(number, _)| number)
            .collect();
        for number in numbers {
            self.forget(number);
        }
    }

    /// Up to `count` entries from the number `from` on, and the number to go on with.
    pub(crate) fn slice(&self, from: u64, count: usize) -> (Vec<KeyEntry>, Option<u64>) {
        let start = from.max(self.base);
        let skip = usize::try_from(start - self.base).unwrap_or(usize::MAX);
        let slice = self.entries.iter().skip(skip).take(count);
        let next = start + count as u64;
        let more = next < self.base + self.entries.len() as u64;
        (slice.flatten().cloned().collect(), more.then_some(next))
    }

    /// The remembered requests, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyEntry> {
        self.entries.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: KeyBounds = KeyBounds { window_ms: 100, first: 0, gone: 0 };

    fn entry(key: &str, at: TimestampMs, offset: Offset) -> KeyEntry {
        KeyEntry {
            owner: Owner { slot: 1 },
            key: key.into(),
            fingerprint: 0,
            at,
            offset,
            answer: Answer::Delete { deletion: offset },
        }
    }

    fn found(table: &KeyTable, key: &str, now: TimestampMs, bounds: KeyBounds) -> Option<Offset> {
        table.find(Owner { slot: 1 }, key, now, bounds).map(|entry| entry.offset)
    }

    #[test]
    fn keys_expire_by_time_and_give_way_by_offset() {
        let mut table = KeyTable::default();
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            table.remember(entry(key, 10, index as u64 + 1), BOUNDS);
        }
        assert_eq!(found(&table, "a", 109, BOUNDS), Some(1));
        assert_eq!(found(&table, "a", 110, BOUNDS), None, "the window has passed");
        let later = KeyBounds { first: 2, gone: 2, ..BOUNDS };
        assert_eq!(found(&table, "a", 20, later), None, "it gave way");
        assert_eq!(found(&table, "b", 20, later), Some(2));
        table.remember(entry("d", 20, 4), later);
        assert_eq!(table.by_key.len(), 3, "what gave way is gone");
        table.undo(4);
        assert_eq!(found(&table, "d", 20, BOUNDS), None);
        table.remember(entry("b", 120, 5), BOUNDS);
        assert_eq!(found(&table, "b", 120, BOUNDS), Some(5), "remembered anew");
        assert_eq!(table.by_key.len(), 1);
        let before = table.flush(6, BOUNDS);
        assert_eq!(table.by_key.len(), 0);
        assert_eq!(found(&table, "b", 120, BOUNDS), None);
        assert_eq!(found(&before, "b", 120, BOUNDS), Some(5));
    }

    #[test]
    fn a_key_remembered_anew_is_the_former_one_after_undo() {
        let mut table = KeyTable::default();
        table.remember(entry("a", 10, 1), BOUNDS);
        let displaced = KeyBounds { first: 2, ..BOUNDS };
        assert_eq!(found(&table, "a", 20, displaced), None);
        table.remember(entry("a", 20, 3), displaced);
        assert_eq!(found(&table, "a", 20, displaced), Some(3));
        table.undo_after(2);
        assert_eq!(found(&table, "a", 20, BOUNDS), Some(1));
    }

    #[test]
    fn the_newest_keys_count_and_what_gave_way_comes_back_with_an_undo() {
        let budget = KeyBudget::new(3);
        let first = || budget.bounds(0).first;
        for offset in 1..=3 {
            budget.add(offset, offset);
        }
        assert_eq!(first(), 0);
        for offset in 4..=9 {
            budget.add(offset, 3);
        }
        assert_eq!((first(), budget.bounds(0).gone), (7, 0), "nothing after 3 is durable yet");
        budget.undo_after(3);
        assert_eq!(first(), 0);
        budget.add(4, 4);
        assert_eq!((first(), budget.bounds(0).gone), (2, 2));
        budget.load(vec![9, 7, 8, 5, 6]);
        assert_eq!(first(), 7, "the newest three stay");
    }
}
