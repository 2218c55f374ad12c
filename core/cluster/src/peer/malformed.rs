//! What is wrong with a message.

use std::fmt;

use super::kind::{MessageKind, PIECE_BYTES_MAX};

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
