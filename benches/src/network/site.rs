//! A server with instances in it, and the loads for it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::load::{Load, Requests};
use super::rcp::Session;
use super::server::{Programs, Server, Settings};
use super::wire::Wire;
use super::{postgres, rcp, redis};
use crate::workload::{Picks, STATES, payloads};

/// A server and what is in it.
#[derive(Debug)]
pub struct Site {
    pub server: Server,
    instances: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rcp,
    Redis { script: String },
    Postgres,
}

/// What a load asks for.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Apply,
    Get,
}

const FILL_CONNECTIONS: usize = 16;
const FILL_IN_FLIGHT: usize = 64;

impl Site {
    /// Starts a server that speaks RCP, and creates instances over the network.
    pub fn rcp(program: &Path, folder: &Path, settings: &Settings, instances: usize) -> Site {
        let site =
            Site { server: Server::rcp(program, folder, settings), instances, kind: Kind::Rcp };
        Session::open(site.server.address).unwrap().put_machine();
        site.create(0..instances);
        site
    }

    /// A server that takes writes already, or soon, filled over the network.
    pub fn taking(server: Server, instances: usize) -> Site {
        let takes = || {
            let mut session = Session::open(server.address).ok()?;
            session.try_put_machine().then_some(())
        };
        super::nodes::await_some("the server takes writes", takes);
        let site = Site { server, instances, kind: Kind::Rcp };
        site.create(0..instances);
        site
    }

    /// As [`Site::rcp`], but filled by a faster start of the same program.
    pub fn rcp_prepared(
        program: &Path,
        folder: &Path,
        settings: &Settings,
        instances: usize,
    ) -> Site {
        let fast =
            super::server::as_it_comes("filling", "never").with("RSTMDB_METRICS_ENABLED", "false");
        Site::rcp(program, folder, &fast, instances).server.stop();
        Site { server: Server::rcp(program, folder, settings), instances, kind: Kind::Rcp }
    }

    pub fn redis(programs: &Programs, folder: &Path, instances: usize) -> Option<Site> {
        let server = Server::redis(programs.redis.as_ref()?, folder);
        let script = redis::load_script(server.address);
        let site = Site { server, instances, kind: Kind::Redis { script } };
        let lanes = lanes(0..instances, FILL_CONNECTIONS).into_iter().map(|lane| {
            let stream = TcpStream::connect(site.server.address).unwrap();
            (stream, lane.into_iter().map(redis::create).collect())
        });
        Load::new(Wire::Resp, lanes).run_once(FILL_IN_FLIGHT);
        Some(site)
    }

    pub fn postgres(programs: &Programs, folder: &Path, instances: usize) -> Option<Site> {
        let server = Server::postgres(programs.postgres.as_ref()?, folder)
            .map_err(|problem| eprintln!("PostgreSQL does not start: {problem}"))
            .ok()?;
        postgres::fill(&mut postgres::connect(server.address).unwrap(), instances);
        Some(Site { server, instances, kind: Kind::Postgres })
    }

    /// The server that does nothing; it gets the same requests.
    pub fn null(kind: &str, folder: &Path, instances: usize) -> Site {
        Site { server: Server::null(kind, folder), instances, kind: Kind::Rcp }
    }

    /// Creates instances, by RCP.
    pub fn create(&self, numbers: std::ops::Range<usize>) -> f64 {
        create(self.server.address, numbers)
    }

    /// Connections that ask for every instance in turn, in random order, each instance from one
    /// connection. PostgreSQL's must be the first that changes anything: its requests name states.
    pub fn load(&self, connections: usize, ask: Ask) -> Load {
        let payloads = payloads();
        let payload = |i: usize| &*payloads[i % payloads.len()];
        let lanes = lanes(0..self.instances, connections);
        match (&self.kind, ask) {
            (Kind::Rcp, Ask::Apply) => self.rcp_load(lanes, |i| rcp::apply(i, payload(i))),
            (Kind::Rcp, Ask::Get) => self.rcp_load(lanes, rcp::get),
            (Kind::Redis { script }, Ask::Apply) => {
                let lanes = lanes.into_iter().map(|lane| {
                    let stream = TcpStream::connect(self.server.address).unwrap();
                    let apply = |i: usize| redis::apply(script, i, 100 + i % payloads.len());
                    (stream, lane.into_iter().map(apply).collect())
                });
                Load::new(Wire::Resp, lanes)
            }
            (Kind::Postgres, Ask::Apply) => {
                let lanes = lanes.into_iter().map(|lane| {
                    let mut stream = postgres::connect(self.server.address).unwrap();
                    postgres::prepare(&mut stream);
                    let apply = |from| {
                        let of = move |i: &usize| postgres::apply(*i, from, payload(*i));
                        lane.iter().map(of)
                    };
                    (stream, (0..STATES.len()).flat_map(apply).collect())
                });
                Load::new(Wire::Postgres(postgres::Scanner), lanes)
            }
            (Kind::Redis { .. } | Kind::Postgres, Ask::Get) => {
                panic!("{} is not asked for reads", self.server.name)
            }
        }
    }

    fn rcp_load(&self, lanes: Vec<Vec<usize>>, request: impl Fn(usize) -> Vec<u8>) -> Load {
        let lanes = lanes.into_iter().map(|lane| {
            (connect(self.server.address), lane.into_iter().map(&request).collect::<Requests>())
        });
        Load::new(Wire::rcp(), lanes)
    }

    /// Connections that send one request again and again.
    pub fn repeat(&self, connections: usize, request: &[u8]) -> Load {
        let lane = |_| (connect(self.server.address), [request].into_iter().collect());
        Load::new(Wire::rcp(), (0..connections).map(lane))
    }
}

/// Creates instances at a server that speaks RCP; says how long that took.
pub fn create(address: SocketAddr, numbers: std::ops::Range<usize>) -> f64 {
    let lanes = lanes(numbers, FILL_CONNECTIONS)
        .into_iter()
        .map(|lane| (connect(address), lane.into_iter().map(rcp::create).collect()));
    Load::new(Wire::rcp(), lanes).run_once(FILL_IN_FLIGHT)
}

/// A connection to a server that speaks RCP, after its hello.
pub fn connect(address: SocketAddr) -> TcpStream {
    Session::open(address).unwrap().into_stream()
}

/// Numbers in random order, divided evenly among connections.
pub fn lanes(numbers: std::ops::Range<usize>, connections: usize) -> Vec<Vec<usize>> {
    let mut numbers: Vec<usize> = numbers.collect();
    let mut picks = Picks::new(0, usize::MAX);
    for i in (1..numbers.len()).rev() {
        numbers.swap(i, picks.pick() % (i + 1));
    }
    let connections = connections.min(numbers.len());
    let begin = |lane: usize| lane * numbers.len() / connections;
    (0..connections).map(|lane| numbers[begin(lane)..begin(lane + 1)].to_vec()).collect()
}
