//! Removes all machines and instances.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, FlushAllRequest, FlushAllResult};

use super::Edge;
use crate::log::{Body, Effect};
use crate::pending::Evaluated;
use crate::shared::{MachineUndo, Shared};
use crate::state::partition::Undo;

impl Shared {
    pub(crate) fn flush_all(
        &self,
        _request: FlushAllRequest,
        edge: &Edge,
    ) -> Evaluated<FlushAllResult> {
        if !self.options.allow_flush_all {
            let message = "flush_all is off; open the database with allow_flush_all to use it";
            let error = Error::invalid(reason::DISABLED, message).with("option", "allow_flush_all");
            return self.ready(Err(error));
        }
        let mut machines = self.state.machines.write();
        let mut keys = self.state.global_keys.lock();
        let mut partitions = self.state.lock_all();
        let mut bytes = Vec::new();
        Effect { at: edge.at_ms, body: Body::FlushAll }.encode(&mut bytes);
        let offset = match self.queue.append(1, &bytes) {
            Ok(offset) => offset,
            Err(error) => return self.ready(Err(error)),
        };
        let ticket = self.queue.ticket(offset);
        let durable = self.undo_below();
        let mut instances_removed = 0;
        let bounds = self.key_bounds();
        self.state.flushes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        for partition in &mut partitions {
            instances_removed += partition.counts().iter().sum::<u64>();
            let step = partition.flush(offset, bounds);
            if let Some(durable) = durable {
                partition.push_undo(Undo { offset, step }, durable);
            }
        }
        let flushed = machines.flush(offset);
        let machines_removed = flushed.len() as u64;
        let old_keys = std::mem::take(&mut *keys);
        if let Some(durable) = durable {
            let undo = MachineUndo::Flush { machines: flushed, keys: old_keys };
            self.state.push_machine_undo(offset, undo, durable);
        }
        drop((machines, keys, partitions));
        self.queue.announce();
        let result = FlushAllResult { flushed: true, instances_removed, machines_removed };
        Evaluated::new(ticket, Ok(result))
    }
}
