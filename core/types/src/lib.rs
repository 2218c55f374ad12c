//! What every part of rstmdb agrees on: operations, their requests and results, errors and limits.
//!
//! Pure data: nothing here opens a file or a socket. The engine, the remote client, the server and
//! every language binding use these types, so a result looks the same wherever it came from.
#![deny(missing_docs)]

mod canonical;
mod checked;
pub mod command;
pub mod error;
pub mod fault;
pub mod feature;
pub mod json;
pub mod limits;
pub mod lookalike;
pub mod members;
pub mod names;
pub mod operation;
pub mod ops;
pub mod options;
pub mod pem;
mod position;
mod quoted;
pub mod text;
pub mod units;
mod written;

pub use command::{Command, Execute, Outcome, Request};
pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use feature::Feature;
pub use json::{Json, JsonError, JsonRef};
pub use limits::{KnownLimits, Limits};
pub use operation::{Access, Operation, OperationRequest, Place};
pub use ops::*;
pub use position::LogPosition;
pub use written::json_text;

/// Short text such as an instance id or a state name; up to 24 bytes are kept inline.
pub type Text = compact_str::CompactString;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
pub type TimestampMs = i64;

/// The position of one change in the log: 1, 2, 3 … Never reused, the same on every replica.
pub type Offset = u64;
