//! A group of three nodes against etcd with three, and against one node alone, all on the same processors.

use super::load::{Load, Requests};
use super::nodes::{Nodes, SIZE};
use super::rcp::Session;
use super::server::Server;
use super::site::{Ask, Site, create, lanes};
use super::wire::Wire;
use super::{Contestant, Scale, durable, etcd, rcp, take_turns};
use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit};
use crate::workload::payloads;

const ALONE: &str = "1 node";
const ETCD: &str = "etcd, 3 nodes";
/// The goals: against one node alone, pipelined and one request at a time; against etcd.
const PIPELINED: f64 = 0.35;
const ONE_AT_A_TIME: f64 = 0.33;
const OF_ETCD: f64 = 10.0;

/// What is raced.
struct Field<'a> {
    scale: Scale,
    ours: &'a Nodes,
    etcd: Option<&'a Nodes>,
    alone: &'a Site,
}

pub fn run(bench: &Bench) -> Section {
    let scale = Scale::of(&bench.scale);
    let folder = bench.folder();
    let (ours, etcd) = (Nodes::ours(bench), Nodes::etcd(bench));
    let alone = durable::ours(folder.path(), "every_write", scale.instances);
    create(ours.server(ours.leader()).address, 0..scale.instances);
    if let Some(nodes) = &etcd {
        etcd_load(nodes.server(0), scale.instances, 16, etcd::PUT, etcd::put).run_once(64);
    }
    let field = Field { scale, ours: &ours, etcd: etcd.as_ref(), alone: &alone };
    let mut rows = Vec::new();
    for (case, connections, in_flight, goal) in [
        ("durable, 64 connections, 1 in flight each", 64, 1, Goal::Reported),
        ("durable, 16 connections, 16 in flight each", 16, 16, Goal::RatioAtLeast(PIPELINED)),
        ("durable, 1 connection, 1 in flight", 1, 1, Goal::RatioAtLeast(ONE_AT_A_TIME)),
    ] {
        field.writes(case, connections, in_flight, goal, &mut rows);
    }
    for (case, is_local, connections, in_flight) in [
        ("get, linearizable, 64 connections, 1 in flight each", false, 64, 1),
        ("get, linearizable, 16 connections, 16 in flight each", false, 16, 16),
        ("get at a follower, `read=any`, 16 connections, 16 in flight each", true, 16, 16),
    ] {
        field.reads(case, is_local, connections, in_flight, &mut rows);
    }
    Section { title: "A group of three nodes on this machine", rows }
}

fn etcd_load(
    server: &Server,
    instances: usize,
    connections: usize,
    method: &str,
    request: impl Fn(usize) -> Vec<u8>,
) -> Load {
    let lane = |lane: Vec<usize>| {
        let requests: Requests = lane.into_iter().map(&request).collect();
        let stream = etcd::connect(server.address).unwrap();
        (stream, requests.in_streams(&etcd::stream_places(method)))
    };
    let wire = Wire::Grpc(etcd::Scanner::default());
    Load::new(wire, lanes(0..instances, connections).into_iter().map(lane))
}

fn rcp_load(
    server: &Server,
    instances: usize,
    connections: usize,
    features: &str,
    request: impl Fn(usize) -> Vec<u8>,
) -> Load {
    let lane = |lane: Vec<usize>| {
        let session = Session::with_features(server.address, features).unwrap();
        (session.into_stream(), lane.into_iter().map(&request).collect::<Requests>())
    };
    Load::new(Wire::rcp(), lanes(0..instances, connections).into_iter().map(lane))
}

impl Field<'_> {
    fn writes(
        &self,
        case: &str,
        connections: usize,
        in_flight: usize,
        goal: Goal,
        rows: &mut Vec<Row>,
    ) {
        let payloads = payloads();
        let count = self.scale.instances;
        let apply = |i: usize| rcp::apply(i, &payloads[i % payloads.len()]);
        let leader = self.ours.server(self.ours.leader());
        let load = rcp_load(leader, count, connections, "[]", apply);
        let mut contestants = vec![
            Contestant { server: leader, load, in_flight },
            Contestant {
                server: &self.alone.server,
                load: self.alone.load(connections, Ask::Apply),
                in_flight,
            },
        ];
        contestants.extend(self.etcd.map(|nodes| {
            let server = nodes.server(nodes.etcd_leader().unwrap());
            let load = etcd_load(server, count, connections, etcd::PUT, etcd::put);
            Contestant { server, load, in_flight }
        }));
        self.race(case, goal, &mut contestants, rows);
    }

    fn reads(
        &self,
        case: &str,
        is_local: bool,
        connections: usize,
        in_flight: usize,
        rows: &mut Vec<Row>,
    ) {
        let count = self.scale.instances;
        // Who follows is asked where what is behind is good enough.
        let of = |leader: usize| if is_local { (leader + 1) % SIZE } else { leader };
        let server = self.ours.server(of(self.ours.leader()));
        let get = |i: usize| if is_local { rcp::get_anywhere(i) } else { rcp::get(i) };
        // How fresh a read has to be is told in the extended dialect.
        let features = if is_local { r#"["extended"]"# } else { "[]" };
        let load = rcp_load(server, count, connections, features, get);
        let mut contestants = vec![
            Contestant { server, load, in_flight },
            Contestant {
                server: &self.alone.server,
                load: self.alone.load(connections, Ask::Get),
                in_flight,
            },
        ];
        contestants.extend(self.etcd.map(|nodes| {
            let server = nodes.server(of(nodes.etcd_leader().unwrap()));
            let get = |i: usize| etcd::get(i, is_local);
            let load = etcd_load(server, count, connections, etcd::RANGE, get);
            Contestant { server, load, in_flight }
        }));
        self.race(case, Goal::Reported, &mut contestants, rows);
    }

    fn race(
        &self,
        case: &str,
        goal: Goal,
        contestants: &mut [Contestant<'_>],
        rows: &mut Vec<Row>,
    ) {
        let samples: Vec<Samples> = take_turns(&self.scale, case, contestants);
        let row = || Row::new(case, Unit::PerSecond, samples[0].clone());
        rows.push(row().against(ALONE, &samples[1]).goal(goal));
        if let Some(etcd) = samples.get(2) {
            rows.push(row().against(ETCD, etcd).goal(Goal::RatioAtLeast(OF_ETCD)));
        }
    }
}
