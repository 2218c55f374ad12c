//! Effects: what a change did, as bytes.
//!
//! An effect says what happened (from, to, event, payload), not what was asked, so replay evaluates no
//! guard. How effects stand in records is in `effects.rs`, the byte layout in `README.md`.

use rstmdb_types::{Offset, TimestampMs};

use crate::codec::{Reader, put_i64, put_str, put_u64};

const PUT_MACHINE: u8 = 1;
const CREATE: u8 = 2;
const APPLY: u8 = 3;
const DELETE: u8 = 4;
const BATCH_RESULT: u8 = 5;
const FLUSH_ALL: u8 = 6;

const KIND_MASK: u8 = 0x0f;
const HAS_KEY: u8 = 0x10;
/// Of an apply.
const HAS_EVENT_ID: u8 = 0x20;
/// Of a create.
const HAS_STATE: u8 = 0x20;
const HAS_CONTEXT: u8 = 0x40;
const GLOBAL_KEY: u8 = 0x80;

/// An idempotency key as the log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRef<'a> {
    pub key: &'a str,
    /// Tells a retry from another request with the same key.
    pub fingerprint: u64,
    /// Whether the key belongs to the database instead of the instance.
    pub global: bool,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect<'a> {
    pub at: TimestampMs,
    pub body: Body<'a>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    PutMachine {
        number: u32,
        machine: &'a str,
        version: u32,
        definition: &'a str,
    },
    Create {
        machine: u32,
        id: &'a str,
        ctx: &'a str,
        /// Where it starts; None for the machine's initial state.
        state: Option<u32>,
        /// The last effect of the id's former life, 0 for none.
        previous: Offset,
        key: Option<KeyRef<'a>>,
    },
    Apply {
        machine: u32,
        id: &'a str,
        event: u32,
        from: u32,
        to: u32,
        payload: Option<&'a str>,
        /// The whole context after the event: now and then, so that it can be told without the rest.
        ctx: Option<&'a str>,
        previous: Offset,
        event_id: Option<&'a str>,
        key: Option<KeyRef<'a>>,
    },
    Delete {
        machine: u32,
        id: &'a str,
        from: u32,
        previous: Offset,
        key: Option<KeyRef<'a>>,
    },
    BatchResult {
        key: &'a str,
        fingerprint: u64,
        results: &'a str,
    },
    FlushAll,
}

impl<'a> Body<'a> {
    /// The instance the change is about, if it is about one.
    pub(crate) fn instance(&self) -> Option<&'a str> {
        match self {
            Body::Create { id, .. } | Body::Apply { id, .. } | Body::Delete { id, .. } => Some(id),
            Body::PutMachine { .. } | Body::BatchResult { .. } | Body::FlushAll => None,
        }
    }

    /// The bytes of the JSON text that came with the request.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Body::PutMachine { definition, .. } => definition.len(),
            Body::Apply { payload, .. } => payload.map_or(0, str::len),
            _ => 0,
        }
    }

    /// The effect before this one of the same instance, 0 for none.
    pub(crate) fn previous(&self) -> Offset {
        match self {
            Body::Create { previous, .. }
            | Body::Apply { previous, .. }
            | Body::Delete { previous, .. } => *previous,
            Body::PutMachine { .. } | Body::BatchResult { .. } | Body::FlushAll => 0,
        }
    }
}

