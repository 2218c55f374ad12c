//! Copies the instances: reads many at once there and here, and creates what is missing in batches.

use std::collections::HashMap;

use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    BatchMode, BatchOperation, BatchRequest, CreateInstanceRequest, DeleteInstanceRequest, Error,
    ErrorCode, ErrorKind, GetInstanceRequest, GetInstanceResult, HistoryRequest, InfoRequest,
    InstanceEventKind, InstanceSummary, Offset, Result, Text,
};
use serde_json::json;

use super::machines::RefusedVersions;
use super::report::CopyReport;
use super::source::PeerSource;
use crate::error::{CommandResult, Failure, internal};
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::talk::Talk;

/// The most instances that are read at once, and bytes of contexts in one batch.
const CHUNK: usize = 500;
const BYTES_MAX: usize = 4 << 20;

/// How often in a row the answer to a batch may be lost.
const ATTEMPTS_MAX: u32 = 5;

/// A copy on its way.
pub(super) struct Copy<'a> {
    source: &'a PeerSource,
    database: &'a Database,
    beside: rstmdb::Database,
    refused: RefusedVersions,
    replace: bool,
    talk: &'a Talk,
    interrupt: Interrupt,
    operations_max: usize,
    /// The instances that were looked at, and where their last change was then.
    seen: HashMap<Text, Offset>,
}

