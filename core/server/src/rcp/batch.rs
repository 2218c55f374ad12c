//! Batches. What the engine runs as one is handed to it; a batch of the plain dialect may hold any
//! operation, and those are run here one by one.

use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::result::{WireResult, write_batch};
use rstmdb_protocol::{BATCH_OPERATIONS_MAX, Command, Dialect};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, Job, Served, decode, request};
use super::dispatch;

/// How deeply batches may nest.
const DEPTH_MAX: usize = 4;
/// Operations of a batch and those nested in it, in all.
const NESTED_OPERATIONS_MAX: usize = 1000;
/// A batch of more operations is run on a thread that may wait.
const INLINE_OPERATIONS_MAX: usize = 100;

/// A batch whose elements were not looked at.
#[derive(Deserialize)]
struct Loose<'a> {
    #[serde(borrow)]
    ops: Vec<Element<'a>>,
    #[serde(default)]
    mode: Option<serde_json::Value>,
    #[serde(default)]
    idempotency_key: Option<Text>,
}

#[derive(Deserialize)]
struct Element<'a> {
    op: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl Element<'_> {
    fn params(&self) -> &str {
        self.params.map_or("{}", RawValue::get)
    }

    /// The element as the engine knows it; none when it is another operation or malformed.
    fn typed(&self, command: Command) -> Result<Option<BatchOperation>> {
        let Command::Database(operation) = command else { return Ok(None) };
        if !operation.is_batchable() {
            return Ok(None);
        }
        request(operation, self.params()).map(Some)
    }
}

/// A batch that was looked at.
enum Plan<'a> {
    /// For the engine.
    Whole(BatchRequest),
    /// To run one by one, each on its own.
    Single(Vec<(Command, Element<'a>)>),
}

/// Answers a batch, or starts it on another thread.
pub(crate) fn run(answer: Answer<'_, '_>, params: &str) -> Option<Job> {
    let (served, dialect) = (&**answer.served, answer.form.dialect);
    match plan(params, dialect) {
        Ok(Plan::Whole(request)) if request.ops.len() <= INLINE_OPERATIONS_MAX => {
            count(served, request.ops.iter().map(command_of));
            answer.pending(served.engine.batch(request));
            None
        }
        Ok(_) => {
            let params = params.to_owned();
            Some(
                answer.job(move |served| perform(served, dialect, &params, &mut Budget::default())),
            )
        }
        Err(error) => {
            answer.refuse(error);
            None
        }
    }
}

/// What is left for a batch and those nested in it.
#[derive(Debug)]
pub(crate) struct Budget {
    operations: usize,
    bytes: usize,
    depth: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { operations: NESTED_OPERATIONS_MAX, bytes: PAYLOAD_BYTES_MAX, depth: DEPTH_MAX }
    }
}

impl Budget {
    /// Refuses an operation whose result would have no place in the answer.
    fn admit(&mut self, command: Command) -> Result<()> {
        let name = command.wire_name();
        let refused = |why: &str| {
            let message = format!("{name}: not run, since {why}; send smaller batches");
            Err(Error::invalid(reason::LIMIT_EXCEEDED, message).with_operation(name))
        };
        if self.bytes == 0 {
            return refused("the results before it fill the answer");
        }
        match self.operations.checked_sub(1) {
            Some(left) => self.operations = left,
            None => return refused("batches inside of each other hold too many operations"),
        }
        Ok(())
    }
}

/// Runs a batch on a thread that may wait.
pub(crate) fn perform(
    served: &Served,
    dialect: Dialect,
    params: &str,
    budget: &mut Budget,
) -> Result<Box<dyn WireResult>> {
    Ok(match plan(params, dialect)? {
        Plan::Whole(request) => {
            count(served, request.ops.iter().map(command_of));
            Box::new(served.engine.batch(request).wait()?)
        }
        Plan::Single(elements) => {
            count(served, elements.iter().map(|(command, _)| *command));
            let run = |(command, element): (Command, Element<'_>)| {
                perform_element(served, dialect, command, element.params(), budget)
            };
            Box::new(Single(elements.into_iter().map(run).collect()))
        }
    })
}

