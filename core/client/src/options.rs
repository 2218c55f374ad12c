//! How a client reaches its server, and how patient it is.

use std::fmt;
use std::time::Duration;

use rstmdb_protocol::DEFAULT_PORT;
pub use rstmdb_protocol::ReadMode;
pub use rstmdb_types::options::{Retry, TlsOptions};

pub use crate::endpoint::Endpoint;

rstmdb_types::remote_options! {
    /// How a client reaches its server. `Default` is a server on this machine, without TLS or token.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Options {
        /// The servers of the database; the next one is tried when one can't be reached. Servers may name further ones.
        pub endpoints: Vec<Endpoint> = vec![Endpoint::new("localhost", DEFAULT_PORT)];
        /// How fresh a read has to be.
        pub read: ReadMode = ReadMode::Linearizable;
        /// The zone whose nodes are read from first, where reads may be behind.
        pub zone: Option<String> = None;
        /// The most that who answers a read may be behind, with [`ReadMode::Bounded`].
        pub max_lag: Option<Duration> = None;
        /// The most events that wait for a reader of a watch. A slower one gets the rest from the log.
        pub watch_events_max: usize = 1024;
        /// The most bytes of events that wait for a reader of a watch.
        pub watch_bytes_max: usize = 4 << 20;
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
            .field("read", &self.read)
            .field("zone", &self.zone)
            .field("max_lag", &self.max_lag)
            .finish_non_exhaustive()
    }
}
