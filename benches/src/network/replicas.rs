//! Replicas: how soon one has everything, how far it is behind, and what they cost the server that is followed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rstmdb::ApplyEventRequest;

use super::nodes::await_some;
use super::rcp::{Session, number, wal_offset};
use super::server::{Server, Settings, as_it_comes, data};
use super::site::{Ask, Site};
use super::{Contestant, Scale, durable, programs, take_turns};
use crate::Bench;
use crate::cases::memory::never;
use crate::measure::{Goal, Row, Samples, Section, Unit, seconds};
use crate::workload::{EVENT, Orders, id, url};

const CATCH_UP_SECONDS_MAX: f64 = 8.0;
const LAG_MS_MAX: f64 = 50.0;
const PROBES: usize = 400;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    catch_up(bench, &mut rows);
    rates(bench, &mut rows);
    Section { title: "Replicas on this machine", rows }
}

fn primary(name: &str) -> Settings {
    as_it_comes(name, "every_write").with("RSTMDB_REPL_ROLE", "primary")
}

fn replica_of(primary: SocketAddr, folder: &Path) -> Server {
    let settings = as_it_comes("replica", "every_write")
        .with("RSTMDB_REPL_ROLE", "replica")
        .with("RSTMDB_REPL_UPSTREAM", primary)
        .with("RSTMDB_REPL_RECONNECT_DELAY_SECS", "20ms");
    Server::rcp(&programs().ours, folder, &settings)
}

fn latest(address: SocketAddr) -> Option<u64> {
    let answer = Session::open(address).ok()?.try_call("WAL_STATS", "{}").ok()?;
    number(answer.as_bytes(), "\"latest_offset\":")
}

fn catch_up(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let folder = bench.folder();
    let orders = Orders::create(&url(&data(folder.path())), never(), scale.million);
    let mut picks = orders.picks(1);
    for _ in 0..scale.million {
        let event = ApplyEventRequest::new(id(picks.pick()), EVENT);
        orders.db.submit_event(event).wait().unwrap();
    }
    orders.db.close().unwrap();
    let settings = primary("rstmdb, primary");
    let server = Server::rcp(&programs().ours, folder.path(), &settings);
    let end = await_some("the primary tells its end", || latest(server.address));
    let took = (0..scale.rounds).map(|_| {
        let folder = bench.folder();
        let (took, _) = seconds(|| {
            let replica = replica_of(server.address, folder.path());
            await_some("the replica has everything", || {
                latest(replica.address).filter(|has| *has >= end)
            });
            replica
        });
        took
    });
    let case = "a replica gets 1 million instances and 1 million changes, from nothing";
    rows.push(
        Row::new(case, Unit::Seconds, Samples(took.collect()))
            .goal(Goal::AtMost(CATCH_UP_SECONDS_MAX)),
    );
}

/// What a primary takes, with a replica that it waits for or not; and how far the latter is behind.
fn rates(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let folders: Vec<_> = (0..5).map(|_| bench.folder()).collect();
    let alone = durable::ours(folders[0].path(), "every_write", scale.instances);
    let program = &programs().ours;
    let followed = |place: usize, settings: &Settings| {
        let server = Server::rcp(program, folders[place].path(), settings);
        let replica = replica_of(server.address, folders[place + 1].path());
        (Site::taking(server, scale.instances), replica)
    };
    let (of_async, replica) = followed(1, &primary("primary, async"));
    let (of_sync, _replica) =
        followed(3, &primary("primary, sync").with("RSTMDB_REPL_MODE", "sync"));
    let mut most = 0.0;
    for (case, connections, in_flight) in [
        ("durable, 64 connections, 1 in flight each", 64, 1),
        ("durable, 16 connections, 16 in flight each", 16, 16),
    ] {
        let mut contestants: Vec<Contestant<'_>> = [&of_async, &of_sync, &alone]
            .iter()
            .map(|site| Contestant {
                server: &site.server,
                load: site.load(connections, Ask::Apply),
                in_flight,
            })
            .collect();
        let samples = take_turns(&scale, case, &mut contestants);
        for (place, kind) in ["a replica in mode `async`", "one in mode `sync`"].iter().enumerate()
        {
            let case = format!("{kind}: {case}");
            rows.push(
                Row::new(case, Unit::PerSecond, samples[place].clone())
                    .against("alone", &samples[2]),
            );
        }
        most = samples[0].median();
    }
    let mut lags = lags(&of_async, replica.address, most / 2.0, &scale);
    lags.sort_by(f64::total_cmp);
    let p99 = lags[(lags.len() * 99).div_ceil(100) - 1];
    let case = "from an answer at half of the load to the event at the replica";
    rows.push(Row::new(format!("{case}: median"), Unit::Millis, Samples(lags).median()));
    rows.push(
        Row::new(format!("{case}: 99th percentile"), Unit::Millis, p99)
            .goal(Goal::AtMost(LAG_MS_MAX)),
    );
}

/// How much later than its answer an event came at the replica, in milliseconds, while others write, too.
fn lags(site: &Site, replica: SocketAddr, rate: f64, scale: &Scale) -> Vec<f64> {
    let own = scale.instances;
    let mut writer = Session::open(site.server.address).unwrap();
    let create = format!(
        r#"{{"instance_id":"{}","machine":"order","version":1,"initial_ctx":{}}}"#,
        id(own),
        crate::workload::context(own)
    );
    let offset = wal_offset(writer.call("CREATE_INSTANCE", &create).as_bytes()).unwrap();
    await_some("the replica has the instance", || latest(replica).filter(|has| *has >= offset));
    let mut watcher = Session::open(replica).unwrap();
    watcher.call("WATCH_INSTANCE", &format!(r#"{{"instance_id":"{}"}}"#, id(own)));
    let mut load = site.load(64, Ask::Apply);
    std::thread::scope(|scope| {
        let time = Duration::from_millis(5) * PROBES as u32 * 2;
        scope.spawn(move || load.run_paced(rate, scale.warm_up, time));
        std::thread::park_timeout(scale.warm_up);
        let apply =
            format!(r#"{{"instance_id":"{}","event":"{EVENT}","payload":{{"n":1}}}}"#, id(own));
        let probe = |_| {
            let answer = writer.call("APPLY_EVENT", &apply);
            let (answered, offset) = (Instant::now(), wal_offset(answer.as_bytes()).unwrap());
            loop {
                let event = watcher.receive().unwrap();
                if wal_offset(event.as_bytes()) >= Some(offset) {
                    break;
                }
            }
            let lag = answered.elapsed().as_secs_f64() * 1e3;
            std::thread::park_timeout(Duration::from_millis(2));
            lag
        };
        (0..PROBES).map(probe).collect()
    })
}
