//! Sends the rows of a log to the database, in file order, many in one batch.
//!
//! One batch is on its way while the next one is read and its cases are looked up. When the answer to
//! a batch is lost, the log tells which of its rows were applied, and the rest is sent again.

use std::collections::{HashMap, HashSet};

use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchOperationResult, BatchOutcome, BatchRequest,
    BatchResult, CreateInstanceRequest, Error, ErrorCode, ErrorKind, GetInstanceRequest,
    GetInstanceResult, InfoRequest, Json, Offset, Result, Text, WalStatsRequest, WatchAllRequest,
};

use super::events::{LogEvent, idempotency_key};
use super::report::{ImportReport, RefusedRow, foreign, refused_before, unexpected};
use super::resume::{Applied, Earlier, KnownRow, event_id, line_of};
use crate::error::{CommandResult, Failure};
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::replay;
use crate::talk::Talk;

/// The most rows and payload bytes of one batch: enough to share a sync, little to lose.
const ROWS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// How often in a row the answer to a batch may be lost.
const ATTEMPTS_MAX: u32 = 5;

/// What is imported, and as what.
#[derive(Debug)]
pub(super) struct ImportSource {
    /// The name of the file, part of every event's id.
    pub(super) file_name: String,
    pub(super) machine: String,
    pub(super) version: u32,
}

/// An import on its way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    database: &'a Database,
    /// The same database, for requests that are not waited for at once.
    beside: &'a rstmdb::Database,
    source: &'a ImportSource,
    talk: &'a Talk,
    interrupt: Interrupt,
    rows_max: usize,
    cases: HashMap<String, Case>,
    /// What imports before this one did, once it is needed.
    earlier: Option<Earlier>,
    /// The rows that were taken since the last batch.
    taken: Vec<(LogEvent, Json)>,
    bytes: usize,
    sent: InFlight<'a, Result<BatchResult>>,
    /// The batch on its way.
    batch: Option<SentBatch>,
    /// Everything up to this offset was there before the batch on its way.
    settled: Offset,
}

/// A batch on its way, so that it can be sent again.
#[derive(Debug)]
struct SentBatch {
    operations: Vec<BatchOperation>,
    /// The row of each operation; None is the creation of an instance.
    rows: Vec<Option<RowName>>,
}

