//! Looking at a database directory that is not open: `verify` and `repair`.

use rstmdb_types::{Offset, Result};

pub use rstmdb_engine::maintenance::{
    CheckpointReport, Problem, RepairPlan, SegmentReport, VerifyReport,
};

/// Reads every byte of the database at `url` (a path or `file:PATH`) and says what is wrong and what
/// helps. Changes nothing.
///
/// Errors: `NOT_FOUND` when there is no database, reason `locked` when it is open somewhere, reason
/// `corrupt` when the manifest is damaged.
pub fn verify(url: &str) -> Result<VerifyReport> {
    rstmdb_engine::maintenance::verify(&crate::open::location(url)?)
}

/// Says what cutting everything after offset `to` off would drop, and does it when `apply` is true,
/// keeping a copy of every file it touches in a directory beside them.
///
/// Errors: as [`verify`], and `BAD_REQUEST` when the log can't be cut there.
pub fn repair(url: &str, to: Offset, apply: bool) -> Result<RepairPlan> {
    rstmdb_engine::maintenance::repair(&crate::open::location(url)?, to, apply)
}
