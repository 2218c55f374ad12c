//! The order of a partition's instances, counted by cell.
//!
//! A tree of three fixed levels: root, branches, leaves of at most [`LEAF_MAX`] instances sorted by
//! id. Branches and leaves know how many instances of each cell (machine version and state) they
//! hold. So a change of state costs two counter updates and no search, a page of any filter skips
//! whole subtrees that have no match, and the n-th match is found without walking to it.
//!
//! The beginnings of the ids are kept beside the numbers: instances lie all over the memory, and a
//! search that had to look at their ids would wait for each of them.

use std::hint::black_box;

/// The most instances of a leaf.
const LEAF_MAX: usize = 128;
/// The most leaves of a branch.
const BRANCH_MAX: usize = 64;

/// Marks an instance that is in no leaf.
pub(crate) const NO_LEAF: u32 = u32::MAX;

/// How the index sees the instances it orders.
pub(crate) trait Instances {
    fn id(&self, slot: u32) -> &str;
    fn cell(&self, slot: u32) -> u32;
    fn leaf(&self, slot: u32) -> u32;
    fn set_leaf(&mut self, slot: u32, leaf: u32);
}

/// The cells a query asks for.
#[derive(Debug, Clone)]
pub(crate) enum CellFilter {
    /// All of them.
    All,
    /// Those marked true.
    Some(Vec<bool>),
}

impl CellFilter {
    pub(crate) fn has(&self, cell: u32) -> bool {
        match self {
            CellFilter::All => true,
            CellFilter::Some(cells) => cells.get(cell as usize).copied().unwrap_or(false),
        }
    }
}

/// The first bytes of an id as a number: in the order of the ids, as far as these bytes tell.
pub(crate) type IdPrefix = u128;

pub(crate) fn prefix(id: &str) -> IdPrefix {
    let mut bytes = [0; size_of::<IdPrefix>()];
    for (place, byte) in bytes.iter_mut().zip(id.as_bytes()) {
        *place = *byte;
    }
    IdPrefix::from_be_bytes(bytes)
}

/// This many counts are kept in place.
const COUNTS_INLINE: usize = 8;

/// Counts by cell, sorted by cell, without zeros.
#[derive(Debug)]
enum CellCounts {
    Few { length: u32, entries: [(u32, u32); COUNTS_INLINE] },
    Many(Vec<(u32, u32)>),
}

impl Default for CellCounts {
    fn default() -> CellCounts {
        CellCounts::NONE
    }
}

impl CellCounts {
    const NONE: CellCounts = CellCounts::Few { length: 0, entries: [(0, 0); COUNTS_INLINE] };

    fn entries(&self) -> &[(u32, u32)] {
        match self {
            CellCounts::Few { length, entries } => {
                entries.get(..*length as usize).unwrap_or_default()
            }
            CellCounts::Many(entries) => entries,
        }
    }

    fn entries_mut(&mut self) -> &mut [(u32, u32)] {
        match self {
            CellCounts::Few { length, entries } => {
                entries.get_mut(..*length as usize).unwrap_or_default()
            }
            CellCounts::Many(entries) => entries,
        }
    }

    fn add(&mut self, cell: u32, by: u32) {
        let entries = self.entries_mut();
        match entries.iter_mut().find(|entry| entry.0 >= cell) {
            Some(entry) if entry.0 == cell => entry.1 += by,
            _ => self.insert(cell, by),
        }
    }

    fn insert(&mut self, cell: u32, count: u32) {
        let at = self.entries().partition_point(|entry| entry.0 < cell);
        match self {
            CellCounts::Few { length, entries } if (*length as usize) < COUNTS_INLINE => {
                *length += 1;
                if let Some(tail) = entries.get_mut(at..*length as usize) {
                    tail.rotate_right(1);
                }
                if let Some(entry) = entries.get_mut(at) {
                    *entry = (cell, count);
                }
            }
            CellCounts::Few { entries, .. } => {
                let mut entries = entries.to_vec();
                entries.insert(at, (cell, count));
                *self = CellCounts::Many(entries);
            }
            CellCounts::Many(entries) => entries.insert(at, (cell, count)),
        }
    }

