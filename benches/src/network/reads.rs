//! Reads over the network.

use super::durable::{PEER, ours, peer, race, rows_of};
use super::site::{Ask, Site};
use super::{Contestant, Scale, rcp, take_turns};
use crate::Bench;
use crate::measure::{Row, Section};

const LIST_CONNECTIONS: usize = 16;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    gets(bench, &mut rows);
    lists(bench, &mut rows);
    Section { title: "Reads over the network", rows }
}

fn gets(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    // Reads don't touch the log: the policy only makes the filling fast.
    let ours = ours(folder.path(), "never", scale.instances);
    let peer = peer(folder_of_peer.path(), "never", scale.instances);
    let null = Site::null("get", folder.path(), scale.instances);
    let mut sites = vec![&ours];
    sites.extend(&peer);
    sites.push(&null);
    let case = "get, 16 connections, 16 in flight each";
    let samples = race(&scale, case, &sites, Ask::Get, 16, 16);
    rows.extend(rows_of(case, &sites, &samples, &[(PEER, 1.5), ("null server", 0.6)]));
    let case = "get, 64 connections, 1 in flight each";
    let samples = race(&scale, case, &sites, Ask::Get, 64, 1);
    rows.extend(rows_of(case, &sites, &samples, &[("null server", 0.8)]));
}

fn lists(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let ours = ours(folder.path(), "never", scale.listed);
    let peer = peer(folder_of_peer.path(), "never", scale.listed);
    let mut sites: Vec<&Site> = vec![&ours];
    sites.extend(&peer);
    let cases = [
        ("list of the first 100", r#"{"machine":"order","limit":100}"#),
        ("list of 100 in the middle", r#"{"machine":"order","limit":100,"offset":50000}"#),
    ];
    for (what, params) in cases {
        let request = rcp::request(0, "LIST_INSTANCES", params);
        let case = format!("{what} of 100 thousand instances, {LIST_CONNECTIONS} connections");
        let mut contestants: Vec<Contestant<'_>> = sites
            .iter()
            .map(|site| Contestant {
                server: &site.server,
                load: site.repeat(LIST_CONNECTIONS, &request),
                in_flight: 1,
            })
            .collect();
        let samples = take_turns(&scale, &case, &mut contestants);
        // A turn waits for requests in flight, some seconds for the peer.
        rows.extend(rows_of(&case, &sites, &samples, &[(PEER, 1000.0)]));
    }
}
