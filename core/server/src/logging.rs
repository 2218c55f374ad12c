//! The server's messages, on standard error: JSON for programs, pretty for people, with a filter
//! that can change while the server runs.

use std::io::IsTerminal;

use rstmdb_types::{Error, ErrorCode, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat};

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The filter of the messages; a clone sets the same one.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on this filter decides what is logged.
    pub fn set(&self, text: &str) -> std::result::Result<(), String> {
        self.0.reload(filter(text)?).map_err(|error| error.to_string())
    }
}

/// Parses a filter: a level, or `target=level` pairs with commas.
pub(crate) fn filter(text: &str) -> std::result::Result<EnvFilter, String> {
    for directive in text.split(',').map(str::trim) {
        let word = directive.to_ascii_lowercase();
        // A bare word is a target to the parser: a misspelt level would silence everything else.
        let slip = LEVELS.iter().find(|level| {
            word.starts_with(**level) || strsim::damerau_levenshtein(&word, level) <= 1
        });
        if let (false, false, Some(level)) =
            (word.contains(['=', '[']), LEVELS.contains(&word.as_str()), slip)
        {
            return Err(format!("{directive:?} is not a level; did you mean {level}?"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
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
    let (filter, handle) = reload::Layer::new(filter(&config.level).map_err(failed)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        for good in ["info", "WARN", "off", "info,rstmdb_server=debug", "hyper=off,trace", "rustls"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["infoo", "warning", "inf", "info,debgu", "a=loud", "=,="] {
            assert!(filter(bad).is_err(), "{bad}");
        }
        assert!(filter("warning").unwrap_err().contains("did you mean warn?"));
    }
}
