//! Pages over all partitions: where one begins, and its instances in order.

use std::collections::VecDeque;

use rstmdb_types::{InstanceSummary, Text};

use crate::state::index::{IdPrefix, prefix};
use crate::state::{CellFilter, State};

/// Below this many instances to skip, walking over them is quicker than searching.
pub(super) const SKIP_BY_WALKING: u64 = 64;
/// The place of a page is guessed this often before it is searched for.
const GUESSES: u32 = 2;
/// How often a guess is made better.
const GUESS_STEPS: usize = 2;
/// So many partitions are asked where the place may be.
const CANDIDATES: usize = 16;

/// An id near the instance with `wanted` matching ones before it, and how many to walk from it.
///
/// A guess is mostly near enough. Else the place in the largest partition is estimated from the place in all of
/// them, as ids are spread evenly; every third round halves instead, so the work grows with the logarithm.
pub(super) fn nth(state: &State, filter: &CellFilter, wanted: u64) -> (Option<Text>, u64) {
    let mut ranges: Vec<(u64, u64)> =
        state.partitions.iter().map(|part| (0, part.lock().matching(filter))).collect();
    let mut start: (Option<Text>, u64) = (None, 0);
    // A little too low is a place to walk from, a little too high is none.
    let goal = wanted.saturating_sub(SKIP_BY_WALKING / 2);
    let mut aim = goal;
    for round in 1.. {
        if wanted.saturating_sub(start.1) <= SKIP_BY_WALKING {
            break;
        }
        let guessed = (round <= GUESSES).then(|| guess(state, filter, aim)).flatten();
        let chosen = guessed.or_else(|| between(state, filter, wanted, &ranges, round));
        let Some(id) = chosen else { break };
        let ranks: Vec<u64> =
            state.partitions.iter().map(|part| part.lock().rank(&id, filter)).collect();
        let total: u64 = ranks.iter().sum();
        // The next guess is made where this one should have been.
        aim = (goal + aim).saturating_sub(total);
        let below = total <= wanted;
        for (range, rank) in ranges.iter_mut().zip(ranks) {
            if below {
                // What others create meanwhile may have moved it beyond what was counted.
                range.0 = range.0.max(rank).min(range.1);
            } else {
                range.1 = range.1.min(rank).max(range.0);
            }
        }
        if below && total >= start.1 {
            start = (Some(id), total);
        }
    }
    (start.0, wanted.saturating_sub(start.1))
}

/// An id that is nearer to the wanted place than the bounds of the largest partition's range.
fn between(
    state: &State,
    filter: &CellFilter,
    wanted: u64,
    ranges: &[(u64, u64)],
    round: u32,
) -> Option<Text> {
    let largest = ranges.iter().enumerate().max_by_key(|(_, (low, high))| high - low);
    let (number, (low, high)) = largest.map(|(number, range)| (number, *range))?;
    if high - low <= 1 {
        return None;
    }
    let span = if round.is_multiple_of(3) {
        (high - low) / 2
    } else {
        let lows: u64 = ranges.iter().map(|range| range.0).sum();
        let highs: u64 = ranges.iter().map(|range| range.1).sum();
        let part = u128::from(wanted.saturating_sub(lows)) * u128::from(high - low);
        let estimate = part / u128::from((highs - lows).max(1));
        u64::try_from(estimate).unwrap_or(0).saturating_sub(1).clamp(1, high - low - 1)
    };
    state.partitions.get(number)?.lock().select(low + span, filter)
}

/// An id that has about `wanted` matching ones before it.
///
/// Some partitions tell an id where it is expected, as ids are spread evenly; the one in the middle is nearer than most,
/// and from there the way is short. Nothing but the index is looked at on the way.
fn guess(state: &State, filter: &CellFilter, wanted: u64) -> Option<Text> {
    let all: Vec<u64> = state.partitions.iter().map(|part| part.lock().matching(filter)).collect();
    let count = i128::from(all.iter().sum::<u64>().max(1));
    let mut ranks = vec![0; all.len()];
    let mut middle = None;
    for step in 1..=GUESS_STEPS {
        let left = i128::from(wanted) - i128::from(ranks.iter().sum::<u64>());
        let parts = state.partitions.iter().zip(&ranks).zip(&all);
        let mut ids: Vec<Text> = parts
            .filter_map(|((partition, rank), all)| {
                let rank = i128::from(*rank) + left * i128::from(*all) / count;
                let rank = rank.clamp(0, i128::from(all.checked_sub(1)?));
                partition.lock().estimate_select(u64::try_from(rank).ok()?, filter)
            })
            .take(CANDIDATES)
            .collect();
        ids.sort_unstable();
        let id = ids.get(ids.len() / 2)?.clone();
        if step < GUESS_STEPS {
            let partitions = state.partitions.iter();
            ranks = partitions.map(|part| part.lock().estimate_rank(&id, filter)).collect();
        }
        middle = Some(id);
    }
    middle
}

/// Merges the partitions' instances into one order.
pub(super) struct Merge<'a> {
    state: &'a State,
    filter: &'a CellFilter,
    batch: usize,
    sources: Vec<MergeSource>,
}

struct MergeSource {
    ready: VecDeque<InstanceSummary>,
    /// Of the first that is ready: most are told apart by it.
    prefix: IdPrefix,
    /// Where to read on, and whether that id itself is left out.
    from: Option<(Text, bool)>,
    done: bool,
}

impl<'a> Merge<'a> {
    pub(super) fn new(state: &'a State, filter: &'a CellFilter, limit: usize) -> Merge<'a> {
        let parts = state.partitions.len();
        let sources = state.partitions.iter().map(|_| MergeSource::new()).collect();
        Merge { state, filter, batch: (limit / parts * 3 / 2 + 4).min(1024), sources }
    }

    pub(super) fn start_at(&mut self, id: Option<Text>) {
        for source in &mut self.sources {
            source.from = id.clone().map(|id| (id, false));
        }
    }

    pub(super) fn start_after(&mut self, id: Option<Text>) {
        for source in &mut self.sources {
            source.from = id.clone().map(|id| (id, true));
        }
    }

    pub(super) fn next(&mut self) -> Option<InstanceSummary> {
        for (source, partition) in self.sources.iter_mut().zip(&self.state.partitions) {
            if source.ready.is_empty() && !source.done {
                let from = source.from.as_ref().map(|(id, exclusive)| (id.as_str(), *exclusive));
                source.ready = partition.lock().page(from, self.filter, self.batch);
                source.done = source.ready.len() < self.batch;
                source.look();
                if let Some(last) = source.ready.back() {
                    source.from = Some((last.id.clone(), true));
                }
            }
        }
        let ready = self.sources.iter_mut().filter(|source| !source.ready.is_empty());
        let first = ready.min_by(|a, b| {
            let by_id = || a.ready.front().map(|i| &i.id).cmp(&b.ready.front().map(|i| &i.id));
            a.prefix.cmp(&b.prefix).then_with(by_id)
        })?;
        let instance = first.ready.pop_front();
        first.look();
        instance
    }
}

impl MergeSource {
    fn new() -> MergeSource {
        MergeSource { ready: VecDeque::new(), prefix: 0, from: None, done: false }
    }

    /// Takes note of the one that is first now.
    fn look(&mut self) {
        self.prefix = self.ready.front().map_or(0, |first| prefix(&first.id));
    }
}
