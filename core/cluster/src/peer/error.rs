//! Why a connection to another node ends.

use std::fmt;
use std::time::Duration;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode};

use super::hello::PeerRefusal;
use super::kind::MessageKind;
use super::malformed::MessageError;

/// Why a connection to another node ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerError {
    /// What came is no message.
    Message(MessageError),
    /// A message was lost, came twice, or too early.
    OutOfOrder {
        /// The number that is next.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// A message that has no place here.
    Unexpected {
        /// What came.
        kind: MessageKind,
        /// What is awaited.
        awaited: &'static str,
    },
    /// It ended between two messages, or in the middle of one.
    Closed {
        /// Whether half of a message had come.
        in_message: bool,
    },
    /// Nothing came for too long.
    Silent {
        /// For how long.
        after: Duration,
    },
    /// The other side does not want the connection.
    Refused(PeerRefusal),
    /// This side does not want the connection, and the other one is told so.
    Refusing(PeerRefusal),
    /// The other side does not prove who it is, or this one does not: what, and the way out.
    Unproven(String),
    /// The connection failed.
    Io(std::io::Error),
    /// The database here failed, or refused what came.
    Engine(Error),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::Message(error) => error.fmt(f),
            PeerError::OutOfOrder { expected, found } => write!(
                f,
                "message {found} came where message {expected} is the next: one was lost, repeated or came too early"
            ),
            PeerError::Unexpected { kind, awaited } => {
                write!(f, "a message {kind} came where {awaited} is awaited")
            }
            PeerError::Closed { in_message: false } => {
                f.write_str("the other node ended the connection")
            }
            PeerError::Closed { in_message: true } => {
                f.write_str("the connection ended in the middle of a message")
            }
            PeerError::Silent { after } => {
                write!(f, "nothing came from the other node for {} ms", after.as_millis())
            }
            PeerError::Refused(refusal) => write!(f, "the other node refused: {}", refusal.message),
            PeerError::Refusing(refusal) => f.write_str(&refusal.message),
            PeerError::Unproven(what) => f.write_str(what),
            PeerError::Io(error) => write!(f, "the connection failed: {error}"),
            PeerError::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PeerError {}

impl From<MessageError> for PeerError {
    fn from(error: MessageError) -> PeerError {
        PeerError::Message(error)
    }
}

impl From<std::io::Error> for PeerError {
    fn from(error: std::io::Error) -> PeerError {
        PeerError::Io(error)
    }
}

impl From<Error> for PeerError {
    fn from(error: Error) -> PeerError {
        PeerError::Engine(error)
    }
}

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Error {
        match error {
            PeerError::Engine(error) => error,
            other => Error::new(ErrorCode::ReplicationError, other.to_string()),
        }
    }
}

impl PeerError {
    /// What the other side is to be told of it, if that may reach it.
    pub fn refusal(&self) -> Option<PeerRefusal> {
        match self {
            PeerError::Refusing(refusal) => Some(refusal.clone()),
            PeerError::Message(_) | PeerError::OutOfOrder { .. } | PeerError::Unexpected { .. } => {
                Some(PeerRefusal::for_now(reason::LOG_MISMATCH, self.to_string()))
            }
            PeerError::Engine(error) => {
                let reason = error.reason().unwrap_or(error.code().as_str());
                Some(PeerRefusal::for_now(reason, error.message()))
            }
            _ => None,
        }
    }

    /// Whether another attempt comes to the same end unless somebody does something here.
    pub fn is_final(&self) -> bool {
        match self {
            PeerError::Refusing(refusal) => !refusal.retryable,
            PeerError::Engine(error) => {
                !error.retryable() && error.reason() != Some(reason::LOG_MISMATCH)
            }
            _ => false,
        }
    }
}
