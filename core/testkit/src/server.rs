//! A server in this process, on a port of its own, and certificates for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rstmdb_engine::Engine;
use rstmdb_server::Server;
use rstmdb_server::config::{Address, Config, TlsConfig};
use rstmdb_types::Result;
use tokio::sync::oneshot;

/// A server that runs until it is stopped or dropped. Either closes the engine.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
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
        let (stop, stopped) = oneshot::channel();
        let (started, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                match Server::start_with_engine(engine, config).await {
                    Ok(server) => {
                        started.send(Ok(server.address())).unwrap();
                        server.run_until(async { drop(stopped.await) }).await
                    }
                    Err(error) => {
                        started.send(Err(error)).unwrap();
                        Ok(())
                    }
                }
            })
        });
        let address = address.recv().unwrap()?;
        Ok(TestServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in good order and closes the engine.
    pub fn stop(mut self) -> Result<()> {
        self.end().unwrap_or(Ok(()))
    }

    fn end(&mut self) -> Option<Result<()>> {
        drop(self.stop.take());
        self.thread.take().map(|thread| thread.join().unwrap())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.end();
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
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = write("ca.pem", authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        let issue = |name: &str, subjects: &[&str]| {
            let subjects: Vec<String> = subjects.iter().map(|name| (*name).to_owned()).collect();
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(subjects).unwrap();
            let certificate = certificate.signed_by(&key, &issuer).unwrap();
            let cert = write(&format!("{name}.pem"), certificate.pem());
            (cert, write(&format!("{name}.key"), key.serialize_pem()))
        };
        let (server_cert, server_key) = issue("server", &["localhost", "127.0.0.1"]);
        let (client_cert, client_key) = issue("client", &["client"]);
        Certificates { ca, server_cert, server_key, client_cert, client_key }
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
