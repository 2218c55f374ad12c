//! Runs a program on a database and on the model, and says where they first disagree.

use std::any::Any;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rstmdb_types::{InstanceEvent, Json, Operation, Result, Text};
use serde_json::{Value, json};

use crate::clock::START_MS;
use crate::model::Model;
use crate::program::{Program, Step};
use crate::seeds::{is_soak, number, seeds_and};
use crate::target::{EVENT_TIMEOUT, Target, comparable, comparable_error, dump};
use crate::watch_filter::WatchFilter;

/// Where a database and the model disagree.
#[derive(Debug, Clone)]
pub struct Divergence {
    /// The number of the step, and what was compared there.
    pub place: String,
    /// What the model says.
    pub model: Value,
    /// What the database says.
    pub database: Value,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, model, database) = first_difference("", &self.model, &self.database);
        write!(f, "{}, at {path:?}\n  model:    {model}\n  database: {database}", self.place)
    }
}

/// Where two values differ first, and the parts that do.
fn first_difference<'a>(
    path: &str,
    left: &'a Value,
    right: &'a Value,
) -> (String, &'a Value, &'a Value) {
    const ABSENT: &Value = &Value::Null;
    match (left, right) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let differing = a.keys().find(|key| a[*key] != b[*key]);
            match differing {
                Some(key) => first_difference(&format!("{path}.{key}"), &a[key], &b[key]),
                None => (path.to_owned(), left, right),
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let at = |list: &'a Vec<Value>, index| list.get(index).unwrap_or(ABSENT);
            let length = a.len().max(b.len());
            let differing = (0..length).find(|index| at(a, *index) != at(b, *index));
            match differing {
                Some(index) => {
                    first_difference(&format!("{path}[{index}]"), at(a, index), at(b, index))
                }
                None => (path.to_owned(), left, right),
            }
        }
        _ => (path.to_owned(), left, right),
    }
}

/// Whether they agree.
pub type Outcome = std::result::Result<(), Divergence>;

/// Seeds that found a bug once.
const REGRESSIONS: &[u64] = &[
    // A watch that had read a segment to its end called the log damaged when that was deleted.
    13,
];

/// How many programs each test of a normal run has, and of a long one.
const PROGRAMS: (u64, u64) = (150, 5_000);

/// Runs many programs from a seed on, one in `share` of the usual number.
///
/// A disagreement prints its seed, the line that replays it, and the shortest program found that
/// still shows it. `RSTMDB_SEED` runs one seed, `RSTMDB_PROGRAMS` that many, `RSTMDB_SOAK=1` a lot.
pub fn compare_many(test: &str, first: u64, share: u64, run: &dyn Fn(&Program) -> Outcome) {
    let usual = if is_soak() { PROGRAMS.1 } else { PROGRAMS.0 };
    let count = number("RSTMDB_PROGRAMS").unwrap_or(usual) / share;
    for seed in seeds_and(REGRESSIONS, first, count, count) {
        let program = Program::generate(seed);
        if let Err(divergence) = run(&program) {
            panic!("{}", report(test, &program, &divergence, run));
        }
    }
}

fn report(
    test: &str,
    program: &Program,
    divergence: &Divergence,
    run: &dyn Fn(&Program) -> Outcome,
) -> String {
    let seed = program.seed;
    let mut text = format!(
        "seed {seed} disagrees at {divergence}\n\
         replay: RSTMDB_SEED={seed} cargo test -p {test}\n\n"
    );
    let short = program.shrink(&mut |shorter| run(shorter).is_err());
    match run(&short) {
        Ok(()) => text.push_str("the disagreement does not come every time"),
        Err(divergence) => {
            writeln!(text, "{:?}\n{:?}", short.settings, short.options).unwrap();
            for (index, step) in short.steps.iter().enumerate() {
                writeln!(text, "{index}: {step}").unwrap();
            }
            writeln!(text, "disagrees at {divergence}").unwrap();
        }
    }
    text
}

