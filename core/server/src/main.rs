//! The server's entry point: flags, configuration, signals and the exit code.

mod args;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rstmdb_server::config::{self, Config, LoadedConfig};
use rstmdb_server::live::LiveSettings;
use rstmdb_types::{Error, ErrorCode, Result};

use crate::args::Args;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(problem) => {
            // A closed pipe while printing help is nobody's problem.
            let _ = problem.print();
            return ExitCode::from(if problem.use_stderr() { 2 } else { 0 });
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", error.message());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.print_example_config {
        return print(&config::example());
    }
    if args.print_config_reference {
        return print(&config::reference());
    }
    let sources = args.sources(environment());
    let loaded = Config::load(&sources)?;
    if args.print_config {
        warn(&loaded);
        return print(&config::print(&loaded.config));
    }
    if args.check_config {
        warn(&loaded);
        // Tokens and certificates are read too.
        LiveSettings::new(&loaded.config)?;
        return print("the configuration can be used\n");
    }
    serve::serve(sources, loaded)
}

/// Variables that are not Unicode can't be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            ErrorCode::InternalError,
            format!("can't write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

fn warn(loaded: &LoadedConfig) {
    for warning in &loaded.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
}
