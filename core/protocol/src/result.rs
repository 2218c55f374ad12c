//! Results as they travel: in the plain dialect exactly the members that published clients know.

use rstmdb_types::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::WireError;
use crate::frame::PAYLOAD_BYTES_MAX;
use crate::handshake::{Dialect, FEATURES};
use crate::write::Object;
use crate::{BATCH_OPERATIONS_MAX, PROTOCOL_VERSION};

/// A result that can be sent. It is always an object.
pub trait WireResult {
    /// Appends the JSON text.
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()>;

    /// The changes that it tells of, for who can't be told the whole of it: their offsets, in the order
    /// of a batch, with nothing for what changed nothing. None of a read.
    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        None
    }
}

macro_rules! as_it_is {
    ($($result:ty),* $(,)?) => {
        $(impl WireResult for $result {
            fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
                serde_json::to_writer(out, self)
            }
        })*
    };
}

as_it_is!(
    Value,
    GetMachineResult,
    ValidateMachineResult,
    CountInstancesResult,
    PermittedResult,
    HistoryResult,
    CompactResult,
    SnapshotInstanceResult,
    ListSnapshotsResult,
    DropSnapshotResult,
    BackupResult,
    VerifyResult,
    ReplicaPromoteResult,
    ReplicaFollowResult,
    ClusterStatusResult,
    ClusterInitResult,
    ClusterAddResult,
    ClusterRemoveResult,
    ClusterPromoteResult,
    ClusterTransferResult,
    ClusterDrainResult,
    ClusterVerifyResult,
    ClusterUpgradeResult,
    FlushAllResult,
    PingResult,
    crate::handshake::HelloResult,
    crate::handshake::AuthResult,
);

macro_rules! as_it_is_at_an_offset {
    ($($result:ty),*) => {
        $(impl WireResult for $result {
            fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
                serde_json::to_writer(out, self)
            }

            fn changes(&self) -> Option<Vec<Option<Offset>>> {
                Some(vec![Some(self.wal_offset)])
            }
        })*
    };
}

as_it_is_at_an_offset!(CreateInstanceResult, DeleteInstanceResult);

impl WireResult for ReplicationStatusResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        if dialect == Dialect::Extended {
            return serde_json::to_writer(out, self);
        }
        let known = ReplicationStatusResult {
            lag_ms: None,
            name: None,
            epoch: None,
            writes_at: None,
            problem: None,
            ..self.clone()
        };
        serde_json::to_writer(out, &known)
    }
}

impl WireResult for ApplyEventResult {
    fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut object = Object::begin(out);
        object.text("from_state", &self.from_state);
        object.text("to_state", &self.to_state);
        object.json("ctx", &self.ctx);
        object.unsigned("wal_offset", self.wal_offset);
        object.boolean("applied", self.applied);
        object.optional_text("event_id", self.event_id.as_deref());
        object.end();
        Ok(())
    }

    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        Some(vec![Some(self.wal_offset)])
    }
}

impl WireResult for GetInstanceResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut object = Object::begin(out);
        object.text("machine", &self.machine);
        object.unsigned("version", self.version.into());
        object.text("state", &self.state);
        object.json("ctx", &self.ctx);
        object.unsigned("last_wal_offset", self.last_wal_offset);
        object.optional_text("last_event_id", self.last_event_id.as_deref());
        if dialect == Dialect::Extended {
            object.text("instance_id", &self.instance_id);
            for (name, at) in [("created_at", self.created_at), ("updated_at", self.updated_at)] {
                if let Some(at) = at {
                    object.signed(name, at);
                }
            }
        }
        object.end();
        Ok(())
    }
}

impl WireResult for PutMachineResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match dialect {
            Dialect::Extended => serde_json::to_writer(out, self),
            Dialect::Plain => {
                let mut object = Object::begin(out);
                object.text("machine", &self.machine);
                object.unsigned("version", self.version.into());
                object.text("stored_checksum", &self.stored_checksum);
                object.boolean("created", self.created);
                object.end();
                Ok(())
            }
        }
    }

    /// It has no offset in it.
    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        Some(Vec::new())
    }
}

impl WireResult for ListMachinesResult {
    fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

impl WireResult for ListInstancesResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut object = Object::begin(out);
        object.with("instances", |out| serde_json::to_writer(out, &self.instances))?;
        object.unsigned("total", self.total);
        object.boolean("has_more", self.has_more);
        if dialect == Dialect::Extended {
            object.optional_text("next_cursor", self.next_cursor.as_deref());
        }
        object.end();
        Ok(())
    }
}

