//! The program on real files, from outside: killed, stopped, flooded, on a disk that fails, and with
//! the published Python client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod disk_hangs;
#[cfg(target_os = "linux")]
mod disk_under_load;
#[cfg(target_os = "linux")]
mod failing_disk;
mod kill;
#[cfg(target_os = "linux")]
mod memory;
mod power;
mod python;
mod stop;
mod writers;

use std::path::Path;

use rstmdb_testkit::process::Launch;
use rstmdb_testkit::seeds::is_soak;

/// The program on a directory.
fn launch(directory: &Path) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_rstmdb"), directory)
}

/// Rounds of a loop: few of them, or many in the long run.
fn rounds(few: u64, many: u64) -> u64 {
    if is_soak() { many } else { few }
}
