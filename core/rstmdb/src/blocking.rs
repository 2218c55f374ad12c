//! The database for threads: every method waits for its result.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Engine, Options};
use rstmdb_types::*;

use crate::backend::{self, Backend, Pending};
use crate::call;
use crate::clock::ManualClock;
use crate::open::Target;

/// A database whose methods wait. Cloning gives another handle to the same database.
///
/// ```
/// use rstmdb::blocking::Database;
/// use rstmdb::{ApplyEventRequest, CreateInstanceRequest, Json, PutMachineRequest};
///
/// let db = Database::open("mem:")?;
/// let turnstile = Json::parse(r#"{
///     "states": ["locked", "open"], "initial": "locked",
///     "transitions": [
///         {"from": "locked", "event": "COIN", "to": "open"},
///         {"from": "open", "event": "PUSH", "to": "locked"}
///     ]
/// }"#)?;
/// db.put_machine(PutMachineRequest::new("turnstile", 1, turnstile))?;
/// db.create_instance(CreateInstanceRequest::new("t-1", "turnstile", 1))?;
/// let outcome = db.apply_event(ApplyEventRequest::new("t-1", "COIN"))?;
/// assert_eq!(outcome.to_state, "open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    pub fn open(url: &str) -> Result<Database> {
        Database::open_with(url, Options::default())
    }

    /// Opens the database at `url`. The options are those of an embedded database: a server has its
    /// own, and how to reach it stands in the URL or in the options of `Database::connect`.
    pub fn open_with(url: &str, options: Options) -> Result<Database> {
        match crate::open::target(url)? {
            Target::Here(location) => {
                Ok(Database::from_engine(Arc::new(Engine::open(location, options)?)))
            }
            #[cfg(feature = "remote")]
            Target::There(options) => Database::connect(*options),
        }
    }

    /// Opens a database of this process that takes the time from `clock`.
    ///
    /// Errors: as [`Database::open`]; `BAD_REQUEST`, reason `invalid_option`, for a server's URL: a server has
    /// a clock of its own.
    pub fn open_with_clock(url: &str, options: Options, clock: ManualClock) -> Result<Database> {
        let location = crate::open::with_clock(url, clock)?;
        Ok(Database::from_engine(Arc::new(Engine::open(location, options)?)))
    }

    /// Connects to a server.
    ///
    /// Errors: as [`Database::open`], and kind `Unauthorized` when the token is refused.
    #[cfg(feature = "remote")]
    pub fn connect(options: crate::RemoteOptions) -> Result<Database> {
        let client = rstmdb_client::Client::connect_blocking(options)?;
        Ok(Database { backend: Backend::Remote(client) })
    }

    /// Where the node of a group takes writes that was elected last, `host:port`, as far as servers told. Asks nobody.
    #[cfg(feature = "remote")]
    pub fn elected(&self) -> Option<String> {
        match &self.backend {
            Backend::Embedded(_) => None,
            Backend::Remote(client) => client.elected().map(|endpoint| endpoint.to_string()),
        }
    }

    /// Wraps an engine that was opened by hand.
    pub fn from_engine(engine: Arc<Engine>) -> Database {
        Database { backend: Backend::Embedded(engine) }
    }

    pub(crate) fn from_backend(backend: Backend) -> Database {
        Database { backend }
    }

    /// Runs the operation that `request` belongs to. A watch is refused: it returns a stream.
    pub fn run<R: OperationRequest>(&self, request: R) -> Result<R::Result> {
        self.backend.wait(request)
    }

    /// Runs the operation `operation` on a JSON request; watches are not among them.
    ///
    /// An operation or a request that does not fit is `BAD_REQUEST`, reason `invalid_request`.
    pub fn call(&self, operation: Operation, request: &Json) -> Result<Json> {
        let request = call::request(operation, request.as_str().as_bytes())?;
        call::json(&self.backend.submit(request).wait()?)
    }

    /// As [`Database::call`], from the text of a request to the text of a result, whose members come
    /// in the order of the documentation. An empty request is `{}`.
    pub fn call_text(&self, operation: Operation, request: &[u8]) -> Result<String> {
        operation.visit(call::TextCall { backend: &self.backend, text: request })
    }

    /// The same database for executors.
    pub fn asynchronous(&self) -> crate::Database {
        crate::Database::from_backend(self.backend.clone())
    }

    /// Hands an event over without waiting: wait for the [`Pending`] result, or await it.
    ///
    /// Many events in flight share one sync. On a server it waits while too many are in flight; over
    /// several connections they may be done in another order.
    pub fn submit_event(&self, request: ApplyEventRequest) -> Pending<'_, ApplyEventResult> {
        let mut pending = self.backend.call(request);
        pending.wait_until_handed_over();
        pending
    }

    /// Syncs what is not synced, stops background work and releases the directory, or says good-bye
    /// to the server.
    ///
    /// Every other handle to the database answers `Closed` from then on.
    pub fn close(&self) -> Result<()> {
        self.backend.close()
    }

    /// Begins the watch that `request` asks for.
    pub fn watch<R: OperationRequest>(&self, request: R) -> Result<(R::Result, Subscription)> {
        let request = request.into_request();
        let (outcome, events) = match &self.backend {
            Backend::Embedded(engine) => {
                let (outcome, events) = engine.subscribe(engine.command(request))?;
                (outcome, Events::Embedded { inner: events.into(), _engine: engine.clone() })
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                let (outcome, events) = client.subscribe(request).wait()?;
                (outcome, Events::Remote(events))
            }
        };
        Ok((backend::of::<R>(outcome)?, Subscription(events)))
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
        pub fn $method(&self, request: $request) -> Result<($result, Subscription)> {
            self.watch(request)
        }
    };
    (@ $place:ident $(#[doc = $doc:literal])+ $method:ident $request:ident $result:ident) => {
        $(#[doc = $doc])+
        pub fn $method(&self, request: $request) -> Result<$result> {
            self.run(request)
        }
    };
}

rstmdb_types::for_each_operation!(methods);

/// A stream of events. Dropping it ends the subscription; until then the database stays open, also when
/// nobody else has a handle to it.
///
/// As an iterator it waits for each event and ends when the database is closed.
#[derive(Debug)]
pub struct Subscription(Events);

#[derive(Debug)]
enum Events {
    Embedded {
        inner: Box<rstmdb_engine::Subscription>,
        /// The last one to go closes the database. A client's subscription has its own.
        _engine: Arc<Engine>,
    },
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Subscription),
}

