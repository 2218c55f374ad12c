//! A handle to a database: opens it, starts operations on it, closes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_task::Task;
use rstmdb::error::reason;
use rstmdb::{Error, ManualClock, Operation, OperationRequest, Result, blocking};
use rstmdb_threads::park;

use crate::active::Active;
use crate::completions::Completions;
use crate::error::{closed, guard, invalid_option};
use crate::options::{self, Target};
use crate::started::{Guarded, Started};
use crate::watch::Watch;
use crate::{callbacks, echo, fork};

/// How long a wait goes on before it looks whether it is to be interrupted.
const SLICE: Duration = Duration::from_millis(50);

/// A handle to a database. Cloning gives another one to the same database.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Arc<SharedDatabase>,
}

#[derive(Debug)]
struct SharedDatabase {
    /// The process that opened it; no other may touch what is in `opened`.
    process: u64,
    opened: OnceLock<Opened>,
    active: Arc<Active>,
}

#[derive(Debug)]
enum Opened {
    Database { waiting: rstmdb::Database, here: Option<Here>, completions: Arc<Completions> },
    Echo,
}

/// What only a database of this process has.
#[derive(Debug)]
struct Here {
    blocking: blocking::Database,
    clock: Option<ManualClock>,
}

impl Drop for SharedDatabase {
    fn drop(&mut self) {
        if self.process != fork::process() {
            // A child drops nothing that its parent's threads may hold: it would wait for them.
            std::mem::forget(std::mem::take(&mut self.opened));
        }
    }
}

impl Database {
    /// Opens the database at `url` with `options`, a JSON object, or nothing for the defaults.
    ///
    /// Errors: as those of the facade's `open`, and `BAD_REQUEST`, reason `invalid_option`, for an option
    /// that is unknown, does not fit, or belongs to another kind of database.
    pub fn open(url: &str, options: &str) -> Result<Database> {
        let (database, place) = Database::prepare(url, options)?;
        if let Some(place) = place {
            // Here, and not on a thread of callbacks: the caller may be one.
            let _counted = database.inner.active.operation();
            let opened = guard(|| park::wait(open(url.to_owned(), place)))?;
            guard(|| park::wait(database.inner.settle(opened)))?;
        }
        Ok(database)
    }

    /// Starts to open the database. The handle answers `Closed` until that is done.
    ///
    /// Errors: those that show before anything is opened.
    pub fn open_start(url: &str, options: &str) -> Result<(Database, Started<()>)> {
        let (database, place) = Database::prepare(url, options)?;
        let Some(place) = place else { return Ok((database, Started::Ready(Ok(())))) };
        let inner = database.inner.clone();
        let url = url.to_owned();
        // It goes on when nobody waits any more, and is counted until it has ended: a directory is free
        // when closing has ended, not some time after.
        let counted = inner.active.operation();
        let opening = Detached(Some(callbacks::spawn(async move {
            let opened = Guarded::new(open(url, place)).await;
            let settled = match opened {
                Ok(opened) => inner.settle(opened).await,
                Err(error) => Err(error),
            };
            drop(counted);
            settled
        })));
        let started = Started::new(database.inner.active.operation(), opening);
        Ok((database, started))
    }

    /// A handle, and what is to be opened for it: nothing for the echo.
    fn prepare(url: &str, options: &str) -> Result<(Database, Option<Target>)> {
        fork::watch_for_forks();
        callbacks::begin()?;
        let database = Database {
            inner: Arc::new(SharedDatabase {
                process: fork::process(),
                opened: OnceLock::new(),
                active: Arc::default(),
            }),
        };
        if url == echo::URL {
            let _ = database.inner.opened.set(Opened::Echo);
            return Ok((database, None));
        }
        let place = options::place(url, options)?;
        Ok((database, Some(place)))
    }

    /// Starts an operation.
    pub fn start<R: OperationRequest>(&self, request: R) -> Started<R::Result> {
        let counted = self.inner.active.operation();
        match self.inner.opened() {
            Ok(Opened::Database { waiting, completions, .. }) => {
                Started::begin(counted, completions, || waiting.begin(request))
            }
            Ok(Opened::Echo) => echo_typed(&request),
            Err(error) => Started::Ready(Err(error)),
        }
    }

