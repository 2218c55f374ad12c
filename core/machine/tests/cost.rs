//! What decisions cost. Run with `cargo test --release -p rstmdb-machine --test cost -- --ignored
//! --nocapture`; the numbers are for people, machines are too noisy to assert on them.

use std::hint::black_box;
use std::time::Instant;

use rstmdb_machine::{Allowance, Guard, Machine, Scope, Situation};
use rstmdb_types::{Json, Limits};

const ROUNDS: u32 = 2_000_000;

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure(name: &str, mut run: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS / 5 {
            run();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS / 5));
    }
    println!("{best:8.1} ns  {name}");
}

#[test]
#[ignore = "measures, asserts nothing"]
fn cost_of_guards_and_decisions() {
    let ctx = Json::parse(
        r#"{"customer":"c-104729","items":[{"sku":"A1","n":2}],"note":"fragile","paid":true,"total":250}"#,
    )
    .unwrap();
    println!("context of {} bytes", ctx.as_str().len());
    let payload = Json::parse(r#"{"amount":250}"#).unwrap();
    let scope = Scope {
        ctx: ctx.root(),
        payload: Some(payload.root()),
        state: "created",
        now_ms: 1_700_000_000_000,
        ..Scope::default()
    };
    for text in [
        "ctx.paid",
        "ctx.total >= 100 && ctx.paid",
        "ctx.customer == \"c-104729\"",
        "ctx.items[0].n * 2 == 4",
        "payload.amount >= ctx.total",
        "size(ctx.items) > 0 && state in \"created\"",
    ] {
        let guard = Guard::parse(text).unwrap();
        assert!(guard.evaluate(&scope), "{text}");
        measure(text, || {
            black_box(guard.evaluate(black_box(&scope)));
        });
    }

    let definition = Json::parse(
        r#"{"states":["created","paid","shipped"],"initial":"created","transitions":[
            {"from":"created","event":"PAY","to":"paid","guard":"ctx.total >= 100 && ctx.paid"},
            {"from":"created","event":"SHIP","to":"shipped"},
            {"from":"paid","event":"SHIP","to":"shipped"}]}"#,
    )
    .unwrap();
    let (machine, _) = Machine::parse(&definition, &Limits::default(), false).unwrap();
    let situation = Situation {
        machine: "order",
        version: 1,
        instance_id: "o-1",
        state: 0,
        ctx: &ctx,
        payload: Some(&payload),
        now_ms: 0,
        created_at_ms: 0,
        allowance: Allowance::default(),
    };
    measure("decide without a guard", || {
        black_box(machine.decide(black_box(&situation), "SHIP").is_ok());
    });
    measure("decide with a guard", || {
        black_box(machine.decide(black_box(&situation), "PAY").is_ok());
    });
    measure("decide, refused", || {
        black_box(machine.decide(black_box(&situation), "NOPE").is_ok());
    });
}
