//! The RCP transport: connections, sessions, and requests turned into calls.
//!
//! One task serves one connection. It reads on while earlier requests wait for their sync, answers
//! in request order, and stops reading when its client does not take the answers.

mod audience;
mod batch;
mod connection;
mod conversation;
mod database;
mod form;
mod inbox;
mod listener;
mod outbox;
mod parse;
mod passing;
mod plan;
mod reply;
mod session;
mod signals;
mod watches;

pub(crate) use audience::Audiences;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use connection::serve;
pub(crate) use inbox::FrameMemory;
pub(crate) use listener::listen;

use std::sync::Arc;

use crate::calls::Calls;
use crate::cluster::relay::Relay;
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;

/// What all connections share.
pub(crate) struct Rcp {
    pub calls: Arc<Calls>,
    pub memory: FrameMemory,
    /// Watches that are told the same.
    pub audiences: Arc<Audiences>,
    pub sessions: Arc<Sessions>,
    /// The way to who leads, where sessions are passed on.
    pub relay: Option<Arc<Relay>>,
    /// The most connections that the open files of the process allow.
    pub connections_max: usize,
    pub shutdown: Shutdown,
}
