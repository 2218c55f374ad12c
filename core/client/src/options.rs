//! How a client reaches its server, and how patient it is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rstmdb_protocol::DEFAULT_PORT;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port, 7401 unless told otherwise.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint of the given port.
    pub fn new(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How a client reaches its server. `Default` is a server on this machine, without TLS or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers of the database; the next one is tried when one can't be reached.
    pub endpoints: Vec<Endpoint>,
    /// Presented to the server after each connect. Never printed.
    pub token: Option<String>,
    /// TLS, when set.
    pub tls: Option<TlsOptions>,
    /// How long reaching one endpoint may take, with TLS and credentials.
    pub connect_timeout: Duration,
    /// How long a request may take, with its repetitions; zero for ever.
    pub request_timeout: Duration,
    /// How long a connection may be silent before the client asks whether it is still there; zero
    /// for ever.
    pub keep_alive: Duration,
    /// The number of connections. Requests of one caller that do not wait for each other may be
    /// done in another order when there are several.
    pub pool_size: usize,
    /// What the client calls itself.
    pub client_name: String,
    /// How often a request that failed on its way is repeated.
    pub retry: Retry,
    /// The most requests in flight on a connection; more wait. A large request counts for several.
    pub in_flight_max: usize,
    /// The most events that wait for a reader of a watch. A slower one gets the rest from the log.
    pub watch_events_max: usize,
    /// The most bytes of events that wait for a reader of a watch.
    pub watch_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            endpoints: vec![Endpoint::new("localhost", DEFAULT_PORT)],
            token: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
            pool_size: 1,
            client_name: concat!("rstmdb-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: Retry::default(),
            in_flight_max: 4096,
            watch_events_max: 1024,
            watch_bytes_max: 4 << 20,
        }
    }
}

impl Options {
    /// Options for one server.
    pub fn new(host: impl Into<String>, port: u16) -> Options {
        Options { endpoints: vec![Endpoint::new(host, port)], ..Options::default() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            // The token itself must not reach a log.
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("pool_size", &self.pool_size)
            .field("client_name", &self.client_name)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file of authorities to trust; those of the system when absent.
    pub ca: Option<PathBuf>,
    /// A PEM file of the client's certificate and its chain.
    pub client_cert: Option<PathBuf>,
    /// A PEM file of the key of the client's certificate.
    pub client_key: Option<PathBuf>,
    /// The name the server's certificate must have; the host's when absent.
    pub server_name: Option<String>,
    /// Accepts ANY certificate. Whoever sits between client and server can then read and change
    /// everything, the token included. For experiments only.
    pub insecure: bool,
}

/// How often, and how soon, a request is repeated that failed on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Repetitions of a request, and failed connects in a row before waiting requests fail; 0
    /// repeats nothing.
    pub attempts: u32,
    /// The upper bound of the first pause. Each pause is random, between zero and its bound.
    pub backoff_min: Duration,
    /// The bound doubles with each pause up to this one.
    pub backoff_max: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 10,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
        }
    }
}
