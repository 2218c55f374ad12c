//! What fuzzing checks about definitions and guards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

#[path = "../../core/machine/tests/naive/mod.rs"]
mod naive;

use rstmdb_machine::{
    Allowance, EvaluationBudget, Expression, Guard, InstanceFacts, Machine, Scope, Situation,
};
use rstmdb_types::{Json, Limits};

/// Separates the parts of an input.
const SEPARATOR: &str = "\n---\n";

/// The context of an input that has none.
const CONTEXT: &str = r#"{"":{"a":1},"a":1,"b":{"c":[1,"x",null,2.5]},"e":"","f":false,"n":null,
    "s":"é\"\\\n😀","t":true,"u":18446744073709551615,"z":0,"m":-9223372036854775808}"#;

/// An expression, then optionally a context and a payload, parsed and evaluated by both evaluators.
pub fn expression(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let mut parts = input.splitn(3, SEPARATOR);
    let text = parts.next().unwrap_or("");
    let Ok(ctx) = Json::parse(parts.next().unwrap_or(CONTEXT)) else { return };
    let payload = match parts.next().map(Json::parse) {
        Some(Err(_)) => return,
        Some(Ok(payload)) => Some(payload),
        None => None,
    };
    compare(text, &ctx, payload.as_ref());
}

/// Checks that both evaluators agree on one guard, whether they refuse it or not.
pub fn compare(text: &str, ctx: &Json, payload: Option<&Json>) {
    let (state, now_ms) = ("created", 1_700_000_000_000);
    let tree = ctx.to_value();
    let payload_tree = payload.map(Json::to_value);
    let (event, instance) = ("PAY", ("o-1", "order", 2, 1_600_000_000_000));
    let payload_tree = payload_tree.as_ref();
    let naive_scope =
        naive::Scope { ctx: &tree, payload: payload_tree, state, now_ms, event, instance };
    let (id, machine, version, created_at_ms) = instance;
    let instance = InstanceFacts { id, machine, version, created_at_ms };
    let payload = payload.map(Json::root);
    let scope = Scope { ctx: ctx.root(), payload, state, now_ms, event, instance };
    // What these do has tests of its own.
    let unknown = ["matches", "time", "duration", "iso"];
    let is_known = !unknown.iter().any(|name| text.contains(name));

    let guard = match Guard::parse(text) {
        Ok(guard) => guard,
        Err(error) => {
            let context = error.context();
            let line = context["line"].as_u64().expect("a line");
            assert!(line >= 1 && line <= text.split('\n').count() as u64, "{error}");
            assert!(context["column"].as_u64().expect("a column") >= 1, "{error}");
            // The limits of the real parser are not those of the naive one.
            let limited = ["nests deeper", "operands and operators"];
            if is_known && !limited.iter().any(|limit| error.message().contains(limit)) {
                let answer = naive::evaluate(text, &naive_scope);
                assert_eq!(answer, Err(naive::Refused), "refused {text:?}: {error}");
            }
            return;
        }
    };
    let passed = guard.evaluate(&scope);
    let budget = EvaluationBudget::new(Allowance::default());
    let value = Expression::parse(text).expect("what is a guard is an expression");
    let value = value.evaluate(&scope, &budget);
    if budget.error().is_some() {
        assert!(!passed || guard.level() == 1, "{text:?}");
        return;
    }
    if is_known {
        let seen = format!("{text:?}\non {ctx:?}\npayload {payload:?}");
        assert_eq!(naive::evaluate(text, &naive_scope), Ok(passed), "{seen}");
        let answer = naive::value(text, &naive_scope).map(|value| Json::from_value(&value));
        assert_eq!(answer, Ok(value), "{seen}");
    }
    match guard.explain(&scope) {
        None => assert!(passed, "no explanation: {text:?}"),
        Some(explanation) => {
            assert!(!passed, "explained although it passed: {text:?}");
            assert!(text.contains(&explanation.failed_term), "{explanation:?}");
            assert!(!explanation.to_string().is_empty());
        }
    }
}

/// A definition: whatever is accepted has to survive storing and loading.
pub fn definition(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let Ok(definition) = Json::parse(input) else { return };
    let limits = Limits::default();
    let (machine, warnings) = match Machine::parse(&definition, &limits, false) {
        Ok(parsed) => parsed,
        Err(error) => {
            let context = error.context();
            assert!(context.contains_key("path") || context.contains_key("limit"), "{error:?}");
            assert!(Machine::parse(&definition, &limits, true).is_err());
            return;
        }
    };
    assert_eq!(Machine::parse(&definition, &limits, true).is_ok(), warnings.is_empty());

    let loaded =
        Machine::load(machine.normal_form(), machine.level()).expect("the normal form loads");
    assert_eq!(loaded.checksum(), machine.checksum());
    assert_eq!(loaded.normal_form(), machine.normal_form());
    assert_eq!(Json::parse(machine.normal_form().as_str()).as_ref(), Ok(machine.normal_form()));
    assert_eq!((loaded.states(), loaded.events()), (machine.states(), machine.events()));
    assert_eq!(loaded.initial(), machine.initial());
    for (id, name) in (0..).zip(machine.states()) {
        assert_eq!(machine.state_id(name), Some(id));
    }
    for (id, name) in (0..).zip(machine.events()) {
        assert_eq!(machine.event_id(name), Some(id));
    }

    let ctx = Json::parse(CONTEXT).expect("a context");
    for state in 0..=machine.states().len().min(16) as u32 {
        let situation = Situation {
            machine: "m",
            version: 1,
            instance_id: "i",
            state,
            ctx: &ctx,
            payload: None,
            now_ms: 0,
            created_at_ms: 0,
            allowance: Allowance::default(),
        };
        let permitted = machine.permitted(&situation);
        assert_eq!(permitted.len(), machine.events().len());
        for permitted in permitted.iter().take(64) {
            let decision = machine.decide(&situation, &permitted.event);
            assert_eq!(decision.is_ok(), permitted.permitted);
            if let Ok(decision) = decision {
                assert!(!machine.is_final(state));
                assert_eq!(machine.states().get(decision.to as usize), permitted.to_state.as_ref());
            }
        }
        assert!(machine.decide(&situation, "no such event").is_err() || input.contains("no such"));
    }
}
