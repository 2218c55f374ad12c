//! `import-log`: replays a recorded event stream, one instance for each case.
//!
//! The file is read twice when the definition is learned, once when it is given. Rows go to the
//! database in batches, so that many share one sync, and the next batch is made ready while one is
//! on its way. Case id and line number are the idempotency
//! key of a row and file name and line its event id, so a second import changes nothing.

mod events;
mod learn;
mod machine;
mod records;
mod report;
mod resume;
mod run;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use clap::Args;
use rstmdb::{Limits, PutMachineRequest, Result, limits};

pub use events::{ColumnNames, LogEvent, LogEvents};
pub use learn::Learner;
pub use records::{RECORD_BYTES_MAX, Records, RowError, RowFields};

use crate::error::{self, CommandResult, Failure};
use crate::interrupt;
use crate::names::{self, NameList};
use crate::progress;
use crate::quote::quote;
use crate::session::{CliSession, json_argument, warn_if_blank};
use crate::talk::Talk;
use machine::{TargetMachine, store};
use report::ImportReport;
use run::{ImportSource, Run};

/// Replay a recorded event log (CSV), one instance for each case.
///
/// Rows of a case are applied in file order. The case becomes the instance id, the activity the event; the other columns become the payload,
/// as strings, without the empty ones. Without --definition one is learned: a state for each
/// activity, an event of the same name that leads there, and the steps that were seen. With one,
/// every row it refuses is reported with its line and the reason, and the import goes on.
///
/// Case id and line number are the idempotency key of a row: run an interrupted import again and
/// it goes on where it stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli import-log incidents.csv --case ticket --activity status --time changed_at
  rstmdb-cli import-log incidents.csv --case ticket --activity status,substatus --time changed_at --machine incident
  rstmdb-cli import-log receipt.csv --case case_id --activity task --time at --definition receipt.json --output json")]
pub(crate) struct ImportLog {
    /// The file: CSV with a header, comma-separated, quoted as in RFC 4180, in UTF-8.
    file: String,
    /// The column that says which case (instance) a row belongs to.
    #[arg(long, value_name = "COLUMN")]
    case: String,
    /// The column of the activity; several are joined with ` / `; `\,` is a comma of a
    /// name.
    #[arg(long, value_parser = names::parse, required = true, value_name = "COLUMN,…")]
    activity: Vec<NameList>,
    /// The column of the time (ISO 8601).
    #[arg(long, value_name = "COLUMN")]
    time: String,
    /// The machine's name; the file's name without its ending when absent.
    #[arg(short, long, value_name = "MACHINE")]
    machine: Option<String>,
    /// The machine's version; when absent one that has this very definition, else the next.
    #[arg(short = 'V', long, short_alias = 'v', value_name = "NUMBER")]
    version: Option<u32>,
    /// The definition to enforce: a JSON file.
    #[arg(long, value_name = "FILE")]
    definition: Option<String>,
    /// Stop at the first malformed row; else such rows are reported, counted and passed over.
    #[arg(long)]
    strict: bool,
}

impl ImportLog {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let began = Instant::now();
        let name = self.machine_name()?;
        let total_bytes = self.size()?;
        let given =
            self.definition.as_ref().map(|path| json_argument("definition", &format!("@{path}")));
        let given = given.transpose()?;
        // The limits the session opens the database with.
        let limits = Limits::default();
        // The header is read before anything is stored: a typo leaves no database behind.
        let mut events = self.events(&limits)?;
        let is_learned = given.is_none();
        let definition = match given {
            Some(definition) => definition,
            None => {
                let definition = self.learn(session, events, &limits)?;
                events = self.events(&limits)?;
                definition
            }
        };
        let first =
            PutMachineRequest::new(name.as_str(), self.version.unwrap_or(1), definition.clone());
        let database = session.open_or_create_for(&first)?;
        warn_if_blank(session.output, "the machine's name", &name);
        let target = TargetMachine { machine: name, version: self.version, definition, is_learned };
        let stored = store(&database, &target, session.output)?;

