//! Requests as a server gets them, and results as callers get them.
//!
//! Only what differs on an older server is here: it lacks some operations and parameters, and leaves
//! members of results out, which stay absent where nothing is known.

use rstmdb_types::operation::Access;
use rstmdb_types::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::{Repeat, Reword};
use crate::server::ServerInfo;

/// Whether it may be sent twice.
pub(crate) fn repeat(request: &Request) -> Repeat {
    if !has_effect(request) {
        Repeat::Always
    } else if request.idempotency_key().is_some() {
        Repeat::Keyed
    } else {
        Repeat::Never
    }
}

fn has_effect(request: &Request) -> bool {
    match request {
        Request::Batch(batch) => batch.ops.iter().any(has_effect),
        // What a backup holds is held for a while, by whom does not matter.
        Request::ListSnapshots(_) | Request::Backup(_) | Request::Verify(_) => false,
        request => request.operation().access() != Access::Read,
    }
}

/// What an older server lacks for it.
pub(crate) fn needs(request: &Request) -> Option<&'static str> {
    match request {
        Request::PutMachine(put) if does_something(&put.definition) => {
            Some("definitions that do something (actions)")
        }
        Request::PutMachine(put) => put.strict.then_some("strict definitions (strict)"),
        // It would start in the initial state, without a word.
        Request::CreateInstance(CreateInstanceRequest { initial_state: Some(_), .. }) => {
            Some("creations in another state than the initial one (initial_state)")
        }
        Request::ListInstances(ListInstancesRequest { cursor: Some(_), .. }) => {
            Some("cursors of lists (cursor)")
        }
        Request::ListInstances(list) => list.version.map(|_| "lists of one version (version)"),
        Request::CountInstances(_)
        | Request::Permitted(_)
        | Request::ValidateMachine(_)
        | Request::History(_)
        | Request::ListSnapshots(_)
        | Request::DropSnapshot(_)
        | Request::Backup(_)
        | Request::Verify(_)
        | Request::ReplicaPromote(_)
        | Request::ReplicaFollow(_)
        | Request::ClusterStatus(_)
        | Request::ClusterInit(_)
        | Request::ClusterAdd(_)
        | Request::ClusterRemove(_)
        | Request::ClusterPromote(_)
        | Request::ClusterTransfer(_)
        | Request::ClusterDrain(_)
        | Request::ClusterVerify(_)
        | Request::ClusterUpgrade(_) => Some(request.operation().name()),
        // It keeps what comes before an operation that fails.
        Request::Batch(BatchRequest { mode: BatchMode::Atomic, .. }) => {
            Some("batches that happen as a whole or not at all (mode atomic)")
        }
        Request::Batch(BatchRequest { idempotency_key: Some(_), .. }) => {
            Some("keys of batches (idempotency_key)")
        }
        Request::Batch(batch) => batch.ops.iter().find_map(needs),
        Request::WalRead(WalReadRequest { history_id: Some(_), .. })
        | Request::ApplyEvent(ApplyEventRequest { history_id: Some(_), .. }) => {
            Some("histories of the log (history_id)")
        }
        _ => None,
    }
}

/// Whether an older server would store the definition and leave out what its transitions do, without a word. It refuses
/// states and guards that it does not know by itself.
fn does_something(definition: &Json) -> bool {
    let says = |value: JsonRef<'_>, key: &str| value.get(key).is_some();
    let root = definition.root();
    let mut transitions = root.get("transitions").into_iter().flat_map(JsonRef::elements);
    says(root, "merge")
        || transitions.any(|one| ["actions", "always", "merge"].iter().any(|key| says(one, key)))
}

/// The JSON text of the parameters.
pub(crate) fn params(request: &Request) -> serde_json::Result<String> {
    match request {
        // Older servers know no default.
        Request::WalRead(read) if read.limit.is_none() => {
            serde_json::to_string(&WalReadRequest { limit: Some(100), ..read.clone() })
        }
        request => serde_json::to_string(request),
    }
}

/// How an operation is said to an older server, where that makes a difference.
pub(crate) fn older(operation: Operation) -> Option<Reword> {
    match operation {
        Operation::CreateInstance => Some(|params| {
            let mut create: CreateInstanceRequest = serde_json::from_str(params)?;
            with_context(&mut create);
            serde_json::to_string(&create)
        }),
        Operation::Batch => Some(|params| {
            let mut batch: BatchRequest = serde_json::from_str(params)?;
            for element in &mut batch.ops {
                if let Request::CreateInstance(create) = element {
                    with_context(create);
                }
            }
            serde_json::to_string(&batch)
        }),
        _ => None,
    }
}

/// An older server takes no context for one of null, into which it never merges a payload.
fn with_context(create: &mut CreateInstanceRequest) {
    create.initial_ctx = Some(object(create.initial_ctx.take()));
}

/// Older servers know a context of null.
fn object(json: Option<Json>) -> Json {
    json.filter(|json| !json.is_null()).unwrap_or_else(Json::empty_object)
}

