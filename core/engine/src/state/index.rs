//! The order of a partition's instances, counted by cell.
//!
//! A tree of three fixed levels: root, branches, leaves of at most [`LEAF_MAX`] instances sorted by
//! id. Branches and leaves know how many instances of each cell (machine version and state) they
//! hold. So a change of state costs two counter updates and no search, a page of any filter skips
//! whole subtrees that have no match, and the n-th match is found without walking to it.

/// The most instances of a leaf.
const LEAF_MAX: usize = 128;
/// The most leaves of a branch.
const BRANCH_MAX: usize = 128;

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

/// Counts by cell, sorted by cell, without zeros.
#[derive(Debug, Default)]
struct Counts(Vec<(u32, u32)>);

impl Counts {
    fn add(&mut self, cell: u32, by: u32) {
        match self.0.binary_search_by_key(&cell, |entry| entry.0) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 += by;
                }
            }
            Err(at) => self.0.insert(at, (cell, by)),
        }
    }

    fn subtract(&mut self, cell: u32, by: u32) {
        if let Ok(at) = self.0.binary_search_by_key(&cell, |entry| entry.0)
            && let Some(entry) = self.0.get_mut(at)
        {
            entry.1 = entry.1.saturating_sub(by);
            if entry.1 == 0 {
                self.0.remove(at);
            }
        }
    }

    fn matching(&self, filter: &CellFilter) -> u64 {
        self.0.iter().filter(|(cell, _)| filter.has(*cell)).map(|(_, n)| u64::from(*n)).sum()
    }
}

#[derive(Debug, Default)]
struct Leaf {
    slots: Vec<u32>,
    counts: Counts,
    branch: u32,
}

#[derive(Debug, Default)]
struct Branch {
    leaves: Vec<u32>,
    counts: Counts,
}

/// The ordered index of one partition.
#[derive(Debug, Default)]
pub(crate) struct OrderedIndex {
    root: Vec<u32>,
    branches: Vec<Branch>,
    leaves: Vec<Leaf>,
    free_leaves: Vec<u32>,
    free_branches: Vec<u32>,
}

/// A place in the order: before the instance at these positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    root: usize,
    leaf: usize,
    slot: usize,
}

impl OrderedIndex {
    fn leaf(&self, number: u32) -> &Leaf {
        // Numbers come from this index alone; an unknown one would be a bug, answered as empty.
        static EMPTY: Leaf =
            Leaf { slots: Vec::new(), counts: Counts(Vec::new()), branch: u32::MAX };
        self.leaves.get(number as usize).unwrap_or(&EMPTY)
    }

    fn branch(&self, number: u32) -> &Branch {
        static EMPTY: Branch = Branch { leaves: Vec::new(), counts: Counts(Vec::new()) };
        self.branches.get(number as usize).unwrap_or(&EMPTY)
    }

