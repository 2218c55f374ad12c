//! The server's messages, on standard error: JSON for programs, pretty for people, with a filter
//! that can change while the server runs.

use std::io::IsTerminal;

use rstmdb_types::{Error, ErrorCode, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat, log_filter};

/// The filter of the messages; a clone sets the same one.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on this filter decides what is logged.
    pub fn set(&self, text: &str) -> std::result::Result<(), String> {
        self.0.reload(log_filter::parse(text)?).map_err(|error| error.to_string())
    }
}

/// Begins to log. Once per process.
pub fn start(config: &LogConfig) -> Result<LogFilter> {
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    };
    let failed = |error: String| {
        Error::new(ErrorCode::InternalError, format!("can't begin to log: {error}"))
    };
    let (filter, handle) = reload::Layer::new(log_filter::parse(&config.level).map_err(failed)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        lines.with_ansi(terminal).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().map_err(|error| failed(error.to_string()))?;
    Ok(LogFilter(handle))
}