impl WireResult for WalReadResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        #[derive(Serialize)]
        struct Record<'a> {
            sequence: Offset,
            offset: Offset,
            entry: &'a WalEntry,
        }
        if dialect == Dialect::Extended {
            return serde_json::to_writer(out, self);
        }
        let records: Vec<Record<'_>> = self
            .records
            .iter()
            .map(|record| Record {
                sequence: record.sequence,
                offset: record.offset,
                entry: &record.entry,
            })
            .collect();
        let mut object = Object::begin(out);
        object.with("records", |out| serde_json::to_writer(out, &records))?;
        object.unsigned("next_offset", self.next_offset);
        object.end();
        Ok(())
    }
}

impl WireResult for WalStatsResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        if dialect == Dialect::Extended {
            return serde_json::to_writer(out, self);
        }
        let mut object = Object::begin(out);
        object.unsigned("entry_count", self.entry_count);
        object.unsigned("segment_count", self.segment_count);
        object.unsigned("total_size_bytes", self.total_size_bytes);
        object.unsigned("latest_offset", self.latest_offset);
        object.with("io_stats", |out| serde_json::to_writer(out, &self.io_stats))?;
        object.end();
        Ok(())
    }
}

impl WireResult for InfoResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut info = match dialect {
            Dialect::Extended => serde_json::to_value(self)?,
            Dialect::Plain => json!({
                "server_name": self.server_name, "server_version": self.server_version,
                "features": FEATURES,
            }),
        };
        if let Some(members) = info.as_object_mut() {
            members.insert("protocol_version".to_owned(), PROTOCOL_VERSION.into());
            members.insert("max_frame_bytes".to_owned(), PAYLOAD_BYTES_MAX.into());
            members.insert("max_batch_ops".to_owned(), BATCH_OPERATIONS_MAX.into());
        }
        serde_json::to_writer(out, &info)
    }
}

impl WireResult for WatchInstanceResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let history_id = self.history_id.clone().filter(|_| dialect == Dialect::Extended);
        serde_json::to_writer(out, &WatchInstanceResult { history_id, ..self.clone() })
    }
}

impl WireResult for WatchAllResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let history_id = self.history_id.clone().filter(|_| dialect == Dialect::Extended);
        serde_json::to_writer(out, &WatchAllResult { history_id, ..self.clone() })
    }
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        impl WireResult for Outcome {
            fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $(Outcome::$name(result) => result.write(dialect, out),)* }
            }

            fn changes(&self) -> Option<Vec<Option<Offset>>> {
                match self { $(Outcome::$name(result) => result.changes(),)* }
            }
        }
    };
}

rstmdb_types::for_each_operation!(outcomes);

impl WireResult for BatchResult {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let elements = self.results.iter().map(|outcome| match (&outcome.result, &outcome.error) {
            (_, Some(error)) => Err(error),
            (result, None) => Ok(result.as_ref()),
        });
        write_batch(elements, dialect, out)
    }

    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        let results = self.results.iter().map(|outcome| outcome.result.as_ref());
        changes_of(results)
    }
}

/// The changes of a batch; none when nothing changed.
pub fn changes_of<'a, T: WireResult + ?Sized + 'a>(
    results: impl Iterator<Item = Option<&'a T>>,
) -> Option<Vec<Option<Offset>>> {
    let offsets: Vec<Option<Offset>> =
        results.map(|result| result?.changes()?.into_iter().flatten().next_back()).collect();
    offsets.iter().any(Option::is_some).then_some(offsets)
}

/// Appends the result of a batch. Each element has all three members.
///
/// Ends early, with text that is no JSON, when it has grown beyond the largest frame.
pub fn write_batch<'a, T: WireResult + ?Sized + 'a>(
    elements: impl Iterator<Item = std::result::Result<Option<&'a T>, &'a Error>>,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let start = out.len();
    out.extend_from_slice(b"{\"results\":[");
    for (index, element) in elements.enumerate() {
        // It can't be sent any more, and the sender notices by its size.
        if out.len() - start > PAYLOAD_BYTES_MAX {
            break;
        }
        if index > 0 {
            out.push(b',');
        }
        match element {
            Ok(result) => {
                out.extend_from_slice(b"{\"status\":\"ok\",\"result\":");
                match result {
                    Some(result) => result.write(dialect, out)?,
                    None => out.extend_from_slice(b"null"),
                }
                out.extend_from_slice(b",\"error\":null}");
            }
            Err(error) => {
                out.extend_from_slice(b"{\"status\":\"error\",\"result\":null,\"error\":");
                serde_json::to_writer(&mut *out, &WireError(error))?;
                out.push(b'}');
            }
        }
    }
    out.extend_from_slice(b"]}");
    Ok(())
}
