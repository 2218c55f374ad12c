//! One connection: reads requests, has them answered, forwards events, and ends in good order.
//!
//! All of it is one task that is polled: whatever becomes possible is done until nothing is. Nothing
//! here waits for the disk.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rstmdb_protocol::{Command, Malformed, Request, WireMode, message};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Operation, limits};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::answer::{Answer, Form, Job, Served, Written, decode};
use super::dispatch::{dispatch, unknown};
use super::inbox::{FrameMemory, Inbox, Read};
use super::outbox::Outbox;
use super::session::Session;
use super::watches::Watches;
use crate::auth::request_limiter;
use crate::config::{Live, Settings};
use crate::metrics::Rejection;
use crate::shutdown::Shutdown;

/// How long a closed connection is drained, so that its last answers are not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Failed attempts to authenticate after which a connection ends.
const AUTH_FAILURES_MAX: u32 = 10;
/// How much is drained.
const LINGER_BYTES: usize = 1 << 20;

/// What all connections share.
pub(crate) struct Shared {
    pub served: Arc<Served>,
    pub settings: Arc<Settings>,
    pub memory: FrameMemory,
    pub shutdown: Shutdown,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed its side.
    Client,
    /// The client said goodbye.
    Bye,
    /// The client broke the rules of the protocol.
    Protocol,
    /// The client was silent, or stuck in a frame, for too long.
    Timeout,
    /// A subscription ended and the client knows no message for that.
    Watch,
    /// The server stops.
    Shutdown,
    /// The connection broke.
    Broken,
}

struct Connection<'e, S> {
    stream: S,
    inbox: Inbox,
    core: Core<'e>,
    opened: Instant,
    partial_since: Option<Instant>,
    /// The client sends no more.
    is_read_closed: bool,
    alarm: Pin<Box<Sleep>>,
    is_alarm_set: bool,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_stopping_watched: bool,
    stopped: Arc<AtomicBool>,
}

/// What requests act on.
struct Core<'e> {
    shared: &'e Shared,
    session: Session,
    outbox: Outbox<'e>,
    watches: Watches<'e>,
    job: Option<Job>,
    /// Set when the connection ends as soon as what is due was sent.
    ending: Option<End>,
    active: Instant,
    address: SocketAddr,
    auth_failures: u32,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S>(shared: &Shared, stream: S, address: SocketAddr) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let limiter = {
        let live = shared.settings.load();
        request_limiter(live.network.requests_per_second, live.network.request_burst)
    };
    let mut connection = Connection {
        stream,
        inbox: Inbox::new(shared.memory.clone()),
        core: Core {
            shared,
            session: Session::new(limiter),
            outbox: Outbox::new(&shared.served.metrics),
            watches: Watches::new(&shared.served.metrics),
            job: None,
            ending: None,
            active: now,
            address,
            auth_failures: 0,
        },
        opened: now,
        partial_since: None,
        is_read_closed: false,
        alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        is_alarm_set: false,
        stopping: Box::pin(shared.shutdown.begun()),
        is_stopping_watched: false,
        stopped: shared.shutdown.flag(),
    };
    let end = std::future::poll_fn(|context| connection.poll(context)).await;
    let Connection { stream, core: Core { session, watches, .. }, .. } = connection;
    drop(watches);
    if end == End::Timeout && !session.is_open(&shared.settings.load()) {
        shared.served.metrics.rejected(Rejection::HandshakeTimeout).inc();
    }
    let who = session.identity().map(|identity| identity.name.clone());
    let client = session.client_name.as_deref();
    tracing::debug!(?end, token = who.as_deref(), client, "connection closed");
    if !matches!(end, End::Broken | End::Timeout) {
        linger(stream).await;
    }
    end
}

