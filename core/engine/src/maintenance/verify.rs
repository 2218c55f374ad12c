//! Says what is wrong with a closed database, what is lost, and what helps. Changes nothing.

use rstmdb_types::{CheckpointReport, Offset, Problem, Result, SegmentReport};
use serde::Serialize;

use super::examine::Examination;
use super::scan::ScanFault;
use crate::options::Location;

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The id the database was given when it was created.
    pub database_id: String,
    /// Whether nothing is wrong. A torn tail is not wrong: the next start cuts it off.
    pub ok: bool,
    /// Whether the database can be opened as it is. It can when the intact files hold every change.
    pub opens: bool,
    /// The first offset in the log.
    pub first_offset: Offset,
    /// The last offset that the intact files hold together: the newest checkpoint that is intact, and
    /// the unbroken log behind it, or the log alone.
    pub last_offset: Offset,
    /// How many changes behind that are known to have been there.
    pub changes_lost: u64,
    /// The first offset from which the history can still be read, when what is before is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_from: Option<Offset>,
    /// What `rstmdb-cli` is to be asked for so that the database can be opened and holds all that the
    /// intact files do; nothing when nothing is wrong, or when only a backup helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Bytes of an unfinished write at the end of the log; no acknowledged change is among them.
    pub torn_tail_bytes: u64,
    /// The segments in order.
    pub segments: Vec<SegmentReport>,
    /// The checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointReport>,
    /// What is wrong, in the order it was found.
    pub problems: Vec<Problem>,
}

/// Reads all of a closed database.
///
/// Errors: `NOT_FOUND` when there is none, reason `locked` when it is open somewhere, reason `newer_format`
/// when a later release wrote something that is intact, reason `corrupt` when no file tells which
/// database it is of. Everything else that is wrong is in the report.
pub fn verify(location: &Location) -> Result<VerifyReport> {
    let found = Examination::of(location)?;
    let problems = found.faults().into_iter().map(|fault| problem(&found, fault)).collect();
    let (history_from, advice) = (found.history_from(), found.advice());
    let held = found.held.as_ref();
    let opens = held.is_ok_and(|held| held.refusal().is_none()) && found.manifest_fault.is_none();
    let last_offset = held.map_or(0, |held| held.last);
    let mut report = VerifyReport {
        database_id: found.manifest.database_id.clone(),
        ok: true,
        opens,
        first_offset: found.manifest.first_offset,
        last_offset,
        changes_lost: found.scan.known.saturating_sub(last_offset),
        history_from,
        advice,
        torn_tail_bytes: found.scan.torn_tail_bytes,
        segments: found.scan.segments,
        checkpoints: found.scan.checkpoints,
        problems,
    };
    report.ok = report.problems.is_empty();
    Ok(report)
}

fn problem(found: &Examination, fault: ScanFault) -> Problem {
    let ScanFault { file, position, offset, message } = fault;
    let remedy = match (found.advice(), &found.held) {
        (Some(advice), Ok(held)) => {
            let changes = held.fault.as_ref().map(|_| format!("everything after offset {}", held.last));
            let history = found.history_from().map(|from| format!("the history before offset {from}"));
            let lost: Vec<String> = changes.into_iter().chain(history).collect();
            match lost.is_empty() {
                true => format!("nothing is lost by doing without it: `rstmdb-cli {advice}`"),
                false => format!(
                    "restore the file from a backup, or give up {}: `rstmdb-cli {advice}`",
                    lost.join(" and ")
                ),
            }
        }
        _ => "restore the database from a backup: without this, the other files hold nothing that it \
              could be opened with"
            .to_owned(),
    };
    Problem { file, position, offset, message, remedy }
}
