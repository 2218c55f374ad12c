//! Random programs for runners of every language: files with steps, and the answers that the
//! reference model gives.
//!
//! `tests/conformance/SPEC.md`, "Programs", says what a runner does with one. A program for exchange
//! has nothing left to chance: each instance has an id, what depends on earlier answers is filled in
//! from the model, and no number prints differently from one language to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rstmdb_engine::Retention;
use rstmdb_types::{Error, InstanceEvent, Json, Limits, Operation, Result};
use serde_json::{Map, Value, json};

use crate::clock::START_MS;
use crate::model::Model;
use crate::program::{Program, Step};
use crate::target::{EVENT_TIMEOUT, Target, comparable, comparable_error};
use crate::watch_filter::WatchFilter;

/// The size of the pages that lists are read in at the end.
const PAGE: u64 = 7;
/// The records asked for in one read of the log at the end.
const LOG_PAGE: u64 = 20;

/// A program with its answers.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The file that runners read.
    pub program: Value,
    /// One line for each step, as every runner must write them.
    pub answers: String,
}

impl Exchange {
    /// The program that belongs to a seed.
    pub fn generate(seed: u64) -> Exchange {
        let program = Program::generate(seed);
        let mut writer = Writer {
            model: Model::new(program.settings.clone(), START_MS),
            steps: Vec::new(),
            answers: Vec::new(),
            watches: Vec::new(),
            watch_count: 0,
            made: BTreeMap::new(),
            last_made: "made".to_owned(),
        };
        for step in &program.steps {
            writer.step(step);
        }
        writer.finish();
        let options = options(&program);
        let program = json!({"seed": seed, "options": options, "steps": writer.steps});
        Exchange { program, answers: text(&writer.answers) }
    }
}

/// The options of an embedded database that a program runs with.
fn options(program: &Program) -> Value {
    let mut options = json!({
        "retention": "forever",
        "free_bytes_min": 0,
        "manual_clock_ms": START_MS,
        "fsync": program.options.fsync.to_string(),
        "segment_bytes_max": program.options.segment_bytes_max,
        "allow_flush_all": program.settings.allow_flush_all,
        "allow_instance_recreate": program.settings.allow_instance_recreate,
        "idempotency_window_ms": program.settings.idempotency_window_ms,
    });
    if program.options.retention == Retention::Forever {
        options["checkpoint_log_bytes"] = json!(program.options.checkpoint_log_bytes);
    }
    let (limits, usual) = (json!(program.settings.limits), json!(Limits::default()));
    let members = limits.as_object().into_iter().flatten();
    let changed: Map<String, Value> = members
        .filter(|(name, value)| usual[*name] != **value)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !changed.is_empty() {
        options["limits"] = changed.into();
    }
    options
}

/// The seeds whose programs every target is held to.
pub const SEEDS: Range<u64> = 100..130;

/// Runs their programs on the targets that `open` gives for their options.
pub fn check(open: &dyn Fn(&Value) -> Box<dyn Target>) {
    for seed in SEEDS {
        let exchange = Exchange::generate(seed);
        let answers = run(&exchange.program, &mut *open(&exchange.program["options"])).unwrap();
        let pairs = exchange.answers.lines().zip(answers.lines()).enumerate();
        for (index, (model, database)) in pairs {
            assert_eq!(database, model, "seed {seed}: {}", exchange.program["steps"][index]);
        }
        assert_eq!(answers, exchange.answers, "seed {seed}");
    }
}

/// Runs a program on a target with an empty database: what a runner of any language does.
pub fn run(program: &Value, target: &mut dyn Target) -> Result<String> {
    let mut stepper = Stepper::default();
    let steps = program["steps"].as_array().into_iter().flatten();
    let answers: Result<Vec<Value>> = steps.map(|step| stepper.step(step, target)).collect();
    Ok(text(&answers?))
}

/// Answers the steps of a program, one after the other.
#[derive(Debug, Default)]
pub struct Stepper {
    watches: BTreeMap<String, usize>,
}

impl Stepper {
    /// The answer to a step as its line has it, with the line feed.
    pub fn line(&mut self, step: &Value, target: &mut dyn Target) -> Result<String> {
        self.step(step, target).map(|answer| text(&[answer]))
    }

