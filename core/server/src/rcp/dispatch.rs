//! Turns a request into a call of the engine. Every operation is here: at once where
//! that is quick, on a thread that may wait where it is not.
//!
//! The plain dialect differs in a few
//! rules: see `Dialect`.

use rstmdb_engine::{Engine, Pending};
use rstmdb_protocol::result::WireResult;
use rstmdb_protocol::{Command, Dialect, Request};
use rstmdb_types::error::reason;
use rstmdb_types::*;

use super::answer::{Answer, Job, Served, decode};
use super::batch::Budget;
use super::{batch, watches};

/// Parameters of more bytes than this are worked on elsewhere: one connection must not hold up the
/// others of its thread.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Of a name that is not known, this much is shown.
const SHOWN_CHARACTERS: usize = 100;

/// The error for a name that is no command.
pub(crate) fn unknown(request: &Request<'_>) -> Error {
    let op: String = request.op.chars().take(SHOWN_CHARACTERS).collect();
    let upper = op.to_uppercase();
    let hint = match Command::from_wire_name(&upper) {
        Some(command) => format!("; did you mean {}?", command.wire_name()),
        None => String::new(),
    };
    Error::invalid(reason::INVALID_REQUEST, format!("op {op:?} is not known{hint}"))
        .with("field", "op")
}

/// Answers an operation of the database, or starts it on another thread.
pub(crate) fn dispatch(answer: Answer<'_, '_>, operation: Operation, params: &str) -> Option<Job> {
    let (engine, dialect) = (&*answer.served.engine, answer.form.dialect);
    macro_rules! run {
        ($method:ident $(, $adapt:expr)?) => {
            match decode(answer.form.command, params) {
                Ok(request) => {
                    $(let request = $adapt(request, engine, dialect);)?
                    answer.pending(engine.$method(request));
                    return None;
                }
                Err(error) => {
                    answer.refuse(error);
                    return None;
                }
            }
        };
    }
    if params.len() > INLINE_BYTES_MAX {
        return Some(elsewhere(answer, operation, params));
    }
    match operation {
        Operation::ApplyEvent if dialect == Dialect::Plain => {
            match decode(answer.form.command, params) {
                Ok(request) => {
                    answer.pending(apply_or_first(engine, request));
                    None
                }
                Err(error) => {
                    answer.refuse(error);
                    None
                }
            }
        }
        Operation::ApplyEvent => run!(apply_event),
        Operation::GetInstance => run!(get_instance),
        Operation::CreateInstance => run!(create_instance),
        Operation::DeleteInstance => run!(delete_instance),
        Operation::ListInstances => run!(list_instances, page),
        Operation::CountInstances => run!(count_instances),
        Operation::Permitted => run!(permitted),
        Operation::PutMachine => run!(put_machine),
        Operation::GetMachine => run!(get_machine),
        Operation::ListMachines => run!(list_machines),
        Operation::ValidateMachine => run!(validate_machine),
        Operation::WalStats => run!(wal_stats),
        Operation::Info => run!(info),
        Operation::ReplicationStatus => {
            answer.pending(engine.replication_status(ReplicationStatusRequest {}));
            None
        }
        Operation::Ping => {
            answer.with(Ok(&PingResult { pong: true }));
            None
        }
        Operation::Batch => batch::run(answer, params),
        Operation::WatchInstance
        | Operation::WatchAll
        | Operation::History
        | Operation::WalRead
        | Operation::Compact
        | Operation::SnapshotInstance
        | Operation::FlushAll => Some(elsewhere(answer, operation, params)),
    }
}

fn elsewhere(answer: Answer<'_, '_>, operation: Operation, params: &str) -> Job {
    let (params, dialect) = (params.to_owned(), answer.form.dialect);
    if matches!(operation, Operation::WatchInstance | Operation::WatchAll) {
        return watches::begin(answer, operation, params);
    }
    answer.job(move |served| perform(served, dialect, operation, &params, &mut Budget::default()))
}

/// Runs an operation on a thread that may wait.
pub(crate) fn perform(
    served: &Served,
    dialect: Dialect,
    operation: Operation,
    params: &str,
    budget: &mut Budget,
) -> Result<Box<dyn WireResult>> {
    let (engine, command) = (&*served.engine, Command::Database(operation));
    macro_rules! run {
        (pending $method:ident) => {
            Box::new(engine.$method(decode(command, params)?).wait()?)
        };
        (blocking $method:ident) => {
            Box::new(engine.$method(decode(command, params)?).wait()?)
        };
    }
    Ok(match operation {
        Operation::ApplyEvent if dialect == Dialect::Plain => {
            Box::new(apply_or_first(engine, decode(command, params)?).wait()?)
        }
        Operation::ApplyEvent => run!(pending apply_event),
        Operation::GetInstance => run!(pending get_instance),
        Operation::CreateInstance => run!(pending create_instance),
        Operation::DeleteInstance => run!(pending delete_instance),
        Operation::ListInstances => {
            let request = page(decode(command, params)?, engine, dialect);
            Box::new(engine.list_instances(request).wait()?)
        }
        Operation::CountInstances => run!(pending count_instances),
        Operation::Permitted => run!(pending permitted),
        Operation::PutMachine => run!(pending put_machine),
        Operation::GetMachine => run!(pending get_machine),
        Operation::ListMachines => run!(pending list_machines),
        Operation::ValidateMachine => run!(pending validate_machine),
        Operation::WalStats => run!(pending wal_stats),
        Operation::Info => run!(pending info),
        Operation::ReplicationStatus => {
            Box::new(engine.replication_status(ReplicationStatusRequest {}).wait()?)
        }
        Operation::Ping => Box::new(PingResult { pong: true }),
        Operation::FlushAll => Box::new(engine.flush_all(FlushAllRequest {}).wait()?),
        Operation::History => run!(blocking history),
        Operation::WalRead => run!(blocking wal_read),
        Operation::Compact => {
            Box::new(engine.compact(compaction(decode(command, params)?)).wait()?)
        }
        Operation::SnapshotInstance => run!(blocking snapshot_instance),
        Operation::Batch => batch::perform(served, dialect, params, budget)?,
        Operation::WatchInstance | Operation::WatchAll => return Err(batch::misplaced(command)),
    })
}

/// A known key gets the first answer, even to another request.
fn apply_or_first(
    engine: &Engine,
    request: ApplyEventRequest,
) -> Pending<&Engine, ApplyEventResult> {
    let command = rstmdb_types::Command { any_request: true, ..engine.command(request) };
    Engine::submit(engine, command).of::<ApplyEventRequest>()
}

#[derive(serde::Deserialize)]
struct LooseCompaction {
    #[serde(default)]
    force_snapshot: serde_json::Value,
}

/// Any value but true counts as false, as it always has.
fn compaction(loose: LooseCompaction) -> CompactRequest {
    CompactRequest { force_snapshot: loose.force_snapshot.as_bool().unwrap_or(false) }
}

/// Clients of the plain dialect know no largest page: they get the largest there is.
fn page(
    mut request: ListInstancesRequest,
    engine: &Engine,
    dialect: Dialect,
) -> ListInstancesRequest {
    if dialect == Dialect::Plain {
        let most = engine.limits().page_entries_max;
        request.limit = request.limit.map(|limit| limit.min(most));
    }
    request
}
