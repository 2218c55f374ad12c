//! Requests as a server gets them, and results as callers get them.
//!
//! An older server leaves members of results out; they are filled in here as far as they are known.

use rstmdb_types::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::connect::Server;
use crate::request::{Repeat, Reword};

/// What a result needs to know of its request.
#[derive(Debug, Clone)]
pub enum Seed {
    /// Nothing.
    Nothing,
    /// The instance that was asked for.
    Instance(Text),
    /// The instances a batch reads, by place.
    Batch(Vec<Option<Text>>),
    /// Where a read of the log began.
    Offset(Offset),
}

/// A request that [`Client::submit`](crate::Client::submit) takes: every one but the watches.
pub trait Call: OperationRequest {
    /// Whether it may be sent twice.
    #[doc(hidden)]
    fn repeat(&self) -> Repeat {
        if Self::OPERATION.is_write() { Repeat::Never } else { Repeat::Always }
    }

    /// What an older server lacks for it.
    #[doc(hidden)]
    fn needs(&self) -> Option<&'static str> {
        None
    }

    /// How it is said to an older server, where that makes a difference.
    #[doc(hidden)]
    const OLDER: Option<Reword> = None;

    /// What the result needs to know.
    #[doc(hidden)]
    fn seed(&self) -> Seed {
        Seed::Nothing
    }

    /// The JSON text of the parameters.
    #[doc(hidden)]
    fn params(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Reads the result.
    #[doc(hidden)]
    fn read(text: &[u8], server: &Server, seed: &Seed) -> serde_json::Result<Self::Result> {
        plainly(text, server, seed)
    }
}

/// Reads a result that is the same on every server.
pub(crate) fn plainly<T: DeserializeOwned>(
    text: &[u8],
    _server: &Server,
    _seed: &Seed,
) -> serde_json::Result<T> {
    serde_json::from_slice(text)
}

fn keyed(key: Option<&Text>) -> Repeat {
    if key.is_some() { Repeat::Keyed } else { Repeat::Never }
}

/// Older servers know a context of null.
fn object(json: Option<Json>) -> Json {
    json.filter(|json| !json.is_null()).unwrap_or_else(Json::empty_object)
}

impl Call for GetMachineRequest {}
impl Call for ListMachinesRequest {}
impl Call for CompactRequest {}
impl Call for SnapshotInstanceRequest {}
impl Call for FlushAllRequest {}
impl Call for PingRequest {}

impl Call for PutMachineRequest {
    fn needs(&self) -> Option<&'static str> {
        self.strict.then_some("strict definitions (strict)")
    }
}

/// An older server takes no context for one of null, into which it never merges a payload.
fn with_context(mut request: CreateInstanceRequest) -> CreateInstanceRequest {
    request.initial_ctx = Some(object(request.initial_ctx));
    request
}

const OTHER_START: &str = "creations in another state than the initial one (initial_state)";

impl Call for CreateInstanceRequest {
    const OLDER: Option<Reword> =
        Some(|params| serde_json::to_string(&with_context(serde_json::from_str(params)?)));

    fn repeat(&self) -> Repeat {
        keyed(self.idempotency_key.as_ref())
    }

    fn needs(&self) -> Option<&'static str> {
        // It would start in the initial state, without a word.
        self.initial_state.as_ref().map(|_| OTHER_START)
    }
}

impl Call for DeleteInstanceRequest {
    fn repeat(&self) -> Repeat {
        keyed(self.idempotency_key.as_ref())
    }
}

impl Call for ApplyEventRequest {
    fn repeat(&self) -> Repeat {
        keyed(self.idempotency_key.as_ref())
    }

    fn read(text: &[u8], server: &Server, _seed: &Seed) -> serde_json::Result<ApplyEventResult> {
        if server.extended { serde_json::from_slice(text) } else { plain_applied(text) }
    }
}

fn plain_applied(text: &[u8]) -> serde_json::Result<ApplyEventResult> {
    #[derive(Deserialize)]
    struct Plain {
        from_state: Text,
        to_state: Text,
        #[serde(default)]
        ctx: Option<Json>,
        wal_offset: Offset,
        applied: bool,
        #[serde(default)]
        event_id: Option<Text>,
    }
    let plain: Plain = serde_json::from_slice(text)?;
    Ok(ApplyEventResult {
        from_state: plain.from_state,
        to_state: plain.to_state,
        ctx: object(plain.ctx),
        wal_offset: plain.wal_offset,
        applied: plain.applied,
        event_id: plain.event_id,
    })
}