    fn subtract(&mut self, cell: u32, by: u32) {
        let Some(at) = self.entries().iter().position(|entry| entry.0 == cell) else { return };
        let Some(entry) = self.entries_mut().get_mut(at) else { return };
        entry.1 = entry.1.saturating_sub(by);
        if entry.1 > 0 {
            return;
        }
        match self {
            CellCounts::Few { length, entries } => {
                if let Some(tail) = entries.get_mut(at..*length as usize) {
                    tail.rotate_left(1);
                }
                *length -= 1;
            }
            CellCounts::Many(entries) => {
                entries.remove(at);
            }
        }
    }

    fn matching(&self, filter: &CellFilter) -> u64 {
        let entries = self.entries().iter();
        entries.filter(|(cell, _)| filter.has(*cell)).map(|(_, n)| u64::from(*n)).sum()
    }
}

/// What a change of state touches lies in the first of its cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Leaf {
    branch: u32,
    counts: CellCounts,
    slots: Vec<u32>,
    /// The prefix of each slot's id.
    prefixes: Vec<IdPrefix>,
}

const _: () = assert!(size_of::<Leaf>() == 128);

#[derive(Debug, Default)]
struct Branch {
    leaves: Vec<u32>,
    /// For each leaf a prefix that is not above that of its first id, nor below that of the id before.
    prefixes: Vec<IdPrefix>,
    counts: CellCounts,
}

/// The ordered index of one partition.
#[derive(Debug, Default)]
pub(crate) struct OrderedIndex {
    root: Vec<u32>,
    /// For each branch what [`Branch::prefixes`] has for its leaves.
    prefixes: Vec<IdPrefix>,
    branches: Vec<Branch>,
    leaves: Vec<Leaf>,
    free_leaves: Vec<u32>,
    free_branches: Vec<u32>,
    /// A place that must be there was not: nothing in here can be relied on.
    is_broken: bool,
}

/// A place in the order: before the instance at these positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IndexPosition {
    root: usize,
    leaf: usize,
    slot: usize,
}

impl OrderedIndex {
    fn leaf(&self, number: u32) -> &Leaf {
        // Numbers come from this index alone; an unknown one would be a bug, answered as empty.
        static EMPTY: Leaf = Leaf {
            branch: u32::MAX,
            counts: CellCounts::NONE,
            slots: Vec::new(),
            prefixes: Vec::new(),
        };
        self.leaves.get(number as usize).unwrap_or(&EMPTY)
    }

    fn branch(&self, number: u32) -> &Branch {
        static EMPTY: Branch =
            Branch { leaves: Vec::new(), prefixes: Vec::new(), counts: CellCounts::NONE };
        self.branches.get(number as usize).unwrap_or(&EMPTY)
    }

