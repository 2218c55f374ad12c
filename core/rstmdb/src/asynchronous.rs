//! The asynchronous database. It needs no runtime: writes wake their waiter, files are read on a
//! small pool of threads, and servers are talked to by one thread of the process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::{Engine, Options};
use rstmdb_types::*;

use crate::backend::{self, Backend};
use crate::begun::Underway;
use crate::call;
use crate::clock::ManualClock;
use crate::open::Target;
use crate::threads::{self, Working};

/// A database whose methods are awaited, on any executor. Cloning gives another handle.
///
/// Dropping the future of a write stops the waiting, not the write.
#[derive(Clone, Debug)]
pub struct Database {
    backend: Backend,
}

impl Database {
    /// Opens the database at `url`: `mem:`, `file:PATH` or a path, creating it when missing; or
    /// `rstmdb://[TOKEN@]HOST[:PORT]`, `rstmdbs://` with TLS, for one on a server.
    ///
    /// Errors: kind `Unavailable` when the place can't be reached or is in use, `BAD_REQUEST`,
    /// reason `invalid_option`, when the URL can't be understood.
    pub async fn open(url: &str) -> Result<Database> {
        Database::open_with(url, Options::default()).await
    }

    /// Opens the database at `url`. The options are those of an embedded database: a server has its
    /// own, and how to reach it stands in the URL or in the options of `Database::connect`.
    pub async fn open_with(url: &str, options: Options) -> Result<Database> {
        match crate::open::target(url)? {
            Target::Here(location) => {
                let opened = threads::unblock(move || Engine::open(location, options)).await?;
                Ok(Database { backend: Backend::Embedded(opened.into()) })
            }
            #[cfg(feature = "remote")]
            Target::There(options) => Database::connect(*options).await,
        }
    }

    /// Opens a database of this process that takes the time from `clock`.
    ///
    /// Errors: as [`Database::open`]; `BAD_REQUEST`, reason `invalid_option`, for a server's URL: a server has
    /// a clock of its own.
    pub async fn open_with_clock(
        url: &str,
        options: Options,
        clock: ManualClock,
    ) -> Result<Database> {
        let location = crate::open::with_clock(url, clock)?;
        let opened = threads::unblock(move || Engine::open(location, options)).await?;
        Ok(Database { backend: Backend::Embedded(opened.into()) })
    }

    /// Connects to a server.
    ///
    /// Errors: as [`Database::open`], and kind `Unauthorized` when the token is refused.
    #[cfg(feature = "remote")]
    pub async fn connect(options: crate::RemoteOptions) -> Result<Database> {
        let client = rstmdb_client::Client::connect(options).await?;
        Ok(Database { backend: Backend::Remote(client) })
    }

    /// Runs the operation that `request` belongs to. A watch is refused: it returns a stream.
    pub async fn run<R: OperationRequest>(&self, request: R) -> Result<R::Result> {
        self.backend.run(request).await
    }

    /// Runs the operation `operation` on a JSON request; watches are not among them.
    ///
    /// An operation or a request that does not fit is `BAD_REQUEST`, reason `invalid_request`.
    pub async fn call(&self, operation: Operation, request: &Json) -> Result<Json> {
        let request = call::request(operation, request.as_str().as_bytes())?;
        call::json(&self.backend.run_any(request).await?)
    }

    /// As [`Database::call`], from the text of a request to the text of a result, whose members come
    /// in the order of the documentation. An empty request is `{}`.
    pub async fn call_text(&self, operation: Operation, request: &[u8]) -> Result<String> {
        self.begin_text(operation, request).end().await
    }

    /// Begins the operation that `request` belongs to, for callers that gather many of them: a change is in the
    /// queue of the log when this returns, and nothing writes for it before its result is asked for.
    pub fn begin<R>(&self, request: R) -> Underway<R::Result>
    where
        R: OperationRequest<Result: Send + Unpin> + Send + 'static,
    {
        self.backend.begin(request)
    }

    /// As [`Database::begin`], from the text of a request to the text of a result.
    pub fn begin_text(&self, operation: Operation, request: &[u8]) -> Underway<String> {
        let run = call::TextCall { backend: &self.backend, text: request };
        operation.visit(call::TextCallBeside(run))
    }

    /// As [`Database::begin`], from the text of a request, for callers who may never want the text of the result.
    pub fn begin_read<R>(&self, request: &[u8]) -> Underway<R::Result>
    where
        R: OperationRequest<Result: Send + Unpin> + Send + 'static,
    {
        match call::read(request) {
            Ok(request) => self.backend.begin::<R>(request),
            Err(error) => Underway::Done(Err(error)),
        }
    }

    /// The same database for threads.
    pub fn blocking(&self) -> crate::blocking::Database {
        crate::blocking::Database::from_backend(self.backend.clone())
    }

    pub(crate) fn from_backend(backend: Backend) -> Database {
        Database { backend }
    }

