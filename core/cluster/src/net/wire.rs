//! What the library sends by.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use rstmdb_types::{Error, ErrorCode};

use super::convert;
use super::dial::{PeerLink, unexpected};
use super::line::{Line, dial_member, gone};
use super::local::PeerNode;
use super::pipeline::{AppendAnswer, Pipeline};
use crate::follow::on_thread;
use crate::peer::{Appended, Chunk, Frames, Handover, Heartbeat, Message, Offer, PeerError};
use crate::raft::{MemberNode, RaftSnapshot, SnapshotFile, TypeConfig, Vote, said_members};

/// A checkpoint goes over in pieces of so many bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// A member may take so long to lay a checkpoint into its directory.
const INSTALL: Duration = Duration::from_secs(600);

/// Makes the ways to the other members.
pub struct TcpNetwork {
    node: Arc<PeerNode>,
    /// For what must not wait behind frames.
    control: BTreeMap<u64, Line>,
}

impl TcpNetwork {
    /// The network as this node sees it.
    pub fn new(node: Arc<PeerNode>) -> TcpNetwork {
        TcpNetwork { node, control: BTreeMap::new() }
    }

    fn control(&mut self, to: u64, member: &MemberNode) -> Line {
        let line = || Line::new(self.node.clone(), to, member.peer.clone());
        self.control.entry(to).or_insert_with(line).clone()
    }

    fn wire(&mut self, to: u64, member: &MemberNode) -> Wire {
        let (control, address) = (self.control(to, member), member.peer.clone());
        let frames = Pipeline::new(self.node.clone(), to, address.clone());
        Wire { node: self.node.clone(), to, address, control, frames }
    }
}

impl std::fmt::Debug for TcpNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpNetwork({:?})", self.node)
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wire({} at {})", self.to, self.address)
    }
}

impl RaftNetworkFactory<TypeConfig> for TcpNetwork {
    type Network = Wire;

    async fn new_client(&mut self, to: u64, member: &MemberNode) -> Wire {
        self.wire(to, member)
    }

    async fn new_heartbeat_client(&mut self, to: u64, member: &MemberNode) -> Wire {
        self.wire(to, member)
    }

    async fn new_snapshot_client(&mut self, to: u64, member: &MemberNode) -> Wire {
        self.wire(to, member)
    }
}

/// The way to one member.
pub struct Wire {
    node: Arc<PeerNode>,
    to: u64,
    address: String,
    control: Line,
    frames: Pipeline,
}

impl Wire {
    async fn ask(&self, message: Message) -> Result<Message, RPCError<TypeConfig>> {
        self.control.ask(message, self.node.patience).await.map_err(gone)
    }

    async fn elect(
        &self,
        message: Message,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(message).await? {
            Message::Voted(verdict) => Ok(convert::verdict_in(verdict)),
            other => Err(gone(unexpected(other.kind(), "a vote"))),
        }
    }

    async fn hand_over(&self, vote: &Vote, snapshot: RaftSnapshot) -> Result<Vote, PeerError> {
        let address = self.node.address_of(self.to).unwrap_or_else(|| self.address.clone());
        let mut link = dial_member(&self.node, self.to, &address).await?;
        let RaftSnapshot { meta, snapshot } = snapshot;
        let last = meta.last_log_id.as_ref().ok_or_else(|| nothing("the log is empty"))?;
        let handover = Message::Handover(Handover {
            vote: convert::vote_out(vote),
            last: convert::entry_out(last),
            members: said_members(&meta.last_membership)
                .ok_or_else(|| nothing("nobody belongs to the group"))?,
            offer: Offer { at: snapshot.at, bytes: snapshot.bytes },
        });
        let from = match link.ask(&handover, self.node.patience).await? {
            Message::Fetch { position } => position,
            // A later leader is known there.
            Message::Installed(vote) => return Ok(convert::vote_in(vote)),
            other => return Err(unexpected(other.kind(), "the place to go on in the checkpoint")),
        };
        self.send_bytes(&mut link, &snapshot, from).await?;
        self.send_frames(&mut link, &snapshot).await?;
        match link.answer(INSTALL).await? {
            Message::Installed(vote) => Ok(convert::vote_in(vote)),
            other => Err(unexpected(other.kind(), "whether the checkpoint is in its place")),
        }
    }

    async fn send_bytes(
        &self,
        link: &mut PeerLink,
        snapshot: &SnapshotFile,
        mut position: u64,
    ) -> Result<(), PeerError> {
        loop {
            let source = snapshot.source.clone();
            let bytes = on_thread(move || {
                let mut bytes = vec![0; CHUNK_BYTES];
                let length = source.read_at(&mut bytes, position)?;
                bytes.truncate(length);
                Ok(bytes)
            });
            let bytes = bytes.await?;
            let length = bytes.len() as u64;
            let chunk = Message::Chunk(Chunk { position, bytes });
            link.outgoing.send_within(&chunk, self.node.patience).await?;
            position += length;
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn send_frames(
        &self,
        link: &mut PeerLink,
        snapshot: &SnapshotFile,
    ) -> Result<(), PeerError> {
        let (mut next, until) = (snapshot.at.index + 1, snapshot.at.until);
        let mark = Heartbeat { epoch: 0, committed: until, committed_offset: snapshot.at.offset };
        while next <= until {
            let source = snapshot.source.clone();
            let frames = on_thread(move || Ok(source.frames(next, until)?)).await?;
            let last = frames.last().ok_or_else(|| nothing("frames of the log are gone"))?;
            next = last.index() + 1;
            let message = Message::Frames(Frames { mark, frames });
            link.outgoing.send_within(&message, self.node.patience).await?;
        }
        Ok(())
    }
}

fn nothing(what: &str) -> PeerError {
    let what = format!("a checkpoint can't be handed over: {what}");
    PeerError::Engine(Error::new(ErrorCode::ReplicationError, what))
}

impl RaftNetworkV2<TypeConfig> for Wire {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let last =
            request.entries.last().map(RaftEntry::index).or(request.prev_log_id.map(|id| id.index));
        let decided = request.leader_commit.map(|id| id.index).min(last);
        let append = Message::Append(convert::append_out(request));
        match self.ask(append).await? {
            Message::Appended(appended) => {
                if let (Appended::All, Some(decided)) = (appended, decided) {
                    // Frames are counted from 1.
                    self.node.confirmed(self.to, decided + 1);
                }
                Ok(convert::appended_in(appended))
            }
            other => Err(gone(unexpected(other.kind(), "what became of frames"))),
        }
    }

    // Frames do not wait for what is said to those before them.
    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendAnswer>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move { Ok(self.frames.run(requests)) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.elect(Message::Vote(convert::candidacy_out(&request))).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.elect(Message::PreVote(convert::candidacy_out(&request))).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            handed_over = self.hand_over(&vote, snapshot) => match handed_over {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => {
                    tracing::warn!("handing a checkpoint over to node {} failed: {error}", self.to);
                    Err(StreamingError::Unreachable(Unreachable::new(&error)))
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let succession = Message::Succeed(convert::succession_out(&request));
        match self.ask(succession).await? {
            Message::Succeeded(true) => Ok(Ok(())),
            Message::Succeeded(false) => Err(gone(nothing("the next leader is not ready"))),
            other => Err(gone(unexpected(other.kind(), "whether a node may lead next"))),
        }
    }
}
