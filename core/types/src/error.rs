//! The error type of every rstmdb API, and the table of codes.
//!
//! `code` is what travels on the wire and never grows; `reason` is the finer, stable distinction;
//! `kind` says what the caller should do. `context` names the things involved.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The result of every rstmdb operation.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $wire:literal, $kind:ident, $retryable:literal;)*) => {
        /// What went wrong, as it travels on the wire. The numbers are pinned for the C interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(i32)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $wire)] $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in numeric order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The wire name, such as `INSTANCE_NOT_FOUND`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $wire,)* }
            }

            /// Finds a code by its wire name.
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name {
                    $($wire => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// The kind an error of this code has unless its maker says otherwise.
            pub const fn kind(self) -> ErrorKind {
                match self { $(ErrorCode::$name => ErrorKind::$kind,)* }
            }

            /// Whether the same request may succeed later without a change.
            pub const fn retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retryable,)* }
            }

            /// The meaning in a sentence: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(ErrorCode::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

codes! {
    /// The peer speaks another protocol version.
    UnsupportedProtocol = 1, "UNSUPPORTED_PROTOCOL", Invalid, false;
    /// The request is malformed or violates a limit.
    BadRequest = 2, "BAD_REQUEST", Invalid, false;
    /// The operation needs authentication first.
    Unauthorized = 3, "UNAUTHORIZED", Unauthorized, false;
    /// The credentials are wrong.
    AuthFailed = 4, "AUTH_FAILED", Unauthorized, false;
    /// Something other than a machine or an instance is not there.
    NotFound = 5, "NOT_FOUND", NotFound, false;
    /// The machine or this version of it is unknown.
    MachineNotFound = 6, "MACHINE_NOT_FOUND", NotFound, false;
    /// The version exists with another definition.
    MachineVersionExists = 7, "MACHINE_VERSION_EXISTS", AlreadyExists, false;
    /// The machine has as many versions as the settings allow.
    MachineVersionLimitExceeded = 8, "MACHINE_VERSION_LIMIT_EXCEEDED", Rejected, false;
    /// The instance is unknown or deleted.
    InstanceNotFound = 9, "INSTANCE_NOT_FOUND", NotFound, false;
    /// The instance id is taken.
    InstanceExists = 10, "INSTANCE_EXISTS", AlreadyExists, false;
    /// The machine has no transition for this state and event.
    InvalidTransition = 11, "INVALID_TRANSITION", Rejected, false;
    /// No guard of the possible transitions passed.
    GuardFailed = 12, "GUARD_FAILED", Rejected, false;
    /// The instance is not where the caller expected it to be, or something else has to be done before.
    Conflict = 13, "CONFLICT", Conflict, false;
    /// The log could not be written.
    WalIoError = 14, "WAL_IO_ERROR", Unavailable, true;
    /// A fault inside rstmdb.
    InternalError = 15, "INTERNAL_ERROR", Internal, true;
    /// Too many requests in too little time.
    RateLimited = 16, "RATE_LIMITED", Unavailable, true;
    /// The database takes no writes.
    ReadOnlyMode = 17, "READ_ONLY_MODE", Unavailable, false;
    /// The replicas did not confirm in time.
    ReplicationTimeout = 18, "REPLICATION_TIMEOUT", Unavailable, true;
    /// Replication failed.
    ReplicationError = 19, "REPLICATION_ERROR", Unavailable, false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $exit:literal, $wire:literal;)*) => {
        /// What the caller should do about an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $name,)*
        }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The name in snake case, such as `not_found`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorKind::$name => $wire,)* }
            }

            /// The exit code of a command that ends with an error of this kind.
            pub const fn exit_code(self) -> u8 {
                match self { $(ErrorKind::$name => $exit,)* }
            }

            /// What the caller should do: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(ErrorKind::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

