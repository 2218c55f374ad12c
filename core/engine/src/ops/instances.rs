//! Reads of instances: one, a page, counts.

use std::collections::VecDeque;

use rstmdb_types::error::reason;
use rstmdb_types::{
    CountInstancesRequest, CountInstancesResult, Error, GetInstanceRequest, GetInstanceResult,
    InstanceCount, InstanceSummary, ListInstancesRequest, ListInstancesResult, Result, Text,
};

use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::{CellFilter, Partition, Slot, State};

/// Below this many instances to skip, walking over them is quicker than searching.
const SKIP_BY_WALKING: u64 = 64;

pub(crate) fn instance_result(slot: &Slot) -> GetInstanceResult {
    GetInstanceResult {
        instance_id: slot.id.clone(),
        machine: slot.machine.name.clone(),
        version: slot.machine.version,
        state: slot.machine.state_name(slot.state),
        ctx: slot.ctx.clone(),
        last_wal_offset: slot.last,
        last_event_id: slot.last_event_id.as_deref().map(Text::from),
        created_at: Some(slot.created_at),
        updated_at: Some(slot.updated_at),
    }
}

/// Reads one instance in its partition.
pub(crate) fn get_in(partition: &Partition, hash: u64, id: &str) -> Result<GetInstanceResult> {
    partition.live(hash, id).map(|(_, slot)| instance_result(slot))
}

impl Shared {
    pub(crate) fn get_instance(&self, request: GetInstanceRequest) -> Evaluated<GetInstanceResult> {
        if let Err(error) = self.check_open() {
            return self.ready(Err(error));
        }
        let hash = self.state.hash(&request.instance_id);
        let partition = self.state.partition(hash);
        let result = get_in(&partition, hash, &request.instance_id);
        let ticket = self.seen(&partition, hash, &request.instance_id);
        Evaluated::new(ticket, result)
    }

    pub(crate) fn count_instances(
        &self,
        request: CountInstancesRequest,
    ) -> Evaluated<CountInstancesResult> {
        self.observe(|| self.check_open().map(|()| self.count(&request)))
    }

