//! What a program or a scenario runs on: a database, or the model.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rstmdb::blocking::{Database, Subscription};
use rstmdb_engine::{Engine, FsyncPolicy, Location, Options, Retention};
use rstmdb_types::error::reason;
use rstmdb_types::options::{self, Half};
use rstmdb_types::{Error, InstanceEvent, Json, JsonError, Operation, Result};
use serde_json::{Map, Value, json};

use crate::clock::{START_MS, TestClock};
use crate::faulty::{Crash, FaultyStorage, Rng};
use crate::model::{Model, Settings};
use crate::watch_filter::WatchFilter;

/// How long an event that must come may take. Only a hanging test ever waits that long.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A database that operations run on, watches included.
pub trait Target {
    /// Runs an operation that is not a watch.
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json>;

    /// Begins a watch; the number names it afterwards.
    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)>;

    /// The next event of a watch; `None` when `timeout` went by without one.
    fn next_event(&mut self, watch: usize, timeout: Duration) -> Result<Option<InstanceEvent>>;

    /// Whether the database outlives its closing.
    fn can_reopen(&self) -> bool {
        true
    }

    /// Closes the database and opens it again. Watches end.
    fn reopen(&mut self) -> Result<()>;

    /// Moves the database's clock on.
    fn advance(&mut self, ms: i64);
}

/// A database behind the blocking facade, wherever it is.
#[derive(Debug)]
pub struct DatabaseTarget {
    // Watches end before the database, and that before what it is on.
    watches: Vec<Subscription>,
    database: Database,
    ground: Box<dyn Ground>,
}

/// What a database is opened on, again and again.
pub(crate) trait Ground: Debug {
    /// Opens the database.
    fn open(&mut self) -> Result<Database>;

    /// Closes it.
    fn close(&mut self, database: &Database) -> Result<()> {
        database.close()
    }

    /// Whether it outlives that.
    fn can_reopen(&self) -> bool {
        true
    }

    /// Moves the clock on.
    fn advance(&mut self, ms: i64);
}

/// The engine in this process.
#[derive(Debug)]
struct Embedded {
    location: Location,
    options: Options,
    clock: Arc<TestClock>,
    is_in_memory: bool,
    /// Where the power goes instead of the database being closed, in a way that is drawn.
    crashes: Option<(FaultyStorage, Rng)>,
}

impl DatabaseTarget {
    /// Opens a database in memory; it can't be reopened.
    pub fn memory(options: Options) -> Result<DatabaseTarget> {
        DatabaseTarget::embedded(Location::memory(), options, true, None)
    }

    /// Opens a database in a directory.
    pub fn directory(path: &Path, options: Options) -> Result<DatabaseTarget> {
        DatabaseTarget::embedded(Location::directory(path), options, false, None)
    }

    /// Opens a database on a simulated disk. With the policy that promises to lose nothing, the power
    /// goes at every reopening, in a way that the seed decides.
    pub fn simulated(seed: u64, options: Options) -> Result<DatabaseTarget> {
        let disk = FaultyStorage::new(seed);
        let name = "simulated".to_owned();
        let location = Location { storage: Arc::new(disk.clone()), name, ..Location::memory() };
        let is_safe = options.fsync == FsyncPolicy::EveryWrite;
        let crashes = is_safe.then(|| (disk, Rng::new(seed)));
        DatabaseTarget::embedded(location, options, false, crashes)
    }

    fn embedded(
        location: Location,
        options: Options,
        is_in_memory: bool,
        crashes: Option<(FaultyStorage, Rng)>,
    ) -> Result<DatabaseTarget> {
        let clock = Arc::new(TestClock::new());
        let location = Location { clock: clock.clone(), ..location };
        DatabaseTarget::on(Embedded { location, options, clock, is_in_memory, crashes })
    }

    /// A database that somebody else keeps, by its URL.
    pub fn kept_elsewhere(url: &str) -> Result<DatabaseTarget> {
        DatabaseTarget::on(Elsewhere(url.to_owned()))
    }

