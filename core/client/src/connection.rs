//! The task of a lane: connects when there is a reason to, writes, reads, and starts over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_protocol::frame::WireMode;
use rstmdb_protocol::{WireCommand, message};
use rstmdb_threads::Oneshot;
use rstmdb_types::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::backoff;
use crate::connect::{self, Stream};
use crate::error::lost;
use crate::lane::{Lane, Link, Part, ToSend};
use crate::options::Retry;
use crate::server::ServerInfo;

/// The room for what arrives in one read.
const READ_BYTES: usize = 64 << 10;
/// Buffers larger than this are given back once they are empty.
const KEPT_BYTES: usize = 1 << 20;
/// So many servers in a row are left at once; then there are pauses.
const HOPS_MAX: u32 = 4;
/// The longest pause while nobody is known to take writes.
const ELECTION_PAUSE_MAX: Duration = Duration::from_millis(250);
/// How long saying good-bye may take.
const BYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection is over.
enum Exit {
    Closed,
    Lost(Error),
    /// Another server is to be asked.
    Switch(Error),
}

/// Runs a lane until it is closed. `first` is told how the first connect went, which is tried at
/// once; without it the lane waits for something to do.
pub(crate) async fn run(lane: Arc<Lane>, first: Option<Arc<Oneshot<Result<Arc<ServerInfo>>>>>) {
    // Whatever happens here, nobody waits for ever.
    let lane = Ending(lane);
    tokio::select! {
        () = serve(&lane.0, first) => {}
        () = watch_the_clock(&lane.0) => {}
    }
}

struct Ending(Arc<Lane>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn watch_the_clock(lane: &Lane) {
    loop {
        let next = lane.expire(Instant::now());
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = lane.sooner.notified() => {}
        }
    }
}

async fn serve(lane: &Arc<Lane>, mut first: Option<Arc<Oneshot<Result<Arc<ServerInfo>>>>>) {
    let retry = &lane.settings.options.retry;
    // Connects that failed, and connections that were soon lost, in a row.
    let (mut failures, mut short_lives) = (0u32, 0u32);
    // Servers that were left for others, in a row.
    let mut hops = 0u32;
    let nodes = &lane.settings.nodes;
    // The host to begin with, among those that were given.
    let mut first_host = 0;
    loop {
        if first.is_none() && !wait_for_work(lane).await {
            return;
        }
        let towards = lane.towards();
        let hosts = lane.hosts(towards.as_ref(), first_host);
        // Who is sent somewhere goes there, whatever else is said.
        let follows = lane.part == Part::Home && towards.is_none();
        let connected = tokio::select! {
            connected = connect::any(&lane.settings, &hosts, follows) => connected,
            () = lane.closing.raised() => return,
        };
        let failure = match connected {
            Ok(connected) => {
                failures = 0;
                let server = connected.server.clone();
                first_host = nodes.number(&server.endpoint).unwrap_or(first_host);
                let link = Link { server, dead: Arc::default() };
                lane.attach(link.clone());
                // Whoever connected finds the connection there.
                if let Some(first) = first.take() {
                    first.put(Ok(link.server.clone()));
                }
                let began = Instant::now();
                match converse(lane, &link, connected.stream, connected.buffer).await {
                    Exit::Closed => return,
                    Exit::Switch(error) => {
                        first_host += 1;
                        lane.lose(&error);
                        hops = if began.elapsed() > retry.backoff_max { 0 } else { hops + 1 };
                        if !pause_between(lane, hops).await {
                            return;
                        }
                        continue;
                    }
                    Exit::Lost(error) => {
                        lane.lose(&error);
                        // A server that is there and drops everyone is not asked in a tight loop.
                        if began.elapsed() > retry.backoff_max {
                            short_lives = 0;
                            continue;
                        }
                        short_lives = short_lives.saturating_add(1);
                        None
                    }
                }
            }
            Err(error) => Some(error),
        };
        if let (Some(error), Some(first)) = (&failure, first.take()) {
            first.put(Err(error.clone()));
            return;
        }
        if let Some(error) = failure {
            let is_over = !error.retryable() || failures >= retry.attempts;
            if is_over || lane.reads_elsewhere() {
                lane.fail_waiting(&error);
            }
            failures = failures.saturating_add(1);
        }
        let attempt = failures.saturating_add(short_lives).saturating_sub(1);
        tokio::select! {
            () = tokio::time::sleep(backoff::pause(retry, attempt)) => {}
            () = lane.closing.raised() => return,
        }
    }
}

