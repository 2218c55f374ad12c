//! Where in the log a change stands, and the key that a request brought.

use rstmdb_types::{Offset, TimestampMs};

/// Where in the log an effect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub offset: Offset,
    pub at: TimestampMs,
}

/// An idempotency key as the log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRef<'a> {
    pub key: &'a str,
    /// Tells a retry from another request with the same key.
    pub fingerprint: u64,
    /// Whether the key belongs to the database instead of the instance.
    pub global: bool,
}
