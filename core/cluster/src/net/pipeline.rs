//! Frames on their way to one member: several messages at a time, answered in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt, unfold};
use openraft::base::BoxStream;
use openraft::entry::RaftEntry;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use tokio::time::{Instant, timeout_at};

use super::convert;
use super::dial::{PeerLink, unexpected};
use super::line::{dial_member, gone};
use super::local::PeerNode;
use crate::peer::{Message, PeerError};
use crate::raft::{LogId, TypeConfig};

/// Messages that may be under way. Each has all that was written since the one before, so few are enough.
const UNDER_WAY_MAX: usize = 16;

/// What is said to a request, or why nothing is.
pub(super) type AppendAnswer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// The way to a member.
pub(super) struct Pipeline {
    node: Arc<PeerNode>,
    to: u64,
    address: String,
    /// A connection on which nothing is under way, and where it leads.
    kept: Option<(String, PeerLink)>,
}

/// What was sent and not answered yet.
struct UnderWay {
    before: Option<LogId>,
    last: Option<LogId>,
    /// The last frame that is known to be committed, among those that the other side has when it takes these.
    decided: Option<u64>,
    patience_ends: Instant,
}

/// Requests that come, and the connection by which they go.
struct Flow<'s, S> {
    pipeline: &'s mut Pipeline,
    link: Option<(String, PeerLink)>,
    requests: S,
    has_ended: bool,
    under_way: VecDeque<UnderWay>,
    is_over: bool,
}

impl Pipeline {
    pub(super) fn new(node: Arc<PeerNode>, to: u64, address: String) -> Pipeline {
        Pipeline { node, to, address, kept: None }
    }

    /// Sends requests as they come; gives what is said to them.
    pub(super) fn run<'s, S>(&'s mut self, requests: S) -> BoxStream<'s, AppendAnswer>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let mut link = self.kept.take();
        // One that ended meanwhile says so at once.
        if link.as_mut().is_some_and(|(_, link)| link.incoming.next().now_or_never().is_some()) {
            link = None;
        }
        let flow = Flow {
            link,
            pipeline: self,
            requests,
            has_ended: false,
            under_way: VecDeque::new(),
            is_over: false,
        };
        Box::pin(unfold(flow, |mut flow| async {
            let answered = flow.next().await?;
            Some((answered, flow))
        }))
    }
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Flow<'_, S> {
    async fn next(&mut self) -> Option<AppendAnswer> {
        if self.is_over {
            return None;
        }
        let answered = self.answer().await;
        self.is_over |= !matches!(answered, Ok(Some(Ok(_))));
        match answered {
            Ok(Some(answered)) => Some(Ok(answered)),
            Ok(None) => {
                self.pipeline.kept = self.link.take();
                None
            }
            Err(error) => Some(Err(gone(error))),
        }
    }

    /// The next answer; nothing when all requests are answered.
    async fn answer(&mut self) -> Result<Option<StreamAppendResult<TypeConfig>>, PeerError> {
        loop {
            let first = self.under_way.front().map(|sent| sent.patience_ends);
            let has_room = !self.has_ended && self.under_way.len() < UNDER_WAY_MAX;
            if first.is_none() && !has_room {
                return Ok(None);
            }
            let link = &mut self.link;
            let patience = self.pipeline.node.patience;
            let answer = async {
                let (Some(ends), Some((_, link))) = (first, link) else {
                    return std::future::pending().await;
                };
                match timeout_at(ends, link.incoming.next()).await {
                    Ok(answer) => answer,
                    Err(_) => Err(PeerError::Silent { after: patience }),
                }
            };
            tokio::select! {
                biased;
                answer = answer => return self.read(answer?).map(Some),
                request = self.requests.next(), if has_room => match request {
                    Some(request) => self.send(request).await?,
                    None => self.has_ended = true,
                },
            }
        }
    }

    fn read(&mut self, answer: Message) -> Result<StreamAppendResult<TypeConfig>, PeerError> {
        let appended = match answer {
            Message::Appended(appended) => convert::appended_in(appended),
            Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
            other => return Err(unexpected(other.kind(), "what became of frames")),
        };
        let Some(UnderWay { before, last, decided, .. }) = self.under_way.pop_front() else {
            return Err(unexpected(crate::peer::MessageKind::Appended, "nothing"));
        };
        if let (AppendEntriesResponse::Success, Some(decided)) = (&appended, decided) {
            // Frames are counted from 1.
            self.pipeline.node.confirmed(self.pipeline.to, decided + 1);
        }
        // Only a part was taken: what is behind it does not fit.
        if let AppendEntriesResponse::PartialSuccess(reached) = &appended
            && *reached != last
        {
            self.is_over = true;
        }
        Ok(appended.into_stream_result(before, last))
    }

    async fn send(&mut self, request: AppendEntriesRequest<TypeConfig>) -> Result<(), PeerError> {
        let Pipeline { node, to, address, .. } = &*self.pipeline;
        let before = request.prev_log_id;
        let last = request.entries.last().map(RaftEntry::log_id).or(before);
        let decided = request.leader_commit.map(|id| id.index).min(last.map(|id| id.index));
        let message = Message::Append(convert::append_out(request));
        let now = node.address_of(*to).unwrap_or_else(|| address.clone());
        // It may have been closed long ago: then it is made anew, as long as nothing is under way.
        let is_idle = self.under_way.is_empty();
        let kept = self.link.take().filter(|(at, _)| *at == now || !is_idle);
        let sent = match kept {
            Some((at, mut link)) => {
                let sent = link.outgoing.send_within(&message, node.patience).await;
                sent.map(|()| (at, link))
            }
            None => Err(PeerError::Closed { in_message: false }),
        };
        self.link = Some(match sent {
            Err(PeerError::Closed { .. } | PeerError::Io(_)) if is_idle => {
                let mut link = dial_member(node, *to, &now).await?;
                link.outgoing.send_within(&message, node.patience).await?;
                (now, link)
            }
            sent => sent?,
        });
        let patience_ends = Instant::now() + node.patience;
        self.under_way.push_back(UnderWay { before, last, decided, patience_ends });
        Ok(())
    }
}
