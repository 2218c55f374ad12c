//! The handle that callers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rstmdb_protocol::Command;
use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_types::error::reason;
use rstmdb_types::{
    Error, OperationRequest, Result, WatchAllRequest, WatchAllResult, WatchInstanceRequest,
    WatchInstanceResult,
};

use crate::connect::{Server, Settings};
use crate::connection;
use crate::decode::{Call, Seed, plainly};
use crate::error::invalid_option;
use crate::lane::Lane;
use crate::options::Options;
use crate::park;
use crate::pending::{Pending, Watching};
use crate::request::{Outgoing, Repeat, Reply};
use crate::runtime;
use crate::slot::Slot;
use crate::tls;
use crate::watch::{Follow, Subscription};

/// Room in a frame for what is around the parameters of a request.
const ENVELOPE_BYTES: usize = 128;

/// A client of a server. Cloning gives another handle; closed when the last one is dropped.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

struct Handle {
    lanes: Box<[Arc<Lane>]>,
    next: AtomicUsize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = self.handle.lanes.first().map(|lane| &lane.settings.options);
        f.debug_tuple("Client").field(&options).finish()
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
        let tls = match options.tls.clone() {
            Some(tls) => Some(runtime::unblock(move || tls::config(&tls)).await?),
            None => None,
        };
        let settings = Arc::new(Settings { options, tls });
        let lanes: Box<[Arc<Lane>]> = (0..settings.options.pool_size)
            .map(|_| Arc::new(Lane::new(settings.clone())))
            .collect();
        let client = Client { handle: Arc::new(Handle { lanes, next: AtomicUsize::new(0) }) };
        let connected = Slot::new();
        for (number, lane) in client.handle.lanes.iter().enumerate() {
            let first = (number == 0).then(|| connected.clone());
            runtime::spawn(connection::run(lane.clone(), first))?;
        }
        connected.take().await?;
        Ok(client)
    }

    /// As [`Client::connect`], for a thread.
    pub fn connect_blocking(options: Options) -> Result<Client> {
        park::wait(Client::connect(options))
    }

    /// What is known about the server; none while there is no connection.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.handle.lanes.iter().find_map(|lane| lane.server())
    }

    /// Sends a request. Any number may be in flight; beyond the bound they wait for their turn.
    ///
    /// Errors beside those of the operation: reason `connection_lost` or `timeout` when nothing was
    /// changed, `outcome_unknown` when a write was sent and not answered, `unsupported` when the
    /// server is too old, `closed` after [`Client::close`].
    pub fn submit<R: Call>(&self, request: &R) -> Pending<R::Result> {
        let command = Command::Database(R::OPERATION);
        let name = |error: Error| error.with_operation(R::OPERATION.wire_name());
        let params = match serialise(request) {
            Ok(params) => params,
            Err(error) => return Pending::failed(name(error), R::read),
        };
        let lane = self.lane();
        let slot = Slot::new();
        let reply = Reply::Caller(slot.clone());
        let mut outgoing = Outgoing::new(command, params, request.repeat(), reply);
        outgoing.needs = request.needs();
        outgoing.older = R::OLDER;
        outgoing.deadline = lane.deadline();
        Pending::send(lane, outgoing, slot, request.seed(), R::read)
    }

    /// Follows the events of one instance.
    pub fn watch_instance(&self, request: WatchInstanceRequest) -> Watching<WatchInstanceResult> {
        self.watch::<WatchInstanceRequest>(Follow::Instance(request))
    }

    /// Follows the events of all instances that pass the filters.
    pub fn watch_all(&self, request: WatchAllRequest) -> Watching<WatchAllResult> {
        self.watch::<WatchAllRequest>(Follow::All(request))
    }

    fn watch<R: OperationRequest>(&self, follow: Follow) -> Watching<R::Result> {
        let lane = self.lane();
        let watch = lane.watch(follow);
        let subscription = Subscription::new(lane.clone(), watch.clone());
        let (command, params, needs) = watch.request();
        let slot = Slot::new();
        let reply = Reply::Watch(watch, Some(slot.clone()));
        let mut outgoing = Outgoing::new(command, params, Repeat::Always, reply);
        outgoing.needs = needs;
        outgoing.deadline = lane.deadline();
        let pending = Pending::send(lane, outgoing, slot, Seed::Nothing, plainly::<R::Result>);
        Watching { pending, subscription: Some(subscription) }
    }

    /// Takes no more requests, says good-bye and ends the connections. Closing twice is fine.
    ///
    /// Requests in flight that are not answered by then fail; watches end.
    pub async fn close(&self) {
        self.handle.start_closing();
        for lane in &self.handle.lanes {
            lane.ended.raised().await;
        }
    }

    /// As [`Client::close`], for a thread.
    pub fn close_blocking(&self) {
        park::wait(self.close());
    }

    /// The connections take turns.
    fn lane(&self) -> &Arc<Lane> {
        let lanes = &self.handle.lanes;
        let number = match lanes.len() {
            1 => 0,
            count => self.handle.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        // There is at least one: see `check`.
        lanes.get(number).unwrap_or_else(|| unreachable!("lane {number}"))
    }
}

impl Handle {
    fn start_closing(&self) {
        for lane in &self.lanes {
            lane.closing.raise();
        }
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

fn serialise<R: Call>(request: &R) -> Result<String> {
    let params = request.params().map_err(|error| {
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
