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
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::Rcp;
use super::conversation::{Conversation, End};
use super::inbox::{Inbox, Read};
use crate::live::Live;
use crate::metrics::Rejection;

/// How long a closed connection is drained, so that its last answers are not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How much is drained.
const LINGER_BYTES: usize = 1 << 20;

struct Connection<S> {
    stream: S,
    inbox: Inbox,
    core: Conversation,
    opened: Instant,
    partial_since: Option<Instant>,
    /// The client sends no more.
    is_read_closed: bool,
    alarm: Pin<Box<Sleep>>,
    is_alarm_set: bool,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_stopping_watched: bool,
    /// Done when a database is withdrawn or installed, or other settings are in force.
    told: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Set by either.
    is_access_to_be_checked: bool,
    /// Woken for that; there from the first turn on.
    news: Option<Arc<News>>,
    stopped: Arc<AtomicBool>,
}

/// Wakes a connection and says what for: asking has its price, and most turns are for other things.
struct News {
    is_to_be_asked: AtomicBool,
    connection: Waker,
}

impl News {
    fn new(connection: &Waker) -> News {
        News { is_to_be_asked: AtomicBool::new(true), connection: connection.clone() }
    }
}

impl Wake for News {
    fn wake(self: Arc<News>) {
        self.is_to_be_asked.store(true, Ordering::Release);
        self.connection.wake_by_ref();
    }
}

/// Serves a connection until it ends.
pub(crate) fn serve<S>(
    rcp: Arc<Rcp>,
    stream: S,
    address: SocketAddr,
) -> impl Future<Output = End> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let core = Conversation::new(&rcp, address, Instant::now());
    converse(rcp, stream, core)
}

