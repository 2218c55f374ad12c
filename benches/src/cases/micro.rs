//! Single steps of a transition.

use std::hint::black_box;

use rstmdb::Json;
use rstmdb_machine::{Guard, Machine, Scope, Situation};

use crate::Bench;
use crate::measure::{Row, Samples, Section, Unit, per_second, take_turns};
use crate::workload::{EVENT, GUARD, context, machine};

pub fn run(bench: &Bench) -> Section {
    let scale = &bench.scale;
    let ctx = Json::parse(&context(7)).unwrap();
    let payload_text = r#"{"n":123}"#;
    let payload = Json::parse(payload_text).unwrap();
    let guard = Guard::parse(GUARD).unwrap();
    let (machine, _) = Machine::parse(&machine(), &rstmdb::Limits::default(), false).unwrap();
    let scope = Scope { ctx: ctx.root(), payload: None, state: "created", now_ms: 0 };
    let situation = Situation {
        machine: "order",
        version: 1,
        instance_id: "0123456789abcdef",
        state: 0,
        ctx: &ctx,
        payload: Some(&payload),
        now_ms: 0,
    };
    let nanos = |work: &mut dyn FnMut()| {
        let [rate] = take_turns(scale, [&mut |time| per_second(time / 4, 100, &mut *work)]);
        Samples(rate.0.iter().map(|rate| 1e9 / rate).collect())
    };
    let row = |case: &str, work: &mut dyn FnMut()| Row::new(case, Unit::Nanos, nanos(work));
    let context_text = context(7);
    Section {
        title: "Single steps",
        rows: vec![
            row(&format!("evaluate the guard `{GUARD}`"), &mut || {
                black_box(guard.evaluate(black_box(&scope)));
            }),
            row("decide an event: transition and guard", &mut || {
                black_box(machine.decide(black_box(&situation), EVENT).unwrap());
            }),
            row("parse a payload of 9 bytes", &mut || {
                black_box(Json::parse(black_box(payload_text)).unwrap());
            }),
            row("parse a context of 100 bytes", &mut || {
                black_box(Json::parse(black_box(&context_text)).unwrap());
            }),
            row("merge the payload into the context", &mut || {
                black_box(black_box(&ctx).merge(&payload));
            }),
        ],
    }
}
