//! Returns the log's entries in order.

use rstmdb_types::error::reason;
use rstmdb_types::{
    Error, Json, LogPosition, Offset, Result, Text, WalReadRequest, WalReadResult, WalRecord,
};

use super::Edge;
use crate::error::{ahead, history_diverged};
use crate::events::Contexts;
use crate::log::FrameCursor;
use crate::shared::Shared;

/// A page ends early when its entries are about this large, in bytes.
///
/// With the largest entry on top it still fits a frame of the wire protocol.
const PAGE_BYTES: usize = 6 << 20;

impl Shared {
    pub(crate) fn wal_read(
        &self,
        request: WalReadRequest,
        edge: &Edge<'_>,
    ) -> Result<WalReadResult> {
        self.check_open()?;
        self.check_place(request.from_offset, request.history_id.as_ref(), edge)?;
        let most = u64::from(self.options.limits.page_entries_max);
        let limit = usize::try_from(request.limit.unwrap_or(100).min(most)).unwrap_or(0);
        let head = self.queue.committed();
        let from = request.from_offset.max(self.first_offset());
        let all = check_entries(&request)?;
        let mut records = Vec::new();
        if self.storage.is_volatile() {
            self.queue.flush()?;
        }
        let mut cursor = FrameCursor::new(&self.files, from);
        let mut contexts = Contexts::default();
        let mut bytes = 0;
        let mut next_offset = from;
        'pages: while records.len() < limit && cursor.next <= head {
            let at = cursor.next;
            let read = cursor.next(&self.files);
            let Some(frame) = read.map_err(|error| self.unless_compacted(at, error))? else {
                break;
            };
            for (offset, effect) in frame.effects() {
                if offset < from {
                    continue;
                }
                if offset > head || records.len() == limit || bytes > PAGE_BYTES {
                    break 'pages;
                }
                let ctx = contexts.after(self, offset, &effect.body)?;
                let ctx_bytes = ctx.as_ref().map_or(0, |ctx| ctx.as_str().len());
                bytes += ctx_bytes + effect.body.text_bytes() + 256;
                let machines = self.state.machines.read();
                let entry = effect.body.entry(&machines, ctx.unwrap_or_else(Json::null));
                // What is the database's own business is a gap in the offsets.
                if let Some(entry) = entry.filter(|_| all || !effect.body.is_internal()) {
                    let timestamp = Some(effect.at);
                    records.push(WalRecord { sequence: offset, offset, timestamp, entry });
                }
                next_offset = offset + 1;
            }
        }
        let LogPosition { next, history_id } = self.position(next_offset.max(1));
        Ok(WalReadResult { records, next_offset: next, history_id })
    }

    /// Refuses a place that the log has not come to, or that is of another log.
    pub(crate) fn check_place(
        &self,
        from: Offset,
        history_id: Option<&Text>,
        edge: &Edge<'_>,
    ) -> Result<()> {
        if edge.plain_rules {
            return Ok(());
        }
        let (head, first) = (self.queue.committed(), self.first_offset());
        let before = from.saturating_sub(1);
        let Some(id) = history_id else {
            return if before > head { Err(ahead(from, head)) } else { Ok(()) };
        };
        let known = self.files.lineage.lock().last_of(id);
        match known.map(|last| last.min(head)) {
            Some(last) if before <= last => Ok(()),
            // Below the first offset histories are forgotten; of what was restored none was ever known.
            None if from.max(1) < first && from > self.restored_to => Ok(()),
            safe => Err(history_diverged(from, id, safe)),
        }
    }
}

/// Whether the entries that the database makes for itself are asked for.
fn check_entries(request: &WalReadRequest) -> Result<bool> {
    match request.entries.as_deref() {
        None | Some("published") => Ok(false),
        Some("all") => Ok(true),
        Some(other) => {
            let message = format!("entries is {other:?}, expected \"published\" or \"all\"");
            Err(Error::invalid(reason::INVALID_REQUEST, message).with("field", "entries"))
        }
    }
}
