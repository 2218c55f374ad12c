//! The rstmdb server: RCP over TCP and TLS, metrics and health over HTTP, and its configuration.
#![deny(missing_docs)]

pub mod auth;
mod compaction;
pub mod config;
pub mod http;
pub mod logging;
pub mod metrics;
mod rcp;
mod server;
mod shutdown;
pub mod tls;

pub use server::Server;