/// Ends the sending side and takes what the client still sends: closing at once would make the system
/// throw away answers that are on their way.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let drain = async {
        stream.shutdown().await?;
        let mut waste = [0; 4096];
        let mut drained = 0;
        while drained < LINGER_BYTES {
            match stream.read(&mut waste).await? {
                0 => break,
                bytes => drained += bytes,
            }
        }
        io::Result::Ok(())
    };
    // Whatever goes wrong now concerns nobody.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let polled = self.advance(context);
        self.core.outbox.publish_counts();
        polled
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        let shared = self.core.shared;
        let live = shared.settings.load();
        self.watch_shutdown(context);
        loop {
            let mut moved = self.core.finish_job(context, now);
            moved |= self.core.outbox.settle(None, now);
            match self.core.outbox.poll_send(&mut self.stream, context) {
                Poll::Ready(Ok(0)) | Poll::Pending => {}
                Poll::Ready(Ok(_)) => {
                    self.core.active = now;
                    moved = true;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            }
            moved |= self.take_requests(&live, now);
            moved |= self.check_shutdown();
            moved |= self.core.forward_events(&live, context);
            moved |= self.read(&live, context, now);
            if moved {
                continue;
            }
            if let Some(end) = self.core.ending
                && self.core.job.is_none()
                && self.core.outbox.open_gates() == 0
                && self.core.outbox.is_empty()
            {
                return Poll::Ready(end);
            }
            if !self.core.outbox.settle(Some(context), now) {
                break;
            }
        }
        self.poll_alarm(&live, context)
    }

    /// Asks to be woken when the server stops.
    fn watch_shutdown(&mut self, context: &mut Context<'_>) {
        // One registration lasts: the task's waker stays the same.
        if !self.is_stopping_watched {
            self.is_stopping_watched = true;
            let _ = self.stopping.as_mut().poll(context);
        }
    }

    /// When the server is stopping, what has arrived is answered and no more is read.
    fn check_shutdown(&mut self) -> bool {
        let core = &mut self.core;
        let stops = self.stopped.load(Ordering::Acquire)
            && core.ending.is_none()
            && core.job.is_none()
            && self.inbox.is_hungry();
        if stops {
            let (mode, dialect) = (core.session.mode, core.session.dialect);
            core.watches.say_goodbye(&mut core.outbox, mode, dialect);
            core.ending = Some(End::Shutdown);
        }
        stops
    }

    /// Answers the requests that have arrived.
    fn take_requests(&mut self, live: &Live, now: Instant) -> bool {
        let mut moved = false;
        let Connection { inbox, core, .. } = self;
        while core.has_room(live) {
            let network = &live.network;
            let bytes_max = if core.session.is_open(live) {
                network.max_frame_bytes
            } else {
                network.max_frame_bytes_unauthenticated.min(network.max_frame_bytes)
            };
            match inbox.message(core.session.mode, bytes_max) {
                Ok(None) => break,
                Ok(Some((payload, consumed))) => {
                    core.request(payload, live, now);
                    if let Some(job) = &mut core.job {
                        job.room = inbox.take_room();
                    }
                    inbox.take(consumed);
                    self.partial_since = None;
                    core.active = now;
                    moved = true;
                }
                Err(error) => {
                    tracing::debug!("closing a connection: {error}");
                    core.ending = Some(End::Protocol);
                }
            }
        }
        if self.is_read_closed
            && self.core.ending.is_none()
            && self.core.job.is_none()
            && self.inbox.is_hungry()
        {
            self.core.ending = Some(End::Client);
        }
        moved
    }

    fn read(&mut self, live: &Live, context: &mut Context<'_>, now: Instant) -> bool {
        let closed = self.is_read_closed || self.stopped.load(Ordering::Acquire);
        if closed || !self.inbox.is_hungry() || !self.core.has_room(live) {
            return false;
        }
        match self.inbox.poll_read(&mut self.stream, context) {
            Poll::Pending => {
                if self.inbox.is_partial() {
                    self.partial_since.get_or_insert(now);
                }
                false
            }
            Poll::Ready(Ok(Read::Some)) => true,
            Poll::Ready(Ok(Read::End)) => {
                self.is_read_closed = true;
                true
            }
            Poll::Ready(Err(_)) => {
                self.core.ending = Some(End::Broken);
                true
            }
        }
    }

    /// When the connection is given up, as things stand.
    fn deadline(&self, live: &Live) -> Option<Instant> {
        let network = &live.network;
        let after = |from: Instant, time: Duration| {
            (!time.is_zero()).then(|| from.checked_add(time)).flatten()
        };
        let idle = after(self.core.active, network.idle_timeout);
        let frame = self
            .partial_since
            .filter(|_| self.core.has_room(live))
            .and_then(|since| after(since, network.frame_timeout));
        let handshake = (!self.core.session.is_open(live))
            .then(|| after(self.opened, network.handshake_timeout))
            .flatten();
        // A request that runs on another thread takes the time it takes.
        let idle = idle.filter(|_| self.core.job.is_none());
        [idle, frame, handshake].into_iter().flatten().min()
    }

    fn poll_alarm(&mut self, live: &Live, context: &mut Context<'_>) -> Poll<End> {
        loop {
            let now = Instant::now();
            let Some(deadline) = self.deadline(live) else { return Poll::Pending };
            if deadline <= now {
                return Poll::Ready(End::Timeout);
            }
            // An alarm that rings early is set again; one that would ring late is set at once.
            let rings = self.alarm.deadline().into_std();
            if self.is_alarm_set && now < rings && rings <= deadline {
                return Poll::Pending;
            }
            self.alarm.as_mut().reset(deadline.into());
            self.is_alarm_set = true;
            if self.alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Core<'_> {
    /// Takes the answer of the request that ran on another thread.
    fn finish_job(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let Some(job) = &mut self.job else { return false };
        let Poll::Ready(finished) = Pin::new(&mut job.task).poll(context) else { return false };
        let Some(job) = self.job.take() else { return false };
        let written = finished.unwrap_or_else(|failure| {
            tracing::error!(command = job.form.command.wire_name(), "a request failed: {failure}");
            let mut bytes = Vec::new();
            let error =
                Error::new(ErrorCode::InternalError, "the request failed inside the server");
            let error = job.form.write::<Value>(Err(error), &mut bytes);
            Written { bytes, error, watch: None }
        });
        self.outbox.buffer().extend_from_slice(&written.bytes);
        self.outbox.answered(&job.asked, written.error, now);
        self.active = now;
        if let Some(watch) = written.watch {
            self.watches.add(watch);
        }
        true
    }

    /// Whether another request may be begun.
    fn has_room(&self, live: &Live) -> bool {
        self.ending.is_none()
            && self.job.is_none()
            && self.outbox.open_gates() < live.network.max_in_flight_requests.max(1)
            && self.outbox.waiting_bytes() <= live.network.max_buffered_response_bytes
    }

    fn request(&mut self, payload: &[u8], live: &Live, now: Instant) {
        if self.session.mode == WireMode::Lines && payload.trim_ascii().is_empty() {
            return;
        }
        match Request::parse(payload) {
            Ok(request) => self.answer(&request, live, now),
            Err(Malformed { id: Some(id), message }) => {
                let error = Error::invalid(reason::INVALID_REQUEST, message);
                message::refuse(self.outbox.buffer(), self.session.mode, &id, &error);
                self.shared.served.metrics.error(error.code()).inc();
            }
            Err(Malformed { id: None, message }) => {
                tracing::debug!("closing a connection: {message}");
                self.ending = Some(End::Protocol);
            }
        }
    }

    fn answer(&mut self, request: &Request<'_>, live: &Live, now: Instant) {
        let params = request.params_text();
        let Some(command) = Command::from_wire_name(&request.op) else {
            let error = unknown(request);
            message::refuse(self.outbox.buffer(), self.session.mode, &request.id, &error);
            return self.shared.served.metrics.error(error.code()).inc();
        };
        self.session.count();
        let admitted = self.session.admit(command, live);
        let hello =
            (command == Command::Hello && admitted.is_ok()).then(|| self.session.hello(params));
        let answer = Answer {
            served: &self.shared.served,
            outbox: &mut self.outbox,
            // The answer to a hello is in the mode that was agreed on.
            form: Form {
                id: request.id.as_ref().into(),
                command,
                mode: self.session.mode,
                dialect: self.session.dialect,
            },
            began: now,
        };
        if let Err(error) = admitted {
            return answer.refuse(error);
        }
        match command {
            Command::Database(Operation::WatchInstance | Operation::WatchAll)
                if self.watches.len() >= live.network.max_subscriptions =>
            {
                let most = live.network.max_subscriptions;
                let checked = limits::check("watches", most + 1, "max_subscriptions", most);
                answer.with::<Value>(checked.map(|()| &Value::Null));
            }
            Command::Database(operation) => self.job = dispatch(answer, operation, params),
            Command::Hello => match hello {
                Some(Ok(hello)) => answer.with(Ok(&hello)),
                Some(Err(error)) => answer.refuse(error),
                None => {}
            },
            Command::Auth => match self.session.auth(params, live, &self.shared.served.metrics) {
                Ok(result) => answer.with(Ok(&result)),
                Err(error) => {
                    answer.refuse(error);
                    self.auth_failed();
                }
            },
            Command::Bye => {
                answer.with(Ok(&json!({ "goodbye": true })));
                self.ending = Some(End::Bye);
            }
            Command::Unwatch => match decode::<Unwatch>(command, params) {
                Ok(Unwatch { subscription_id }) => {
                    let removed = self.watches.remove(&subscription_id);
                    let result = json!({ "subscription_id": subscription_id, "removed": removed });
                    answer.with(Ok(&result));
                }
                Err(error) => answer.refuse(error),
            },
        }
    }

    /// Says so once, without a word of what the client sent, and has patience for a few.
    fn auth_failed(&mut self) {
        self.auth_failures += 1;
        if self.auth_failures == 1 {
            tracing::warn!(address = %self.address, "a client failed to authenticate");
        }
        if self.auth_failures >= AUTH_FAILURES_MAX {
            self.ending = Some(End::Protocol);
        }
    }

    fn forward_events(&mut self, live: &Live, context: &mut Context<'_>) -> bool {
        if self.watches.len() == 0 || self.ending.is_some() {
            return false;
        }
        let form = (self.session.mode, self.session.dialect);
        let bytes_max = live.network.max_buffered_response_bytes.max(1);
        let (forwarded, broken) = self.watches.forward(&mut self.outbox, form, bytes_max, context);
        if broken {
            self.ending = Some(End::Watch);
        }
        forwarded
    }
}

#[derive(serde::Deserialize)]
struct Unwatch {
    subscription_id: String,
}
