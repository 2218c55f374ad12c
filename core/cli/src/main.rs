//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rstmdb_cli::run(std::env::args_os())
}
