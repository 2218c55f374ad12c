//! Databases that follow another one: what is committed there is applied here.
//!
//! A [`Source`] serves replicas from the engine that it is given, whatever that engine is: alone, the one that leads, or itself a
//! replica. A [`Replica`] keeps the engine of a directory, connects, finds the last frame that both logs have, and goes on from
//! there; with a checkpoint where the other log does not reach back so far. A [`Primary`] takes writes that count when so many
//! replicas have them on their disks.

mod compare;
mod keeper;
mod lag;
mod primary;
mod replica;
mod source;
pub(crate) mod transfer;

use std::time::Duration;

pub use keeper::EngineSeat;
pub use primary::Primary;
pub use replica::{Replica, Stage, Status};
pub use source::{Follower, Heir, Overtaken, Source};

use crate::peer::{
    Decoder, Hello, Levels, Message, MessageKind, PeerError, PeerReader, PeerWriter,
};
use rstmdb_engine::Engine;
use rstmdb_engine::replication::Standing;
use rstmdb_types::error::reason;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a node is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The name of its group, or nothing.
    pub cluster: String,
    /// Its number; 0: it belongs to no group.
    pub node: u16,
    /// Tells it apart from another one that was given the same number.
    pub uuid: [u8; 16],
    /// What people call it.
    pub name: String,
    /// Where clients reach it; empty: that is not known.
    pub address: String,
}

impl NodeIdentity {
    pub(crate) fn hello(&self, engine: Option<&Engine>) -> Hello {
        Hello {
            levels: Levels::HERE,
            cluster: self.cluster.clone(),
            database: engine.map_or([0; 16], |engine| engine.replication().database()),
            node: self.node,
            uuid: self.uuid,
            name: self.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: engine.map_or(0, epoch_of),
            address: self.address.clone(),
            writes_at: engine.map_or_else(String::new, |engine| self.writes_at(engine)),
            tip: None,
        }
    }

    /// Where writes are taken, as far as this node knows.
    fn writes_at(&self, engine: &Engine) -> String {
        match engine.replication().standing() {
            Standing::Following { leader } => leader.map(|hint| hint.address).unwrap_or_default(),
            Standing::Alone | Standing::Leading { .. } => self.address.clone(),
        }
    }
}

/// Tells a node which epoch has begun, so that one that leads in an earlier one gives way. Says which is the highest that it
/// has heard of itself; nothing when it did not say, as one does that gives way.
pub async fn tell_epoch<S: AsyncRead + AsyncWrite + Unpin>(
    identity: &NodeIdentity,
    engine: &Engine,
    stream: S,
    patience: Duration,
) -> Result<Option<u64>, PeerError> {
    let (reading, writing) = tokio::io::split(stream);
    let mut incoming = PeerReader::new(reading, Decoder::default());
    let mut outgoing = PeerWriter::new(writing);
    let hello = Message::Hello(identity.hello(Some(engine)));
    outgoing.send_within(&hello, patience).await?;
    match incoming.next_within(patience).await? {
        Message::Hello(theirs) => Ok(Some(theirs.epoch)),
        Message::Refused(refusal) if refusal.reason == reason::HISTORY_DIVERGED => Ok(None),
        Message::Refused(refusal) => Err(PeerError::Refused(refusal)),
        other => Err(unexpected(other.kind(), "a hello")),
    }
}

/// How patient the ends of a connection are, and how much is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// A source tells what it has so often, also when nothing happens.
    pub heartbeat: Duration,
    /// A connection ends when nothing came for so long.
    pub silence: Duration,
    /// A replica may take so long to lay a checkpoint into its directory.
    pub install: Duration,
    /// Bytes of frames, or of a checkpoint, that go into one message, but for a larger frame.
    pub message_bytes: usize,
    /// Bytes of frames that may be sent and not acknowledged.
    pub window_bytes: usize,
    /// Bytes of frames and of checkpoints that are sent to each replica in a second, but for a larger frame; 0: as many as it takes.
    pub bytes_per_second: usize,
    /// A replica waits so long before it connects again, twice as long each time it fails, up to `retry_max`.
    pub retry_min: Duration,
    /// See `retry_min`.
    pub retry_max: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            heartbeat: Duration::from_millis(500),
            silence: Duration::from_secs(10),
            install: Duration::from_secs(600),
            message_bytes: 1 << 20,
            window_bytes: 32 << 20,
            bytes_per_second: 0,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
        }
    }
}

/// The highest epoch that an engine heard of.
fn epoch_of(engine: &Engine) -> u64 {
    let replication = engine.replication();
    replication.highest_epoch().max(replication.tip().term)
}

fn unexpected(kind: MessageKind, awaited: &'static str) -> PeerError {
    PeerError::Unexpected { kind, awaited }
}

/// Does on a thread what may wait for a disk.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PeerError> + Send + 'static,
) -> Result<T, PeerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(PeerError::Io(std::io::Error::other(error))),
    }
}
