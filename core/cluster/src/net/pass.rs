//! Sessions of clients that members pass on to who leads.

use std::io::Cursor;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::dial::{PeerLink, PeerStream, unexpected};
use super::line::dial_member;
use super::local::PeerNode;
use crate::peer::{Message, PassedSession, PeerError};

/// A session that another member passes on.
pub struct PassedOn {
    /// Whose it is.
    pub session: PassedSession,
    /// The client's bytes.
    pub stream: Box<dyn PeerStream>,
}

impl std::fmt::Debug for PassedOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}

/// Where they go.
pub type SessionDoor = mpsc::Sender<PassedOn>;

impl PeerLink {
    /// From here on the connection carries something else.
    pub(super) fn into_stream(self) -> Box<dyn PeerStream> {
        let (rest, reading) = self.incoming.into_rest();
        Box::new(tokio::io::join(Cursor::new(rest).chain(reading), self.outgoing.into_stream()))
    }
}

/// Passes a session on to a member that leads; what comes and goes on the stream from then on is the client's.
pub async fn pass_on(
    node: &PeerNode,
    to: u16,
    session: PassedSession,
) -> Result<Box<dyn PeerStream>, PeerError> {
    let nowhere = || std::io::Error::other(format!("nobody knows where node {to} is"));
    let address = node.address_of(to.into()).ok_or_else(nowhere)?;
    let mut link = dial_member(node, to.into(), &address).await?;
    match link.ask(&Message::Session(session), node.patience).await? {
        Message::SessionBegins => Ok(link.into_stream()),
        other => Err(unexpected(other.kind(), "whether the session may begin")),
    }
}
