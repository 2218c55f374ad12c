//! `import-log`: replays a recorded event stream, one instance for each case.
//!
//! The file is read twice when the definition is learned, once when it is given. Rows go to the
//! database in batches, so that many share one sync, and the next batch is made ready while one is
//! on its way. Nothing is stored before a row was found that can be used. What a row says is its idempotency
//! key, file name and line its event id: a second import of it changes nothing, from whatever file.

mod columns;
mod events;
mod identity;
mod input;
mod learn;
mod machine;
mod order;
mod records;
mod report;
mod resume;
mod run;

use std::collections::VecDeque;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use clap::Args;
use rstmdb::{Limits, PutMachineRequest, Result, limits};

pub use columns::ColumnNames;
pub use events::{LogEvent, LogEvents};
pub use learn::Learner;
pub use records::{RECORD_BYTES_MAX, Records, RowError, RowFields};

use crate::error::{self, CommandResult, Failure};
use crate::interrupt::{self, Interrupt};
use crate::names::{self, NameList};
use crate::progress;
use crate::quote::quote;
use crate::session::{CliSession, json_argument, warn_if_blank};
use crate::talk::Talk;
use events::LogForm;
use identity::{FileId, RowIds};
use input::LogInput;
use machine::{TargetMachine, store};
use order::RowOrder;
use records::row_error;
use report::ImportReport;
use run::{ImportSource, ROWS_MAX, Run, TakenRow};

/// Replay a recorded event log (CSV), one instance for each case.
///
/// Rows of a case are applied in file order. The case becomes the instance id, the activity the event; the other columns become the payload,
/// as strings or with --number as numbers, without the empty ones. Without --definition one is learned: a state for each
/// activity, an event of the same name that leads there, and the steps that were seen. With one,
/// every row it refuses is reported with its line and the reason, and the import goes on.
///
/// A row is known by what it says: case, activity, time and payload. Import an interrupted or grown file again, or the same rows from
/// other files, and what was applied before is passed over. A row that was changed since is reported and not applied.
///
/// The exit code is 0 when rows went in, now or before; with --strict only if none was refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli import-log incidents.csv --case ticket --activity status --time changed_at
  rstmdb-cli import-log incidents.csv --case ticket --activity status,substatus --time changed_at --machine incident
  rstmdb-cli import-log receipt.csv --case case_id --activity task --time at --definition receipt.json --output json
  rstmdb-cli import-log - --machine order --case id --activity step --time at --separator ';' --number amount < orders.csv")]
pub(crate) struct ImportLog {
    /// The file, or `-` for standard input: CSV with a header, quoted as in RFC 4180, in UTF-8.
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
    /// What separates the columns: a character, or `tab`.
    #[arg(long, default_value = ",", hide_default_value = true, value_parser = columns::separator, value_name = "CHARACTER")]
    separator: u8,
    /// Columns that hold numbers, so that a guard such as `payload.amount > 100` can hold.
    #[arg(long, value_parser = names::parse, value_name = "COLUMN,…")]
    number: Vec<NameList>,
    /// The machine's name; the file's name without its ending when absent.
    #[arg(short, long, value_name = "MACHINE")]
    machine: Option<String>,
    /// The machine's version; when absent one that has this very definition, else the next.
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: Option<u32>,
    /// The definition to enforce: a JSON file.
    #[arg(long, value_name = "FILE")]
    definition: Option<String>,
    /// Stop at the first malformed row, and end with an error when a row was refused; else such rows are reported,
    /// counted and passed over.
    #[arg(long)]
    strict: bool,
}

/// The rows that are looked at before anything is stored.
struct FirstRows {
    rows: Vec<TakenRow>,
    /// The file they are of.
    file: FileId,
    /// The malformed row behind them, where that ends the import.
    bad: Option<RowError>,
}

/// The rows of a file on their way into the database.
struct Rows<R> {
    events: LogEvents<R>,
    ids: RowIds,
    order: RowOrder,
}

impl<R: BufRead> Rows<R> {
    /// The next row with the file it is of; None is the end.
    #[allow(clippy::type_complexity, reason = "as LogEvents::next")]
    fn next(
        &mut self,
    ) -> std::io::Result<Option<std::result::Result<(TakenRow, FileId), RowError>>> {
        let Some(row) = self.events.next()? else { return Ok(None) };
        Ok(Some(row.and_then(|event| {
            let payload = self.events.payload(&event)?;
            self.order.see(&event);
            let (id, file) = self.ids.next(self.events.content(&event));
            Ok((TakenRow { id, event, payload }, file))
        })))
    }
}

impl ImportLog {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let began = Instant::now();
        let machine = self.machine_name()?;
        let given =
            self.definition.as_ref().map(|path| json_argument("definition", &format!("@{path}")));
        let given = given.transpose()?;
        let is_learned = given.is_none();
        // The limits the session opens the database with.
        let limits = Limits::default();
        let input = LogInput::open(&self.file, is_learned)?;
        // Everything that is wrong with the file is found before anything is stored.
        let definition = match given {
            Some(definition) => definition,
            None => self.learn(session, &input, &limits)?,
        };
        let talk = Talk::new(session.output, progress::of_import(input.bytes()));
        let mut report = ImportReport::new(&self.file, &machine, is_learned);
        let events = self.events(&input, &limits)?;
        let mut rows = Rows { events, ids: RowIds::default(), order: RowOrder::default() };
        let interrupt = interrupt::listen();
        let first = self.first_rows(&mut rows, &mut report, &talk, interrupt)?;

