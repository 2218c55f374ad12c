//! Guards: conditions on the context, the payload, the state and the time.

use rstmdb_types::{JsonRef, Result, TimestampMs};

/// How deeply parentheses, `!`, unary `-` and function calls may nest in a guard.
pub const GUARD_DEPTH_MAX: usize = 128;
/// How many operands and operators a guard may have.
pub const GUARD_NODES_MAX: usize = 10_000;

/// A parsed guard.
#[derive(Debug)]
pub struct Guard {
    text: Box<str>,
}

/// What a guard can see.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The stored context.
    pub ctx: JsonRef<'a>,
    /// The event's payload.
    pub payload: Option<JsonRef<'a>>,
    /// The name of the current state.
    pub state: &'a str,
    /// The command's timestamp.
    pub now_ms: TimestampMs,
}

/// Why a guard is false.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {}

impl Guard {
    /// Parses a guard.
    pub fn parse(text: &str) -> Result<Guard> {
        Ok(Guard { text: text.into() })
    }

    pub(crate) fn parse_at(text: &str, path: &str) -> Result<Guard> {
        Guard::parse(text).map_err(|error| error.with("path", path))
    }

    /// The guard as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the guard passes.
    pub fn evaluate(&self, _: &Scope<'_>) -> bool {
        true
    }
}
