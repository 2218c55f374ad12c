//! Returns the log's entries in order.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Json, Offset, Text, TimestampMs};

/// Which part of the log to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalReadRequest {
    /// The first offset to return; when it is gone, reading starts at the first one left.
    pub from_offset: Offset,
    /// The most entries to return; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `published`, as when absent, or `all`: those too that the database makes for itself, which are
    /// gaps in the offsets otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Text>,
    /// The history that `from_offset` was told with. `CONFLICT`, reason `history_diverged`, when the log does not
    /// go on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}

impl WalReadRequest {
    /// Asks for what is at `from_offset` and behind it.
    pub fn new(from_offset: Offset) -> WalReadRequest {
        WalReadRequest { from_offset, limit: None, entries: None, history_id: None }
    }
}

/// A piece of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalReadResult {
    /// The entries.
    pub records: Vec<WalRecord>,
    /// Where to read on.
    pub next_offset: Offset,
    /// The history that the change before `next_offset` belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}

/// One entry of the log with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalRecord {
    /// The number of the entry; the same as `offset`.
    pub sequence: Offset,
    /// The log offset.
    pub offset: Offset,
    /// When it happened, in milliseconds since 1970; absent where an older server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampMs>,
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
            /// Something that only newer versions know.
            #[serde(untagged, serialize_with = "as_it_came")]
            Other {
                /// What it calls itself.
                r#type: Text,
                /// The JSON text of the whole entry, as it came.
                raw: String,
            },
        }

        impl<'de> Deserialize<'de> for WalEntry {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                // A derived tagged enum would buffer the members, which raw JSON can't survive.
                #[derive(Deserialize)]
                struct Tag { r#type: Text }
                $(#[derive(Deserialize)] struct $name { $($field: $type,)* })*
                let raw = Box::<RawValue>::deserialize(deserializer)?;
                let tag: Tag = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                match tag.r#type.as_str() {
                    $($tag => {
                        let $name { $($field,)* } =
                            serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
                        Ok(WalEntry::$name { $($field,)* })
                    })*
                    _ => Ok(WalEntry::Other { r#type: tag.r#type, raw: raw.get().to_owned() }),
                }
            }
        }
    };
}

/// An entry that is not known: its text again, to the byte.
fn as_it_came<S: Serializer>(_type: &Text, raw: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_str(raw).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
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
    /// A checkpoint may begin here, or digests be compared. Only among all entries.
    Mark, "mark" {
        /// Whether a checkpoint may begin here.
        is_boundary: bool;
        /// The digest of all instances, where one is kept: 16 hex digits.
        digest: Option<Text>, optional;
    }
    /// Deleted instances that last changed before an offset are forgotten. Only among all entries.
    PurgeFloor, "purge_floor" {
        /// The offset.
        floor: Offset;
    }
    /// An instance that was deleted already was to be deleted again, with a key. Only among all entries.
    DeleteAgain, "delete_again" {
        /// The instance's id.
        instance_id: Text;
        /// The offset of its deletion.
        deletion: Offset;
        /// The request's key.
        idempotency_key: Text;
    }
    /// All machines and instances were removed.
    FlushAll, "flush_all" {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_are_not_known_are_given_back_unchanged() {
        let text =
            r#"{"z": 1e999, "type":"sealed", "n":123456789012345678901234567890,"a":[1.50]}"#;
        let entry: WalEntry = serde_json::from_str(text).unwrap();
        let WalEntry::Other { r#type, raw } = &entry else { panic!("{entry:?}") };
        assert_eq!((r#type.as_str(), raw.as_str()), ("sealed", text));
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
        assert!(serde_json::from_str::<WalEntry>(r#"{"offset":1}"#).is_err(), "without a type");
    }

    #[test]
    fn members_that_are_not_known_are_skipped() {
        let known = r#"{"type":"delete_instance","instance_id":"a"}"#;
        let newer = r#"{"cause":{"timer":"t"},"type":"delete_instance","instance_id":"a","x":1}"#;
        let entry: WalEntry = serde_json::from_str(newer).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), known);
    }
}