    fn count(&self, request: &CountInstancesRequest) -> CountInstancesResult {
        let mut totals: Vec<u64> = Vec::new();
        for partition in &self.state.partitions {
            let partition = partition.lock();
            let counts = partition.counts();
            totals.resize(totals.len().max(counts.len()), 0);
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        let machines = self.state.machines.read();
        let mut counts = Vec::new();
        for entry in machines.iter() {
            let other = |wanted: &Option<Text>| wanted.as_ref().is_some_and(|w| *w != entry.name);
            if other(&request.machine) || request.version.is_some_and(|v| v != entry.version) {
                continue;
            }
            for (state, name) in (0u32..).zip(entry.machine.states()) {
                let count = totals.get(entry.cell(state) as usize).copied().unwrap_or(0);
                if count > 0 && request.state.as_ref().is_none_or(|wanted| wanted == name) {
                    counts.push(InstanceCount {
                        machine: entry.name.clone(),
                        version: entry.version,
                        state: name.clone(),
                        count,
                    });
                }
            }
        }
        CountInstancesResult { counts }
    }

    pub(crate) fn list_instances(
        &self,
        request: ListInstancesRequest,
    ) -> Evaluated<ListInstancesResult> {
        self.observe(|| self.check_open().and_then(|()| self.page(&request)))
    }

    fn page(&self, request: &ListInstancesRequest) -> Result<ListInstancesResult> {
        let limit = self.page_limit(request.limit.map(u64::from))?;
        let after = request.cursor.as_deref().map(decode_cursor).transpose()?;
        let filter = self.filter(request);
        let state = &*self.state;
        let total: u64 = state.partitions.iter().map(|part| part.lock().matching(&filter)).sum();
        let asked = u64::from(request.offset.unwrap_or(0));
        // Positions are counted from the cursor on, when there are both.
        let before = match &after {
            Some(id) if asked > 0 => rank_after(state, id, &filter),
            _ => 0,
        };
        // Behind the end there is nothing to walk over.
        let skip = asked.min(u64::saturating_sub(total, before));
        let mut merge = Merge::new(state, &filter, limit);
        let left = if skip >= SKIP_BY_WALKING {
            let (start, left) = nth(state, &filter, before + skip);
            merge.start_at(start);
            left
        } else {
            merge.start_after(after);
            skip
        };
        for _ in 0..left {
            if merge.next().is_none() {
                break;
            }
        }
        let mut instances = Vec::with_capacity(limit.min(1024));
        while instances.len() < limit
            && let Some(instance) = merge.next()
        {
            instances.push(instance);
        }
        let has_more = merge.next().is_some();
        let next_cursor = instances.last().filter(|_| has_more).map(|last| encode_cursor(&last.id));
        Ok(ListInstancesResult { instances, total, has_more, next_cursor })
    }

    fn filter(&self, request: &ListInstancesRequest) -> CellFilter {
        if request.machine.is_none() && request.version.is_none() && request.state.is_none() {
            return CellFilter::All;
        }
        let machines = self.state.machines.read();
        let mut cells = vec![false; machines.cells() as usize];
        for entry in machines.iter() {
            let machine_fits = request.machine.as_ref().is_none_or(|name| *name == entry.name);
            if !machine_fits || request.version.is_some_and(|version| version != entry.version) {
                continue;
            }
            for (number, name) in (0u32..).zip(entry.machine.states()) {
                if request.state.as_ref().is_none_or(|wanted| wanted == name)
                    && let Some(cell) = cells.get_mut(entry.cell(number) as usize)
                {
                    *cell = true;
                }
            }
        }
        CellFilter::Some(cells)
    }
}

/// Cursors are marked so that another text in their place is noticed.
fn encode_cursor(id: &str) -> Text {
    format!("after:{id}").into()
}

fn decode_cursor(cursor: &str) -> Result<Text> {
    cursor.strip_prefix("after:").map(Text::from).ok_or_else(|| {
        Error::invalid(
            reason::INVALID_CURSOR,
            format!("{cursor:?} is not a cursor; pass next_cursor of the page before"),
        )
        .with("field", "cursor")
    })
}

fn rank_after(state: &State, id: &str, filter: &CellFilter) -> u64 {
    let ranks = state.partitions.iter().map(|partition| {
        let partition = partition.lock();
        let itself = partition.page(Some((id, false)), filter, 1);
        let is_here = itself.front().is_some_and(|first| first.id == id);
        partition.rank(id, filter) + u64::from(is_here)
    });
    ranks.sum()
}

/// An id near the instance with `wanted` matching ones before it, and how many to walk from it.
///
/// Ids are spread evenly over the partitions, so the place in the largest one is estimated from the
/// place in all of them; every third round halves instead, so the work grows with the logarithm.
fn nth(state: &State, filter: &CellFilter, wanted: u64) -> (Option<Text>, u64) {
    let mut ranges: Vec<(u64, u64)> =
        state.partitions.iter().map(|part| (0, part.lock().matching(filter))).collect();
    let mut start: (Option<Text>, u64) = (None, 0);
    for round in 1.. {
        if wanted.saturating_sub(start.1) <= SKIP_BY_WALKING {
            break;
        }
        let largest = ranges.iter().enumerate().max_by_key(|(_, (low, high))| high - low);
        let Some((number, (low, high))) = largest.map(|(number, range)| (number, *range)) else {
            break;
        };
        if high - low <= 1 {
            break;
        }
        let span = if round % 3 == 0 {
            (high - low) / 2
        } else {
            let lows: u64 = ranges.iter().map(|range| range.0).sum();
            let highs: u64 = ranges.iter().map(|range| range.1).sum();
            let part = u128::from(wanted.saturating_sub(lows)) * u128::from(high - low);
            // A little too low is a place to walk from, a little too high is none.
            let estimate = part / u128::from((highs - lows).max(1));
            u64::try_from(estimate).unwrap_or(0).saturating_sub(1).clamp(1, high - low - 1)
        };
        let chosen = state.partitions.get(number).and_then(|p| p.lock().select(low + span, filter));
        let Some(id) = chosen else { break };
        let ranks: Vec<u64> =
            state.partitions.iter().map(|part| part.lock().rank(&id, filter)).collect();
        let total: u64 = ranks.iter().sum();
        let below = total <= wanted;
        for (range, rank) in ranges.iter_mut().zip(ranks) {
            if below {
                range.0 = range.0.max(rank);
            } else {
                range.1 = range.1.min(rank).max(range.0);
            }
        }
        if below {
            start = (Some(id), total);
        }
    }
    (start.0, wanted.saturating_sub(start.1))
}

/// Merges the partitions' instances into one order.
struct Merge<'a> {
    state: &'a State,
    filter: &'a CellFilter,
    batch: usize,
    sources: Vec<MergeSource>,
}

#[derive(Default)]
struct MergeSource {
    ready: VecDeque<InstanceSummary>,
    /// Where to read on, and whether that id itself is left out.
    from: Option<(Text, bool)>,
    done: bool,
}

impl<'a> Merge<'a> {
    fn new(state: &'a State, filter: &'a CellFilter, limit: usize) -> Merge<'a> {
        let parts = state.partitions.len();
        let sources = state.partitions.iter().map(|_| MergeSource::default()).collect();
        Merge { state, filter, batch: (limit / parts * 3 / 2 + 4).min(1024), sources }
    }

    fn start_at(&mut self, id: Option<Text>) {
        for source in &mut self.sources {
            source.from = id.clone().map(|id| (id, false));
        }
    }

    fn start_after(&mut self, id: Option<Text>) {
        for source in &mut self.sources {
            source.from = id.clone().map(|id| (id, true));
        }
    }

    fn next(&mut self) -> Option<InstanceSummary> {
        for (source, partition) in self.sources.iter_mut().zip(&self.state.partitions) {
            if source.ready.is_empty() && !source.done {
                let from = source.from.as_ref().map(|(id, exclusive)| (id.as_str(), *exclusive));
                source.ready = partition.lock().page(from, self.filter, self.batch);
                source.done = source.ready.len() < self.batch;
                if let Some(last) = source.ready.back() {
                    source.from = Some((last.id.clone(), true));
                }
            }
        }
        let first =
            self.sources.iter_mut().filter(|source| !source.ready.is_empty()).min_by(|a, b| {
                a.ready.front().map(|i| &i.id).cmp(&b.ready.front().map(|i| &i.id))
            })?;
        first.ready.pop_front()
    }
}