impl Subscription {
    /// Waits at most `timeout` for the next event; `None` when none came in time.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<InstanceEvent>> {
        match &mut self.0 {
            Events::Embedded { inner, .. } => inner.next_timeout(timeout),
            #[cfg(feature = "remote")]
            Events::Remote(inner) => inner.next_timeout(timeout),
        }
    }

    /// The offset to resume from after the events received so far.
    pub fn resume_offset(&self) -> Offset {
        match &self.0 {
            Events::Embedded { inner, .. } => inner.resume_offset(),
            #[cfg(feature = "remote")]
            Events::Remote(inner) => inner.resume_offset(),
        }
    }

    /// The history that the change before it belongs to: the `history_id` that goes with it.
    pub fn history_id(&self) -> Option<Text> {
        match &self.0 {
            Events::Embedded { inner, .. } => inner.position().history_id,
            #[cfg(feature = "remote")]
            Events::Remote(inner) => inner.position().history_id.clone(),
        }
    }
}

impl Iterator for Subscription {
    type Item = Result<InstanceEvent>;

    fn next(&mut self) -> Option<Result<InstanceEvent>> {
        match &mut self.0 {
            Events::Embedded { inner, .. } => inner.next_blocking(),
            #[cfg(feature = "remote")]
            Events::Remote(inner) => inner.next_blocking(),
        }
    }
}
