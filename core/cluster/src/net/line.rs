//! A connection to one member, kept for as long as somebody asks by it.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{RPCError, Unreachable};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::dial::{PeerLink, dial};
use super::local::PeerNode;
use crate::peer::{Message, PeerError};
use crate::raft::TypeConfig;

/// Questions that wait for their turn.
const WAITING_MAX: usize = 64;
/// Whoever refuses for good is left alone for so long, however often it is asked.
const BARRED: Duration = Duration::from_secs(1);

struct Question {
    message: Message,
    patience: Duration,
    answer: oneshot::Sender<Result<Message, PeerError>>,
}

/// Asks a member one thing after the other. Who gives up waiting does not end the connection: what is said to it is
/// read and forgotten.
#[derive(Clone)]
pub(super) struct Line {
    questions: mpsc::Sender<Question>,
}

impl Line {
    /// A line to a member, which is where the log says, or else at this address. It connects when it is needed.
    pub(super) fn new(node: Arc<PeerNode>, to: u64, address: String) -> Line {
        let (questions, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(answer(node, to, address, queue));
        Line { questions }
    }

    pub(super) async fn ask(
        &self,
        message: Message,
        patience: Duration,
    ) -> Result<Message, PeerError> {
        let (answer, answered) = oneshot::channel();
        let gone = || PeerError::Closed { in_message: false };
        self.questions.send(Question { message, patience, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn answer(
    node: Arc<PeerNode>,
    to: u64,
    address: String,
    mut questions: mpsc::Receiver<Question>,
) {
    let mut kept: Option<(String, PeerLink)> = None;
    let mut barred: Option<Instant> = None;
    while let Some(Question { message, patience, answer }) = questions.recv().await {
        // Nobody waits for it any more; the next one is newer.
        if answer.is_closed() {
            continue;
        }
        if barred.is_some_and(|end| Instant::now() < end) {
            let what = format!("there was no way to node {to} a moment ago");
            let _ = answer.send(Err(PeerError::Io(std::io::Error::other(what))));
            continue;
        }
        let now = node.address_of(to).unwrap_or_else(|| address.clone());
        let old = kept.take().filter(|(at, _)| *at == now);
        let answered = match old {
            Some((_, link)) => match talk(link, &message, patience).await {
                // It may have been closed long ago: all that is asked may be asked twice.
                Err(PeerError::Closed { .. } | PeerError::Io(_)) => {
                    begin(&node, to, &now, &message, patience).await
                }
                answered => answered,
            },
            None => begin(&node, to, &now, &message, patience).await,
        };
        let answered = answered.map(|(link, message)| {
            kept = Some((now, link));
            message
        });
        barred = match &answered {
            Err(PeerError::Unproven(_)) => Some(Instant::now() + BARRED),
            Err(PeerError::Refused(refusal) | PeerError::Refusing(refusal))
                if !refusal.retryable =>
            {
                Some(Instant::now() + BARRED)
            }
            _ => None,
        };
        // It may have given up waiting.
        let _ = answer.send(answered);
    }
}

async fn begin(
    node: &PeerNode,
    to: u64,
    address: &str,
    message: &Message,
    patience: Duration,
) -> Result<(PeerLink, Message), PeerError> {
    let link = dial_member(node, to, address).await?;
    talk(link, message, patience).await
}

/// What the library is told when a member can't be asked.
pub(super) fn gone(error: PeerError) -> RPCError<TypeConfig> {
    tracing::debug!("a member can't be reached: {error}");
    RPCError::Unreachable(Unreachable::new(&error))
}

/// Connects to a member, if it is the one that answers there.
pub(super) async fn dial_member(
    node: &PeerNode,
    to: u64,
    address: &str,
) -> Result<PeerLink, PeerError> {
    let dialled = dial(node, address).await;
    match &dialled {
        Ok(_) => node.is_refused(to, None),
        Err(PeerError::Refused(refusal)) => node.was_refused(to, refusal),
        Err(PeerError::Unproven(what)) => node.is_refused(to, Some(what.clone())),
        Err(PeerError::Refusing(refusal)) if !refusal.retryable => {
            node.remark(format!("node {to} is refused: {}", refusal.message));
        }
        Err(_) => {}
    }
    let link = dialled?;
    if u64::from(link.theirs.node) == to {
        return Ok(link);
    }
    let what = format!("node {} answers at {address}, where node {to} should be", link.theirs.node);
    Err(PeerError::Io(std::io::Error::other(what)))
}

async fn talk(
    mut link: PeerLink,
    message: &Message,
    patience: Duration,
) -> Result<(PeerLink, Message), PeerError> {
    let answer = link.ask(message, patience).await?;
    Ok((link, answer))
}
