//! Returns the events of one instance, along the chain that its effects form in the log.

use rstmdb_types::{
    HistoryOrder, HistoryRequest, HistoryResult, InstanceEvent, Json, Offset, Result,
};

use crate::error::instance_not_found;
use crate::events::{merged, own_context, to_event};
use crate::shared::Shared;

/// One effect read back.
struct Link {
    event: Option<InstanceEvent>,
    own_context: Option<Json>,
    previous: Offset,
}

impl Shared {
    pub(crate) fn history(&self, request: HistoryRequest) -> Result<HistoryResult> {
        self.check_open()?;
        let limit = self.page_limit(request.limit.map(u64::from))?;
        let id = &request.instance_id;
        let hash = self.state.hash(id);
        let (found, ticket) = {
            let partition = self.state.partition(hash);
            let slot = partition.find(hash, id).and_then(|slot| partition.slot(slot));
            (slot.map(|slot| (slot.last, slot.life)), self.seen(&partition, hash, id))
        };
        self.queue.wait(ticket)?;
        let (last, life) = found.ok_or_else(|| instance_not_found(id))?;
        let mut history = match request.order {
            HistoryOrder::Newest => self.newest_first(last, request.cursor, limit),
            HistoryOrder::Oldest => self.oldest_first(last, request.cursor, limit),
        }?;
        history.truncated |= life < history.first_offset;
        Ok(history)
    }

    fn link(&self, offset: Offset) -> Result<Link> {
        let machines = self.state.machines.read();
        self.with_effect(offset, |effect| Link {
            event: to_event(&machines, offset, effect, None),
            own_context: own_context(&effect.body),
            previous: effect.body.previous(),
        })
    }

    /// The cursor is the offset to begin with.
    fn newest_first(
        &self,
        last: Offset,
        cursor: Option<Offset>,
        limit: usize,
    ) -> Result<HistoryResult> {
        let first_offset = self.first_offset();
        let mut at = cursor.unwrap_or(last).min(last);
        let mut links = Vec::new();
        let mut next_cursor = None;
        while at >= first_offset {
            let link = self.link(at)?;
            let previous = link.previous;
            let is_anchor = link.own_context.is_some();
            links.push(link);
            if links.len() == limit && previous >= first_offset {
                next_cursor = Some(previous);
            }
            at = previous;
            if links.len() >= limit && is_anchor {
                break;
            }
        }
        let truncated = at > 0 && at < first_offset;
        let mut events = with_contexts(links.into_iter().rev());
        events.reverse();
        events.truncate(limit);
        Ok(HistoryResult { events, next_cursor, first_offset, truncated })
    }

    /// The cursor is the last offset delivered.
    fn oldest_first(
        &self,
        last: Offset,
        cursor: Option<Offset>,
        limit: usize,
    ) -> Result<HistoryResult> {
        let first_offset = self.first_offset();
        let mut offsets = Vec::new();
        let mut at = last;
        while at >= first_offset {
            offsets.push(at);
            at = self.with_effect(at, |effect| effect.body.previous())?;
        }
        let truncated = at > 0;
        offsets.reverse();
        let begin = cursor.map_or(0, |cursor| offsets.partition_point(|at| *at <= cursor));
        let mut page: Vec<Link> = Vec::new();
        // The context of the first event of the page may begin some events before it.
        let mut lead = begin;
        while let Some(at) = offsets.get(lead) {
            let link = self.link(*at)?;
            let is_anchor = link.own_context.is_some();
            page.push(link);
            if is_anchor || lead == 0 {
                break;
            }
            lead -= 1;
        }
        page.reverse();
        let before = page.len().saturating_sub(1);
        let end = begin.saturating_add(limit).min(offsets.len());
        for at in offsets.get(begin + 1..end).unwrap_or_default() {
            page.push(self.link(*at)?);
        }
        let mut events = with_contexts(page.into_iter());
        events.drain(..before.min(events.len()));
        events.truncate(limit);
        let next_cursor =
            (end < offsets.len()).then(|| end.checked_sub(1).and_then(|at| offsets.get(at)));
        Ok(HistoryResult {
            events,
            next_cursor: next_cursor.flatten().copied(),
            first_offset,
            truncated,
        })
    }
}

/// Fills in the context after each event, oldest first.
fn with_contexts(links: impl Iterator<Item = Link>) -> Vec<InstanceEvent> {
    let mut ctx: Option<Json> = None;
    let mut events = Vec::new();
    for link in links {
        let Some(mut event) = link.event else { continue };
        let payload = (!event.payload.is_null()).then_some(&event.payload);
        ctx = match (link.own_context, &ctx) {
            (Some(own), _) => Some(own),
            (None, Some(before)) => Some(merged(before, payload)),
            (None, None) => None,
        };
        if event.to_state.is_some() {
            event.ctx.clone_from(&ctx);
        }
        events.push(event);
    }
    events
}
