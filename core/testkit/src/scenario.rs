//! The Rust runner of the conformance scenarios; `tests/conformance/SPEC.md` says what it must do.

use std::collections::BTreeMap;

use rstmdb_types::{Error, Json, Limits, Operation, Result};
use serde_json::{Map, Value, json};

use crate::model::Settings;
use crate::target::{EVENT_TIMEOUT, Target};

/// The members of a scenario file.
pub const FILE_MEMBERS: &[&str] = &["$schema", "operation", "values", "scenarios"];
/// The members of a scenario.
pub const SCENARIO_MEMBERS: &[&str] = &["name", "requires", "options", "steps"];
/// The members of a step.
pub const STEP_MEMBERS: &[&str] =
    &["op", "args", "expect", "error", "save", "watch", "events", "ms", "note"];
/// The members of an expected error.
pub const ERROR_MEMBERS: &[&str] = &["code", "kind", "reason", "retryable", "context"];
/// Steps that are not operations of a database.
pub const RUNNER_OPS: &[&str] = &["EXPECT_EVENTS", "REOPEN", "ADVANCE_CLOCK"];
/// What a scenario may require of its target.
pub const FEATURES: &[&str] = &["options", "reopen", "clock"];
/// The options a scenario may set.
pub const OPTIONS: &[&str] =
    &["allow_flush_all", "allow_instance_recreate", "idempotency_window_ms", "limits"];
/// The matchers of expectations.
pub const MATCHERS: &[&str] =
    &["$any", "$int", "$string", "$absent", "$ref", "$len", "$gt", "$contains", "$exact"];
/// What may stand in arguments in place of a value.
pub const MAKERS: &[&str] = &["$ref", "$repeat"];

/// One scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it shows, in words.
    pub name: String,
    /// The features its target must have.
    pub requires: Vec<String>,
    /// How its database is opened.
    pub settings: Settings,
    /// The same as the file has it.
    pub options: Value,
    /// What `$ref` finds from the start.
    values: BTreeMap<String, Value>,
    steps: Vec<Value>,
}

/// What is wrong with a scenario file, or which step of a scenario failed and why.
pub type Fault = String;

/// Reads a scenario file and checks its structure; gives the operation it belongs to.
pub fn read(text: &str) -> std::result::Result<(Operation, Vec<Scenario>), Fault> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let members = members(&file, FILE_MEMBERS, "the file")?;
    let name = members.get("operation").and_then(Value::as_str).unwrap_or_default();
    let operation = Operation::from_name(name).filter(|operation| operation.wire_name() == name);
    let operation = operation.ok_or_else(|| format!("operation is {name:?}, not a wire name"))?;
    let values = members.get("values").and_then(Value::as_object).cloned().unwrap_or_default();
    let values: BTreeMap<String, Value> = values.into_iter().collect();
    let scenarios = members.get("scenarios").and_then(Value::as_array);
    let scenarios = scenarios.ok_or("scenarios must be a list")?;
    let scenarios: Vec<Scenario> = scenarios
        .iter()
        .map(|scenario| read_scenario(scenario, &values))
        .collect::<std::result::Result<_, _>>()?;
    let mut names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two scenarios are named {:?}", pair[0])),
        None => Ok((operation, scenarios)),
    }
}

fn read_scenario(
    scenario: &Value,
    values: &BTreeMap<String, Value>,
) -> std::result::Result<Scenario, Fault> {
    let read = members(scenario, SCENARIO_MEMBERS, "a scenario")?;
    let name = read.get("name").and_then(Value::as_str).ok_or("a scenario has no name")?;
    let at = |fault: Fault| format!("{name}: {fault}");
    let requires = strings(read.get("requires")).ok_or_else(|| at("requires: names".into()))?;
    if let Some(unknown) = requires.iter().find(|name| !FEATURES.contains(&name.as_str())) {
        return Err(at(format!("requires {unknown:?}, expected one of {FEATURES:?}")));
    }
    let settings = read_options(read.get("options")).map_err(at)?;
    let steps = read.get("steps").and_then(Value::as_array).filter(|steps| !steps.is_empty());
    let steps = steps.ok_or_else(|| at("steps must be a list that is not empty".into()))?;
    for (index, step) in steps.iter().enumerate() {
        check_step(step).map_err(|fault| at(format!("step {index}: {fault}")))?;
    }
    let uses = |op: &str| steps.iter().any(|step| step["op"] == op);
    for (feature, used) in [
        ("options", read.contains_key("options")),
        ("reopen", uses("REOPEN")),
        ("clock", uses("ADVANCE_CLOCK")),
    ] {
        if used != requires.iter().any(|name| name == feature) {
            return Err(at(format!("requires {feature:?} exactly when it uses it")));
        }
    }
    let options = read.get("options").cloned().unwrap_or_else(|| json!({}));
    let (name, values, steps) = (name.to_owned(), values.clone(), steps.clone());
    Ok(Scenario { name, requires, settings, options, values, steps })
}

