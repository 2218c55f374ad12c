//! The server's entry point: flags, configuration, signals and the exit code.

mod args;
mod notify;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rstmdb_server::config::{self, Config, LoadedConfig, Sources};
use rstmdb_server::control::Order;
use rstmdb_server::live::LiveSettings;
use rstmdb_server::probe::probe;
use rstmdb_server::{control, logging};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use crate::args::Args;

/// Gives back what is no longer needed, within seconds and also where other threads had it. The system's
/// keeps most of it: a quarter of what definitions take was left over from storing them.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(problem) => {
            // A closed pipe while printing help is nobody's problem.
            let _ = problem.print();
            return ExitCode::from(if problem.use_stderr() { 2 } else { 0 });
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let priority = logging::priority(&tracing::Level::ERROR);
            let _ = writeln!(std::io::stderr(), "{priority}error: {}", error.message());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(args: Args) -> Result<()> {
    if args.print_example_config {
        return print(&config::example());
    }
    if args.print_config_reference {
        return print(&config::reference());
    }
    if let Some(manual) = args.manual().map_err(unprinted)? {
        return print_bytes(&manual);
    }
    if args.check_health {
        let said = probe(&Config::load(&args.of_running(environment()))?)?;
        return print(&format!("{}\n", said.trim_end()));
    }
    if let Some(order) = args.order() {
        return give(order, &args.of_running(environment()));
    }
    let sources = args.sources(environment());
    let loaded = Config::load(&sources)?;
    if args.print_config {
        warn(&loaded.warnings);
        // What is printed may be put anywhere.
        return print(&config::print(&loaded.config.absolute()));
    }
    if args.check_config {
        warn(&loaded.warnings);
        warn(&loaded.overridden);
        warn(&remarks(&loaded, &sources)?);
        return print("the configuration can be used\n");
    }
    if sources.strict {
        remarks(&loaded, &sources)?;
    }
    serve::serve(sources, loaded)
}

/// Gives the running server an order.
fn give(order: Order, sources: &Sources) -> Result<()> {
    // Not loaded: whether it can be used is for the server to say.
    let config = Config::as_far_as_readable(sources);
    let socket = config.server.control_socket.ok_or_else(|| {
        // The socket may be set in what can't be read.
        if let Err(problem) = Config::load(sources) {
            return problem;
        }
        let or = match order {
            Order::Reload => {
                ", or send SIGHUP and look at the log and at rstmdb_config_last_reload_successful"
            }
            Order::Sessions | Order::End(_) => "",
        };
        let message = format!(
            "{} is not set, so there is nowhere to ask; set it and restart{or}",
            control::SETTING
        );
        Error::invalid(reason::INVALID_OPTION, message).with("setting", control::SETTING)
    })?;
    print(&format!("{}\n", control::ask(&socket, order)?.trim_end()))
}

/// Reads tokens and certificates too, and says what is wrong with those that can be used all the same.
fn remarks(loaded: &LoadedConfig, sources: &Sources) -> Result<Vec<String>> {
    let remarks = LiveSettings::new(&loaded.config)?.load().remarks.clone();
    if sources.strict && !remarks.is_empty() {
        let message = format!("{} (an error because of --strict)", remarks.join("; "));
        return Err(Error::invalid(reason::INVALID_OPTION, message));
    }
    Ok(remarks)
}

/// Variables that are not Unicode can't be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unprinted(error)),
        _ => Ok(()),
    }
}

fn unprinted(error: std::io::Error) -> Error {
    Error::new(ErrorCode::InternalError, format!("can't write to standard output: {error}"))
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
}
