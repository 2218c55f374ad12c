//! The embedded engine of rstmdb: log, checkpoints, state and watches.
//!
//! Synchronous at its core: it needs no async runtime. A write returns a [`Pending`] result that can
//! be waited for or awaited; many in flight share one sync. Most programs use the `rstmdb` crate,
//! which wraps this one.
#![deny(missing_docs)]

pub mod backup;
mod checkpoint;
mod codec;
mod condition;
mod directory;
mod due;
mod engine;
mod error;
mod events;
mod fault;
mod followers;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gauges;
pub mod guards;
mod held;
mod jobs;
mod log;
pub mod maintenance;
mod manifest;
mod open;
mod ops;
pub mod options;
mod pending;
mod replay;
pub mod replication;
mod retention;
#[cfg(test)]
mod same_bytes_tests;
mod shared;
mod snapshots;
mod state;
pub mod storage;
mod sync;
mod time;
mod watch;

pub use checkpoint::policy::CheckpointPolicy;
pub use condition::Condition;
pub use engine::Engine;
pub use followers::WatchedPlace;
pub use options::{
    Background, FsyncPolicy, GroupNode, Location, NodeKind, Options, ProgressObserver,
    ProgressUpdate, Purpose, Retention, SyncObserver,
};
pub use pending::{Commit, Pending};
pub use watch::{KnownContexts, Subscription};
