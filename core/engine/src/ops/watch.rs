//! Follows the events of one or all instances.

use std::sync::Arc;

use rstmdb_types::{
    LogPosition, Offset, Result, WatchAllRequest, WatchAllResult, WatchInstanceRequest,
    WatchInstanceResult,
};

use super::Edge;
use crate::error::compacted;
use crate::shared::Shared;
use crate::watch::{EventFilter, Subscription};

impl Shared {
    pub(crate) fn watch_instance(
        self: &Arc<Self>,
        request: WatchInstanceRequest,
        edge: &Edge<'_>,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        self.check_open()?;
        // Live from here on; events that the state below includes are left out by their offset.
        let mut subscription = Subscription::new(self.clone(), self.queue.committed() + 1);
        let hash = self.state.hash(&request.instance_id);
        let (result, ticket) = {
            let partition = self.state.partition(hash);
            let slot = partition.live(hash, &request.instance_id);
            let result = slot.map(|(_, slot)| WatchInstanceResult {
                subscription_id: subscription_id(edge),
                instance_id: request.instance_id.clone(),
                current_state: slot.machine.state_name(slot.state),
                current_wal_offset: slot.last,
                history_id: None,
            });
            (result, self.seen(&partition, hash, &request.instance_id))
        };
        // What comes after it is told here as well.
        self.queue.wait(ticket.where_it_stands())?;
        let mut result = result?;
        let mut filter = EventFilter::instance(request.instance_id, result.current_wal_offset + 1);
        let asked = request.from_offset.filter(|from| *from > 0);
        if let Some(from) = asked {
            self.check_place(from, request.history_id.as_ref(), edge)?;
        }
        let begins = asked.unwrap_or(result.current_wal_offset + 1);
        result.history_id = self.position(begins).history_id.or(request.history_id);
        match asked {
            // The instance has not changed since: nothing to replay, however old the offset is.
            Some(from) if from > result.current_wal_offset => filter.after = from,
            Some(from) => {
                subscription.start_at(self.replay_from(from)?);
                filter.after = from;
            }
            None => {}
        }
        filter.include_ctx = request.include_ctx;
        filter.include_lifecycle = request.include_lifecycle;
        subscription.set_filter(filter);
        Ok((result, subscription))
    }

    pub(crate) fn watch_all(
        self: &Arc<Self>,
        request: WatchAllRequest,
        edge: &Edge<'_>,
    ) -> Result<(WatchAllResult, Subscription)> {
        self.check_open()?;
        let mut subscription = Subscription::new(self.clone(), self.queue.committed() + 1);
        let wal_offset = subscription.resume_offset();
        if let Some(from) = request.from_offset.filter(|from| *from > 0) {
            self.check_place(from, request.history_id.as_ref(), edge)?;
            subscription.start_at(self.replay_from(from)?);
        }
        let begins = subscription.position();
        let result = WatchAllResult {
            subscription_id: subscription_id(edge),
            wal_offset,
            history_id: begins.history_id.or_else(|| request.history_id.clone()),
        };
        subscription.set_filter(EventFilter::all(request));
        Ok((result, subscription))
    }

    /// Where a replay begins, if the log still has it.
    fn replay_from(&self, from: Offset) -> Result<LogPosition> {
        let first = self.first_offset();
        if from < first { Err(compacted(from, first)) } else { Ok(self.position(from)) }
    }
}

fn subscription_id(edge: &Edge<'_>) -> rstmdb_types::Text {
    format!("sub-{}", edge.id(0)).into()
}
