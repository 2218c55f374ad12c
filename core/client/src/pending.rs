//! Results that a server has not sent yet.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_threads::{Oneshot, park};
use rstmdb_types::{Error, Operation, OperationRequest, Outcome, Result};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use crate::connect::ConnectSettings;
use crate::decode::{Asked, newest_offset};
use crate::error::{closed, malformed};
use crate::lane::Lane;
use crate::request::{Answered, Outgoing};
use crate::subscription::Subscription;

type Entering =
    Pin<Box<dyn Future<Output = std::result::Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// A result to come. Wait for it with [`Pending::wait`], or await it, on any executor.
///
/// Dropping it stops the waiting, not the request.
#[must_use = "a result is known only after waiting"]
pub struct Pending<T> {
    /// The request, as long as too many others are in flight.
    held: Option<(Arc<Lane>, Outgoing, Entering)>,
    slot: Arc<Oneshot<Answered>>,
    asked: Asked,
    /// Wants to know how far the answer has come.
    seen: Option<Arc<ConnectSettings>>,
    take: fn(Outcome) -> Option<T>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(ready: {})", self.is_ready())
    }
}

impl Pending<Outcome> {
    /// Sends the request, now if there is room for it.
    pub(crate) fn send(
        lane: &Arc<Lane>,
        mut outgoing: Outgoing,
        slot: Arc<Oneshot<Answered>>,
        asked: Asked,
    ) -> Pending<Outcome> {
        outgoing.deadline = lane.deadline();
        let bytes = outgoing.params.len();
        let held = match lane.try_enter(bytes) {
            Some(permit) => {
                outgoing.permit = Some(permit);
                lane.push(outgoing);
                None
            }
            None => Some((lane.clone(), outgoing, Box::pin(lane.enter(bytes)) as Entering)),
        };
        let seen = lane.settings.seen.is_wanted().then(|| lane.settings.clone());
        Pending { held, slot, asked, seen, take: Some }
    }

    /// A request that failed before it was sent.
    pub(crate) fn failed(error: Error) -> Pending<Outcome> {
        let slot = Oneshot::new();
        slot.put(Err(error));
        let asked = Asked::Operation(Operation::Ping);
        Pending { held: None, slot, asked, seen: None, take: Some }
    }

    /// The result of a request of type `R`.
    pub fn of<R: OperationRequest>(self) -> Pending<R::Result> {
        let Pending { held, slot, asked, seen, .. } = self;
        Pending { held, slot, asked, seen, take: R::take }
    }
}

impl<T> Pending<T> {
    /// Whether waiting would return at once.
    pub fn is_ready(&self) -> bool {
        self.held.is_none() && self.slot.is_ready()
    }

    /// Waits until the request is among those in flight: their number is bounded.
    pub fn wait_until_sent(&mut self) {
        let _ = park::poll_for(None, |context| self.poll_send(context));
    }

    /// Waits for the result.
    pub fn wait(self) -> Result<T> {
        park::wait(self)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some((_, _, entering)) = &mut self.held else { return Poll::Ready(()) };
        let permit = std::task::ready!(entering.as_mut().poll(context));
        if let Some((lane, mut outgoing, _)) = self.held.take() {
            match permit {
                Ok(permit) => {
                    outgoing.permit = Some(permit);
                    lane.push(outgoing);
                }
                Err(_) => outgoing.answer(Err(closed())),
            }
        }
        Poll::Ready(())
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        std::task::ready!(self.poll_send(context));
        let answer = std::task::ready!(self.slot.poll(context))?;
        let outcome = answer.read(|text| self.asked.read(text, &answer.server))?;
        if let (Some(settings), Some(offset)) = (&self.seen, newest_offset(&outcome)) {
            settings.seen.note(offset);
        }
        // An operation has the outcome of its own row of the table.
        Poll::Ready((self.take)(outcome).ok_or_else(|| malformed("it is another operation's")))
    }
}

/// A watch to come. Wait for it with [`Watching::wait`], or await it, on any executor.
#[derive(Debug)]
#[must_use = "a watch begins only after waiting"]
pub struct Watching<T> {
    pub(crate) pending: Pending<T>,
    /// Here until it is handed out.
    pub(crate) subscription: Option<Subscription>,
}

impl<T> Watching<T> {
    /// Whether waiting would return at once.
    pub fn is_ready(&self) -> bool {
        self.pending.is_ready()
    }

    /// Waits until the watch has begun.
    pub fn wait(self) -> Result<(T, Subscription)> {
        park::wait(self)
    }
}

impl<T> Future for Watching<T> {
    type Output = Result<(T, Subscription)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = std::task::ready!(Pin::new(&mut self.pending).poll(context))?;
        let Some(mut subscription) = self.subscription.take() else {
            return Poll::Ready(Err(closed()));
        };
        subscription.begun();
        Poll::Ready(Ok((result, subscription)))
    }
}