/// Runs the program on the database that `open` gives and on the model.
///
/// A panic of the database is a divergence like any other.
pub fn compare<T: Target>(program: &Program, open: &dyn Fn(&Program) -> T) -> Outcome {
    let run = || {
        let mut comparison = Comparison::new(program, open(program));
        for (index, step) in program.steps.iter().enumerate() {
            comparison.place = format!("step {index}: {step}");
            comparison.step(step)?;
        }
        comparison.place = "the end".to_owned();
        comparison.drain_watches()?;
        comparison.replays()?;
        comparison.dumps()?;
        comparison.step(&Step::Reopen)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let database = json!(panicked(&*panic));
        Err(Divergence { place: "a panic".to_owned(), model: Value::Null, database })
    })
}

/// What a panic says.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
}

struct Comparison<T> {
    model: Model,
    target: T,
    watches: Vec<OpenWatch>,
    /// The id that a create without an id got last.
    generated: Text,
    place: String,
}

struct OpenWatch {
    number: usize,
    filter: WatchFilter,
    /// The first offset not yet compared.
    position: u64,
}

impl<T: Target> Comparison<T> {
    fn new(program: &Program, target: T) -> Comparison<T> {
        let model = Model::new(program.settings.clone(), START_MS);
        let generated = Text::default();
        Comparison { model, target, watches: Vec::new(), generated, place: String::new() }
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Call(operation, request) => {
                let request = self.fill_in(request);
                if *operation == Operation::Compact {
                    // What a watch has not read yet may be cut off.
                    self.drain_watches()?;
                }
                let latest = self.model.latest_offset();
                self.call(*operation, &request)?;
                if *operation != Operation::Compact {
                    return Ok(());
                }
                let target = &mut self.target;
                let read = &mut |request: &Json| target.call(Operation::WalRead, request);
                self.model.follow(latest, read);
                self.dumps()
            }
            Step::Watch(operation, request) => {
                let request = self.fill_in(request);
                self.watch(*operation, &Json::from_value(&request))
            }
            Step::Reopen if !self.target.can_reopen() => Ok(()),
            Step::Reopen => {
                self.drain_watches()?;
                self.reopen()?;
                self.dumps()
            }
            Step::Advance(ms) => {
                self.model.now_ms += ms;
                self.target.advance(*ms);
                Ok(())
            }
        }
    }

    fn call(&mut self, operation: Operation, request: &Value) -> Outcome {
        let json = Json::from_value(request);
        let answer = self.target.call(operation, &json);
        self.model.generated_ids.clear();
        if let Ok(answer) = &answer {
            let ids = generated_ids(operation, request, &answer.to_value());
            if let Some(last) = ids.last() {
                self.generated = last.clone();
            }
            self.model.generated_ids.extend(ids);
        }
        let expected = self.model.call(operation, &json);
        self.same(modelled(operation, &expected), modelled(operation, &answer))
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Outcome {
        let expected = self.model.call(operation, request);
        let answer = self.target.watch(operation, request);
        if let Ok((number, _)) = &answer {
            let filter = WatchFilter::parse(operation, request);
            let position = filter.replay_from().unwrap_or(self.model.latest_offset() + 1);
            self.watches.push(OpenWatch { number: *number, filter, position });
        }
        let answer = answer.map(|(_, result)| result);
        self.same(modelled(operation, &expected), modelled(operation, &answer))
    }

    /// Reads every watch up to now.
    fn drain_watches(&mut self) -> Outcome {
        let mut watches = std::mem::take(&mut self.watches);
        for watch in &mut watches {
            let expected = self.model.events_from(watch.position, &watch.filter);
            watch.position = watch.position.max(self.model.latest_offset() + 1);
            let place = format!("events of watch {}", watch.number);
            for event in expected {
                let got = self.target.next_event(watch.number, EVENT_TIMEOUT);
                self.same_event(&place, Some(event), got)?;
            }
            let more = self.target.next_event(watch.number, Duration::ZERO);
            self.same_event(&place, None, more)?;
        }
        self.watches = watches;
        Ok(())
    }

    /// What a watch replays is what it would have shown live, from wherever it begins.
    fn replays(&mut self) -> Outcome {
        let latest = self.model.latest_offset();
        for from in [1, latest / 2, latest, latest + 1, latest + 5] {
            let request = json!({"from_offset": from, "include_lifecycle": true});
            self.place = format!("a replay from {from}");
            self.watch(Operation::WatchAll, &Json::from_value(&request))?;
        }
        self.drain_watches()
    }

    fn reopen(&mut self) -> Outcome {
        self.watches.clear();
        let reopened = self.target.reopen();
        self.same(
            json!("reopened"),
            match reopened {
                Ok(()) => json!("reopened"),
                Err(error) => json!(format!("{error:?}")),
            },
        )
    }

    /// Compares all that can be asked, and tells the model where the log begins now.
    fn dumps(&mut self) -> Outcome {
        let stats = self.target.call(Operation::WalStats, &Json::empty_object());
        let stats = stats.map(|stats| stats.to_value()).unwrap_or_default();
        let first = stats["first_offset"].as_u64().unwrap_or_default();
        let fits = first >= self.model.first_offset && first <= self.model.latest_offset() + 1;
        self.same(json!(true), if fits { json!(true) } else { stats })?;
        self.model.first_offset = first;
        let target = &mut self.target;
        let database = dump(true, &mut |op, request| target.call(op, &request.into()));
        let model = &mut self.model;
        let expected = dump(true, &mut |op, request| model.call(op, &request.into()));
        let place = format!("{}, the dump after it", self.place);
        let database = database.unwrap_or_else(|error| comparable_error(&error));
        differ(place, expected.unwrap(), database)
    }

    /// Replaces the placeholders of a request.
    fn fill_in(&mut self, request: &Value) -> Value {
        match request {
            Value::String(text) if text == "$generated" => json!(self.generated),
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
            other => other.clone(),
        }
    }

    fn same(&self, model: Value, database: Value) -> Outcome {
        differ(self.place.clone(), model, database)
    }

    fn same_event(
        &self,
        place: &str,
        expected: Option<InstanceEvent>,
        got: Result<Option<InstanceEvent>>,
    ) -> Outcome {
        let place = format!("{}, {place}", self.place);
        let got = match got {
            Ok(event) => comparable(&json!(event)),
            Err(error) => comparable_error(&error),
        };
        differ(place, comparable(&json!(expected)), got)
    }
}