impl Call for GetInstanceRequest {
    fn seed(&self) -> Seed {
        Seed::Instance(self.instance_id.clone())
    }

    fn read(text: &[u8], server: &Server, seed: &Seed) -> serde_json::Result<GetInstanceResult> {
        match seed {
            Seed::Instance(id) if !server.extended => plain_instance(text, id),
            _ => serde_json::from_slice(text),
        }
    }
}

fn plain_instance(text: &[u8], instance_id: &Text) -> serde_json::Result<GetInstanceResult> {
    #[derive(Deserialize)]
    struct Plain {
        machine: Text,
        version: u32,
        state: Text,
        #[serde(default)]
        ctx: Option<Json>,
        last_wal_offset: Offset,
        #[serde(default)]
        last_event_id: Option<Text>,
    }
    let plain: Plain = serde_json::from_slice(text)?;
    Ok(GetInstanceResult {
        instance_id: instance_id.clone(),
        machine: plain.machine,
        version: plain.version,
        state: plain.state,
        ctx: object(plain.ctx),
        last_wal_offset: plain.last_wal_offset,
        last_event_id: plain.last_event_id,
        created_at: 0,
        updated_at: 0,
    })
}

impl Call for ListInstancesRequest {
    fn needs(&self) -> Option<&'static str> {
        if self.cursor.is_some() {
            return Some("cursors of lists (cursor)");
        }
        self.version.map(|_| "lists of one version (version)")
    }
}

impl Call for CountInstancesRequest {
    fn needs(&self) -> Option<&'static str> {
        Some("count_instances")
    }

    fn read(text: &[u8], _: &Server, _: &Seed) -> serde_json::Result<CountInstancesResult> {
        // Every result on the wire is an object.
        #[derive(Deserialize)]
        struct Wire {
            counts: CountInstancesResult,
        }
        serde_json::from_slice::<Wire>(text).map(|wire| wire.counts)
    }
}

impl Call for PermittedRequest {
    fn needs(&self) -> Option<&'static str> {
        Some("permitted")
    }
}

impl Call for ValidateMachineRequest {
    fn needs(&self) -> Option<&'static str> {
        Some("validate_machine")
    }
}

impl Call for HistoryRequest {
    fn needs(&self) -> Option<&'static str> {
        Some("history")
    }
}

impl Call for BatchRequest {
    const OLDER: Option<Reword> = Some(|params| {
        let mut batch: BatchRequest = serde_json::from_str(params)?;
        for op in &mut batch.ops {
            if let BatchOperation::CreateInstance(request) = op {
                *request = with_context(request.clone());
            }
        }
        serde_json::to_string(&batch)
    });

    fn repeat(&self) -> Repeat {
        if self.ops.iter().all(|op| matches!(op, BatchOperation::GetInstance(_))) {
            return Repeat::Always;
        }
        keyed(self.idempotency_key.as_ref())
    }

    fn needs(&self) -> Option<&'static str> {
        // It keeps what comes before an operation that fails.
        if self.mode == BatchMode::Atomic {
            return Some("batches that happen as a whole or not at all (mode atomic)");
        }
        if self.idempotency_key.is_some() {
            return Some("keys of batches (idempotency_key)");
        }
        self.ops.iter().find_map(|op| match op {
            BatchOperation::CreateInstance(request) => request.needs(),
            _ => None,
        })
    }

    fn seed(&self) -> Seed {
        let read = |op: &BatchOperation| match op {
            BatchOperation::GetInstance(request) => Some(request.instance_id.clone()),
            _ => None,
        };
        let ids: Vec<_> = self.ops.iter().map(read).collect();
        if ids.iter().all(Option::is_none) { Seed::Nothing } else { Seed::Batch(ids) }
    }

    fn read(text: &[u8], server: &Server, seed: &Seed) -> serde_json::Result<BatchResult> {
        #[derive(Deserialize)]
        struct Wire {
            results: Vec<WireOutcome>,
        }
        #[derive(Deserialize)]
        struct WireOutcome {
            #[serde(default)]
            result: Option<Json>,
            #[serde(default)]
            error: Option<rstmdb_protocol::error::ReceivedError>,
        }
        let wire: Wire = serde_json::from_slice(text)?;
        let ids: &[Option<Text>] = if let Seed::Batch(ids) = seed { ids } else { &[] };
        let outcome = |(place, outcome): (usize, WireOutcome)| {
            let outcome: Result<BatchOperationResult> = match (outcome.error, outcome.result) {
                (Some(error), _) => Err(error.into()),
                (None, result) => {
                    let result = object(result);
                    let id = ids.get(place).and_then(Option::as_ref);
                    Ok(element(&result, id.filter(|_| !server.extended))?)
                }
            };
            Ok(BatchOutcome::from(outcome))
        };
        let results = wire.results.into_iter().enumerate().map(outcome);
        Ok(BatchResult { results: results.collect::<serde_json::Result<_>>()? })
    }
}