/// Waits before another server is asked, where that is called for; false when the lane is to be closed.
async fn pause_between(lane: &Lane, hops: u32) -> bool {
    if !lane.pauses() && hops <= HOPS_MAX {
        return true;
    }
    let retry = &lane.settings.options.retry;
    let retry = Retry { backoff_max: retry.backoff_max.min(ELECTION_PAUSE_MAX), ..retry.clone() };
    tokio::select! {
        () = tokio::time::sleep(backoff::pause(&retry, hops).max(retry.backoff_min)) => true,
        () = lane.closing.raised() => false,
    }
}

/// Waits until a connection is of use; false when the lane is to be closed.
async fn wait_for_work(lane: &Lane) -> bool {
    while !lane.wants_connection() {
        tokio::select! {
            () = lane.work.notified() => {}
            () = lane.closing.raised() => return false,
        }
    }
    !lane.closing.is_raised()
}

async fn converse(lane: &Arc<Lane>, link: &Link, stream: Stream, buffer: Vec<u8>) -> Exit {
    let place = &link.server.endpoint;
    let (reader, writer) = tokio::io::split(stream);
    let gone = |what: &str| Exit::Lost(lost(place, what));
    tokio::select! {
        written = write(lane, writer) => match written {
            Ok(Over::Closed) => Exit::Closed,
            Ok(Over::Switch) => Exit::Switch(lost(place, "another server is asked")),
            Err(error) => gone(&error.to_string()),
        },
        what = read(lane, reader, buffer) => {
            if lane.closing.is_raised() { Exit::Closed } else { gone(&what) }
        }
        () = link.dead.notified() => gone("the server does not answer"),
    }
}

/// Why nothing more is written.
enum Over {
    Closed,
    Switch,
}

/// Writes what there is to write, gathered.
async fn write(lane: &Lane, mut writer: impl AsyncWrite + Unpin) -> std::io::Result<Over> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        if lane.closing.is_raised() {
            return say_goodbye(writer).await;
        }
        match lane.take(&mut buffer) {
            ToSend::Some => {
                let sent = async {
                    writer.write_all(&buffer).await?;
                    writer.flush().await
                };
                tokio::select! {
                    sent = sent => sent?,
                    // A server that does not read must not keep the client from closing.
                    () = lane.closing.raised() => return Ok(Over::Closed),
                }
                buffer.clear();
                if buffer.capacity() > KEPT_BYTES {
                    buffer = Vec::with_capacity(READ_BYTES);
                }
            }
            ToSend::Switch => {
                let _ = writer.shutdown().await;
                return Ok(Over::Switch);
            }
            ToSend::Nothing => tokio::select! {
                () = lane.work.notified() => {}
                () = lane.closing.raised() => {}
            },
        }
    }
}

async fn say_goodbye(mut writer: impl AsyncWrite + Unpin) -> std::io::Result<Over> {
    let mut bye = Vec::new();
    let op = WireCommand::Bye.wire_name();
    message::request(&mut bye, WireMode::Frames, op, op, "{}");
    let said = async {
        writer.write_all(&bye).await?;
        writer.flush().await?;
        // The server closes; the reader notices, and this future is dropped.
        std::future::pending::<std::io::Result<()>>().await
    };
    let _ = tokio::time::timeout(BYE_TIMEOUT, said).await;
    Ok(Over::Closed)
}

/// Reads until the connection ends, and says why it did.
async fn read(lane: &Arc<Lane>, mut reader: impl AsyncRead + Unpin, mut buffer: Vec<u8>) -> String {
    loop {
        match lane.receive(&buffer) {
            Ok(consumed) => drop(buffer.drain(..consumed)),
            Err(error) => return error.message().to_owned(),
        }
        if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
            buffer = Vec::new();
        }
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "the server closed it".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}
