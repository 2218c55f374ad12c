//! Shortcuts of the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]
#![allow(dead_code, reason = "not every test file uses all of them")]

use rstmdb_machine::{Allowance, Decision, Guard, Machine, Scope, Situation};
use rstmdb_types::{DefinitionWarning, Error, Json, Limits, Result};

pub fn json(text: &str) -> Json {
    Json::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn parse(definition: &str) -> Result<(Machine, Vec<DefinitionWarning>)> {
    Machine::parse(&json(definition), &Limits::default(), false)
}

pub fn machine(definition: &str) -> Machine {
    parse(definition).unwrap().0
}

pub fn warnings(definition: &str) -> Vec<(String, String)> {
    let (_, warnings) = parse(definition).unwrap();
    warnings.iter().map(|w| (w.path.clone(), w.reason.to_string())).collect()
}

pub fn refused(definition: &str) -> Error {
    parse(definition).unwrap_err()
}

/// A machine with states a, b, c, initial a and the given transitions.
pub fn abc(transitions: &str) -> String {
    format!(r#"{{"states":["a","b","c"],"initial":"a","transitions":{transitions}}}"#)
}

/// What the event does in the state, with the context.
pub fn decide(machine: &Machine, state: &str, event: &str, ctx: &str) -> Result<Decision> {
    machine.decide(&situation(machine, state, &json(ctx)), event)
}

/// The state the event leads to.
pub fn target(machine: &Machine, state: &str, event: &str, ctx: &str) -> String {
    let decision = decide(machine, state, event, ctx).unwrap();
    assert_eq!(machine.events()[decision.event as usize], event);
    machine.states()[decision.to as usize].to_string()
}

pub fn situation<'a>(machine: &Machine, state: &str, ctx: &'a Json) -> Situation<'a> {
    Situation {
        machine: "order",
        version: 2,
        instance_id: "o-1",
        state: machine.state_id(state).unwrap(),
        ctx,
        payload: None,
        now_ms: 1_700_000_000_000,
        created_at_ms: 1_600_000_000_000,
        allowance: Allowance::default(),
    }
}

/// Whether the guard passes, with the context.
pub fn passes(guard: &str, ctx: &str) -> bool {
    passes_with(guard, ctx, None)
}

pub fn passes_with(guard: &str, ctx: &str, payload: Option<&str>) -> bool {
    let (ctx, payload) = (json(ctx), payload.map(json));
    let scope = Scope {
        ctx: ctx.root(),
        payload: payload.as_ref().map(Json::root),
        state: "created",
        now_ms: 1_700_000_000_000,
        ..Scope::default()
    };
    let guard = Guard::parse(guard).unwrap_or_else(|error| panic!("{error}"));
    guard.evaluate(&scope)
}
