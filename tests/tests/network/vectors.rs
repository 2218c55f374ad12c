//! The golden vectors of RCP, recorded from the published server: ours answers alike, in every form.

use std::net::SocketAddr;

use rstmdb_server::Server;
use rstmdb_server::config::{Config, Sources};
use rstmdb_testkit::server::TestServer;
use rstmdb_testkit::wire::{Wire, await_condition};
use rstmdb_tests::vectors::{Form, exchanges, exchanges_of_a_member, frames};

#[test]
fn every_exchange_is_answered_as_recorded() {
    let server = TestServer::in_memory(|_| ());
    // Twice on one server: a replay leaves nothing behind that the next one stumbles over.
    assert_eq!(exchanges(server.address(), Form::Frames, "one"), 82);
    assert_eq!(exchanges(server.address(), Form::Frames, "two"), 82);
    server.await_idle();
}

#[test]
fn every_exchange_is_answered_as_recorded_in_lines() {
    let server = TestServer::in_memory(|_| ());
    assert_eq!(exchanges(server.address(), Form::Lines, "one"), 82);
    assert_eq!(exchanges(server.address(), Form::FramesForLines, "two"), 82);
    server.await_idle();
}

#[test]
fn every_recorded_frame_is_met_as_recorded() {
    let server = TestServer::in_memory(|_| ());
    assert_eq!(frames(server.address()), 20);
    server.await_idle();
}

/// Two members of a group in this process: the one that leads, and a copy that never does.
struct TwoMembers {
    runtime: tokio::runtime::Runtime,
    stops: Vec<tokio::sync::oneshot::Sender<()>>,
    running: Vec<tokio::task::JoinHandle<rstmdb_types::Result<()>>>,
    leader: SocketAddr,
    other: SocketAddr,
    _folders: [tempfile::TempDir; 2],
}

impl TwoMembers {
    fn start() -> TwoMembers {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folders: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let (mut stops, mut running, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        let mut peers = String::new();
        for (place, folder) in folders.iter().enumerate() {
            let data = folder.path().to_str().unwrap().to_owned();
            let mut settings = vec![
                ("network.bind_addr", "127.0.0.1:0".to_owned()),
                ("metrics.enabled", "false".to_owned()),
                ("storage.data_dir", data),
                ("cluster.enabled", "true".to_owned()),
                ("cluster.bind_addr", "127.0.0.1:0".to_owned()),
            ];
            settings.extend(match place {
                0 => vec![("cluster.bootstrap", "true".to_owned())],
                _ => vec![("cluster.seeds", peers.clone()), ("cluster.role", "learner".to_owned())],
            });
            let overrides =
                settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let config = Config::load(&Sources { overrides, ..Sources::default() }).unwrap().config;
            let server = runtime.block_on(Server::start(config)).unwrap();
            peers = server.peer_address().unwrap().to_string();
            addresses.push(server.address());
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            stops.push(stop);
            running.push(runtime.spawn(server.run_until(async { drop(stopped.await) })));
        }
        let (leader, other) = (addresses[0], addresses[1]);
        let members = TwoMembers { runtime, stops, running, leader, other, _folders: folders };
        await_condition("the other one is told who leads", || {
            let mut wire = Wire::connect(members.other);
            let hello = serde_json::json!({"protocol_version": 1, "features": ["extended"]});
            wire.call("HELLO", hello).unwrap()["cluster"]["leader"] == 1
        });
        members
    }

    fn stop(self) {
        drop(self.stops);
        for running in self.running {
            self.runtime.block_on(running).unwrap().unwrap();
        }
    }
}

#[test]
fn a_member_that_does_not_lead_answers_every_exchange_as_recorded() {
    let members = TwoMembers::start();
    assert_eq!(exchanges_of_a_member(members.leader, Form::Frames, "there"), 81);
    assert_eq!(exchanges_of_a_member(members.other, Form::Frames, "one"), 81);
    assert_eq!(exchanges_of_a_member(members.other, Form::Lines, "two"), 81);
    assert_eq!(exchanges_of_a_member(members.other, Form::FramesForLines, "three"), 81);
    assert_eq!(frames(members.other), 20);
    members.stop();
}
