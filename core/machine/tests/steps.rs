//! Random machines that do something, on random events: both ways to take a step agree, on refusals too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

#[allow(dead_code, reason = "only steps are used here")]
mod naive;
#[path = "naive/step.rs"]
mod naive_step;
mod support;

use rstmdb_machine::{Allowance, Emission, Machine, Situation, Stepped};
use rstmdb_types::{Error, Json, Limits};
use serde_json::{Value, json};

const MACHINES: u64 = 25_000;
const EVENTS: u64 = 4;
const STEPS_MAX: u64 = 12;

/// A small generator of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) as usize) % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const STATES: [&str; 4] = ["a", "b", "c", "d"];
const NAMES: [&str; 4] = ["E", "F", "G", ""];

fn value(dice: &mut Dice) -> Value {
    match dice.roll(11) {
        0 => json!({"$": "coalesce(ctx.n, 0) + 1"}),
        1 => json!({"$": "append(coalesce(ctx.l, []), event)"}),
        2 => json!({"$": "payload"}),
        3 => json!({"$": "filter(ctx.l, x, x != state)"}),
        4 => json!([{"$": "ctx.o.p"}, {"x": {"$": "payload.n"}, "y": {"$$": {"$": "ctx"}}}]),
        5 => json!({"$": "map([1, 2.5], x, x * coalesce(ctx.n, 1))"}),
        6 => json!({"$": "ctx.n > 3 ? null : 1"}),
        7 => json!({"$": "concat(instance.id, \":\", now)"}),
        8 => json!({"p": {}, "é\"": [null, true, 1.5]}),
        9 => json!(null),
        _ => json!(dice.roll(5)),
    }
}

fn action(dice: &mut Dice, depth: usize) -> Value {
    let places = ["n", "l", "o.p", "o.q.r", "o", "s", "é\"", "l.x"];
    match dice.roll(7) {
        0 | 1 => json!({"assign": {(dice.pick(&places)): value(dice)}}),
        2 => {
            json!({"assign": {(dice.pick(&["n", "o.p"])): value(dice), (dice.pick(&["l", "s.t"])): value(dice)}})
        }
        3 => json!({"unset": [dice.pick(&places), dice.pick(&places)]}),
        4 => json!({"emit": dice.pick(&NAMES), "data": value(dice)}),
        5 if depth < 2 => json!({
            "if": dice.pick(&["ctx.n > 2", "payload", "size(ctx.l) % 2 == 0", "state == \"b\""]),
            "then": actions(dice, depth + 1), "else": actions(dice, depth + 1),
        }),
        _ => json!({"raise": dice.pick(&NAMES), "payload": value(dice)}),
    }
}

fn actions(dice: &mut Dice, depth: usize) -> Value {
    let count = dice.roll(3);
    (0..count).map(|_| action(dice, depth)).collect()
}

fn definition(dice: &mut Dice) -> Value {
    let states: Vec<Value> = STATES
        .iter()
        .map(|name| match dice.roll(3) {
            0 => json!(name),
            _ => json!({"name": name, "entry": actions(dice, 0), "exit": actions(dice, 0),
                        "final": *name == "d" && dice.one_in(3)}),
        })
        .collect();
    let count = 2 + dice.roll(7);
    let transitions: Vec<Value> = (0..count)
        .map(|_| {
            let mut row =
                json!({"from": dice.pick(&["a", "b", "c", "*", "*"]), "to": dice.pick(&STATES)});
            match dice.one_in(5) {
                true => row["always"] = json!(true),
                false => row["event"] = json!(dice.pick(&NAMES)),
            }
            if row["always"] == true || dice.one_in(3) {
                let guards = [
                    "ctx.n > 2",
                    "payload.ok",
                    "size(ctx.l) < 3",
                    "state != \"a\"",
                    "any(ctx.l, x, x == event)",
                ];
                row["guard"] = json!(dice.pick(&guards));
            }
            if dice.one_in(2) {
                row["actions"] = actions(dice, 0);
                if dice.one_in(4) {
                    row.as_object_mut().unwrap().remove("to");
                }
            }
            match dice.roll(6) {
                0 => row["merge"] = json!(false),
                1 => row["merge"] = json!(["n", "ok"]),
                2 => row["merge"] = json!(true),
                _ => {}
            }
            row
        })
        .collect();
    let mut definition = json!({"states": states, "initial": "a", "transitions": transitions});
    if dice.one_in(4) {
        definition["merge"] = json!(["l", "n"]);
    }
    definition
}

