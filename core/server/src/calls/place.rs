//! The database that is in service, and how another takes its place.
//!
//! Every request works with the database that is in service when it comes. One that is withdrawn ends
//! what it has begun, if it can; what it has not told by the time the next one is installed stays
//! unknown.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rstmdb_engine::{Engine, Location, Options, SyncObserver};
use rstmdb_types::{Error, ErrorCode, Execute, Operation, OperationRequest, Outcome, Result};
use tokio::sync::watch;

use super::driver::NodeDriver;
use super::hold::{Hold, News, Service};
use super::pending::{Commit, Pending, failed, reopening, unless_closed};
use crate::config::Config;
use crate::hooks::Hooks;
use crate::live::LiveSettings;
use crate::metrics::Metrics;
use crate::node::NodePlace;

/// What all transports share: the database, the settings, and what is counted.
pub struct Calls {
    service: watch::Sender<Option<Arc<Service>>>,
    newest: Arc<AtomicU64>,
    settings: Arc<LiveSettings>,
    metrics: Arc<Metrics>,
    node: NodePlace,
    hooks: OnceLock<Arc<Hooks>>,
    driver: OnceLock<Arc<dyn NodeDriver>>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Calls({:?})", self.engine())
    }
}

impl Calls {
    /// A door without a database behind it: requests are refused until one is installed.
    pub fn new(settings: Arc<LiveSettings>, metrics: Arc<Metrics>) -> Calls {
        metrics.show_settings(&settings.load());
        let (service, newest) = (watch::Sender::new(None), Arc::default());
        Calls {
            service,
            newest,
            settings,
            metrics,
            node: NodePlace::default(),
            hooks: OnceLock::new(),
            driver: OnceLock::new(),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<LiveSettings> {
        &self.settings
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What this server is to others.
    pub fn node(&self) -> &NodePlace {
        &self.node
    }

    /// From now on these are asked and told.
    pub(crate) fn call_hooks(&self, hooks: Arc<Hooks>) {
        let _ = self.hooks.set(hooks);
    }

    /// Who is asked before this node takes the writes, and told of what fails.
    pub(crate) fn hooks(&self) -> Option<&Arc<Hooks>> {
        self.hooks.get()
    }

    /// From now on somebody runs this node's part among others; whoever came first does.
    pub fn be_driven_by(&self, driver: Arc<dyn NodeDriver>) {
        let _ = self.driver.set(driver);
    }

    /// Who runs it.
    pub(crate) fn driver(&self) -> Option<&Arc<dyn NodeDriver>> {
        self.driver.get()
    }

    /// Has all sessions look again whether what they wait for takes too long.
    pub(crate) fn nudge(&self) {
        self.settings.announce();
    }

    /// The database in service.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.service.borrow().as_ref().map(|service| service.engine.clone())
    }

    /// How often the database found the clock set, or far off.
    pub(crate) fn clock_steps(&self) -> u64 {
        self.engine().map_or(0, |engine| engine.clock_steps())
    }

    /// Whether there is a database to ask.
    pub(crate) fn is_in_service(&self) -> bool {
        self.service.borrow().is_some()
    }

    pub(super) fn news(&self) -> News {
        self.service.subscribe()
    }

    /// Puts a database into service. Whatever waits for an earlier one learns that its outcome is
    /// unknown, and watches of it end.
    pub fn install(&self, engine: Arc<Engine>) {
        let newest = self.newest.clone();
        self.service.send_modify(|service| {
            let number = newest.fetch_add(1, Ordering::AcqRel) + 1;
            *service = Some(Arc::new(Service { engine, number, newest }));
        });
    }

    /// Takes the database out of service: requests are refused, with an error that says that they
    /// changed nothing and can be repeated.
    pub fn withdraw(&self) -> Option<Arc<Engine>> {
        self.service.send_replace(None).map(|service| service.engine.clone())
    }

    /// Withdraws the database, closes it, and puts the one that `open` returns in its place. Sessions go
    /// on. Requests that the old one was given before are answered as it closes; its watches end.
    ///
    /// When the new one can't be opened there is none.
    pub async fn replace(
        &self,
        open: impl FnOnce() -> Result<Engine> + Send + 'static,
    ) -> Result<()> {
        let old = self.withdraw();
        let engine = waiting("replacing the database", move || {
            if let Some(old) = old {
                // What was not written has been told to those who asked for it.
                old.close().unwrap_or_else(|error| tracing::warn!("closing: {error}"));
            }
            open()
        });
        self.install(Arc::new(engine.await?));
        self.tell_settings();
        Ok(())
    }

    /// Tells the database in service what it must know of the settings in force.
    fn tell_settings(&self) {
        self.metrics.show_settings(&self.settings.load());
        if let Some(engine) = self.engine() {
            engine.set_checkpoint_policy(self.settings.load().compaction.policy());
        }
    }

    /// Does so whenever they change. Ends only by being dropped.
    pub(crate) async fn follow_settings(self: Arc<Self>, mut changes: watch::Receiver<()>) {
        while changes.changed().await.is_ok() {
            self.tell_settings();
        }
    }

    /// Opens the database of a configuration and puts it into service.
    pub(crate) async fn open(&self, config: &Config) -> Result<()> {
        let mut options = config.engine_options();
        let metrics = self.metrics.clone();
        options.sync_observer = Some(SyncObserver(Arc::new(move |took| metrics.sync.record(took))));
        let directory = config.storage.data_dir.clone();
        make_private(&directory);
        self.open_with(Location::directory(directory), options).await.map(drop)
    }

    /// Opens a database and puts it into service.
    pub(crate) async fn open_with(
        &self,
        location: Location,
        options: Options,
    ) -> Result<Arc<Engine>> {
        let open = move || Engine::open(location, options);
        let engine = Arc::new(waiting("opening the database", open).await?);
        self.install(engine.clone());
        Ok(engine)
    }

    /// Takes the database out of service and closes it.
    pub(crate) async fn close(&self) -> Result<()> {
        let Some(engine) = self.withdraw() else { return Ok(()) };
        waiting("closing the database", move || engine.close()).await
    }

    /// Asks the database for the server itself, which is counted nowhere. Nothing of the result may be
    /// told before the commit came out well.
    pub(crate) fn ask<R: OperationRequest>(&self, request: R) -> (Commit, Result<R::Result>) {
        let service = self.service.borrow().clone();
        let entrance = Entrance::of(service.map(Hold::new), R::OPERATION);
        let pending = submit(entrance, None, R::OPERATION, |engine| {
            Engine::command(engine, request.into_request())
        });
        let (commit, result) = pending.split();
        (commit, result.and_then(|outcome| R::take(outcome).ok_or_else(failed)))
    }
}

/// Where a request goes.
pub(super) enum Entrance {
    /// To the database in service.
    Open(Hold),
    /// Nowhere: what comes of it is known.
    Known(Box<Result<Outcome>>),
}

impl Entrance {
    /// To this database, if there is one.
    pub(super) fn of(hold: Option<Hold>, operation: Operation) -> Entrance {
        match hold {
            Some(hold) => Entrance::Open(hold),
            None => Entrance::refused(reopening(operation)),
        }
    }

    pub(super) fn refused(error: Error) -> Entrance {
        Entrance::Known(Box::new(Err(error)))
    }
}

/// Hands a command over to a database, if there is one.
pub(super) fn submit(
    entrance: Entrance,
    timeout: Option<Duration>,
    operation: Operation,
    command: impl FnOnce(&Engine) -> rstmdb_types::Command,
) -> Pending {
    match entrance {
        Entrance::Open(hold) => {
            let command = command(&hold);
            let (commit, result) = Engine::submit(hold, command).split();
            Pending::new(operation, Some(commit), result).within(timeout)
        }
        Entrance::Known(result) => Pending::new(operation, None, *result),
    }
}

/// The same for who prepares an answer: see [`Engine::submit_with`].
pub(super) fn submit_with<T>(
    entrance: Entrance,
    timeout: Option<Duration>,
    operation: Operation,
    command: impl FnOnce(&Engine) -> rstmdb_types::Command,
    prepare: impl FnOnce(Result<&Outcome>) -> T,
) -> (Commit, T) {
    let hold = match entrance {
        Entrance::Open(hold) => hold,
        Entrance::Known(result) => {
            let commit = Commit::new(operation, None, result.is_ok());
            return (commit, prepare((*result).as_ref().map_err(Clone::clone)));
        }
    };
    let (command, mut is_ok) = (command(&hold), false);
    let (commit, prepared) = Engine::submit_with(hold, command, |outcome| {
        is_ok = outcome.is_ok();
        prepare(outcome.map_err(|error| unless_closed(error, operation)))
    });
    (Commit::new(operation, Some(commit), is_ok).within(timeout), prepared)
}

/// Makes the data directory, if it is not there, so that no other user can read what is in it.
pub(crate) fn make_private(directory: &Path) {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // What is wrong with it the opening says better.
    let _ = builder.create(directory);
}

/// Does `work` on a thread that may wait.
async fn waiting<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorCode::InternalError, format!("{doing}: {error}")))
    })
}
