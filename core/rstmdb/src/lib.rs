//! rstmdb, a state machine database.
//!
//! Define machines (states, events, transitions, guards), create instances of them, apply events and
//! watch what happens. [`Database`] is asynchronous and runs on any executor; [`blocking::Database`]
//! is the same for threads. `open("./data")` keeps the database in a directory, `open("mem:")` in
//! memory, and `open("rstmdb://host")` uses the one of a server; nothing else differs.
//!
//! The feature `remote`, on by default, is the part for servers.
#![deny(missing_docs)]

mod asynchronous;
mod backend;
pub mod backup;
mod begun;
pub mod blocking;
mod call;
mod clock;
pub mod maintenance;
mod open;
mod threads;

pub use asynchronous::{Database, Subscription};
pub use backend::Pending;
pub use begun::{QueuedResult, QueuedWrite, Underway};
pub use clock::ManualClock;
pub use open::{check_url, shown_url};
#[cfg(feature = "remote")]
pub use rstmdb_client::{Endpoint, Options as RemoteOptions, Retry, TlsOptions};
pub use rstmdb_engine::{
    FsyncPolicy, Options, ProgressObserver, ProgressUpdate, Purpose, Retention,
};
pub use rstmdb_threads::process;
pub use rstmdb_types::*;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExamples;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/getting-started.md")]
#[doc = include_str!("../../../docs/guide/backup.md")]
#[doc = include_str!("../../../docs/guide/clients.md")]
struct GuideExamples;
