//! Transitions over the network: durable ones, and with the policy `never`.

use std::path::Path;

use super::site::{Ask, Site};
use super::{Contestant, Scale, describe, programs, server::as_it_comes, take_turns};
use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit, per_second};
use crate::peers::BareLog;

const RECORD_BYTES: usize = 85;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    against_all(bench, &mut rows);
    against_defaults(bench, &mut rows);
    never(bench, &mut rows);
    Section { title: "Transitions over the network", rows }
}

/// Sites under the same load, the first of them ours.
pub fn race(
    scale: &Scale,
    case: &str,
    sites: &[&Site],
    ask: Ask,
    connections: usize,
    in_flight: usize,
) -> Vec<Samples> {
    let mut contestants: Vec<Contestant<'_>> = sites
        .iter()
        .map(|site| Contestant {
            server: &site.server,
            load: site.load(connections, ask),
            in_flight,
        })
        .collect();
    take_turns(scale, case, &mut contestants)
}

/// One row for each of the others, with its goal.
pub fn rows_of(
    case: &str,
    sites: &[&Site],
    samples: &[Samples],
    goals: &[(&str, f64)],
) -> Vec<Row> {
    let others = sites.iter().zip(samples).skip(1);
    others
        .map(|(site, peer)| {
            let name = site.server.name.as_str();
            let row = Row::new(case, Unit::PerSecond, samples[0].clone()).against(name, peer);
            let goal = goals.iter().find(|(of, _)| *of == name);
            goal.map_or(row.clone(), |(_, ratio)| row.goal(Goal::RatioAtLeast(*ratio)))
        })
        .collect()
}

pub const PEER: &str = "rstmdb 0.3.0, metrics off";

/// The peer with its metrics off, if it is there.
///
/// Where a segment ends it fails writes of several connections (`File exists`), so its segments are
/// made so large that none does.
pub fn peer(folder: &Path, fsync: &'static str, instances: usize) -> Option<Site> {
    let settings = as_it_comes(PEER, fsync)
        .with("RSTMDB_METRICS_ENABLED", "false")
        .with("RSTMDB_WAL_SEGMENT_SIZE_MB", "4096");
    Some(Site::rcp(programs().peer.as_ref()?, folder, &settings, instances))
}

/// Our server as it comes, but for the policy.
pub fn ours(folder: &Path, fsync: &'static str, instances: usize) -> Site {
    Site::rcp(&programs().ours, folder, &as_it_comes("rstmdb", fsync), instances)
}

fn against_all(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let folders: Vec<_> = (0..5).map(|_| bench.folder()).collect();
    let count = scale.instances;
    let ours = ours(folders[0].path(), "every_write", count);
    let peer = peer(folders[1].path(), "every_write", count);
    let redis = Site::redis(programs(), folders[2].path(), count);
    let postgres = Site::postgres(programs(), folders[3].path(), count);
    let null = Site::null("apply", folders[4].path(), count);

    let mut sites = vec![&ours];
    sites.extend(peer.iter().chain(&redis).chain(&postgres));
    sites.push(&null);
    let case = "durable, 64 connections, 1 in flight each";
    let samples = race(&scale, case, &sites, Ask::Apply, 64, 1);
    let goals = [(PEER, 12.0), ("Redis", 2.5), ("PostgreSQL", 4.0), ("null server", 0.6)];
    rows.extend(rows_of(case, &sites, &samples, &goals));
    drop(postgres);

    let mut sites = vec![&ours];
    sites.extend(peer.iter().chain(&redis));
    sites.push(&null);
    let case = "durable, 16 connections, 16 in flight each";
    let of_16 = race(&scale, case, &sites, Ask::Apply, 16, 16);
    rows.extend(rows_of(case, &sites, &of_16, &[(PEER, 40.0), ("Redis", 5.0)]));

    half_load(bench, &scale, &ours, samples[0].median(), rows);
}

/// Latency when half of what is possible is asked for, in units of what a sync takes.
fn half_load(bench: &Bench, scale: &Scale, ours: &Site, most: f64, rows: &mut Vec<Row>) {
    let folder = bench.folder();
    let mut log = BareLog::create(&folder.path().join("bare"), RECORD_BYTES);
    let mut load = ours.load(64, Ask::Apply);
    let (mut sync, mut p99, mut in_syncs) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..scale.rounds {
        let micros = 1e6 / per_second(scale.round / 2, 1, || log.append(1));
        let before = ours.server.processor_seconds();
        let outcome = load.run_paced(most / 2.0, scale.warm_up, scale.round);
        let processor = ours.server.processor_seconds() - before;
        eprintln!("{}", describe("half of the load", &outcome, processor));
        let latency = outcome.latencies.value_at_quantile(0.99) as f64;
        sync.0.push(micros);
        p99.0.push(latency);
        in_syncs.0.push(latency / micros);
    }
    let case = "durable, 64 connections, half of the maximal load: 99th percentile";
    rows.push(Row::new(case, Unit::Micros, p99).against("one sync", &sync));
    rows.push(Row::new(case, Unit::Syncs, in_syncs).goal(Goal::AtMost(4.0)));
}

/// The peer with the metrics on, which cost it more the more instances there are.
fn against_defaults(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let Some(program) = &programs().peer else { return };
    let name = "rstmdb 0.3.0, metrics on";
    let settings = as_it_comes(name, "every_write").with("RSTMDB_METRICS_ENABLED", "true");
    let peer = Site::rcp_prepared(program, folder_of_peer.path(), &settings, scale.instances);
    let ours = ours(folder.path(), "every_write", scale.instances);
    let case = "durable, 64 connections, 1 in flight each, 10 thousand instances";
    let sites = [&ours, &peer];
    let samples = race(&scale, case, &sites, Ask::Apply, 64, 1);
    rows.extend(rows_of(case, &sites, &samples, &[(name, 100.0)]));
}

fn never(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let ours = ours(folder.path(), "never", scale.instances);
    let peer = peer(folder_of_peer.path(), "never", scale.instances);
    let null = Site::null("apply", folder.path(), scale.instances);
    let mut sites = vec![&ours];
    sites.extend(&peer);
    sites.push(&null);
    let case = "`never`, 16 connections, 16 in flight each";
    let samples = race(&scale, case, &sites, Ask::Apply, 16, 16);
    rows.extend(rows_of(case, &sites, &samples, &[(PEER, 3.0), ("null server", 0.3)]));
}
