//! What rstmdb needs of threads and processes: waiting in a thread for what is polled, and values that
//! each process has for itself, since a child made by `fork` has none of its parent's threads.
//!
//! Nothing here knows a database, and nothing starts a thread.
#![deny(missing_docs)]

pub mod park;
pub mod process;
