//! Batches of the plain dialect. What the database runs as one is handed to it; but such a batch may
//! hold any operation, and then each is run by itself, admitted like any other request.

use rstmdb_protocol::error::WireError;
use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::result::{WireResult, changes_of, write_batch};
use rstmdb_protocol::{Dialect, WireCommand, message};
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::*;

use super::plan::{Element, Plan};
use crate::calls::Caller;

/// How deeply batches may nest.
const DEPTH_MAX: usize = 4;
/// Operations of a batch and those nested in it, in all.
const NESTED_OPERATIONS_MAX: usize = 1000;

/// Of the largest frame, this much is for the envelope, and for saying of operations that they were
/// not run.
const ENVELOPE_BYTES: usize = 1 << 20;
/// What an operation's result has beside itself.
const ELEMENT_BYTES: usize = 64;
/// An event is run when a context of this size would have its place, where the limits allow as much.
const CONTEXT_BYTES: usize = 4 << 20;

/// What is left for a batch and those nested in it.
#[derive(Debug)]
pub(crate) struct Budget {
    operations: usize,
    bytes: usize,
    depth: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        let bytes = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES;
        Budget { operations: NESTED_OPERATIONS_MAX, bytes, depth: DEPTH_MAX }
    }
}

impl Budget {
    /// Refuses an operation whose result, of at least so many bytes, would have no place in the answer.
    fn admit(&mut self, command: WireCommand, bytes: usize) -> Result<()> {
        let name = command.wire_name();
        let refused = |why: &str| {
            let message = format!("{name}: not run, since {why}; send smaller batches");
            Err(Error::invalid(reason::LIMIT_EXCEEDED, message).with_operation(name))
        };
        if self.bytes <= bytes {
            return refused("the results before it fill the answer");
        }
        match self.operations.checked_sub(1) {
            Some(left) => self.operations = left,
            None => return refused("batches inside of each other hold too many operations"),
        }
        Ok(())
    }

    /// Gives a result its place, or says what was done where there is none.
    fn place(&mut self, printed: Printed) -> Result<Printed> {
        let size = printed.text.len() + ELEMENT_BYTES;
        match self.bytes.checked_sub(size) {
            Some(left) => {
                self.bytes = left;
                Ok(printed)
            }
            None => {
                let taken = PAYLOAD_BYTES_MAX - self.bytes;
                // Nothing is run behind it: smaller results would come through by luck.
                self.bytes = 0;
                Err(message::too_large(&printed, taken + size))
            }
        }
    }

    fn place_error(&mut self, error: &Error) {
        let size = serde_json::to_vec(&WireError(error)).map_or(0, |text| text.len());
        self.bytes = self.bytes.saturating_sub(size + ELEMENT_BYTES);
    }
}

/// Runs the operations of a batch one by one, on a thread that may wait.
pub(crate) fn perform(
    caller: &mut Caller,
    dialect: Dialect,
    elements: Vec<Element<'_>>,
    budget: &mut Budget,
) -> Each {
    let run = |element| {
        let result = perform_element(caller, dialect, element, budget);
        if let Err(error) = &result {
            budget.place_error(error);
        }
        result
    };
    Each(elements.into_iter().map(run).collect())
}

/// The results of operations that were run one by one, as JSON text.
pub(crate) struct Each(Vec<Result<Printed>>);

/// A result as JSON text, and the changes it tells of.
struct Printed {
    text: Vec<u8>,
    changes: Option<Vec<Option<Offset>>>,
}

impl Printed {
    fn new(result: &dyn WireResult, dialect: Dialect) -> Result<Printed> {
        let mut text = Vec::new();
        result.write(dialect, &mut text).map_err(|error| {
            Error::new(ErrorCode::InternalError, format!("writing the result: {error}"))
        })?;
        Ok(Printed { text, changes: result.changes() })
    }
}

impl WireResult for Printed {
    fn write(&self, _dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(&self.text);
        Ok(())
    }

    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        self.changes.clone()
    }
}

impl WireResult for Each {
    fn write(&self, dialect: Dialect, out: &mut Vec<u8>) -> serde_json::Result<()> {
        write_batch(self.0.iter().map(|result| result.as_ref().map(Some)), dialect, out)
    }

    fn changes(&self) -> Option<Vec<Option<Offset>>> {
        changes_of(self.0.iter().map(|result| result.as_ref().ok()))
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
    let is_event = command == WireCommand::Database(Operation::ApplyEvent);
    let context = caller.limits().filter(|_| is_event).map(|limits| limits.context_bytes_max);
    budget.admit(command, context.unwrap_or(0).min(CONTEXT_BYTES))?;
    match command {
        WireCommand::Database(Operation::Batch) if budget.depth <= 1 => Err(misplaced(command)),
        WireCommand::Database(operation) if operation.place() != Place::Stream => {
            match Plan::new(caller, dialect, operation, params)? {
                Plan::Whole(call) => {
                    let pending = caller.submit(call);
                    budget.place(Printed::new(&caller.wait(pending)?, dialect)?)
                }
                Plan::Each(elements) => {
                    budget.depth -= 1;
                    let results = perform(caller, dialect, elements, budget);
                    budget.depth += 1;
                    // Each of them has its place already.
                    Printed::new(&results, dialect)
                }
            }
        }
        _ => Err(misplaced(command)),
    }
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
