//! Looking at the files of a database that is not open: `verify` reads all of it, `repair` gives up what
//! is damaged, and no more.

mod examine;
mod rebuild;
mod repair;
mod scan;
mod verify;

pub use repair::{Cut, RepairPlan, repair};
pub use scan::{CheckpointReport, SegmentReport};
pub use verify::{Problem, VerifyReport, verify};
