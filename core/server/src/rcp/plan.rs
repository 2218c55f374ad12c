//! How a request is carried out: by one call, or, as a batch of the plain dialect may be, one by one.

use rstmdb_protocol::{BATCH_OPERATIONS_MAX, Dialect, WireCommand};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::parse::{self, decode};
use crate::calls::{Call, Caller};

/// How an operation is carried out.
pub(crate) enum Plan<'a> {
    /// By one call.
    Whole(Call),
    /// A batch of the plain dialect, one by one, each on its own.
    Each(Vec<Element<'a>>),
}

impl Plan<'_> {
    pub(crate) fn new<'a>(
        caller: &mut Caller,
        dialect: Dialect,
        operation: Operation,
        params: &'a str,
    ) -> Result<Plan<'a>> {
        if operation == Operation::Batch && dialect == Dialect::Plain {
            return of_batch(params);
        }
        parse::call(caller, dialect, operation, params).map(Plan::Whole)
    }
}

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
    pub command: WireCommand,
    pub params: &'a str,
}

impl Element<'_> {
    /// As the database takes it in a batch; none when it is another operation.
    fn typed(&self) -> Result<Option<BatchOperation>> {
        match self.command {
            WireCommand::Database(operation) if operation.is_batchable() => {
                let read = parse::request(Dialect::Plain, operation, self.params);
                read.map(|operation| Some(*operation))
            }
            _ => Ok(None),
        }
    }
}

/// Looks at a batch as a whole: nothing has run when it is refused.
fn of_batch(params: &str) -> Result<Plan<'_>> {
    let batch: Loose<'_> = decode(WireCommand::Database(Operation::Batch), params)?;
    limits::check("ops", batch.ops.len(), "max_batch_ops", BATCH_OPERATIONS_MAX)?;
    let mut elements = Vec::with_capacity(batch.ops.len());
    for LooseElement { op, params } in batch.ops {
        let Some(command) = WireCommand::from_wire_name(&op) else {
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
