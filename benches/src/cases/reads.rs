//! Reads of one instance and of pages.

use std::collections::HashMap;
use std::hint::black_box;

use rstmdb::{GetInstanceRequest, ListInstancesRequest, Text};

use super::memory::{never, short};
use crate::Bench;
use crate::measure::{
    Goal, Row, Samples, Section, Unit, per_second, per_second_on, seconds, take_turns,
};
use crate::peers::Sqlite;
use crate::workload::{Orders, Picks, STATES, context, id};

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    one(bench, &mut rows);
    threads(bench, &mut rows);
    pages(bench, &mut rows);
    Section { title: "Reads", rows }
}

fn one(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    let mut sqlite = Sqlite::create(&dir.path().join("sqlite"), "NORMAL", scale.many);
    let orders = Orders::create("mem:", never(), scale.many);
    let map: HashMap<Text, (u32, Box<str>)> =
        (0..scale.many).map(|i| (id(i), (0, context(i).into_boxed_str()))).collect();
    let (mut picks, mut picks_map) = (orders.picks(0), Picks::new(0, scale.many));
    let [gets, lookups, selects] = take_turns(
        scale,
        [
            &mut |time| {
                per_second(time, 32, || {
                    let instance_id = id(picks.pick());
                    let request = GetInstanceRequest { instance_id };
                    black_box(orders.db.get_instance(request).unwrap());
                })
            },
            &mut |time| {
                per_second(time, 32, || {
                    let id = id(picks_map.pick());
                    let (state, ctx) = &map[&id];
                    black_box((id, *state, ctx.clone()));
                })
            },
            &mut |time| {
                per_second(time, 32, || {
                    black_box(sqlite.get());
                })
            },
        ],
    );
    let case = format!("`get_instance`, 1 thread, {} instances", short(scale.many));
    rows.extend([
        Row::new(case.as_str(), Unit::PerSecond, gets.clone())
            .against("hash map, copy of the context", &lookups)
            .goal(Goal::RatioAtLeast(0.7)),
        Row::new(case, Unit::PerSecond, gets)
            .against("SQLite SELECT", &selects)
            .goal(Goal::AtLeast(2_000_000.0)),
    ]);
}

fn threads(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let orders = Orders::create("mem:", never(), scale.many);
    let reader = |thread| {
        let (mut picks, orders) = (orders.picks(thread), &orders);
        move || {
            for _ in 0..32 {
                let request = GetInstanceRequest { instance_id: id(picks.pick()) };
                black_box(orders.db.get_instance(request).unwrap());
            }
            32
        }
    };
    let on = |threads, time| per_second_on(threads, time, reader);
    let [two, one] = take_turns(scale, [&mut |time| on(2, time), &mut |time| on(1, time)]);
    let case = format!("`get_instance`, 2 threads, {} instances", short(scale.many));
    rows.push(
        Row::new(case, Unit::PerSecond, two)
            .against("1 thread", &one)
            .goal(Goal::RatioAtLeast(1.6)),
    );
}

fn pages(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    let orders = Orders::create("mem:", never(), scale.million);
    // A quarter of them in each state.
    let mut picks = orders.picks(0);
    for _ in 0..scale.million {
        orders.apply(&mut picks);
    }
    let sqlite = Sqlite::create(&dir.path().join("sqlite"), "NORMAL", scale.million);
    let mut sqlite_after = String::new();
    let page = |request: ListInstancesRequest| orders.db.list_instances(request).unwrap();
    let base = ListInstancesRequest { limit: Some(100), ..ListInstancesRequest::default() };
    let mut walk = Walk::new(base.clone());
    let filtered = ListInstancesRequest { state: Some(STATES[1].into()), ..base.clone() };
    let mut walk_filtered = Walk::new(filtered.clone());
    let mut places = Picks::new(0, scale.million - 100);
    let mut places_filtered = Picks::new(0, scale.million / 5);
    let micros = |rate: f64| 1e6 / rate;
    let [by_cursor, by_filter, by_offset, by_both, selects] = take_turns(
        scale,
        [
            &mut |time| micros(per_second(time, 1, || walk.step(&page))),
            &mut |time| micros(per_second(time, 1, || walk_filtered.step(&page))),
            &mut |time| {
                micros(per_second(time, 1, || {
                    let offset = u32::try_from(places.pick()).ok();
                    black_box(page(ListInstancesRequest { offset, ..base.clone() }));
                }))
            },
            &mut |time| {
                micros(per_second(time, 1, || {
                    let offset = u32::try_from(places_filtered.pick()).ok();
                    black_box(page(ListInstancesRequest { offset, ..filtered.clone() }));
                }))
            },
            &mut |time| {
                micros(per_second(time, 1, || {
                    sqlite_after = sqlite.page(&sqlite_after).unwrap_or_default();
                }))
            },
        ],
    );
    let row = |case: &str, samples: Samples, micros_max: f64| {
        let case = format!("page of 100 of {}, {case}", short(scale.million));
        Row::new(case, Unit::Micros, samples).goal(Goal::AtMost(micros_max))
    };
    rows.extend([
        row("by cursor", by_cursor, 100.0).against("SQLite, by id", &selects),
        row("by cursor, one state", by_filter, 100.0),
        row("at a random offset", by_offset, 100.0),
        row("at a random offset, one state", by_both, 60.0),
    ]);
    let (count, _) =
        seconds(|| orders.db.count_instances(rstmdb::CountInstancesRequest::default()));
    rows.push(Row::new("count by state", Unit::Micros, count * 1e6));
}

/// Pages through everything, again and again.
struct Walk {
    request: ListInstancesRequest,
}

impl Walk {
    fn new(request: ListInstancesRequest) -> Walk {
        Walk { request }
    }

    fn step(&mut self, page: &impl Fn(ListInstancesRequest) -> rstmdb::ListInstancesResult) {
        let result = page(self.request.clone());
        self.request.cursor = result.next_cursor.clone();
        black_box(result);
    }
}
