//! Three nodes of one group on this machine, ours or etcd's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::rcp::Session;
use super::server::{Server, Settings, address, as_it_comes, free_port};
use super::{etcd, programs};
use crate::Bench;

/// How many there are.
pub const SIZE: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// Servers with a folder each.
#[derive(Debug)]
pub struct Nodes {
    pub servers: Vec<Option<Server>>,
    settings: Vec<Settings>,
    folders: Vec<tempfile::TempDir>,
}

/// Looks again and again.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

impl Nodes {
    /// A group of ours, which has a leader.
    pub fn ours(bench: &Bench) -> Nodes {
        let peers: Vec<u16> = (0..SIZE).map(|_| free_port()).collect();
        let seeds: Vec<String> = peers.iter().map(|port| address(*port).to_string()).collect();
        let settings = |port: &u16| {
            let settings = as_it_comes("rstmdb, 3 nodes", "every_write")
                .with("RSTMDB_CLUSTER_ENABLED", "true")
                .with("RSTMDB_CLUSTER_BIND_ADDR", address(*port))
                .with("RSTMDB_CLUSTER_SEEDS", seeds.join(","))
                .with("RSTMDB_CLUSTER_BOOTSTRAP_EXPECT", SIZE);
            Settings { ports: Some([free_port(), free_port()]), ..settings }
        };
        let settings = peers.iter().map(settings).collect();
        let folders = (0..SIZE).map(|_| bench.folder()).collect();
        let mut nodes = Nodes { servers: vec![], settings, folders };
        for place in 0..SIZE {
            nodes.servers.push(None);
            nodes.start(place);
        }
        nodes.leader();
        nodes
    }

    /// A group of etcd, which has a leader, if it is there.
    pub fn etcd(bench: &Bench) -> Option<Nodes> {
        let program = programs().etcd.as_ref()?;
        let ports: Vec<[u16; 2]> = (0..SIZE).map(|_| [free_port(), free_port()]).collect();
        let group = ports.iter().map(|[_, peers]| format!("n{peers}=http://{}", address(*peers)));
        let group = group.collect::<Vec<_>>().join(",");
        let folders: Vec<_> = (0..SIZE).map(|_| bench.folder()).collect();
        let start = |(ports, folder): (&[u16; 2], &tempfile::TempDir)| {
            Some(Server::etcd(program, folder.path(), *ports, &group))
        };
        let servers = ports.iter().zip(&folders).map(start).collect();
        let nodes = Nodes { servers, settings: Vec::new(), folders };
        await_some("a member of etcd leads", || nodes.etcd_leader());
        Some(nodes)
    }

    /// The place of the member that leads.
    pub fn etcd_leader(&self) -> Option<usize> {
        let leads = |server: &Option<Server>| {
            server.as_ref().is_some_and(|server| etcd::leads(server.address).unwrap_or(false))
        };
        self.servers.iter().position(leads)
    }

    /// Starts a node, at the addresses that it had.
    pub fn start(&mut self, place: usize) {
        let (settings, folder) = (&self.settings[place], self.folders[place].path());
        self.servers[place] = Some(Server::rcp(&programs().ours, folder, settings));
    }

    /// The server at a place.
    pub fn server(&self, place: usize) -> &Server {
        self.servers[place].as_ref().unwrap()
    }

    /// Who leads a group that is whole: all vote, and all answer. The machine of the benchmarks is there afterwards.
    pub fn leader(&self) -> usize {
        let leads = |server: &Option<Server>| {
            server.as_ref().is_some_and(|server| leads_all(server.address).unwrap_or(false))
        };
        await_some("a node leads, and all of the group vote and answer", || {
            self.servers.iter().position(leads)
        })
    }

    /// Waits until a node says that it is ready.
    pub fn await_ready(&self, place: usize) {
        let [_, health] = self.settings[place].ports.unwrap();
        await_some("a node is ready", || is_ready(address(health)).then_some(()));
    }

    /// The URL of all of them.
    pub fn url(&self) -> String {
        let hosts = self.settings.iter().filter_map(|settings| settings.ports);
        let hosts: Vec<String> = hosts.map(|[port, _]| address(port).to_string()).collect();
        format!("rstmdb://{}", hosts.join(","))
    }
}

/// Whether the server here leads all of its group. One that does not would pass on what it is asked to write.
fn leads_all(at: SocketAddr) -> std::io::Result<bool> {
    let mut session = Session::open(at)?;
    let status = session.try_call("CLUSTER_STATUS", "{}")?;
    let count = |what: &str| status.matches(what).count();
    // Once of the group, and once in the list of all.
    let leads = count(r#""role":"leader""#) == 2 && count(r#""role":"follower""#) == SIZE - 1;
    Ok(leads && count(r#""answers":true"#) == SIZE && session.try_put_machine())
}

/// What a server says of its health.
fn is_ready(at: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 "))
}
