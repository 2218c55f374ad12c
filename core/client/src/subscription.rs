//! The reader's end of a watch.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rstmdb_protocol::message::Incoming;
use rstmdb_threads::park;
use rstmdb_types::{InstanceEvent, Json, LogPosition, Offset, Result};

use crate::error::{closed, malformed};
use crate::lane::Lane;
use crate::watch::{Queued, Taken, Watch};

/// A stream of events in log order. Dropping it ends the subscription; until then the client stays connected,
/// also when nobody else has a handle to it.
///
/// After a lost connection it goes on where it stopped, without gap or duplicate; it waits for the
/// server as long as it takes. What the server's log no longer holds, or holds otherwise (reason
/// `history_diverged`), or an older server can't replay, is an error and the end of the stream. The type is also a [`futures_core::Stream`].
#[derive(Debug)]
pub struct Subscription {
    lane: Arc<Lane>,
    watch: Arc<Watch>,
    position: LogPosition,
    ended: bool,
    /// A handle to the client: the last one to go ends the connections.
    _client: Arc<dyn Any + Send + Sync>,
}

impl Subscription {
    pub(crate) fn new(
        client: Arc<dyn Any + Send + Sync>,
        lane: Arc<Lane>,
        watch: Arc<Watch>,
    ) -> Subscription {
        let position = LogPosition::default();
        Subscription { lane, watch, position, ended: false, _client: client }
    }

    /// Takes over where the watch begins.
    pub(crate) fn begun(&mut self) {
        self.position = self.watch.start();
    }

    /// The offset to resume from after the events received so far.
    ///
    /// Where the filters leave much out it moves on too, when the server tells: with its answers to keep-alives, and
    /// otherwise within about a second. An older server does not, and then it follows the events alone.
    pub fn resume_offset(&self) -> Offset {
        self.position.next
    }

    /// That offset, and the history that the change before it belongs to, where the server tells it.
    pub fn position(&self) -> &LogPosition {
        &self.position
    }

    /// Asks for the next event; the stream ends when the client is closed.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (queued, caught_up) = match self.watch.take(context) {
            Taken::Event { queued, caught_up } => (queued, caught_up),
            Taken::Nothing { wanted, ended } => {
                if wanted.next > self.position.next {
                    self.position = wanted;
                }
                let Some(error) = ended else { return Poll::Pending };
                self.ended = true;
                return Poll::Ready(error.map(Err));
            }
        };
        if caught_up {
            self.lane.resume(&self.watch);
        }
        let event = self.read(&queued);
        match &event {
            Ok(event) => {
                if self.lane.settings.seen.is_wanted() {
                    self.lane.settings.seen.note(event.wal_offset);
                }
                self.position.next = event.wal_offset + 1;
                if event.history_id.is_some() {
                    self.position.history_id.clone_from(&event.history_id);
                }
            }
            Err(_) => self.ended = true,
        }
        Poll::Ready(Some(event))
    }

    fn read(&self, queued: &Queued) -> Result<InstanceEvent> {
        match Incoming::parse(&queued.payload).map_err(|error| malformed(&error.message))? {
            Incoming::Event { mut event, .. } => {
                if !queued.extended && event.ctx.is_none() && self.watch.include_ctx() {
                    // Older servers know a context of null.
                    event.ctx = Some(Json::empty_object());
                }
                // A history that stays the same is told once.
                if queued.extended && event.history_id.is_none() {
                    event.history_id.clone_from(&queued.history_id);
                }
                Ok(*event)
            }
            _ => Err(malformed("it is not an event")),
        }
    }

    /// Waits for the next event; `None` when the client was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<InstanceEvent>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Waits for the next event; `None` when the client was closed.
    pub fn next_blocking(&mut self) -> Option<Result<InstanceEvent>> {
        park::wait(self.next())
    }

    /// Waits at most `timeout` for the next event; `None` when none came in time.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<InstanceEvent>> {
        match park::poll_for(Some(timeout), |context| self.poll_event(context)) {
            Some(Some(event)) => event.map(Some),
            Some(None) => Err(closed()),
            None => Ok(None),
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<InstanceEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.lane.forget(&self.watch);
    }
}