/// What names a row in a report.
#[derive(Debug)]
struct RowName {
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
        beside: &'a rstmdb::Database,
        source: &'a ImportSource,
        talk: &'a Talk,
        interrupt: Interrupt,
    ) -> Result<Run<'a>> {
        // A row may need two operations: its instance and its event.
        let limits = database.info(InfoRequest {})?.limits;
        let rows_max = (limits.batch_operations_max / 2).clamp(1, ROWS_MAX);
        Ok(Run {
            database,
            beside,
            source,
            talk,
            interrupt,
            rows_max,
            cases: HashMap::new(),
            earlier: None,
            taken: Vec::new(),
            bytes: 0,
            sent: InFlight::new(),
            batch: None,
            settled: database.wal_stats(WalStatsRequest {})?.latest_offset,
        })
    }

    /// Takes the next row, to be sent with the next flush.
    pub(super) fn take(&mut self, event: LogEvent, payload: Json) {
        self.bytes += payload.as_str().len();
        self.taken.push((event, payload));
    }

    /// Whether it is time to flush.
    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.rows_max || self.bytes >= BYTES_MAX
    }

    /// Sends what was taken, after what was sent before is stored.
    pub(super) fn flush(&mut self, report: &mut ImportReport) -> CommandResult {
        self.bytes = 0;
        let taken = std::mem::take(&mut self.taken);
        let new = self.look_up(&taken, report)?;
        self.settle(report)?;
        let batch = self.batch_of(taken, new, report);
        if batch.operations.is_empty() {
            return Ok(());
        }
        self.send(&batch);
        self.batch = Some(batch);
        Ok(())
    }

    /// Sends what was taken and waits until all is stored.
    pub(super) fn finish(&mut self, report: &mut ImportReport) -> CommandResult {
        self.flush(report)?;
        self.settle(report)
    }

    fn send(&mut self, batch: &SentBatch) {
        let ops = batch.operations.clone();
        let request = BatchRequest { mode: BatchMode::BestEffort, ops, idempotency_key: None };
        self.sent.push(self.beside.batch(request));
    }

    /// Finds out about the cases that come up for the first time; those that are new to the database.
    fn look_up(
        &mut self,
        taken: &[(LogEvent, Json)],
        report: &mut ImportReport,
    ) -> CommandResult<HashSet<String>> {
        let mut seen = HashSet::new();
        let unknown: Vec<&str> = taken
            .iter()
            .map(|(event, _)| event.case.as_str())
            .filter(|case| !self.cases.contains_key(*case) && seen.insert(*case))
            .collect();
        let mut asked = InFlight::new();
        for case in &unknown {
            let request = GetInstanceRequest { instance_id: (*case).into() };
            asked.push(self.beside.get_instance(request));
        }
        let mut new = HashSet::new();
        for case in unknown {
            let case = case.to_owned();
            let found = match asked.pop() {
                Some(Ok(found)) => self.existing(&case, &found)?,
                Some(Err(error)) if error.code() == ErrorCode::InstanceNotFound => {
                    new.insert(case.clone());
                    Case::New
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(unexpected().into()),
            };
            if matches!(found, Case::Known(_)) {
                report.instances_existing += 1;
            }
            self.cases.insert(case, found);
        }
        Ok(new)
    }

    fn existing(&mut self, case: &str, found: &GetInstanceResult) -> CommandResult<Case> {
        let ImportSource { file_name, machine, .. } = self.source;
        if found.machine != machine.as_str() {
            return Ok(Case::Foreign(found.machine.to_string()));
        }
        let earlier = match &mut self.earlier {
            Some(earlier) => earlier,
            none => none.insert(Earlier::read(self.database, machine, file_name, self.interrupt)?),
        };
        Ok(Case::Known(earlier.of(case, found.last_event_id.as_deref(), file_name)))
    }

    /// The operations for these rows; `new` are the cases whose instances are missing.
    fn batch_of(
        &self,
        taken: Vec<(LogEvent, Json)>,
        mut new: HashSet<String>,
        report: &mut ImportReport,
    ) -> SentBatch {
        let mut batch = SentBatch { operations: Vec::new(), rows: Vec::new() };
        for (event, payload) in taken {
            let refusal = match self.cases.get(&event.case) {
                Some(Case::Known(applied)) => match applied.knows(event.line) {
                    KnownRow::Nothing => None,
                    KnownRow::Applied => {
                        report.events_existing += 1;
                        continue;
                    }
                    // Later rows moved the case on: trying this one again would apply it out of turn.
                    KnownRow::PassedOver => Some(refused_before()),
                },
                Some(Case::Foreign(machine)) => Some(foreign(&event.case, machine)),
                Some(Case::New) | None => None,
            };
            if let Some(error) = refusal {
                let LogEvent { line, case, activity, .. } = &event;
                let refused = RefusedRow { line: *line, case, event: activity, error: &error };
                report.refused(&refused, self.talk);
                continue;
            }
            if new.remove(&event.case) {
                let ImportSource { machine, version, .. } = self.source;
                let request =
                    CreateInstanceRequest::new(event.case.as_str(), machine.as_str(), *version);
                batch.operations.push(BatchOperation::CreateInstance(request));
                batch.rows.push(None);
            }
            let mut request = ApplyEventRequest::new(&event.case, &event.activity)
                .with_payload(payload)
                .with_key(idempotency_key(&event.case, event.line));
            request.event_id = Some(event_id(&self.source.file_name, event.line).into());
            let (case, name) = (request.instance_id.clone(), request.event.clone());
            batch.rows.push(Some(RowName { line: event.line, case, event: name }));
            batch.operations.push(BatchOperation::ApplyEvent(request));
        }
        batch
    }

    /// Waits until the batch on its way is stored.
    fn settle(&mut self, report: &mut ImportReport) -> CommandResult {
        let Some(mut batch) = self.batch.take() else { return Ok(()) };
        let mut losses = 0;
        let results = loop {
            let error = match self.sent.pop().ok_or_else(unexpected)? {
                Ok(result) => break result.results,
                Err(error) => error,
            };
            losses += 1;
            if !is_lost(&error) || losses > ATTEMPTS_MAX {
                return Err(error.into());
            }
            self.talk.note(&format!("{}; looking for what was stored", error.message()));
            batch = self.not_stored(batch, report)?;
            self.send(&batch);
        };
        if results.len() != batch.rows.len() {
            return Err(unexpected().into());
        }
        for (row, outcome) in batch.rows.iter().zip(results) {
            self.answer(row.as_ref(), outcome, losses > 0, report)?;
        }
        Ok(())
    }

    /// What is left of a batch whose answer was lost. A row that a later one of its case has passed
    /// over was refused: sending it again would apply it out of turn.
    fn not_stored(
        &mut self,
        batch: SentBatch,
        report: &mut ImportReport,
    ) -> CommandResult<SentBatch> {
        let request = WatchAllRequest {
            include_ctx: false,
            from_offset: Some(self.settled + 1),
            machines: vec![self.source.machine.as_str().into()],
            ..WatchAllRequest::default()
        };
        let mut stored = HashSet::new();
        let mut last_of_case = HashMap::new();
        replay::all(self.database, request, self.interrupt, |event| {
            let id = event.event_id.as_deref();
            if let Some(line) = id.and_then(|id| line_of(id, &self.source.file_name)) {
                stored.insert(line);
                last_of_case.insert(event.instance_id, line);
            }
            Ok(())
        })?;
        if self.interrupt.pressed() {
            return Err(Failure::Interrupted);
        }
        let mut left = SentBatch { operations: Vec::new(), rows: Vec::new() };
        for (operation, row) in batch.operations.into_iter().zip(batch.rows) {
            if let Some(RowName { line, case, event }) = &row {
                if stored.contains(line) {
                    report.events_applied += 1;
                    continue;
                }
                if last_of_case.get(case).is_some_and(|last| last > line) {
                    let error = &refused_before();
                    report.refused(&RefusedRow { line: *line, case, event, error }, self.talk);
                    continue;
                }
            }
            left.operations.push(operation);
            left.rows.push(row);
        }
        Ok(left)
    }

    fn answer(
        &mut self,
        row: Option<&RowName>,
        outcome: BatchOutcome,
        repeated: bool,
        report: &mut ImportReport,
    ) -> Result<()> {
        match (row, outcome.result, outcome.error) {
            (None, Some(BatchOperationResult::CreateInstance(result)), _) => {
                self.settled = self.settled.max(result.wal_offset);
                report.instances_created += 1;
            }
            // The attempt whose answer was lost created it.
            (None, None, Some(error)) if repeated && error.code() == ErrorCode::InstanceExists => {
                report.instances_created += 1;
            }
            (Some(_), Some(BatchOperationResult::ApplyEvent(result)), _) => {
                self.settled = self.settled.max(result.wal_offset);
                match result.applied {
                    true => report.events_applied += 1,
                    false => report.events_existing += 1,
                }
            }
            (Some(RowName { line, case, event }), None, Some(error)) => {
                stop_if_fatal(&error)?;
                report.refused(&RefusedRow { line: *line, case, event, error: &error }, self.talk);
            }
            // Without the instance every row of the case would be refused with a worse reason.
            (None, None, Some(error)) => return Err(error),
            _ => return Err(unexpected()),
        }
        Ok(())
    }
}

/// Whether the answer to a batch is missing, and another attempt may find out more.
fn is_lost(error: &Error) -> bool {
    let reasons = [reason::CONNECTION_LOST, reason::TIMEOUT, reason::OUTCOME_UNKNOWN];
    error.reason().is_some_and(|reason| reasons.contains(&reason))
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