/// The results of operations that were run one by one, as JSON text.
struct Single(Vec<Result<Written>>);

/// JSON text.
struct Written(Vec<u8>);

impl WireResult for Written {
    fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

impl WireResult for Single {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        write_batch(self.0.iter().map(|result| result.as_ref().map(Some)), dialect, out)
    }
}

/// Runs one operation of a batch by itself.
fn perform_element(
    served: &Served,
    dialect: Dialect,
    command: Command,
    params: &str,
    budget: &mut Budget,
) -> Result<Written> {
    budget.admit(command)?;
    let result = match command {
        Command::Database(Operation::Batch) if budget.depth <= 1 => return Err(misplaced(command)),
        Command::Database(operation) => {
            budget.depth -= 1;
            let result = dispatch::perform(served, dialect, operation, params, budget);
            budget.depth += 1;
            result?
        }
        _ => return Err(misplaced(command)),
    };
    let mut text = Vec::new();
    result.write(dialect, &mut text).map_err(|error| {
        Error::new(ErrorCode::InternalError, format!("writing the result: {error}"))
    })?;
    budget.bytes = budget.bytes.saturating_sub(text.len());
    Ok(Written(text))
}

/// The error for what only a connection can be asked.
pub(crate) fn misplaced(command: Command) -> Error {
    let name = command.wire_name();
    Error::invalid(
        reason::INVALID_REQUEST,
        format!("{name} can't be part of a batch; send it alone"),
    )
    .with_operation(name)
}

/// Counts the operations of a batch, beside the batch itself.
fn count(served: &Served, commands: impl Iterator<Item = Command>) {
    for command in commands {
        served.metrics.request(command.index()).requests.inc();
    }
}

fn command_of(operation: &BatchOperation) -> Command {
    Command::Database(operation.operation())
}

/// Looks at a batch as a whole: nothing has run when it is refused.
fn plan(params: &str, dialect: Dialect) -> Result<Plan<'_>> {
    let command = Command::Database(Operation::Batch);
    if dialect == Dialect::Extended {
        return Ok(Plan::Whole(decode(command, params)?));
    }
    let batch: Loose<'_> = decode(command, params)?;
    limits::check("ops", batch.ops.len(), "max_batch_ops", BATCH_OPERATIONS_MAX)?;
    let mut elements = Vec::with_capacity(batch.ops.len());
    for element in batch.ops {
        let Some(command) = Command::from_wire_name(&element.op) else {
            return Err(Error::invalid(
                reason::INVALID_REQUEST,
                format!("BATCH: ops[{}].op {:?} is not known", elements.len(), element.op),
            ));
        };
        elements.push((command, element));
    }
    // Any other value of mode has always meant best effort.
    let atomic = batch.mode.as_ref().and_then(|mode| mode.as_str()) == Some("atomic");
    let mode = if atomic { BatchMode::Atomic } else { BatchMode::BestEffort };
    let mut ops = Vec::with_capacity(elements.len());
    for (index, (command, element)) in elements.iter().enumerate() {
        match element.typed(*command) {
            // The key of a single event answers for any request: see `dispatch`.
            Ok(Some(BatchOperation::ApplyEvent(event)))
                if event.idempotency_key.is_some() && !atomic =>
            {
                return Ok(Plan::Single(elements));
            }
            Ok(Some(operation)) => ops.push(operation),
            _ if !atomic => return Ok(Plan::Single(elements)),
            Err(error) => return Err(error),
            Ok(None) => {
                return Err(Error::invalid(
                    reason::INVALID_REQUEST,
                    format!(
                        "BATCH: ops[{index}].op {:?} can't be part of an atomic batch; use {}",
                        element.op,
                        BatchElement::choices()
                    ),
                ));
            }
        }
    }
    Ok(Plan::Whole(BatchRequest { mode, ops, idempotency_key: batch.idempotency_key }))
}
