//! Who runs this node's part among others, as the door sees it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use rstmdb_types::{Outcome, Request, Result};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that is for nodes from now on.
pub trait NodeStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> NodeStream for S {}

/// Something that is done later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs this node's part among others: see [`Calls::be_driven_by`](super::Calls::be_driven_by).
pub trait NodeDriver: Send + Sync {
    /// Whether a replica may follow now; else why not.
    fn may_be_followed(&self) -> Result<()>;

    /// Serves a replica until its connection ends.
    fn serve(&self, stream: Box<dyn NodeStream>, address: SocketAddr) -> Later<()>;

    /// Carries out an order; nothing: the database has the answer.
    fn operate(&self, request: Request) -> Option<Later<Result<Outcome>>>;
}