kinds! {
    /// Name something that exists.
    NotFound = 3, "not_found";
    /// Choose another name, or take what is there.
    AlreadyExists = 4, "already_exists";
    /// The rules of the machine or a limit say no; change the state or the request.
    Rejected = 5, "rejected";
    /// Read again, decide again, retry.
    Conflict = 6, "conflict";
    /// Correct the request.
    Invalid = 2, "invalid";
    /// Present (other) credentials.
    Unauthorized = 7, "unauthorized";
    /// Try again later, or free what is missing.
    Unavailable = 8, "unavailable";
    /// Stored data is damaged; see `rstmdb-cli verify`.
    Corrupt = 9, "corrupt";
    /// The handle was closed.
    Closed = 10, "closed";
    /// Report a bug.
    Internal = 1, "internal";
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $code:ident;)*) => {
        /// The finer distinctions within a code. Stable: scripts may match on them.
        pub mod reason {
            $($(#[doc = $doc])+ pub const $name: &str = $text;)*

            /// Every reason with the code it refines.
            pub const ALL: &[(&str, super::ErrorCode)] = &[$(($text, super::ErrorCode::$code),)*];

            /// The meaning of a reason in a sentence; None when there is no such reason.
            pub fn doc(reason: &str) -> Option<&'static str> {
                match reason {
                    $($text => Some(concat!($($doc),+).trim_ascii()),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// A member is missing or has the wrong type.
    INVALID_REQUEST = "invalid_request", BadRequest;
    /// A definition is invalid; context `path` says where.
    INVALID_DEFINITION = "invalid_definition", BadRequest;
    /// A guard does not parse; context `line` and `column` say where.
    INVALID_GUARD = "invalid_guard", BadRequest;
    /// An expression does not parse; context `line` and `column` say where.
    INVALID_EXPRESSION = "invalid_expression", BadRequest;
    /// A size, depth or count limit was exceeded; context `limit` names it.
    LIMIT_EXCEEDED = "limit_exceeded", BadRequest;
    /// A cursor was not made by this list.
    INVALID_CURSOR = "invalid_cursor", BadRequest;
    /// The operation is switched off in the settings.
    DISABLED = "disabled", BadRequest;
    /// The URL or a setting can't be used.
    INVALID_OPTION = "invalid_option", BadRequest;
    /// The log no longer reaches back to the offset; context `first_offset` is the first it has.
    OFFSET_COMPACTED = "offset_compacted", NotFound;
    /// The log has not come to the offset yet; context `latest_offset` is the last it has.
    OFFSET_AHEAD = "offset_ahead", NotFound;
    /// There is no such snapshot, or it went with its instance.
    SNAPSHOT_NOT_FOUND = "snapshot_not_found", NotFound;
    /// What a backup that was begun consists of is not there any more, or it is another database's; begin
    /// another.
    BACKUP_GONE = "backup_gone", NotFound;
    /// The instance reached a final state.
    INSTANCE_COMPLETED = "instance_completed", InvalidTransition;
    /// An action can't be done: it would set a member of something that has none; context `path` says which action.
    ACTION_FAILED = "action_failed", InvalidTransition;
    /// The machine goes on by itself and comes to no rest; context `states` tells where it goes round.
    NEVER_RESTS = "never_rests", InvalidTransition;
    /// The instance is not in the expected state.
    EXPECTED_STATE = "expected_state", Conflict;
    /// The instance is not at the expected offset.
    EXPECTED_WAL_OFFSET = "expected_wal_offset", Conflict;
    /// The log is not the one that the place was told of: a copy was restored, or changes were lost. Context
    /// `safe_offset`, where it is known, is the last offset that both histories share.
    HISTORY_DIVERGED = "history_diverged", Conflict;
    /// The idempotency key was used for a different request.
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", Conflict;
    /// The id belonged to a deleted instance and the settings forbid using it again.
    RECREATE_FORBIDDEN = "recreate_forbidden", InstanceExists;
    /// Another node leads; context `address` says where, when it is known. Nothing was changed. Clients go there by
    /// themselves.
    NOT_LEADER = "not_leader", ReadOnlyMode;
    /// A replica takes no writes; context `address` says where the primary is, when it is known. Clients go there by
    /// themselves.
    REPLICA = "replica", ReadOnlyMode;
    /// A frame does not go on from the log of the node that it came to.
    LOG_MISMATCH = "log_mismatch", ReplicationError;
    /// There is no room on the disk; nothing was written.
    DISK_FULL = "disk_full", WalIoError;
    /// Whether the write happened is unknown: a sync failed, or the connection ended before the answer.
    /// Read to find out, or repeat it with its idempotency key.
    OUTCOME_UNKNOWN = "outcome_unknown", WalIoError;
    /// An earlier write failed, or the directory was moved or replaced; the database is read-only until it
    /// is reopened.
    WRITES_STOPPED = "writes_stopped", WalIoError;
    /// A write failed and was taken back.
    WRITE_FAILED = "write_failed", WalIoError;
    /// The server is opening its database; the request changed nothing and can be repeated.
    REOPENING = "reopening", WalIoError;
    /// A stored file is damaged; context `file` and `position` say where.
    CORRUPT = "corrupt", InternalError;
    /// A file was written by a newer rstmdb.
    NEWER_FORMAT = "newer_format", InternalError;
    /// Another process or handle has the data directory open.
    LOCKED = "locked", InternalError;
    /// A file operation failed.
    IO = "io", InternalError;
    /// The handle was closed.
    CLOSED = "closed", InternalError;
    /// A long operation was cancelled by its caller.
    CANCELLED = "cancelled", InternalError;
    /// There is no connection to the server; the request changed nothing and can be repeated.
    CONNECTION_LOST = "connection_lost", InternalError;
    /// No answer came in time; the request changed nothing and can be repeated.
    TIMEOUT = "timeout", InternalError;
    /// What was to be told does not fit a frame, though all went well: a change was made, and context
    /// `wal_offset` or `wal_offsets` says where.
    ANSWER_TOO_LARGE = "answer_too_large", InternalError;
    /// Fewer replicas are connected than the settings ask for; the request changed nothing and can be repeated.
    TOO_FEW_REPLICAS = "too_few_replicas", ReplicationError;
    /// The node is further behind than the request or its settings allow; another one may not be.
    LAG_EXCEEDED = "lag_exceeded", ReplicationError;
    /// This build or this peer does not have the feature.
    UNSUPPORTED = "unsupported", BadRequest;
}

/// An error with everything a person or a program needs to act on it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error {
    #[serde(flatten)]
    inner: Box<ErrorParts>,
}

#[derive(Clone, Serialize, Deserialize)]
struct ErrorParts {
    code: ErrorCode,
    kind: ErrorKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    message: String,
    retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<String, Value>,
    #[serde(skip)]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `code` with a message in lower case that names the thing and the fix.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error {
            inner: Box::new(ErrorParts {
                code,
                kind: code.kind(),
                reason: None,
                message: message.into(),
                retryable: code.retryable(),
                operation: None,
                context: BTreeMap::new(),
                source: None,
            }),
        }
    }

    /// A `BAD_REQUEST` with the given reason.
    pub fn invalid(reason: &str, message: impl Into<String>) -> Error {
        Error::new(ErrorCode::BadRequest, message).with_reason(reason)
    }

    /// Sets the stable reason, one of [`reason`], and the kind and retryability that go with it.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Error {
        let (kind, retryable) = match reason {
            reason::CORRUPT | reason::NEWER_FORMAT => (ErrorKind::Corrupt, false),
            reason::CLOSED => (ErrorKind::Closed, false),
            reason::LOCKED
            | reason::CONNECTION_LOST
            | reason::TIMEOUT
            | reason::NOT_LEADER
            | reason::LAG_EXCEEDED
            | reason::TOO_FEW_REPLICAS => (ErrorKind::Unavailable, true),
            reason::OUTCOME_UNKNOWN | reason::WRITES_STOPPED => (ErrorKind::Unavailable, false),
            reason::IO => (ErrorKind::Unavailable, self.inner.retryable),
            reason::ANSWER_TOO_LARGE => (self.inner.kind, false),
            reason::CANCELLED => (ErrorKind::Closed, true),
            _ => (self.inner.kind, self.inner.retryable),
        };
        self.inner.kind = kind;
        self.inner.retryable = retryable;
        self.inner.reason = Some(reason.to_owned());
        self
    }

    /// Adds a fact, such as `("instance_id", "o-1")`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Error {
        self.inner.context.insert(key.to_owned(), value.into());
        self
    }

    /// Says in front of the message where it happened, such as `line 3`.
    #[must_use]
    pub fn at(mut self, place: &str) -> Error {
        self.inner.message = format!("{place}: {}", self.inner.message);
        self
    }

    /// Names the operation that failed.
    #[must_use]
    pub fn with_operation(mut self, operation: &str) -> Error {
        self.inner.operation = Some(operation.to_owned());
        self
    }

    /// Takes kind and retryability from whoever made the error, such as a server.
    #[must_use]
    pub fn as_sent(mut self, kind: ErrorKind, retryable: bool) -> Error {
        self.inner.kind = kind;
        self.inner.retryable = retryable;
        self
    }

    /// Keeps the error underneath.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Arc<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.inner.source = Some(source.into());
        self
    }

    /// The wire code.
    pub fn code(&self) -> ErrorCode {
        self.inner.code
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The finer distinction, one of [`reason`].
    pub fn reason(&self) -> Option<&str> {
        self.inner.reason.as_deref()
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether the same request may succeed later without a change.
    pub fn retryable(&self) -> bool {
        self.inner.retryable
    }

    /// The operation that failed, by its wire name.
    pub fn operation(&self) -> Option<&str> {
        self.inner.operation.as_deref()
    }

    /// The facts: names of things, limits, positions.
    pub fn context(&self) -> &BTreeMap<String, Value> {
        &self.inner.context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        write!(f, "{}", inner.code)?;
        if let Some(reason) = &inner.reason {
            write!(f, "/{reason}")?;
        }
        if let Some(operation) = &inner.operation {
            write!(f, " in {operation}")?;
        }
        write!(f, ": {}", inner.message)?;
        for (key, value) in &inner.context {
            write!(f, "\n  {key}: {value}")?;
        }
        if let Some(source) = &inner.source {
            write!(f, "\n  caused by: {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_table_and_names_are_unique() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, index + 1);
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 19);
    }

    #[test]
    fn every_row_carries_its_documentation() {
        assert_eq!(
            ErrorCode::Conflict.doc(),
            "The instance is not where the caller expected it to be, or something else has to be done before."
        );
        assert_eq!(ErrorKind::Invalid.doc(), "Correct the request.");
        for (name, _) in reason::ALL {
            assert!(reason::doc(name).is_some_and(|doc| doc.ends_with('.')), "{name}");
        }
        assert_eq!(reason::doc("nope"), None);
    }

    #[test]
    fn survives_serialisation() {
        let error = Error::new(ErrorCode::Conflict, "instance \"a\" is in state \"x\"")
            .with_reason(reason::EXPECTED_STATE)
            .with("state", "x");
        let text = serde_json::to_string(&error).unwrap();
        let back: Error = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
        assert_eq!(back.kind(), ErrorKind::Conflict);
    }
}
