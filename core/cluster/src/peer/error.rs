//! Why a connection to another node ends.

use std::fmt;
use std::time::Duration;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode};

use super::header::{MessageKind, PIECE_BYTES_MAX};
use super::hello::Refusal;

/// What is wrong with bytes that should be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// A type that this release does not know.
    Unknown {
        /// The number of the type.
        kind: u16,
    },
    /// A flag or a reserved field that this release does not know.
    Header {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u16,
    },
    /// The checksum is another one.
    Checksum,
    /// More bytes than a message of this type may have.
    TooLong {
        /// Its type.
        kind: MessageKind,
        /// The bytes that it announces.
        bytes: u64,
        /// The bytes that it may have.
        max: u64,
    },
    /// A piece that does not go on from the one before.
    Piece {
        /// Its type.
        kind: MessageKind,
    },
    /// A body that does not say what a message of this type says.
    Body {
        /// Its type.
        kind: MessageKind,
        /// The part that can't be read.
        field: &'static str,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Unknown { kind } => {
                write!(
                    f,
                    "messages of type {kind} are not known here: the other side is no rstmdb, or a later one"
                )
            }
            MessageError::Header { field, value } => {
                write!(f, "the header's {field} is {value:#x}, which is not known here")
            }
            MessageError::Checksum => {
                f.write_str("a message came damaged: its checksum is another one")
            }
            MessageError::TooLong { kind, bytes, max } => {
                write!(
                    f,
                    "a message {kind} of {bytes} bytes is longer than the {max} that it may have"
                )?;
                match *max < PIECE_BYTES_MAX as u64 {
                    true => Ok(()),
                    false => write!(f, "; raise the limit of a frame where it comes to"),
                }
            }
            MessageError::Piece { kind } => {
                write!(f, "a piece of a message {kind} does not go on from the one before")
            }
            MessageError::Body { kind, field } => {
                write!(f, "a message {kind} can't be read: its {field} makes no sense")
            }
        }
    }
}

impl std::error::Error for MessageError {}

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
    Refused(Refusal),
    /// This side does not want the connection, and the other one is told so.
    Refusing(Refusal),
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
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            PeerError::Refusing(refusal) => Some(refusal.clone()),
            PeerError::Message(_) | PeerError::OutOfOrder { .. } | PeerError::Unexpected { .. } => {
                Some(Refusal::for_now(reason::LOG_MISMATCH, self.to_string()))
            }
            PeerError::Engine(error) => {
                let reason = error.reason().unwrap_or(error.code().as_str());
                Some(Refusal::for_now(reason, error.message()))
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
