//! The log: the one ordered record of every change.

pub(crate) mod chains;
pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod kinds;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod writer;

/// Offsets stay below this, so that adding to one from a file never overflows.
pub(crate) const OFFSET_MAX: rstmdb_types::Offset = i64::MAX as u64;

pub(crate) use files::{Frame, FrameCursor, LogFiles, Segment};
pub(crate) use kinds::{Body, Effect, KeyRef};
pub(crate) use queue::Ticket;
pub(crate) use ring::Ring;
pub(crate) use writer::{LogWriter, WriterSettings};