fn context(dice: &mut Dice) -> Value {
    match dice.roll(8) {
        0 => json!({}),
        1 => json!({"n": "text", "l": {"x": 1}, "o": 5}),
        2 => json!([1, 2]),
        3 => json!({"n": 9, "l": ["E", 1], "o": {"p": null, "q": {}}}),
        _ => json!({"n": dice.roll(4), "l": [], "o": {"p": 1}, "é\"": 0}),
    }
}

fn payload(dice: &mut Dice) -> Value {
    match dice.roll(5) {
        0 => json!(null),
        1 => json!([1]),
        2 => json!({"ok": true, "n": 1, "l": ["F"]}),
        _ => json!({"n": dice.roll(5), "x": {"y": 1}}),
    }
}

/// What a refusal is called here.
fn named(error: &Error) -> &str {
    match error.reason() {
        Some(reason) => reason,
        None => error.code().as_str(),
    }
}

fn shown(
    machine: &Machine,
    state: u32,
    ctx: &Json,
    emitted: &[Emission],
) -> (String, Value, Vec<Value>) {
    let emitted = Emission::list(emitted).to_value();
    (
        machine.states()[state as usize].to_string(),
        ctx.to_value(),
        emitted.as_array().unwrap().clone(),
    )
}

#[test]
fn both_ways_to_take_a_step_agree() {
    let allowance = Allowance { inner: STEPS_MAX, ..Allowance::default() };
    let mut dice = Dice(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..MACHINES {
        let definition = definition(&mut dice);
        let Ok((machine, _)) = Machine::parse(&Json::from(&definition), &Limits::default(), false)
        else {
            refused += 1;
            continue;
        };
        let loaded = Machine::load(machine.normal_form(), machine.level()).unwrap();
        assert_eq!(loaded.checksum(), machine.checksum(), "{definition}");
        for _ in 0..EVENTS {
            let (state, event) = (dice.pick(&STATES), dice.pick(&NAMES));
            let (ctx, payload) = (context(&mut dice), payload(&mut dice));
            let (ctx_json, payload_json) = (Json::from(&ctx), Json::from(&payload));
            let situation = Situation {
                payload: Some(&payload_json),
                allowance,
                ..support::situation(&loaded, state, &ctx_json)
            };
            let seen = || format!("{definition}\n{state} {event} {ctx} {payload}");
            let naive =
                naive_step::step(&definition, state, &ctx, event, &payload, STEPS_MAX as usize);
            let ours = loaded.step(&situation, event);
            if let Ok(Stepped { rest, merge, patch, removed, .. }) = &ours {
                let merged = merge.pick(&payload_json).unwrap_or_else(Json::null);
                let after = ctx_json.merge(&merged).merge(patch);
                let after = after.without(removed);
                assert_eq!(after, rest.ctx, "what the log says\n{}", seen());
                taken += 1;
            }
            let ours = ours
                .map(|stepped| {
                    let rest = stepped.rest;
                    shown(&loaded, rest.state, &rest.ctx, &rest.emitted)
                })
                .map_err(|error| named(&error).to_owned());
            assert_eq!(ours, naive.map_err(str::to_owned), "{}", seen());

            let begun = loaded
                .begin(&situation)
                .map(|rest| shown(&loaded, rest.state, &rest.ctx, &rest.emitted))
                .map_err(|error| named(&error).to_owned());
            let naive = naive_step::begin(&definition, state, &ctx, STEPS_MAX as usize);
            assert_eq!(begun, naive.map_err(str::to_owned), "begin\n{}", seen());
        }
    }
    assert!(taken > 20_000 && refused < MACHINES / 10, "{taken} {refused}");
}
