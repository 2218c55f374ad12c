//! The engine of a directory that follows: opened, closed while its files change, opened again.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_engine::maintenance::set_aside;
use rstmdb_engine::replication::LeaderHint;
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

/// Who answers requests with the engine.
pub trait EngineSeat: Send + Sync {
    /// This engine takes the requests from now on.
    fn occupy(&self, engine: &Arc<Engine>);

    /// The engine is about to be closed, since its files change; another one comes.
    fn vacate(&self);
}

/// What was given up because the log of the source goes on otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Changes that readers have seen here.
    pub changes: u64,
}

/// Keeps the engine.
pub(super) struct Keeper {
    pub location: Location,
    options: Options,
    seat: Arc<dyn EngineSeat>,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Keeper {
    pub(super) fn new(location: Location, options: Options, seat: Arc<dyn EngineSeat>) -> Keeper {
        Keeper { location, options, seat, engine: Mutex::default() }
    }

    /// The engine, if it is open.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().clone()
    }

    /// Opens what is in the directory; nothing where there is no database yet.
    pub(super) fn open_if_there(&self) -> Result<Option<Arc<Engine>>> {
        match self.engine() {
            Some(engine) => Ok(Some(engine)),
            None if self.is_empty()? => Ok(None),
            None => self.open(None).map(Some),
        }
    }

    /// The engine, of a new database under this id where there is none.
    pub(super) fn ensure(&self, database: [u8; 16]) -> Result<Arc<Engine>> {
        match self.open_if_there()? {
            Some(engine) => Ok(engine),
            None => self.open(Some(database)),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        match self.location.storage.list("") {
            Ok(names) => Ok(!names.iter().any(|name| name == "MANIFEST")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(self.failed("reading", error)),
        }
    }

    fn open(&self, database: Option<[u8; 16]>) -> Result<Arc<Engine>> {
        let mut options = self.options.clone();
        if let Some(node) = &mut options.node {
            node.database = database;
        }
        Engine::open(self.location.clone(), options).map(|engine| self.take(engine))
    }

    fn take(&self, engine: Engine) -> Arc<Engine> {
        let engine = Arc::new(engine);
        *self.engine.lock() = Some(engine.clone());
        self.seat.occupy(&engine);
        engine
    }

    /// Closes the engine, if it is open.
    pub(super) fn close(&self) -> Result<()> {
        let Some(engine) = self.engine.lock().take() else { return Ok(()) };
        self.seat.vacate();
        engine.close()
    }

    /// Tells those who want to write where that is done.
    pub(super) fn point_to(&self, engine: &Engine, node: u16, address: &str) {
        let leader = LeaderHint { node, address: address.to_owned() };
        engine.replication().follow("the database follows another one", Some(leader));
    }

    /// Gives up what is behind a frame. What readers may have seen is set aside in files.
    pub(super) fn cut(&self, engine: &Engine, index: u64, offset: Offset) -> Result<GivenUp> {
        let replication = engine.replication();
        if index >= replication.tip().committed {
            replication.truncate_after(index)?;
            return Ok(GivenUp { changes: 0 });
        }
        self.close()?;
        let aside = set_aside(&self.location, offset)?;
        let changes = aside.changes_dropped;
        tracing::warn!(
            "{changes} changes behind offset {offset} are given up, since the source goes on otherwise from there: \
             copies are in {}",
            aside.copies
        );
        self.open(None)?;
        Ok(GivenUp { changes })
    }

    /// Changes the files of the closed database, and opens what they are then.
    pub(super) fn replace(
        &self,
        install: impl FnOnce(Location, Options) -> Result<Engine>,
    ) -> Result<()> {
        self.close()?;
        install(self.location.clone(), self.options.clone()).map(|engine| drop(self.take(engine)))
    }

    pub(super) fn failed(&self, what: &str, error: io::Error) -> Error {
        let name = &self.location.name;
        Error::new(ErrorCode::InternalError, format!("{what} {name} failed: {error}"))
            .with_reason(reason::IO)
            .with_source(Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>)
    }
}