/// What is to be done about an instance.
enum CopyPlan {
    Nothing,
    Create(GetInstanceResult),
    Replace(GetInstanceResult),
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        source: &'a PeerSource,
        database: &'a Database,
        refused: RefusedVersions,
        replace: bool,
        talk: &'a Talk,
        interrupt: Interrupt,
    ) -> Copy<'a> {
        let beside = database.asynchronous();
        let seen = HashMap::new();
        Copy {
            source,
            database,
            beside,
            refused,
            replace,
            talk,
            interrupt,
            operations_max: CHUNK,
            seen,
        }
    }

    /// Copies all, and looks a second time for what was created or changed meanwhile; true when
    /// Ctrl-C stopped it.
    pub(super) fn run(mut self, report: &mut CopyReport) -> CommandResult<bool> {
        let limits = self.database.info(InfoRequest {})?.limits;
        self.operations_max =
            limits.batch_operations_max.map_or(CHUNK, |most| most.clamp(1, CHUNK));
        let source = self.source;
        if !source.each_page(|page| self.page(page, report))? {
            return Ok(true);
        }
        let finished = source.each_page(|page| {
            let (new, known): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|item| !self.seen.contains_key(&item.id));
            let changed = |item: &&InstanceSummary| {
                self.seen.get(&item.id).is_some_and(|offset| *offset != item.last_wal_offset)
            };
            report.changed_meanwhile += known.iter().filter(changed).count() as u64;
            self.page(new, report)
        })?;
        Ok(!finished)
    }

    /// Copies the instances of one page; false when Ctrl-C stopped it.
    fn page(&mut self, page: Vec<InstanceSummary>, report: &mut CopyReport) -> CommandResult<bool> {
        // A page may repeat some of the one before.
        let mut fresh: Vec<InstanceSummary> = Vec::new();
        for item in page {
            if self.seen.insert(item.id.clone(), item.last_wal_offset).is_none() {
                fresh.push(item);
            }
        }
        for chunk in fresh.chunks(CHUNK) {
            self.chunk(chunk, report)?;
            let done = self.seen.len() as u64;
            self.talk.progress(report.looked_at(), done, "instances");
            if self.interrupt.pressed() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn chunk(&self, chunk: &[InstanceSummary], report: &mut CopyReport) -> CommandResult {
        let mut there = InFlight::new();
        let mut here = InFlight::new();
        for item in chunk {
            report.count_source(item);
            let request = GetInstanceRequest { instance_id: item.id.clone() };
            there.push(self.source.beside.get_instance(request.clone()));
            here.push(self.beside.get_instance(request));
        }
        let (mut create, mut bytes) = (Vec::new(), 0);
        for _ in chunk {
            let (Some(there), Some(here)) = (there.pop(), here.pop()) else {
                return Err(internal("an answer is missing").into());
            };
            match self.plan(there, here, report)? {
                CopyPlan::Nothing => {}
                CopyPlan::Create(instance) => {
                    bytes += instance.ctx.as_str().len();
                    create.push(instance);
                }
                CopyPlan::Replace(instance) => self.replace(instance, report)?,
            }
            if create.len() >= self.operations_max || bytes >= BYTES_MAX {
                self.create(std::mem::take(&mut create), report)?;
                bytes = 0;
            }
        }
        self.create(create, report)
    }

    /// What to do about an instance, given what there is of it on both sides.
    fn plan(
        &self,
        there: Result<GetInstanceResult>,
        here: Result<GetInstanceResult>,
        report: &mut CopyReport,
    ) -> CommandResult<CopyPlan> {
        let there = match there {
            Ok(there) => there,
            Err(error) if error.code() == ErrorCode::InstanceNotFound => {
                report.gone_meanwhile += 1;
                return Ok(CopyPlan::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        let here = match here {
            Ok(here) => here,
            Err(error) if error.code() == ErrorCode::InstanceNotFound => {
                if self.refused.contains(&(there.machine.clone(), there.version)) {
                    report.without_machine += 1;
                    return Ok(CopyPlan::Nothing);
                }
                return Ok(CopyPlan::Create(there));
            }
            Err(error) => return Err(error.into()),
        };
        if is_equal(&there, &here) {
            report.instances_existing += 1;
            return Ok(CopyPlan::Nothing);
        }
        if self.replace && self.is_untouched(&here)? {
            return Ok(CopyPlan::Replace(there));
        }
        report.instances_differing += 1;
        let (id, there, here) = (&there.instance_id, &there.state, &here.state);
        self.talk.row(
            || {
                let text = format!("differs: instance {id}: {there} there, {here} here");
                (text, "; left as it is".to_owned())
            },
            || json!({ "differs": { "instance_id": id, "there": there, "here": here } }),
        );
        Ok(CopyPlan::Nothing)
    }

    /// Whether nothing happened to an instance since it was created here.
    fn is_untouched(&self, here: &GetInstanceResult) -> Result<bool> {
        let mut request = HistoryRequest::new(here.instance_id.clone());
        request.limit = Some(1);
        let last = self.database.history(request)?.events.into_iter().next();
        Ok(last.is_some_and(|event| event.kind == InstanceEventKind::Created))
    }

    fn replace(&self, instance: GetInstanceResult, report: &mut CopyReport) -> CommandResult {
        let instance_id = instance.instance_id.clone();
        let delete = DeleteInstanceRequest { instance_id, idempotency_key: None };
        let create = BatchOperation::CreateInstance(creation(&instance));
        // Both or none: it must not be gone when it can't be created.
        let request = BatchRequest {
            mode: BatchMode::Atomic,
            ops: vec![BatchOperation::DeleteInstance(delete), create],
            idempotency_key: None,
        };
        match self.database.batch(request) {
            Ok(_) => report.instances_replaced += 1,
            Err(error) => self.refuse(&instance, &error, report)?,
        }
        Ok(())
    }

    /// Creates instances; when the answer is lost, those that are there by then were created by it.
    fn create(
        &self,
        mut instances: Vec<GetInstanceResult>,
        report: &mut CopyReport,
    ) -> CommandResult {
        let mut losses = 0;
        while !instances.is_empty() {
            let ops = instances.iter().map(creation).map(BatchOperation::CreateInstance).collect();
            let request = BatchRequest { mode: BatchMode::BestEffort, ops, idempotency_key: None };
            let results = match self.database.batch(request) {
                Ok(result) => result.results,
                Err(error) if is_lost(&error) && losses < ATTEMPTS_MAX => {
                    losses += 1;
                    self.talk.note(&format!("{}; looking for what was stored", error.message()));
                    instances = self.missing(instances, report)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if results.len() != instances.len() {
                return Err(internal("a batch answered something that was not asked").into());
            }
            for (instance, outcome) in instances.iter().zip(results) {
                match outcome.error {
                    None => report.instances_created += 1,
                    Some(error) => self.refuse(instance, &error, report)?,
                }
            }
            break;
        }
        Ok(())
    }

    /// Those that are not here yet; the others are counted as created.
    fn missing(
        &self,
        instances: Vec<GetInstanceResult>,
        report: &mut CopyReport,
    ) -> CommandResult<Vec<GetInstanceResult>> {
        let mut asked = InFlight::new();
        for instance in &instances {
            let request = GetInstanceRequest { instance_id: instance.instance_id.clone() };
            asked.push(self.beside.get_instance(request));
        }
        let mut missing = Vec::new();
        for instance in instances {
            match asked.pop() {
                Some(Ok(_)) => report.instances_created += 1,
                Some(Err(error)) if error.code() == ErrorCode::InstanceNotFound => {
                    missing.push(instance);
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(internal("an answer is missing").into()),
            }
        }
        match self.interrupt.pressed() {
            true => Err(Failure::Interrupted),
            false => Ok(missing),
        }
    }

    /// Reports an instance that can't be created; errors that are not about it end the copy.
    fn refuse(
        &self,
        instance: &GetInstanceResult,
        error: &Error,
        report: &mut CopyReport,
    ) -> Result<()> {
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Rejected
            | ErrorKind::Conflict
            | ErrorKind::Invalid => {}
            _ => return Err(error.clone()),
        }
        report.instances_refused += 1;
        let (id, code, message) = (&instance.instance_id, error.code(), error.message());
        self.talk.row(
            || (format!("refused: instance {id}: {code}: "), message.to_owned()),
            || {
                json!({ "refused": {
                    "instance_id": id, "code": code, "reason": error.reason(), "message": message,
                } })
            },
        );
        Ok(())
    }
}

fn creation(instance: &GetInstanceResult) -> CreateInstanceRequest {
    let id = instance.instance_id.clone();
    CreateInstanceRequest::new(id, instance.machine.clone(), instance.version)
        .with_ctx(instance.ctx.clone())
        .with_state(instance.state.clone())
}

fn is_equal(there: &GetInstanceResult, here: &GetInstanceResult) -> bool {
    there.machine == here.machine
        && there.version == here.version
        && there.state == here.state
        && there.ctx == here.ctx
}

/// Whether only the answer is missing.
fn is_lost(error: &Error) -> bool {
    let reasons = [reason::CONNECTION_LOST, reason::TIMEOUT, reason::OUTCOME_UNKNOWN];
    error.reason().is_some_and(|reason| reasons.contains(&reason))
}
