//! The engine that is open now.

use std::io;
use std::sync::Arc;

use openraft::async_runtime::watch::WatchSender;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{WatchReceiverOf, WatchSenderOf};
use parking_lot::RwLock;
use rstmdb_engine::replication::{LogFrame, Standing};
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::{Error, Result};
use tokio::sync::RwLockReadGuard;

use super::snapshot::SnapshotFile;
use super::types::TypeConfig;

/// An engine's error, as the library wants it: the node stops.
pub(super) fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The engine of a node. When another node hands a checkpoint over, it is closed, and another one takes its place.
pub struct EngineSlot {
    location: Location,
    options: Options,
    engine: RwLock<Arc<Engine>>,
    /// Held while one is replaced, and by those who write meanwhile. The log and its votes have one writer.
    writers: tokio::sync::RwLock<()>,
    /// Counts the engines.
    changes: WatchSenderOf<TypeConfig, u64>,
    #[cfg(feature = "simulation")]
    pace: SlotPace,
}

/// How long things take on a simulated node, and what goes wrong between it and the library.
#[cfg(feature = "simulation")]
pub struct SlotPace {
    /// What the disk is asked next.
    pub disk: Box<dyn Fn() -> std::time::Duration + Send + Sync>,
    /// Passing on what is proposed next.
    pub proposals: Box<dyn Fn() -> std::time::Duration + Send + Sync>,
    /// Whether that one is refused.
    pub refuses: Box<dyn Fn() -> bool + Send + Sync>,
}

#[cfg(feature = "simulation")]
impl std::fmt::Debug for SlotPace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotPace")
    }
}

impl std::fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineSlot({:?})", self.engine())
    }
}

impl EngineSlot {
    /// Opens the engine of a node; the options say which.
    pub fn open(location: Location, options: Options) -> Result<EngineSlot> {
        let engine = Engine::open(location.clone(), options.clone())?;
        let (changes, _) = TypeConfig::watch_channel(1);
        let (engine, writers) = (RwLock::new(Arc::new(engine)), tokio::sync::RwLock::new(()));
        Ok(EngineSlot {
            location,
            options,
            engine,
            writers,
            changes,
            #[cfg(feature = "simulation")]
            pace: SlotPace {
                disk: Box::new(std::time::Duration::default),
                proposals: Box::new(std::time::Duration::default),
                refuses: Box::new(|| false),
            },
        })
    }

    /// The same on a node that takes its time.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn paced(self, pace: SlotPace) -> EngineSlot {
        EngineSlot { pace, ..self }
    }

    /// Waits as long as the disk takes.
    pub(super) async fn pause(&self) {
        #[cfg(feature = "simulation")]
        TypeConfig::sleep((self.pace.disk)()).await;
    }

    /// Waits as long as it takes to pass a proposal on; says whether that is possible at all.
    pub(super) async fn hesitate(&self) -> bool {
        #[cfg(feature = "simulation")]
        {
            TypeConfig::sleep((self.pace.proposals)()).await;
            !(self.pace.refuses)()
        }
        #[cfg(not(feature = "simulation"))]
        true
    }

    /// Appends frames to the engine's log; tells when they are on the disk.
    pub(super) fn append(
        &self,
        frames: Vec<LogFrame>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        #[cfg(not(feature = "simulation"))]
        self.engine().replication().append(frames, done);
        #[cfg(feature = "simulation")]
        {
            let (engine, takes) = (self.engine(), (self.pace.disk)());
            engine.replication().write(frames, done);
            let _detached = TypeConfig::spawn(async move {
                TypeConfig::sleep(takes).await;
                engine.replication().sync();
            });
        }
    }

    /// The engine that is open now.
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.read().clone()
    }

    /// Whether the engine leads.
    pub(super) fn leads(&self) -> bool {
        matches!(self.engine().replication().standing(), Standing::Leading { .. })
    }

    /// Keeps the engine that is open now in its place.
    pub(super) async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.writers.read().await
    }

    /// Tells when another engine took its place.
    pub fn changes(&self) -> WatchReceiverOf<TypeConfig, u64> {
        WatchSender::subscribe(&self.changes)
    }

    /// Puts an engine with what another node handed over in the place of the one that is open.
    pub(super) fn install(&self, snapshot: &SnapshotFile) -> Result<()> {
        let writers = self.writers.blocking_write();
        self.engine().close()?;
        let at = &snapshot.at;
        let read = |buffer: &mut [u8], position| snapshot.source.read_at(buffer, position);
        let frames = snapshot.frames();
        let location = self.location.clone();
        let installed = Engine::install(location, self.options.clone(), at, read, frames);
        let (opened, result) = match installed {
            Ok(opened) => {
                let committed = opened.replication().commit(at.until).map(|_| ());
                (opened, committed)
            }
            // What was there before is still whole.
            Err(error) => (Engine::open(self.location.clone(), self.options.clone())?, Err(error)),
        };
        *self.engine.write() = Arc::new(opened);
        drop(writers);
        self.changes.send_if_modified(|changes| {
            *changes += 1;
            true
        });
        result
    }
}