    /// Syncs what is not synced, stops background work and releases the directory, or says good-bye
    /// to the server.
    ///
    /// Every other handle to the database answers `Closed` from then on.
    pub async fn close(&self) -> Result<()> {
        self.backend.close_beside().await
    }

    /// Begins the watch that `request` asks for.
    pub async fn watch<R: OperationRequest>(
        &self,
        request: R,
    ) -> Result<(R::Result, Subscription)> {
        let (outcome, events) = self.subscribe(request.into_request()).await?;
        Ok((backend::of::<R>(outcome)?, events))
    }

    /// Begins the watch `operation`, from the text of its request to the text of its result.
    pub async fn watch_text(
        &self,
        operation: Operation,
        request: &[u8],
    ) -> Result<(String, Subscription)> {
        let (outcome, events) = self.subscribe(call::watch(operation, request)?).await?;
        Ok((call::text(&outcome, 0)?, events))
    }

    async fn subscribe(&self, request: Request) -> Result<(Outcome, Subscription)> {
        match &self.backend {
            Backend::Embedded(engine) => {
                let begun = engine.clone();
                let begin = move || begun.subscribe(begun.command(request));
                let (outcome, events) = threads::unblock(begin).await?;
                Ok((outcome, Subscription::embedded(engine.clone(), events)))
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                let (outcome, events) = client.subscribe(request).await?;
                Ok((outcome, Subscription::remote(events)))
            }
        }
    }
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        impl Database {
            $(methods! { @ $place $(#[doc = $doc])+ $method $request $result })*
        }
    };
    (@ Stream $(#[doc = $doc:literal])+ $method:ident $request:ident $result:ident) => {
        $(#[doc = $doc])+
        pub async fn $method(&self, request: $request) -> Result<($result, Subscription)> {
            self.watch(request).await
        }
    };
    (@ $place:ident $(#[doc = $doc:literal])+ $method:ident $request:ident $result:ident) => {
        $(#[doc = $doc])+
        pub async fn $method(&self, request: $request) -> Result<$result> {
            self.run(request).await
        }
    };
}

rstmdb_types::for_each_operation!(methods);

/// A stream of events. Dropping it ends the subscription; until then the database stays open, also when
/// nobody else has a handle to it.
///
/// [`Subscription::next`] is cancel-safe: dropping its future loses no event. The type is also a
/// [`futures_core::Stream`].
#[derive(Debug)]
pub struct Subscription {
    state: SubscriptionSource,
    position: LogPosition,
    /// The last one to go closes the database. A client's subscription has its own.
    _engine: Option<Arc<Engine>>,
}

#[derive(Debug)]
enum SubscriptionSource {
    Ready(Box<rstmdb_engine::Subscription>),
    /// A read of older events runs on another thread.
    Loading(Working<Box<rstmdb_engine::Subscription>>),
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Subscription),
    Ended,
}

impl Subscription {
    fn embedded(engine: Arc<Engine>, inner: rstmdb_engine::Subscription) -> Subscription {
        Subscription {
            position: inner.position(),
            state: SubscriptionSource::Ready(Box::new(inner)),
            _engine: Some(engine),
        }
    }

    #[cfg(feature = "remote")]
    fn remote(inner: rstmdb_client::Subscription) -> Subscription {
        Subscription {
            position: inner.position().clone(),
            state: SubscriptionSource::Remote(inner),
            _engine: None,
        }
    }

    /// Waits for the next event; `None` when the database was closed.
    pub async fn next(&mut self) -> Option<Result<InstanceEvent>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// The offset to resume from after the events received so far.
    pub fn resume_offset(&self) -> Offset {
        self.position.next
    }

    /// The history that the change before it belongs to: the `history_id` that goes with it.
    pub fn history_id(&self) -> Option<Text> {
        self.position.history_id.clone()
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        loop {
            match std::mem::replace(&mut self.state, SubscriptionSource::Ended) {
                SubscriptionSource::Ended => return Poll::Ready(None),
                #[cfg(feature = "remote")]
                SubscriptionSource::Remote(mut inner) => {
                    let polled = inner.poll_event(context);
                    self.position.clone_from(inner.position());
                    self.state = SubscriptionSource::Remote(inner);
                    return polled;
                }
                SubscriptionSource::Loading(mut task) => match Pin::new(&mut task).poll(context) {
                    Poll::Pending => {
                        self.state = SubscriptionSource::Loading(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(inner) => self.state = SubscriptionSource::Ready(inner),
                },
                SubscriptionSource::Ready(mut inner) => {
                    if inner.needs_files() {
                        self.state = SubscriptionSource::Loading(threads::unblock(move || {
                            inner.load();
                            inner
                        }));
                        continue;
                    }
                    let polled = inner.poll_next(context);
                    self.position = inner.position();
                    let again = polled.is_pending() && inner.needs_files();
                    self.state = SubscriptionSource::Ready(inner);
                    if !again {
                        return polled;
                    }
                }
            }
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<InstanceEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context)
    }
}