fn differ(place: String, model: Value, database: Value) -> Outcome {
    if model == database { Ok(()) } else { Err(Divergence { place, model, database }) }
}

/// The part of an answer that the model knows.
pub fn modelled(operation: Operation, answer: &Result<Json>) -> Value {
    let answer = match answer {
        Ok(answer) => comparable(&answer.to_value()),
        Err(error) => return comparable_error(error),
    };
    let members: &[&str] = match operation {
        Operation::Compact => &[],
        Operation::Info => &["instances", "machines", "latest_offset", "writable", "limits"],
        Operation::WalStats => &["entry_count", "latest_offset", "first_offset"],
        Operation::SnapshotInstance => &["instance_id", "wal_offset"],
        Operation::ListSnapshots => {
            let snapshots = answer["snapshots"].as_array().into_iter().flatten();
            return snapshots.map(|snapshot| snapshot["wal_offset"].clone()).collect();
        }
        Operation::WatchAll => &["wal_offset"],
        Operation::WatchInstance => &["instance_id", "current_state", "current_wal_offset"],
        // That an earlier life of the id was cut off is certain only on a page that reaches the cut.
        Operation::History
            if answer.get("next_cursor").is_some() || answer["events"] == json!([]) =>
        {
            &["events", "next_cursor", "first_offset"]
        }
        _ => return answer,
    };
    members.iter().map(|name| (name.to_string(), answer[*name].clone())).collect()
}

/// The ids that the creates without an id in a request were answered with.
pub fn generated_ids(operation: Operation, request: &Value, answer: &Value) -> Vec<Text> {
    let id = |request: &Value, result: &Value| match request.get("instance_id") {
        None => result["instance_id"].as_str().map(Text::from),
        Some(_) => None,
    };
    match operation {
        Operation::CreateInstance => id(request, answer).into_iter().collect(),
        Operation::Batch => {
            let pairs = request["ops"]
                .as_array()
                .into_iter()
                .flatten()
                .zip(answer["results"].as_array().into_iter().flatten());
            let creates = pairs.filter(|(op, _)| op["op"] == "CREATE_INSTANCE");
            creates.filter_map(|(op, outcome)| id(&op["params"], &outcome["result"])).collect()
        }
        _ => Vec::new(),
    }
}
