//! The published server 0.3.0, run as it comes. Its program is in `RSTMDB_PEER`; see `make interop`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rstmdb_testkit::wire::await_condition;

/// A running server with data of its own; dropping it kills it.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Peer {
    /// Starts it with these environment variables and waits until it takes connections.
    pub fn start(environment: &[(&str, &str)]) -> Peer {
        let program = std::env::var_os("RSTMDB_PEER")
            .expect("RSTMDB_PEER names no published server; run make interop");
        let data = tempfile::tempdir().unwrap();
        // It can't tell which port it took, so it is told one that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut child = Command::new(program)
            .env("RSTMDB_BIND", address.to_string())
            .env("RSTMDB_DATA", data.path())
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        await_condition("the published server takes connections", || {
            assert!(child.try_wait().unwrap().is_none(), "the published server has ended");
            TcpStream::connect(address).is_ok()
        });
        Peer { child, address, _data: data }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
