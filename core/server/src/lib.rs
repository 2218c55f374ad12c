//! The rstmdb server: RCP over TCP and TLS, metrics and health over HTTP, and its configuration.
#![deny(missing_docs)]

mod accept;
pub mod auth;
#[doc(hidden)]
pub mod calls;
mod cluster;
mod condition;
pub mod config;
pub mod control;
mod descriptors;
mod fence;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
pub mod fuzzing;
#[cfg(test)]
mod fuzzing_tests;
pub mod health;
mod hooks;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod probe;
mod rcp;
mod replication;
mod server;
pub mod sessions;
mod shutdown;
pub mod tls;

pub use server::Server;
