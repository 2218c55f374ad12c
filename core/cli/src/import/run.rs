//! Sends the rows of a log to the database, in file order, many in one batch.

use std::collections::HashMap;

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchOperationResult, BatchOutcome, BatchRequest,
    CreateInstanceRequest, Error, ErrorCode, ErrorKind, GetInstanceRequest, Json, Result, Text,
};

use super::events::{LogEvent, idempotency_key};
use super::report::{Refused, Report, Talk, foreign, refused_before, unexpected};
use super::resume::{Applied, Earlier, Known, event_id};

/// The most operations and payload bytes of one batch: enough to share a sync, little to lose.
const BATCH_OPERATIONS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An import on its way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    database: &'a Database,
    /// The name of the file, part of every event's id.
    file_name: &'a str,
    machine: &'a str,
    version: u32,
    talk: &'a Talk,
    cases: HashMap<String, Case>,
    /// What imports before this one did, once it is needed.
    earlier: Option<Earlier>,
    operations: Vec<BatchOperation>,
    /// The row of each operation; None is the creation of an instance.
    rows: Vec<Option<Row>>,
    bytes: usize,
}

/// What names a row in a report.
#[derive(Debug)]
struct Row {
    line: u64,
    case: Text,
    event: Text,
}

/// What is known about a case.
#[derive(Debug)]
enum Case {
    /// This import creates its instance.
    New,
    /// An import before this one did.
    Known(Applied),
    /// Its id belongs to an instance of this machine.
    Foreign(String),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        database: &'a Database,
        file_name: &'a str,
        machine: &'a str,
        version: u32,
        talk: &'a Talk,
    ) -> Run<'a> {
        Run {
            database,
            file_name,
            machine,
            version,
            talk,
            cases: HashMap::new(),
            earlier: None,
            operations: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes the next row, to be sent with the next flush.
    pub(super) fn take(
        &mut self,
        event: LogEvent,
        payload: Json,
        report: &mut Report,
    ) -> Result<()> {
        if !self.cases.contains_key(&event.case) {
            let case = self.look_up(&event.case)?;
            match &case {
                Case::New => self.create(&event.case),
                Case::Known(_) => report.instances_existing += 1,
                Case::Foreign(_) => {}
            }
            self.cases.insert(event.case.clone(), case);
        }
        let refusal = match self.cases.get(&event.case) {
            Some(Case::Known(applied)) => match applied.knows(event.line) {
                Known::Nothing => None,
                Known::Applied => {
                    report.events_existing += 1;
                    return Ok(());
                }
                // Later rows moved the case on: trying this one again would apply it out of turn.
                Known::PassedOver => Some(refused_before()),
            },
            Some(Case::Foreign(machine)) => Some(foreign(&event.case, machine)),
            Some(Case::New) | None => None,
        };
        let Some(error) = refusal else {
            self.send(&event, payload);
            return Ok(());
        };
        let LogEvent { line, case, activity, .. } = &event;
        let refused = Refused { line: *line, case, event: activity, error: &error };
        report.refused(&refused, self.talk);
        Ok(())
    }

    fn create(&mut self, case: &str) {
        let request = CreateInstanceRequest::new(case, self.machine, self.version);
        self.operations.push(BatchOperation::CreateInstance(request));
        self.rows.push(None);
    }

    fn send(&mut self, event: &LogEvent, payload: Json) {
        self.bytes += payload.as_str().len();
        let mut request = ApplyEventRequest::new(&event.case, &event.activity)
            .with_payload(payload)
            .with_key(idempotency_key(&event.case, event.line));
        request.event_id = Some(event_id(self.file_name, event.line).into());
        let (case, name) = (request.instance_id.clone(), request.event.clone());
        self.rows.push(Some(Row { line: event.line, case, event: name }));
        self.operations.push(BatchOperation::ApplyEvent(request));
    }

    /// Whether it is time to flush.
    pub(super) fn is_full(&self) -> bool {
        self.operations.len() >= BATCH_OPERATIONS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Sends what was taken and waits until it is stored.
    pub(super) fn flush(&mut self, report: &mut Report) -> Result<()> {
        if self.operations.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let ops = std::mem::take(&mut self.operations);
        let rows = std::mem::take(&mut self.rows);
        let request = BatchRequest { mode: BatchMode::BestEffort, ops, idempotency_key: None };
        let results = self.database.batch(request)?.results;
        if results.len() != rows.len() {
            return Err(unexpected());
        }
        for (row, outcome) in rows.iter().zip(results) {
            self.answer(row.as_ref(), outcome, report)?;
        }
        Ok(())
    }

    fn answer(&self, row: Option<&Row>, outcome: BatchOutcome, report: &mut Report) -> Result<()> {
        match (row, outcome.result, outcome.error) {
            (None, Some(BatchOperationResult::CreateInstance(_)), _) => {
                report.instances_created += 1;
            }
            (Some(_), Some(BatchOperationResult::ApplyEvent(result)), _) => match result.applied {
                true => report.events_applied += 1,
                false => report.events_existing += 1,
            },
            (Some(Row { line, case, event }), None, Some(error)) => {
                stop_if_fatal(&error)?;
                report.refused(&Refused { line: *line, case, event, error: &error }, self.talk);
            }
            // Without the instance every row of the case would be refused with a worse reason.
            (None, None, Some(error)) => return Err(error),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// What the database knows about a case.
    fn look_up(&mut self, case: &str) -> Result<Case> {
        let request = GetInstanceRequest { instance_id: case.into() };
        let found = match self.database.get_instance(request) {
            Ok(found) => found,
            Err(error) if error.code() == ErrorCode::InstanceNotFound => return Ok(Case::New),
            Err(error) => return Err(error),
        };
        if found.machine != self.machine {
            return Ok(Case::Foreign(found.machine.to_string()));
        }
        let earlier = match &mut self.earlier {
            Some(earlier) => earlier,
            none => none.insert(Earlier::read(self.database, self.machine, self.file_name)?),
        };
        Ok(Case::Known(earlier.of(case, found.last_event_id.as_deref(), self.file_name)))
    }
}

/// Errors that are about the database, not about the row, end the import.
fn stop_if_fatal(error: &Error) -> Result<()> {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Rejected
        | ErrorKind::Conflict
        | ErrorKind::Invalid => Ok(()),
        ErrorKind::Unauthorized
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Closed
        | ErrorKind::Internal => Err(error.clone()),
    }
}
