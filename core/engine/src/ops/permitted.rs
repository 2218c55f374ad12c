//! Says which events an instance would accept now.

use rstmdb_machine::{Allowance, Situation};
use rstmdb_types::{PermittedRequest, PermittedResult, Result};

use super::Edge;
use crate::log::Ticket;
use crate::pending::Evaluated;
use crate::shared::Shared;

impl Shared {
    pub(crate) fn permitted(
        &self,
        request: PermittedRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<PermittedResult> {
        let (ticket, result) = self.ask(&request, edge);
        Evaluated::new(ticket, self.check_open().and(result))
    }

    fn ask(
        &self,
        request: &PermittedRequest,
        edge: &Edge<'_>,
    ) -> (Ticket, Result<PermittedResult>) {
        if let Some(payload) = &request.payload
            && let Err(error) = self.options.limits.check_payload(payload)
        {
            return (self.queue.ticket(0), Err(error));
        }
        let hash = self.state.hash(&request.instance_id);
        let partition = self.state.partition(hash);
        let slot = match partition.live(hash, &request.instance_id) {
            Ok((_, slot)) => slot,
            Err(error) => return (self.seen(&partition, hash, &request.instance_id), Err(error)),
        };
        let machine = &slot.machine.machine;
        let events = machine.permitted(&Situation {
            machine: &slot.machine.name,
            version: slot.machine.version,
            instance_id: &slot.id,
            state: slot.state,
            ctx: &slot.ctx,
            payload: request.payload.as_ref(),
            now_ms: edge.at_ms,
            created_at_ms: slot.created_at,
            allowance: Allowance::from(&self.options.limits),
        });
        let result = PermittedResult {
            instance_id: slot.id.clone(),
            state: slot.machine.state_name(slot.state),
            completed: machine.is_final(slot.state),
            events,
        };
        (self.queue.ticket(slot.last), Ok(result))
    }
}
