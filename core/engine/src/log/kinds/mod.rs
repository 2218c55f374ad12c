//! Effects: what a change did, as values and as bytes. One file for each kind.
//!
//! An effect takes one offset. It says what happened (from, to, event, payload), not what was asked, so
//! applying it evaluates no guard. [`Kind::apply`] is the only way state changes: live, in batches,
//! when the log is replayed, and when it is verified. `../README.md` has the byte layout.

use std::ops::Deref;

use rstmdb_types::json::unescape;
use rstmdb_types::{InstanceEvent, Json, JsonRef, Offset, TimestampMs, WalEntry};

use crate::codec::{Reader, i64_bytes, put_i64, put_str, put_u64};
use crate::state::Machines;
use crate::state::locked::{Known, Locked, Misfit};
pub(crate) use crate::state::stamp::{KeyRef, Stamp};

/// The low bits of the first byte: the kind.
const KIND_MASK: u8 = 0x0f;
/// In the place of a kind above it; the kind follows the time as a varint.
const FURTHER: u8 = 15;
const HAS_KEY: u8 = 0x10;
const HAS_CONTEXT: u8 = 0x40;
const GLOBAL_KEY: u8 = 0x80;
const KEY_FLAGS: u8 = HAS_KEY | GLOBAL_KEY;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effect<'a> {
    /// Its log time: never before that of the effect before it.
    pub at: TimestampMs,
    pub body: Body<'a>,
}

/// One kind of effect.
pub(crate) trait Kind<'a>: Sized {
    /// The flags that this release knows.
    const FLAGS: u8;

    /// Appends the fields after kind and time; returns the flags of the first byte.
    fn encode(&self, out: &mut Vec<u8>) -> u8;

    /// Reads what [`Kind::encode`] wrote; `None` when the bytes are not that.
    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self>;

    /// Whether fields that could not be read are of a later release, which wrote what flags of the first byte don't tell.
    fn is_later(_reader: Reader<'a>, _flags: u8) -> bool {
        false
    }

    /// Changes the state, unless it knows the effect already from a checkpoint.
    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit>;

    /// The entry that `wal_read` shows.
    fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry>;

    /// Whether it is the database's own business: shown only to who asks for all entries.
    fn is_internal(&self) -> bool {
        false
    }

    /// The event that watches and histories show, without its context.
    fn event(&self, _machines: &Machines, _stamp: Stamp) -> Option<InstanceEvent> {
        None
    }

    /// The instance that it is about.
    fn subject(&self) -> Option<Subject<'a>> {
        None
    }

    /// What it tells of the instance's context.
    fn context(&self) -> Context {
        Context::Gone
    }

    /// The bytes of the JSON text that came with the request.
    fn text_bytes(&self) -> usize {
        0
    }
}

/// The instance that an effect is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject<'a> {
    pub id: &'a str,
    /// The effect before this one of the same id, 0 for none.
    pub previous: Offset,
}

/// What an effect tells of its instance's context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Context {
    /// There is none afterwards.
    Gone,
    /// All of it.
    Whole(Json),
    /// What becomes of the one before.
    Delta(Delta),
}

/// What an effect makes of its instance's context.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Delta {
    /// Merged in first: of the payload, what is merged.
    pub payload: Option<Json>,
    /// Merged in then.
    pub patch: Option<Json>,
    /// Members that go, a list of names.
    pub removed: Option<Json>,
}

impl Delta {
    /// The context after it.
    pub(crate) fn after(&self, before: &Json) -> Json {
        let merge = |ctx: Json, change: &Option<Json>| match change {
            Some(change) => ctx.merge(change),
            None => ctx,
        };
        let ctx = merge(merge(before.clone(), &self.payload), &self.patch);
        let Some(removed) = &self.removed else { return ctx };
        let names = removed.root().elements().filter_map(|name| match name {
            JsonRef::String(raw) => Some(unescape(raw)),
            _ => None,
        });
        ctx.without(&names.collect::<Vec<_>>())
    }
}

/// JSON text: of a log that was read, or of a value that is there.
#[derive(Debug, Clone)]
pub(crate) enum Piece<'a> {
    Read(&'a str),
    Value(Json),
}

impl Piece<'_> {
    pub(crate) fn json(&self) -> Json {
        match self {
            Piece::Read(text) => Json::from_canonical(text),
            Piece::Value(json) => json.clone(),
        }
    }
}

impl Deref for Piece<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Piece::Read(text) => text,
            Piece::Value(json) => json.as_str(),
        }
    }
}

impl PartialEq for Piece<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

