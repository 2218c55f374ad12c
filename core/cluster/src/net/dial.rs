//! Connections that go out.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::certificate::{host_of, told};
use super::local::PeerNode;
use crate::peer::{
    Decoder, Hello, Message, MessageKind, PeerError, PeerReader, PeerRefusal, PeerWriter,
};
use crate::raft::MemberNode;
use rstmdb_types::error::reason;

/// What is said before it is known who speaks.
pub(super) const TALK_BYTES_MAX: u64 = 64 << 10;

/// Bytes to another node and back.
pub trait PeerStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> PeerStream for S {}

/// A connection on which both sides said who they are.
pub(super) struct PeerLink {
    pub(super) incoming: PeerReader<ReadHalf<Box<dyn PeerStream>>>,
    pub(super) outgoing: PeerWriter<WriteHalf<Box<dyn PeerStream>>>,
    pub(super) theirs: Hello,
    /// What the other side presented, on a connection that came, until it is known to be its own.
    pub(super) presented: Option<CertificateDer<'static>>,
}

impl PeerLink {
    pub(super) fn over(stream: Box<dyn PeerStream>, node: &PeerNode, theirs: Hello) -> PeerLink {
        let (reading, writing) = tokio::io::split(stream);
        let incoming = PeerReader::new(reading, Decoder::limited(TALK_BYTES_MAX));
        let incoming = incoming.within(node.memory.clone(), node.patience);
        PeerLink { incoming, outgoing: PeerWriter::new(writing), theirs, presented: None }
    }

    /// Sends a message, and waits for what is said to it.
    pub(super) async fn ask(
        &mut self,
        message: &Message,
        patience: Duration,
    ) -> Result<Message, PeerError> {
        let Hello { levels, name, release, .. } = &self.theirs;
        if message.kind().level() > levels.peer.to {
            // It would end the connection.
            let what = format!("{name} runs {release}, which knows no {}", message.kind());
            return Err(PeerError::Refusing(PeerRefusal::new(reason::UNSUPPORTED, what)));
        }
        self.outgoing.send_within(message, patience).await?;
        self.answer(patience).await
    }

    pub(super) async fn answer(&mut self, patience: Duration) -> Result<Message, PeerError> {
        match self.incoming.next_within(patience).await? {
            Message::Refused(refusal) => Err(PeerError::Refused(refusal)),
            answer => Ok(answer),
        }
    }
}

pub(super) fn unexpected(kind: MessageKind, awaited: &'static str) -> PeerError {
    PeerError::Unexpected { kind, awaited }
}

/// Without TLS nobody proves who they are: that is for one machine.
pub(super) fn needs_tls(address: SocketAddr) -> Option<PeerRefusal> {
    let is_here = address.ip().is_loopback() || address.ip().to_canonical().is_loopback();
    (!is_here).then(|| {
        let what = format!(
            "{address} is not on this machine: nodes on several machines prove who they are by certificates, so set \
             cluster.tls_cert_path, cluster.tls_key_path and cluster.tls_ca_path on all of them"
        );
        PeerRefusal::new(reason::INVALID_OPTION, what)
    })
}

fn failed(what: impl std::fmt::Display) -> PeerError {
    PeerError::Io(std::io::Error::other(what.to_string()))
}

/// Connects, and says hello.
pub(super) async fn dial(node: &PeerNode, address: &str) -> Result<PeerLink, PeerError> {
    match timeout(node.patience, connect(node, address)).await {
        Ok(connected) => connected,
        Err(_) => Err(PeerError::Silent { after: node.patience }),
    }
}

async fn connect(node: &PeerNode, address: &str) -> Result<PeerLink, PeerError> {
    let tcp = TcpStream::connect(address).await?;
    let stream: Box<dyn PeerStream> = match node.tls() {
        Some(tls) => {
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(host_of(address).to_owned()).map_err(failed)?;
            let connected = TlsConnector::from(tls.client).connect(name, tcp).await;
            Box::new(connected.map_err(|error| told(error, address))?)
        }
        None => {
            if let Some(refusal) = needs_tls(tcp.peer_addr()?) {
                return Err(PeerError::Refusing(refusal));
            }
            tcp.set_nodelay(true)?;
            Box::new(tcp)
        }
    };
    let confirmed = node.all_confirmed();
    let mine = node.hello();
    let mut link = PeerLink::over(stream, node, mine.clone());
    // In TLS 1.3 what the other side thinks of a certificate comes with its first answer.
    let said = link.ask(&Message::Hello(mine.clone()), node.patience).await;
    let said = said.map_err(|error| match error {
        PeerError::Io(error) => told(error, address),
        other => other,
    });
    link.theirs = match said? {
        Message::Hello(theirs) => theirs,
        other => return Err(unexpected(other.kind(), "a hello")),
    };
    let refusal = node.refuses(&mine, &link.theirs);
    match refusal.or_else(|| PeerNode::older_copy(&confirmed, &link.theirs)) {
        Some(refusal) => {
            // It may be gone.
            let _ = link.outgoing.send(&Message::Refused(refusal.clone())).await;
            Err(PeerError::Refusing(refusal))
        }
        None => {
            link.incoming.allow(u64::MAX);
            Ok(link)
        }
    }
}

/// What a node says that was asked to be taken into its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinAnswer {
    /// It is a member now.
    Member {
        /// Its number.
        node: u16,
        /// The id of the group's database.
        database: [u8; 16],
    },
    /// This address takes such requests; nothing: none is known now.
    Elsewhere(String),
    /// The node that was asked belongs to no group itself.
    NoGroup {
        /// It.
        uuid: [u8; 16],
    },
}

/// Asks a node to be taken into its group, or tells it where this node is now.
pub async fn ask_to_join(
    node: &PeerNode,
    address: &str,
    member: &MemberNode,
) -> Result<JoinAnswer, PeerError> {
    let mut link = dial(node, address).await?;
    if link.theirs.node == 0 {
        return Ok(JoinAnswer::NoGroup { uuid: link.theirs.uuid });
    }
    let words = serde_json::to_string(member).map_err(failed)?;
    match link.ask(&Message::Join(words), node.patience).await? {
        Message::Joined { node, database } => Ok(JoinAnswer::Member { node, database }),
        Message::Elsewhere { address } => Ok(JoinAnswer::Elsewhere(address)),
        other => Err(unexpected(other.kind(), "whether this node may join")),
    }
}