    /// Starts the operation `operation` on the text of a JSON request; its result is the text of a
    /// JSON object. An empty request is `{}`. The watches have functions of their own.
    pub fn start_json(&self, operation: Operation, request: &[u8]) -> Started<String> {
        let counted = self.inner.active.operation();
        match self.inner.opened() {
            Ok(Opened::Database { waiting, completions, .. }) => {
                Started::begin(counted, completions, || waiting.begin_text(operation, request))
            }
            Ok(Opened::Echo) => Started::new(counted, echo::answer(request.to_vec())),
            Err(error) => Started::Ready(Err(error)),
        }
    }

    /// As [`Database::start_json`], with the result as a value: its text may be made later, or never.
    pub fn start_read<R: OperationRequest>(&self, request: &[u8]) -> Started<R::Result> {
        let counted = self.inner.active.operation();
        match self.inner.opened() {
            Ok(Opened::Database { waiting, completions, .. }) => {
                Started::begin(counted, completions, || waiting.begin_read::<R>(request))
            }
            Ok(Opened::Echo) => Started::Ready(Err(echo::unsupported())),
            Err(error) => Started::Ready(Err(error)),
        }
    }

    /// Runs an operation and waits for it in this thread. During a long wait it asks `interrupted` now
    /// and then; `None` when that said yes.
    pub fn call<R: OperationRequest>(
        &self,
        request: R,
        interrupted: impl FnMut() -> bool,
    ) -> Option<Result<R::Result>> {
        match self.here() {
            // A thread that waits does the sync itself, which is faster than to wait for another.
            Ok(Some(here)) if R::OPERATION.place() != rstmdb::Place::Files => {
                Some(guard(|| here.blocking.run(request)))
            }
            Ok(_) => wait(self.start(request), interrupted),
            Err(error) => Some(Err(error)),
        }
    }

    /// As [`Database::start_json`], waiting in this thread.
    pub fn call_json(&self, operation: Operation, request: &[u8]) -> Result<String> {
        match self.here()? {
            Some(here) => guard(|| here.blocking.call_text(operation, request)),
            None => self.start_json(operation, request).wait(),
        }
    }

    /// Starts to follow events.
    pub fn watch_start<R: OperationRequest>(&self, request: R) -> Started<(R::Result, Watch)> {
        let active = self.inner.active.clone();
        let counted = active.operation();
        let database = match self.database() {
            Ok(Some(database)) => database.clone(),
            Ok(None) => return Started::Ready(Err(echo::unsupported())),
            Err(error) => return Started::Ready(Err(error)),
        };
        Started::new(counted, async move {
            let (result, events) = database.watch(request).await?;
            Ok((result, Watch::new(events, active)))
        })
    }

    /// As [`Database::watch_start`], from the text of a JSON request to that of a result.
    pub fn watch_start_json(
        &self,
        operation: Operation,
        request: &[u8],
    ) -> Started<(String, Watch)> {
        let active = self.inner.active.clone();
        let counted = active.operation();
        let request = request.to_vec();
        let database = match self.database() {
            Ok(Some(database)) => database.clone(),
            Ok(None) => {
                let watch = Watch::echo(active);
                return Started::new(
                    counted,
                    async move { Ok((echo::answer(request).await?, watch)) },
                );
            }
            Err(error) => return Started::Ready(Err(error)),
        };
        Started::new(counted, async move {
            let (result, events) = database.watch_text(operation, &request).await?;
            Ok((result, Watch::new(events, active)))
        })
    }

    /// Moves the clock on that the option `manual_clock_ms` made.
    pub fn advance_clock(&self, ms: i64) -> Result<()> {
        let clock = self.here()?.and_then(|here| here.clock.as_ref());
        let Some(clock) = clock else {
            let message = "the clock can be moved only in a database of this process that was opened \
                           with the option manual_clock_ms";
            return Err(Error::invalid(reason::UNSUPPORTED, message));
        };
        if ms < 0 {
            return Err(Error::invalid(reason::INVALID_REQUEST, "a clock can't be moved back"));
        }
        clock.advance(ms);
        Ok(())
    }

    /// Starts to close: ready when everything is settled, every callback of an operation ran, and what
    /// was being opened is closed again. Closing twice is fine.
    ///
    /// Operations end with their result or with kind `Closed`, watches end. Waiting for it inside a
    /// callback would wait for itself.
    pub fn close_start(&self) -> Started<()> {
        if self.inner.process != fork::process() {
            return Started::Ready(Ok(()));
        }
        Started::new(self.inner.active.closing(), self.inner.clone().close())
    }

