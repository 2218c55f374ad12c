//! The RCP transport: connections, sessions, and requests turned into calls of the engine.
//!
//! One task serves one connection. It reads on while earlier requests wait for their sync, answers
//! in request order, and stops reading when its client does not take the answers.

mod answer;
mod batch;
mod connection;
mod dispatch;
mod inbox;
mod listener;
mod outbox;
mod session;
mod watches;

pub(crate) use answer::Served;
pub(crate) use connection::Shared;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use connection::serve;
pub(crate) use inbox::FrameMemory;
pub(crate) use listener::accept;