    fn step(&mut self, step: &Value, target: &mut dyn Target) -> Result<Value> {
        let args = step.get("args").cloned().unwrap_or_else(|| json!({}));
        let watch = step["watch"].as_str().unwrap_or_default();
        Ok(match step["op"].as_str().unwrap_or_default() {
            "REOPEN" => {
                if target.can_reopen() {
                    target.reopen()?;
                }
                Value::Null
            }
            "ADVANCE_CLOCK" => {
                target.advance(step["ms"].as_i64().unwrap_or_default());
                Value::Null
            }
            "EVENTS" => {
                let count = step["count"].as_u64().unwrap_or_default();
                let number = self.watches.get(watch).copied().unwrap_or_default();
                let next = |_| target.next_event(number, EVENT_TIMEOUT);
                let events: Result<Vec<_>> = (0..count).map(next).collect();
                comparable(&json!(events?))
            }
            op => {
                let operation = Operation::from_name(op).ok_or_else(|| {
                    Error::invalid(rstmdb_types::error::reason::INVALID_REQUEST, op.to_owned())
                })?;
                if matches!(operation, Operation::WatchInstance | Operation::WatchAll) {
                    let outcome = target.watch(operation, &Json::from_value(&args));
                    if let Ok((number, _)) = &outcome {
                        self.watches.insert(watch.to_owned(), *number);
                    }
                    answer(step, &outcome.map(|(_, result)| result))
                } else {
                    answer_pages(step, &args, &mut |args| target.call(operation, args))
                }
            }
        })
    }
}

/// One canonical answer a line.
fn text(answers: &[Value]) -> String {
    answers.iter().map(|answer| Json::from_value(answer).as_str().to_owned() + "\n").collect()
}

fn answer(step: &Value, outcome: &Result<Json>) -> Value {
    let result = match outcome {
        Ok(result) => comparable(&result.to_value()),
        Err(error) => return comparable_error(error),
    };
    let Some(keep) = step.get("keep").and_then(Value::as_array) else { return result };
    let kept = keep.iter().filter_map(Value::as_str);
    kept.map(|name| (name.to_owned(), result[name].clone())).collect()
}

/// The answer of a step, or the list of those of its pages.
fn answer_pages(step: &Value, args: &Value, call: &mut dyn FnMut(&Json) -> Result<Json>) -> Value {
    if step.get("pages").is_none() {
        return answer(step, &call(&Json::from_value(args)));
    }
    let (mut args, mut pages) = (args.clone(), Vec::new());
    loop {
        let outcome = call(&Json::from_value(&args));
        pages.push(answer(step, &outcome));
        let result = outcome.map(|result| result.to_value()).unwrap_or_default();
        match result.get("next_cursor") {
            Some(cursor) => args["cursor"] = cursor.clone(),
            None => return pages.into(),
        }
    }
}

/// Makes the file and the answers of a program side by side.
struct Writer {
    model: Model,
    steps: Vec<Value>,
    answers: Vec<Value>,
    /// The watches that are open: their name, what they show, and the first offset not yet read.
    watches: Vec<(String, WatchFilter, u64)>,
    watch_count: usize,
    /// The ids of creates that had none, by request: a repeated request has its id again.
    made: BTreeMap<String, String>,
    last_made: String,
}