        let version = self.version.unwrap_or(1);
        let put = PutMachineRequest::new(machine.as_str(), version, definition.clone());
        let database = session.open_or_create_for(&put)?;
        warn_if_blank(session.output, "the machine's name", &machine);
        let target = TargetMachine { machine, version: self.version, definition, is_learned };
        let stored = store(&database, &target, session.output)?;
        report.stored(&stored.result);
        let beside = database.asynchronous();
        let source = ImportSource {
            file_name: input.name().to_owned(),
            file: first.file,
            time: self.time.clone(),
            machine: target.machine.clone(),
            version: stored.result.version,
            was_there: stored.was_there,
        };
        let mut run = Run::new(&database, &beside, &source, &talk, interrupt)?;
        let outcome = self.replay(first, &mut rows, &mut run, &mut report, &talk, interrupt);
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
        session.output.show(&report, ImportReport::screen)?;
        if stopped {
            self.say_how_to_resume(&talk, &report);
            return Err(Failure::Interrupted);
        }
        Ok(report.verdict(self.strict)?)
    }

    /// Reads as many rows as one batch has; none at all is an error.
    fn first_rows(
        &self,
        rows: &mut Rows<impl BufRead>,
        report: &mut ImportReport,
        talk: &Talk,
        interrupt: Interrupt,
    ) -> CommandResult<FirstRows> {
        let (mut taken, mut of, mut first_bad) = (Vec::new(), None, None);
        while taken.len() < ROWS_MAX && !interrupt.pressed() {
            match rows.next().map_err(|e| error::file(&self.file, &e))? {
                None => break,
                Some(Ok((row, file))) => {
                    of = Some(file);
                    taken.push(row);
                }
                Some(Err(bad)) => {
                    if !self.strict {
                        report.malformed(&bad, talk);
                    }
                    first_bad.get_or_insert(bad);
                    if self.strict {
                        break;
                    }
                }
            }
        }
        rows.order.check(&self.file)?;
        match (of, first_bad) {
            (Some(file), bad) => {
                Ok(FirstRows { rows: taken, file, bad: bad.filter(|_| self.strict) })
            }
            (None, _) if interrupt.pressed() => Err(Failure::Interrupted),
            (None, bad) => Err(self.without_rows(bad).into()),
        }
    }

    /// The error of a file that has no row to import.
    fn without_rows(&self, bad: Option<RowError>) -> rstmdb::Error {
        match bad {
            Some(bad) if self.strict => row_error(&self.file, bad.line, &bad.problem),
            Some(bad) => {
                let problem = format!("no row can be used: this first one {}", bad.problem);
                row_error(&self.file, bad.line, &problem)
            }
            None => row_error(&self.file, 1, "there is no row behind the header"),
        }
    }

    /// Sends every row; true when Ctrl-C stopped it. What was sent is stored when this returns.
    fn replay(
        &self,
        first: FirstRows,
        rows: &mut Rows<impl BufRead>,
        run: &mut Run<'_>,
        report: &mut ImportReport,
        talk: &Talk,
        interrupt: Interrupt,
    ) -> CommandResult<bool> {
        let mut ahead: VecDeque<_> =
            first.rows.into_iter().map(Ok).chain(first.bad.map(Err)).collect();
        loop {
            let row = match ahead.pop_front() {
                Some(row) => row,
                None => match rows.next().map_err(|e| error::file(&self.file, &e))? {
                    Some(row) => row.map(|(row, _)| row),
                    None => break,
                },
            };
            match row {
                Ok(row) => run.take(row),
                Err(bad) => {
                    if self.strict {
                        run.finish(report)?;
                        return Err(row_error(&self.file, bad.line, &bad.problem).into());
                    }
                    report.malformed(&bad, talk);
                }
            }
            if run.is_full() {
                rows.order.check(&self.file)?;
                run.flush(report)?;
                let done = report.events_applied + report.events_existing;
                talk.progress(rows.events.bytes(), done, "events");
            }
            if interrupt.pressed() && ahead.is_empty() {
                run.finish(report)?;
                return Ok(true);
            }
        }
        rows.order.check(&self.file)?;
        run.finish(report)?;
        Ok(false)
    }

    fn learn(
        &self,
        session: &CliSession,
        input: &LogInput,
        limits: &Limits,
    ) -> CommandResult<rstmdb::Json> {
        let mut events = self.events(input, limits)?;
        let (mut learner, mut order) = (Learner::new(limits), RowOrder::default());
        while let Some(row) = events.next().map_err(|e| error::file(&self.file, &e))? {
            match row.and_then(|event| events.payload(&event).map(|_| event)) {
                Ok(event) => {
                    order.see(&event);
                    learner.see(&event)?;
                }
                Err(bad) if self.strict => {
                    return Err(row_error(&self.file, bad.line, &bad.problem).into());
                }
                // The second pass reports it.
                Err(_) => {}
            }
        }
        order.check(&self.file)?;
        let (activities, steps) = (learner.activities(), learner.steps());
        if activities > 0 {
            session
                .output
                .note(&format!("learned {activities} activities and {steps} steps between them"));
        }
        Ok(learner.definition())
    }

    fn events(&self, input: &LogInput, limits: &Limits) -> Result<LogEvents<impl BufRead + use<>>> {
        let names = ColumnNames {
            case: self.case.clone(),
            activity: names::all(&self.activity).map(str::to_owned).collect(),
            time: self.time.clone(),
        };
        let numbers = names::all(&self.number).map(str::to_owned).collect();
        let form = LogForm { separator: self.separator, numbers };
        LogEvents::formed(&self.file, input.read()?, &names, &form, limits)
    }

    fn machine_name(&self) -> Result<String> {
        let stem = || Path::new(&self.file).file_stem()?.to_str().map(str::to_owned);
        let stem = || stem().filter(|_| self.file != "-");
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
