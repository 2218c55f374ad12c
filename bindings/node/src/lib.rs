//! The native addon of the TypeScript package: JSON text in, JSON text out.
//!
//! It converts and hands on, and knows nothing of any operation. An answer that is there at once is
//! returned as text; otherwise a ticket number is returned, and the answer comes with others in one
//! call of the function that the package gave to its `Environment`.
//!
//! A text that begins with `!` is an error, one that begins with `#` holds an integer that a
//! JavaScript number would round, and any other is the JSON of the result.

mod answer;
mod environment;

use std::sync::{Arc, OnceLock};

use napi::bindgen_prelude::{Either, Either3, FnArgs, Function, ObjectFinalize};
use napi::{Env, JsString, Result};
use napi_derive::napi;
use parking_lot::Mutex;
use rstmdb_bridge as bridge;
use rstmdb_bridge::types::{BatchOutcome, BatchRequest, BatchResult, Outcome};

use environment::Hub;

/// A text, or the number of the ticket it will come with.
type TextOrTicket = Either<String, u32>;

/// The same as JavaScript keeps it.
type Given<'env> = Either<JsString<'env>, u32>;

/// The same, or the results of a batch.
type GivenOrKept<'env> = Either3<NativeResults, JsString<'env>, u32>;

/// The function that takes finished tickets and their answers.
type Complete<'a> = Function<'a, FnArgs<(Vec<u32>, Vec<String>)>, ()>;

/// The version of the addon, which must be the package's.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Looks at a JSON text as at a value of a request: gives it back as a result is given, or the error.
#[napi]
pub fn read_json(text: String) -> String {
    match bridge::types::Json::parse(&text) {
        Ok(_) => answer::exact(text),
        Err(refused) => answer::failure(&refused.into_error("parse")),
    }
}

/// What the addon keeps for one JavaScript thread; it ends with that thread.
#[napi]
#[derive(Debug)]
pub struct Environment {
    hub: Arc<Hub>,
}

#[napi]
impl Environment {
    /// `complete` gets all answers that are there, in one call.
    #[napi(constructor)]
    pub fn new(env: &Env, complete: Complete<'_>) -> Result<Self> {
        let hub = Hub::new(complete)?;
        let leaving = Arc::clone(&hub);
        env.add_env_cleanup_hook(leaving, |hub| hub.leave())?;
        Ok(Environment { hub })
    }

    /// Sends what the core has to say, of `level` and above, as ticket 0: a list of level, part and
    /// text. `off` ends it.
    #[napi]
    pub fn log(&self, level: String) -> Result<()> {
        self.hub.log(&level).map_err(answer::thrown)
    }

    /// What was begun since the last time is written together: the thread comes back to its event loop.
    #[napi]
    pub fn end_turn(&self) {
        self.hub.turn.end();
    }

    /// Gives a ticket up: its answer will not come. False when it is already on its way.
    #[napi]
    pub fn cancel(&self, ticket: u32) -> bool {
        self.hub.cancel(ticket)
    }
}

/// One open database.
#[napi]
#[derive(Debug)]
pub struct NativeDatabase {
    hub: Arc<Hub>,
    number: u32,
    database: bridge::Database,
    opening: Mutex<Option<bridge::Started<()>>>,
}

#[napi]
impl NativeDatabase {
    /// Begins to open; `opened` says how it went.
    #[napi(constructor)]
    pub fn new(environment: &Environment, url: String, options: String) -> Result<Self> {
        let opened = bridge::guard(|| bridge::Database::open_start(&url, &options));
        let (database, opening) = opened.map_err(answer::thrown)?;
        let hub = Arc::clone(&environment.hub);
        let number = hub.enter(&database);
        Ok(NativeDatabase { hub, number, database, opening: Mutex::new(Some(opening)) })
    }

    /// Whether it could be opened. To be asked once.
    #[napi]
    pub fn opened(&self) -> TextOrTicket {
        match self.opening.lock().take() {
            Some(opening) => self.hub.outcome(opening, |()| "null".to_owned()),
            None => Either::A("null".to_owned()),
        }
    }

    /// Begins an operation.
    #[napi]
    pub fn start<'env>(
        &self,
        env: &'env Env,
        operation: u32,
        request: String,
    ) -> Result<Given<'env>> {
        let outcome = match answer::operation(operation) {
            Ok(operation) => {
                let started = self.database.start_json(operation, request.as_bytes());
                self.hub.outcome(started, answer::exact)
            }
            Err(error) => Either::A(answer::failure(&error)),
        };
        answer::given(env, outcome)
    }

    /// Begins a batch. Results that are there at once stay on this side until somebody looks at them.
    #[napi]
    pub fn start_batch<'env>(&self, env: &'env Env, request: String) -> Result<GivenOrKept<'env>> {
        let outcome = match self.database.start_read::<BatchRequest>(request.as_bytes()) {
            bridge::Started::Ready(Ok(result)) => {
                return NativeResults::new(env, result).map(Either3::A);
            }
            started => self.hub.outcome(started, |result| answer::of(&result)),
        };
        Ok(match answer::given(env, outcome)? {
            Either::A(text) => Either3::B(text),
            Either::B(ticket) => Either3::C(ticket),
        })
    }

    /// Moves the clock of a database that was opened with one that stands still.
    #[napi]
    pub fn advance_clock(&self, ms: i64) -> TextOrTicket {
        match bridge::guard(|| self.database.advance_clock(ms)) {
            Ok(()) => Either::A("null".to_owned()),
            Err(error) => Either::A(answer::failure(&error)),
        }
    }

    /// Ends the database; ready when all is settled.
    #[napi]
    pub fn close(&self) -> TextOrTicket {
        self.hub.outcome(self.database.close_start(), |()| "null".to_owned())
    }

    /// Whether it was closed.
    #[napi]
    pub fn is_closed(&self) -> bool {
        self.database.is_closed()
    }
}