    /// The first instance of a leaf decides where the leaf belongs.
    fn first_id<'a>(&self, leaf: u32, instances: &'a impl Instances) -> &'a str {
        self.leaf(leaf).slots.first().map_or("", |slot| instances.id(*slot))
    }

    /// Where `id` is or would be.
    fn place_of(&self, id: &str, instances: &impl Instances) -> IndexPosition {
        let wanted = prefix(id);
        let root = last_not_above(wanted, &self.prefixes, |at| {
            let branch = self.root.get(at).map(|branch| self.branch(*branch));
            let leaf = branch.and_then(|branch| branch.leaves.first()).copied();
            self.first_id(leaf.unwrap_or(NO_LEAF), instances) <= id
        });
        let Some(branch) = self.root.get(root).map(|branch| self.branch(*branch)) else {
            return IndexPosition { root: 0, leaf: 0, slot: 0 };
        };
        let leaf = last_not_above(wanted, &branch.prefixes, |at| {
            let leaf = branch.leaves.get(at).copied();
            self.first_id(leaf.unwrap_or(NO_LEAF), instances) <= id
        });
        let leaf_number = branch.leaves.get(leaf).copied().unwrap_or(NO_LEAF);
        let Leaf { slots, prefixes, .. } = self.leaf(leaf_number);
        let slot = count_true(wanted, prefixes, |at| {
            slots.get(at).is_some_and(|slot| instances.id(*slot) < id)
        });
        IndexPosition { root, leaf, slot }
    }

    fn slot_at(&self, place: IndexPosition) -> Option<u32> {
        let branch = self.branch(*self.root.get(place.root)?);
        self.leaf(*branch.leaves.get(place.leaf)?).slots.get(place.slot).copied()
    }

    /// Adds an instance that is not in the index.
    pub(crate) fn insert(&mut self, slot: u32, instances: &mut impl Instances) {
        let cell = instances.cell(slot);
        if self.root.is_empty() {
            let leaf = self.new_leaf();
            let branch = self.new_branch();
            if let Some(entry) = self.branches.get_mut(branch as usize) {
                entry.leaves.push(leaf);
                entry.prefixes.push(IdPrefix::MAX);
            }
            if let Some(entry) = self.leaves.get_mut(leaf as usize) {
                entry.branch = branch;
            }
            self.root.push(branch);
            self.prefixes.push(IdPrefix::MAX);
        }
        let id = instances.id(slot);
        let (new, place) = (prefix(id), self.place_of(id, instances));
        let Some(&branch_number) = self.root.get(place.root) else { return self.fail() };
        let Some(&leaf_number) = self.branch(branch_number).leaves.get(place.leaf) else {
            return self.fail();
        };
        if let Some(branch) = self.branches.get_mut(branch_number as usize) {
            branch.counts.add(cell, 1);
            if let Some(first) = branch.prefixes.get_mut(place.leaf) {
                *first = new.min(*first);
            }
        }
        if let Some(first) = self.prefixes.get_mut(place.root) {
            *first = new.min(*first);
        }
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return self.fail() };
        leaf.slots.insert(place.slot, slot);
        leaf.prefixes.insert(place.slot, new);
        leaf.counts.add(cell, 1);
        instances.set_leaf(slot, leaf_number);
        if leaf.slots.len() > LEAF_MAX {
            self.split_leaf(place, branch_number, leaf_number, instances);
        }
    }

    fn split_leaf(
        &mut self,
        place: IndexPosition,
        branch_number: u32,
        leaf_number: u32,
        instances: &mut impl Instances,
    ) {
        let new_number = self.new_leaf();
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return self.fail() };
        // Ids often arrive in order: then keep the full half full.
        let at = if place.slot + 1 == leaf.slots.len() { LEAF_MAX } else { LEAF_MAX / 2 };
        let moved = leaf.slots.split_off(at);
        for slot in &moved {
            leaf.counts.subtract(instances.cell(*slot), 1);
        }
        let mut new = Leaf { branch: branch_number, ..Leaf::default() };
        new.slots.reserve_exact(LEAF_MAX + 1);
        new.prefixes.reserve_exact(LEAF_MAX + 1);
        new.prefixes.extend(leaf.prefixes.drain(at..));
        let first = new.prefixes.first().copied().unwrap_or(IdPrefix::MAX);
        for slot in moved {
            new.counts.add(instances.cell(slot), 1);
            instances.set_leaf(slot, new_number);
            new.slots.push(slot);
        }
        if let Some(entry) = self.leaves.get_mut(new_number as usize) {
            *entry = new;
        }
        let Some(branch) = self.branches.get_mut(branch_number as usize) else {
            return self.fail();
        };
        branch.leaves.insert(place.leaf + 1, new_number);
        branch.prefixes.insert(place.leaf + 1, first);
        if branch.leaves.len() > BRANCH_MAX {
            self.split_branch(place.root, branch_number);
        }
    }

    fn split_branch(&mut self, root: usize, branch_number: u32) {
        let new_number = self.new_branch();
        let Some(branch) = self.branches.get_mut(branch_number as usize) else {
            return self.fail();
        };
        let moved = branch.leaves.split_off(BRANCH_MAX / 2);
        let prefixes = branch.prefixes.split_off(BRANCH_MAX / 2);
        let first = prefixes.first().copied().unwrap_or(IdPrefix::MAX);
        let mut counts = CellCounts::default();
        for leaf_number in &moved {
            if let Some(leaf) = self.leaves.get_mut(*leaf_number as usize) {
                leaf.branch = new_number;
                for (cell, count) in leaf.counts.entries() {
                    counts.add(*cell, *count);
                }
            }
        }
        for (cell, count) in counts.entries() {
            branch.counts.subtract(*cell, *count);
        }
        if let Some(entry) = self.branches.get_mut(new_number as usize) {
            *entry = Branch { leaves: moved, prefixes, counts };
        }
        self.root.insert(root + 1, new_number);
        self.prefixes.insert(root + 1, first);
    }

    /// Whether an invariant was found broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn fail(&mut self) {
        debug_assert!(false, "the ordered index is broken");
        self.is_broken = true;
    }

    fn new_leaf(&mut self) -> u32 {
        self.free_leaves.pop().unwrap_or_else(|| {
            self.leaves.push(Leaf::default());
            self.leaves.len() as u32 - 1
        })
    }

    fn new_branch(&mut self) -> u32 {
        self.free_branches.pop().unwrap_or_else(|| {
            self.branches.push(Branch::default());
            self.branches.len() as u32 - 1
        })
    }

    /// Removes an instance; emptied leaves and branches are used again.
    pub(crate) fn remove(&mut self, slot: u32, instances: &mut impl Instances) {
        let leaf_number = instances.leaf(slot);
        let cell = instances.cell(slot);
        instances.set_leaf(slot, NO_LEAF);
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return self.fail() };
        if let Some(at) = leaf.slots.iter().position(|other| *other == slot) {
            leaf.slots.remove(at);
            leaf.prefixes.remove(at);
        }
        leaf.counts.subtract(cell, 1);
        let branch_number = leaf.branch;
        let emptied = leaf.slots.is_empty();
        let Some(branch) = self.branches.get_mut(branch_number as usize) else {
            return self.fail();
        };
        branch.counts.subtract(cell, 1);
        if emptied {
            if let Some(at) = branch.leaves.iter().position(|other| *other == leaf_number) {
                branch.leaves.remove(at);
                branch.prefixes.remove(at);
            }
            self.free_leaves.push(leaf_number);
            if branch.leaves.is_empty() {
                if let Some(at) = self.root.iter().position(|other| *other == branch_number) {
                    self.root.remove(at);
                    self.prefixes.remove(at);
                }
                self.free_branches.push(branch_number);
            }
        }
    }

    /// Asks for what [`OrderedIndex::change_cell`] touches of this leaf.
    #[inline]
    pub(crate) fn expect_change(&self, leaf: u32) {
        black_box(self.leaves.get(leaf as usize).map(|leaf| leaf.branch));
    }

    /// Records that an instance of `leaf` went from one cell to another.
    pub(crate) fn change_cell(&mut self, leaf: u32, from: u32, to: u32) {
        if from == to {
            return;
        }
        let Some(leaf) = self.leaves.get_mut(leaf as usize) else { return self.fail() };
        leaf.counts.subtract(from, 1);
        leaf.counts.add(to, 1);
        if let Some(branch) = self.branches.get_mut(leaf.branch as usize) {
            branch.counts.subtract(from, 1);
            branch.counts.add(to, 1);
        }
    }

    /// How many matching instances come before `id`.
    pub(crate) fn rank(&self, id: &str, filter: &CellFilter, instances: &impl Instances) -> u64 {
        let place = self.place_of(id, instances);
        let (before, leaf) = self.leaf_at(place, filter);
        let matching = leaf.counts.matching(filter);
        if matching == leaf.slots.len() as u64 {
            return before + place.slot as u64;
        }
        let slots = leaf.slots.iter().take(place.slot);
        before + slots.filter(|slot| filter.has(instances.cell(**slot))).count() as u64
    }

    /// About how many matching instances come before `id`: no instance of its leaf is looked at, as if those
    /// that match were spread evenly in there.
    pub(crate) fn estimate_rank(
        &self,
        id: &str,
        filter: &CellFilter,
        instances: &impl Instances,
    ) -> u64 {
        let place = self.place_of(id, instances);
        let (before, leaf) = self.leaf_at(place, filter);
        let part = leaf.counts.matching(filter) * place.slot as u64;
        before + part / (leaf.slots.len() as u64).max(1)
    }

    /// The leaf of a place, and how many matching instances come before that leaf.
    fn leaf_at(&self, place: IndexPosition, filter: &CellFilter) -> (u64, &Leaf) {
        let mut before = 0;
        for branch in self.root.iter().take(place.root) {
            before += self.branch(*branch).counts.matching(filter);
        }
        let branch = self.branch(self.root.get(place.root).copied().unwrap_or(NO_LEAF));
        for leaf in branch.leaves.iter().take(place.leaf) {
            before += self.leaf(*leaf).counts.matching(filter);
        }
        (before, self.leaf(branch.leaves.get(place.leaf).copied().unwrap_or(NO_LEAF)))
    }

    /// The matching instance that has exactly `rank` matching ones before it.
    pub(crate) fn select(
        &self,
        rank: u64,
        filter: &CellFilter,
        instances: &impl Instances,
    ) -> Option<u32> {
        let (leaf, rank) = self.leaf_of(rank, filter)?;
        let mut matching = leaf.slots.iter().filter(|slot| filter.has(instances.cell(**slot)));
        matching.nth(rank as usize).copied()
    }

    /// An instance near the one that has `rank` matching ones before it: see [`OrderedIndex::estimate_rank`].
    pub(crate) fn estimate_select(&self, rank: u64, filter: &CellFilter) -> Option<u32> {
        let (leaf, rank) = self.leaf_of(rank, filter)?;
        let at = rank * leaf.slots.len() as u64 / leaf.counts.matching(filter);
        leaf.slots.get(at as usize).copied()
    }

    /// The leaf of the matching instance that has `rank` matching ones before it, and how many of those are in
    /// the leaf.
    fn leaf_of(&self, mut rank: u64, filter: &CellFilter) -> Option<(&Leaf, u64)> {
        for branch in &self.root {
            let branch = self.branch(*branch);
            let in_branch = branch.counts.matching(filter);
            if rank >= in_branch {
                rank -= in_branch;
                continue;
            }
            for leaf in &branch.leaves {
                let leaf = self.leaf(*leaf);
                let in_leaf = leaf.counts.matching(filter);
                if rank >= in_leaf {
                    rank -= in_leaf;
                    continue;
                }
                return Some((leaf, rank));
            }
        }
        None
    }

    /// Calls `visit` for matching instances in order, from `start` on, until it returns false.
    ///
    /// `start` is an id and whether that id itself is left out.
    pub(crate) fn visit(
        &self,
        start: Option<(&str, bool)>,
        filter: &CellFilter,
        instances: &impl Instances,
        mut visit: impl FnMut(u32) -> bool,
    ) {
        let mut place = match start {
            Some((id, _)) => self.place_of(id, instances),
            None => IndexPosition { root: 0, leaf: 0, slot: 0 },
        };
        if let Some((id, true)) = start
            && self.slot_at(place).is_some_and(|slot| instances.id(slot) == id)
        {
            place.slot += 1;
        }
        for branch in self.root.iter().skip(place.root) {
            let branch = self.branch(*branch);
            if branch.counts.matching(filter) > 0 {
                for leaf in branch.leaves.iter().skip(place.leaf) {
                    let leaf = self.leaf(*leaf);
                    if leaf.counts.matching(filter) > 0 {
                        for slot in leaf.slots.iter().skip(place.slot) {
                            if filter.has(instances.cell(*slot)) && !visit(*slot) {
                                return;
                            }
                        }
                    }
                    place.slot = 0;
                }
            }
            place.leaf = 0;
            place.slot = 0;
        }
    }
}

