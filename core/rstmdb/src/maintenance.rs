//! Looking at a database directory that is not open: `verify` and `repair`.

use rstmdb_types::Result;

pub use rstmdb_engine::maintenance::{
    CheckpointReport, Cut, Problem, RepairPlan, SegmentReport, VerifyReport,
};

/// Reads every byte of the database at `url` (a path or `file:PATH`) and says what is wrong and what
/// helps. Changes nothing.
///
/// Errors: `NOT_FOUND` when there is no database, reason `locked` when it is open somewhere, reason
/// `corrupt` when no file tells which database it is of.
pub fn verify(url: &str) -> Result<VerifyReport> {
    rstmdb_engine::maintenance::verify(&crate::open::location(url)?)
}

/// Says what giving up what is damaged would drop, and what lies outside `cut` (an offset alone: after
/// it), and does it when `apply` is true, keeping every file it touches in a directory beside them.
///
/// Errors: as [`verify`], and `BAD_REQUEST` when more would be lost than the cut says, or when it can't be
/// made there.
pub fn repair(url: &str, cut: impl Into<Cut>, apply: bool) -> Result<RepairPlan> {
    rstmdb_engine::maintenance::repair(&crate::open::location(url)?, cut, apply)
}
