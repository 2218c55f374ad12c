//! Commands on the files of a database that nobody has open: `verify` and `repair`.

use clap::Args;
use rstmdb::error::reason;
use rstmdb::maintenance::{self, RepairPlan, VerifyReport};
use rstmdb::{Error, ErrorCode};

use crate::clean::clean;
use crate::error::CommandResult;
use crate::output::{bytes, fields, number, table, yes_no};
use crate::quote::option;
use crate::session::CliSession;

/// Read every byte of the database and say what is wrong and what helps.
///
/// Nothing is changed, and the database must not be open elsewhere. The exit code is 9 when
/// something is damaged. An unfinished write at the end of the log is no damage: the next start
/// cuts it off.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli --path ./data verify
  rstmdb-cli --path ./backup verify --output json | jq .problems")]
pub(crate) struct Verify {}

impl Verify {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let path = session.place.directory("verify")?;
        let report = maintenance::verify(path)?;
        session.output.show(&report, health)?;
        if report.ok {
            return Ok(());
        }
        let count = report.problems.len();
        let message = match count {
            1 => "the database is damaged: 1 problem".to_owned(),
            count => format!("the database is damaged: {count} problems"),
        };
        let error = Error::new(ErrorCode::InternalError, message)
            .with_reason(reason::CORRUPT)
            .with("last_offset", report.last_offset)
            .with("path", path);
        Err(error.into())
    }
}

fn health(report: &VerifyReport) -> String {
    let mut lines = vec![
        ("database", report.database_id.clone()),
        ("healthy", yes_no(report.ok).to_owned()),
        ("first offset", number(report.first_offset)),
        ("last whole offset", number(report.last_offset)),
    ];
    if report.torn_tail_bytes > 0 {
        let torn = bytes(report.torn_tail_bytes);
        lines.push(("unfinished write", format!("{torn} at the end, cut off by the next start")));
    }
    let mut text = fields(lines);
    let segments = report.segments.iter().map(|segment| {
        let (changes, size) = (number(segment.changes), bytes(segment.bytes));
        vec![segment.file.clone(), number(segment.first_offset), changes, size]
    });
    text.push_str(&table(&["segment", "first offset#", "changes#", "size#"], segments));
    text.push('\n');
    if !report.checkpoints.is_empty() {
        let checkpoints = report.checkpoints.iter().map(|checkpoint| {
            let intact = yes_no(checkpoint.ok).to_owned();
            let instances = number(checkpoint.instances);
            vec![checkpoint.file.clone(), number(checkpoint.offset), instances, intact]
        });
        let header = ["checkpoint", "offset#", "instances#", "intact"];
        text.push_str(&table(&header, checkpoints));
        text.push('\n');
    }
    for problem in &report.problems {
        let (file, position) = (&problem.file, problem.position);
        let found = format!("problem: {file} at byte {position}: {}", problem.message);
        let remedy = format!("  remedy: {}", problem.remedy);
        text.push_str(&format!("{}\n{}\n", clean(&found), clean(&remedy)));
    }
    text
}

/// Cut the end of the log off after an offset, to give up what is damaged.
///
/// Without --yes it only says what would be dropped. With it every file that is touched is first
/// copied to a folder in the data directory. The database must not be open elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli --path ./data repair --to 1041
  rstmdb-cli --path ./data repair --to 1041 --yes --output json")]
pub(crate) struct Repair {
    /// The last offset that stays; `verify` says up to which one the log is whole.
    #[arg(long, visible_alias = "truncate-at", value_name = "OFFSET")]
    to: u64,
    /// Really cut.
    #[arg(long)]
    yes: bool,
}

impl Repair {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let path = session.place.directory("repair")?;
        let plan = maintenance::repair(path, self.to, self.yes)?;
        session.output.show(&plan, described)?;
        if !plan.done {
            let path = option("--path", path);
            session.output.note(&format!(
                "nothing was changed; `rstmdb-cli {path} repair --to {} --yes` does it",
                plan.to
            ));
        }
        Ok(())
    }
}

fn described(plan: &RepairPlan) -> String {
    let list = |names: &[String]| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    fields([
        ("last offset that stays", number(plan.to)),
        ("changes dropped", number(plan.changes_dropped)),
        ("log dropped", bytes(plan.bytes_dropped)),
        ("cut", format!("{} at byte {}", plan.cut, plan.cut_at)),
        ("segments removed", list(&plan.segments_removed)),
        ("checkpoints removed", list(&plan.checkpoints_removed)),
        ("copies in", plan.copies.clone()),
        ("done", yes_no(plan.done).to_owned()),
    ])
}