    /// Opens a database for the first time.
    pub(crate) fn on(mut ground: impl Ground + 'static) -> Result<DatabaseTarget> {
        let database = ground.open()?;
        Ok(DatabaseTarget { watches: Vec::new(), database, ground: Box::new(ground) })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

/// Its clock is not ours.
#[derive(Debug)]
struct Elsewhere(String);

impl Ground for Elsewhere {
    fn open(&mut self) -> Result<Database> {
        Database::open(&self.0)
    }

    fn can_reopen(&self) -> bool {
        false
    }

    fn advance(&mut self, _ms: i64) {}
}

impl Ground for Embedded {
    fn open(&mut self) -> Result<Database> {
        let engine = Engine::open(self.location.clone(), self.options.clone())?;
        Ok(Database::from_engine(Arc::new(engine)))
    }

    fn close(&mut self, database: &Database) -> Result<()> {
        let Some((disk, rng)) = &mut self.crashes else { return database.close() };
        *disk = disk.crash(Crash::seeded(rng.next_u64()));
        self.location.storage = Arc::new(disk.clone());
        // The old one has no power left; whatever it says about that is right.
        let _ = database.close();
        Ok(())
    }

    fn can_reopen(&self) -> bool {
        !self.is_in_memory
    }

    fn advance(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
    }
}

impl Target for DatabaseTarget {
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        self.database.call(operation, request)
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)> {
        let misfit = |error: JsonError| Error::invalid(reason::INVALID_REQUEST, error.to_string());
        let (result, subscription) = if operation == Operation::WatchAll {
            let request = request.decode().map_err(misfit)?;
            let (result, watch) = self.database.watch_all(request)?;
            (Json::from_serialize(&result), watch)
        } else {
            let request = request.decode().map_err(misfit)?;
            let (result, watch) = self.database.watch_instance(request)?;
            (Json::from_serialize(&result), watch)
        };
        self.watches.push(subscription);
        Ok((self.watches.len() - 1, result.unwrap()))
    }

    fn next_event(&mut self, watch: usize, timeout: Duration) -> Result<Option<InstanceEvent>> {
        self.watches[watch].next_timeout(timeout)
    }

    fn can_reopen(&self) -> bool {
        self.ground.can_reopen()
    }

    fn reopen(&mut self) -> Result<()> {
        self.watches.clear();
        self.ground.close(&self.database)?;
        self.database = self.ground.open()?;
        Ok(())
    }

    fn advance(&mut self, ms: i64) {
        self.ground.advance(ms);
    }
}

/// Engine options with the same meaning as the model's settings.
pub fn options_of(settings: &Settings) -> Options {
    Options {
        limits: settings.limits.clone(),
        idempotency_window: Duration::from_millis(settings.idempotency_window_ms as u64),
        allow_instance_recreate: settings.allow_instance_recreate,
        allow_flush_all: settings.allow_flush_all,
        retention: Retention::Forever,
        free_bytes_min: 0,
        ..Options::default()
    }
}

/// The engine's options and the time at the beginning, from the options that an embedded database is
/// opened with.
pub fn read_options(given: &Value) -> std::result::Result<(Options, i64), String> {
    let mut options = options_of(&Settings::default());
    let mut given = given.as_object().ok_or("options are an object")?.clone();
    let start_ms = match given.remove("manual_clock_ms") {
        Some(start) => start.as_i64().ok_or("manual_clock_ms is a number")?,
        None => START_MS,
    };
    options::read(&mut options, Half::Embedded, &given).map_err(|error| error.to_string())?;
    Ok((options, start_ms))
}

/// The model as a target, to try scenarios on.
#[derive(Debug)]
pub struct ModelTarget {
    model: Model,
    watches: Vec<(WatchFilter, u64)>,
}

impl ModelTarget {
    /// An empty model.
    pub fn new(settings: Settings) -> ModelTarget {
        ModelTarget { model: Model::new(settings, START_MS), watches: Vec::new() }
    }
}

impl Target for ModelTarget {
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        self.model.call(operation, request)
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)> {
        let result = self.model.call(operation, request)?;
        let filter = WatchFilter::parse(operation, request);
        let position = filter.replay_from().unwrap_or(self.model.latest_offset() + 1);
        self.watches.push((filter, position));
        Ok((self.watches.len() - 1, result))
    }

    fn next_event(&mut self, watch: usize, _: Duration) -> Result<Option<InstanceEvent>> {
        let (filter, position) = &mut self.watches[watch];
        let next = self.model.events_from(*position, filter).into_iter().next();
        if let Some(event) = &next {
            *position = event.wal_offset + 1;
        }
        Ok(next)
    }

    fn reopen(&mut self) -> Result<()> {
        self.watches.clear();
        self.model.reopen();
        Ok(())
    }

    fn advance(&mut self, ms: i64) {
        self.model.now_ms += ms;
    }
}

/// Runs an operation on a request, for [`dump`].
pub type Call<'a> = dyn FnMut(Operation, &Value) -> Result<Json> + 'a;

