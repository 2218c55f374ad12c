//! Idempotency keys and the answers they stand for.
//!
//! Bounded in time and number: the oldest give way. A table knows its entries by age and by
//! (owner, key), so remembering, finding and forgetting cost the same however many there are.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;
use rstmdb_types::{Json, Offset, Text, TimestampMs};

/// Whose key it is: an instance in one of its lives, or the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub slot: u32,
    /// The offset at which this life of the instance began.
    pub life: Offset,
}

impl Owner {
    /// The owner of keys that belong to no instance.
    pub(crate) const DATABASE: Owner = Owner { slot: u32::MAX, life: 0 };
}

/// The remembered answer of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Create { id: Text, state: Text },
    Apply { from: Text, to: Text, ctx: Json, event_id: Option<Text> },
    Delete,
    Batch { results: Json },
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
    hasher: DefaultHashBuilder,
}

/// Which keys count as remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyBounds {
    pub window_ms: i64,
    /// Keys remembered before this offset had to give way.
    pub first: Offset,
}

/// Holds the number of keys in the whole database to its bound: the newest by offset stay, so every
/// node forgets the same ones.
#[derive(Debug)]
pub(crate) struct KeyBudget {
    /// The offsets of the keys that count, oldest first, and how many of them are durable.
    offsets: Mutex<(VecDeque<Offset>, usize)>,
    count_max: usize,
    first: AtomicU64,
}

impl KeyBudget {
    pub(crate) fn new(count_max: usize) -> KeyBudget {
        KeyBudget { offsets: Mutex::default(), count_max, first: AtomicU64::new(0) }
    }

    /// Keys before this offset are forgotten.
    pub(crate) fn first(&self) -> Offset {
        self.first.load(Ordering::Acquire)
    }

    /// Counts a key. Only durable ones make others give way: what is taken back leaves no trace.
    pub(crate) fn add(&self, offset: Offset, durable: Offset) {
        let mut guard = self.offsets.lock();
        let (offsets, counted) = &mut *guard;
        // Keys of one batch or of concurrent writers may come in slightly out of order.
        let at = offsets.partition_point(|other| *other <= offset);
        if at == offsets.len() {
            offsets.push_back(offset);
        } else {
            offsets.insert(at, offset);
            *counted = (*counted).min(at);
        }
        while offsets.get(*counted).is_some_and(|next| *next <= durable) {
            *counted += 1;
        }
        while *counted > self.count_max {
            if let Some(oldest) = offsets.pop_front() {
                self.first.fetch_max(oldest + 1, Ordering::AcqRel);
            }
            *counted -= 1;
        }
    }

    /// Takes back the keys after `durable`.
    pub(crate) fn undo_after(&self, durable: Offset) {
        let mut guard = self.offsets.lock();
        let (offsets, counted) = &mut *guard;
        let keep = offsets.partition_point(|offset| *offset <= durable);
        offsets.truncate(keep);
        *counted = (*counted).min(keep);
    }

    /// Counts what was loaded, in any order.
    pub(crate) fn load(&self, mut loaded: Vec<Offset>) {
        loaded.sort_unstable();
        *self.offsets.lock() = (loaded.into(), 0);
        let newest = self.offsets.lock().0.pop_back();
        if let Some(newest) = newest {
            self.add(newest, newest);
        }
    }
}

impl KeyTable {
    fn hash(&self, owner: Owner, key: &str) -> u64 {
        self.hasher.hash_one((owner, key))
    }

    fn entry(&self, number: u64) -> Option<&KeyEntry> {
        self.entries.get(usize::try_from(number.checked_sub(self.base)?).ok()?)?.as_ref()
    }

    fn number_of(&self, owner: Owner, key: &str) -> Option<u64> {
        let hash = self.hash(owner, key);
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
        let young = now.saturating_sub(entry.at) < bounds.window_ms;
        (young && entry.offset >= bounds.first).then_some(entry)
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
            self.forget(number);
        }
        let hash = self.hash(entry.owner, &entry.key);
        let number = self.base + self.entries.len() as u64;
        self.entries.push_back(Some(entry));
        let (entries, base, hasher) = (&self.entries, self.base, &self.hasher);
        self.by_key.insert_unique(hash, number, |number| {
            let entry = entries.get((*number - base) as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| hasher.hash_one((entry.owner, entry.key.as_str())))
        });
        self.trim(now, bounds);
    }

    fn trim(&mut self, now: TimestampMs, bounds: KeyBounds) {
        while let Some(oldest) = self.entries.front() {
            let keep = oldest.as_ref().is_some_and(|entry| {
                entry.offset >= bounds.first && now.saturating_sub(entry.at) < bounds.window_ms
            });
            if keep {
                break;
            }
            self.forget(self.base);
            self.entries.pop_front();
            self.base += 1;
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(entry) = self.entry(number) else { return };
        let hash = self.hash(entry.owner, &entry.key);
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == number) {
            found.remove();
        }
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
            self.forget(newest - 1);
            self.entries.pop_back();
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

    /// Forgets everything remembered before `offset`.
    pub(crate) fn flush(&mut self, offset: Offset) {
        let old: Vec<u64> = (self.base..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.as_ref().is_some_and(|entry| entry.offset < offset))
            .map(|(number, _)| number)
            .collect();
        for number in old {
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

    const BOUNDS: KeyBounds = KeyBounds { window_ms: 100, first: 0 };

    fn entry(key: &str, at: TimestampMs, offset: Offset) -> KeyEntry {
        KeyEntry {
            owner: Owner { slot: 1, life: 1 },
            key: key.into(),
            fingerprint: 0,
            at,
            offset,
            answer: Answer::Delete,
        }
    }

    fn found(table: &KeyTable, key: &str, now: TimestampMs, bounds: KeyBounds) -> Option<Offset> {
        table.find(Owner { slot: 1, life: 1 }, key, now, bounds).map(|entry| entry.offset)
    }

    #[test]
    fn keys_expire_by_time_and_give_way_by_offset() {
        let mut table = KeyTable::default();
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            table.remember(entry(key, 10, index as u64 + 1), BOUNDS);
        }
        assert_eq!(found(&table, "a", 109, BOUNDS), Some(1));
        assert_eq!(found(&table, "a", 110, BOUNDS), None, "the window has passed");
        let later = KeyBounds { first: 2, ..BOUNDS };
        assert_eq!(found(&table, "a", 20, later), None, "it gave way");
        assert_eq!(found(&table, "b", 20, later), Some(2));
        table.remember(entry("d", 20, 4), later);
        assert_eq!(table.by_key.len(), 3, "what gave way is gone");
        table.undo(4);
        assert_eq!(found(&table, "d", 20, BOUNDS), None);
        table.remember(entry("b", 120, 5), BOUNDS);
        assert_eq!(found(&table, "b", 120, BOUNDS), Some(5), "remembered anew");
        assert_eq!(table.by_key.len(), 1);
        table.flush(6);
        assert_eq!(table.by_key.len(), 0);
        assert_eq!(found(&table, "b", 120, BOUNDS), None);
    }

    #[test]
    fn only_durable_keys_make_others_give_way() {
        let budget = KeyBudget::new(3);
        for offset in 1..=3 {
            budget.add(offset, offset);
        }
        for offset in 4..=9 {
            budget.add(offset, 3);
        }
        assert_eq!(budget.first(), 0, "nothing after 3 is durable yet");
        budget.undo_after(3);
        budget.add(4, 4);
        assert_eq!(budget.first(), 2);
        budget.load(vec![9, 7, 8, 5, 6]);
        assert_eq!(budget.first(), 7, "the newest three stay");
    }
}