fn read_options(options: Option<&Value>) -> std::result::Result<Settings, Fault> {
    let mut settings = Settings::default();
    let Some(options) = options else { return Ok(settings) };
    for (name, value) in members(options, OPTIONS, "options")? {
        let wrong = || format!("option {name} can't be {value}");
        let flag = || value.as_bool().ok_or_else(wrong);
        match name.as_str() {
            "allow_flush_all" => settings.allow_flush_all = flag()?,
            "allow_instance_recreate" => settings.allow_instance_recreate = flag()?,
            "idempotency_window_ms" => {
                settings.idempotency_window_ms = value.as_i64().ok_or_else(wrong)?;
            }
            _ => {
                // Readers of limits pass over those they don't know; here that is a slip.
                let known = json!(Limits::default());
                let known = known.as_object().into_iter().flat_map(Map::keys);
                let known: Vec<&str> = known.map(String::as_str).collect();
                members(value, &known, "limits")?;
                let limits = serde_json::from_value::<Limits>(value.clone());
                settings.limits = limits.map_err(|error| format!("limits: {error}"))?;
            }
        }
    }
    Ok(settings)
}

fn check_step(step: &Value) -> std::result::Result<(), Fault> {
    let read = members(step, STEP_MEMBERS, "a step")?;
    let op = read.get("op").and_then(Value::as_str).ok_or("op is missing")?;
    let known = Operation::from_name(op).is_some_and(|operation| operation.wire_name() == op);
    let (needed, allowed): (&[&str], &[&str]) = match op {
        "EXPECT_EVENTS" => (&["watch", "events"], &[]),
        "REOPEN" => (&[], &[]),
        "ADVANCE_CLOCK" => (&["ms"], &[]),
        "WATCH_INSTANCE" | "WATCH_ALL" => (&[], &["args", "expect", "error", "save", "watch"]),
        _ if known => (&[], &["args", "expect", "error", "save"]),
        _ => return Err(format!("unknown op {op:?}")),
    };
    if let Some(missing) = needed.iter().find(|name| !read.contains_key(**name)) {
        return Err(format!("{op} needs {missing:?}"));
    }
    let fits = |name: &str| ["op", "note"].contains(&name) || needed.contains(&name);
    if let Some(extra) = read.keys().find(|name| !fits(name) && !allowed.contains(&name.as_str())) {
        return Err(format!("{op} has no {extra:?}"));
    }
    if read.contains_key("expect") && read.contains_key("error") {
        return Err("a step has expect or error, not both".into());
    }
    if let Some(error) = read.get("error") {
        members(error, ERROR_MEMBERS, "error")?;
    }
    let args = read.get("args").unwrap_or(&Value::Null);
    check_dollars(args, MAKERS)?;
    for expected in ["expect", "error", "events"].iter().filter_map(|name| read.get(*name)) {
        check_dollars(expected, MATCHERS)?;
    }
    Ok(())
}

/// Refuses `$` words that nobody knows.
fn check_dollars(value: &Value, known: &[&str]) -> std::result::Result<(), Fault> {
    match value {
        Value::Object(members) => {
            let words = members.keys().filter(|name| name.starts_with('$'));
            for word in words {
                if !known.contains(&word.as_str()) || members.len() != 1 {
                    return Err(format!("{word:?} must be one of {known:?}, and alone"));
                }
            }
            members.values().try_for_each(|value| check_dollars(value, known))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_dollars(item, known)),
        _ => Ok(()),
    }
}

