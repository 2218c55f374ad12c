//! Returns the events of one instance, along the chain that its effects form in the log.

use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{
    Error, HistoryOrder, HistoryRequest, HistoryResult, InstanceEvent, Json, Offset, Result,
};

use crate::error::instance_not_found;
use crate::log::chains::Chain;
use crate::log::kinds::{Context, Stamp};
use crate::shared::Shared;

/// About as large as a page may get, in bytes.
const PAGE_BYTES: usize = 8 << 20;
/// What an event takes beside its context.
const EVENT_BYTES: usize = 256;

/// One effect read back.
struct ReadEffect {
    event: Option<InstanceEvent>,
    context: Context,
    previous: Offset,
}

/// A page asked for, of the events up to `last` that the log has from `first_offset` on.
struct Page<'a> {
    id: &'a str,
    last: Offset,
    cursor: Option<Offset>,
    limit: usize,
    first_offset: Offset,
}

impl Page<'_> {
    /// The cursor does not point to an event of the instance.
    fn invalid_cursor(&self, cursor: Offset) -> Error {
        Error::invalid(
            reason::INVALID_CURSOR,
            format!(
                "offset {cursor} is no event of instance {:?}; pass next_cursor of the page before",
                self.id
            ),
        )
        .with("field", "cursor")
    }
}

impl Shared {
    pub(crate) fn history(&self, request: HistoryRequest) -> Result<HistoryResult> {
        self.check_open()?;
        let limit = self.page_limit(request.limit.map(u64::from))?;
        let id = &request.instance_id;
        let hash = self.state.hash(id);
        let (found, ticket) = {
            let partition = self.state.partition(hash);
            let slot = partition.known(hash, id);
            let found = slot.map(|slot| (slot.last, slot.life, slot.ctx.as_str().len()));
            (found, self.seen(&partition, hash, id))
        };
        self.queue.wait(ticket.without_round())?;
        let (last, life, ctx_bytes) = found.ok_or_else(|| instance_not_found(id))?;
        // Each event comes with its context: a page of large ones is shorter.
        let limit = limit.min((PAGE_BYTES / (ctx_bytes + EVENT_BYTES)).max(1));
        loop {
            let first_offset = self.first_offset();
            let page = Page { id, last, cursor: request.cursor, limit, first_offset };
            let history = match request.order {
                HistoryOrder::Newest => self.newest_first(&page),
                HistoryOrder::Oldest => self.oldest_first(&page),
            };
            match history {
                // Segments were deleted under the reading. What is left of the log stands alone.
                Err(error)
                    if error.reason() == Some(reason::OFFSET_COMPACTED)
                        && self.first_offset() > first_offset => {}
                history => {
                    let mut history = history?;
                    history.truncated |= life < history.first_offset;
                    return Ok(history);
                }
            }
        }
    }

    fn link(&self, offset: Offset) -> Result<ReadEffect> {
        self.with_effect(offset, |effect| ReadEffect {
            // The machines are locked when everything is read: nobody waits for the disk.
            event: effect.body.event(&self.state.machines.read(), Stamp { offset, at: effect.at }),
            context: effect.body.context(),
            previous: effect.body.previous(),
        })
    }