/// Everything about a database that its operations show, as one JSON value.
///
/// Asked of two databases with the same history, the answers are the same text. `with_log` adds the
/// log and the histories.
pub fn dump(with_log: bool, call: &mut Call<'_>) -> Result<Value> {
    let log = if with_log { read_log(call)? } else { Vec::new() };
    let machines = call(Operation::ListMachines, &json!({}))?.to_value();
    let mut definitions = Vec::new();
    for item in machines["items"].as_array().unwrap() {
        for version in item["versions"].as_array().unwrap() {
            let request = json!({"machine": item["machine"], "version": version});
            definitions.push(call(Operation::GetMachine, &request)?.to_value());
        }
    }
    let list = read_pages(call, Operation::ListInstances, &json!({}), "instances")?;
    // Ids of deleted instances are only in the log.
    let created = log.iter().map(|record| &record["entry"]);
    let created = created.filter(|entry| entry["type"] == "create_instance");
    let ids = created.map(|entry| &entry["instance_id"]).chain(list.iter().map(|item| &item["id"]));
    let ids: BTreeSet<&str> = ids.filter_map(Value::as_str).collect();
    let mut instances = Map::new();
    for id in ids {
        let request = json!({"instance_id": id});
        let mut about = |operation| match call(operation, &request) {
            Ok(json) => json.to_value(),
            Err(error) => comparable_error(&error),
        };
        let mut entry = json!({
            "instance": about(Operation::GetInstance),
            "permitted": comparable(&about(Operation::Permitted)),
        });
        if with_log {
            entry["history"] = read_pages(call, Operation::History, &request, "events")?.into();
        }
        instances.insert(id.to_owned(), entry);
    }
    let counts = call(Operation::CountInstances, &json!({}))?.to_value();
    Ok(json!({
        "log": log,
        "machines": machines,
        "definitions": definitions,
        "instances": instances,
        "list": list,
        "counts": counts,
    }))
}

fn read_log(call: &mut Call<'_>) -> Result<Vec<Value>> {
    let mut log = Vec::new();
    let mut from = json!(1);
    loop {
        let request = json!({"from_offset": from, "limit": 50});
        let page = call(Operation::WalRead, &request)?.to_value();
        let records = page["records"].as_array().unwrap();
        if records.is_empty() {
            return Ok(log);
        }
        log.extend(records.iter().cloned());
        from = page["next_offset"].clone();
    }
}

/// Reads a list to its end in small pages, and checks that each says rightly whether more follow.
fn read_pages(
    call: &mut Call<'_>,
    operation: Operation,
    request: &Value,
    member: &str,
) -> Result<Vec<Value>> {
    const PAGE: usize = 7;
    let mut all = Vec::new();
    let mut request = request.clone();
    request["limit"] = json!(PAGE);
    loop {
        let page = match call(operation, &request) {
            Ok(page) => page.to_value(),
            Err(error) => return Ok(vec![comparable_error(&error)]),
        };
        let entries = page[member].as_array().unwrap();
        all.extend(entries.iter().cloned());
        match page.get("next_cursor") {
            Some(cursor) => request["cursor"] = cursor.clone(),
            None => return Ok(all),
        }
        assert_eq!(entries.len(), PAGE, "a page with a page after it is full: {page}");
    }
}

/// An answer without what may differ between two databases that agree: messages, cursors and histories
/// (only whether there is one counts), and what the model leaves open.
pub fn comparable(answer: &Value) -> Value {
    match answer {
        Value::Object(members) if members.contains_key("kind") && members.contains_key("code") => {
            let members = ["code", "kind", "reason", "retryable"].iter();
            members.map(|name| (name.to_string(), answer[*name].clone())).collect()
        }
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| *name != "message");
            let value = |name: &str, value: &Value| match name {
                "next_cursor" | "history_id" => Value::Bool(true),
                // These are what a user stored: no member of theirs is to be left out.
                "ctx" | "payload" | "initial_ctx" | "definition" => value.clone(),
                _ => comparable(value),
            };
            members.map(|(name, member)| (name.clone(), value(name, member))).collect()
        }
        Value::Array(items) => items.iter().map(comparable).collect(),
        other => other.clone(),
    }
}

/// An error without its texts; of its context only the index of the failing batch element.
pub fn comparable_error(error: &Error) -> Value {
    let mut value = comparable(&serde_json::to_value(error).unwrap());
    if let Some(index) = error.context().get("index") {
        value["index"] = index.clone();
    }
    json!({"error": value})
}