fn members<'a>(
    value: &'a Value,
    known: &[&str],
    what: &str,
) -> std::result::Result<&'a Map<String, Value>, Fault> {
    let members = value.as_object().ok_or_else(|| format!("{what} must be an object"))?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(format!("{what} has no {unknown:?}, expected one of {known:?}")),
        None => Ok(members),
    }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    let Some(value) = value else { return Some(Vec::new()) };
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

impl Scenario {
    /// Whether it calls `operation` and expects success, or expects an error.
    pub fn shows(&self, operation: Operation, success: bool) -> bool {
        self.steps.iter().any(|step| {
            step["op"] == operation.wire_name() && step.get("error").is_none() == success
        })
    }

    /// The reasons of the errors it expects.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.steps.iter().filter_map(|step| step["error"]["reason"].as_str());
        reasons.map(str::to_owned).collect()
    }

    /// Runs the scenario on a target with an empty database.
    pub fn run(&self, target: &mut dyn Target) -> std::result::Result<(), Fault> {
        let mut run = Run { target, saved: self.values.clone(), watches: BTreeMap::new() };
        for (index, step) in self.steps.iter().enumerate() {
            run.step(step).map_err(|fault| format!("{}: step {index}: {fault}", self.name))?;
        }
        Ok(())
    }
}

struct Run<'a> {
    target: &'a mut dyn Target,
    saved: BTreeMap<String, Value>,
    watches: BTreeMap<String, usize>,
}

