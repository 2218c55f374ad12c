//! Connections that come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::{StreamExt, unfold};
use openraft::raft::AppendEntriesResponse;
use parking_lot::{Mutex, RwLock};
use rstmdb_engine::Location;
use rstmdb_types::error::reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::{self, told};
use super::convert;
use super::dial::{PeerLink, PeerStream, TALK_BYTES_MAX, needs_tls, unexpected};
use super::local::PeerNode;
use super::pass::{PassedOn, SessionDoor};
use super::receive::Received;
use crate::peer::{
    AppendFrames, Decoder, Handover, Hello, Message, MessageKind, PassedSession, PeerError,
    PeerReader, PeerRefusal, PeerWriter,
};
use crate::raft::{JoinOutcome, MemberNode, RaftNode, RaftSnapshot, SnapshotFile, snapshot_meta};

/// Connections whose other end said who it is not yet.
const STRANGERS_MAX: usize = 32;
/// Connections of one member: some of each kind, and some whose end was not noticed yet.
const OF_A_MEMBER_MAX: usize = 16;
/// Invitations of a node that belongs to no group.
const INVITATIONS_MAX: usize = 16;
/// Who does not say so within this time is no member.
const HELLO: Duration = Duration::from_secs(5);

/// What was refused.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Connections that were ended with a reason.
    pub refused: AtomicU64,
    /// Connections for which there was no room.
    pub dropped: AtomicU64,
}

/// Answers members, and nodes that want to be one.
pub struct PeerDesk {
    node: Arc<PeerNode>,
    location: Location,
    raft: RwLock<Option<Arc<RaftNode>>>,
    strangers: Arc<Semaphore>,
    members: Mutex<BTreeMap<u16, Arc<Semaphore>>>,
    /// One checkpoint at a time comes into the directory.
    receiving: tokio::sync::Mutex<()>,
    /// Where members are that invited this node.
    invitations: Mutex<BTreeSet<String>>,
    /// Where sessions go that members pass on.
    sessions: RwLock<Option<SessionDoor>>,
    counts: PeerCounts,
    /// Where it is found out who comes.
    elsewhere: OnceLock<Handle>,
}

impl std::fmt::Debug for PeerDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerDesk({:?})", self.node)
    }
}

impl PeerDesk {
    /// A desk for a node that takes part in no group yet.
    pub fn new(node: Arc<PeerNode>, location: Location) -> PeerDesk {
        PeerDesk {
            node,
            location,
            raft: RwLock::default(),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            members: Mutex::default(),
            receiving: tokio::sync::Mutex::default(),
            invitations: Mutex::default(),
            sessions: RwLock::default(),
            counts: PeerCounts::default(),
            elsewhere: OnceLock::new(),
        }
    }

    /// The node takes part from now on, or no more.
    pub fn takes_part(&self, raft: Option<Arc<RaftNode>>) {
        *self.raft.write() = raft;
    }

    /// Where members are that invited this node while it belonged to no group.
    pub fn invitations(&self) -> BTreeSet<String> {
        self.invitations.lock().clone()
    }

    /// It is found out on this runtime who comes, so that certificates of strangers keep no member waiting.
    pub fn greet_on(&self, runtime: Handle) {
        let _ = self.elsewhere.set(runtime);
    }

    /// Sessions that members pass on go there from now on.
    pub fn hand_sessions_to(&self, sessions: SessionDoor) {
        *self.sessions.write() = Some(sessions);
    }

    /// What was refused so far.
    pub fn counts(&self) -> &PeerCounts {
        &self.counts
    }