impl Writer {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Call(operation, request) => {
                let request = self.settle(*operation, request);
                self.call(*operation, &request);
            }
            Step::Watch(operation, request) => {
                let request = self.settle(*operation, request);
                self.watch(*operation, &request);
            }
            Step::Reopen => self.reopen(),
            Step::Advance(ms) => {
                self.model.now_ms += ms;
                self.push(json!({"op": "ADVANCE_CLOCK", "ms": ms}), Value::Null);
            }
        }
    }

    /// Reads everything there is, in the order in which a reader would come across it, and once more
    /// after a restart.
    fn finish(&mut self) {
        self.drain();
        self.watch(Operation::WatchAll, &json!({"from_offset": 1, "include_lifecycle": true}));
        self.drain();
        let ids = self.ids();
        self.call(Operation::ListMachines, &json!({}));
        let machines = self.answers.last().cloned().unwrap_or_default();
        for item in machines["items"].as_array().into_iter().flatten() {
            for version in item["versions"].as_array().into_iter().flatten() {
                let request = json!({"machine": item["machine"], "version": version});
                self.call(Operation::GetMachine, &request);
            }
        }
        let mut from = 1;
        while from <= self.model.latest_offset() {
            self.call(Operation::WalRead, &json!({"from_offset": from, "limit": LOG_PAGE}));
            from += LOG_PAGE;
        }
        for id in &ids {
            let request = json!({"instance_id": id, "limit": PAGE, "order": "oldest"});
            self.pages(Operation::History, request);
            self.call(Operation::Permitted, &json!({"instance_id": id}));
        }
        for is_last in [false, true] {
            self.pages(Operation::ListInstances, json!({"limit": PAGE}));
            self.call(Operation::CountInstances, &json!({}));
            for id in &ids {
                self.call(Operation::GetInstance, &json!({"instance_id": id}));
            }
            if !is_last {
                self.reopen();
            }
        }
    }

    /// Every id there ever was, deleted ones too.
    fn ids(&mut self) -> BTreeSet<String> {
        let everything = json!({"include_lifecycle": true});
        let filter = WatchFilter::parse(Operation::WatchAll, &Json::from_value(&everything));
        let events = self.model.events_from(1, &filter);
        events.into_iter().map(|event| event.instance_id.as_str().to_owned()).collect()
    }

    fn push(&mut self, step: Value, answer: Value) {
        self.steps.push(step);
        self.answers.push(answer);
    }

    fn call(&mut self, operation: Operation, request: &Value) {
        let mut step = json!({"op": operation.wire_name(), "args": request});
        if let Some(keep) = kept(operation) {
            step["keep"] = json!(keep);
        }
        let answer = answer(&step, &self.model.call(operation, &Json::from_value(request)));
        self.push(step, answer);
    }

    fn pages(&mut self, operation: Operation, request: Value) {
        let step = json!({"op": operation.wire_name(), "args": request, "pages": true});
        let model = &mut self.model;
        let answer = answer_pages(&step, &request, &mut |args| model.call(operation, args));
        self.push(step, answer);
    }

    fn watch(&mut self, operation: Operation, request: &Value) {
        let name = format!("watch-{}", self.watch_count);
        self.watch_count += 1;
        let mut step = json!({"op": operation.wire_name(), "args": request, "watch": name});
        step["keep"] = json!(kept(operation));
        let json = Json::from_value(request);
        let outcome = self.model.call(operation, &json);
        if outcome.is_ok() {
            let filter = WatchFilter::parse(operation, &json);
            let position = filter.replay_from().unwrap_or(self.model.latest_offset() + 1);
            self.watches.push((name, filter, position));
        }
        let answer = answer(&step, &outcome);
        self.push(step, answer);
    }

    fn reopen(&mut self) {
        self.drain();
        self.watches.clear();
        self.push(json!({"op": "REOPEN"}), Value::Null);
    }

    /// Reads every watch up to now.
    fn drain(&mut self) {
        let mut watches = std::mem::take(&mut self.watches);
        for (name, filter, position) in &mut watches {
            let events: Vec<InstanceEvent> = self.model.events_from(*position, filter);
            *position = (*position).max(self.model.latest_offset() + 1);
            if !events.is_empty() {
                let step = json!({"op": "EVENTS", "watch": name, "count": events.len()});
                self.push(step, comparable(&json!(events)));
            }
        }
        self.watches = watches;
    }

    /// A request without placeholders and without what languages write differently.
    fn settle(&mut self, operation: Operation, request: &Value) -> Value {
        let mut request = request.clone();
        self.name_creates(operation, &mut request);
        let mut request = self.fill_in(&request);
        drop_empty(&mut request);
        for op in request.get_mut("ops").and_then(Value::as_array_mut).into_iter().flatten() {
            drop_empty(&mut op["params"]);
        }
        request
    }

    /// Gives an id to every create without one.
    fn name_creates(&mut self, operation: Operation, request: &mut Value) {
        if operation == Operation::CreateInstance && request.get("instance_id").is_none() {
            let next = format!("made-{}", self.made.len());
            let id = self.made.entry(request.to_string()).or_insert(next).clone();
            request["instance_id"] = json!(id);
            self.last_made = id;
        }
        for op in request.get_mut("ops").and_then(Value::as_array_mut).into_iter().flatten() {
            if op["op"] == "CREATE_INSTANCE" {
                self.name_creates(Operation::CreateInstance, &mut op["params"]);
            }
        }
    }

    fn fill_in(&mut self, request: &Value) -> Value {
        match request {
            Value::String(text) if text == "$generated" => json!(self.last_made),
            Value::Object(members) if members.contains_key("$offset_of") => {
                let id = self.fill_in(&members["$offset_of"]);
                let request = json!({"instance_id": id});
                let answer = self.model.call(Operation::GetInstance, &request.into());
                answer.map_or(json!(1), |found| found.to_value()["last_wal_offset"].clone())
            }
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), self.fill_in(value))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.fill_in(item)).collect(),
            Value::Number(number) => portable(number),
            other => other.clone(),
        }
    }
}

/// Languages with optional arguments don't tell `null` from nothing.
fn drop_empty(params: &mut Value) {
    if let Some(members) = params.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
}

/// Integers of any size stay; of other numbers only those that every language prints alike, with a
/// point and a few digits.
fn portable(number: &serde_json::Number) -> Value {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 || float.abs() > 1e9 => json!(-0.125),
        _ if number.as_i64() == Some(-1) => json!(i64::MIN),
        _ => Value::Number(number.clone()),
    }
}

/// The members of an answer that the model knows; all where there is no list.
fn kept(operation: Operation) -> Option<&'static [&'static str]> {
    Some(match operation {
        Operation::Compact | Operation::ListSnapshots => &[],
        Operation::Info => &["instances", "latest_offset", "limits", "machines", "writable"],
        Operation::WalStats => &["entry_count", "first_offset", "latest_offset"],
        Operation::SnapshotInstance => &["instance_id", "wal_offset"],
        Operation::WatchAll => &["wal_offset"],
        Operation::WatchInstance => &["current_state", "current_wal_offset", "instance_id"],
        _ => return None,
    })
}