    /// The cursor is the offset to begin with.
    fn newest_first(&self, page: &Page<'_>) -> Result<HistoryResult> {
        let first_offset = page.first_offset;
        let limit = page.limit;
        if let Some(cursor) = page.cursor {
            // One that was compacted can't be looked at; nothing is delivered for it either.
            let is_own = (1..first_offset).contains(&cursor)
                || ((first_offset..=page.last).contains(&cursor)
                    && self
                        .with_effect(cursor, |effect| effect.body.instance() == Some(page.id))?);
            if !is_own {
                return Err(page.invalid_cursor(cursor));
            }
        }
        let mut at = page.cursor.unwrap_or(page.last);
        let mut links = Vec::new();
        let mut next_cursor = None;
        while at >= first_offset {
            let link = self.link(at)?;
            let previous = link.previous;
            let is_anchor = matches!(link.context, Context::Whole(_));
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
    fn oldest_first(&self, page: &Page<'_>) -> Result<HistoryResult> {
        let first_offset = page.first_offset;
        let chain = self.chain(page)?;
        let gone = chain.offsets.partition_point(|at| *at < first_offset);
        let truncated = chain.before > 0 || gone > 0;
        let offsets = chain.offsets.get(gone..).unwrap_or_default();
        let begin = match page.cursor {
            None => 0,
            // What comes after an offset that was compacted is all that is left.
            Some(cursor) if (1..first_offset).contains(&cursor) => 0,
            Some(cursor) => match offsets.binary_search(&cursor) {
                Ok(delivered) => delivered + 1,
                Err(_) => return Err(page.invalid_cursor(cursor)),
            },
        };
        let mut links: Vec<ReadEffect> = Vec::new();
        // The context of the first event of the page may begin some events before it.
        let mut lead = begin;
        while let Some(at) = offsets.get(lead) {
            let link = self.link(*at)?;
            let is_anchor = matches!(link.context, Context::Whole(_));
            links.push(link);
            if is_anchor || lead == 0 {
                break;
            }
            lead -= 1;
        }
        links.reverse();
        let before = links.len().saturating_sub(1);
        let end = begin.saturating_add(page.limit).min(offsets.len());
        for at in offsets.get(begin + 1..end).unwrap_or_default() {
            links.push(self.link(*at)?);
        }
        let mut events = with_contexts(links.into_iter());
        events.drain(..before.min(events.len()));
        events.truncate(page.limit);
        let next_cursor =
            (end < offsets.len()).then(|| end.checked_sub(1).and_then(|at| offsets.get(at)));
        Ok(HistoryResult {
            events,
            next_cursor: next_cursor.flatten().copied(),
            first_offset,
            truncated,
        })
    }

    /// The offsets of the instance's effects, at least from the first one that the log has on.
    ///
    /// Only what came since the last page is read.
    fn chain(&self, page: &Page<'_>) -> Result<Arc<Chain>> {
        let mut known = self.files.chains.get(page.id);
        if let Some(chain) = known.take_if(|chain| chain.offsets.last() == Some(&page.last)) {
            return Ok(chain);
        }
        let mut newer = Vec::new();
        let mut at = page.last;
        let mut older: &[Offset] = &[];
        let mut before = None;
        while at >= page.first_offset {
            if let Some(chain) = &known
                && let Ok(place) = chain.offsets.binary_search(&at)
            {
                older = chain.offsets.get(..=place).unwrap_or_default();
                before = Some(chain.before);
                break;
            }
            newer.push(at);
            at = self.with_effect(at, |effect| effect.body.previous())?;
        }
        let gone = older.partition_point(|at| *at < page.first_offset);
        let before = gone.checked_sub(1).and_then(|at| older.get(at)).copied().or(before);
        let kept = older.get(gone..).unwrap_or_default();
        let offsets = kept.iter().copied().chain(newer.into_iter().rev()).collect();
        let chain = Arc::new(Chain { before: before.unwrap_or(at), offsets });
        self.files.chains.put(page.id, chain.clone());
        Ok(chain)
    }
}

/// Fills in the context after each event, oldest first.
fn with_contexts(links: impl Iterator<Item = ReadEffect>) -> Vec<InstanceEvent> {
    let mut ctx: Option<Json> = None;
    let mut events = Vec::new();
    for link in links {
        let Some(mut event) = link.event else { continue };
        ctx = match (link.context, &ctx) {
            (Context::Whole(own), _) => Some(own),
            (Context::Delta(delta), Some(before)) => Some(delta.after(before)),
            // Nothing can be merged into what is not known.
            (Context::Delta(_), None) => None,
            (Context::Gone, known) => known.clone(),
        };
        if event.to_state.is_some() {
            event.ctx.clone_from(&ctx);
        }
        events.push(event);
    }
    events
}