        let bar = progress::of_import(total_bytes);
        let talk = Talk::new(session.output, bar);
        let mut report = ImportReport::new(&self.file, &target.machine, &stored, is_learned);
        let beside = database.asynchronous();
        let interrupt = interrupt::listen();
        let source = ImportSource {
            file_name: file_name(&self.file),
            machine: target.machine.clone(),
            version: stored.version,
        };
        let mut run = Run::new(&database, &beside, &source, &talk, interrupt)?;
        let outcome =
            self.replay(&mut events, &mut run, &mut report, &talk, || interrupt.pressed());
        drop(run);
        talk.finish();
        let stopped = match outcome {
            Ok(stopped) => stopped,
            Err(problem) => {
                self.say_how_to_resume(&talk, &report);
                return Err(problem);
            }
        };
        report.finish(&database, began.elapsed(), stopped)?;
        session.output.show(&report, ImportReport::text)?;
        if stopped {
            self.say_how_to_resume(&talk, &report);
            return Err(Failure::Interrupted);
        }
        Ok(())
    }

    /// Sends every row; true when Ctrl-C stopped it. What was sent is stored when this returns.
    fn replay(
        &self,
        events: &mut LogEvents<BufReader<File>>,
        run: &mut Run<'_>,
        report: &mut ImportReport,
        talk: &Talk,
        is_interrupted: impl Fn() -> bool,
    ) -> CommandResult<bool> {
        while let Some(row) = events.next().map_err(|e| error::file(&self.file, &e))? {
            let row = row.and_then(|event| Ok((events.payload(&event)?, event)));
            match row {
                Ok((payload, event)) => run.take(event, payload),
                Err(bad) => {
                    if self.strict {
                        run.finish(report)?;
                        return Err(events::row_error(&self.file, bad.line, &bad.problem).into());
                    }
                    report.malformed(&bad, talk);
                }
            }
            if run.is_full() {
                run.flush(report)?;
                let done = report.events_applied + report.events_existing;
                talk.progress(events.bytes(), done, "events");
            }
            if is_interrupted() {
                run.finish(report)?;
                return Ok(true);
            }
        }
        run.finish(report)?;
        Ok(false)
    }

    fn learn(
        &self,
        session: &CliSession,
        mut events: LogEvents<BufReader<File>>,
        limits: &Limits,
    ) -> CommandResult<rstmdb::Json> {
        let mut learner = Learner::new(limits);
        while let Some(row) = events.next().map_err(|e| error::file(&self.file, &e))? {
            match row {
                Ok(event) => learner.see(&event)?,
                Err(bad) if self.strict => {
                    return Err(events::row_error(&self.file, bad.line, &bad.problem).into());
                }
                // The second pass reports it.
                Err(_) => {}
            }
        }
        let (activities, steps) = (learner.activities(), learner.steps());
        session
            .output
            .note(&format!("learned {activities} activities and {steps} steps between them"));
        Ok(learner.definition())
    }

    fn events(&self, limits: &Limits) -> Result<LogEvents<BufReader<File>>> {
        let columns = ColumnNames {
            case: self.case.clone(),
            activity: names::all(&self.activity).map(str::to_owned).collect(),
            time: self.time.clone(),
        };
        let file = File::open(&self.file).map_err(|e| error::file(&self.file, &e))?;
        LogEvents::new(&self.file, BufReader::with_capacity(64 << 10, file), &columns, limits)
    }

    /// The size of the file; learning reads it twice, which a pipe does not allow.
    fn size(&self) -> Result<u64> {
        let about = std::fs::metadata(&self.file).map_err(|e| error::file(&self.file, &e))?;
        if about.is_dir() {
            return Err(error::usage(format!("{:?} is a directory, not a CSV file", self.file)));
        }
        if !about.is_file() && self.definition.is_none() {
            let message = "learning reads the file twice, which a pipe does not allow; use a file, \
                           or give a --definition";
            return Err(error::usage(message));
        }
        Ok(about.len())
    }

    fn machine_name(&self) -> Result<String> {
        let stem = || Path::new(&self.file).file_stem()?.to_str().map(str::to_owned);
        let name = self.machine.clone().or_else(stem).ok_or_else(|| {
            error::usage("the file has no name to call the machine by; give --machine")
        })?;
        limits::check("machine", name.len(), "name_bytes_max", Limits::default().name_bytes_max)?;
        Ok(name)
    }

    fn say_how_to_resume(&self, talk: &Talk, report: &ImportReport) {
        let rows = crate::output::number(report.rows());
        let file = quote(&self.file);
        talk.note(&format!(
            "{rows} rows are done and stored; import {file} again with the same options to go on"
        ));
    }
}

/// The name of the file without its folders, as it stands in event ids.
fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path).to_owned()
}