    /// Answers until it is dropped.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as too many open files: soon there may be room.
                    tracing::warn!("a connection of another node could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = self.strangers.clone().try_acquire_owned() else {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                let what =
                    format!("too many connections at once: that of {} was dropped", address.ip());
                self.node.remark(what);
                continue;
            };
            let desk = self.clone();
            connections.spawn(async move { desk.serve(tcp, address, place).await });
        }
    }

    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        let (desk, elsewhere) = (self.clone(), self.elsewhere.get());
        let greet = async move { timeout(HELLO, desk.greet(tcp, address)).await };
        let greeted = match elsewhere {
            Some(runtime) => runtime.spawn(greet).await,
            None => Ok(greet.await),
        };
        // If it did not come to an end, the runtime stops.
        let Ok(greeted) = greeted else { return };
        let error = match greeted {
            Ok(Ok((link, room))) => {
                drop(place);
                let (who, node) = (link.theirs.name.clone(), link.theirs.node.into());
                let Err(error) = self.converse(link, room).await else { return };
                if let PeerError::Refused(refusal) = &error {
                    return self.node.was_refused(node, refusal);
                }
                if matches!(error, PeerError::Closed { .. } | PeerError::Io(_)) {
                    tracing::debug!("the connection of {who} at {address} ended: {error}");
                    return;
                }
                error
            }
            Ok(Err(error)) => error,
            Err(_) => PeerError::Silent { after: HELLO },
        };
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.node.remark(format!("a connection from {} was refused: {error}", address.ip()));
    }

    async fn greet(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> Result<(PeerLink, Option<OwnedSemaphorePermit>), PeerError> {
        tcp.set_nodelay(true)?;
        let mut presented = None;
        let stream: Box<dyn PeerStream> = match self.node.tls() {
            Some(tls) => {
                let accepted = TlsAcceptor::from(tls.server).accept(tcp).await;
                let accepted = accepted.map_err(|error| told(error, &address.ip().to_string()))?;
                let certificates = accepted.get_ref().1.peer_certificates();
                presented = certificates.and_then(|chain| chain.first()).cloned();
                Box::new(accepted)
            }
            None => Box::new(tcp),
        };
        let (reading, writing) = tokio::io::split(stream);
        let incoming = PeerReader::new(reading, Decoder::limited(TALK_BYTES_MAX));
        let mut incoming = incoming.within(self.node.memory.clone(), self.node.patience);
        let mut outgoing = PeerWriter::new(writing);
        let welcomed = async {
            if self.node.tls().is_none()
                && let Some(refusal) = needs_tls(address)
            {
                return Err(PeerError::Refusing(refusal));
            }
            let theirs = match incoming.next().await? {
                Message::Hello(theirs) => theirs,
                other => return Err(unexpected(other.kind(), "a hello")),
            };
            let mine = self.node.hello();
            if let Some(refusal) =
                self.node.refuses(&mine, &theirs).or_else(|| self.refuses(&theirs))
            {
                return Err(PeerError::Refusing(refusal));
            }
            let room = self.room_for(&theirs)?;
            Ok((theirs, mine, room))
        };
        match welcomed.await {
            Ok((theirs, mine, room)) => {
                outgoing.send(&Message::Hello(mine)).await?;
                if theirs.node != 0 {
                    incoming.allow(u64::MAX);
                }
                Ok((PeerLink { incoming, outgoing, theirs, presented }, room))
            }
            Err(error) => {
                if let Some(refusal) = error.refusal() {
                    // It may be gone.
                    let _ = outgoing.send(&Message::Refused(refusal)).await;
                }
                Err(error)
            }
        }
    }

    /// Why a node that says it is a member is none.
    fn refuses(&self, theirs: &Hello) -> Option<PeerRefusal> {
        let raft = self.raft.read().clone()?;
        let (given, uuid) = raft.known_as(theirs.node)?;
        if theirs.node == 0 {
            return None;
        }
        let name = &theirs.name;
        match uuid {
            Some(uuid) if uuid != crate::hex(&theirs.uuid) => Some(PeerRefusal::new(
                reason::INVALID_OPTION,
                format!(
                    "node {} of the group is another one than {name}: its directory was replaced or wiped. Remove node \
                     {0} (rstmdb-cli cluster remove {0}), and start {name} with an empty directory: it gets a number of its own",
                    theirs.node
                ),
            )),
            None if theirs.node <= given => Some(PeerRefusal::new(
                reason::INVALID_OPTION,
                format!(
                    "node {} ({name}) was removed from the group: start it with an empty directory to have it join again",
                    theirs.node
                ),
            )),
            _ => None,
        }
    }

    fn room_for(&self, theirs: &Hello) -> Result<Option<OwnedSemaphorePermit>, PeerError> {
        if theirs.node == 0 {
            return Ok(None);
        }
        let room = || Arc::new(Semaphore::new(OF_A_MEMBER_MAX));
        let room = self.members.lock().entry(theirs.node).or_insert_with(room).clone();
        room.try_acquire_owned().map(Some).map_err(|_| {
            let what = format!("node {} has {OF_A_MEMBER_MAX} connections already", theirs.node);
            PeerError::Refusing(PeerRefusal::for_now(reason::LIMIT_EXCEEDED, what))
        })
    }

    /// Answers until the connection ends, or becomes a client's.
    async fn converse(
        &self,
        mut link: PeerLink,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), PeerError> {
        let mut next = None;
        loop {
            // A line that is not needed now stays: heartbeats of the system find out whether its end is there.
            let message = match (next.take(), link.theirs.node) {
                (Some(message), _) => message,
                (None, 0) => link.incoming.next_within(HELLO).await?,
                (None, _) => link.incoming.next().await?,
            };
            let answered = match message {
                Message::Append(append) if link.theirs.node != 0 => {
                    self.append(&mut link, append).await.map(|other| {
                        next = other;
                        None
                    })
                }
                Message::Session(session) => match self.place_of_sessions(&mut link) {
                    Ok(place) => {
                        // Counted with the clients from here on.
                        drop(room);
                        return self.hand_over(link, session, place).await;
                    }
                    Err(error) => Err(error),
                },
                message => self.answer(&mut link, message).await.map(Some),
            };
            let answer = match answered {
                Ok(Some(answer)) => answer,
                Ok(None) => continue,
                Err(error) => {
                    if let Some(refusal) = error.refusal() {
                        let refused = Message::Refused(refusal);
                        // It may be gone.
                        let _ = link.outgoing.send_within(&refused, self.node.patience).await;
                    }
                    return Err(error);
                }
            };
            link.outgoing.send_within(&answer, self.node.patience).await?;
        }
    }

    /// Whether a member has a certificate for where it is. One that moved says so first.
    fn check_name(&self, link: &mut PeerLink) -> Result<(), PeerError> {
        if let Some(certificate) = &link.presented
            && let Some(address) = self.node.address_of(link.theirs.node.into())
        {
            certificate::check(certificate, &address)?;
            link.presented = None;
        }
        Ok(())
    }

    /// Where a session goes that comes by this connection.
    fn place_of_sessions(&self, link: &mut PeerLink) -> Result<SessionDoor, PeerError> {
        if link.theirs.node == 0 {
            return Err(unexpected(MessageKind::Session, "that the node wants to join"));
        }
        self.check_name(link)?;
        let sessions = self.sessions.read().clone();
        sessions.filter(|_| self.raft().is_ok_and(|raft| raft.state().is_leading)).ok_or_else(
            || {
                let what = "the node does not lead, and serves no sessions of others";
                PeerError::Refusing(PeerRefusal::for_now(reason::NOT_LEADER, what))
            },
        )
    }

    async fn hand_over(
        &self,
        mut link: PeerLink,
        session: PassedSession,
        sessions: SessionDoor,
    ) -> Result<(), PeerError> {
        link.outgoing.send_within(&Message::SessionBegins, self.node.patience).await?;
        // If nobody takes it any more, the server stops, and the client finds its connection closed.
        let _ = sessions.send(PassedOn { session, stream: link.into_stream() }).await;
        Ok(())
    }

    fn raft(&self) -> Result<Arc<RaftNode>, PeerError> {
        self.raft.read().clone().ok_or_else(|| {
            let what = "the node takes part in no group yet, or is stopping";
            PeerError::Refusing(PeerRefusal::for_now(reason::NOT_LEADER, what))
        })
    }

    /// A member invites this node, which may belong to the group by now: then it is one already.
    fn invited(&self, address: String) -> Message {
        let mut invitations = self.invitations.lock();
        if invitations.len() < INVITATIONS_MAX {
            invitations.insert(address);
        }
        Message::Invited
    }

    async fn answer(&self, link: &mut PeerLink, message: Message) -> Result<Message, PeerError> {
        if let Message::Invite { address } = message {
            return Ok(self.invited(address));
        }
        let raft = self.raft()?;
        let library = raft.raft();
        if let Message::Join(words) = &message {
            if let Some(certificate) = &link.presented
                && let Ok(facts) = serde_json::from_str::<MemberNode>(words)
            {
                certificate::check(certificate, &facts.peer)?;
            }
            return Ok(match raft.join(words, link.theirs.uuid).await? {
                JoinOutcome::Member { node } => {
                    Message::Joined { node, database: self.node.hello().database }
                }
                JoinOutcome::Elsewhere { address } => Message::Elsewhere { address },
            });
        }
        if link.theirs.node == 0 {
            return Err(unexpected(message.kind(), "that the node wants to join"));
        }
        self.check_name(link)?;
        match message {
            // The other side had a look at this one's hello.
            Message::Refused(refusal) => Err(PeerError::Refused(refusal)),
            Message::Vote(candidacy) => {
                let voted = library.vote(convert::candidacy_in(candidacy)).await;
                voted.map(|verdict| Message::Voted(convert::verdict_out(&verdict))).map_err(stopped)
            }
            Message::PreVote(candidacy) => {
                let voted = library.pre_vote(convert::candidacy_in(candidacy)).await;
                voted.map(|verdict| Message::Voted(convert::verdict_out(&verdict))).map_err(stopped)
            }
            Message::Succeed(succession) => {
                let request = convert::succession_in(succession);
                let succeeded = library.handle_transfer_leader(request).await.map_err(stopped)?;
                Ok(Message::Succeeded(succeeded.is_ok()))
            }
            Message::Handover(handover) => self.receive(link, &raft, handover).await,
            Message::Inquire => {
                let words = serde_json::to_string(&raft.report()).map_err(stopped)?;
                Ok(Message::Report(words))
            }
            other => Err(unexpected(other.kind(), "a question of a member")),
        }
    }

    /// Takes frames as they come, and answers each message in turn, while the next ones are read: what was read that is
    /// something else. Nothing when some did not fit: what was sent behind them does not either.
    async fn append(
        &self,
        link: &mut PeerLink,
        first: AppendFrames,
    ) -> Result<Option<Message>, PeerError> {
        let raft = self.raft()?;
        let (requests, given) = mpsc::channel(1);
        let given = unfold(given, |mut given: mpsc::Receiver<_>| async {
            given.recv().await.map(|request| (request, given))
        });
        let mut appended = std::pin::pin!(raft.raft().stream_append(given));
        let (incoming, outgoing) = (&mut link.incoming, &mut link.outgoing);
        let reading = async move {
            let mut append = first;
            loop {
                if requests.send(convert::append_in(append)).await.is_err() {
                    // What did not fit is being answered.
                    std::future::pending::<()>().await;
                }
                append = match incoming.next().await? {
                    Message::Append(append) => append,
                    other => return Ok::<_, PeerError>(other),
                };
            }
        };
        let answering = async {
            while let Some(result) = appended.next().await {
                let answer = AppendEntriesResponse::from(result.map_err(stopped)?);
                let answer = Message::Appended(convert::appended_out(&answer));
                outgoing.send_within(&answer, self.node.patience).await?;
            }
            Ok::<_, PeerError>(())
        };
        let mut answering = std::pin::pin!(answering);
        tokio::select! {
            biased;
            answered = &mut answering => answered.map(|()| None),
            other = reading => {
                let other = other?;
                answering.await?;
                Ok(Some(other))
            }
        }
    }

    async fn receive(
        &self,
        link: &mut PeerLink,
        raft: &RaftNode,
        handover: Handover,
    ) -> Result<Message, PeerError> {
        let Ok(_alone) = self.receiving.try_lock() else {
            let what = "another checkpoint is coming in already";
            return Err(PeerError::Refusing(PeerRefusal::for_now(reason::LOCKED, what)));
        };
        let (mut received, position) = Received::begin(&self.location, &handover).await?;
        let fetch = Message::Fetch { position };
        link.outgoing.send_within(&fetch, self.node.patience).await?;
        let (until, mut is_more) = (handover.offer.at.until, true);
        while is_more {
            let message = link.incoming.next_within(self.node.patience).await?;
            (received, is_more) = received.take(message, until).await?;
        }
        let Handover { vote, last, members, offer } = handover;
        let meta = snapshot_meta(convert::entry_in(last), members)?;
        let source = Arc::new(received);
        let snapshot = SnapshotFile { at: offer.at, bytes: offer.bytes, source };
        let snapshot = RaftSnapshot { meta, snapshot };
        let installed = raft.raft().install_full_snapshot(convert::vote_in(vote), snapshot).await;
        let installed = installed.map_err(stopped)?;
        tracing::info!("a checkpoint of {} bytes of another member is in its place", offer.bytes);
        Ok(Message::Installed(convert::vote_out(&installed.vote)))
    }
}

fn stopped(error: impl std::fmt::Display) -> PeerError {
    PeerError::Refusing(PeerRefusal::for_now(reason::CLOSED, format!("the node stopped: {error}")))
}
