//! Commands on the files of a database that nobody has open: `verify` and `repair`.

use clap::Args;
use rstmdb::error::reason;
use rstmdb::maintenance::{self, Cut, RepairPlan, VerifyReport};
use rstmdb::{CheckpointReport, Error, ErrorCode, Problem, SegmentReport, VerifyRequest};

use crate::clean::clean;
use crate::error::{CommandResult, Failure};
use crate::interrupt;
use crate::output::{bytes, number, yes_no};
use crate::quote::option;
use crate::screen::{Screen, fields, table};
use crate::session::CliSession;

/// Read every byte of the database and say what is wrong and what helps.
///
/// Nothing is changed. A server reads its own files while it serves; a directory (--path) must not be
/// open elsewhere. The exit code is 9 when something is damaged; then it says what is lost, often
/// nothing, and what helps. An unfinished write at the end of the log is no damage: the next start
/// cuts it off.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s localhost:7401 verify
  rstmdb-cli --path ./data verify
  rstmdb-cli --path ./backup verify --output json | jq .problems")]
pub(crate) struct Verify {}

impl Verify {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        if session.place.is_server() {
            return verify_server(session);
        }
        let path = session.place.directory("verify")?;
        let mut report = maintenance::verify(path)?;
        // As they can be typed.
        let here = format!("`rstmdb-cli {} ", option("--path", path));
        for problem in &mut report.problems {
            problem.remedy = problem.remedy.replace("`rstmdb-cli ", &here);
        }
        session.output.show(&report, health)?;
        if report.ok {
            return Ok(());
        }
        let count = report.problems.len();
        let error =
            damaged("the database is", count).with("lost", lost(&report)).with("path", path);
        let advice = report.advice.unwrap_or_default();
        Err(error.with("advice", advice).into())
    }
}

/// A server tells of some files at a time.
fn verify_server(session: &mut CliSession) -> CommandResult {
    let database = session.open_existing()?;
    let interrupt = interrupt::listen();
    let mut whole = database.verify(VerifyRequest::default())?;
    while let Some(next) = whole.next.take() {
        if interrupt.pressed() {
            return Err(Failure::Interrupted);
        }
        let more = database.verify(VerifyRequest { next: Some(next) })?;
        whole.ok &= more.ok;
        whole.segments.extend(more.segments);
        whole.checkpoints.extend(more.checkpoints);
        whole.problems.extend(more.problems);
        (whole.last_offset, whole.next) = (more.last_offset, more.next);
    }
    session.output.show(&whole, |found| {
        let lines = fields([
            ("database", found.database_id.to_string()),
            ("healthy", yes_no(found.ok).to_owned()),
            ("last offset", number(found.last_offset)),
        ]);
        files(lines, &found.segments, &found.checkpoints, &found.problems)
    })?;
    match whole.problems.len() {
        0 => Ok(()),
        count => Err(damaged("files of the server's database are", count).into()),
    }
}

fn damaged(what: &str, count: usize) -> Error {
    let problems = if count == 1 { "problem" } else { "problems" };
    Error::new(ErrorCode::InternalError, format!("{what} damaged: {count} {problems}"))
        .with_reason(reason::CORRUPT)
}

fn health(report: &VerifyReport) -> Screen {
    let mut lines = vec![
        ("database", report.database_id.clone()),
        ("healthy", yes_no(report.ok).to_owned()),
        ("first offset", number(report.first_offset)),
        ("last whole offset", number(report.last_offset)),
    ];
    if !report.ok {
        lines.push(("lost", lost(report)));
        lines.push(("can be opened", yes_no(report.opens).to_owned()));
    }
    if report.torn_tail_bytes > 0 {
        let torn = bytes(report.torn_tail_bytes);
        lines.push(("unfinished write", format!("{torn} at the end, cut off by the next start")));
    }
    files(fields(lines), &report.segments, &report.checkpoints, &report.problems)
}

