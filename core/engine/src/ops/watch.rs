//! Follows the events of one or all instances.

use std::sync::Arc;

use rstmdb_types::{
    Offset, Result, WatchAllRequest, WatchAllResult, WatchInstanceRequest, WatchInstanceResult,
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
            });
            (result, self.seen(&partition, hash, &request.instance_id))
        };
        self.queue.wait(ticket)?;
        let result = result?;
        let mut filter = EventFilter::instance(request.instance_id, result.current_wal_offset + 1);
        match request.from_offset {
            // The instance has not changed since: nothing to replay, however old the offset is.
            Some(from) if from > result.current_wal_offset => filter.after = from,
            asked => {
                if let Some(from) = self.replay_from(asked)? {
                    subscription.start_at(from);
                    filter.after = from;
                }
            }
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
        let result = WatchAllResult {
            subscription_id: subscription_id(edge),
            wal_offset: subscription.resume_offset(),
        };
        if let Some(from) = self.replay_from(request.from_offset)? {
            subscription.start_at(from);
        }
        subscription.set_filter(EventFilter::all(request));
        Ok((result, subscription))
    }

    /// Where a replay begins; none for an absent or zero offset.
    fn replay_from(&self, from_offset: Option<Offset>) -> Result<Option<Offset>> {
        let first = self.first_offset();
        match from_offset {
            None | Some(0) => Ok(None),
            Some(from) if from < first => Err(compacted(from, first)),
            Some(from) => Ok(Some(from)),
        }
    }
}

fn subscription_id(edge: &Edge<'_>) -> rstmdb_types::Text {
    format!("sub-{}", edge.id(0)).into()
}
