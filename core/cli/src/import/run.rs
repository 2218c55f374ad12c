//! Sends the rows of a log to the database, in file order, many in one batch.

use std::collections::{HashMap, HashSet};

use rstmdb::blocking::Database;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchOperationResult, BatchOutcome, BatchRequest,
    CreateInstanceRequest, Error, ErrorCode, ErrorKind, GetInstanceRequest, HistoryOrder,
    HistoryRequest, Result,
};

use super::events::{LogEvent, idempotency_key};
use super::report::{Refused, Report, Talk, foreign, refused_before, unexpected};

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
    operations: Vec<BatchOperation>,
    /// What each operation is about; None is the creation of an instance.
    lines: Vec<Option<u64>>,
    bytes: usize,
}

/// What is known about a case.
#[derive(Debug)]
enum Case {
    /// This import created its instance.
    New,
    /// An import before this one did.
    Known {
        /// The lines it applied that the log still has.
        applied: HashSet<u64>,
        /// Lines below are known one by one; 0 when nothing is known.
        known_from: u64,
        /// The last line that was applied.
        last: u64,
    },
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
            operations: Vec::new(),
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes the next row, to be sent with the next flush.
    pub(super) fn take(&mut self, event: LogEvent, report: &mut Report) -> Result<()> {
        if !self.cases.contains_key(&event.case) {
            let case = self.look_up(&event.case)?;
            match &case {
                Case::New => self.create(&event.case),
                Case::Known { .. } => report.instances_existing += 1,
                Case::Foreign(_) => {}
            }
            self.cases.insert(event.case.clone(), case);
        }
        let refusal = match self.cases.get(&event.case) {
            Some(Case::Known { applied, known_from, last }) if event.line <= *last => {
                if applied.contains(&event.line) || event.line < *known_from {
                    report.events_existing += 1;
                    return Ok(());
                }
                // Later rows moved the case on: trying this one again would apply it out of turn.
                refused_before()
            }
            Some(Case::Foreign(machine)) => foreign(&event.case, machine),
            _ => {
                self.send(event);
                return Ok(());
            }
        };
        let LogEvent { line, case, activity, .. } = &event;
        let refused = Refused { line: *line, case, event: activity, error: &refusal };
        report.refused(&refused, self.talk);
        Ok(())
    }

    fn create(&mut self, case: &str) {
        let request = CreateInstanceRequest::new(case, self.machine, self.version);
        self.operations.push(BatchOperation::CreateInstance(request));
        self.lines.push(None);
    }

    fn send(&mut self, event: LogEvent) {
        self.bytes += event.payload.as_str().len();
        let key = idempotency_key(&event.case, event.line);
        let mut request = ApplyEventRequest::new(event.case, event.activity)
            .with_payload(event.payload)
            .with_key(key);
        request.event_id = Some(format!("{}:{}", self.file_name, event.line).into());
        self.operations.push(BatchOperation::ApplyEvent(request));
        self.lines.push(Some(event.line));
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
        let lines = std::mem::take(&mut self.lines);
        let mode = BatchMode::BestEffort;
        let request = BatchRequest { mode, ops: ops.clone(), idempotency_key: None };
        let results = self.database.batch(request)?.results;
        if results.len() != ops.len() {
            return Err(unexpected());
        }
        for ((operation, line), outcome) in ops.iter().zip(lines).zip(results) {
            self.answer(operation, line, outcome, report)?;
        }
        Ok(())
    }

    fn answer(
        &self,
        operation: &BatchOperation,
        line: Option<u64>,
        outcome: BatchOutcome,
        report: &mut Report,
    ) -> Result<()> {
        match (operation, outcome.result, outcome.error) {
            (_, Some(BatchOperationResult::CreateInstance(_)), _) => report.instances_created += 1,
            (_, Some(BatchOperationResult::ApplyEvent(result)), _) => match result.applied {
                true => report.events_applied += 1,
                false => report.events_existing += 1,
            },
            (BatchOperation::ApplyEvent(request), None, Some(error)) => {
                stop_if_fatal(&error)?;
                let line = line.unwrap_or_default();
                let (case, event) = (request.instance_id.as_str(), request.event.as_str());
                report.refused(&Refused { line, case, event, error: &error }, self.talk);
            }
            // Without the instance every row of the case would be refused with a worse reason.
            (_, None, Some(error)) => return Err(error),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// What the database knows about a case: the rows an import before this one applied.
    ///
    /// Keys are forgotten after a while; the history tells as long as the log goes back.
    fn look_up(&self, case: &str) -> Result<Case> {
        let found =
            match self.database.get_instance(GetInstanceRequest { instance_id: case.into() }) {
                Ok(found) => found,
                Err(error) if error.code() == ErrorCode::InstanceNotFound => return Ok(Case::New),
                Err(error) => return Err(error),
            };
        if found.machine != self.machine {
            return Ok(Case::Foreign(found.machine.to_string()));
        }
        let mut applied = HashSet::new();
        let mut last = found.last_event_id.as_deref().and_then(|id| self.line_of(id)).unwrap_or(0);
        let mut known_from = 0;
        let mut request = HistoryRequest::new(case);
        request.order = HistoryOrder::Newest;
        request.limit = Some(1000);
        loop {
            let page = self.database.history(request.clone())?;
            let ids = page.events.iter().filter_map(|event| event.event_id.as_deref());
            applied.extend(ids.filter_map(|id| self.line_of(id)));
            if page.truncated && page.next_cursor.is_none() {
                known_from = applied.iter().min().copied().unwrap_or(last);
            }
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        last = applied.iter().max().copied().unwrap_or(0).max(last);
        Ok(Case::Known { applied, known_from, last })
    }

    /// The line in this file that an event id names.
    fn line_of(&self, event_id: &str) -> Option<u64> {
        event_id.strip_prefix(self.file_name)?.strip_prefix(':')?.parse().ok()
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
