//! The handle that callers share.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::{ReadMode, WireCommand};
use rstmdb_threads::{Oneshot, park};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, OperationRequest, Outcome, Place, Request, Result};

use crate::connect::{ConnectSettings, SeenOffset};
use crate::connection;
use crate::decode::{self, Asked};
use crate::error::invalid_option;
use crate::nodes::Nodes;
use crate::options::{Endpoint, Options};
use crate::pending::{Pending, Watching};
use crate::request::{Outgoing, Repeat, Waiter};
use crate::routes::Routes;
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
    read: ReadMode,
}

struct Handle(Arc<Routes>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.settings().options).finish()
    }
}

impl Client {
    /// Connects to the first of the endpoints that answers, each tried once, and from there to the one that takes
    /// writes, if it says that another one does.
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
        let nodes = Nodes::new(options.endpoints.clone(), options.zone.clone());
        let read = options.read;
        let settings = ConnectSettings { options, tls, nodes, seen: SeenOffset::default() };
        let client = Client { handle: Arc::new(Handle(Routes::new(Arc::new(settings)))), read };
        client.want_seen();
        let connected = Oneshot::new();
        let (first, others) = client.routes().home();
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
        let (first, others) = self.routes().home();
        std::iter::once(first).chain(others).find_map(|lane| lane.server())
    }

    /// Where writes are taken, when servers tell.
    pub fn leader(&self) -> Option<Endpoint> {
        self.settings().nodes.leader()
    }

    /// Who was elected to take writes, when servers that elect tell; who was last, while there is nobody.
    pub fn elected(&self) -> Option<Endpoint> {
        self.settings().nodes.elected()
    }

    /// The same client, whose reads have to be as fresh as `mode` says.
    ///
    /// Errors: `BAD_REQUEST`, reason `invalid_option`, for [`ReadMode::Bounded`] without
    /// [`max_lag`](Options::max_lag).
    pub fn reading(&self, mode: ReadMode) -> Result<Client> {
        if mode == ReadMode::Bounded && self.settings().options.max_lag.is_none() {
            let message = "bounded reads need to know how far behind is too far; set max_lag";
            return Err(invalid_option("max_lag", message));
        }
        let client = Client { handle: self.handle.clone(), read: mode };
        client.want_seen();
        Ok(client)
    }

    fn want_seen(&self) {
        if self.read == ReadMode::Session {
            self.settings().seen.want();
        }
    }

    fn routes(&self) -> &Arc<Routes> {
        &self.handle.0
    }

    fn settings(&self) -> &Arc<ConnectSettings> {
        &self.routes().settings
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
                let asked = Asked::of(&request);
                if self.read == ReadMode::Linearizable {
                    return Pending::send(self.routes().next_home(), outgoing, slot, asked);
                }
                if outgoing.repeat == Repeat::Always {
                    outgoing.read = self.read;
                }
                Pending::send(&self.routes().of(&request, self.read), outgoing, slot, asked)
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
        let lane = self.routes().next_home();
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
        for lane in self.routes().lanes() {
            lane.ended.raised().await;
        }
    }

    /// As [`Client::close`], for a thread.
    pub fn close_blocking(&self) {
        park::wait(self.close());
    }
}

impl Handle {
    fn start_closing(&self) {
        self.0.lanes().iter().for_each(|lane| lane.closing.raise());
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
    options.check_reads()
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