    /// The first instance of a leaf decides where the leaf belongs.
    fn first_id<'a>(&self, leaf: u32, instances: &'a impl Instances) -> &'a str {
        self.leaf(leaf).slots.first().map_or("", |slot| instances.id(*slot))
    }

    /// Where `id` is or would be.
    fn place_of(&self, id: &str, instances: &impl Instances) -> Place {
        let first_of_branch = |branch: &u32| {
            let leaf = self.branch(*branch).leaves.first().copied().unwrap_or(NO_LEAF);
            self.first_id(leaf, instances)
        };
        let root = self.root.partition_point(|b| first_of_branch(b) <= id).saturating_sub(1);
        let Some(branch) = self.root.get(root) else {
            return Place { root: 0, leaf: 0, slot: 0 };
        };
        let leaves = &self.branch(*branch).leaves;
        let leaf = leaves.partition_point(|l| self.first_id(*l, instances) <= id).saturating_sub(1);
        let slots = leaves.get(leaf).map_or(&[][..], |leaf| &self.leaf(*leaf).slots);
        let slot = slots.partition_point(|slot| instances.id(*slot) < id);
        Place { root, leaf, slot }
    }

    /// Adds an instance that is not in the index.
    pub(crate) fn insert(&mut self, slot: u32, instances: &mut impl Instances) {
        let cell = instances.cell(slot);
        if self.root.is_empty() {
            let leaf = self.new_leaf();
            let branch = self.new_branch();
            if let Some(entry) = self.branches.get_mut(branch as usize) {
                entry.leaves.push(leaf);
            }
            if let Some(entry) = self.leaves.get_mut(leaf as usize) {
                entry.branch = branch;
            }
            self.root.push(branch);
        }
        let place = self.place_of(instances.id(slot), instances);
        let Some(&branch_number) = self.root.get(place.root) else { return };
        let Some(&leaf_number) = self.branch(branch_number).leaves.get(place.leaf) else { return };
        if let Some(branch) = self.branches.get_mut(branch_number as usize) {
            branch.counts.add(cell, 1);
        }
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return };
        leaf.slots.insert(place.slot, slot);
        leaf.counts.add(cell, 1);
        instances.set_leaf(slot, leaf_number);
        if leaf.slots.len() > LEAF_MAX {
            self.split_leaf(place, branch_number, leaf_number, instances);
        }
    }

    fn split_leaf(
        &mut self,
        place: Place,
        branch_number: u32,
        leaf_number: u32,
        instances: &mut impl Instances,
    ) {
        let new_number = self.new_leaf();
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return };
        // Ids often arrive in order: then keep the full half full.
        let at = if place.slot + 1 == leaf.slots.len() { LEAF_MAX } else { LEAF_MAX / 2 };
        let moved = leaf.slots.split_off(at);
        for slot in &moved {
            leaf.counts.subtract(instances.cell(*slot), 1);
        }
        let mut new = Leaf { branch: branch_number, ..Leaf::default() };
        new.slots.reserve_exact(LEAF_MAX + 1);
        for slot in moved {
            new.counts.add(instances.cell(slot), 1);
            instances.set_leaf(slot, new_number);
            new.slots.push(slot);
        }
        if let Some(entry) = self.leaves.get_mut(new_number as usize) {
            *entry = new;
        }
        let Some(branch) = self.branches.get_mut(branch_number as usize) else { return };
        branch.leaves.insert(place.leaf + 1, new_number);
        if branch.leaves.len() > BRANCH_MAX {
            self.split_branch(place.root, branch_number);
        }
    }

    fn split_branch(&mut self, root: usize, branch_number: u32) {
        let new_number = self.new_branch();
        let Some(branch) = self.branches.get_mut(branch_number as usize) else { return };
        let moved = branch.leaves.split_off(BRANCH_MAX / 2);
        let mut counts = Counts::default();
        for leaf_number in &moved {
            if let Some(leaf) = self.leaves.get_mut(*leaf_number as usize) {
                leaf.branch = new_number;
                for (cell, count) in &leaf.counts.0 {
                    counts.add(*cell, *count);
                }
            }
        }
        for (cell, count) in &counts.0 {
            branch.counts.subtract(*cell, *count);
        }
        if let Some(entry) = self.branches.get_mut(new_number as usize) {
            *entry = Branch { leaves: moved, counts };
        }
        self.root.insert(root + 1, new_number);
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
        let Some(leaf) = self.leaves.get_mut(leaf_number as usize) else { return };
        leaf.slots.retain(|other| *other != slot);
        leaf.counts.subtract(cell, 1);
        let branch_number = leaf.branch;
        let emptied = leaf.slots.is_empty();
        let Some(branch) = self.branches.get_mut(branch_number as usize) else { return };
        branch.counts.subtract(cell, 1);
        if emptied {
            branch.leaves.retain(|other| *other != leaf_number);
            self.free_leaves.push(leaf_number);
            if branch.leaves.is_empty() {
                self.root.retain(|other| *other != branch_number);
                self.free_branches.push(branch_number);
            }
        }
    }

    /// Records that an instance of `leaf` went from one cell to another.
    pub(crate) fn change_cell(&mut self, leaf: u32, from: u32, to: u32) {
        if from == to {
            return;
        }
        let Some(leaf) = self.leaves.get_mut(leaf as usize) else { return };
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
        let mut rank = 0;
        for branch in self.root.iter().take(place.root) {
            rank += self.branch(*branch).counts.matching(filter);
        }
        let Some(branch) = self.root.get(place.root) else { return rank };
        let leaves = &self.branch(*branch).leaves;
        for leaf in leaves.iter().take(place.leaf) {
            rank += self.leaf(*leaf).counts.matching(filter);
        }
        if let Some(leaf) = leaves.get(place.leaf) {
            let before = self.leaf(*leaf).slots.iter().take(place.slot);
            rank += before.filter(|slot| filter.has(instances.cell(**slot))).count() as u64;
        }
        rank
    }

    /// The matching instance that has exactly `rank` matching ones before it.
    pub(crate) fn select(
        &self,
        mut rank: u64,
        filter: &CellFilter,
        instances: &impl Instances,
    ) -> Option<u32> {
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
                let mut matching =
                    leaf.slots.iter().filter(|slot| filter.has(instances.cell(**slot)));
                return matching.nth(rank as usize).copied();
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
            None => Place { root: 0, leaf: 0, slot: 0 },
        };
        for branch in self.root.iter().skip(place.root) {
            let branch = self.branch(*branch);
            if branch.counts.matching(filter) > 0 {
                for leaf in branch.leaves.iter().skip(place.leaf) {
                    let leaf = self.leaf(*leaf);
                    if leaf.counts.matching(filter) > 0 {
                        for slot in leaf.slots.iter().skip(place.slot) {
                            let skip = start.is_some_and(|(id, exclusive)| {
                                exclusive && instances.id(*slot) == id
                            });
                            if !skip && filter.has(instances.cell(*slot)) && !visit(*slot) {
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
    fn agrees_with_a_sorted_list_through_inserts_changes_and_removals() {
        for ordered in [true, false] {
            let (mut index, mut fake) = (OrderedIndex::default(), Fake::default());
            let mut present = Vec::new();
            for i in 0..40_000u32 {
                let key = if ordered { i } else { i.wrapping_mul(2_654_435_761) };
                fake.0.push((format!("{key:010}"), i % 3, NO_LEAF));
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
            for slot in present.drain(..) {
                index.remove(slot, &mut fake);
            }
            check(&index, &fake, &present);
        }
    }
}
