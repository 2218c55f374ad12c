//! Returns the log's entries in order.

use serde::{Deserialize, Serialize};

use crate::{Json, Offset, Text, TimestampMs};

/// Which part of the log to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalReadRequest {
    /// The first offset to return; when it is gone, reading starts at the first one left.
    pub from_offset: Offset,
    /// The most entries to return; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A piece of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalReadResult {
    /// The entries.
    pub records: Vec<WalRecord>,
    /// Where to read on.
    pub next_offset: Offset,
}

/// One entry of the log with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalRecord {
    /// The number of the entry; the same as `offset`.
    pub sequence: Offset,
    /// The log offset.
    pub offset: Offset,
    /// When it happened, in milliseconds since 1970.
    pub timestamp: TimestampMs,
    /// What happened.
    pub entry: WalEntry,
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident, $tag:literal {
        $($(#[$fdoc:meta])* $field:ident : $type:ty $(, $optional:ident)?;)*
    })*) => {
        /// What one log entry says, tagged by `type`.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "type")]
        pub enum WalEntry {
            $($(#[$doc])* #[serde(rename = $tag)] $name {
                $($(#[$fdoc])* $(#[serde(skip_serializing_if = "Option::is_none")] #[doc = stringify!($optional)])? $field: $type,)*
            },)*
        }

        impl<'de> Deserialize<'de> for WalEntry {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                // A derived tagged enum would buffer the members, which raw JSON can't survive.
                #[derive(Deserialize)]
                struct Tag { r#type: String }
                $(#[derive(Deserialize)] struct $name { $($field: $type,)* })*
                let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
                let tag: Tag = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                match tag.r#type.as_str() {
                    $($tag => {
                        let $name { $($field,)* } =
                            serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                        Ok(WalEntry::$name { $($field,)* })
                    })*
                    other => Err(D::Error::custom(format!("unknown log entry type {other:?}"))),
                }
            }
        }
    };
}

entries! {
    /// A definition was stored.
    PutMachine, "put_machine" {
        /// The machine's name.
        machine: Text;
        /// The version.
        version: u32;
        /// The checksum of the normal form.
        definition_hash: Text;
        /// The definition as it was sent.
        definition: Json;
    }
    /// An instance was created.
    CreateInstance, "create_instance" {
        /// The instance's id.
        instance_id: Text;
        /// The machine's name.
        machine: Text;
        /// The machine's version.
        version: u32;
        /// The state it began in.
        initial_state: Text;
        /// The context it began with.
        initial_ctx: Json;
        /// The request's key.
        idempotency_key: Option<Text>, optional;
    }
    /// An event was applied.
    ApplyEvent, "apply_event" {
        /// The instance's id.
        instance_id: Text;
        /// The event's name.
        event: Text;
        /// The state before.
        from_state: Text;
        /// The state after.
        to_state: Text;
        /// The payload, `null` when there was none.
        payload: Json;
        /// The context after the event.
        ctx: Json;
        /// The request's event id.
        event_id: Option<Text>, optional;
        /// The request's key.
        idempotency_key: Option<Text>, optional;
    }
    /// An instance was deleted.
    DeleteInstance, "delete_instance" {
        /// The instance's id.
        instance_id: Text;
        /// The request's key.
        idempotency_key: Option<Text>, optional;
    }
    /// The result of a batch with an idempotency key was remembered.
    BatchResult, "batch_result" {
        /// The batch's key.
        idempotency_key: Text;
    }
    /// All machines and instances were removed.
    FlushAll, "flush_all" {
    }
}
