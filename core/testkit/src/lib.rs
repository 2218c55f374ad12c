//! Test support for rstmdb: simulated disks and time, storage suites, models and generators.
//!
//! What the tests of the engine need needs no server; the feature `server` adds the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod calls;
pub mod clock;
pub mod cluster;
pub mod compare;
pub mod exchange;
pub mod faulty;
#[cfg(feature = "server")]
pub mod host;
pub mod model;
pub mod mounted;
#[cfg(feature = "server")]
pub mod process;
pub mod program;
#[cfg(feature = "server")]
pub mod remote;
pub mod sample;
pub mod scenario;
pub mod seeds;
#[cfg(feature = "server")]
pub mod server;
pub mod shutdown_fs;
pub mod storage_suite;
pub mod target;
pub mod values;
pub mod watch_filter;
#[cfg(feature = "server")]
pub mod wire;
pub mod writer;
