//! Returns the log's entries in order.

use rstmdb_types::{Json, Result, Text, WalEntry, WalReadRequest, WalReadResult, WalRecord};

use crate::events::Contexts;
use crate::log::{Body, Effect, FrameCursor};
use crate::shared::Shared;
use crate::state::Machines;

/// A page ends early when its entries are about this large, in bytes.
///
/// With the largest entry on top it still fits a frame of the wire protocol.
const PAGE_BYTES: usize = 6 << 20;

impl Shared {
    pub(crate) fn wal_read(&self, request: WalReadRequest) -> Result<WalReadResult> {
        self.check_open()?;
        let most = u64::from(self.options.limits.page_entries_max);
        let limit = usize::try_from(request.limit.unwrap_or(100).min(most)).unwrap_or(0);
        let head = self.queue.committed();
        let from = request.from_offset.max(self.first_offset());
        let mut records = Vec::new();
        if self.storage.is_volatile() {
            self.queue.flush()?;
        }
        let mut cursor = FrameCursor::new(&self.files, from);
        let mut contexts = Contexts::default();
        let mut bytes = 0;
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
                let entry = to_entry(&machines, &effect, ctx);
                records.push(WalRecord { sequence: offset, offset, timestamp: effect.at, entry });
            }
        }
        let next_offset = records.last().map_or(from, |record| record.offset + 1);
        Ok(WalReadResult { records, next_offset: next_offset.max(1) })
    }
}

fn to_entry(machines: &Machines, effect: &Effect<'_>, ctx: Option<Json>) -> WalEntry {
    let ctx = ctx.unwrap_or_else(Json::null);
    let entry = |number: u32| machines.by_number(number);
    let state = |number: u32, state: u32| {
        entry(number).map(|entry| entry.state_name(state)).unwrap_or_default()
    };
    let key = |key: Option<crate::log::KeyRef<'_>>| key.map(|key| Text::from(key.key));
    match effect.body {
        Body::PutMachine { number, machine, version, definition } => WalEntry::PutMachine {
            machine: machine.into(),
            version,
            definition_hash: entry(number)
                .map(|entry| entry.machine.checksum().into())
                .unwrap_or_default(),
            definition: Json::from_canonical(definition),
        },
        Body::Create { machine, id, state, key: used, .. } => WalEntry::CreateInstance {
            instance_id: id.into(),
            machine: entry(machine).map(|entry| entry.name.clone()).unwrap_or_default(),
            version: entry(machine).map_or(0, |entry| entry.version),
            initial_state: entry(machine)
                .map(|entry| entry.state_name(state.unwrap_or_else(|| entry.machine.initial())))
                .unwrap_or_default(),
            initial_ctx: ctx,
            idempotency_key: key(used),
        },
        Body::Apply { machine, id, event, from, to, payload, event_id, key: used, .. } => {
            WalEntry::ApplyEvent {
                instance_id: id.into(),
                event: entry(machine).map(|entry| entry.event_name(event)).unwrap_or_default(),
                from_state: state(machine, from),
                to_state: state(machine, to),
                payload: payload.map_or_else(Json::null, Json::from_canonical),
                ctx,
                event_id: event_id.map(Text::from),
                idempotency_key: key(used),
            }
        }
        Body::Delete { id, key: used, .. } => {
            WalEntry::DeleteInstance { instance_id: id.into(), idempotency_key: key(used) }
        }
        Body::BatchResult { key, .. } => WalEntry::BatchResult { idempotency_key: key.into() },
        Body::FlushAll => WalEntry::FlushAll {},
    }
}
