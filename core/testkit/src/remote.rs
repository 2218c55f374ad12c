//! A database on a server as a target of programs and scenarios.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rstmdb::blocking::Database;
use rstmdb_engine::{Engine, Location, Options};
/// The settings of a server, for tests of crates that may not name it.
pub use rstmdb_server::config;
use rstmdb_server::config::Config;
use rstmdb_types::Result;

use crate::clock::{START_MS, TestClock};
use crate::server::{Certificates, TestServer};
use crate::target::{DatabaseTarget, Ground};

/// The token that servers with TLS ask for.
const TOKEN: &str = "conformance";
/// Its SHA-256.
const TOKEN_HASH: &str = "6c1d6cedf276ea3fd7486a212fd62b32fbb9ecaa4dea70545486737199dd24ed";

/// A server on the database in a directory, started again and again.
#[derive(Debug)]
pub(crate) struct Restarted {
    location: Location,
    options: Options,
    clock: Arc<TestClock>,
    config: Config,
    server: Option<TestServer>,
}

impl Restarted {
    /// Not yet started.
    pub(crate) fn new(
        directory: &Path,
        options: Options,
        config: Config,
        start_ms: i64,
    ) -> Restarted {
        let clock = Arc::new(TestClock::at(start_ms));
        let location = Location { clock: clock.clone(), ..Location::directory(directory) };
        Restarted { location, options, clock, config, server: None }
    }

    /// Stops the server that runs, and starts one; it listens there.
    pub(crate) fn start(&mut self) -> Result<SocketAddr> {
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        let engine = Engine::open(self.location.clone(), self.options.clone())?;
        let server = TestServer::start(Arc::new(engine), self.config.clone())?;
        Ok(self.server.insert(server).address())
    }

    pub(crate) fn advance(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
    }
}

/// A server, and how the remote facade finds it.
#[derive(Debug)]
struct Remote {
    server: Restarted,
    /// The URL, `{}` where the port goes.
    url: String,
}

impl Ground for Remote {
    fn open(&mut self) -> Result<Database> {
        let address = self.server.start()?;
        Database::open(&self.url.replace("{}", &address.port().to_string()))
    }

    fn advance(&mut self, ms: i64) {
        self.server.advance(ms);
    }
}

impl DatabaseTarget {
    /// A server on the database in a directory.
    pub fn served(directory: &Path, options: Options) -> Result<DatabaseTarget> {
        let server = Restarted::new(directory, options, TestServer::config(), START_MS);
        DatabaseTarget::on(Remote { server, url: "rstmdb://127.0.0.1:{}".to_owned() })
    }

    /// The same with TLS, certificates on both sides and a token.
    pub fn served_securely(
        directory: &Path,
        options: Options,
        certificates: &Certificates,
    ) -> Result<DatabaseTarget> {
        let mut config = TestServer::config();
        config.tls = certificates.listener();
        config.tls.require_client_cert = true;
        config.tls.client_ca_path = Some(certificates.ca.clone());
        config.auth.required = true;
        config.auth.token_hashes = vec![TOKEN_HASH.parse().unwrap()];
        let Certificates { ca, client_cert, client_key, .. } = certificates;
        let url = format!(
            "rstmdbs://{TOKEN}@localhost:{{}}?ca={}&cert={}&key={}",
            ca.display(),
            client_cert.display(),
            client_key.display()
        );
        let server = Restarted::new(directory, options, config, START_MS);
        DatabaseTarget::on(Remote { server, url })
    }
}
