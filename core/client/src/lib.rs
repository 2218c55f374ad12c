//! The client of an rstmdb server.
//!
//! [`Client`] speaks RCP over a few connections that any number of callers share. Its futures run on
//! any executor, and every one of them can be waited for by a thread instead: all input and output
//! is done by one thread of the process. Most programs use the `rstmdb` crate, which wraps this one.
//!
//! What it promises: an answer belongs to its request; reads, and writes with an idempotency key, are
//! repeated after a lost connection; a write without a key is never sent twice; a watch goes on after
//! a lost connection without gap or duplicate, or ends with an error that says why it can't; what a
//! newer server says is passed on or skipped, and what an older one lacks is refused by name; where a
//! database has several nodes, writes find the one that takes them, and nothing is done twice on the way.
#![deny(missing_docs)]

mod backoff;
mod client;
mod connect;
mod connection;
mod decode;
mod endpoint;
mod error;
mod lane;
mod nodes;
mod options;
mod pending;
mod request;
mod routes;
mod runtime;
mod scan;
mod server;
mod signal;
mod subscription;
mod tls;
mod upgrade;
mod url;
mod watch;

pub use client::Client;
pub use options::{Endpoint, Options, ReadMode, Retry, TlsOptions};
pub use pending::{Pending, Watching};
pub use server::ServerInfo;
pub use subscription::Subscription;
pub use upgrade::upgrade;
