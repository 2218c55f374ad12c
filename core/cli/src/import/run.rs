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
    GetInstanceResult, InfoRequest, Json, Offset, Result, Text, WalEntry, WalStatsRequest,
};

use super::events::LogEvent;
use super::identity::{FileId, RowId, RowKey, event_id};
use super::report::{
    ImportReport, RefusedRow, changed, foreign, of_an_earlier_life, of_an_older_version,
    refused_before, unexpected,
};
use super::resume::{CaseLog, Earlier, KnownRow, SoughtFile, SoughtRow, entries};
use crate::error::CommandResult;
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::talk::Talk;

/// The most rows and payload bytes of one batch: enough to share a sync, little to lose.
pub(super) const ROWS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// How often in a row the answer to a batch may be lost.
const ATTEMPTS_MAX: u32 = 5;

/// What is imported, and as what.
#[derive(Debug)]
pub(super) struct ImportSource {
    /// The name of the file, part of every event's id.
    pub(super) file_name: String,
    pub(super) file: FileId,
    /// The column of the time.
    pub(super) time: String,
    pub(super) machine: String,
    pub(super) version: u32,
    /// Whether the machine was there before: only then the log tells something about it.
    pub(super) was_there: bool,
}

/// A row on its way into the database.
#[derive(Debug)]
pub(super) struct TakenRow {
    pub(super) id: RowId,
    pub(super) event: LogEvent,
    pub(super) payload: Json,
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
    /// What the log tells, once it is needed.
    earlier: Option<Earlier>,
    /// The rows that were taken since the last batch.
    taken: Vec<TakenRow>,
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

/// What names a row, in a report and in the log.
#[derive(Debug)]
struct RowName {
    line: u64,
    case: Text,
    event: Text,
    key: Text,
}

/// What is known about a case.
#[derive(Debug)]
enum Case {
    /// This import creates its instance; the one that had the id before was deleted there.
    New { after: Option<Offset> },
    /// It was there before, with this version.
    Known { log: Box<CaseLog>, version: u32 },
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
        let rows_max =
            limits.batch_operations_max.map_or(ROWS_MAX, |most| (most / 2).clamp(1, ROWS_MAX));
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
    pub(super) fn take(&mut self, row: TakenRow) {
        self.bytes += row.payload.as_str().len();
        self.taken.push(row);
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
        taken: &[TakenRow],
        report: &mut ImportReport,
    ) -> CommandResult<HashSet<String>> {
        let mut seen = HashSet::new();
        let unknown: Vec<&str> = taken
            .iter()
            .map(|row| row.event.case.as_str())
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
                    let is_first = !self.source.was_there;
                    let after = if is_first { None } else { self.earlier()?.deleted(&case) };
                    Case::New { after }
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(unexpected().into()),
            };
            if matches!(found, Case::Known { .. }) {
                report.instances_existing += 1;
            }
            self.cases.insert(case, found);
        }
        Ok(new)
    }

    fn existing(&mut self, case: &str, found: &GetInstanceResult) -> CommandResult<Case> {
        if found.machine != self.source.machine.as_str() {
            return Ok(Case::Foreign(found.machine.to_string()));
        }
        let file = self.source.sought();
        let log = Box::new(self.earlier()?.of(case, found, file));
        Ok(Case::Known { log, version: found.version })
    }

    fn earlier(&mut self) -> CommandResult<&mut Earlier> {
        let earlier = match self.earlier.take() {
            Some(earlier) => earlier,
            None => Earlier::read(self.database, self.source.sought(), self.interrupt)?,
        };
        Ok(self.earlier.insert(earlier))
    }

    /// The operations for these rows; `new` are the cases whose instances are missing.
    fn batch_of(
        &mut self,
        taken: Vec<TakenRow>,
        mut new: HashSet<String>,
        report: &mut ImportReport,
    ) -> SentBatch {
        let mut batch = SentBatch { operations: Vec::new(), rows: Vec::new() };
        for TakenRow { id, event, payload } in taken {
            let LogEvent { line, case, activity, time, .. } = &event;
            let mut after = None;
            let refusal = match self.cases.get_mut(case) {
                Some(Case::Known { log, .. }) => {
                    let sought = SoughtRow { row: id, line: *line, time: *time, activity };
                    match log.knows(sought) {
                        KnownRow::Nothing => None,
                        KnownRow::Applied => {
                            report.events_existing += 1;
                            continue;
                        }
                        // Later rows moved the case on: to apply this one now would be out of turn.
                        KnownRow::PassedOver => Some(refused_before()),
                        KnownRow::Changed => Some(changed()),
                    }
                }
                Some(Case::Foreign(machine)) => Some(foreign(case, machine)),
                Some(Case::New { after: offset }) => {
                    after = *offset;
                    None
                }
                None => None,
            };
            if let Some(error) = refusal {
                let refused = RefusedRow { line: *line, case, event: activity, error: &error };
                report.refused(&refused, self.talk);
                continue;
            }
            if new.remove(case) {
                let ImportSource { machine, version, .. } = self.source;
                let request = CreateInstanceRequest::new(case.as_str(), machine.as_str(), *version);
                batch.operations.push(BatchOperation::CreateInstance(request));
                batch.rows.push(None);
            }
            let key = Text::from(RowKey { row: id, file: self.source.file, after }.to_string());
            let mut request =
                ApplyEventRequest::new(case, activity).with_payload(payload).with_key(key.clone());
            request.event_id = Some(event_id(&self.source.file_name, *line).into());
            let (case, name) = (request.instance_id.clone(), request.event.clone());
            batch.rows.push(Some(RowName { line: *line, case, event: name, key }));
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
        let lines: HashMap<&str, u64> =
            batch.rows.iter().flatten().map(|row| (row.key.as_str(), row.line)).collect();
        let mut stored = HashSet::new();
        let mut last_of_case = HashMap::new();
        entries(self.database, self.settled + 1, self.interrupt, |_, entry| {
            let WalEntry::ApplyEvent { instance_id, idempotency_key: Some(key), .. } = entry else {
                return;
            };
            if let Some(line) = lines.get(key.as_str()) {
                stored.insert(*line);
                last_of_case.insert(instance_id.clone(), *line);
            }
        })?;
        let mut left = SentBatch { operations: Vec::new(), rows: Vec::new() };
        for (operation, row) in batch.operations.into_iter().zip(batch.rows) {
            if let Some(RowName { line, case, event, .. }) = &row {
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
            (Some(row), Some(BatchOperationResult::ApplyEvent(result)), _) => {
                self.settled = self.settled.max(result.wal_offset);
                if result.applied {
                    report.events_applied += 1;
                } else {
                    self.applied_before(row, repeated, report);
                }
            }
            // What it says was applied before, from another file or with other types.
            (Some(row), None, Some(error))
                if error.reason() == Some(reason::IDEMPOTENCY_KEY_REUSED) =>
            {
                self.applied_before(row, repeated, report);
            }
            (Some(RowName { line, case, event, .. }), None, Some(error)) => {
                stop_if_fatal(&error)?;
                let newest = self.source.version;
                let error = match self.cases.get(case.as_str()) {
                    Some(Case::Known { version, .. }) if *version != newest => {
                        of_an_older_version(&error, *version, newest)
                    }
                    _ => error,
                };
                report.refused(&RefusedRow { line: *line, case, event, error: &error }, self.talk);
            }
            // Without the instance every row of the case would be refused with a worse reason.
            (None, None, Some(error)) => return Err(error),
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// Counts a row whose key was used before: by this import if its answer was lost, else by another one.
    fn applied_before(&self, row: &RowName, is_repeated: bool, report: &mut ImportReport) {
        let RowName { line, case, event, .. } = row;
        let is_new = matches!(self.cases.get(case.as_str()), Some(Case::New { .. }));
        if is_new && !is_repeated {
            // It did something to an instance that is gone, and nothing to this one.
            let error = &of_an_earlier_life(case);
            report.refused(&RefusedRow { line: *line, case, event, error }, self.talk);
        } else {
            report.events_existing += 1;
        }
    }
}

impl ImportSource {
    fn sought(&self) -> SoughtFile<'_> {
        SoughtFile { name: &self.file_name, id: self.file, time: &self.time }
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
