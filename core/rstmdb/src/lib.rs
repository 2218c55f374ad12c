//! rstmdb, a state machine database.
//!
//! Define machines (states, events, transitions, guards), create instances of them, apply events and
//! watch what happens. [`Database`] is asynchronous and runs on any executor; [`blocking::Database`]
//! is the same for threads. `open("./data")` keeps the database in a directory, `open("mem:")` in
//! memory.
#![deny(missing_docs)]

mod asynchronous;
pub mod blocking;
mod call;
pub mod maintenance;
mod open;

pub use asynchronous::{Database, Subscription};
pub use rstmdb_engine::{FsyncPolicy, Options, Progress, ProgressUpdate, Retention};
pub use rstmdb_types::*;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExamples;
