//! The engine and the embedded facade as a whole: crashes, damage, failing disks, power cuts, threads,
//! retention, older formats, and random programs against the model.
//!
//! One program, since each one more is linked with everything. `RSTMDB_SEED` runs one seed,
//! `RSTMDB_SOAK=1` many more than usual.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backup;
mod clocks;
mod compat;
mod concurrency;
mod crash;
mod crash_points;
mod damage;
mod epochs;
mod faults;
mod fixtures;
mod followers;
mod history;
mod keys;
mod life;
mod lists;
mod lost;
mod maintenance;
#[cfg(target_os = "linux")]
mod mapped;
mod model;
mod power;
mod programs;
mod read_only;
mod recorder;
mod refusals;
mod regressions;
mod replication;
mod retention;
mod snapshots;
// What Windows says of files and locks is its own.
#[cfg(unix)]
mod storage;
mod threads;
mod workload;
