//! Finds the place of an instance by the hash of its id, in one cache line.
//!
//! In a large partition every line that is touched is waited for. So a bucket is a line: twelve places, a byte
//! of the hash beside each, and whether a search has to go on behind it.

use std::hint::black_box;

/// The places of a bucket.
const PLACES: usize = 12;
/// A bucket is this full on average before the table grows.
const FULL: usize = 10;
/// A one in each mark.
const ONES: u128 = (1 << (8 * PLACES)) / 0xff;
/// The highest bit of each mark.
const HIGH_BITS: u128 = ONES << 7;
/// Marks all of these bits.
const MARKS: u128 = ONES * 0xff;
/// One id that went on to the buckets behind.
const PASSED: u128 = MARKS + 1;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    /// The mark of each place, 0 where nothing is; above them the number of ids that found no room here.
    head: u128,
    places: [u32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The highest bit of each lane that has this mark.
    fn marked(&self, mark: u8) -> u128 {
        let differences = (self.head & MARKS) ^ (ONES * u128::from(mark));
        // No sum is larger than a lane.
        let nonzero = ((differences & !HIGH_BITS) + (MARKS ^ HIGH_BITS)) | differences;
        !nonzero & HIGH_BITS
    }

    /// The first lane that holds `mark` and a place that `is_it`.
    fn find(&self, mark: u8, is_it: &impl Fn(u32) -> bool) -> Option<usize> {
        let mut marked = self.marked(mark);
        while marked != 0 {
            let lane = lowest(marked);
            if self.places.get(lane).is_some_and(|place| is_it(*place)) {
                return Some(lane);
            }
            marked &= marked - 1;
        }
        None
    }

    fn free_lane(&self) -> Option<usize> {
        let free = self.marked(0);
        (free != 0).then(|| lowest(free))
    }

    fn put(&mut self, lane: usize, mark: u8, place: u32) {
        self.head |= u128::from(mark) << (8 * lane);
        if let Some(entry) = self.places.get_mut(lane) {
            *entry = place;
        }
    }

    fn clear(&mut self, lane: usize) {
        self.head &= !(0xff << (8 * lane));
    }

    fn is_passed(&self) -> bool {
        self.head >= PASSED
    }
}

fn lowest(marked: u128) -> usize {
    marked.trailing_zeros() as usize / 8
}

/// The byte of a hash that stands beside a place. Partitions and buckets go by other bits.
fn mark(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The places of instances, by the hashes of their ids.
#[derive(Debug, Default)]
pub(crate) struct IdTable {
    buckets: Vec<Bucket>,
    length: usize,
}

impl IdTable {
    /// The bucket that a hash belongs into.
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    fn behind(&self, bucket: usize) -> usize {
        if bucket + 1 < self.buckets.len() { bucket + 1 } else { 0 }
    }

    /// Where the place that `is_it` stands.
    fn position(&self, hash: u64, is_it: &impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let mut number = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(number)?;
            if let Some(lane) = bucket.find(mark(hash), is_it) {
                return Some((number, lane));
            }
            if !bucket.is_passed() {
                return None;
            }
            number = self.behind(number);
        }
        None
    }

    /// The place with this hash that `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (bucket, lane) = self.position(hash, &is_it)?;
        self.buckets.get(bucket)?.places.get(lane).copied()
    }

    /// Asks the memory for where a search for this hash begins.
    #[inline]
    pub(crate) fn expect(&self, hash: u64) {
        black_box(self.buckets.get(self.home(hash)).map(|bucket| bucket.head));
    }

    /// Adds a place that is not in the table. `hash_of` gives the hash of those that are, when it grows.
    pub(crate) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        if self.length >= self.buckets.len() * FULL {
            self.grow(hash_of);
        }
        self.put(hash, place);
        self.length += 1;
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let count = (self.buckets.len() * 2).max(1);
        for bucket in std::mem::replace(&mut self.buckets, vec![Bucket::default(); count]) {
            for (lane, place) in bucket.places.into_iter().enumerate() {
                if (bucket.head >> (8 * lane)) & 0xff != 0 {
                    self.put(hash_of(place), place);
                }
            }
        }
    }

    fn put(&mut self, hash: u64, place: u32) {
        let mut number = self.home(hash);
        // The table is never full: see `FULL`.
        while let Some(bucket) = self.buckets.get_mut(number) {
            if let Some(lane) = bucket.free_lane() {
                return bucket.put(lane, mark(hash), place);
            }
            bucket.head += PASSED;
            number = self.behind(number);
        }
    }

    /// Removes a place, if it is in the table.
    pub(crate) fn remove(&mut self, hash: u64, place: u32) {
        let Some((at, lane)) = self.position(hash, &|other| other == place) else { return };
        let mut number = self.home(hash);
        while number != at
            && let Some(bucket) = self.buckets.get_mut(number)
        {
            bucket.head -= PASSED;
            number = self.behind(number);
        }
        if let Some(bucket) = self.buckets.get_mut(at) {
            bucket.clear(lane);
            self.length -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is done to a table: whether it is a removal, and of which of few places.
    fn steps() -> impl Strategy<Value = Vec<(bool, u32)>> {
        proptest::collection::vec((any::<bool>(), 0..300u32), 0..1500)
    }

    /// Hashes that differ everywhere, in the mark alone, in the bucket alone, nowhere.
    fn hashes() -> impl Strategy<Value = fn(u32) -> u64> {
        proptest::sample::select(vec![
            (|place| u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as fn(u32) -> u64,
            |place| u64::from(place) << 56,
            |place| u64::from(place).wrapping_mul(0x9e37_79b9) & 0xffff_ffff,
            |place| u64::from(place % 5) << 30,
            |_| u64::MAX,
        ])
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in steps(), hash_of in hashes()) {
            let (mut table, mut model) = (IdTable::default(), BTreeMap::new());
            for (is_removal, place) in steps {
                let hash = hash_of(place);
                if is_removal {
                    model.remove(&place);
                    table.remove(hash, place);
                } else if model.insert(place, hash).is_none() {
                    table.insert(hash, place, hash_of);
                }
                prop_assert_eq!(table.length, model.len());
                prop_assert_eq!(
                    table.find(hash, |other| other == place),
                    model.contains_key(&place).then_some(place)
                );
            }
            for place in 0..300 {
                prop_assert_eq!(
                    table.find(hash_of(place), |other| other == place),
                    model.contains_key(&place).then_some(place)
                );
            }
            for place in model.keys() {
                table.remove(hash_of(*place), *place);
            }
            prop_assert!(table.buckets.iter().all(|bucket| bucket.head == 0), "nothing is left over");
        }
    }

    #[test]
    fn nearly_every_search_ends_in_the_first_bucket() {
        let hash_of = |place: u32| xxhash_rust::xxh3::xxh3_64(&place.to_le_bytes());
        let mut table = IdTable::default();
        let mut looked_at = 0;
        for place in 0..100_000 {
            table.insert(hash_of(place), place, hash_of);
        }
        for place in 0..100_000 {
            let (found, _) = table.position(hash_of(place), &|other| other == place).unwrap();
            looked_at +=
                (found + table.buckets.len() - table.home(hash_of(place))) % table.buckets.len();
        }
        assert!(looked_at < 5_000, "{looked_at} further buckets");
        assert!(table.buckets.len() * size_of::<Bucket>() < 13 * 100_000);
    }
}
