//! The engine that is open now, and the thread that does what takes long.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::{Error, Result};
use tokio::sync::{RwLockReadGuard, mpsc, oneshot, watch};

use super::snapshot::SnapshotFile;

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
    changes: watch::Sender<u64>,
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
        let (changes, _) = watch::channel(1);
        let (engine, writers) = (RwLock::new(Arc::new(engine)), tokio::sync::RwLock::new(()));
        Ok(EngineSlot { location, options, engine, writers, changes })
    }

    /// The engine that is open now.
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.read().clone()
    }

    /// Keeps the engine that is open now in its place.
    pub(super) async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.writers.read().await
    }

    /// Tells when another engine took its place.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
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
        self.changes.send_modify(|changes| *changes += 1);
        result
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Does one thing after the other, away from those who must not wait.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Worker {
    /// Its thread ends with the last clone of it.
    pub(super) fn start(name: &str) -> io::Result<Worker> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job();
            }
        })?;
        Ok(Worker { jobs })
    }

    /// Does this behind all that was asked for before.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (told, answer) = oneshot::channel();
        let job = Box::new(move || drop(told.send(job())));
        let gone = || io::Error::other("the thread that applies is gone");
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(failed)
    }
}