    /// Closes and waits for it in this thread, and for the callbacks of those that closed it too.
    pub fn close(&self) -> Result<()> {
        if self.inner.process != fork::process() {
            return Ok(());
        }
        if callbacks::on_callback_thread() {
            let message = "close can't wait inside a callback: it waits for all callbacks";
            return Err(Error::invalid(reason::INVALID_REQUEST, message));
        }
        let closed = guard(|| park::wait(self.inner.clone().close()));
        park::wait(self.inner.active.closings_end());
        closed
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.active.is_closed() || self.is_inherited()
    }

    /// Whether it was opened before the process forked: then nothing can be done with it.
    pub fn is_inherited(&self) -> bool {
        self.inner.process != fork::process()
    }

    /// The database; none for the echo.
    fn database(&self) -> Result<Option<&rstmdb::Database>> {
        match self.inner.opened()? {
            Opened::Database { waiting, .. } => Ok(Some(waiting)),
            Opened::Echo => Ok(None),
        }
    }

    fn here(&self) -> Result<Option<&Here>> {
        match self.inner.opened()? {
            Opened::Database { here, .. } => Ok(here.as_ref()),
            Opened::Echo => Ok(None),
        }
    }
}

impl SharedDatabase {
    /// Keeps what was opened, unless it was closed meanwhile.
    async fn settle(&self, opened: Opened) -> Result<()> {
        let _ = self.opened.set(opened);
        // Whoever closes looks for what was opened after saying so.
        if !self.active.is_closed() {
            return Ok(());
        }
        self.close_opened().await?;
        Err(closed("the database was closed while it was being opened"))
    }

    async fn close(self: Arc<Self>) -> Result<()> {
        self.active.close();
        let closed = self.close_opened().await;
        // Also when closing failed: nobody may be called back after this.
        self.active.operations_end().await;
        closed
    }

    async fn close_opened(&self) -> Result<()> {
        let closed = match self.opened.get() {
            Some(Opened::Database { waiting, .. }) => waiting.close().await,
            Some(Opened::Echo) | None => Ok(()),
        };
        if let Some(Opened::Database { completions, .. }) = self.opened.get() {
            // Their loop may never come to the end of its turn.
            completions.end_turn();
        }
        closed
    }

    fn opened(&self) -> Result<&Opened> {
        if self.process != fork::process() {
            return Err(closed(
                "this database was opened before the process forked; open it anew in the child",
            ));
        }
        if self.active.is_closed() {
            return Err(closed("the database was closed"));
        }
        self.opened.get().ok_or_else(|| closed("the database is not open yet"))
    }
}

/// A task that goes on when nobody waits for it.
struct Detached<T>(Option<Task<T>>);

impl<T> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

async fn open(url: String, place: Target) -> Result<Opened> {
    let here = |waiting: rstmdb::Database, clock| {
        let here = Here { blocking: waiting.blocking(), clock };
        Opened::Database { waiting, here: Some(here), completions: Completions::new() }
    };
    Ok(match place {
        Target::There(options) => {
            let waiting = rstmdb::Database::connect(*options).await?;
            Opened::Database { waiting, here: None, completions: Completions::new() }
        }
        Target::Here { options, clock: None } => {
            here(rstmdb::Database::open_with(&url, *options).await?, None)
        }
        Target::Here { options, clock: Some(clock) } => {
            let opened = rstmdb::Database::open_with_clock(&url, *options, clock.clone()).await?;
            here(opened, Some(clock))
        }
    })
}

fn echo_typed<R: OperationRequest>(request: &R) -> Started<R::Result> {
    Started::Ready(guard(|| {
        let text = serde_json::to_string(request)
            .map_err(|error| invalid_option("request", error.to_string()))?;
        echo::misbehave(&text);
        Err(echo::unsupported())
    }))
}

fn wait<T>(started: Started<T>, mut interrupted: impl FnMut() -> bool) -> Option<Result<T>> {
    let mut waiting = match started {
        Started::Ready(result) => return Some(result),
        Started::Waiting(waiting) => waiting,
    };
    loop {
        match waiting.wait_timeout(SLICE) {
            Ok(result) => return Some(result),
            Err(still) => waiting = still,
        }
        if interrupted() {
            return None;
        }
    }
}
