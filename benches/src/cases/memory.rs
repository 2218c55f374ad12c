//! Transitions without syncs.

use rstmdb::{FsyncPolicy, Options};

use crate::Bench;
use crate::measure::{
    Goal, Row, Samples, Section, Unit, per_second, per_second_on, speed_on, take_turns,
};
use crate::peers::Sqlite;
use crate::workload::{Orders, url};

/// The policy `never`, everything else as it comes.
pub fn never() -> Options {
    Options { fsync: FsyncPolicy::Never, ..Options::default() }
}

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    against_sqlite(bench, &mut rows);
    threads(bench, &mut rows);
    sizes(bench, &mut rows);
    actions(bench, &mut rows);
    Section { title: "Transitions in memory (`never`)", rows }
}

fn against_sqlite(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    let memory = Orders::create("mem:", never(), scale.many);
    let file = Orders::create(&url(&dir.path().join("never")), never(), scale.many);
    let mut sqlite = Sqlite::create(&dir.path().join("sqlite"), "NORMAL", scale.many);
    let (mut picks_memory, mut picks_file) = (memory.picks(0), file.picks(0));
    let [of_memory, of_file, of_flight, of_sqlite] = take_turns(
        scale,
        [
            &mut |time| per_second(time, 32, || memory.apply(&mut picks_memory)),
            &mut |time| per_second(time, 32, || file.apply(&mut picks_file)),
            &mut |time| per_second_on(1, time, |_| file.in_flight(0, 256)),
            &mut |time| per_second(time, 8, || sqlite.apply()),
        ],
    );
    let name = "SQLite NORMAL";
    let goal = Goal::RatioAtLeast(25.0);
    let many = short(scale.many);
    rows.extend([
        Row::new(format!("`mem:`, 1 thread, {many} instances"), Unit::PerSecond, of_memory)
            .against(name, &of_sqlite)
            .goal(goal),
        Row::new(format!("file, 1 thread, {many} instances"), Unit::PerSecond, of_file)
            .against(name, &of_sqlite)
            .goal(goal),
        Row::new("file, 1 thread, 256 in flight".to_owned(), Unit::PerSecond, of_flight)
            .against(name, &of_sqlite)
            .goal(goal),
    ]);
}

fn threads(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let dir = bench.folder();
    for (name, url) in [("`mem:`", "mem:".to_owned()), ("file", url(&dir.path().join("never")))] {
        let orders = Orders::create(&url, never(), scale.many);
        let mut processor = [const { Samples(Vec::new()) }; 2];
        let [of_two, of_one] = &mut processor;
        let on = |threads, time, samples: &mut Samples| {
            let speed = speed_on(threads, time, |thread| orders.blocking(thread, 32));
            samples.0.push(speed.per_processor_second);
            speed.per_second
        };
        let [two, one] =
            take_turns(scale, [&mut |time| on(2, time, of_two), &mut |time| on(1, time, of_one)]);
        rows.push(
            Row::new(format!("{name}, 2 threads"), Unit::PerSecond, two)
                .against("1 thread", &one)
                .goal(Goal::RatioAtLeast(1.6)),
        );
        let [two, one] = processor;
        let case = format!("{name}, 2 threads, counting only the time that each runs");
        rows.push(Row::new(case, Unit::PerSecond, two).against("1 thread", &one));
    }
}

fn sizes(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let small = Orders::create("mem:", never(), scale.few);
    let large = Orders::create("mem:", never(), scale.million);
    let (mut picks_small, mut picks_large) = (small.picks(0), large.picks(0));
    let [of_small, of_large] = take_turns(
        scale,
        [&mut |time| per_second(time, 32, || small.apply(&mut picks_small)), &mut |time| {
            per_second(time, 32, || large.apply(&mut picks_large))
        }],
    );
    let case = format!("`mem:`, {} instances", short(scale.million));
    rows.push(
        Row::new(case, Unit::PerSecond, of_large)
            .against(format!("{} instances", short(scale.few)), &of_small)
            .goal(Goal::RatioAtLeast(0.5)),
    );
}

fn actions(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = &bench.scale;
    let plain = Orders::create("mem:", never(), scale.few);
    let acting = Orders::create_acting("mem:", never(), scale.few);
    let (mut picks_plain, mut picks_acting) = (plain.picks(0), acting.picks(0));
    let [of_acting, of_plain] = take_turns(
        scale,
        [&mut |time| per_second(time, 32, || acting.apply(&mut picks_acting)), &mut |time| {
            per_second(time, 32, || plain.apply(&mut picks_plain))
        }],
    );
    let case = format!("`mem:`, {} instances, events that assign two members", short(scale.few));
    rows.push(
        Row::new(case, Unit::PerSecond, of_acting)
            .against("that assign nothing", &of_plain)
            .goal(Goal::RatioAtLeast(0.7)),
    );
}

/// 100000 as `100 thousand`.
pub fn short(count: usize) -> String {
    match count {
        1_000_000 => "1 million".to_owned(),
        n if n % 1000 == 0 => format!("{} thousand", n / 1000),
        n => n.to_string(),
    }
}
