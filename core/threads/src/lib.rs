//! What rstmdb needs of threads and processes: waiting in a thread for what is polled, handing a value to
//! who waits, and values that each process has for itself, since a child made by `fork` has none of its
//! parent's threads.
//!
//! Nothing here knows a database, and nothing starts a thread.
#![deny(missing_docs)]

mod oneshot;
pub mod park;
pub mod process;

pub use oneshot::Oneshot;
