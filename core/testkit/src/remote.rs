//! A database on a server as a target of programs and scenarios.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rstmdb::blocking::{Database, Subscription};
use rstmdb_engine::storage::FileStorage;
use rstmdb_engine::{Engine, Location, Options};
/// The settings of a server, for tests of crates that may not name it.
pub use rstmdb_server::config;
use rstmdb_server::config::Config;
use rstmdb_types::{InstanceEvent, Json, Operation, Result};

use crate::clock::TestClock;
use crate::server::{Certificates, TestServer};
use crate::target::{Target, watch};

/// The token that servers with TLS ask for.
const TOKEN: &str = "conformance";
/// Its SHA-256.
const TOKEN_HASH: &str = "6c1d6cedf276ea3fd7486a212fd62b32fbb9ecaa4dea70545486737199dd24ed";

/// The engine behind a server, and the remote facade before it.
#[derive(Debug)]
pub struct RemoteTarget {
    location: Location,
    options: Options,
    clock: Arc<TestClock>,
    config: Config,
    /// The URL, `{}` where the port goes.
    url: String,
    // Watches end before the connection, and that before the server.
    watches: Vec<Subscription>,
    database: Database,
    server: Option<TestServer>,
}

impl RemoteTarget {
    /// A server on the database in a directory.
    pub fn plain(directory: &Path, options: Options) -> Result<RemoteTarget> {
        let url = "rstmdb://127.0.0.1:{}".to_owned();
        RemoteTarget::open(directory, options, TestServer::config(), url)
    }

    /// The same with TLS, certificates on both sides and a token.
    pub fn secure(
        directory: &Path,
        options: Options,
        certificates: &Certificates,
    ) -> Result<RemoteTarget> {
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
        RemoteTarget::open(directory, options, config, url)
    }

    fn open(
        directory: &Path,
        options: Options,
        config: Config,
        url: String,
    ) -> Result<RemoteTarget> {
        let clock = Arc::new(TestClock::new());
        let location = Location {
            storage: Arc::new(FileStorage::new(directory.to_owned())),
            clock: clock.clone(),
            name: directory.display().to_string(),
            ..Location::memory()
        };
        let (server, database) = start(&location, &options, &config, &url)?;
        let server = Some(server);
        Ok(RemoteTarget {
            location,
            options,
            clock,
            config,
            url,
            watches: Vec::new(),
            database,
            server,
        })
    }
}

fn start(
    location: &Location,
    options: &Options,
    config: &Config,
    url: &str,
) -> Result<(TestServer, Database)> {
    let engine = Engine::open(location.clone(), options.clone())?;
    let server = TestServer::start(Arc::new(engine), config.clone())?;
    let url = url.replace("{}", &server.address().port().to_string());
    let database = Database::open(&url)?;
    Ok((server, database))
}

impl Target for RemoteTarget {
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        self.database.call(operation, request)
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)> {
        let (subscription, result) = watch(&self.database, operation, request)?;
        self.watches.push(subscription);
        Ok((self.watches.len() - 1, result))
    }

    fn next_event(&mut self, watch: usize, timeout: Duration) -> Result<Option<InstanceEvent>> {
        self.watches[watch].next_timeout(timeout)
    }

    fn reopen(&mut self) -> Result<()> {
        self.watches.clear();
        self.database.close()?;
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        let (server, database) = start(&self.location, &self.options, &self.config, &self.url)?;
        self.server = Some(server);
        self.database = database;
        Ok(())
    }

    fn advance(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
    }
}
