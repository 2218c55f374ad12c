//! Reads of instances: one, a page, counts.

use rstmdb_types::error::reason;
use rstmdb_types::{
    CountInstancesRequest, CountInstancesResult, Error, GetInstanceRequest, GetInstanceResult,
    InstanceCount, ListInstancesRequest, ListInstancesResult, Result, Text,
};

use super::pages::{Merge, SKIP_BY_WALKING, nth};
use crate::error::instance_not_found;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::{CellFilter, Partition, Slot, State};

#[inline]
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
        let slot = partition.known(hash, &request.instance_id);
        let ticket = self.seen_in(slot);
        match slot {
            Some(slot) if !slot.deleted => Evaluated { ticket, result: Ok(instance_result(slot)) },
            _ => Evaluated { ticket, result: Err(instance_not_found(&request.instance_id)) },
        }
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