/// How many of the sorted `prefixes` belong to ids that the search has behind it. Those below the
/// wanted prefix do, those above do not, and `tie` decides about the equal ones.
fn count_true(wanted: IdPrefix, prefixes: &[IdPrefix], tie: impl Fn(usize) -> bool) -> usize {
    let mut low = prefixes.partition_point(|prefix| *prefix < wanted);
    if prefixes.get(low) != Some(&wanted) {
        return low;
    }
    let mut high = prefixes.partition_point(|prefix| *prefix <= wanted);
    while low < high {
        let middle = low.midpoint(high);
        if tie(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The last position whose prefix, or in a tie whose id, is not above the wanted one; else the first.
fn last_not_above(wanted: IdPrefix, prefixes: &[IdPrefix], tie: impl Fn(usize) -> bool) -> usize {
    count_true(wanted, prefixes, tie).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake(Vec<(String, u32, u32)>);

    impl Instances for Fake {
        fn id(&self, slot: u32) -> &str {
            &self.0[slot as usize].0
        }
        fn cell(&self, slot: u32) -> u32 {
            self.0[slot as usize].1
        }
        fn leaf(&self, slot: u32) -> u32 {
            self.0[slot as usize].2
        }
        fn set_leaf(&mut self, slot: u32, leaf: u32) {
            self.0[slot as usize].2 = leaf;
        }
    }

    /// Everything the index says agrees with a sorted list.
    fn check(index: &OrderedIndex, fake: &Fake, present: &[u32]) {
        let only = |cell: u32| CellFilter::Some((0..4).map(|c| c == cell).collect());
        let filters = [CellFilter::All, only(0), only(1), only(2), only(3)];
        for filter in &filters {
            let mut expected: Vec<u32> =
                present.iter().copied().filter(|slot| filter.has(fake.cell(*slot))).collect();
            expected.sort_by(|a, b| fake.id(*a).cmp(fake.id(*b)));
            let mut seen = Vec::new();
            index.visit(None, filter, fake, |slot| {
                seen.push(slot);
                true
            });
            assert_eq!(seen, expected);
            for (rank, slot) in expected.iter().enumerate().step_by(37) {
                assert_eq!(index.select(rank as u64, filter, fake), Some(*slot));
                assert_eq!(index.rank(fake.id(*slot), filter, fake), rank as u64);
                // An estimate is wrong by less than a leaf.
                let estimate = index.estimate_rank(fake.id(*slot), filter, fake);
                assert!(estimate.abs_diff(rank as u64) < LEAF_MAX as u64);
                let near = index.estimate_select(rank as u64, filter).unwrap();
                let estimate = index.rank(fake.id(near), filter, fake);
                assert!(estimate.abs_diff(rank as u64) < LEAF_MAX as u64);
                let mut next = None;
                index.visit(Some((fake.id(*slot), true)), filter, fake, |slot| {
                    next = Some(slot);
                    false
                });
                assert_eq!(next, expected.get(rank + 1).copied());
            }
            assert_eq!(index.select(expected.len() as u64, filter, fake), None);
        }
    }

    #[test]
    fn counts_more_cells_than_have_room_in_place() {
        let mut counts = CellCounts::default();
        for cell in (0..40).rev().chain(0..40) {
            counts.add(cell * 7 % 41, cell + 1);
        }
        let many = CellFilter::All;
        assert_eq!(counts.matching(&many), 2 * (1..=40).sum::<u64>());
        assert!(counts.entries().is_sorted_by_key(|entry| entry.0));
        for cell in 0..40 {
            counts.subtract(cell * 7 % 41, 2 * (cell + 1));
        }
        assert_eq!((counts.matching(&many), counts.entries().len()), (0, 0));
        let mut few = CellCounts::default();
        for cell in [3, 1, 2, 1] {
            few.add(cell, 1);
        }
        few.subtract(2, 1);
        assert_eq!(few.entries(), [(1, 2), (3, 1)]);
    }

    #[test]
    fn agrees_with_a_sorted_list_through_inserts_changes_and_removals() {
        // Ids that the prefix tells apart, and ids that it does not.
        let beginnings = ["", "a beginning that all ids share/"];
        for (ordered, beginning) in
            [true, false].into_iter().flat_map(|ordered| beginnings.map(|text| (ordered, text)))
        {
            let (mut index, mut fake) = (OrderedIndex::default(), Fake::default());
            let mut present = Vec::new();
            for i in 0..40_000u32 {
                let key = if ordered { i } else { i.wrapping_mul(2_654_435_761) };
                let beginning = if i % 4 == 0 { "" } else { beginning };
                fake.0.push((format!("{beginning}{key:010}"), i % 3, NO_LEAF));
                index.insert(i, &mut fake);
                present.push(i);
            }
            check(&index, &fake, &present);
            for slot in (0..40_000).step_by(3) {
                let (leaf, from) = (fake.leaf(slot), fake.cell(slot));
                index.change_cell(leaf, from, 3);
                fake.0[slot as usize].1 = 3;
            }
            check(&index, &fake, &present);
            present.retain(|slot| {
                let keep = slot % 5 == 0 && *slot < 30_000;
                if !keep {
                    index.remove(*slot, &mut fake);
                }
                keep
            });
            check(&index, &fake, &present);
            for slot in 5_000..35_000 {
                if fake.leaf(slot) == NO_LEAF {
                    index.insert(slot, &mut fake);
                    present.push(slot);
                }
            }
            check(&index, &fake, &present);
            for slot in present.drain(..) {
                index.remove(slot, &mut fake);
            }
            check(&index, &fake, &present);
        }
    }
}
