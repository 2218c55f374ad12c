//! The errors a client makes by itself.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, ErrorKind, Feature, Offset};

use crate::options::Endpoint;
use crate::server::ServerInfo;

/// The client was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::InternalError, "the database was closed; open it again")
        .with_reason(reason::CLOSED)
}

/// An endpoint can't be reached.
pub(crate) fn unreachable(endpoint: &Endpoint, what: &str) -> Error {
    let message = format!("can't connect to {endpoint}: {what}");
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::CONNECTION_LOST)
        .with("endpoint", endpoint.to_string())
}

/// An endpoint was reached, and is not to be talked to: trying again would not help.
pub(crate) fn refused(endpoint: &Endpoint, error: Error) -> Error {
    let message = format!("{endpoint}: {}", error.message());
    let mut refused = Error::new(error.code(), message);
    if let Some(reason) = error.reason() {
        refused = refused.with_reason(reason);
    }
    let refused = refused.as_sent(error.kind(), error.retryable());
    refused.with("endpoint", endpoint.to_string())
}

/// Whether waiting is all it takes.
pub(crate) fn passes(error: &Error) -> bool {
    error.retryable() && error.kind() == ErrorKind::Unavailable
}

/// A connection ended.
pub(crate) fn lost(endpoint: &Endpoint, what: &str) -> Error {
    let message = format!("the connection to {endpoint} was lost: {what}");
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::CONNECTION_LOST)
        .with("endpoint", endpoint.to_string())
}

/// A write was sent and not answered. With a key it can be repeated all the same.
pub(crate) fn outcome_unknown(what: &str, keyed: bool) -> Error {
    let fix = if keyed { "repeat it with the same key" } else { "read to find out" };
    let message = format!("the request was sent and not answered ({what}); {fix}");
    Error::new(ErrorCode::WalIoError, message)
        .with_reason(reason::OUTCOME_UNKNOWN)
        .as_sent(ErrorKind::Unavailable, keyed)
}

/// An answer did not come in time, and nothing happened that matters.
pub(crate) fn timeout(timeout_ms: u128) -> Error {
    let message = format!("no answer within {timeout_ms} ms; the server is slow or gone");
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::TIMEOUT)
        .with("timeout_ms", u64::try_from(timeout_ms).unwrap_or(u64::MAX))
}

/// The server is older than what is asked of it.
pub(crate) fn unsupported(what: &str, server: &ServerInfo) -> Error {
    let message =
        format!("{} {} does not know {what}; it needs a newer server", server.name, server.version);
    Error::invalid(reason::UNSUPPORTED, message)
        .with("server_version", server.version.as_str())
        .with("feature", what)
}

/// The server did not list the feature that an operation needs.
pub(crate) fn lacking(feature: Feature, server: &ServerInfo) -> Error {
    let name = feature.name();
    let message = format!("{} {} does not have the feature {name}", server.name, server.version);
    Error::invalid(reason::UNSUPPORTED, message)
        .with("server_version", server.version.as_str())
        .with("feature", name)
}

/// Whether a server says of the whole request that it does not know its `op`.
pub(crate) fn says_unknown(error: &Error) -> bool {
    error.reason() == Some(reason::INVALID_REQUEST)
        && error.context().get("field").is_some_and(|field| field == "op")
}

/// The server says something nobody understands.
pub(crate) fn malformed(what: &str) -> Error {
    Error::new(ErrorCode::InternalError, format!("the server's answer is malformed: {what}"))
}

/// An event came that can't be taken: asking for it again would not help.
pub(crate) fn unreadable_event(what: &str, wanted: Offset) -> Error {
    let message = format!(
        "an event at or behind offset {wanted} can't be taken ({what}); read on behind it, or watch \
         without contexts (include_ctx false)"
    );
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::ANSWER_TOO_LARGE)
        .with("wanted_offset", wanted)
}

/// A setting can't be used.
pub(crate) fn invalid_option(option: &str, what: impl Into<String>) -> Error {
    Error::invalid(reason::INVALID_OPTION, what).with("option", option)
}
