//! What an import tells: refused and malformed rows as they come, and figures at the end.

use std::time::Duration;

use rstmdb::blocking::Database;
use rstmdb::error::reason;
use rstmdb::{
    CountInstancesRequest, CountInstancesResult, Error, ErrorCode, PutMachineResult, Result,
};
use serde::Serialize;
use serde_json::json;

use super::records::RowError;
use crate::commands::list::count_table;
use crate::error;
use crate::output::{number, rate};
use crate::screen::{Screen, fields};
use crate::talk::Talk;

/// The figures of an import. Every row is counted once.
#[derive(Debug, Serialize)]
pub(super) struct ImportReport {
    file: String,
    machine: String,
    version: u32,
    /// `learned` or `given`.
    definition: &'static str,
    /// Whether the definition was stored by this import.
    definition_created: bool,
    pub(super) instances_created: u64,
    pub(super) instances_existing: u64,
    pub(super) events_applied: u64,
    /// Rows that an import before this one applied.
    pub(super) events_existing: u64,
    pub(super) events_refused: u64,
    rows_malformed: u64,
    interrupted: bool,
    seconds: f64,
    events_per_second: u64,
    #[serde(flatten)]
    counts: CountInstancesResult,
    /// Why the first refused row was.
    #[serde(skip)]
    first_refusal: Option<Error>,
}

/// A row that the machine refused.
#[derive(Debug)]
pub(super) struct RefusedRow<'a> {
    pub(super) line: u64,
    pub(super) case: &'a str,
    pub(super) event: &'a str,
    pub(super) error: &'a Error,
}

impl ImportReport {
    pub(super) fn new(file: &str, machine: &str, is_learned: bool) -> ImportReport {
        ImportReport {
            file: file.to_owned(),
            machine: machine.to_owned(),
            version: 0,
            definition: if is_learned { "learned" } else { "given" },
            definition_created: false,
            instances_created: 0,
            instances_existing: 0,
            events_applied: 0,
            events_existing: 0,
            events_refused: 0,
            rows_malformed: 0,
            interrupted: false,
            seconds: 0.0,
            events_per_second: 0,
            counts: CountInstancesResult { counts: Vec::new() },
            first_refusal: None,
        }
    }

    /// Takes note of where the definition is.
    pub(super) fn stored(&mut self, stored: &PutMachineResult) {
        self.version = stored.version;
        self.definition_created = stored.created;
    }

    /// The rows that are done with.
    pub(super) fn rows(&self) -> u64 {
        self.events_applied + self.events_existing + self.events_refused + self.rows_malformed
    }

    pub(super) fn refused(&mut self, refused: &RefusedRow<'_>, talk: &Talk) {
        self.events_refused += 1;
        let RefusedRow { line, case, event, error } = refused;
        self.first_refusal.get_or_insert_with(|| (*error).clone().with("instance_id", *case));
        talk.row(
            || {
                let (code, message) = (error.code(), error.message());
                let about = format!("refused: line {line}, case {case}, {event}: {code}: ");
                (about, message.to_owned())
            },
            || {
                json!({ "refused": {
                    "line": line, "case": case, "event": event, "code": error.code(),
                    "reason": error.reason(), "message": error.message(),
                } })
            },
        );
    }

    pub(super) fn malformed(&mut self, bad: &RowError, talk: &Talk) {
        self.rows_malformed += 1;
        let RowError { line, problem } = bad;
        talk.row(
            || (format!("malformed: line {line} "), problem.to_string()),
            || json!({ "malformed": { "line": line, "problem": problem } }),
        );
    }

    /// Adds what is known at the end.
    pub(super) fn finish(
        &mut self,
        database: &Database,
        took: Duration,
        interrupted: bool,
    ) -> Result<()> {
        let machine = Some(self.machine.as_str().into());
        let request = CountInstancesRequest { machine, ..Default::default() };
        self.counts = database.count_instances(request)?;
        self.interrupted = interrupted;
        self.seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
        self.events_per_second = rate(self.events_applied, took.as_secs_f64());
        Ok(())
    }

    /// The error that the import ends with when it did not do what it was asked for.
    ///
    /// Rows that are refused are the business of the log, unless all are, or `is_strict`.
    pub(super) fn verdict(&self, is_strict: bool) -> Result<()> {
        let Some(first) = &self.first_refusal else { return Ok(()) };
        let went_in = self.events_applied + self.events_existing;
        if went_in > 0 && !is_strict {
            return Ok(());
        }
        let refused = number(self.events_refused);
        let message = match went_in {
            0 => format!("no row went in: {refused} were refused, the first because {first}"),
            _ => format!(
                "{refused} rows were refused (an error because of --strict), the first because \
                 {first}"
            ),
        };
        let mut error = Error::new(first.code(), message).with("file", self.file.as_str());
        if let Some(id) = first.context().get("instance_id") {
            error = error.with("instance_id", id.clone());
        }
        if let Some(reason) = first.reason() {
            error = error.with_reason(reason);
        }
        Err(error)
    }

    /// The figures for people.
    pub(super) fn screen(&self) -> Screen {
        let stored = if self.definition_created { "stored" } else { "there before" };
        let both = |new: u64, before: u64| match before {
            0 => number(new),
            before => format!("{} (and {} there before)", number(new), number(before)),
        };
        let head = fields([
            ("machine", format!("{} version {}", self.machine, self.version)),
            ("definition", format!("{}, {stored}", self.definition)),
            ("instances", both(self.instances_created, self.instances_existing)),
            ("events", both(self.events_applied, self.events_existing)),
            ("refused", number(self.events_refused)),
            ("malformed", number(self.rows_malformed)),
            ("time", format!("{:.2} s", self.seconds)),
            ("rate", format!("{} events/s", number(self.events_per_second))),
        ]);
        head.then(count_table(&self.counts))
    }
}

/// The error of a row that an import before this one did not apply, while later ones it did.
pub(super) fn refused_before() -> Error {
    let message =
        "an earlier import refused it, or did not have it, and applied later rows of the case";
    Error::new(ErrorCode::Conflict, message)
}

/// The error of a row in whose place an import before this one applied another.
pub(super) fn changed() -> Error {
    let message = "an earlier import applied a row in its place that says something else; what was \
                   applied stays, and an event with apply-event corrects it";
    Error::new(ErrorCode::Conflict, message)
}

/// The error of a row whose key an instance that is gone has used.
pub(super) fn of_an_earlier_life(case: &str) -> Error {
    let message = format!(
        "it was applied to an instance {case:?} that was deleted; its idempotency key is forgotten \
         after a while, until then import into another database"
    );
    Error::new(ErrorCode::Conflict, message).with_reason(reason::IDEMPOTENCY_KEY_REUSED)
}

/// The error of a row whose instance has another version of the machine than this import stored.
pub(super) fn of_an_older_version(error: &Error, version: u32, newest: u32) -> Error {
    let message = format!(
        "{}; the instance was there before and keeps version {version}, the definition of this \
         import is version {newest}",
        error.message()
    );
    let made = Error::new(error.code(), message);
    error.reason().map_or(made.clone(), |reason| made.with_reason(reason))
}

/// The error of a row whose case is an instance of another machine.
pub(super) fn foreign(case: &str, machine: &str) -> Error {
    let message = format!("instance {case:?} exists and belongs to machine {machine:?}");
    Error::new(ErrorCode::InstanceExists, message).with("instance_id", case)
}

/// An answer of a batch that does not fit its operation.
pub(super) fn unexpected() -> Error {
    error::internal("a batch answered something that was not asked")
}