macro_rules! kinds {
    ($($number:literal $module:ident $name:ident $(<$life:lifetime>)?;)*) => {
        $(mod $module;
        pub(crate) use $module::$name;)*

        /// What changed.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Body<'a> {
            $($name($name $(<$life>)?),)*
        }

        impl<'a> Body<'a> {
            /// Appends the fields after the time; returns the first byte, with kind and flags.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) -> u8 {
                match self {
                    $(Body::$name(body) => {
                        if $number >= FURTHER {
                            put_u64(out, u64::from($number as u8));
                        }
                        body.encode(out) | FURTHER.min($number)
                    })*
                }
            }

            #[inline]
            fn decode(reader: &mut Reader<'a>, kind: u64, flags: u8) -> Option<Body<'a>> {
                match kind {
                    $($number if flags & !<$name as Kind<'_>>::FLAGS == 0 => {
                        Kind::decode(reader, flags).map(Body::$name)
                    })*
                    _ => None,
                }
            }

            /// Changes the state, unless it knows the effect already from a checkpoint.
            pub(crate) fn apply(
                &self,
                locked: &mut Locked<'_>,
                stamp: Stamp,
                known: Known,
            ) -> Result<(), Misfit> {
                match self { $(Body::$name(body) => body.apply(locked, stamp, known),)* }
            }

            /// The entry that `wal_read` shows.
            pub(crate) fn entry(&self, machines: &Machines, ctx: Json) -> Option<WalEntry> {
                match self { $(Body::$name(body) => body.entry(machines, ctx),)* }
            }

            /// Whether it is the database's own business.
            pub(crate) fn is_internal(&self) -> bool {
                match self { $(Body::$name(body) => body.is_internal(),)* }
            }

            /// The event that watches and histories show, without its context.
            pub(crate) fn event(&self, machines: &Machines, stamp: Stamp) -> Option<InstanceEvent> {
                match self { $(Body::$name(body) => body.event(machines, stamp),)* }
            }

            /// The instance the change is about, if it is about one.
            pub(crate) fn subject(&self) -> Option<Subject<'a>> {
                match self { $(Body::$name(body) => body.subject(),)* }
            }

            /// What it tells of the instance's context.
            pub(crate) fn context(&self) -> Context {
                match self { $(Body::$name(body) => body.context(),)* }
            }

            /// The bytes of the JSON text that came with the request.
            pub(crate) fn text_bytes(&self) -> usize {
                match self { $(Body::$name(body) => body.text_bytes(),)* }
            }
        }

        /// Whether the fields of a kind that is known are of a later release.
        fn is_later(reader: Reader<'_>, kind: u64, flags: u8) -> bool {
            match kind {
                $($number => <$name as Kind<'_>>::is_later(reader, flags),)*
                _ => false,
            }
        }

        /// The flags that this release knows of a kind; `None` for a kind that it does not know.
        fn known_flags(kind: u64) -> Option<u8> {
            match kind {
                $($number => Some(<$name as Kind<'_>>::FLAGS),)*
                _ => None,
            }
        }
    };
}

pub(crate) use progress::PURGE_FLOOR;
pub(crate) use step::Sections;

kinds! {
    1 put_machine PutMachine<'a>;
    2 create Create<'a>;
    3 apply Apply<'a>;
    4 delete Delete<'a>;
    5 batch_result BatchResult<'a>;
    6 flush_all FlushAll;
    7 mark Mark;
    10 step StepEffect<'a>;
    11 begin BeginEffect<'a>;
    16 progress Progress<'a>;
    18 delete_again DeleteAgain<'a>;
}

impl<'a> Body<'a> {
    /// The id of the instance the change is about, if it is about one.
    pub(crate) fn instance(&self) -> Option<&'a str> {
        self.subject().map(|subject| subject.id)
    }

    /// The effect before this one of the same instance, 0 for none.
    pub(crate) fn previous(&self) -> Offset {
        self.subject().map_or(0, |subject| subject.previous)
    }
}

/// Appends an effect whose fields are encoded.
pub(crate) fn put_effect(out: &mut Vec<u8>, first: u8, at: TimestampMs, fields: &[u8]) {
    out.push(first);
    put_i64(out, at);
    out.extend_from_slice(fields);
}

/// Appends a record of one effect.
pub(crate) fn put_single(out: &mut Vec<u8>, first: u8, at: TimestampMs, fields: &[u8]) {
    let length = 1 + i64_bytes(at) + fields.len();
    put_u64(out, (length as u64) << 1);
    put_effect(out, first, at, fields);
}

impl<'a> Effect<'a> {
    /// Appends the effect's bytes.
    #[cfg(test)]
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut fields = Vec::new();
        let first = self.body.encode(&mut fields);
        put_effect(out, first, self.at, &fields);
    }

    /// Reads one effect; `None` when the bytes are not one that is known.
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Option<Effect<'a>> {
        let (kind, first, at) = Effect::head(reader)?;
        Some(Effect { at, body: Body::decode(reader, kind, first & !KIND_MASK)? })
    }

    /// The kind of an effect that only a later release knows, or of which it knows more.
    pub(crate) fn unknown_kind(mut bytes: Reader<'_>) -> Option<u64> {
        let (kind, first, _) = Effect::head(&mut bytes)?;
        let flags = first & !KIND_MASK;
        let is_known = known_flags(kind).is_some_and(|known| flags & !known == 0)
            && !is_later(bytes, kind, flags);
        // The bits beside a small kind name it too: they may be what is not known.
        let name = if first & KIND_MASK == FURTHER { kind } else { first.into() };
        (kind > 0 && !is_known).then_some(name)
    }

    #[inline]
    fn head(reader: &mut Reader<'_>) -> Option<(u64, u8, TimestampMs)> {
        let first = reader.u8()?;
        let at = reader.i64()?;
        let kind = match first & KIND_MASK {
            FURTHER => reader.u64()?,
            kind => u64::from(kind),
        };
        Some((kind, first, at))
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
fn get_key<'a>(reader: &mut Reader<'a>, flags: u8) -> Option<Option<KeyRef<'a>>> {
    if flags & HAS_KEY == 0 {
        return Some(None);
    }
    let key = reader.str()?;
    let fingerprint = u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
    Some(Some(KeyRef { key, fingerprint, global: flags & GLOBAL_KEY != 0 }))
}

#[cfg(test)]
mod tests;