/// The result of an element; `read` is the instance that an older server was asked for.
fn element(result: &Json, read: Option<&Text>) -> serde_json::Result<BatchOperationResult> {
    let text = result.as_str().as_bytes();
    match read {
        Some(id) => plain_instance(text, id).map(BatchOperationResult::GetInstance),
        None if result.root().get("applied").is_some() => {
            plain_applied(text).map(BatchOperationResult::ApplyEvent)
        }
        None => serde_json::from_slice(text),
    }
}

impl Call for WalReadRequest {
    fn seed(&self) -> Seed {
        Seed::Offset(self.from_offset)
    }

    fn params(&self) -> serde_json::Result<String> {
        // Older servers know no default.
        let limit = Some(self.limit.unwrap_or(100));
        serde_json::to_string(&WalReadRequest { limit, ..self.clone() })
    }

    fn read(text: &[u8], server: &Server, seed: &Seed) -> serde_json::Result<WalReadResult> {
        #[derive(Deserialize)]
        struct Plain {
            records: Vec<PlainRecord>,
            #[serde(default)]
            next_offset: Option<Offset>,
        }
        #[derive(Deserialize)]
        struct PlainRecord {
            sequence: Offset,
            offset: Offset,
            entry: WalEntry,
        }
        if server.extended {
            return serde_json::from_slice(text);
        }
        let plain: Plain = serde_json::from_slice(text)?;
        let from = if let Seed::Offset(offset) = seed { *offset } else { 0 };
        let record = |record: PlainRecord| WalRecord {
            sequence: record.sequence,
            offset: record.offset,
            timestamp: 0,
            entry: with_contexts(record.entry),
        };
        Ok(WalReadResult {
            records: plain.records.into_iter().map(record).collect(),
            next_offset: plain.next_offset.unwrap_or(from),
        })
    }
}

fn with_contexts(mut entry: WalEntry) -> WalEntry {
    if let WalEntry::CreateInstance { initial_ctx: ctx, .. } | WalEntry::ApplyEvent { ctx, .. } =
        &mut entry
        && ctx.is_null()
    {
        *ctx = Json::empty_object();
    }
    entry
}

impl Call for WalStatsRequest {
    fn read(text: &[u8], server: &Server, _seed: &Seed) -> serde_json::Result<WalStatsResult> {
        #[derive(Deserialize)]
        struct Plain {
            entry_count: u64,
            segment_count: u64,
            total_size_bytes: u64,
            latest_offset: Offset,
            io_stats: IoStats,
        }
        if server.extended {
            return serde_json::from_slice(text);
        }
        let plain: Plain = serde_json::from_slice(text)?;
        Ok(WalStatsResult {
            entry_count: plain.entry_count,
            segment_count: plain.segment_count,
            total_size_bytes: plain.total_size_bytes,
            latest_offset: plain.latest_offset,
            first_offset: 0,
            io_stats: plain.io_stats,
        })
    }
}

impl Call for InfoRequest {
    fn read(text: &[u8], server: &Server, _seed: &Seed) -> serde_json::Result<InfoResult> {
        #[derive(Deserialize)]
        struct Plain {
            server_name: Text,
            server_version: Text,
            #[serde(default)]
            features: Vec<Text>,
            #[serde(default)]
            max_batch_ops: Option<usize>,
        }
        if server.extended {
            let info: InfoResult = serde_json::from_slice(text)?;
            return Ok(InfoResult { backend: "remote".into(), ..info });
        }
        let plain: Plain = serde_json::from_slice(text)?;
        let mut limits = Limits::default();
        limits.batch_operations_max = plain.max_batch_ops.unwrap_or(limits.batch_operations_max);
        Ok(InfoResult {
            server_name: plain.server_name,
            server_version: plain.server_version,
            backend: "remote".into(),
            database_id: Text::default(),
            features: plain.features,
            writable: true,
            health: "ok".into(),
            limits,
            instances: 0,
            machines: 0,
            latest_offset: 0,
        })
    }
}
