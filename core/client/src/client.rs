//! The handle that callers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rstmdb_protocol::WireCommand;
use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_threads::{Oneshot, park};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, OperationRequest, Outcome, Place, Request, Result};

use crate::connect::ConnectSettings;
use crate::connection;
use crate::decode::{self, Asked};
use crate::error::invalid_option;
use crate::lane::Lane;
use crate::options::Options;
use crate::pending::{Pending, Watching};
use crate::request::{Outgoing, Repeat, Waiter};
use crate::runtime;
use crate::server::ServerInfo;
use crate::subscription::Subscription;
use crate::tls;
use crate::watch::Follow;

/// Room in a frame for what is around the parameters of a request.
const ENVELOPE_BYTES: usize = 128;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A client of a server. Cloning gives another handle; closed when the last one is dropped.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

struct Handle {
    first: Arc<Lane>,
    others: Vec<Arc<Lane>>,
    next: AtomicUsize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.handle.first.settings.options).finish()
    }
}

impl Client {
    /// Connects to the first of the endpoints that answers; each is tried once.
    ///
    /// Errors: kind `Unavailable`, reason `connection_lost`, when none can be reached; kind
    /// `Unauthorized` when the token is refused; `BAD_REQUEST`, reason `invalid_option`, when a
    /// setting or a certificate can't be used.
    pub async fn connect(options: Options) -> Result<Client> {
        check(&options)?;
        let options = in_reach(options);
        let tls = match options.tls.clone() {
            Some(tls) => Some(runtime::unblock(move || tls::config(&tls)).await?),
            None => None,
        };
        let settings = Arc::new(ConnectSettings { options, tls });
        let lane = || Arc::new(Lane::new(settings.clone()));
        let others = (1..settings.options.pool_size).map(|_| lane()).collect();
        let handle = Handle { first: lane(), others, next: AtomicUsize::new(0) };
        let client = Client { handle: Arc::new(handle) };
        let connected = Oneshot::new();
        let Handle { first, others, .. } = &*client.handle;
        runtime::spawn(connection::run(first.clone(), Some(connected.clone())))?;
        for lane in others {
            // They connect when there is something for them to do.
            runtime::spawn(connection::run(lane.clone(), None))?;
        }
        connected.take().await?;
        Ok(client)
    }

    /// As [`Client::connect`], for a thread.
    pub fn connect_blocking(options: Options) -> Result<Client> {
        park::wait(Client::connect(options))
    }

    /// What is known about the server; none while there is no connection.
    pub fn server(&self) -> Option<Arc<ServerInfo>> {
        self.handle.lanes().find_map(|lane| lane.server())
    }

    /// Sends a request. Any number may be in flight; beyond the bound they wait for their turn.
    ///
    /// Errors beside those of the operation: reason `connection_lost` or `timeout` when nothing was
    /// changed, `outcome_unknown` when a write was sent and not answered, `unsupported` when the
    /// server is too old, `closed` after [`Client::close`].
    pub fn submit(&self, request: Request) -> Pending<Outcome> {
        let operation = request.operation();
        let failed = |error: Error| Pending::failed(error.with_operation(operation.wire_name()));
        if operation.place() == Place::Stream {
            let message = "a watch is a stream of events; subscribe to it";
            return failed(Error::invalid(reason::INVALID_REQUEST, message));
        }
        match serialise(&request) {
            Ok(params) => {
                let slot = Oneshot::new();
                let reply = Waiter::Caller(slot.clone());
                let command = WireCommand::Database(operation);
                let mut outgoing = Outgoing::new(command, params, decode::repeat(&request), reply);
                outgoing.needs = decode::needs(&request);
                outgoing.older = decode::older(operation);
                Pending::send(self.lane(), outgoing, slot, Asked::of(&request))
            }
            Err(error) => failed(error),
        }
    }

    /// As [`Client::submit`], of a request whose type is known.
    pub fn call<R: OperationRequest>(&self, request: R) -> Pending<R::Result> {
        self.submit(request.into_request()).of::<R>()
    }

    /// Begins a watch.
    pub fn subscribe(&self, request: Request) -> Watching<Outcome> {
        let operation = request.operation();
        let follow = match request {
            Request::WatchInstance(request) => Follow::Instance(request),
            Request::WatchAll(request) => Follow::All(request),
            _ => {
                let message = "only watches can be subscribed to";
                let error = Error::invalid(reason::INVALID_REQUEST, message)
                    .with_operation(operation.wire_name());
                return Watching { pending: Pending::failed(error), subscription: None };
            }
        };
        let lane = self.lane();
        let watch = lane.watch(follow);
        let subscription =
            Some(Subscription::new(self.handle.clone(), lane.clone(), watch.clone()));
        let (command, params, needs) = watch.request();
        let slot = Oneshot::new();
        let reply = Waiter::Watch(watch, Some(slot.clone()));
        let mut outgoing = Outgoing::new(command, params, Repeat::Always, reply);
        outgoing.needs = needs;
        let pending = Pending::send(lane, outgoing, slot, Asked::Operation(operation));
        Watching { pending, subscription }
    }

    /// As [`Client::subscribe`], of a request whose type is known.
    pub fn watch<R: OperationRequest>(&self, request: R) -> Watching<R::Result> {
        let Watching { pending, subscription } = self.subscribe(request.into_request());
        Watching { pending: pending.of::<R>(), subscription }
    }

    /// Takes no more requests, says good-bye and ends the connections. Closing twice is fine.
    ///
    /// Requests in flight that are not answered by then fail; watches end.
    pub async fn close(&self) {
        self.handle.start_closing();
        for lane in self.handle.lanes() {
            lane.ended.raised().await;
        }
    }

    /// As [`Client::close`], for a thread.
    pub fn close_blocking(&self) {
        park::wait(self.close());
    }

    /// The connections take turns.
    fn lane(&self) -> &Arc<Lane> {
        let Handle { first, others, .. } = &*self.handle;
        let number = match others.len() {
            0 => 0,
            count => self.handle.next.fetch_add(1, Ordering::Relaxed) % (count + 1),
        };
        number.checked_sub(1).and_then(|number| others.get(number)).unwrap_or(first)
    }
}

impl Handle {
    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn start_closing(&self) {
        self.lanes().for_each(|lane| lane.closing.raise());
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.start_closing();
    }
}

fn check(options: &Options) -> Result<()> {
    if options.endpoints.is_empty() {
        return Err(invalid_option("endpoints", "there is no server to connect to; name one"));
    }
    if options.pool_size == 0 || options.in_flight_max == 0 {
        return Err(invalid_option("pool_size", "pool_size and in_flight_max must be at least 1"));
    }
    Ok(())
}

/// Longer times than anyone waits would be beyond what a clock can tell.
fn in_reach(mut options: Options) -> Options {
    for time in [
        &mut options.connect_timeout,
        &mut options.request_timeout,
        &mut options.keep_alive,
        &mut options.retry.backoff_min,
        &mut options.retry.backoff_max,
    ] {
        *time = (*time).min(YEAR);
    }
    options
}

fn serialise(request: &Request) -> Result<String> {
    let params = decode::params(request).map_err(|error| {
        let message = format!("the request is not JSON: {error}");
        Error::invalid(reason::INVALID_REQUEST, message)
    })?;
    let limit = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES;
    if params.len() <= limit {
        return Ok(params);
    }
    let size = params.len();
    let message = format!("the request has {size} bytes, more than a frame holds; split it");
    Err(Error::invalid(reason::LIMIT_EXCEEDED, message)
        .with("limit", "max_frame_bytes")
        .with("limit_value", limit)
        .with("size", size))
}
