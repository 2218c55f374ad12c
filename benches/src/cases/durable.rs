//! Transitions that are on the disk when they are answered (`every_write`).

use rstmdb::{Options, WalStatsRequest};

use crate::Bench;
use crate::measure::{Goal, Row, Section, Unit, per_second, per_second_on, take_turns};
use crate::peers::{BareLog, Sqlite};
use crate::workload::{Orders, url};

pub fn run(bench: &Bench) -> Section {
    let scale = &bench.scale;
    let dir = bench.folder();
    let at = |name: &str| dir.path().join(name);
    let orders = Orders::create(&url(&at("orders")), Options::default(), scale.many);
    let mut sqlite = Sqlite::create(&at("sqlite"), "FULL", scale.many);
    let mut picks = orders.picks(0);

    // The bare loop's records are as large as rstmdb's, once alone and once among others.
    let written = || orders.db.wal_stats(WalStatsRequest::default()).unwrap().io_stats;
    let before = written().bytes_written;
    let sample = 200;
    for _ in 0..sample {
        orders.apply(&mut picks);
    }
    let alone_bytes = (written().bytes_written - before) as usize / sample;
    let grouped_bytes = alone_bytes - 44 + 1;
    let mut bare_alone = BareLog::create(&at("bare-alone"), alone_bytes);
    let mut bare_grouped = BareLog::create(&at("bare-grouped"), grouped_bytes);

    let [alone, bare_1, full] = take_turns(
        scale,
        [
            &mut |time| per_second(time, 1, || orders.apply(&mut picks)),
            &mut |time| per_second(time, 1, || bare_alone.append(1)),
            &mut |time| per_second(time, 1, || sqlite.apply()),
        ],
    );
    let [blocking, full_again] = take_turns(
        scale,
        [&mut |time| per_second_on(64, time, |thread| orders.blocking(thread, 1)), &mut |time| {
            per_second(time, 1, || sqlite.apply())
        }],
    );
    let [in_flight, bare_64] = take_turns(
        scale,
        [&mut |time| per_second_on(2, time, |thread| orders.in_flight(thread, 256)), &mut |time| {
            64.0 * per_second(time, 1, || bare_grouped.append(64))
        }],
    );
    let per_sync = |name: &str, records: u32, bytes: usize| {
        format!("{name}, {records} x {bytes} bytes to a sync")
    };
    Section {
        title: "Durable transitions (`every_write`)",
        rows: vec![
            Row::new("1 thread", Unit::PerSecond, alone.clone())
                .against(per_sync("bare loop", 1, alone_bytes), &bare_1)
                .goal(Goal::RatioAtLeast(0.85)),
            Row::new("1 thread", Unit::PerSecond, alone).against("SQLite FULL", &full),
            Row::new("64 blocking threads", Unit::PerSecond, blocking)
                .against("SQLite FULL", &full_again)
                .goal(Goal::RatioAtLeast(15.0)),
            Row::new("2 threads, 256 tickets in flight each", Unit::PerSecond, in_flight)
                .against(per_sync("bare loop", 64, grouped_bytes), &bare_64)
                .goal(Goal::RatioAtLeast(0.5)),
        ],
    }
}
