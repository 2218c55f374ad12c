//! The log: the one ordered record of every change.

pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod writer;

pub(crate) use files::{Frame, FrameCursor, LogFiles, Segment};
pub(crate) use queue::Ticket;
pub(crate) use record::{Body, Effect, KeyRef};
pub(crate) use ring::Ring;
pub(crate) use writer::{LogWriter, WriterSettings};