/// What reading a result needs to know of its request.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// The operation.
    Operation(Operation),
    /// An instance was asked for.
    Instance(Text),
    /// What the elements of a batch asked for.
    Batch(Vec<Asked>),
    /// Where a read of the log began.
    Log(Offset),
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Asked {
        match request {
            Request::GetInstance(get) => Asked::Instance(get.instance_id.clone()),
            Request::Batch(batch) => Asked::Batch(batch.ops.iter().map(Asked::of).collect()),
            Request::WalRead(read) => Asked::Log(read.from_offset),
            request => Asked::Operation(request.operation()),
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Asked::Operation(operation) => *operation,
            Asked::Instance(_) => Operation::GetInstance,
            Asked::Batch(_) => Operation::Batch,
            Asked::Log(_) => Operation::WalRead,
        }
    }

    /// Reads the result.
    pub(crate) fn read(&self, text: &[u8], server: &ServerInfo) -> serde_json::Result<Outcome> {
        match self {
            Asked::Batch(elements) => batch(text, server, elements).map(Outcome::Batch),
            Asked::Operation(Operation::Info) => {
                info(text, server).map(|info| Outcome::Info(info.into()))
            }
            Asked::Instance(id) if !server.extended => {
                plain_instance(text, id).map(Outcome::GetInstance)
            }
            Asked::Log(from) if !server.extended => plain_log(text, *from).map(Outcome::WalRead),
            Asked::Operation(Operation::ApplyEvent) if !server.extended => {
                plain_applied(text).map(Outcome::ApplyEvent)
            }
            Asked::Operation(Operation::WalStats) if !server.extended => {
                plain_stats(text).map(Outcome::WalStats)
            }
            asked => {
                let mut result = serde_json::Deserializer::from_slice(text);
                let outcome = Outcome::deserialize(asked.operation(), &mut result)?;
                result.end().map(|()| outcome)
            }
        }
    }
}

/// The newest change that a result tells of.
pub(crate) fn newest_offset(outcome: &Outcome) -> Option<Offset> {
    match outcome {
        Outcome::ApplyEvent(applied) => Some(applied.wal_offset),
        Outcome::CreateInstance(created) => Some(created.wal_offset),
        Outcome::DeleteInstance(deleted) => Some(deleted.wal_offset),
        Outcome::GetInstance(instance) => Some(instance.last_wal_offset),
        Outcome::ListInstances(list) => {
            list.instances.iter().map(|instance| instance.last_wal_offset).max()
        }
        Outcome::Batch(batch) => {
            batch.results.iter().filter_map(|one| newest_offset(one.result.as_ref()?)).max()
        }
        _ => None,
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
        created_at: None,
        updated_at: None,
    })
}

fn batch(text: &[u8], server: &ServerInfo, asked: &[Asked]) -> serde_json::Result<BatchResult> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        results: Vec<WireOutcome<'a>>,
    }
    #[derive(Deserialize)]
    struct WireOutcome<'a> {
        #[serde(borrow, default)]
        result: Option<&'a RawValue>,
        #[serde(default)]
        error: Option<rstmdb_protocol::error::ReceivedError>,
    }
    let wire: Wire<'_> = serde_json::from_slice(text)?;
    if wire.results.len() != asked.len() {
        let message = format!("{} results of {} operations", wire.results.len(), asked.len());
        return Err(serde::de::Error::custom(message));
    }
    let outcome = |(outcome, asked): (WireOutcome<'_>, &Asked)| {
        let outcome: Result<Outcome> = match (outcome.error, outcome.result) {
            (Some(error), _) => Err(error.into()),
            (None, result) => {
                let text = result.map_or("{}", RawValue::get);
                Ok(asked.read(text.as_bytes(), server)?)
            }
        };
        Ok(BatchOutcome::from(outcome))
    };
    let results = wire.results.into_iter().zip(asked).map(outcome);
    Ok(BatchResult { results: results.collect::<serde_json::Result<_>>()? })
}

fn plain_log(text: &[u8], from: Offset) -> serde_json::Result<WalReadResult> {
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
    let plain: Plain = serde_json::from_slice(text)?;
    let record = |record: PlainRecord| WalRecord {
        sequence: record.sequence,
        offset: record.offset,
        timestamp: None,
        entry: with_contexts(record.entry),
    };
    Ok(WalReadResult {
        records: plain.records.into_iter().map(record).collect(),
        next_offset: plain.next_offset.unwrap_or(from),
        history_id: None,
    })
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

fn plain_stats(text: &[u8]) -> serde_json::Result<WalStatsResult> {
    #[derive(Deserialize)]
    struct Plain {
        entry_count: u64,
        segment_count: u64,
        total_size_bytes: u64,
        latest_offset: Offset,
        io_stats: IoStats,
    }
    let plain: Plain = serde_json::from_slice(text)?;
    Ok(WalStatsResult {
        entry_count: plain.entry_count,
        segment_count: plain.segment_count,
        total_size_bytes: plain.total_size_bytes,
        latest_offset: plain.latest_offset,
        first_offset: None,
        io_stats: plain.io_stats,
    })
}

fn info(text: &[u8], server: &ServerInfo) -> serde_json::Result<InfoResult> {
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
    Ok(InfoResult {
        server_name: plain.server_name,
        server_version: plain.server_version,
        backend: "remote".into(),
        database_id: None,
        features: plain.features,
        writable: None,
        health: None,
        limits: KnownLimits { batch_operations_max: plain.max_batch_ops, ..KnownLimits::default() },
        instances: None,
        machines: None,
        latest_offset: None,
        history_id: None,
    })
}
