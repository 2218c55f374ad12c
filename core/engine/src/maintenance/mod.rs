//! Looking at the files of a database that is not open: `verify` reads all of it, `repair` gives up what
//! is damaged, and no more.

mod examine;
mod rebuild;
mod repair;
pub(crate) mod scan;
mod verify;

pub use repair::{Cut, RepairPlan, repair, set_aside};
pub use rstmdb_types::{CheckpointReport, Problem, SegmentReport};
pub use verify::{VerifyReport, verify};
