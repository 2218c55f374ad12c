//! Memory of the server, and its log.

use std::net::TcpStream;

use super::durable::{ours, peer};
use super::server::{Server, as_it_comes};
use super::site::{Ask, Site, connect};
use super::watchers::Watchers;
use super::{Scale, allow_open_files, programs, rcp};
use crate::Bench;
use crate::measure::{Goal, Row, Section, Unit};
use crate::workload::CONTEXT_BYTES;

const INSTANCE_BYTES_MAX: f64 = 350.0;
/// The peer takes no more connections than a thousand.
const PEER_CONNECTIONS: usize = 900;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    instances(bench, &mut rows);
    log(bench, &mut rows);
    connections(bench, &mut rows);
    Section { title: "Memory and log of the server", rows }
}

/// Bytes for each instance, the context and all else.
fn per_instance(site: &Site, count: usize) -> f64 {
    let before = site.server.resident_bytes();
    site.create(0..count);
    (site.server.resident_bytes() - before) / count as f64
}

fn instances(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let count = scale.million;
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let of_ours = per_instance(&ours(folder.path(), "never", 0), count);
    let of_peer = peer(folder_of_peer.path(), "never", 0).map(|site| per_instance(&site, count));
    let case = format!("memory per instance with a context of {CONTEXT_BYTES} bytes, 1 million");
    let mut row = Row::new(case, Unit::Bytes, of_ours)
        .goal(Goal::AtMost(INSTANCE_BYTES_MAX + CONTEXT_BYTES as f64));
    if let Some(of_peer) = of_peer {
        row = row.against("rstmdb 0.3.0", &of_peer.into());
    }
    rows.push(row);
}

/// Bytes written to the log for each event.
fn per_event(site: &Site, scale: &Scale, connections: usize, in_flight: usize) -> f64 {
    let mut session = rcp::Session::open(site.server.address).unwrap();
    let before = session.log_bytes();
    let mut load = site.load(connections, Ask::Apply);
    load.run(in_flight, scale.warm_up, scale.round);
    (session.log_bytes() - before) as f64 / load.answered() as f64
}

fn log(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let ours = ours(folder.path(), "every_write", scale.instances);
    let peer = peer(folder_of_peer.path(), "every_write", scale.instances);
    for (connections, in_flight) in [(64, 1), (16, 16)] {
        let case = format!("log per durable event, {connections} x {in_flight}");
        let mut row = Row::new(case, Unit::Bytes, per_event(&ours, &scale, connections, in_flight));
        if let Some(peer) = &peer {
            let of_peer = per_event(peer, &scale, connections, in_flight);
            row = row.against("rstmdb 0.3.0", &of_peer.into()).goal(Goal::RatioAtMost(0.5));
        }
        rows.push(row);
    }
}

fn connections(bench: &Bench, rows: &mut Vec<Row>) {
    allow_open_files();
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    // One process holds the other ends of all of them, and its own files.
    let settings = as_it_comes("rstmdb", "every_write").with("RSTMDB_MAX_CONNECTIONS", "20000");
    let ours = Server::rcp(&programs().ours, folder.path(), &settings);
    let idle = idle(&ours, scale.idle_connections);
    let watchers = watching(&ours, scale.idle_watchers);
    let peer = programs().peer.as_ref().map(|program| {
        let settings = as_it_comes("rstmdb 0.3.0", "every_write");
        Server::rcp(program, folder_of_peer.path(), &settings)
    });
    let mut of_idle = Row::new(
        format!("memory per idle connection, {} of them", scale.idle_connections),
        Unit::Bytes,
        idle,
    );
    let mut of_watchers = Row::new(
        format!("memory per idle watcher of all, {} of them", scale.idle_watchers),
        Unit::Bytes,
        watchers,
    )
    .goal(Goal::AtMost(6_000.0));
    if let Some(peer) = &peer {
        let name = format!("rstmdb 0.3.0, {PEER_CONNECTIONS} of them");
        of_idle = of_idle.against(name.as_str(), &self::idle(peer, PEER_CONNECTIONS).into());
        of_watchers = of_watchers.against(name, &watching(peer, PEER_CONNECTIONS).into());
    }
    rows.extend([of_idle, of_watchers]);
}

fn idle(server: &Server, count: usize) -> f64 {
    let before = server.resident_bytes();
    let held: Vec<TcpStream> = (0..count).map(|_| connect(server.address)).collect();
    let bytes = (server.resident_bytes() - before) / count as f64;
    drop(held);
    bytes
}

fn watching(server: &Server, count: usize) -> f64 {
    let before = server.resident_bytes();
    let held = Watchers::subscribe(server.address, count);
    let bytes = (server.resident_bytes() - before) / count as f64;
    drop(held);
    bytes
}
