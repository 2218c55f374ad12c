//! Single steps of a transition.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rstmdb::Json;
use rstmdb_machine::{Allowance, Guard, Machine, Scope, Situation};

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
    let scope = Scope { ctx: ctx.root(), state: "created", ..Scope::default() };
    let situation = Situation {
        machine: "order",
        version: 1,
        instance_id: "0123456789abcdef",
        state: 0,
        ctx: &ctx,
        payload: Some(&payload),
        now_ms: 0,
        created_at_ms: 0,
        allowance: Allowance::default(),
    };
    let nanos = |work: &mut dyn FnMut()| {
        let [rate] = take_turns(scale, [&mut |time| per_second(time / 4, 100, &mut *work)]);
        Samples(rate.0.iter().map(|rate| 1e9 / rate).collect())
    };
    let row = |case: &str, work: &mut dyn FnMut()| Row::new(case, Unit::Nanos, nanos(work));
    let [hand_overs] = take_turns(scale, [&mut |time| hand_overs(time / 4)]);
    let hand_over = Samples(hand_overs.0.iter().map(|rate| 1e9 / rate).collect());
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
            Row::new("a word goes from one core to the other", Unit::Nanos, hand_over),
        ],
    }
}

/// A word alone on its cache lines.
#[repr(align(128))]
struct Alone(AtomicU64);

/// How often per second two threads hand a word over that they count up in turns: what each event costs
/// beside its work when several threads write one word.
fn hand_overs(time: Duration) -> f64 {
    let (word, stop) = (Alone(AtomicU64::new(0)), AtomicBool::new(false));
    let count_if = |parity: u64| {
        let is_ours = word.0.load(Ordering::Relaxed) % 2 == parity;
        if is_ours {
            word.0.fetch_add(1, Ordering::SeqCst);
        } else {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                count_if(1);
            }
        });
        per_second(time, 64, || count_if(0));
        stop.store(true, Ordering::Relaxed);
        word.0.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    })
}