/// The same, with what was said already.
pub(crate) async fn converse<S>(rcp: Arc<Rcp>, stream: S, core: Conversation) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let now = core.active;
    let mut connection = Connection {
        stream,
        inbox: Inbox::new(rcp.memory.clone()),
        opened: now,
        partial_since: None,
        is_read_closed: false,
        alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        is_alarm_set: false,
        stopping: Box::pin(rcp.shutdown.begun()),
        is_stopping_watched: false,
        told: Box::pin(core.caller.told()),
        // One that was passed on here may have come too late.
        is_access_to_be_checked: core.passing.is_some(),
        news: None,
        stopped: rcp.shutdown.flag(),
        core,
    };
    // The connection has all it needs.
    drop(rcp);
    let end = std::future::poll_fn(|context| connection.poll(context)).await;
    let Connection { stream, core, inbox, stopping, .. } = connection;
    let Conversation { session, caller, watches, listed, is_begun, address, passing, .. } = core;
    let rest = inbox.is_empty();
    drop(watches);
    if let (End::Passed, Some((relay, way))) = (end, passing.and_then(|it| it.into_way())) {
        tracing::debug!(%address, "a session is passed on to who leads");
        caller.calls().metrics().passed_on().inc();
        let mut changes = caller.calls().settings().changes();
        // Lets go of the database.
        drop(caller);
        let ended = async move { while !listed.is_to_end() && changes.changed().await.is_ok() {} };
        let over = async move {
            tokio::select! {
                () = stopping => {}
                () = ended => {}
            }
        };
        let stream = Box::pin(relay.carry(stream, inbox.unread(), way, over)).await;
        Box::pin(linger(stream)).await;
        return end;
    }
    drop(listed);
    let calls = caller.calls();
    if end == End::Timeout && !is_begun {
        calls.metrics().rejected(Rejection::HandshakeTimeout).inc();
    }
    let (who, client) = (caller.name(), session.client_name.as_deref());
    tracing::debug!(?end, token = who.as_deref(), client, "connection closed");
    if let (End::Replica, true, Some(driver)) = (end, rest, calls.driver().cloned()) {
        // Lets go of the database.
        drop(caller);
        driver.serve(Box::new(stream), address).await;
        return end;
    }
    // Lets go of the database.
    drop(caller);
    if !matches!(end, End::Broken | End::Timeout) {
        // In a place of its own, as its buffer would be in every connection otherwise.
        Box::pin(linger(stream)).await;
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

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let polled = self.advance(context);
        self.core.caller.publish_counts();
        polled
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        self.watch_news(context);
        let live = self.core.caller.calls().settings().load();
        self.check_revoked(&live);
        loop {
            let mut moved = self.core.finish_job(context, now);
            moved |= self.core.finish_passing(context);
            if moved {
                // What was begun may be a watch.
                self.is_access_to_be_checked = true;
                self.check_revoked(&live);
            }
            moved |= self.core.settle(None, now);
            // Before anybody hears of it.
            self.core.listed.set_watches(self.core.watches.len());
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
            moved |= self.core.tell_topology(&live);
            moved |= self.core.forward_events(&live, context, now);
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
            if !self.core.settle(Some(context), now) {
                break;
            }
        }
        self.poll_alarm(&live, context)
    }

    /// Asks to be woken when the server stops, and when its database is replaced.
    fn watch_news(&mut self, context: &mut Context<'_>) {
        // One registration lasts: the task's waker stays the same.
        if !self.is_stopping_watched {
            self.is_stopping_watched = true;
            let _ = self.stopping.as_mut().poll(context);
        }
        // This one may be woken without news, so it is asked each time that it was woken.
        let news = self.news.get_or_insert_with(|| Arc::new(News::new(context.waker())));
        while news.is_to_be_asked.swap(false, Ordering::AcqRel) {
            let waker = news.clone().into();
            while self.told.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.core.caller.look();
                self.core.watches.ask_all();
                self.told = Box::pin(self.core.caller.told());
                self.is_access_to_be_checked = true;
            }
        }
    }

    /// Ends a session that was ended, or whose token was taken away: nothing more is read, and watches say where to resume.
    fn check_revoked(&mut self, live: &Live) {
        if !std::mem::take(&mut self.is_access_to_be_checked) {
            return;
        }
        let core = &mut self.core;
        let (end, why) = if core.ending.is_some() {
            return;
        } else if core.listed.is_to_end() {
            (End::Ended, Some("it was ended at the control socket"))
        } else if core.caller.is_revoked(live, core.watches.len() > 0) {
            (End::Revoked, Some("its token is not accepted any more"))
        } else if core.is_out_of_place() {
            (End::Led, None)
        } else {
            return;
        };
        if let Some(why) = why {
            tracing::info!(token = core.caller.name().as_deref(), "a session ends: {why}");
        }
        let (mode, dialect) = (core.session.mode, core.session.dialect);
        core.watches.say_goodbye(&mut core.outbox, mode, dialect);
        core.ending = Some(end);
    }

    /// When the server is stopping, what has arrived is answered and no more is read.
    fn check_shutdown(&mut self) -> bool {
        let core = &mut self.core;
        let stops = self.stopped.load(Ordering::Acquire)
            && core.ending.is_none()
            && core.job.is_none()
            && (self.inbox.is_hungry() || core.is_sought());
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
            let bytes_max = if core.caller.is_open(live) {
                network.max_frame_bytes
            } else {
                network.max_frame_bytes_unauthenticated.min(network.max_frame_bytes)
            };
            match inbox.message(core.session.mode, bytes_max) {
                Ok(None) => break,
                Ok(Some((payload, consumed))) => {
                    if !core.request(payload, live, now) {
                        // Its future was made, and is to be polled.
                        return true;
                    }
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
        let handshake =
            (!self.core.is_begun).then(|| after(self.opened, network.handshake_timeout)).flatten();
        // A request that waits for room or runs on another thread takes the time it takes.
        let idle = idle.filter(|_| self.core.job.is_none() && !self.core.is_sought());
        [idle, frame, handshake].into_iter().flatten().min()
    }

    fn poll_alarm(&mut self, live: &Live, context: &mut Context<'_>) -> Poll<End> {
        loop {
            let now = Instant::now();
            let end = self.deadline(live);
            if end.is_some_and(|end| end <= now) {
                return Poll::Ready(End::Timeout);
            }
            let progress = self.core.progress_due();
            let Some(deadline) = end.into_iter().chain(progress).min() else {
                return Poll::Pending;
            };
            if deadline <= now {
                // Another turn tells it.
                context.waker().wake_by_ref();
                return Poll::Pending;
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
