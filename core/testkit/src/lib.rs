//! Test support for rstmdb: simulated disks and time, storage suites, models and generators.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod clock;
pub mod compare;
pub mod exchange;
pub mod faulty;
pub mod host;
pub mod model;
pub mod process;
pub mod program;
pub mod remote;
pub mod scenario;
pub mod server;
pub mod shutdown_fs;
pub mod storage_suite;
pub mod target;
pub mod watch_filter;
pub mod wire;