/// What each file was found to be.
fn files(
    lines: Screen,
    segments: &[SegmentReport],
    checkpoints: &[CheckpointReport],
    problems: &[Problem],
) -> Screen {
    let segments = segments.iter().map(|segment| {
        let (changes, size) = (number(segment.changes), bytes(segment.bytes));
        vec![segment.file.clone(), number(segment.first_offset), changes, size]
    });
    let header = ["segment", "first offset#", "changes#", "size#"];
    let mut screen = lines.then(table(&header, segments));
    if !checkpoints.is_empty() {
        let checkpoints = checkpoints.iter().map(|checkpoint| {
            let intact = yes_no(checkpoint.ok).to_owned();
            let instances = number(checkpoint.instances);
            vec![checkpoint.file.clone(), number(checkpoint.offset), instances, intact]
        });
        let header = ["checkpoint", "offset#", "instances#", "intact"];
        screen = screen.then(table(&header, checkpoints));
    }
    for problem in problems {
        let (file, position) = (&problem.file, problem.position);
        let found = format!("problem: {file} at byte {position}: {}", problem.message);
        let remedy = format!("  remedy: {}", problem.remedy);
        screen = screen.then(format!("{}\n{}", clean(&found), clean(&remedy)));
    }
    screen
}

/// What the intact files don't hold.
fn lost(report: &VerifyReport) -> String {
    let mut lost = Vec::new();
    if report.advice.is_none() {
        return "everything, unless a backup has it".to_owned();
    }
    if report.changes_lost > 0 {
        let (count, last) = (number(report.changes_lost), number(report.last_offset));
        lost.push(format!("{count} changes after offset {last}, or more"));
    } else if report.advice.as_ref().is_some_and(|advice| advice.contains("--to")) {
        lost.push(format!("what came after offset {}, if anything", number(report.last_offset)));
    }
    if let Some(from) = report.history_from {
        lost.push(format!("history before offset {}", number(from)));
    }
    if lost.is_empty() { "nothing".to_owned() } else { lost.join("; ") }
}

/// Give up what is damaged, and no more than that needs.
///
/// Without options it does without files that nothing is lost with: a damaged checkpoint, a missing
/// manifest. Changes and history are given up only up to where --to and --from say; `verify` says
/// what is needed. Without --yes it only says what would be dropped. With it every file that is
/// touched is kept in a folder in the data directory. The database must not be open elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli --path ./data repair
  rstmdb-cli --path ./data repair --to 1041
  rstmdb-cli --path ./data repair --from 500 --yes --output json")]
pub(crate) struct Repair {
    /// The last offset that stays; `verify` says up to which one the log is whole.
    #[arg(long, visible_alias = "truncate-at", value_name = "OFFSET")]
    to: Option<u64>,
    /// The first offset that stays readable: the history before it goes, what it led to stays.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Really do it.
    #[arg(long)]
    yes: bool,
}

impl Repair {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let path = session.place.directory("repair")?;
        let (from, to) = (self.from, self.to);
        let plan = maintenance::repair(path, Cut { from, to }, self.yes)?;
        session.output.show(&plan, described)?;
        if !plan.done {
            let mut command = format!("rstmdb-cli {} repair", option("--path", path));
            for (name, offset) in [("--to", to), ("--from", from)] {
                command.extend(offset.map(|offset| format!(" {name} {offset}")));
            }
            session.output.note(&format!("nothing was changed; `{command} --yes` does it"));
        }
        Ok(())
    }
}

fn described(plan: &RepairPlan) -> Screen {
    let list = |names: &[String]| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    let mut lines = vec![("last offset that stays", number(plan.to))];
    if plan.from > 1 {
        lines.push(("first offset that can be read", number(plan.from)));
    }
    if plan.manifest_rebuilt {
        lines.push(("manifest", "made again from what the other files say".to_owned()));
    }
    lines.extend([
        ("changes dropped", number(plan.changes_dropped)),
        ("log dropped", bytes(plan.bytes_dropped)),
        ("cut", format!("{} at byte {}", plan.cut, plan.cut_at)),
        ("segments removed", list(&plan.segments_removed)),
        ("checkpoints removed", list(&plan.checkpoints_removed)),
        ("copies in", plan.copies.clone()),
        ("done", yes_no(plan.done).to_owned()),
    ]);
    fields(lines)
}
