//! Batches of the plain dialect. What the database runs as one is handed to it; but such a batch may
//! hold any operation, and then each is run by itself, admitted like any other request.

use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::result::{WireResult, write_batch};
use rstmdb_protocol::{BATCH_OPERATIONS_MAX, Command, Dialect};
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::database::Plan;
use super::parse::{self, decode};
use crate::calls::Caller;

/// How deeply batches may nest.
const DEPTH_MAX: usize = 4;
/// Operations of a batch and those nested in it, in all.
const NESTED_OPERATIONS_MAX: usize = 1000;

/// A batch whose elements were not looked at.
#[derive(Deserialize)]
struct Loose<'a> {
    #[serde(borrow)]
    ops: Vec<LooseElement<'a>>,
    #[serde(default)]
    mode: Option<serde_json::Value>,
    #[serde(default)]
    idempotency_key: Option<Text>,
}

#[derive(Deserialize)]
struct LooseElement<'a> {
    op: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// An operation of a batch.
pub(crate) struct Element<'a> {
    command: Command,
    params: &'a str,
}

impl Element<'_> {
    /// As the database takes it in a batch; none when it is another operation.
    fn typed(&self) -> Result<Option<BatchOperation>> {
        match self.command {
            Command::Database(operation) if operation.is_batchable() => {
                parse::request(operation, self.params).map(Some)
            }
            _ => Ok(None),
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

/// Runs the operations of a batch one by one, on a thread that may wait.
pub(crate) fn perform(
    caller: &mut Caller,
    dialect: Dialect,
    elements: Vec<Element<'_>>,
    budget: &mut Budget,
) -> Each {
    let run = |element| perform_element(caller, dialect, element, budget);
    Each(elements.into_iter().map(run).collect())
}

/// The results of operations that were run one by one, as JSON text.
pub(crate) struct Each(Vec<Result<Printed>>);

/// JSON text.
struct Printed(Vec<u8>);

impl WireResult for Printed {
    fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

impl WireResult for Each {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        write_batch(self.0.iter().map(|result| result.as_ref().map(Some)), dialect, out)
    }
}

/// Runs one operation of a batch by itself.
fn perform_element(
    caller: &mut Caller,
    dialect: Dialect,
    element: Element<'_>,
    budget: &mut Budget,
) -> Result<Printed> {
    let Element { command, params } = element;
    let live = caller.calls().settings().load();
    caller.admit_element(command, &live)?;
    budget.admit(command)?;
    let mut text = Vec::new();
    let mut print = |result: &dyn WireResult| {
        result.write(dialect, &mut text).map_err(|error| {
            Error::new(ErrorCode::InternalError, format!("writing the result: {error}"))
        })
    };
    match command {
        Command::Database(Operation::Batch) if budget.depth <= 1 => return Err(misplaced(command)),
        Command::Database(operation) if operation.place() != Place::Stream => {
            match Plan::new(caller, dialect, operation, params)? {
                Plan::Whole(call) => {
                    let pending = caller.submit(call);
                    print(&caller.wait(pending)?)?;
                }
                Plan::Each(elements) => {
                    budget.depth -= 1;
                    let results = perform(caller, dialect, elements, budget);
                    budget.depth += 1;
                    print(&results)?;
                }
            }
        }
        _ => return Err(misplaced(command)),
    }
    budget.bytes = budget.bytes.saturating_sub(text.len());
    Ok(Printed(text))
}

/// The error for what only a connection can be asked.
fn misplaced(command: Command) -> Error {
    let name = command.wire_name();
    Error::invalid(
        reason::INVALID_REQUEST,
        format!("{name} can't be part of a batch; send it alone"),
    )
    .with_operation(name)
}

/// Looks at a batch as a whole: nothing has run when it is refused.
pub(crate) fn plan(params: &str) -> Result<Plan<'_>> {
    let batch: Loose<'_> = decode(Command::Database(Operation::Batch), params)?;
    limits::check("ops", batch.ops.len(), "max_batch_ops", BATCH_OPERATIONS_MAX)?;
    let mut elements = Vec::with_capacity(batch.ops.len());
    for LooseElement { op, params } in batch.ops {
        let Some(command) = Command::from_wire_name(&op) else {
            let place = elements.len();
            let message = format!("BATCH: ops[{place}].op {op:?} is not known");
            return Err(Error::invalid(reason::INVALID_REQUEST, message));
        };
        elements.push(Element { command, params: params.map_or("{}", RawValue::get) });
    }
    // Any other value of mode has always meant best effort.
    let atomic = batch.mode.as_ref().and_then(|mode| mode.as_str()) == Some("atomic");
    let mode = if atomic { BatchMode::Atomic } else { BatchMode::BestEffort };
    let mut ops = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        match element.typed() {
            // The key of a single event answers for any request: see `parse::call`.
            Ok(Some(BatchOperation::ApplyEvent(event)))
                if event.idempotency_key.is_some() && !atomic =>
            {
                return Ok(Plan::Each(elements));
            }
            Ok(Some(operation)) => ops.push(operation),
            _ if !atomic => return Ok(Plan::Each(elements)),
            Err(error) => return Err(error),
            Ok(None) => {
                let name = element.command.wire_name();
                return Err(Error::invalid(
                    reason::INVALID_REQUEST,
                    format!(
                        "BATCH: ops[{index}].op {name:?} can't be part of an atomic batch; use {}",
                        BatchElement::choices()
                    ),
                ));
            }
        }
    }
    let request = BatchRequest { mode, ops, idempotency_key: batch.idempotency_key };
    Ok(Plan::Whole(Request::from(request).into()))
}