impl<'a> Effect<'a> {
    /// Appends the effect's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(0);
        put_i64(out, self.at);
        let kind = match self.body {
            Body::PutMachine { number, machine, version, definition } => {
                put_u64(out, u64::from(number));
                put_str(out, machine);
                put_u64(out, u64::from(version));
                put_str(out, definition);
                PUT_MACHINE
            }
            Body::Create { machine, id, ctx, state, previous, key } => {
                put_u64(out, u64::from(machine));
                put_str(out, id);
                put_u64(out, previous);
                put_str(out, ctx);
                let mut flags = 0;
                if let Some(state) = state {
                    put_u64(out, u64::from(state));
                    flags |= HAS_STATE;
                }
                CREATE | flags | put_key(out, key)
            }
            Body::Apply { machine, id, event, from, to, payload, ctx, previous, event_id, key } => {
                put_u64(out, u64::from(machine));
                put_str(out, id);
                put_u64(out, previous);
                put_u64(out, u64::from(event));
                put_u64(out, u64::from(from));
                put_u64(out, u64::from(to));
                put_str(out, payload.unwrap_or(""));
                let mut flags = 0;
                if let Some(ctx) = ctx {
                    put_str(out, ctx);
                    flags |= HAS_CONTEXT;
                }
                if let Some(event_id) = event_id {
                    put_str(out, event_id);
                    flags |= HAS_EVENT_ID;
                }
                APPLY | flags | put_key(out, key)
            }
            Body::Delete { machine, id, from, previous, key } => {
                put_u64(out, u64::from(machine));
                put_str(out, id);
                put_u64(out, previous);
                put_u64(out, u64::from(from));
                DELETE | put_key(out, key)
            }
            Body::BatchResult { key, fingerprint, results } => {
                let key = KeyRef { key, fingerprint, global: true };
                put_str(out, results);
                BATCH_RESULT | put_key(out, Some(key))
            }
            Body::FlushAll => FLUSH_ALL,
        };
        if let Some(first) = out.get_mut(start) {
            *first = kind;
        }
    }

    /// Reads one effect; `None` when the bytes are not one.
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Option<Effect<'a>> {
        let kind = reader.u8()?;
        let at = reader.i64()?;
        let body = match kind & KIND_MASK {
            PUT_MACHINE => Body::PutMachine {
                number: reader.u32()?,
                machine: reader.str()?,
                version: reader.u32()?,
                definition: reader.str()?,
            },
            CREATE => {
                let machine = reader.u32()?;
                let id = reader.str()?;
                let previous = reader.u64()?;
                let ctx = reader.str()?;
                let state = if kind & HAS_STATE != 0 { Some(reader.u32()?) } else { None };
                let key = get_key(reader, kind)?;
                Body::Create { machine, id, ctx, state, previous, key }
            }
            APPLY => {
                let machine = reader.u32()?;
                let id = reader.str()?;
                let previous = reader.u64()?;
                let event = reader.u32()?;
                let from = reader.u32()?;
                let to = reader.u32()?;
                let payload = Some(reader.str()?).filter(|payload| !payload.is_empty());
                let ctx = if kind & HAS_CONTEXT != 0 { Some(reader.str()?) } else { None };
                let event_id = if kind & HAS_EVENT_ID != 0 { Some(reader.str()?) } else { None };
                let key = get_key(reader, kind)?;
                Body::Apply { machine, id, event, from, to, payload, ctx, previous, event_id, key }
            }
            DELETE => {
                let machine = reader.u32()?;
                let id = reader.str()?;
                let previous = reader.u64()?;
                let from = reader.u32()?;
                Body::Delete { machine, id, from, previous, key: get_key(reader, kind)? }
            }
            BATCH_RESULT => {
                let results = reader.str()?;
                let key = get_key(reader, kind)??;
                Body::BatchResult { key: key.key, fingerprint: key.fingerprint, results }
            }
            FLUSH_ALL => Body::FlushAll,
            _ => return None,
        };
        Some(Effect { at, body })
    }
}

fn put_key(out: &mut Vec<u8>, key: Option<KeyRef<'_>>) -> u8 {
    let Some(key) = key else { return 0 };
    put_str(out, key.key);
    out.extend_from_slice(&key.fingerprint.to_le_bytes());
    if key.global { HAS_KEY | GLOBAL_KEY } else { HAS_KEY }
}

/// The outer `None` means damage, the inner one that there is no key.
#[expect(clippy::option_option, reason = "two different kinds of absence")]
fn get_key<'a>(reader: &mut Reader<'a>, kind: u8) -> Option<Option<KeyRef<'a>>> {
    if kind & HAS_KEY == 0 {
        return Some(None);
    }
    let key = reader.str()?;
    let fingerprint = u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
    Some(Some(KeyRef { key, fingerprint, global: kind & GLOBAL_KEY != 0 }))
}

/// Whether the kind byte of an effect has nothing that only a later release knows.
pub(crate) fn is_known(byte: u8) -> bool {
    let flags = match byte & KIND_MASK {
        PUT_MACHINE | FLUSH_ALL => 0,
        CREATE => HAS_KEY | GLOBAL_KEY | HAS_STATE,
        APPLY => HAS_KEY | GLOBAL_KEY | HAS_EVENT_ID | HAS_CONTEXT,
        DELETE | BATCH_RESULT => HAS_KEY | GLOBAL_KEY,
        _ => return false,
    };
    byte & !KIND_MASK & !flags == 0
}
