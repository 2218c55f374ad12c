//! The log: the one ordered record of every change.

pub(crate) mod chains;
pub(crate) mod effects;
pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod kinds;
pub(crate) mod lineage;
pub(crate) mod queue;
pub(crate) mod recovery;
pub(crate) mod ring;
pub(crate) mod sealer;
pub(crate) mod segment;
pub(crate) mod tip;
pub(crate) mod writer;

/// Offsets stay below this, so that adding to one from a file never overflows.
pub(crate) const OFFSET_MAX: rstmdb_types::Offset = i64::MAX as u64;

pub(crate) use files::{Frame, FrameCursor, LogFiles, Segment};
pub(crate) use kinds::{Body, Effect, KeyRef};
pub(crate) use queue::Ticket;
pub(crate) use ring::Ring;
pub(crate) use sealer::Sealer;
pub(crate) use writer::{LogWriter, WriterSettings};
