//! The log: the one ordered record of every change.

pub(crate) mod chains;
pub(crate) mod effects;
pub(crate) mod exchange;
pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod kinds;
pub(crate) mod lanes;
pub(crate) mod lineage;
pub(crate) mod members;
pub(crate) mod queue;
pub(crate) mod recovery;
pub(crate) mod ring;
pub(crate) mod rounds;
pub(crate) mod sealer;
pub(crate) mod segment;
pub(crate) mod ticket;
pub(crate) mod tip;
pub(crate) mod waiters;
pub(crate) mod writer;

pub(crate) use exchange::LogFrame;
pub(crate) use files::{Frame, FrameCursor, LogFiles, Segment};
pub(crate) use kinds::{Body, Effect, KeyRef};
pub(crate) use ring::Ring;
pub(crate) use sealer::Sealer;
pub(crate) use ticket::Ticket;
pub(crate) use tip::OFFSET_MAX;
pub(crate) use writer::{LogWriter, WriterSettings};
