//! A request on its way, and who waits for its answer.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rstmdb_protocol::message::Incoming;
use rstmdb_protocol::{ReadMode, WireCommand};
use rstmdb_threads::Oneshot;
use rstmdb_types::{Error, Result};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{closed, malformed};
use crate::options::Endpoint;
use crate::server::ServerInfo;
use crate::watch::Watch;

/// The answer to a request, or why there is none.
pub(crate) type Answered = Result<RawAnswer>;

/// The answer of a success. Who waits for it reads it.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub payload: Box<[u8]>,
    /// Where the result stands in the payload, when that is known.
    pub result: Option<Range<usize>>,
    pub server: Arc<ServerInfo>,
}

impl RawAnswer {
    /// Reads the result from its JSON text.
    pub(crate) fn read<T>(&self, read: impl Fn(&[u8]) -> serde_json::Result<T>) -> Result<T> {
        let range = self.result.clone().filter(|_| self.server.extended);
        if let Some(Ok(result)) = range.and_then(|range| self.payload.get(range)).map(&read) {
            return Ok(result);
        }
        // Other servers, newer ones too, may put members behind the result.
        match Incoming::parse(&self.payload).map_err(|error| malformed(&error.message))? {
            Incoming::Response { outcome, .. } => {
                let result = outcome?.map_or("{}", |raw| raw.get());
                read(result.as_bytes()).map_err(|error| malformed(&error.to_string()))
            }
            _ => Err(malformed("it is not an answer")),
        }
    }
}

/// Whether a request may be sent again after it may have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Always,
    /// Its key sees to it that it is done once, on a server that keeps keys.
    Keyed,
    /// It may be done twice.
    Never,
}

/// Takes the parameters of a request, and says them so that an older server does what is meant.
pub(crate) type Reword = fn(&str) -> serde_json::Result<String>;

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Nobody: the request is part of keeping the connection in order.
    Nobody,
    Caller(Arc<Oneshot<Answered>>),
    /// A watch; with a caller when it begins, without when it goes on.
    Watch(Arc<Watch>, Option<Arc<Oneshot<Answered>>>),
}

/// How often, where and why servers did not take a request.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub count: u32,
    /// How often it was to wait.
    pub pauses: u32,
    /// The servers that will not take it.
    pub hosts: Vec<Endpoint>,
    /// The last one's error.
    pub error: Option<Error>,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub command: WireCommand,
    /// JSON text.
    pub params: String,
    pub repeat: Repeat,
    /// What an older server lacks for it.
    pub needs: Option<&'static str>,
    /// Says it in the words of an older server.
    pub older: Option<Reword>,
    pub deadline: Option<Instant>,
    /// From then on it may leave a node that says nothing.
    pub impatient_at: Option<Instant>,
    /// How often it was sent in vain.
    pub attempts: u32,
    /// It was on a connection that is gone, and may have been done there.
    pub was_sent: bool,
    pub refusals: Option<Box<Refusals>>,
    /// How fresh what it reads has to be.
    pub read: ReadMode,
    /// Its place among the requests of a connection.
    pub order: u64,
    /// Its share of the bound on requests in flight.
    pub permit: Option<OwnedSemaphorePermit>,
    /// Gone when it was answered.
    reply: Option<Waiter>,
}

impl Outgoing {
    pub(crate) fn new(
        command: WireCommand,
        params: String,
        repeat: Repeat,
        reply: Waiter,
    ) -> Outgoing {
        Outgoing {
            command,
            params,
            repeat,
            needs: None,
            older: None,
            deadline: None,
            impatient_at: None,
            attempts: 0,
            was_sent: false,
            refusals: None,
            read: ReadMode::Linearizable,
            order: 0,
            permit: None,
            reply: Some(reply),
        }
    }

    /// The error of the server that refused it last.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        self.refusals.as_ref()?.error.as_ref()
    }

    pub(crate) fn is_for_nobody(&self) -> bool {
        matches!(self.reply, None | Some(Waiter::Nobody))
    }

    /// The watch that the request begins or takes up again.
    pub(crate) fn watch(&self) -> Option<&Arc<Watch>> {
        match &self.reply {
            Some(Waiter::Watch(watch, _)) => Some(watch),
            _ => None,
        }
    }

    /// The watch that the request takes up again.
    pub(crate) fn resumed_watch(&self) -> Option<&Arc<Watch>> {
        match &self.reply {
            Some(Waiter::Watch(watch, None)) => Some(watch),
            _ => None,
        }
    }

    /// Hands the outcome to who waits for it.
    pub(crate) fn answer(mut self, outcome: Answered) {
        // The next one may enter before this one's caller is woken.
        self.permit = None;
        self.put(outcome);
    }

    /// Drops the request without an answer: nobody waits for one.
    pub(crate) fn forget(mut self) {
        self.reply = None;
    }

    fn put(&mut self, outcome: Answered) {
        let name = |error: Error| match error.operation() {
            Some(_) => error,
            None => error.with_operation(self.command.wire_name()),
        };
        let outcome = outcome.map_err(name);
        match self.reply.take() {
            None | Some(Waiter::Nobody) => {}
            Some(Waiter::Caller(slot)) => slot.put(outcome),
            Some(Waiter::Watch(watch, caller)) => {
                if let Err(error) = &outcome {
                    watch.end(Some(error.clone()));
                }
                if let Some(slot) = caller {
                    slot.put(outcome);
                }
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Nobody is left waiting for ever, whatever went wrong.
        if self.reply.is_some() {
            self.put(Err(closed()));
        }
    }
}
