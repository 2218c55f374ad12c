//! A server in this process, on a port of its own, and certificates for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rstmdb_engine::{Engine, Location};
use rstmdb_server::Server;
use rstmdb_server::calls::Calls;
use rstmdb_server::config::{Address, Config, TlsConfig};
use rstmdb_server::live::LiveSettings;
use rstmdb_server::metrics::Metrics;
use rstmdb_types::Result;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::oneshot;

use crate::wire::{Wire, await_condition};

/// A server that runs until it is stopped or dropped. Either closes the engine.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    calls: Arc<Calls>,
    engine: Arc<Engine>,
    running: Running,
}

/// A server in this process that is a member of a group, or will be. Its directory stays when it is dropped.
#[derive(Debug)]
pub struct TestMember {
    address: SocketAddr,
    peer_address: SocketAddr,
    _running: Running,
}

impl TestMember {
    /// Starts it on free ports of this machine, with the configuration changed by `change`.
    pub fn start(directory: &Path, change: impl FnOnce(&mut Config)) -> TestMember {
        let mut config = TestServer::config();
        config.storage.data_dir = directory.to_owned();
        config.cluster.enabled = true;
        config.cluster.bind_addr = Address::local(0);
        change(&mut config);
        let told = |server: &Server| (server.address(), server.peer_address());
        let started = Running::start(move || Server::start(config), told);
        let (running, (address, peer_address)) = started.unwrap();
        TestMember { address, peer_address: peer_address.unwrap(), _running: running }
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where other members reach it.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }
}

/// A server in a thread, until this is told to end or dropped.
#[derive(Debug)]
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// Starts it, and says what is told of it.
    fn start<T: Send + 'static, F: Future<Output = Result<Server>>>(
        start: impl FnOnce() -> F + Send + 'static,
        told: impl FnOnce(&Server) -> T + Send + 'static,
    ) -> Result<(Running, T)> {
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                match start().await {
                    Ok(server) => {
                        started.send(Ok(told(&server))).unwrap();
                        server.run_until(async { drop(stopped.await) }).await
                    }
                    Err(error) => {
                        started.send(Err(error)).unwrap();
                        Ok(())
                    }
                }
            })
        });
        let told = starting.recv().unwrap()?;
        Ok((Running { stop: Some(stop), thread: Some(thread) }, told))
    }

    fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    fn end(&mut self) -> Option<Result<()>> {
        self.begin_stop();
        self.thread.take().map(|thread| thread.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl TestServer {
    /// Settings for tests: a free port of this machine, no metrics.
    pub fn config() -> Config {
        let mut config = Config::default();
        config.network.bind_addr = Address::local(0);
        config.metrics.enabled = false;
        config.compaction.enabled = false;
        config
    }

    /// Serves an engine.
    pub fn start(engine: Arc<Engine>, config: Config) -> Result<TestServer> {
        let served = engine.clone();
        let start = move || Server::start_with_engine(served, config);
        let told =
            |server: &Server| (server.address(), server.metrics_address(), server.calls().clone());
        let (running, (address, metrics_address, calls)) = Running::start(start, told)?;
        Ok(TestServer { address, metrics_address, calls, engine, running })
    }

    /// Serves a new database in memory, with the configuration changed by `change`.
    pub fn in_memory(change: impl FnOnce(&mut Config)) -> TestServer {
        let mut config = TestServer::config();
        change(&mut config);
        let engine = Engine::open(Location::memory(), config.engine_options()).unwrap();
        TestServer::start(Arc::new(engine), config).unwrap()
    }

    /// A new connection.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        self.calls.metrics()
    }

    /// The settings in force.
    pub fn settings(&self) -> &LiveSettings {
        self.calls.settings()
    }

    /// The door to the database.
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// The database it was started with.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where metrics and health are.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address.expect("the metrics are switched off")
    }

    /// Serves a client, and then waits until every connection and subscription is gone and counted
    /// out.
    pub fn await_idle(&self) {
        let mut healthy = self.wire();
        healthy.call("PING", serde_json::json!({})).unwrap();
        healthy.call("BYE", serde_json::json!({})).unwrap();
        healthy.await_close();
        let open = || {
            let subscriptions = [true, false].map(|all| self.metrics().subscriptions(all).get());
            self.metrics().connections_active.get() + subscriptions.iter().sum::<i64>()
        };
        await_condition("no connection and no subscription is open", || open() == 0);
    }

    /// Begins to stop; [`TestServer::stop`] waits for the end.
    pub fn begin_stop(&mut self) {
        self.running.begin_stop();
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("rstmdb://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in good order and closes the engine.
    pub fn stop(mut self) -> Result<()> {
        self.running.end().unwrap_or(Ok(()))
    }
}

/// PEM files of an authority, a server and a client that it vouches for.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority.
    pub ca: PathBuf,
    /// The server's certificate, for `localhost` and `127.0.0.1`.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client_cert: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in a directory.
    pub fn create(directory: &Path) -> Certificates {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        // Names of their own: a client may take equal names for a certificate that signed itself.
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "rstmdb test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = write("ca.pem", authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        let issue = |name: &str, subjects: &[&str]| {
            let subjects: Vec<String> = subjects.iter().map(|name| (*name).to_owned()).collect();
            let key = KeyPair::generate().unwrap();
            let mut certificate = CertificateParams::new(subjects).unwrap();
            certificate.distinguished_name.push(DnType::CommonName, name);
            // Strict clients look for it, Python's since 3.13.
            certificate.use_authority_key_identifier_extension = true;
            let certificate = certificate.signed_by(&key, &issuer).unwrap();
            let cert = write(&format!("{name}.pem"), certificate.pem());
            (cert, write(&format!("{name}.key"), key.serialize_pem()))
        };
        let (server_cert, server_key) = issue("server", &["localhost", "127.0.0.1"]);
        let (client_cert, client_key) = issue("client", &["client"]);
        Certificates { ca, server_cert, server_key, client_cert, client_key }
    }

    /// What a client with the authority and, when asked for, its own certificate goes by.
    pub fn client(&self, with_certificate: bool) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(if with_certificate {
            let chain = vec![CertificateDer::from_pem_file(&self.client_cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&self.client_key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        })
    }

    /// Settings of a listener with these certificates.
    pub fn listener(&self) -> TlsConfig {
        TlsConfig {
            enabled: true,
            cert_path: Some(self.server_cert.clone()),
            key_path: Some(self.server_key.clone()),
            ..TlsConfig::default()
        }
    }
}
