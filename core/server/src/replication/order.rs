//! Orders to this server, and what comes of them.

use std::sync::Arc;
use std::time::Instant;

use rstmdb_engine::Engine;
use rstmdb_types::{
    Error, ErrorCode, ReplicaFollowResult, ReplicaPromoteRequest, ReplicaPromoteResult, Result,
};
use tokio::sync::oneshot;

/// What somebody wants this server to be.
pub(super) enum NodeOrder {
    /// It is to take the writes.
    Promote(ReplicaPromoteRequest, oneshot::Sender<Result<ReplicaPromoteResult>>),
    /// It is to follow this one, or nobody.
    Follow(Option<String>, oneshot::Sender<Result<ReplicaFollowResult>>),
}

/// What this server is to others.
pub(super) enum NodePart {
    /// It takes the writes, in this engine.
    Primary(Arc<Engine>, Option<Promotion>),
    /// It follows; nobody, where no address is known.
    Replica(Option<String>),
}

/// A promotion that is under way.
pub(super) struct Promotion {
    pub began: Instant,
    pub lost: u64,
    /// The one that was followed and was not asked: it is told as soon as it can be reached.
    pub former: Option<String>,
    pub answer: oneshot::Sender<Result<ReplicaPromoteResult>>,
}

/// Why it can't be done as things are.
pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorCode::Conflict, what)
}