impl Run<'_> {
    fn step(&mut self, step: &Value) -> std::result::Result<(), Fault> {
        match step["op"].as_str().unwrap_or_default() {
            "REOPEN" => {
                self.watches.clear();
                self.target.reopen().map_err(|error| format!("REOPEN: {error:?}"))
            }
            "ADVANCE_CLOCK" => {
                self.target.advance(step["ms"].as_i64().ok_or("ms must be an integer")?);
                Ok(())
            }
            "EXPECT_EVENTS" => self.expect_events(step),
            op => {
                let operation = Operation::from_name(op).ok_or("unknown op")?;
                let outcome = self.call(operation, step);
                self.check(step, outcome)
            }
        }
    }

    fn call(&mut self, operation: Operation, step: &Value) -> Result<Value> {
        let args = self.make(step.get("args").unwrap_or(&json!({})));
        let args = Json::from_value(&args);
        if !matches!(operation, Operation::WatchInstance | Operation::WatchAll) {
            return self.target.call(operation, &args).map(|result| result.to_value());
        }
        let (number, result) = self.target.watch(operation, &args)?;
        if let Some(name) = step.get("watch").and_then(Value::as_str) {
            self.watches.insert(name.to_owned(), number);
        }
        Ok(result.to_value())
    }

    fn check(&mut self, step: &Value, outcome: Result<Value>) -> std::result::Result<(), Fault> {
        let op = &step["op"];
        match (step.get("error"), outcome) {
            (Some(expected), Err(error)) => {
                let got = serde_json::to_value(&error).unwrap();
                self.matches(expected, Some(&got), "error").map_err(|fault| describe(&fault, &got))
            }
            (Some(_), Ok(got)) => Err(format!("{op} succeeded: {got}")),
            (None, Err(error)) => Err(format!("{op} failed: {}", one_line(&error))),
            (None, Ok(got)) => {
                if let Some(expected) = step.get("expect") {
                    self.matches(expected, Some(&got), "result")
                        .map_err(|fault| describe(&fault, &got))?;
                }
                self.save(step, &got)
            }
        }
    }

    fn save(&mut self, step: &Value, result: &Value) -> std::result::Result<(), Fault> {
        for (name, path) in step.get("save").and_then(Value::as_object).into_iter().flatten() {
            let path = path.as_str().ok_or("save takes paths")?;
            let pointer = if path.is_empty() { String::new() } else { format!("/{path}") };
            let value = result.pointer(&pointer.replace('.', "/"));
            let value = value.ok_or_else(|| format!("nothing at {path:?} to save in {result}"))?;
            self.saved.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn expect_events(&mut self, step: &Value) -> std::result::Result<(), Fault> {
        let name = step["watch"].as_str().unwrap_or_default();
        let number = *self.watches.get(name).ok_or_else(|| format!("no watch {name:?}"))?;
        let events = step["events"].as_array().ok_or("events must be a list")?;
        for (index, expected) in events.iter().enumerate() {
            let path = format!("event {index} of {name}");
            let got = self.target.next_event(number, EVENT_TIMEOUT);
            let got = got.map_err(|error| format!("{path}: {}", one_line(&error)))?;
            let got = got.ok_or_else(|| format!("{path} did not come"))?;
            let got = serde_json::to_value(&got).unwrap();
            self.matches(expected, Some(&got), &path).map_err(|fault| describe(&fault, &got))?;
        }
        Ok(())
    }

    /// Arguments with saved and repeated values in their places.
    fn make(&self, args: &Value) -> Value {
        match args {
            Value::Object(members) => {
                if let Some(name) = members.get("$ref").and_then(Value::as_str) {
                    return self.saved.get(name).cloned().unwrap_or(Value::Null);
                }
                if let Some(text) = members.get("$repeat") {
                    let times = text[1].as_u64().unwrap_or(0) as usize;
                    return text[0].as_str().unwrap_or_default().repeat(times).into();
                }
                members.iter().map(|(name, value)| (name.clone(), self.make(value))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.make(item)).collect(),
            other => other.clone(),
        }
    }

    fn matches(
        &self,
        expected: &Value,
        got: Option<&Value>,
        path: &str,
    ) -> std::result::Result<(), Fault> {
        if let Value::Object(members) = expected
            && let Some((word, wanted)) = members.iter().next()
            && word.starts_with('$')
        {
            return self.matcher(word, wanted, got, path);
        }
        let got = got.ok_or_else(|| format!("{path} is absent, expected {expected}"))?;
        match (expected, got) {
            (Value::Object(members), Value::Object(got)) => {
                for (name, expected) in members {
                    self.matches(expected, got.get(name), &format!("{path}.{name}"))?;
                }
                Ok(())
            }
            (Value::Array(items), Value::Array(got)) if items.len() == got.len() => {
                for (index, (expected, got)) in items.iter().zip(got).enumerate() {
                    self.matches(expected, Some(got), &format!("{path}.{index}"))?;
                }
                Ok(())
            }
            _ if equal(expected, got) => Ok(()),
            _ => Err(format!("{path} is {got}, expected {expected}")),
        }
    }

    fn matcher(
        &self,
        word: &str,
        wanted: &Value,
        got: Option<&Value>,
        path: &str,
    ) -> std::result::Result<(), Fault> {
        let saved = |name: &Value| {
            let value = name.as_str().and_then(|name| self.saved.get(name));
            value.ok_or_else(|| format!("nothing was saved as {name}"))
        };
        let length = |value: &Value| match value {
            Value::Array(items) => Some(items.len()),
            Value::Object(members) => Some(members.len()),
            Value::String(text) => Some(text.chars().count()),
            _ => None,
        };
        let holds = match (word, got) {
            ("$absent", got) => got.is_none(),
            (_, None) => false,
            ("$any", Some(_)) => true,
            ("$int", Some(got)) => got.is_i64() || got.is_u64(),
            ("$string", Some(got)) => got.is_string(),
            ("$ref", Some(got)) => equal(saved(wanted)?, got),
            ("$len", Some(got)) => length(got).map(|length| json!(length)) == Some(wanted.clone()),
            ("$gt", Some(got)) => {
                let least = wanted.get("$ref").map_or(Ok(wanted), saved)?;
                got.as_i64().zip(least.as_i64()).is_some_and(|(got, least)| got > least)
            }
            ("$contains", Some(got)) => {
                let items = got.as_array().into_iter().flatten();
                let wanted = wanted.as_array().into_iter().flatten();
                wanted.into_iter().all(|wanted| {
                    items.clone().any(|item| self.matches(wanted, Some(item), path).is_ok())
                })
            }
            ("$exact", Some(got)) => equal(wanted, got),
            _ => return Err(format!("unknown matcher {word}")),
        };
        let shown = got.map_or("absent".to_owned(), Value::to_string);
        if holds {
            Ok(())
        } else {
            Err(format!("{path} is {shown}, expected {{{word}: {wanted}}}"))
        }
    }
}

/// Whether two values are the same, where `2` and `2.0` are not.
fn equal(left: &Value, right: &Value) -> bool {
    Json::from_value(left) == Json::from_value(right)
}

fn describe(fault: &str, got: &Value) -> Fault {
    format!("{fault}\n  in {got}")
}

fn one_line(error: &Error) -> String {
    format!("{error:?}").replace('\n', ";")
}