impl Drop for NativeDatabase {
    fn drop(&mut self) {
        self.hub.forget(self.number);
    }
}

/// The results of a batch, for whoever looks at them.
#[napi(custom_finalize)]
#[derive(Debug)]
pub struct NativeResults {
    result: Mutex<Option<BatchResult>>,
    bytes: i64,
}

#[napi]
impl NativeResults {
    fn new(env: &Env, result: BatchResult) -> Result<NativeResults> {
        let outcomes = result.results.iter();
        let bytes: usize = outcomes.map(|outcome| size_of_val(outcome) + ctx_bytes(outcome)).sum();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Else the collector of JavaScript would see a few bytes.
        env.adjust_external_memory(bytes)?;
        Ok(NativeResults { result: Mutex::new(Some(result)), bytes })
    }

    /// Their text, as of any result. To be asked once.
    #[napi]
    pub fn text<'env>(&self, env: &'env Env) -> Result<JsString<'env>> {
        let result = self.result.lock().take();
        answer::string(env, result.map_or_else(|| "null".to_owned(), |result| answer::of(&result)))
    }
}

impl ObjectFinalize for NativeResults {
    fn finalize(self, env: Env) -> Result<()> {
        env.adjust_external_memory(-self.bytes).map(drop)
    }
}

/// The bytes of the contexts that an outcome of a batch keeps.
fn ctx_bytes(outcome: &BatchOutcome) -> usize {
    match &outcome.result {
        Some(Outcome::ApplyEvent(applied)) => applied.ctx.as_str().len(),
        Some(Outcome::GetInstance(instance)) => instance.ctx.as_str().len(),
        _ => 0,
    }
}

/// A watch that begins when it is asked for.
#[napi]
#[derive(Debug)]
pub struct NativeWatch {
    hub: Arc<Hub>,
    starting: Mutex<Option<bridge::Started<(String, bridge::Watch)>>>,
    watch: Arc<OnceLock<bridge::Watch>>,
}

#[napi]
impl NativeWatch {
    /// Begins to watch; `started` says how it went.
    #[napi(constructor)]
    pub fn new(database: &NativeDatabase, operation: u32, request: String) -> Result<Self> {
        let operation = answer::operation(operation).map_err(answer::thrown)?;
        let starting = database.database.watch_start_json(operation, request.as_bytes());
        Ok(NativeWatch {
            hub: Arc::clone(&database.hub),
            starting: Mutex::new(Some(starting)),
            watch: Arc::default(),
        })
    }

    /// The result of the operation. To be asked once, before all else.
    #[napi]
    pub fn started(&self) -> TextOrTicket {
        let Some(starting) = self.starting.lock().take() else {
            return Either::A("null".to_owned());
        };
        let place = Arc::clone(&self.watch);
        self.hub.outcome(starting, move |(text, watch)| {
            // It is set once: `starting` was taken.
            drop(place.set(watch));
            answer::exact(text)
        })
    }

    /// The next events, as a list; `null` when the watch has ended.
    #[napi]
    pub fn next<'env>(&self, env: &'env Env, events_max: u32) -> Result<Given<'env>> {
        let Some(watch) = self.watch.get() else {
            return answer::given(env, Either::A("null".to_owned()));
        };
        let started = watch.next_start(usize::try_from(events_max).unwrap_or(1));
        let outcome = self.hub.outcome(started, |events| match events {
            Some(events) => answer::exact(events.take_json()),
            None => "null".to_owned(),
        });
        answer::given(env, outcome)
    }

    /// Where a later watch goes on without gap or repeat, in digits.
    #[napi]
    pub fn resume_offset(&self) -> String {
        self.watch.get().map_or(0, |watch| watch.position().next).to_string()
    }

    /// The history that the change before it belongs to; empty where nobody has told it.
    #[napi]
    pub fn history_id(&self) -> String {
        let id = self.watch.get().and_then(|watch| watch.position().history_id);
        id.map(Into::into).unwrap_or_default()
    }

    /// Ends the watch.
    #[napi]
    pub fn end(&self) {
        if let Some(watch) = self.watch.get() {
            watch.end();
        }
    }
}

impl Drop for NativeWatch {
    fn drop(&mut self) {
        self.end();
    }
}
