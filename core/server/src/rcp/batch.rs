//! Batches of the plain dialect. What the database runs as one is handed to it; but such a batch may
//! hold any operation, and then each is run by itself, admitted like any other request.

use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::result::{WireResult, write_batch};
use rstmdb_protocol::{Dialect, WireCommand};
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::*;

use super::plan::{Element, Plan};
use crate::calls::Caller;

/// How deeply batches may nest.
const DEPTH_MAX: usize = 4;
/// Operations of a batch and those nested in it, in all.
const NESTED_OPERATIONS_MAX: usize = 1000;

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
    fn admit(&mut self, command: WireCommand) -> Result<()> {
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
        WireCommand::Database(Operation::Batch) if budget.depth <= 1 => {
            return Err(misplaced(command));
        }
        WireCommand::Database(operation) if operation.place() != Place::Stream => {
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
fn misplaced(command: WireCommand) -> Error {
    let name = command.wire_name();
    Error::invalid(
        reason::INVALID_REQUEST,
        format!("{name} can't be part of a batch; send it alone"),
    )
    .with_operation(name)
}
